"""A latent function fitted to targets of any likelihood: what the DKLGP estimators share."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from kernelgp.errors import ArgumentError
from kernelgp.estimators.base import rescaled_start
from kernelgp.estimators.coordinates import Coordinates
from kernelgp.estimators.vecchia_fit import VecchiaReport
from kernelgp.progress import progress_bar
from kernelgp.vecchia.covariances import Covariance, as_covariance
from kernelgp.vecchia.latent_fit import LatentFit, fit_latent
from kernelgp.vecchia.likelihoods import Likelihood
from kernelgp.vecchia.observations import Observations
from kernelgp.vecchia.read_likelihood import Wrapped, read_likelihood
from kernelgp.vecchia.stationary import read_stationary
from kernelgp.vecchia.svi import fit_svi

__all__ = [
    "LatentFunction",
    "LatentOptions",
    "StoredLatent",
    "fit_function",
    "latent_report",
    "read_offset",
]

Array = NDArray[np.float64]

# Rows and neighbors on which starts are compared.
_TRIAL_ROWS, _TRIAL_NEIGHBORS = 500, 15
_MOST_REPEATS = 4


@dataclass(frozen=True, slots=True, eq=False)
class LatentOptions:
    """How a latent function is fitted.

    Attributes
    ----------
    kernel
        Where it starts, in the user's units.
    is_default
        Whether the user gave none.
    likelihood : str, Likelihood or gpytorch likelihood
    learn_likelihood
    mean : "constant", "zero" or "linear"
    coordinates : Coordinates
    method, variant
        "newton", or "svi" in one of its variants.
    pattern, rho, n_neighbors, n_neighbors_predict
    learns
    x_scale : (d,)
        What a kernel given as for standardised data is stretched by.
    seed
    visible
    """

    kernel: Any
    is_default: bool
    likelihood: Any
    learn_likelihood: bool
    mean: str
    coordinates: Coordinates
    method: str
    variant: str
    pattern: str
    rho: float
    n_neighbors: int
    n_neighbors_predict: int
    learns: bool
    x_scale: Array
    seed: int
    visible: bool | None
    device: torch.device | None = None


@dataclass(frozen=True, slots=True, eq=False)
class StoredLatent:
    """A latent function as a file holds it: arrays, a kernel, a likelihood by name or module."""

    coordinates: Coordinates
    n_neighbors: int
    arrays: dict[str, Any]
    kernel: Any
    likelihood: Any
    free: Array

    def restored(self) -> "LatentFunction":
        likelihood = read_likelihood(self.likelihood)
        if isinstance(self.likelihood, str):
            likelihood = likelihood.at(self.free)
        fit = LatentFit.from_arrays(self.arrays, self.kernel, likelihood)
        return LatentFunction(self.coordinates, self.n_neighbors, fit)


@dataclass(frozen=True, slots=True, eq=False)
class LatentFunction:
    """The posterior of a latent function, asked in the columns that the user has."""

    coordinates: Coordinates
    n_neighbors: int
    fit: LatentFit

    def marginal(self, X: Array) -> tuple[Array, Array]:
        """Mean and variance at every row by itself."""
        mean, variance = self.fit.predict(self._embed(X), self.n_neighbors)
        assert variance is not None
        return mean, variance

    def covariance(self, X: Array, n_between: int) -> tuple[Array, Array]:
        """Mean (q,) and covariance (q, q) of all rows together."""
        del n_between  # new points count among the neighbors here
        mean, covariance = self.fit.predict(self._embed(X), self.n_neighbors, full_cov=True)
        assert covariance is not None
        return mean, covariance

    def draw(self, X: Array, n_samples: int, n_between: int, rng: np.random.Generator) -> Array:
        """Joint draws, shape (q, n_samples)."""
        del n_between
        return self.fit.draw(self._embed(X), n_samples, rng, self.n_neighbors).T

    def _embed(self, X: Array) -> Array:
        self.coordinates.check(X)
        return self.coordinates.embed(X)

    def stored(self) -> StoredLatent:
        like = self.fit.likelihood
        known = like.likelihood if isinstance(like, Wrapped) else like.name
        kernel = self.fit.kernel
        return StoredLatent(
            self.coordinates, self.n_neighbors, self.fit.arrays(), kernel, known, like.free
        )


def fit_function(
    options: LatentOptions, X: Array, y: Array, weights: Array | None, offset: Array | None
) -> LatentFunction:
    """Kernel, likelihood and mean of most evidence, and the latent values.

    Parameters
    ----------
    X : (n, d), y : (n,), weights : (n,) or None, offset : (n,) or None
        As the user has them.
    """
    X, y, weights, offset = _repeated(X, y, weights, offset)
    Z = options.coordinates.embed(X)
    seen = Observations.of(Z, y, offset=offset, weights=weights, mean=options.mean)
    kernel = options.kernel
    if options.learns:
        kernel = _start(options, seen)
    groups = options.coordinates.groups(Z.shape[1])
    standard = read_stationary(kernel)
    if groups is not None and standard is not None and standard.columns is None:
        kernel = as_covariance(_separate(standard, groups), Z.shape[1], groups)
    with progress_bar("fit", visible=options.visible) as bar:
        given: dict[str, Any] = {
            "n_neighbors": options.n_neighbors,
            "pattern": options.pattern,
            "rho": options.rho,
            "learn_likelihood": options.learn_likelihood,
            "random_state": options.seed,
            "on_step": lambda step: bar.advance(log_evidence=step.log_evidence),
        }
        if options.method == "newton":
            optimizer = "lbfgs" if options.learns else None
            fit = fit_latent(seen, options.likelihood, kernel, optimizer=optimizer, **given)
        else:
            fit = fit_svi(
                seen,
                options.likelihood,
                kernel if not isinstance(kernel, Covariance) else kernel.kernel,
                variant=options.variant,
                optimizer="adam" if options.learns else None,
                device=options.device,
                **given,
            )
    return LatentFunction(options.coordinates, options.n_neighbors_predict, fit)


def _repeated(X: Array, y: Array, weights: Array | None, offset: Array | None) -> Any:
    """Rows of small whole weights as often as these say: the same data, and the same start."""
    if weights is None or (weights == 1).all():
        return X, y, None, offset
    whole = (weights == np.floor(weights)).all()
    if not whole or weights.sum() > _MOST_REPEATS * len(weights):
        return X, y, weights, offset
    rows = np.repeat(np.arange(len(y)), weights.astype(np.int64))
    return X[rows], y[rows], None, None if offset is None else offset[rows]


def _separate(standard: Any, groups: NDArray[np.int64]) -> Any:
    """The same kernel with a lengthscale for each column, equal within groups."""
    logs = np.log(np.broadcast_to(standard.lengthscale, groups.shape))
    each = np.exp(np.bincount(groups, logs) / np.bincount(groups))
    return replace(standard, lengthscale=each[groups]).kernel()


def _start(options: LatentOptions, seen: Observations) -> Any:
    """The kernel as given, or as for standardised data: what explains some rows better."""
    scale = torch.from_numpy(options.x_scale)
    given, observed = options.kernel, seen.observed
    if read_stationary(given) is not None and not hasattr(given, "outputscale"):
        given = 1.0 * given
    # Where there is no link the latent function has the targets' units.
    unit = read_likelihood(options.likelihood).spread(observed.y, observed.offset)
    if options.is_default:
        return rescaled_start(given, torch.ones_like(scale), unit)
    candidates = [rescaled_start(given, scale, unit), given]
    if not hasattr(given, "expression"):
        return given
    rows = np.random.default_rng(options.seed).permutation(len(seen.points))[:_TRIAL_ROWS]
    some = seen.ordered(rows)

    def evidence(kernel: Any) -> float:
        try:
            return fit_latent(
                some, options.likelihood, kernel, n_neighbors=_TRIAL_NEIGHBORS, optimizer=None
            ).log_evidence
        except ArgumentError:
            return -np.inf

    return max(candidates, key=evidence)


def latent_report(
    fit: LatentFit, n_rows: int, options: LatentOptions, missed: float = 0.0
) -> VecchiaReport:
    """What a fit did; `missed` is what its evidence lacks."""
    found = fit.report
    assert found is not None
    return VecchiaReport(
        level="latent",
        n_rows=n_rows,
        n_merged=n_rows - len(fit.points),
        n_missing=0,
        n_neighbors=fit.latent.prior.neighbors.shape[1],
        n_neighbors_predict=min(options.n_neighbors_predict, len(fit.points)),
        seconds=found.seconds,
        evaluations=found.evaluations,
        converged=found.converged,
        at_bound=found.at_bound,
        log_marginal_likelihood=found.log_evidence + missed,
    )


def read_offset(offset: Any, exposure: Any, n: int, likelihood: Likelihood) -> Array | None:
    """What is added to the latent function, shape (n,); None for nothing.

    Raises
    ------
    ArgumentError
        If both are given, one does not fit, or the likelihood has no log link for exposures.
    """
    if exposure is not None:
        if offset is not None:
            raise ArgumentError("exposure", "one beside an offset", "give log(exposure) + offset")
        if likelihood.link != "log":
            given = f"one with likelihood {likelihood!r}"
            raise ArgumentError("exposure", given, "give it with counts, or give an offset")
        exposed = _column("exposure", exposure, n)
        if not (exposed > 0).all():
            raise ArgumentError("exposure", f"{exposed.min():g}", "give positive numbers")
        return np.log(exposed)
    return None if offset is None else _column("offset", offset, n)


def _column(name: str, values: Any, n: int) -> Array:
    if isinstance(values, torch.Tensor):
        values = values.detach().cpu().numpy()
    try:
        found = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ArgumentError(name, repr(values), f"give {n} numbers") from error
    if found.ndim == 0 or found.shape == (1,):
        found = np.full(n, float(found.reshape(())))
    if found.shape != (n,):
        raise ArgumentError(name, f"shape {found.shape}", f"give ({n},), one for each row of X")
    if not np.isfinite(found).all():
        raise ArgumentError(name, "NaN or infinity", "give finite numbers")
    return found
