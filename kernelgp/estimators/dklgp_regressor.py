"""`DKLGPRegressor`: regression with any likelihood on sparse inverse Cholesky factors."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Self, cast

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
    check_array,
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
from kernelgp.estimators.vecchia_latent import (
    LatentFunction,
    LatentOptions,
    StoredLatent,
    fit_function,
    latent_report,
    read_offset,
)
from kernelgp.estimators.vecchia_posterior import Trend, VecchiaFunction
from kernelgp.kernels import Matern
from kernelgp.random import RandomState, as_generator
from kernelgp.validation import check_positive
from kernelgp.vecchia.likelihoods import Gaussian, Likelihood
from kernelgp.vecchia.posterior import ResponsePosterior
from kernelgp.vecchia.read_likelihood import read_likelihood

__all__ = ["DKLGPRegressor"]

Array = NDArray[np.float64]

_DEFAULT = partial(Matern, 1.5)
# Rows whose responses are averaged at a time.
_BATCH = 2**15
# Beyond so many rows a covariance of all pairs is refused: it would take 3 GB.
_MOST_PAIRS = 20_000


class DKLGPRegressor(SaveMixin, RegressorMixin, BaseEstimator):
    """Gaussian process regression, with any likelihood, for up to millions of rows.

    Every row is given its nearest among those before it, so that the inverse Cholesky factor of
    the covariance is sparse: O(n m³) time, O(n m) memory. Hyperparameters maximise that
    likelihood; with m = n - 1 neighbors all is exact. Rows at the same place are merged.

    A Gaussian response is approximated itself; behind any other likelihood there is a latent
    function with the same sparse prior, whose posterior is the normal one around its mode, with
    an incomplete factor for its precision, and hyperparameters maximise Laplace's evidence.

    Parameters
    ----------
    kernel : kernelgp, gpytorch or scikit-learn kernel, default=None
        None is a variance times Matérn-3/2 with a lengthscale for each input. Matérn kernels,
        RBF and rational quadratics, alone, run compiled, and their variance is always learned; all
        others by automatic differentiation, some fifty times slower.
    likelihood : str or gpytorch likelihood, default="gaussian"
        "gaussian", "student_t", "poisson", "negative_binomial", "gamma", "beta", "bernoulli" or
        "probit", or a one-dimensional likelihood of gpytorch. Its parameters are learned.
    n_neighbors : int, default=30
        Of each row, while hyperparameters are learned.
    n_neighbors_predict : int, default=120
        Rows that each prediction is given: accuracy for time, O(m³) a point.
    noise : "learn", float or array of shape (n,), default="learn"
        Variance of the noise in squared units of `y`: one, or one for each row. Of a Gaussian
        response only.
    level : {"auto", "response", "latent"}, default="auto"
        What is approximated. "auto" is the response where it is Gaussian: with the neighbors
        that predictions have by default it is as accurate, and faster.
    method : {"newton", "svi"}, default="newton"
        How a latent function's posterior is found: its mode and Laplace's evidence, or the
        source's minibatches of an evidence lower bound, slower by orders of magnitude.
    variant : {"full", "diagonal", "global"}, default="full"
        Of "svi", for comparison: a posterior without correlations, or given the same few points
        everywhere.
    pattern : {"knn", "rho"}, default="knn"
        Of latent factors: the nearest neighbors, or all points within `rho` times the distance
        that a point had when it was chosen, as in the source; fewer or more of them.
    rho : float, default=2.0
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
        Of what is given back, and of the steps of "svi"; compiled code runs on the CPU.
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
        Variance of the noise; of a Gaussian response only.
    mean_ : ndarray, shape (1 or 1 + d,); empty for the zero mean
        Constant, and slopes by column.
    likelihood_parameters_ : dict of float
        Those of the likelihood, by name.
    log_marginal_likelihood_value_ : float
        Vecchia's, of `y` as given; Laplace's of a latent function.
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
        likelihood: Any = "gaussian",
        n_neighbors: int = 30,
        n_neighbors_predict: int = 120,
        noise: Any = "learn",
        level: str = "auto",
        method: str = "newton",
        variant: str = "full",
        pattern: str = "knn",
        rho: float = 2.0,
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
        self.likelihood = likelihood
        self.n_neighbors = n_neighbors
        self.n_neighbors_predict = n_neighbors_predict
        self.noise = noise
        self.level = level
        self.method = method
        self.variant = variant
        self.pattern = pattern
        self.rho = rho
        self.mean = mean
        self.coordinates = coordinates
        self.optimizer = optimizer
        self.normalize_x = normalize_x
        self.normalize_y = normalize_y
        self.device = device
        self.dtype = dtype
        self.random_state = random_state
        self.verbose = verbose

    def fit(
        self,
        X: ArrayLike,
        y: ArrayLike,
        sample_weight: ArrayLike | None = None,
        *,
        offset: ArrayLike | None = None,
        exposure: ArrayLike | None = None,
    ) -> Self:
        """Find hyperparameters and condition on the data.

        Parameters
        ----------
        X : array-like or frame, shape (n, d)
        y : array-like, shape (n,)
            NaN is a target that was not observed.
        sample_weight : array-like, shape (n,), optional
            A row of weight w counts as w rows.
        offset : array-like, shape (n,), optional
            Added to the latent function where a row's response sees it.
        exposure : array-like, shape (n,), optional
            Of counts: what their mean is proportional to; an offset of its logarithm.
        """
        begun = time.perf_counter()
        self._check()
        like = read_likelihood(self.likelihood)
        data = read_training(
            self, X, y, sample_weight, missing=True, dtype=self.dtype, device=self.device
        )
        n = len(data.kept)
        noise = read_noise(self.noise, n, data.kept)
        added = read_offset(offset, exposure, n, like)
        added = None if added is None else added[data.kept.numpy()]
        data, seen = _observed(data)
        noise = None if noise is None else (noise[seen] if noise.dim() else noise).numpy()
        added = None if added is None else added[seen.numpy()]
        table = _Table.of(data, Coordinates(self.coordinates))
        like.check(table.y)
        latent = self.level == "latent" or (self.level == "auto" and like.name != "gaussian")
        latent = latent or self.method == "svi" or self.pattern == "rho"
        latent = latent or not isinstance(self.likelihood, str)
        if not latent and like.name != "gaussian":
            remedy = 'give "latent" or "auto": a response is Gaussian or has a latent function'
            raise ArgumentError("level", f'"response" with likelihood {self.likelihood!r}', remedy)
        if noise is not None and like.name != "gaussian":
            given = f"a variance with likelihood {self.likelihood!r}"
            raise ArgumentError("noise", given, 'give "learn": its own parameters are learned')
        seed = int(torch.randint(2**31, (1,), generator=as_generator(self.random_state)).item())
        self.__dict__.pop("noise_", None)
        fit = self._fit_latent if latent else self._fit_responses
        report = fit(table, noise, added, seed)
        self.log_marginal_likelihood_value_ = report.log_marginal_likelihood
        self.X_train_, self.y_train_ = data.x.cpu().numpy(), data.y.cpu().numpy()
        self._setting = (data.x.dtype, data.x.device)
        seconds, n_missing = time.perf_counter() - begun, int((~seen).sum())
        self.report_ = replace(report, seconds=seconds, n_missing=n_missing)
        return self

    def _check(self) -> None:
        check_choice("mean", self.mean, ["constant", "zero", "linear"])
        check_choice("level", self.level, ["auto", "response", "latent"])
        check_choice("method", self.method, ["newton", "svi"])
        check_choice("variant", self.variant, ["full", "diagonal", "global"])
        check_choice("pattern", self.pattern, ["knn", "rho"])
        check_choice("coordinates", self.coordinates, COORDINATES)
        check_choice("optimizer", self.optimizer, ["lbfgs", None])
        check_count("n_neighbors", self.n_neighbors, least=1)
        check_count("n_neighbors_predict", self.n_neighbors_predict, least=1)
        check_positive("rho", self.rho)

    def _fit_responses(
        self, table: "_Table", noise: Array | None, offset: Array | None, seed: int
    ) -> VecchiaReport:
        """A Gaussian response, approximated itself."""
        learns = self.optimizer is not None
        scales = table.scales(
            offset, normalize_x=self.normalize_x, normalize_y=self.normalize_y and learns
        )
        shift, unit = scales.y_shift.item(), scales.y_scale.item()
        trend = Trend(
            self.mean if learns else "zero",
            scales.x_shift.cpu().numpy(),
            scales.x_scale.cpu().numpy(),
        )
        level, relative = None, np.ones(len(table.y))
        if noise is not None:
            level = float(noise.mean())
            if noise.ndim and level > 0:
                relative = np.maximum(noise / level, 1e-8)
        search = self._search(scales, level, table.groups, unit, seed=seed)
        targets = table.y - shift - (0.0 if offset is None else offset)
        found = find_responses(
            search, table.Z, targets, trend.basis(table.Z), table.counts, relative
        )
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
        self.noise_ = found.noise if noise is None or not noise.ndim else noise
        plain = trend.plain(found.coefficients)
        if len(plain):
            plain[0] += shift
        self.mean_ = plain if len(plain) or not shift else np.array([shift])
        self.likelihood_parameters_ = {"noise": float(np.mean(self.noise_))}
        self._function = VecchiaFunction(
            table.coordinates, shift, trend, found.coefficients, posterior
        )
        self._response = None
        return VecchiaReport(
            level="response",
            n_rows=len(table.y),
            n_merged=len(table.y) - len(found.rows.y),
            n_missing=0,
            n_neighbors=min(int(self.n_neighbors), max(len(found.rows.y) - 1, 1)),
            n_neighbors_predict=min(int(self.n_neighbors_predict), len(found.rows.y)),
            seconds=0.0,
            evaluations=found.evaluations,
            converged=found.converged,
            at_bound=found.at_bound,
            log_marginal_likelihood=found.log_likelihood,
            notes=found.notes,
        )

    def _fit_latent(
        self, table: "_Table", noise: Array | None, offset: Array | None, seed: int
    ) -> VecchiaReport:
        """A latent function behind any likelihood."""
        learns = self.optimizer is not None
        scales = table.scales(None, normalize_x=self.normalize_x, normalize_y=False)
        likelihood, weights, missed = self.likelihood, table.counts, 0.0
        if noise is not None:
            level = float(noise.mean())
            if level <= 0:
                raise ArgumentError("noise", "0 at the latent level", "give it a variance")
            likelihood = Gaussian(np.log([level]))
            relative = np.maximum(np.broadcast_to(noise, table.y.shape) / level, 1e-8)
            # Weights make a row more precise, and count it more often: what that is too much.
            each = np.log(2 * np.pi * level)
            more = table.counts / relative * each - table.counts * (each + np.log(relative))
            missed = 0.5 * float(more.sum())
            weights = weights / relative
        kernel, _ = without_white(as_kernel(self.kernel, scales.x_scale.cpu(), default=_DEFAULT))
        options = LatentOptions(
            kernel=kernel,
            is_default=self.kernel is None,
            likelihood=likelihood,
            learn_likelihood=noise is None,
            mean=self.mean if learns else "zero",
            coordinates=table.coordinates,
            method=self.method,
            variant=self.variant,
            pattern=self.pattern,
            rho=float(self.rho),
            n_neighbors=int(self.n_neighbors),
            n_neighbors_predict=int(self.n_neighbors_predict),
            learns=learns,
            x_scale=scales.x_scale.cpu().numpy(),
            seed=seed,
            visible=None if self.verbose else False,
            device=table.data.x.device,
        )
        function = fit_function(options, table.X, table.y, weights, offset)
        fit = function.fit
        self.kernel_ = fit.kernel
        self.mean_ = fit.coefficients
        self.likelihood_parameters_ = fit.likelihood.parameters
        if fit.likelihood.name == "gaussian":
            own = noise if noise is not None and noise.ndim else fit.likelihood.parameters["noise"]
            self.noise_ = own
        self._function, self._response = function, fit.likelihood
        return latent_report(fit, len(table.y), options, missed)

    def _search(
        self, scales: Scales, noise: float | None, groups: Any, unit: float, *, seed: int
    ) -> Search:
        x_scale, learns = scales.x_scale.cpu(), self.optimizer is not None
        kernel = as_kernel(self.kernel, x_scale, default=_DEFAULT)
        white = None
        if noise is None:
            kernel, white = without_white(kernel)
            if white is None and not learns:
                remedy = "give its variance, or add White(noise) to the kernel"
                raise ArgumentError("noise", '"learn" without an optimizer', remedy)
        share = None if white is None else float(white.noise)
        if share is not None and not learns:
            noise = share
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
        offset: ArrayLike | None = None,
        exposure: ArrayLike | None = None,
    ) -> Any:
        """Mean of the response, and how sure it is.

        Parameters
        ----------
        X : array-like, shape (q, d)
        return_std, return_cov
            Whether to give standard deviations, or covariances, besides; one of them. Deviations
            are of each point by itself; covariances of all together, O(q²) memory, of a latent
            function or a Gaussian response.
        return_quantiles : sequence of float in (0, 1), optional
            Levels at which to give quantiles besides.
        latent
            Whether of the function alone, without the response's noise and its link. Where each
            row had a variance of its own, the response has their mean.
        offset, exposure : array-like, shape (q,), optional
            As for `fit`; without them the mean of counts is per unit of exposure.

        Returns
        -------
        mean : ndarray or Tensor, shape (q,)
        std : shape (q,), if `return_std`
            Infinite for Student's t of two degrees of freedom or fewer.
        cov : shape (q, q), if `return_cov`
        quantiles : shape (q, k), if `return_quantiles`
        """
        check_is_fitted(self)
        levels = check_levels(return_quantiles)
        if sum((bool(return_std), bool(return_cov), levels is not None)) > 1:
            remedy = "ask for one of std, cov and quantiles at a time"
            raise ArgumentError("return_std", "True beside another", remedy)
        x = self._read(X)
        like = self._likelihood()
        added = read_offset(offset, exposure, len(x), like)
        added = np.zeros(len(x)) if added is None else added
        if return_cov:
            if not latent and like.name != "gaussian":
                remedy = "give latent=True, or take that of sample_y(latent=False)"
                raise ArgumentError("return_cov", f"True for a response of {like!r}", remedy)
            _check_pairs(len(x))
            mean, covariance = self._function.covariance(x, int(self.n_neighbors))
            if not latent:
                covariance[np.diag_indices(len(x))] += like.parameters["noise"]
            return self._give(mean + added, X), self._give(covariance, X)
        mean, variance = self._function.marginal(x)
        if latent or like.name == "gaussian":
            first = mean + added
            second = variance if latent else variance + like.parameters["noise"]
        else:
            first, second = _in_parts(like.expect, mean, variance, added)
        if return_std:
            return self._give(first, X), self._give(np.sqrt(second), X)
        if levels is None:
            return self._give(first, X)
        if latent or like.name == "gaussian":
            quantiles = first[:, None] + np.sqrt(second)[:, None] * ndtri(levels.numpy())
        else:
            quantiles = like.quantiles(mean, variance, added, levels.numpy()).T
        return self._give(first, X), self._give(quantiles, X)

    def sample_y(
        self,
        X: ArrayLike,
        n_samples: int = 1,
        random_state: RandomState = 0,
        *,
        latent: bool = True,
        offset: ArrayLike | None = None,
        exposure: ArrayLike | None = None,
    ) -> Any:
        """Draws of the function at all rows together.

        Parameters
        ----------
        X : array-like, shape (q, d)
        n_samples
        random_state : int, numpy Generator or RandomState, torch Generator or None
        latent
            Whether of the latent function; else of the response: counts, say.
        offset, exposure : array-like, shape (q,), optional
            As for `fit`.

        Returns
        -------
        ndarray or Tensor, shape (q, n_samples)
        """
        check_is_fitted(self)
        check_count("n_samples", n_samples, least=1)
        x = self._read(X)
        seed = torch.randint(2**31, (1,), generator=as_generator(random_state))
        rng = np.random.default_rng(int(seed))
        like = self._likelihood()
        added = read_offset(offset, exposure, len(x), like)
        drawn = self._function.draw(x, int(n_samples), int(self.n_neighbors), rng)
        if added is not None:
            drawn = drawn + added[:, None]
        return self._give(drawn if latent else like.sample(drawn, rng), X)

    def log_predictive_density(
        self,
        X: ArrayLike,
        y: ArrayLike,
        *,
        offset: ArrayLike | None = None,
        exposure: ArrayLike | None = None,
    ) -> NDArray[np.float64]:
        """``log p(y | data)`` of new targets, each by itself, shape (q,).

        Raises
        ------
        ArgumentError
            If the likelihood gives a target no density.
        """
        check_is_fitted(self)
        x, like = self._read(X), self._likelihood()
        added = read_offset(offset, exposure, len(x), like)
        added = np.zeros(len(x)) if added is None else added
        targets = check_array(y, ensure_2d=False, dtype=np.float64, input_name="y")
        if targets.shape != (len(x),):
            given = f"shape {targets.shape}"
            raise ArgumentError("y", given, f"give ({len(x)},), one for each row of X")
        like.check(targets)
        return like.log_predictive(targets, *self._function.marginal(x), added)

    def _likelihood(self) -> Likelihood:
        if self._response is not None:
            return self._response
        return Gaussian(np.log([max(float(np.mean(self.noise_)), 1e-300)]))

    def _read(self, X: Any) -> Array:
        dtype, device = self._setting
        return read_features(self, X, dtype=dtype, device=device).double().cpu().numpy()

    def _give(self, result: Array, X: Any) -> Any:
        return give_back(torch.from_numpy(result).to(self._setting[0]), X)

    def _file_state(self) -> dict[str, Any]:
        """The state for a file: what a latent function follows from in its place."""
        state: dict[str, Any] = dict(cast(Any, self.__getstate__()))
        if isinstance(state.get("_function"), LatentFunction):
            state["_function"], state["_response"] = state["_function"].stored(), None
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        if isinstance(function := self.__dict__.get("_function"), StoredLatent):
            self._function = function.restored()
            self._response = self._function.fit.likelihood


@dataclass(frozen=True, slots=True, eq=False)
class _Table:
    """Rows in float64, as given and as the kernel sees them."""

    data: Training
    coordinates: Coordinates
    X: Array
    Z: Array
    y: Array
    counts: Array

    @classmethod
    def of(cls, data: Training, coordinates: Coordinates) -> "_Table":
        X, y = (t.double().cpu().numpy() for t in (data.x, data.y))
        coordinates.check(X)
        counts = np.ones(len(X)) if data.weights is None else data.weights.double().cpu().numpy()
        return cls(data, coordinates, X, coordinates.embed(X), y, counts)

    @property
    def groups(self) -> NDArray[np.int64] | None:
        return self.coordinates.groups(self.Z.shape[1])

    def scales(self, offset: Array | None, *, normalize_x: bool, normalize_y: bool) -> Scales:
        """Of what the kernel sees, and of targets without their offsets."""
        y = self.y if offset is None else self.y - offset
        inner = replace(self.data, x=torch.from_numpy(self.Z), y=torch.from_numpy(y))
        return Scales.of(inner, normalize_x=normalize_x, normalize_y=normalize_y)


def _observed(data: Training) -> tuple[Training, Tensor]:
    """Rows with one target each, without those that were not observed; which these are."""
    y = torch.from_numpy(column_or_1d(data.y.cpu().numpy(), warn=True)).to(data.y)
    seen = ~y.isnan()
    if not bool(seen.any()):
        raise ArgumentError("y", "NaN only", "give some targets")
    weights = None if data.weights is None else data.weights[seen]
    return replace(data, x=data.x[seen], y=y[seen], weights=weights), seen.cpu()


def _in_parts(function: Any, *arrays: Array) -> tuple[Array, Array]:
    """Quadrature takes some dozens of numbers for each of these: a part at a time."""
    parts = [
        function(*(a[start : start + _BATCH] for a in arrays))
        for start in range(0, len(arrays[0]), _BATCH)
    ]
    first, second = zip(*parts, strict=True)
    return np.concatenate(first), np.concatenate(second)


def _check_pairs(q: int) -> None:
    if q > _MOST_PAIRS:
        remedy = "ask for return_std, for sample_y, or for fewer rows at a time"
        raise ArgumentError("return_cov", f"True for {q} rows", remedy)
