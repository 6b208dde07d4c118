"""`DKLGPRegressor`: Gaussian process regression on sparse inverse Cholesky factors."""

import time
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtri
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.utils import column_or_1d
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from kernelgp.errors import ArgumentError
from kernelgp.estimators.base import (
    Scales,
    Training,
    as_kernel,
    check_choice,
    check_count,
    check_levels,
    give_back,
    read_features,
    read_noise,
    read_training,
    without_white,
)
from kernelgp.estimators.coordinates import COORDINATES, Coordinates
from kernelgp.estimators.storage import SaveMixin
from kernelgp.estimators.vecchia_fit import Search, VecchiaReport, find_responses
from kernelgp.estimators.vecchia_posterior import Trend, VecchiaFunction
from kernelgp.kernels import Matern
from kernelgp.random import RandomState, as_generator
from kernelgp.vecchia.posterior import ResponsePosterior

__all__ = ["DKLGPRegressor"]

Array = NDArray[np.float64]

# Beyond so many rows a covariance of all pairs is refused: it would take 3 GB.
_MOST_PAIRS = 20_000


class DKLGPRegressor(SaveMixin, RegressorMixin, BaseEstimator):
    """Gaussian process regression by Vecchia's approximation: up to millions of rows.

    Every row is given its nearest among those before it, so that the inverse Cholesky factor of
    the covariance is sparse: O(n m³) time, O(n m) memory. Hyperparameters maximise that
    likelihood; with m = n - 1 neighbors all is exact. Rows at the same place are merged.

    Parameters
    ----------
    kernel : kernelgp, gpytorch or scikit-learn kernel, default=None
        None is a variance times Matérn-3/2 with a lengthscale for each input. Matérn kernels,
        RBF and rational quadratics, alone, run compiled, and their variance is always learned; all
        others by automatic differentiation, some fifty times slower.
    n_neighbors : int, default=30
        Of each row, while hyperparameters are learned.
    n_neighbors_predict : int, default=120
        Rows that each prediction is given: accuracy for time, O(m³) a point.
    noise : "learn", float or array of shape (n,), default="learn"
        Variance of the noise in squared units of `y`: one, or one for each row.
    mean : {"constant", "zero", "linear"}, default="constant"
        Its coefficients maximise the likelihood too.
    coordinates : {"euclidean", "space-time", "spherical"}, default="euclidean"
        "space-time": all columns but the last share a lengthscale, time has its own.
        "spherical": the first two columns are latitude and longitude in degrees; the kernel sees
        points of the unit sphere, which share a lengthscale: chords, in radians where they are
        short, times 6371 in km. Every further column has its own. A kernel of another kind than
        those compiled sees the three columns of the sphere as they are.
    optimizer : "lbfgs" or None, default="lbfgs"
        None keeps the hyperparameters given, rescales nothing and has mean zero.
    normalize_x, normalize_y : bool, default=True
        Whether the search starts from the spread of inputs and targets.
    device : str or torch device, default=None
        Of what is given back; compiled code runs on the CPU.
    dtype : "float32" or "float64", default=None
        Of what is given back; it is computed in float64.
    random_state : int, numpy Generator or RandomState, torch Generator or None, default=None
        Of the order of the rows and of samples of them.
    verbose : bool, default=False
        Whether to show progress, on a terminal only.

    Attributes
    ----------
    kernel_ : Kernel
        In the user's units; of the embedded columns with `coordinates="spherical"`.
    noise_ : float, or ndarray of shape (n,)
        Variance of the noise.
    mean_ : ndarray, shape (1 or 1 + d,); empty for the zero mean
        Constant, and slopes by column.
    log_marginal_likelihood_value_ : float
        Vecchia's, of `y` as given.
    report_ : VecchiaReport
    X_train_, y_train_ : ndarray
        The rows used.
    n_features_in_, feature_names_in_
        As everywhere in scikit-learn.

    Raises
    ------
    ArgumentError
        From `fit`, if an argument cannot be used.

    Warns
    -----
    ConvergenceWarning
        From `fit`, if the search ended early.
    JitterWarning
        If rows are so near that their covariance is singular.

    References
    ----------
    J. Cao et al., *Variational sparse inverse Cholesky approximation for latent Gaussian processes
    via double Kullback-Leibler minimization*, ICML 2023; J. Guinness, *Gaussian process learning
    via Fisher scoring of Vecchia's approximation*, Statistics and Computing 31, 2021.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> X = rng.uniform(size=(2000, 2))
    >>> y = np.sin(9 * X[:, 0]) * X[:, 1] + 0.1 * rng.normal(size=2000)
    >>> gp = DKLGPRegressor(random_state=0).fit(X, y)
    >>> mean, std = gp.predict([[0.5, 0.5]], return_std=True)
    >>> bool(abs(mean[0] - np.sin(4.5) / 2) < 0.05), bool(abs(gp.noise_ - 0.01) < 0.002)
    (True, True)
    """

    def __init__(
        self,
        kernel: Any = None,
        *,
        n_neighbors: int = 30,
        n_neighbors_predict: int = 120,
        noise: Any = "learn",
        mean: str = "constant",
        coordinates: str = "euclidean",
        optimizer: str | None = "lbfgs",
        normalize_x: bool = True,
        normalize_y: bool = True,
        device: Any = None,
        dtype: Any = None,
        random_state: RandomState = None,
        verbose: bool = False,
    ) -> None:
        self.kernel = kernel
        self.n_neighbors = n_neighbors
        self.n_neighbors_predict = n_neighbors_predict
        self.noise = noise
        self.mean = mean
        self.coordinates = coordinates
        self.optimizer = optimizer
        self.normalize_x = normalize_x
        self.normalize_y = normalize_y
        self.device = device
        self.dtype = dtype
        self.random_state = random_state
        self.verbose = verbose

    def fit(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> Self:
        """Find hyperparameters and condition on the data.

        Parameters
        ----------
        X : array-like or frame, shape (n, d)
        y : array-like, shape (n,)
            NaN is a target that was not observed.
        sample_weight : array-like, shape (n,), optional
            A row of weight w counts as w rows: its noise is divided by w.
        """
        begun = time.perf_counter()
        check_choice("mean", self.mean, ["constant", "zero", "linear"])
        check_choice("coordinates", self.coordinates, COORDINATES)
        check_choice("optimizer", self.optimizer, ["lbfgs", None])
        check_count("n_neighbors", self.n_neighbors, least=1)
        check_count("n_neighbors_predict", self.n_neighbors_predict, least=1)
        data = read_training(
            self, X, y, sample_weight, missing=True, dtype=self.dtype, device=self.device
        )
        noise = read_noise(self.noise, len(data.kept), data.kept)
        data, noise, n_missing = _observed(data, noise)
        learns = self.optimizer is not None
        where = Coordinates(self.coordinates)
        x = data.x.double().cpu().numpy()
        where.check(x)
        embedded = replace(data, x=torch.from_numpy(where.embed(x)))
        scales = Scales.of(
            embedded, normalize_x=self.normalize_x, normalize_y=self.normalize_y and learns
        )
        Z, targets = embedded.x.numpy(), data.y.double().cpu().numpy()
        shift, unit = scales.y_shift.item(), scales.y_scale.item()
        kind = self.mean if learns else "zero"
        trend = Trend(kind, scales.x_shift.cpu().numpy(), scales.x_scale.cpu().numpy())
        variances = None if noise is None else noise.numpy()
        counts = np.ones(len(Z)) if data.weights is None else data.weights.double().cpu().numpy()
        level, relative = None, np.ones(len(Z))
        if variances is not None:
            level = float(variances.mean())
            if variances.ndim and level > 0:
                relative = np.maximum(variances / level, 1e-8)
        search = self._search(scales, level, where.groups(Z.shape[1]), unit, learns=learns)
        found = find_responses(search, Z, targets - shift, trend.basis(Z), counts, relative)
        posterior = ResponsePosterior(
            found.kernel,
            found.noise,
            found.rows.X,
            found.rows.y - found.rows.H @ found.coefficients,
            found.rows.shares,
            found.metric,
            int(self.n_neighbors_predict),
        )
        self.kernel_ = found.kernel
        self.noise_ = found.noise if variances is None or not variances.ndim else variances
        plain = trend.plain(found.coefficients)
        if len(plain):
            plain[0] += shift
        elif shift:
            plain = np.array([shift])
        self.mean_ = plain
        self.log_marginal_likelihood_value_ = found.log_likelihood
        self.X_train_, self.y_train_ = data.x.cpu().numpy(), data.y.cpu().numpy()
        self._function = VecchiaFunction(where, shift, trend, found.coefficients, posterior)
        self._setting = (data.x.dtype, data.x.device)
        self.report_ = VecchiaReport(
            level="response",
            n_rows=len(Z),
            n_merged=len(Z) - len(found.rows.y),
            n_missing=n_missing,
            n_neighbors=min(int(self.n_neighbors), max(len(found.rows.y) - 1, 1)),
            n_neighbors_predict=min(int(self.n_neighbors_predict), len(found.rows.y)),
            seconds=time.perf_counter() - begun,
            evaluations=found.evaluations,
            converged=found.converged,
            at_bound=found.at_bound,
            log_marginal_likelihood=found.log_likelihood,
            notes=found.notes,
        )
        return self

    def _search(
        self, scales: Scales, noise: float | None, groups: Any, unit: float, *, learns: bool
    ) -> Search:
        x_scale = scales.x_scale.cpu()
        kernel = as_kernel(self.kernel, x_scale, default=partial(Matern, 1.5))
        white = None
        if noise is None:
            kernel, white = without_white(kernel)
            if white is None and not learns:
                remedy = "give its variance, or add White(noise) to the kernel"
                raise ArgumentError("noise", '"learn" without an optimizer', remedy)
        share = None if white is None else float(white.noise)
        if share is not None and not learns:
            noise = share
        seed = int(torch.randint(2**31, (1,), generator=as_generator(self.random_state)).item())
        return Search(
            kernel=kernel,
            is_default=self.kernel is None,
            white=share,
            x_scale=x_scale.numpy(),
            y_scale=unit,
            noise=noise,
            groups=groups,
            learns=learns,
            n_neighbors=int(self.n_neighbors),
            seed=seed,
            visible=None if self.verbose else False,
        )

    def predict(
        self,
        X: ArrayLike,
        *,
        return_std: bool = False,
        return_cov: bool = False,
        return_quantiles: Sequence[float] | None = None,
        latent: bool = False,
    ) -> Any:
        """Mean of the response, and how sure it is.

        Parameters
        ----------
        X : array-like, shape (q, d)
        return_std, return_cov
            Whether to give standard deviations, or covariances, besides; one of them. Deviations
            are of each point by itself; covariances of all together, O(q²) memory.
        return_quantiles : sequence of float in (0, 1), optional
            Levels at which to give quantiles besides.
        latent
            Whether of the function alone, without the noise of the response. Where each row
            had a variance of its own, the response has their mean.

        Returns
        -------
        mean : ndarray or Tensor, shape (q,)
        std : shape (q,), if `return_std`
        cov : shape (q, q), if `return_cov`
        quantiles : shape (q, k), if `return_quantiles`
        """
        check_is_fitted(self)
        levels = check_levels(return_quantiles)
        if sum((bool(return_std), bool(return_cov), levels is not None)) > 1:
            remedy = "ask for one of std, cov and quantiles at a time"
            raise ArgumentError("return_std", "True beside another", remedy)
        x = self._read(X)
        extra = 0.0 if latent else float(np.mean(self.noise_))
        if return_cov:
            _check_pairs(len(x))
            mean, covariance = self._function.covariance(x, int(self.n_neighbors))
            covariance[np.diag_indices(len(x))] += extra
            return self._give(mean, X), self._give(covariance, X)
        mean, variance = self._function.marginal(x)
        std = np.sqrt(variance + extra)
        if return_std:
            return self._give(mean, X), self._give(std, X)
        if levels is not None:
            quantiles = mean[:, None] + std[:, None] * ndtri(levels.numpy())
            return self._give(mean, X), self._give(quantiles, X)
        return self._give(mean, X)

    def sample_y(
        self,
        X: ArrayLike,
        n_samples: int = 1,
        random_state: RandomState = 0,
        *,
        latent: bool = True,
    ) -> Any:
        """Draws of the function at all rows together.

        Parameters
        ----------
        X : array-like, shape (q, d)
        n_samples
        random_state : int, numpy Generator or RandomState, torch Generator or None
        latent
            Whether the function alone; else with noise of the response added.

        Returns
        -------
        ndarray or Tensor, shape (q, n_samples)
        """
        check_is_fitted(self)
        check_count("n_samples", n_samples, least=1)
        x = self._read(X)
        seed = torch.randint(2**31, (1,), generator=as_generator(random_state))
        rng = np.random.default_rng(int(seed))
        drawn = self._function.draw(x, int(n_samples), int(self.n_neighbors), rng)
        if not latent:
            drawn += np.sqrt(np.mean(self.noise_)) * rng.standard_normal(drawn.shape)
        return self._give(drawn, X)

    def _read(self, X: Any) -> Array:
        dtype, device = self._setting
        return read_features(self, X, dtype=dtype, device=device).double().cpu().numpy()

    def _give(self, result: Array, X: Any) -> Any:
        return give_back(torch.from_numpy(result).to(self._setting[0]), X)


def _observed(data: Training, noise: Tensor | None) -> tuple[Training, Tensor | None, int]:
    """Rows with one target each, without those that were not observed."""
    y = torch.from_numpy(column_or_1d(data.y.cpu().numpy(), warn=True)).to(data.y)
    seen = ~y.isnan()
    if not bool(seen.any()):
        raise ArgumentError("y", "NaN only", "give some targets")
    weights = None if data.weights is None else data.weights[seen]
    if noise is not None and noise.dim():
        noise = noise[seen.cpu()]
    return replace(data, x=data.x[seen], y=y[seen], weights=weights), noise, int((~seen).sum())


def _check_pairs(q: int) -> None:
    if q > _MOST_PAIRS:
        remedy = "ask for return_std, for sample_y, or for fewer rows at a time"
        raise ArgumentError("return_cov", f"True for {q} rows", remedy)
