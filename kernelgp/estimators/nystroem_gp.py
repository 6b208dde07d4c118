"""Sparse Gaussian process regression by inducing points: the plain baseline."""

from typing import Any, Literal, Self

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
    as_kernel,
    check_choice,
    give_back,
    read_features,
    read_noise,
    read_training,
    rescaled_start,
)
from kernelgp.estimators.storage import SaveMixin
from kernelgp.gp.hyperparameters import Hyperparameters, relative_bounds
from kernelgp.gp.inducing import InducingFeatures, choose_inducing_points, read_inducing
from kernelgp.gp.offset import Offset
from kernelgp.gp.optimize import learn
from kernelgp.gp.sgpr import SparseRegression, SparseRows, collapsed_bound, predict_sparse
from kernelgp.kernels import White
from kernelgp.random import RandomState, as_generator
from kernelgp.validation import check_positive

__all__ = ["NystroemGPRegressor"]


class NystroemGPRegressor(SaveMixin, RegressorMixin, BaseEstimator):
    """Gaussian process regression through `n_inducing` points, O(n m²) time, O(m²) memory.

    Hyperparameters maximise Titsias' bound; the rows are streamed.

    Parameters
    ----------
    kernel : kernelgp, gpytorch or scikit-learn kernel, default=None
        In the units of the inputs. None is a variance times ARD Matérn-5/2.
    n_inducing
        Points at most.
    inducing : {"rpcholesky", "kmeans", "random"} or array-like of shape (m, d)
    learn_inducing
        Whether the points move with the hyperparameters.
    noise : "learn", float or array-like of shape (n,)
        Variance in squared units of `y`.
    mean : {"constant", "zero"}
        The constant is the mean of the targets.
    optimizer : {"lbfgs", None}
        None keeps the hyperparameters given, and the mean zero; noise "learn" is then refused.
    max_iterations, normalize_x, normalize_y, dtype, device, random_state, verbose
        As everywhere; standardisation sets starts and bounds only.

    Attributes
    ----------
    kernel_ : Kernel
    noise_ : float or ndarray, shape (n,)
    mean_ : ndarray, shape (k,)
    inducing_points_ : ndarray, shape (m, d)
    inducing_mean_, inducing_covariance_ : ndarray, shape (m, k), (m, m)
        Of the whitened inducing values.
    log_marginal_likelihood_value_ : float
        The bound.
    report_ : OptimizeReport or None
        None where nothing was learned: without an optimizer, or from constant targets.

    References
    ----------
    Titsias, *Variational learning of inducing variables in sparse Gaussian processes*, 2009.

    Examples
    --------
    >>> X = np.linspace(0, 10, 300)[:, None]
    >>> y = np.sin(X[:, 0]) + 0.1 * np.random.default_rng(0).normal(size=300)
    >>> model = NystroemGPRegressor(n_inducing=20, random_state=0).fit(X, y)
    >>> mean, std = model.predict([[2.5]], return_std=True)
    >>> bool(abs(mean[0] - np.sin(2.5)) < 0.1), std.round(1)
    (True, array([0.1]))
    """

    def __init__(
        self,
        kernel: Any = None,
        *,
        n_inducing: int = 512,
        inducing: Any = "rpcholesky",
        learn_inducing: bool = False,
        noise: Any = "learn",
        mean: Literal["constant", "zero"] = "constant",
        optimizer: Literal["lbfgs"] | None = "lbfgs",
        max_iterations: int = 200,
        normalize_x: bool = True,
        normalize_y: bool = True,
        dtype: Any = None,
        device: Any = None,
        random_state: RandomState = None,
        verbose: bool = False,
    ) -> None:
        self.kernel = kernel
        self.n_inducing = n_inducing
        self.inducing = inducing
        self.learn_inducing = learn_inducing
        self.noise = noise
        self.mean = mean
        self.optimizer = optimizer
        self.max_iterations = max_iterations
        self.normalize_x = normalize_x
        self.normalize_y = normalize_y
        self.dtype = dtype
        self.device = device
        self.random_state = random_state
        self.verbose = verbose

    def fit(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> Self:
        """Choose points, find hyperparameters, and condition on the data.

        Parameters
        ----------
        X : array-like, shape (n, d)
        y : array-like, shape (n,) or (n, k)
            Several outputs share kernel and noise.
        sample_weight : array-like, shape (n,), optional
            A row of weight w counts as w rows.
        """
        check_choice("mean", self.mean, ["constant", "zero"])
        check_choice("optimizer", self.optimizer, ["lbfgs", None])
        for name in ("n_inducing", "max_iterations"):
            check_positive(name, getattr(self, name))
        data = read_training(self, X, y, sample_weight, dtype=self.dtype, device=self.device)
        given = read_noise(self.noise, len(data.kept), data.kept)
        if given is None and self.optimizer is None:
            raise ArgumentError("noise", "'learn' without an optimizer", "give a variance")
        if given is not None and not bool((given > 0).all()):
            raise ArgumentError("noise", "0", "give a positive variance, or use GPRegressor")
        scales = Scales.of(data, normalize_x=self.normalize_x, normalize_y=self.normalize_y)
        spread = float(scales.y_scale.square().mean()) ** 0.5
        kernel = as_kernel(self.kernel, scales.x_scale)
        if self.kernel is None:
            kernel = rescaled_start(kernel, torch.ones_like(scales.x_scale), spread)
        centred = self.mean == "constant" and self.optimizer is not None
        shift = Scales.of(data, normalize_x=False, normalize_y=True).y_shift if centred else None
        targets = data.y.reshape(len(data.y), -1).double()
        self.mean_ = np.zeros(targets.shape[1]) if shift is None else shift.cpu().numpy()
        if shift is not None:
            targets = targets - shift.to(targets.device)
        weights = torch.ones_like(data.x[:, 0]) if data.weights is None else data.weights
        rows = SparseRows(data.x, targets.to(data.x), weights)
        white = White(0.1 * spread**2 if given is None else 1.0)
        fixed = None if given is None else given.to(data.x.device)
        points = self._points(kernel, data.x)
        self.report_ = None
        # Of constant targets there is nothing to learn: every bound would do.
        if self.optimizer is not None and not bool(scales.constant.all()):
            points = self._learn(kernel, points, rows, white, fixed, scales.x_scale, spread)
        noise = white.noise.detach() if fixed is None else fixed
        with torch.no_grad():
            features = InducingFeatures(kernel, points, rows.x.dtype)
            found = SparseRegression(features, rows, noise)
            self.log_marginal_likelihood_value_ = found.bound(rows).item()
        self.kernel_ = kernel
        self.noise_ = noise.item() if noise.dim() == 0 else noise.cpu().numpy()
        self.inducing_points_ = points.cpu().numpy()
        self.inducing_mean_ = found.mean.cpu().numpy()
        self.inducing_covariance_ = found.covariance.cpu().numpy()
        self._setting = (data.x.dtype, data.x.device, data.y.dim() == 1)
        return self

    def predict(
        self, X: ArrayLike, *, return_std: bool = False, latent: bool = False
    ) -> NDArray[Any] | tuple[NDArray[Any], NDArray[Any]]:
        """Means of the response, shape (m,) or (m, k), and their standard deviations.

        Parameters
        ----------
        X : array-like, shape (m, d)
        return_std
            Of the response: noise included, where it is one for all rows.
        latent
            Of the latent function instead.
        """
        check_is_fitted(self)
        dtype, device, single = self._setting
        x = read_features(self, X, dtype=dtype, device=device)
        points, inner, covariance = (
            torch.as_tensor(array, device=device)
            for array in (self.inducing_points_, self.inducing_mean_, self.inducing_covariance_)
        )
        with torch.no_grad():
            features = InducingFeatures(self.kernel_, points, dtype)
        mean, variance = predict_sparse(features, inner, covariance, x)
        mean = (mean + torch.as_tensor(self.mean_, device=device)).to(dtype)
        mean = mean.squeeze(-1) if single else mean
        if not return_std:
            return give_back(mean, X)
        if not latent:
            if np.ndim(self.noise_):
                remedy = "give latent=True, or one noise for all rows"
                raise ArgumentError("latent", "False with a noise for each row", remedy)
            variance = variance + float(self.noise_)
        std = variance.sqrt().to(dtype)
        std = std if single else std.unsqueeze(-1).expand_as(mean)
        return give_back(mean, X), give_back(std, X)

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags

    def _points(self, kernel: Any, x: Tensor) -> Tensor:
        inducing = read_inducing(self.inducing, x.shape[-1])
        if isinstance(inducing, Tensor):
            return inducing.to(x.device)
        generator = as_generator(self.random_state)
        return choose_inducing_points(kernel, x, int(self.n_inducing), inducing, generator)

    def _learn(
        self,
        kernel: Any,
        points: Tensor,
        rows: SparseRows,
        white: White,
        fixed: Tensor | None,
        x_scale: Tensor,
        spread: float,
    ) -> Tensor:
        """Leave the hyperparameters in the modules, and return the points."""
        scale = x_scale.to(points)
        placed = Offset(points / scale, learned=bool(self.learn_inducing))
        modules: dict[str, Any] = {"": kernel}
        if fixed is None:
            modules["likelihood"] = white
        if self.learn_inducing:
            modules["inducing_points"] = placed
        hyper = Hyperparameters(modules, relative_bounds(x_scale, spread))

        def loss() -> Tensor:
            here = (placed.constant.detach() * scale).requires_grad_(bool(self.learn_inducing))

            def after() -> None:
                if here.grad is not None:
                    placed.constant.grad = here.grad * scale

            noise = white.noise if fixed is None else fixed
            value = collapsed_bound(kernel, here, rows, noise, after=after)
            for parameter in (*kernel.parameters(), *white.parameters(), placed.constant):
                if parameter.grad is not None:
                    parameter.grad.neg_()
            # The gradient is in place already; this only lets the optimizer call `backward`.
            return -value.detach().requires_grad_()

        self.report_ = learn(
            hyper,
            loss,
            max_iterations=int(self.max_iterations),
            tolerance=1e-4,
            visible=None if self.verbose else False,
        )
        return placed.constant.detach() * scale
