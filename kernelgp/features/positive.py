"""Features that are positive, for kernels whose approximation must be."""

import warnings
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.utils.validation import check_is_fitted
from torch import Tensor
from typing_extensions import override

from kernelgp.errors import NumericalWarning
from kernelgp.features.coupling import COUPLINGS, ROTATIONS, Coupling, Rotation
from kernelgp.features.fourier import warn_of_simplex
from kernelgp.features.map import FeatureMap
from kernelgp.features.positive_map import HybridMap, PositiveMap
from kernelgp.features.transformer import FeatureTransformer, column_moments
from kernelgp.random import RandomState
from kernelgp.validation import check_choice

__all__ = ["PositiveFeatures"]


class PositiveFeatures(FeatureTransformer):
    """Exponentials whose inner products approximate a kernel, and stay positive: ``Z Zᵀ ~ K``.

    They are better than waves where the kernel is small, relative to its value there; waves are
    better near its maximum, and wherever points lie many lengthscales from their centre: the
    error of these grows exponentially with that.

    Parameters
    ----------
    kernel : mixture of Gaussian kernels, default=None
        RBF, Matern, RationalQuadratic, their sums and products, in the units of the inputs. None
        is a Gaussian kernel with a lengthscale for each column: half its spread in the rows of
        `fit` times the root of their number.
    n_components
        Number of columns of the output.
    coupling : {"simplex+", "simplex", "orthogonal", "iid", "sobol", "halton"}
        How the projections depend on each other. Near the centre simplexes err a hundredth of
        what independent ones do (64 inputs, mean square); far from it all are alike.
    rotation : {"haar", "hadamard"}
        As for `FourierFeatures`.
    map : {"positive", "hyperbolic", "optimal", "hybrid"}
        One exponential for a projection; two of opposite sign; one of another shape, that of
        least variance at the spread of the rows of `fit`; or waves and exponentials, weighed by
        the angle between points, whose `signature_` has both signs.
    random_state : int, numpy Generator or RandomState, torch Generator, or None

    Attributes
    ----------
    kernel_ : Kernel
    frequencies_ : ndarray, shape (n_frequencies, d)
        The projections, in cycles per unit of the inputs.
    location_ : ndarray, shape (d,)
        The centre of the rows of `fit`, which is subtracted from points.
    signature_ : ndarray, shape (n_components,)
        ``K ~ Z diag(signature) Zᵀ``: ones, but for map="hybrid".

    Notes
    -----
    A module of ``as_module(d)``, which saw no rows, has its centre at zero.

    References
    ----------
    I. Reid, K. Choromanski, V. Likhosherstov and A. Weller, *Simplex random features*, ICML 2023;
    for the maps see `kernelgp.features.positive_map`.

    Examples
    --------
    >>> from kernelgp.kernels import RBF
    >>> X = np.random.default_rng(0).normal(size=(100, 8))
    >>> Z = PositiveFeatures(RBF(lengthscale=8.0), 256, random_state=0).fit_transform(X)
    >>> K = RBF(lengthscale=8.0)(torch.from_numpy(X)).to_dense().detach().numpy()
    >>> bool((Z > 0).all() and np.abs(Z @ Z.T - K).max() < 0.2)
    True
    """

    def __init__(
        self,
        kernel: Any = None,
        n_components: int = 1024,
        *,
        coupling: Coupling = "simplex+",
        rotation: Rotation = "haar",
        map: Literal["positive", "hyperbolic", "optimal", "hybrid"] = "positive",  # noqa: A002
        random_state: RandomState = None,
    ) -> None:
        self.kernel = kernel
        self.n_components = n_components
        self.coupling: Coupling = coupling
        self.rotation: Rotation = rotation
        self.map: Literal["positive", "hyperbolic", "optimal", "hybrid"] = map
        self.random_state = random_state

    @property
    def frequencies_(self) -> NDArray[np.float64]:
        check_is_fitted(self)
        with torch.no_grad():
            return self._found.frequencies().double().cpu().numpy()

    @property
    def location_(self) -> NDArray[np.float64]:
        check_is_fitted(self)
        found = self._found.exponentials if self.map == "hybrid" else self._found
        return found.location.cpu().numpy()

    @property
    def signature_(self) -> NDArray[np.float64]:
        check_is_fitted(self)
        if self.map == "hybrid":
            return self._found.signature.cpu().numpy()
        return np.ones(self._found.n_components)

    @property
    def _found(self) -> Any:
        return self._map

    @override
    def _make_map(self, kernel: Any, d: int, generator: torch.Generator) -> FeatureMap:
        check_choice("coupling", self.coupling, COUPLINGS)
        check_choice("rotation", self.rotation, ROTATIONS)
        check_choice("map", self.map, ["positive", "hyperbolic", "optimal", "hybrid"])
        n = int(self.n_components)
        if self.map == "hyperbolic" and self.coupling in ("simplex", "simplex+") and d > 1:
            warn_of_simplex(self.coupling, "exponentials of both signs")
        if self.map == "hybrid":
            return HybridMap(kernel, d, n, self.coupling, self.rotation, generator)
        return PositiveMap(kernel, d, n, self.coupling, self.rotation, self.map, generator)

    @override
    def _look_at(self, array: Any) -> None:
        mean, variance = column_moments(array)
        self._found.centre(torch.from_numpy(mean), torch.from_numpy(variance))
        with torch.no_grad():
            self._found.prepare(torch.zeros(1))  # refuses what is no mixture of Gaussians

    @override
    def _check_features(self, result: Tensor) -> None:
        lost = int((result == 0).all(dim=-1).sum())
        largest = float(result.abs().max()) if result.numel() else 0.0
        if lost or largest > torch.finfo(result.dtype).max ** 0.4:
            warnings.warn(
                f"{lost} of {len(result)} rows have no feature above zero, and the largest of all "
                f"is {largest:.1e}: they lie too many lengthscales from the centre; standardise "
                "the inputs, give longer lengthscales, or use FourierFeatures.",
                NumericalWarning,
                stacklevel=4,
            )
