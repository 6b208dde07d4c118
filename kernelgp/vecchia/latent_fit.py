"""A latent Gaussian process fitted to targets of any likelihood, by Laplace's evidence.

Kernel, likelihood and mean are learned together, with the exact gradient of the evidence and the
expected information of Gaussian observations as precise as the targets; a fit on a sample gives
the start. Order and neighbors follow the lengthscales.
"""

import math
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from kernelgp.errors import (
    ArgumentError,
    ConvergenceWarning,
    JitterWarning,
    NotPositiveDefiniteError,
)
from kernelgp.vecchia.ancestors import nearest_in_balls
from kernelgp.vecchia.climb import at_bounds, climb
from kernelgp.vecchia.covariances import Covariance, StationaryCovariance, as_covariance
from kernelgp.vecchia.evidence import Evidence, Model, Pattern, evaluate_evidence
from kernelgp.vecchia.latent import Latent, Prior
from kernelgp.vecchia.likelihoods import Likelihood
from kernelgp.vecchia.neighbors import nearest_previous
from kernelgp.vecchia.observations import MeanFunctions, Observations
from kernelgp.vecchia.ordering import maximin_order
from kernelgp.vecchia.prediction import Posterior
from kernelgp.vecchia.read_likelihood import read_likelihood
from kernelgp.vecchia.sparse import by_rows

__all__ = ["LatentFit", "LatentReport", "LatentStep", "begin_model", "fit_latent"]

Array = NDArray[np.float64]
Index = NDArray[np.int64]

# A sample that a fit starts on where there are more than twice as many points.
_SAMPLE, _SAMPLE_NEIGHBORS = 1200, 15
# Order and neighbors are found again where points have moved by this, in log lengthscales.
_MOVED, _MOST_REFRESHES = 0.1, 2
# At once where they have moved by that: on a stale order the incomplete factor breaks down.
_FAR, _MOST_STOPS = 1.5, 10
# A search that has not ended by then goes where the evidence breaks down, or has no top.
_MOST_EVALUATIONS = 150


@dataclass(frozen=True, slots=True)
class LatentStep:
    """One step: the log evidence and the free numbers, by name."""

    log_evidence: float
    gradient: tuple[float, ...]
    free: dict[str, float]


@dataclass(frozen=True, slots=True)
class LatentReport:
    """How a fit went.

    Attributes
    ----------
    log_evidence : float
    evaluations : int, of the evidence on all points
    newton_steps : int, in all of them
    seconds : float
    converged : bool
    at_bound : tuple of str
    gradient_norm : float, by logarithms of what is learned
    jittered : int, columns that took more jitter than the others
    history : tuple of LatentStep
    """

    log_evidence: float
    evaluations: int
    newton_steps: int
    seconds: float
    converged: bool
    at_bound: tuple[str, ...]
    gradient_norm: float
    jittered: int
    history: tuple[LatentStep, ...]

    def __str__(self) -> str:
        state = "converged" if self.converged else "not converged"
        bound = f", at a bound: {', '.join(self.at_bound)}" if self.at_bound else ""
        return (
            f"log evidence {self.log_evidence:.2f}, {state} after {self.evaluations} evaluations "
            f"and {self.newton_steps} Newton steps, gradient {self.gradient_norm:.1e}{bound}, "
            f"{self.seconds:.2f} s"
        )


@dataclass(frozen=True, slots=True, eq=False)
class LatentFit:
    """A fitted latent Gaussian process.

    Attributes
    ----------
    model : Model
    points : (n, d), distinct, in maximin order
    mean : MeanFunctions
    latent : Latent
        In that order.
    report : LatentReport or None, of a fit that was restored
    """

    model: Model
    points: Array
    mean: MeanFunctions
    latent: Latent
    report: LatentReport | None

    @property
    def kernel(self) -> Any:
        """A kernel with the hyperparameters found, in the units of the inputs."""
        return self.model.covariance.kernel

    @property
    def likelihood(self) -> Likelihood:
        return self.model.likelihood

    @property
    def coefficients(self) -> Array:
        """Of the latent mean: of 1, and for a linear one of every column."""
        return self.mean.in_units(self.model.coefficients)

    @property
    def log_evidence(self) -> float:
        return self.latent.log_evidence

    @property
    def posterior(self) -> Posterior:
        return Posterior(
            self.model.covariance, self.points, self.latent, self.mean, self.model.coefficients
        )

    def predict(
        self,
        X: ArrayLike,
        n_neighbors: int = 120,
        *,
        variance: bool = True,
        full_cov: bool = False,
    ) -> tuple[Array, Array | None]:
        """Mean and variance (or covariance) of the latent function: `Posterior.predict`."""
        return self.posterior.predict(X, n_neighbors, variance=variance, full_cov=full_cov)

    def draw(
        self,
        X: ArrayLike,
        n_samples: int,
        random_state: int | np.random.Generator | None = None,
        n_neighbors: int = 120,
    ) -> Array:
        """Joint draws of the latent function, shape (n_samples, q): `Posterior.draw`."""
        rng = np.random.default_rng(random_state)
        return self.posterior.draw(X, n_samples, rng, n_neighbors)

    def training_variance(self, *, exact: bool = False) -> Array:
        """Posterior variances of the latent values at `points`: `Posterior.training_variance`."""
        return self.posterior.training_variance(exact=exact)

    def arrays(self) -> dict[str, Array | Index]:
        """All that predictions need beside the kernel and the likelihood."""
        return {
            "points": self.points,
            "neighbors": self.latent.prior.neighbors,
            "prior": self.latent.prior.values,
            "prior_mean": self.latent.prior.mean,
            "mode": self.latent.mode,
            "factor": self.latent.factor,
            "precision": self.latent.precision,
            "log_evidence": np.array(self.log_evidence),
            "covariance": self.model.covariance.free,
            "coefficients": self.model.coefficients,
            "unit": np.array(self.model.unit),
            "learned": np.array(self.latent.learned),
            "mean_center": self.mean.center,
            "mean_spread": self.mean.spread,
            "mean_kind": np.array(["zero", "constant", "linear"].index(self.mean.kind)),
        }

    @classmethod
    def from_arrays(
        cls, arrays: dict[str, Any], kernel: Any, likelihood: Likelihood
    ) -> "LatentFit":
        """A fit as it was, without its report; `kernel` as it was learned from or found."""
        covariance = as_covariance(kernel, arrays["points"].shape[1])
        if isinstance(kernel, Covariance):
            covariance = covariance.at(np.asarray(arrays["covariance"]))
        near = np.ascontiguousarray(arrays["neighbors"], np.int64)
        prior = Prior(near, arrays["prior"], arrays["prior_mean"], *by_rows(near))
        latent = Latent(
            prior,
            arrays["mode"],
            arrays["factor"],
            arrays["precision"],
            float(arrays["log_evidence"]),
            0,
            learned=bool(arrays["learned"]),
        )
        kind = ("zero", "constant", "linear")[int(arrays["mean_kind"])]
        mean = MeanFunctions(kind, arrays["mean_center"], arrays["mean_spread"])
        model = Model(covariance, likelihood, arrays["coefficients"], float(arrays["unit"]))
        return cls(model, arrays["points"], mean, latent, None)


def fit_latent(
    observations: Observations,
    likelihood: Any,
    kernel: Any,
    *,
    n_neighbors: int = 30,
    pattern: str = "knn",
    rho: float = 2.0,
    optimizer: str | None = "lbfgs",
    learn_likelihood: bool = True,
    from_sample: bool = True,
    random_state: int | np.random.Generator | None = 0,
    on_step: Callable[[LatentStep], None] | None = None,
) -> LatentFit:
    """Kernel, likelihood, mean and latent values of most evidence.

    Parameters
    ----------
    observations : Observations
    likelihood : str, Likelihood or gpytorch likelihood
        A name begins where the targets say; what is given begins as it is.
    kernel : kernel of `kernelgp.kernels` or gpytorch, or Covariance
        Its hyperparameters are the start; it is not changed.
    n_neighbors : int
        Of every point, among those before it.
    pattern : "knn" or "rho"
        The nearest, or all within `rho` times a point's maximin distance.
    optimizer : "lbfgs" or None
        None keeps kernel and likelihood, and finds the mean that is best with them.
    learn_likelihood
        Whether the likelihood's parameters are learned too.
    from_sample
        Whether a fit on a sample of the points moves the start first.
    random_state
        Of the sample.
    on_step
        Called after every step on all points.

    Raises
    ------
    ArgumentError, ArgumentTypeError
        If an argument cannot be used, or the likelihood gives a target no density.

    Warns
    -----
    ConvergenceWarning
        If no step raised the evidence though its gradient promised one.
    """
    began = time.perf_counter()
    if optimizer not in ("lbfgs", None):
        raise ArgumentError("optimizer", repr(optimizer), "give 'lbfgs' or None")
    if pattern not in ("knn", "rho"):
        raise ArgumentError("pattern", repr(pattern), "give 'knn' or 'rho'")
    if isinstance(n_neighbors, bool) or not isinstance(n_neighbors, int) or n_neighbors < 1:
        raise ArgumentError("n_neighbors", repr(n_neighbors), "give a whole number from 1")
    model = begin_model(observations, likelihood, kernel)
    learn = optimizer is not None
    search = _Search(model, observations, learn=learn, learn_likelihood=learn_likelihood)
    rng = np.random.default_rng(random_state)
    neighbors = _Neighbors(n_neighbors, rho if pattern == "rho" else None)
    if from_sample and search.learns and len(observations.points) > 2 * _SAMPLE:
        rows = rng.choice(len(observations.points), _SAMPLE, replace=False)
        fewer = replace(neighbors, count=min(n_neighbors, _SAMPLE_NEIGHBORS))
        found, *_ = search.maximize(observations.ordered(rows), model, fewer, None)
        model = found.model
    history: list[LatentStep] = []

    def told(now: Evidence) -> None:
        names = dict(zip(now.model.names, now.free.tolist(), strict=True))
        history.append(LatentStep(now.value, tuple(now.gradient.tolist()), names))
        if on_step is not None:
            on_step(history[-1])

    now, ordered, converged = search.maximize(observations, model, neighbors, told)
    if not converged:
        warnings.warn(
            f"fit_latent: no step raises the log evidence {now.value:.2f} any more, gradient "
            f"{np.abs(search.free_part(now)).max():.1e}; give another start, or keep the "
            "likelihood's parameters (learn_likelihood=False).",
            ConvergenceWarning,
            stacklevel=2,
        )
    now.latent.warn_if_rough(stacklevel=2)
    if now.jittered:
        warnings.warn(
            f"fit_latent: {now.jittered} columns took more jitter than the others; points are near "
            "each other for so smooth a kernel.",
            JitterWarning,
            stacklevel=2,
        )
    names = [now.model.names[i] for i in search.at_bound(now)]
    report = LatentReport(
        now.value,
        search.evaluations,
        search.newton_steps,
        time.perf_counter() - began,
        converged,
        tuple(names),
        float(np.linalg.norm(search.free_part(now))),
        now.jittered,
        tuple(history),
    )
    return LatentFit(now.model, ordered.points, observations.mean, now.latent, report)


def begin_model(observations: Observations, likelihood: Any, kernel: Any) -> Model:
    """Where a fit begins, all arguments as those of `fit_latent`."""
    seen = observations.observed
    like = read_likelihood(likelihood)
    like.check(seen.y)
    if isinstance(likelihood, str):
        like = like.begin(seen.y, seen.offset)
    q = observations.mean(observations.points[:1]).shape[1]
    center = np.zeros(q)
    if q:
        center[0] = like.center(seen.y, seen.offset)
    covariance = as_covariance(kernel, observations.points.shape[1])
    return Model(covariance, like, center, like.spread(seen.y, seen.offset))


@dataclass(frozen=True, slots=True)
class _Neighbors:
    """How many of the points before each it is given, or how far they may be."""

    count: int
    rho: float | None

    def of(self, points: Array, distances: Array) -> Index:
        if self.rho is not None:
            return nearest_in_balls(points, distances, self.rho)
        return nearest_previous(points, min(self.count, max(len(points) - 1, 1)))


class _Search:
    """The search for the best model, on all points or on some."""

    def __init__(
        self, model: Model, observations: Observations, *, learn: bool, learn_likelihood: bool
    ) -> None:
        low, high = model.covariance.bounds(observations.points)
        if isinstance(model.covariance, StationaryCovariance):
            at = model.covariance.names.index("outputscale")
            high[at] = max(low[at], min(high[at], math.log(model.likelihood.widest)))
        if not learn:
            low = high = model.covariance.free
        lows, highs = model.likelihood.limits()
        if not (learn and learn_likelihood):
            lows = highs = model.likelihood.free
        open_ended = np.full(len(model.coefficients), np.inf)
        self._low = np.concatenate([low, lows, -open_ended])
        self._high = np.concatenate([high, highs, open_ended])
        self.evaluations, self.newton_steps = 0, 0

    @property
    def learns(self) -> bool:
        return bool((self._high > self._low).any())

    def free_part(self, now: Evidence) -> Array:
        """The gradient by what is learned and not at a bound."""
        inside = (self._high > self._low) & (now.free > self._low) & (now.free < self._high)
        return np.where(inside, now.gradient, 0.0)

    def at_bound(self, now: Evidence) -> list[int]:
        learned = self._high > self._low
        return [i for i in at_bounds(now.free, self._low, self._high) if learned[i]]

    def maximize(
        self,
        observations: Observations,
        model: Model,
        neighbors: _Neighbors,
        on_step: Callable[[Evidence], None] | None,
    ) -> tuple[Evidence, Observations, bool]:
        """The best evidence, the observations in its order, and whether the search ended well."""
        ordered, mode = observations, None
        self.evaluations, self.newton_steps = 0, 0
        refresh = 0
        while True:
            scaled = model.covariance.scale(ordered.points)
            order, distances = maximin_order(scaled)
            ordered = ordered.ordered(order)
            mode = None if mode is None else mode[order]
            near = neighbors.of(scaled[order], distances)
            H = ordered.mean(ordered.points)
            pattern = Pattern.of(ordered.points, near, ordered.observed, H)

            def evaluate(free: Array, before: Evidence, pattern: Pattern = pattern) -> Evidence:
                return self._attempt(pattern, before, free)

            free = np.clip(model.free, self._low, self._high)
            now = self._evaluate(pattern, model.at(free), mode)
            here, points = model.covariance, ordered.points

            def far(e: Evidence, here: Covariance = here, points: Array = points) -> bool:
                return _moved(here, e.model.covariance, points) > _FAR

            now, converged = climb(evaluate, now, self._low, self._high, on_step, stop=far)
            moved = _moved(here, now.model.covariance, points)
            model, mode = now.model, now.latent.mode
            most = _MOST_REFRESHES if converged else _MOST_STOPS
            if moved < _MOVED or refresh >= most:
                return now, ordered, converged
            refresh += 1

    def _attempt(self, pattern: Pattern, before: Evidence, free: Array) -> Evidence:
        """The evidence, or minus infinity where numbers break down: there a step is too long."""
        model = before.model.at(free)
        if self.evaluations >= _MOST_EVALUATIONS:
            return replace(before, model=model, free=free, value=-math.inf)
        try:
            found = self._evaluate(pattern, model, before.latent.mode)
        except NotPositiveDefiniteError:
            return replace(before, model=model, free=free, value=-math.inf)
        if found.latent.raised or not np.isfinite(found.gradient).all():
            return replace(found, value=-math.inf)
        return found

    def _evaluate(self, pattern: Pattern, model: Model, start: Array | None) -> Evidence:
        found = evaluate_evidence(pattern, model, start)
        self.evaluations += 1
        self.newton_steps += found.latent.steps
        return found


def _moved(before: Covariance, after: Covariance, points: Array) -> float:
    """By how much, in logarithms, the axes were stretched against each other or altogether."""
    few = points[: min(len(points), 100)]
    old, new = (np.ptp(c.scale(few), axis=0) for c in (before, after))
    wide = (old > 0) & (new > 0)
    return float(np.abs(np.log(new[wide] / old[wide])).max()) if wide.any() else 0.0
