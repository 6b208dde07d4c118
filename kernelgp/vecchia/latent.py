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
)

__all__ = ["Latent", "Prior", "find_mode"]

Array = NDArray[np.float64]

_RTOL, _MOST_ITERATIONS = 1e-8, 200
# Newton has converged where a step promises less than this of the log density.
_GAIN = 1e-6
_MOST_STEPS, _MOST_HALVINGS = 50, 20


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
        r = f - self.mean
        seen = np.where(self.neighbors >= 0, r[self.neighbors], 0.0)
        return np.einsum("nm,nm->n", self.values[:, :-1], seen) + self.values[:, -1] * r

    def pull(self, f: Array) -> Array:
        """``U Uᵀ (f - mean)``."""
        white = self.whiten(f)
        out = self.values[:, -1] * white
        there = self.neighbors >= 0
        contributions = (self.values[:, :-1] * white[:, None])[there]
        np.add.at(out, self.neighbors[there], contributions)
        return out


@dataclass(frozen=True, slots=True, eq=False)
class Latent:
    """The Gaussian that stands for the posterior.

    Attributes
    ----------
    mode : (n,)
    factor : (n, m + 1)
        V, in the layout of U.
    log_evidence : float
        Laplace's approximation of ``log p(y)``, in natural units.
    steps : int
        Of Newton's method.
    """

    prior: Prior
    mode: Array
    factor: Array
    log_evidence: float
    steps: int

    def draw(self, normals: Array) -> Array:
        """``V⁻ᵀ ε``: deviations from the mode, shape (n, k)."""
        out = np.array(normals, order="C")
        substitute_lower(self.prior.neighbors, self.factor, out)
        return out


def find_mode(
    prior: Prior,
    likelihood: Likelihood,
    y: Array,
    *,
    offset: Array,
    weights: Array,
    start: Array | None = None,
) -> Latent:
    """Newton's method, damped, for the mode; then V and the evidence.

    Parameters
    ----------
    prior
    likelihood
    y : (n,)
        Anything where the weight is 0.
    offset : (n,)
        Added to f where the likelihood sees it.
    weights : (n,)
        Of each observation's log density; 0 where it is missing.
    start : (n,), optional

    Warns
    -----
    ConvergenceWarning
        If Newton's method or a solve stopped early.
    """
    seen = weights > 0

    def density(f: Array) -> float:
        logs = likelihood.log_density(y[seen], (f + offset)[seen])
        return float(weights[seen] @ logs) - 0.5 * float(np.square(prior.whiten(f)).sum())

    f = prior.mean.copy() if start is None else start.copy()
    value = density(f)
    if not np.isfinite(value):
        f = prior.mean.copy()
        value = density(f)
    factor, W = np.empty_like(prior.values), np.zeros_like(f)
    step = np.zeros((len(f), 1))
    converged, count, gain, residual = False, 0, np.inf, 0.0
    for count in range(1, _MOST_STEPS + 1):  # noqa: B007 - told in the report
        gradient = -prior.pull(f)
        slope, curvature = likelihood.derivatives(y[seen], (f + offset)[seen])
        gradient[seen] += weights[seen] * slope
        W[seen] = weights[seen] * curvature
        _factorise(prior, W, factor)
        step[:] = 0
        _, residual = solve_precision(
            prior.neighbors,
            prior.values,
            W,
            factor,
            gradient[:, None],
            step,
            _RTOL,
            _MOST_ITERATIONS,
        )
        gain = float(gradient @ step[:, 0]) / 2
        if gain < _GAIN * max(1.0, 1e-6 * abs(value)):
            converged = True
            break
        length = 1.0
        for _ in range(_MOST_HALVINGS):
            new = f + length * step[:, 0]
            new_value = density(new)
            if np.isfinite(new_value) and new_value >= value:
                break
            length /= 2
        else:
            break
        f, value = new, new_value
    if not converged:
        warnings.warn(
            f"find_mode: Newton's method stopped after {count} steps with a gain of {gain:.1e} "
            f"left (asked: {_GAIN:.0e}), linear residual {residual:.1e}; standardise the data or "
            "raise the noise.",
            ConvergenceWarning,
            stacklevel=3,
        )
    half_logdet = np.log(prior.values[:, -1]).sum() - np.log(factor[:, -1]).sum()
    return Latent(prior, f, factor, value + float(half_logdet), count)


def _factorise(prior: Prior, W: Array, factor: Array) -> None:
    raised = incomplete_cholesky(
        prior.neighbors, prior.values, W, prior.starts, prior.places, factor
    )
    if raised:
        warnings.warn(
            f"incomplete Cholesky: {raised} of {len(W)} pivots were raised; the points are not "
            "in maximin order, or too many of them coincide.",
            ConvergenceWarning,
            stacklevel=4,
        )
