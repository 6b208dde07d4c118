"""Gaussian process regression on random features, from ten rows to millions."""

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
    check_choice,
    give_back,
    read_features,
    read_noise,
    read_training,
    rescaled_start,
)
from kernelgp.estimators.feature_base import MapState, centred, draw_map, start_kernel
from kernelgp.estimators.storage import SaveMixin
from kernelgp.features.coupling import Coupling, Rotation
from kernelgp.features.fourier_map import FourierMap, Waveform
from kernelgp.gp.feature_regression import MappedRows, feature_loss, product_dtype
from kernelgp.gp.hyperparameters import Hyperparameters, relative_bounds
from kernelgp.gp.inducing import row_blocks
from kernelgp.gp.optimize import learn
from kernelgp.gp.sgpr import SparseRegression, SparseRows, predict_sparse
from kernelgp.kernels import White
from kernelgp.random import RandomState, as_generator
from kernelgp.validation import check_count, check_positive

__all__ = ["FeatureGPRegressor"]

# Where there are more rows or columns, hyperparameters are sought on so many first.
_SUBSAMPLE, _COLUMNS = 4000, 512


class FeatureGPRegressor(MapState, SaveMixin, RegressorMixin, BaseEstimator):
    """Gaussian process regression on random Fourier features: O(n D²) time, O(D²) memory.

    Bayesian linear regression on D features with the exact posterior and evidence of the kernel
    that they make. Rows are streamed, so memory does not grow with their number.

    Parameters
    ----------
    kernel : stationary kernel of kernelgp, gpytorch or scikit-learn, default=None
        In the units of the inputs. None is a variance times ARD RBF.
    n_components
        D, the number of features.
    coupling, rotation, map
        As for `FourierFeatures`.
    noise : "learn", float or array-like of shape (n,)
        Variance in squared units of `y`, positive.
    mean : {"constant", "zero"}
        The constant is the mean of the targets.
    optimizer : {"lbfgs", None}
        By the log marginal likelihood, for the random numbers drawn; first on 4 000 rows and 512
        features where there are more. None keeps the hyperparameters given, and the mean zero;
        noise "learn" is then refused.
    max_iterations, normalize_x, normalize_y, dtype, device, random_state, verbose
        As everywhere; standardisation sets starts and bounds only.

    Attributes
    ----------
    kernel_ : Kernel
    noise_ : float or ndarray, shape (n,)
    mean_ : ndarray, shape (k,)
    frequencies_ : ndarray, shape (n_frequencies, d)
        In cycles per unit of the inputs.
    coef_, coef_covariance_ : ndarray, shape (D, k), (D, D)
        Mean and covariance of the weights.
    log_marginal_likelihood_value_ : float
    report_ : OptimizeReport or None
        None where nothing was learned: without an optimizer, or from constant targets.

    Notes
    -----
    Where the noise is 1e-6 of the signal or less, or the kernel rough, D features fall short of a
    kernel that `GPRegressor` uses exactly. Far from the data the standard deviation stays right,
    unlike that of inducing points, but for what D waves make of it.

    References
    ----------
    M. Lázaro-Gredilla, J. Quiñonero-Candela, C. E. Rasmussen and A. R. Figueiras-Vidal, *Sparse
    spectrum Gaussian process regression*, 2010.

    Examples
    --------
    >>> X = np.linspace(0, 10, 300)[:, None]
    >>> y = np.sin(X[:, 0]) + 0.1 * np.random.default_rng(0).normal(size=300)
    >>> model = FeatureGPRegressor(n_components=100, random_state=0).fit(X, y)
    >>> mean, std = model.predict([[2.5]], return_std=True)
    >>> bool(abs(mean[0] - np.sin(2.5)) < 0.1), std.round(1)
    (True, array([0.1]))
    """

    def __init__(
        self,
        kernel: Any = None,
        n_components: int = 1024,
        *,
        coupling: Coupling = "orthogonal",
        rotation: Rotation = "haar",
        map: Waveform = "sincos",  # noqa: A002 # the field's word
        noise: Any = "learn",
        mean: Literal["constant", "zero"] = "constant",
        optimizer: Literal["lbfgs"] | None = "lbfgs",
        max_iterations: int = 100,
        normalize_x: bool = True,
        normalize_y: bool = True,
        dtype: Any = None,
        device: Any = None,
        random_state: RandomState = None,
        verbose: bool = False,
    ) -> None:
        self.kernel = kernel
        self.n_components = n_components
        self.coupling = coupling
        self.rotation = rotation
        self.map = map
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
        """Draw features, find hyperparameters, and condition on the data.

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
        check_positive("max_iterations", self.max_iterations)
        n_components = check_count("n_components", self.n_components)
        data = read_training(self, X, y, sample_weight, dtype=self.dtype, device=self.device)
        given = read_noise(self.noise, len(data.kept), data.kept)
        if given is None and self.optimizer is None:
            raise ArgumentError("noise", "'learn' without an optimizer", "give a variance")
        if given is not None and not bool((given > 0).all()):
            raise ArgumentError("noise", "0", "give a positive variance, or use GPRegressor")
        scales = Scales.of(data, normalize_x=self.normalize_x, normalize_y=self.normalize_y)
        spread = float(scales.y_scale.square().mean()) ** 0.5
        kernel = start_kernel(self.kernel, data, scales, spread)
        targets, shift = centred(data, self.mean if self.optimizer is not None else "zero")
        weights = torch.ones_like(data.x[:, 0]) if data.weights is None else data.weights
        rows = SparseRows(data.x, targets.to(data.x), weights)
        white = White(0.1 * spread**2 if given is None else 1.0)
        fixed = None if given is None else given.to(data.x.device)
        generator = as_generator(self.random_state)
        seed = int(torch.randint(2**62, (), generator=generator))

        def draw(n: int, own: Any) -> FourierMap:
            mapping = draw_map(self, own, rows.x.shape[-1], n, torch.Generator().manual_seed(seed))
            return mapping.to(rows.x.device)

        self.report_ = None
        # Of constant targets there is nothing to learn: every bound would do.
        if self.optimizer is not None and not bool(scales.constant.all()):
            bounds = relative_bounds(scales.x_scale, spread)
            kernel = self._learn(kernel, draw, rows, white, fixed, bounds, scales, spread, seed)
        mapping = draw(n_components, kernel)
        noise = white.noise.detach().to(rows.x.device) if fixed is None else fixed
        with torch.no_grad():
            products = product_dtype(rows, noise, n_components)
            found = SparseRegression(MappedRows(mapping), rows, noise, products=products)
            self.log_marginal_likelihood_value_ = found.bound(rows).item()
        self._keep_map(mapping)
        self.noise_ = noise.item() if noise.dim() == 0 else noise.cpu().numpy()
        self.mean_ = shift.cpu().numpy()
        self.coef_ = found.mean.cpu().numpy()
        self.coef_covariance_ = found.covariance.cpu().numpy()
        self._setting = (data.x.dtype, data.x.device, data.y.dim() == 1)
        return self

    def predict(
        self,
        X: ArrayLike,
        *,
        return_std: bool = False,
        return_cov: bool = False,
        latent: bool = False,
    ) -> Any:
        """Means of the response, shape (m,) or (m, k), and what is asked for beside them.

        Parameters
        ----------
        X : array-like, shape (m, d)
        return_std
            Also standard deviations of the response, noise included, of the shape of the means.
        return_cov
            Also the covariance, shape (m, m), the same for all outputs; instead of them.
        latent
            Of the latent function instead.
        """
        check_is_fitted(self)
        if return_std and return_cov:
            raise ArgumentError("return_cov", "True beside return_std=True", "ask for one of them")
        dtype, device, single = self._setting
        x = read_features(self, X, dtype=dtype, device=device)
        mapping = self._rebuild_map(device)
        inner, covariance = (
            torch.as_tensor(array, device=device) for array in (self.coef_, self.coef_covariance_)
        )
        if not (return_std or return_cov):
            mean = self._add_mean(torch.cat([phi @ inner for phi in self._blocks(mapping, x)]))
            return give_back(mean, X)
        noise = self._response_noise(latent=latent)
        if return_cov:
            phi = torch.cat(list(self._blocks(mapping, x)))
            whole = phi @ covariance @ phi.mT
            whole.diagonal().add_(noise)
            return give_back(self._add_mean(phi @ inner), X), give_back(whole.to(dtype), X)
        mean, variance = predict_sparse(MappedRows(mapping), inner, covariance, x)
        mean = self._add_mean(mean)
        std = (variance + noise).sqrt().to(dtype)
        std = std if single else std.unsqueeze(-1).expand_as(mean)
        return give_back(mean, X), give_back(std, X)

    def sample_y(
        self,
        X: ArrayLike,
        n_samples: int = 1,
        *,
        latent: bool = True,
        random_state: RandomState = None,
    ) -> NDArray[Any]:
        """Draws of the latent function at the rows of `X`, shape (m, n_samples).

        Each is one function, the same at any points for the same `random_state`. Of several
        outputs, shape (m, k, n_samples). ``latent=False`` adds noise.
        """
        check_is_fitted(self)
        n_samples = check_count("n_samples", n_samples)
        dtype, device, single = self._setting
        x = read_features(self, X, dtype=dtype, device=device)
        generator = as_generator(random_state)
        coef = torch.as_tensor(self.coef_)
        size, k = coef.shape
        root = _root(torch.as_tensor(self.coef_covariance_))
        normal = torch.randn(size, k * n_samples, generator=generator, dtype=torch.float64)
        drawn = (root @ normal).reshape(size, k, n_samples) + coef.unsqueeze(-1)
        drawn = drawn.reshape(size, -1).to(device)
        blocks = self._blocks(self._rebuild_map(device), x)
        values = torch.cat([phi @ drawn for phi in blocks]).reshape(len(x), k, n_samples)
        values = values + torch.as_tensor(self.mean_, device=device).unsqueeze(-1)
        noise = self._response_noise(latent=latent)
        if noise:
            shape = values.shape
            values += noise**0.5 * torch.randn(shape, generator=generator, dtype=torch.float64).to(
                device
            )
        values = values.to(dtype)
        return give_back(values.squeeze(1) if single else values, X)

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags

    def _add_mean(self, values: Tensor) -> Tensor:
        dtype, device, single = self._setting
        mean = (values + torch.as_tensor(self.mean_, device=device)).to(dtype)
        return mean.squeeze(-1) if single else mean

    @torch.no_grad()
    def _blocks(self, mapping: FourierMap, x: Tensor) -> Any:
        features = mapping.prepare(x)
        for rows in row_blocks(len(x), mapping.n_components):
            with torch.no_grad():
                phi = features(x[rows])
            yield phi.double()

    def _response_noise(self, *, latent: bool) -> float:
        if latent:
            return 0.0
        if np.ndim(self.noise_):
            remedy = "give latent=True, or one noise for all rows"
            raise ArgumentError("latent", "False with a noise for each row", remedy)
        return float(self.noise_)

    def _learn(
        self,
        kernel: Any,
        draw: Any,
        rows: SparseRows,
        white: White,
        fixed: Tensor | None,
        bounds: Any,
        scales: Scales,
        spread: float,
        seed: int,
    ) -> Any:
        """The kernel with its hyperparameters learned; those of the noise are left in `white`."""
        n, wanted = len(rows.x), int(self.n_components)
        stages = [(n, wanted)]
        if n > _SUBSAMPLE or wanted > _COLUMNS:
            stages.insert(0, (min(n, _SUBSAMPLE), min(wanted, _COLUMNS)))
        modules: dict[str, Any] = {"": kernel}
        if fixed is None:
            modules["likelihood"] = white
        generator = torch.Generator().manual_seed(seed + 1)
        for i, (count, columns) in enumerate(stages):
            chosen = torch.randperm(n, generator=generator)[:count].sort().values
            chosen = chosen.to(rows.x.device)
            part = SparseRows(rows.x[chosen], rows.y[chosen], rows.weights[chosen])
            own = fixed if fixed is None or fixed.dim() == 0 else fixed[chosen]
            if i == 0 and self.kernel is not None:
                other = rescaled_start(kernel, scales.x_scale, spread)
                kernel = min(
                    (kernel, other),
                    key=lambda k: _value(draw(columns, k), part, white, own),
                )
                modules[""] = kernel
            mapping = draw(columns, kernel)

            def loss(mapping: Any = mapping, part: Any = part, own: Any = own) -> Tensor:
                noise = white.noise.to(part.x.device) if own is None else own
                return feature_loss(mapping, part, noise)

            last = i + 1 == len(stages)
            report = learn(
                Hyperparameters(modules, bounds),
                loss,
                max_iterations=int(self.max_iterations),
                tolerance=1e-4,
                visible=None if self.verbose else False,
                warn=last,
            )
            self.report_ = report
        return kernel


def _value(mapping: FourierMap, rows: SparseRows, white: White, fixed: Tensor | None) -> float:
    noise = white.noise.detach().to(rows.x.device) if fixed is None else fixed
    with torch.no_grad():
        value = SparseRegression(MappedRows(mapping), rows, noise).bound(rows).item()
    return -value if np.isfinite(value) else np.inf


def _root(covariance: Tensor) -> Tensor:
    """A square root of a covariance that rounding may have made slightly indefinite."""
    root, failed = torch.linalg.cholesky_ex(covariance)
    if not failed:
        return root
    values, vectors = torch.linalg.eigh(covariance)
    return vectors * values.clamp(min=0).sqrt()
