"""Random Fourier features of every stationary kernel."""

import warnings
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.utils.validation import check_is_fitted
from typing_extensions import override

from kernelgp.errors import NumericalWarning
from kernelgp.features.coupling import COUPLINGS, ROTATIONS, Coupling, Rotation
from kernelgp.features.fourier_map import FourierMap, Waveform
from kernelgp.features.map import FeatureMap
from kernelgp.features.transformer import FeatureTransformer
from kernelgp.random import RandomState
from kernelgp.validation import check_choice

__all__ = ["FourierFeatures"]


class FourierFeatures(FeatureTransformer):
    """Waves whose inner products approximate a stationary kernel: ``Z Zᵀ ~ K``.

    Parameters
    ----------
    kernel : stationary kernel of kernelgp.kernels, gpytorch or scikit-learn, default=None
        In the units of the inputs. None is a Gaussian kernel with a lengthscale for each column:
        half its spread in the rows of `fit` times the root of their number.
    n_components
        Number of columns of the output. An odd number ends with a wave of random phase, and the
        expectation is still exact.
    coupling : {"orthogonal", "iid", "simplex", "simplex+", "sobol", "halton"}
        How frequencies depend on each other. Orthogonal ones err half as much as independent
        ones for some 64 inputs, as much as four times their number would. Simplexes are for
        positive features and do harm here, which is said in a warning.
    rotation : {"haar", "hadamard"}
        "hadamard" takes n_components / d fewer numbers, and less time from some 512 inputs on.
    map : {"sincos", "cos"}
        Pairs of a cosine and a sine, or cosines of random phase, which vary more.
    random_state : int, numpy Generator or RandomState, torch Generator, or None

    Attributes
    ----------
    kernel_ : Kernel
    frequencies_ : ndarray, shape (n_frequencies, d)
        In cycles per unit of the inputs.

    See Also
    --------
    PositiveFeatures : for kernels whose values must stay positive, as in attention.

    References
    ----------
    A. Rahimi and B. Recht, *Random features for large-scale kernel machines*, 2007; F. X. Yu,
    A. T. Suresh, K. Choromanski, D. Holtmann-Rice and S. Kumar, *Orthogonal random features*,
    2016.

    Examples
    --------
    >>> from kernelgp.kernels import RBF
    >>> X = np.random.default_rng(0).normal(size=(100, 3))
    >>> features = FourierFeatures(RBF(lengthscale=2.0), n_components=4096, random_state=0)
    >>> Z = features.fit_transform(X)
    >>> K = RBF(lengthscale=2.0)(torch.from_numpy(X)).to_dense().detach().numpy()
    >>> bool(np.abs(Z @ Z.T - K).max() < 0.05)
    True
    """

    def __init__(
        self,
        kernel: Any = None,
        n_components: int = 1024,
        *,
        coupling: Coupling = "orthogonal",
        rotation: Rotation = "haar",
        map: Waveform = "sincos",  # noqa: A002 # the field's word
        random_state: RandomState = None,
    ) -> None:
        self.kernel = kernel
        self.n_components = n_components
        self.coupling: Coupling = coupling
        self.rotation: Rotation = rotation
        self.map: Waveform = map
        self.random_state = random_state

    @property
    def frequencies_(self) -> NDArray[np.float64]:
        check_is_fitted(self)
        with torch.no_grad():
            return cast(Any, self._map).frequencies().double().cpu().numpy()

    @override
    def _make_map(self, kernel: Any, d: int, generator: torch.Generator) -> FeatureMap:
        check_choice("coupling", self.coupling, COUPLINGS)
        check_choice("rotation", self.rotation, ROTATIONS)
        check_choice("map", self.map, ["sincos", "cos"])
        if self.coupling in ("simplex", "simplex+") and d > 1:
            warn_of_simplex(self.coupling, "waves")
        return FourierMap(
            kernel, d, int(self.n_components), self.coupling, self.rotation, self.map, generator
        )


def warn_of_simplex(coupling: str, what: str) -> None:
    """Say that rows which balance each other do harm where a map is even."""
    warnings.warn(
        f"coupling={coupling!r} with {what}: a frequency and its negative make the same features, "
        "so that simplexes repeat what orthogonal blocks spread (30 to 60 % more error near zero "
        'distance in 64 dimensions); give coupling="orthogonal".',
        NumericalWarning,
        stacklevel=4,
    )
