"""Kernel ridge regression on random features, for any number of rows."""

from typing import Any, Self

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.utils import Tags
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from kernelgp.errors import ArgumentError
from kernelgp.estimators.base import (
    Scales,
    Training,
    give_back,
    read_features,
    read_training,
)
from kernelgp.estimators.feature_base import MapState, draw_map, start_kernel
from kernelgp.estimators.storage import SaveMixin
from kernelgp.features.coupling import Coupling, Rotation
from kernelgp.features.fourier_map import Waveform
from kernelgp.gp.feature_ridge import RidgeSums, solve_by_iterations
from kernelgp.gp.inducing import row_blocks
from kernelgp.random import RandomState, as_generator
from kernelgp.validation import check_count, check_positive

__all__ = ["FeatureRidge"]

# Beyond, the sums take 2 GB and more, and their factor as much.
_MOST_DENSE = 16_000


class FeatureRidge(MapState, SaveMixin, RegressorMixin, BaseEstimator):
    """Ridge regression on random Fourier features: `KernelRidge` for millions of rows.

    ``min |y - Φ w - c|² + noise |w|²``, in one pass: what is kept are sums of D x D numbers,
    whatever the number of rows. Above 16 000 features, conjugate gradients instead, which pass
    over the rows some tens of times and keep less.

    Parameters
    ----------
    kernel : stationary kernel of kernelgp, gpytorch or scikit-learn, default=None
        In the units of the inputs; nothing of it is learned. None is ARD RBF with lengthscales of
        half the spread of each input times the root of their number.
    n_components
        D, the number of features.
    coupling, rotation, map
        As for `FourierFeatures`.
    noise
        The ridge: a variance beside those of the kernel, scikit-learn's `alpha`. Positive.
    fit_intercept
        Whether a constant is fitted that is not penalised.
    dtype, device
        None keeps those of X; float32 is twice as fast.
    random_state : int, Generator, RandomState or None

    Attributes
    ----------
    kernel_ : Kernel
    frequencies_ : ndarray, shape (n_frequencies, d)
    coef_ : ndarray, shape (D, k), float64
    intercept_ : ndarray, shape (k,)
    report_ : SolveReport or None
        Of the iterations, where there were some.

    Examples
    --------
    >>> X = np.linspace(0, 1, 500)[:, None]
    >>> model = FeatureRidge(n_components=100, noise=1e-4, random_state=0)
    >>> model = model.fit(X, np.sin(6 * X[:, 0]))
    >>> bool(abs(model.predict([[0.25]])[0] - np.sin(1.5)) < 1e-2)
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
        noise: float = 0.1,
        fit_intercept: bool = True,
        dtype: Any = None,
        device: Any = None,
        random_state: RandomState = None,
    ) -> None:
        self.kernel = kernel
        self.n_components = n_components
        self.coupling = coupling
        self.rotation = rotation
        self.map = map
        self.noise = noise
        self.fit_intercept = fit_intercept
        self.dtype = dtype
        self.device = device
        self.random_state = random_state

    def fit(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> Self:
        """Draw features and solve.

        Parameters
        ----------
        X : array-like, shape (n, d)
        y : array-like, shape (n,) or (n, k)
        sample_weight : array-like, shape (n,), optional
            A row of weight w counts as w rows.

        Warns
        -----
        ConvergenceWarning
            If conjugate gradients end above a relative residual of 1e-6.
        """
        noise = self._check()
        data = read_training(self, X, y, sample_weight, dtype=self.dtype, device=self.device)
        generator = self._begin(data)
        y_, weights = _targets(data)
        if self.n_components <= _MOST_DENSE:
            self._sums = RidgeSums(int(self.n_components), y_.shape[1], data.x.device)
            return self._count(data)
        coef, intercept, self.report_ = solve_by_iterations(
            self._rebuild_map(data.x.device),
            data.x,
            y_,
            weights,
            noise,
            centred=bool(self.fit_intercept),
            rank=min(500, int(self.n_components)),
            generator=generator,
        )
        self.coef_, self.intercept_ = coef.cpu().numpy(), intercept.cpu().numpy()
        return self

    def partial_fit(
        self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None
    ) -> Self:
        """Add rows; features are those of the first part, and so is the default kernel.

        Raises
        ------
        ArgumentError
            Above 16 000 features, whose sums are not kept, and of a model from a file.
        """
        self._check()
        if self.n_components > _MOST_DENSE:
            raise ArgumentError("n_components", str(self.n_components), "use fit, or at most 16000")
        if not hasattr(self, "coef_"):
            return self.fit(X, y, sample_weight)
        if not hasattr(self, "_sums"):
            raise ArgumentError("self", "a model from a file, without sums", "fit it again")
        dtype, device, _ = self._setting
        read_features(self, X, dtype=dtype, device=device)  # refuses other columns
        data = read_training(self, X, y, sample_weight, dtype=dtype, device=self.device)
        if data.y.reshape(len(data.y), -1).shape[1] != self.coef_.shape[1]:
            given = f"shape {tuple(data.y.shape)}"
            raise ArgumentError("y", given, f"give {self.coef_.shape[1]} outputs, as before")
        return self._count(data)

    def predict(self, X: ArrayLike) -> NDArray[np.floating[Any]]:
        """The function at the rows of `X`, shape (m,) or (m, k), a block at a time."""
        check_is_fitted(self)
        dtype, device, single = self._setting
        x = read_features(self, X, dtype=dtype, device=device)
        coef = torch.as_tensor(self.coef_, device=device).to(dtype)
        intercept = torch.as_tensor(self.intercept_, device=device).to(dtype)
        with torch.no_grad():
            features = self._rebuild_map(device).prepare(x)
            blocks = (features(x[rows]) @ coef for rows in row_blocks(len(x), len(coef)))
            values = torch.cat(list(blocks)) + intercept
        return give_back(values.squeeze(-1) if single else values, X)

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags

    def _file_state(self) -> dict[str, Any]:
        """What a file holds: the sums, D x D numbers, are left out."""
        state: Any = self.__getstate__()
        return {name: value for name, value in state.items() if name != "_sums"}

    def _check(self) -> float:
        check_count("n_components", self.n_components)
        noise = check_positive("noise", self.noise)
        if noise.numel() != 1:
            raise ArgumentError("noise", f"shape {tuple(noise.shape)}", "give one number")
        return float(noise)

    def _begin(self, data: Training) -> torch.Generator:
        scales = Scales.of(data, normalize_x=True, normalize_y=False)
        kernel = start_kernel(self.kernel, data, scales, 1.0)
        generator = as_generator(self.random_state)
        n, d = int(self.n_components), data.x.shape[-1]
        self._keep_map(draw_map(self, kernel, d, n, generator))
        self._setting = (data.x.dtype, data.x.device, data.y.dim() == 1)
        self.report_ = None
        return generator

    def _count(self, data: Training) -> Self:
        y, weights = _targets(data)
        self._sums.add(self._rebuild_map(data.x.device), data.x, y, weights)
        found = self._sums.solve(float(self.noise), centred=bool(self.fit_intercept))
        self.coef_, self.intercept_ = (tensor.cpu().numpy() for tensor in found)
        return self


def _targets(data: Training) -> tuple[Tensor, Tensor]:
    weights = torch.ones_like(data.x[:, 0]) if data.weights is None else data.weights
    return data.y.reshape(len(data.y), -1), weights
