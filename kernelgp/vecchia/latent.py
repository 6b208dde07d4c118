"""The posterior of a latent Gaussian process whose prior is a sparse inverse Cholesky factor.

The mode by Newton's method, each step a solve with ``U Uᵀ + W`` by conjugate gradients that
IC(0) preconditions, a handful of iterations; the same incomplete factor V stands for the
posterior's precision, ``q(f) = N(mode, (V Vᵀ)⁻¹)``. Its error is far below that of U itself.

References
----------
J. Cao et al., *Variational sparse inverse Cholesky approximation for latent Gaussian processes via
double Kullback-Leibler minimization*, ICML 2023; C. E. Rasmussen and C. K. I. Williams, *Gaussian
Processes for Machine Learning*, 2006, section 3.4 (Laplace's method).
"""

import warnings
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kernelgp.errors import ConvergenceWarning
from kernelgp.vecchia.likelihoods import Likelihood
from kernelgp.vecchia.sparse import (
    by_rows,
    incomplete_cholesky,
    solve_precision,
    substitute_lower,
    times,
    transposed_times,
)

__all__ = ["Latent", "Observed", "Prior", "find_mode"]

Array = NDArray[np.float64]

# Of linear solves: loose far from the mode, where a step is only a direction.
_RTOL, _LOOSE, _MOST_ITERATIONS = 1e-8, 1e-3, 200
# Newton's method ends where a step promises less than this of the log density, relative to a
# thousandth of it where that is more; and has not converged where it promises that.
_GAIN, _ROUGH = 1e-12, 1e-6
# Of sums of log densities, relative.
_ROUNDING = 1e-13
_MOST_STEPS, _MOST_HALVINGS = 50, 20
# Of central differences; and the least of an observed precision, relative to the expected one.
_STEP, _LEAST_SHARE = 1e-5, 0.05


@dataclass(frozen=True, slots=True, eq=False)
class Observed:
    """Targets, each of one latent value; of a latent value any number, or none.

    Attributes
    ----------
    y : (N,)
    offset : (N,)
        Added to the latent value where the likelihood sees it.
    weights : (N,)
        Positive; of each observation's log density.
    site : (N,) int64
        Whose latent value is seen.
    """

    y: Array
    offset: Array
    weights: Array
    site: NDArray[np.int64]

    def latent(self, f: Array) -> Array:
        """What the likelihood sees of latent values (n,): (N,)."""
        return f[self.site] + self.offset

    def gather(self, each: Array, n: int) -> Array:
        """Weighted sums over the observations of every latent value, (n,)."""
        out: Array = np.bincount(self.site, self.weights * each, n).astype(np.float64)
        return out


@dataclass(frozen=True, slots=True, eq=False)
class Prior:
    """``f ~ N(mean, (U Uᵀ)⁻¹)``.

    Attributes
    ----------
    neighbors : (n, m) int64, values : (n, m + 1)
        U (`kernelgp.vecchia.sparse`).
    mean : (n,)
    starts, places
        Of `by_rows`.
    """

    neighbors: NDArray[np.int64]
    values: Array
    mean: Array
    starts: NDArray[np.int64]
    places: NDArray[np.int64]

    @classmethod
    def of(cls, neighbors: NDArray[np.int64], values: Array, mean: Array) -> "Prior":
        return cls(neighbors, values, mean, *by_rows(neighbors))

    def whiten(self, f: Array) -> Array:
        """``Uᵀ (f - mean)``."""
        return transposed_times(self.neighbors, self.values, f - self.mean)

    def pull(self, f: Array) -> Array:
        """``U Uᵀ (f - mean)``."""
        return times(self.neighbors, self.values, self.whiten(f))


@dataclass(frozen=True, slots=True, eq=False)
class Latent:
    """The Gaussian that stands for the posterior.

    Attributes
    ----------
    mode : (n,)
    factor : (n, m + 1)
        V, in the layout of U.
    precision : (n,)
        W, what the observations add to the diagonal of the prior's precision.
    log_evidence : float
        Laplace's approximation of ``log p(y)``, in natural units.
    steps : int
        Of Newton's method.
    gain : float
        What a further step promises, of log density.
    residual : float
        Of the last linear solve, relative.
    raised : int
        Pivots of the incomplete factor that broke down and were raised.
    learned : bool
        Whether V was learned, and is not the incomplete factor.
    """

    prior: Prior
    mode: Array
    factor: Array
    precision: Array
    log_evidence: float
    steps: int
    gain: float = 0.0
    residual: float = 0.0
    raised: int = 0
    learned: bool = False

    @property
    def converged(self) -> bool:
        return self.gain < _ROUGH * max(1.0, 1e-3 * abs(self.log_evidence))

    def warn_if_rough(self, stacklevel: int) -> None:
        """A ConvergenceWarning if Newton's method stopped early, or pivots were raised."""
        if not self.converged:
            warnings.warn(
                f"find_mode: Newton's method stopped after {self.steps} steps with a gain of "
                f"{self.gain:.1e} left (asked: {_ROUGH:.0e}), linear residual {self.residual:.1e}; "
                "standardise the data or raise the noise.",
                ConvergenceWarning,
                stacklevel=stacklevel + 1,
            )
        if self.raised:
            warnings.warn(
                f"incomplete Cholesky: {self.raised} of {len(self.mode)} pivots were raised; the "
                "points are not in maximin order, or too many of them coincide.",
                ConvergenceWarning,
                stacklevel=stacklevel + 1,
            )

    def draw(self, normals: Array) -> Array:
        """``V⁻ᵀ ε``: deviations from the mode, shape (n, k)."""
        out = np.array(normals, order="C")
        substitute_lower(self.prior.neighbors, self.factor, out)
        return out


def find_mode(
    prior: Prior, likelihood: Likelihood, observed: Observed, start: Array | None = None
) -> Latent:
    """Newton's method, damped, for the mode; then V and the evidence.

    Parameters
    ----------
    prior
    likelihood
    observed : Observed
    start : (n,), optional

    Returns
    -------
    Latent
        `converged` says whether Newton's method ended well; ask `warn_if_rough`.
    """
    n = len(prior.mean)

    def density(f: Array) -> float:
        logs = likelihood.log_density(observed.y, observed.latent(f))
        return float(observed.weights @ logs) - 0.5 * float(np.square(prior.whiten(f)).sum())

    f = prior.mean.copy() if start is None else start.copy()
    value = density(f)
    if not np.isfinite(value):
        f = prior.mean.copy()
        value = density(f)
    factor, W, raised = np.empty_like(prior.values), np.full(n, -1.0), 0
    step = np.zeros((n, 1))
    count, gain, residual, rtol = 0, np.inf, 0.0, _LOOSE
    for count in range(1, _MOST_STEPS + 1):  # noqa: B007 - told in the report
        slope, curvature = likelihood.derivatives(observed.y, observed.latent(f))
        gradient = observed.gather(slope, n) - prior.pull(f)
        precision = observed.gather(curvature, n)
        # Expected curvatures may be the same at every step, and so is their factor.
        if not np.array_equal(precision, W):
            W = precision
            raised = incomplete_cholesky(
                prior.neighbors, prior.values, W, prior.starts, prior.places, factor
            )
        step[:] = 0
        _, residual = solve_precision(
            prior.neighbors,
            prior.values,
            _newton_precision(likelihood, observed, f, W),
            factor,
            gradient[:, None],
            step,
            rtol,
            _MOST_ITERATIONS,
        )
        gain = float(gradient @ step[:, 0]) / 2
        if gain < _GAIN * max(1.0, 1e-3 * abs(value)):
            # It is there already, and worth its digits.
            f = f + step[:, 0]
            break
        # Newton's error falls with its square; the solve should fall with it.
        rtol = min(max(gain / n, _RTOL), _LOOSE)
        length = 1.0
        for _ in range(_MOST_HALVINGS):
            new = f + length * step[:, 0]
            new_value = density(new)
            if np.isfinite(new_value) and new_value >= value - _ROUNDING * abs(value):
                break
            length /= 2
        else:
            break
        f, value = new, new_value
    half_logdet = np.log(prior.values[:, -1]).sum() - np.log(factor[:, -1]).sum()
    evidence = value + float(half_logdet)
    return Latent(prior, f, factor, W, evidence, count, gain, float(residual), raised)


def _newton_precision(likelihood: Likelihood, observed: Observed, f: Array, W: Array) -> Array:
    """The observed precision where W is the expected one, but for what is hardly positive.

    Scoring by the expected one takes some thirty steps on Student's distribution, this one six;
    the factor of the expected one preconditions both.
    """
    if not likelihood.expected:
        return W
    at = observed.latent(f)
    up, down = (likelihood.derivatives(observed.y, at + h)[0] for h in (_STEP, -_STEP))
    found = observed.gather((down - up) / (2 * _STEP), len(W))
    return np.maximum(found, _LEAST_SHARE * W)
