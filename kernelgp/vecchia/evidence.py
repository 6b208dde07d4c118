"""Laplace's evidence of a latent Gaussian process, with its exact gradient.

The evidence is ``log p(y | f) - |Uᵀ (f - H b)|² / 2 + Σ log U_ii - Σ log V_ii`` at the mode f, V
the incomplete factor of ``U Uᵀ + W(f)``. Its gradient is that of this very number: reverse passes
go through V, and where W depends on f one more solve accounts for how the mode moves.

References
----------
C. E. Rasmussen and C. K. I. Williams, *Gaussian Processes for Machine Learning*, 2006, section
5.5.1, for the implicit part.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kernelgp.vecchia.adjoints import incomplete_slopes
from kernelgp.vecchia.covariances import Covariance
from kernelgp.vecchia.latent import Latent, Observed, Prior, find_mode
from kernelgp.vecchia.likelihoods import Likelihood
from kernelgp.vecchia.sparse import by_rows, solve_precision

__all__ = ["Evidence", "Model", "Pattern", "evaluate_evidence"]

Array = NDArray[np.float64]
Index = NDArray[np.int64]

# Of the implicit solve: an error there is one of the gradient alone.
_RTOL, _MOST_ITERATIONS = 1e-6, 200
# Steps of central differences, in a latent value and in a log parameter.
_STEP = 1e-5


@dataclass(frozen=True, slots=True, eq=False)
class Pattern:
    """Points in maximin order, their neighbors, and what is observed of them.

    Attributes
    ----------
    points : (n, d), neighbors : (n, m)
    starts, places
        Of `by_rows`.
    observed : Observed
    H : (n, q)
        The functions that the mean is linear in.
    """

    points: Array
    neighbors: Index
    starts: Index
    places: Index
    observed: Observed
    H: Array

    @classmethod
    def of(cls, points: Array, neighbors: Index, observed: Observed, H: Array) -> "Pattern":
        return cls(points, neighbors, *by_rows(neighbors), observed, H)


@dataclass(frozen=True, slots=True, eq=False)
class Model:
    """What the evidence is a function of.

    Attributes
    ----------
    covariance : Covariance
    likelihood : Likelihood
    coefficients : (q,), of the mean
    unit : float
        What the free numbers of the coefficients are multiples of.
    """

    covariance: Covariance
    likelihood: Likelihood
    coefficients: Array
    unit: float

    @property
    def names(self) -> tuple[str, ...]:
        q = len(self.coefficients)
        mean = ("mean", *(f"mean[{k}]" for k in range(1, q)))[:q]
        like = self.likelihood.names or tuple(
            f"likelihood[{k}]" for k in range(len(self.likelihood.free))
        )
        return (*self.covariance.names, *like, *mean)

    @property
    def free(self) -> Array:
        mean = self.coefficients / self.unit
        return np.concatenate([self.covariance.free, self.likelihood.free, mean])

    def at(self, free: Array) -> "Model":
        """The same model with other numbers."""
        p, k = len(self.covariance.free), len(self.likelihood.free)
        return Model(
            self.covariance.at(free[:p]),
            self.likelihood.at(free[p : p + k]) if k else self.likelihood,
            free[p + k :] * self.unit,
            self.unit,
        )


@dataclass(frozen=True, slots=True, eq=False)
class Evidence:
    """The evidence at one model.

    Attributes
    ----------
    value : float, in natural units
    gradient : (P,), information : (P, P), by the model's free numbers
    latent : Latent
    jittered : int
        Columns that took more than the usual jitter.
    """

    model: Model
    free: Array
    value: float
    gradient: Array
    information: Array
    latent: Latent
    jittered: int


def evaluate_evidence(
    pattern: Pattern, model: Model, start: Array | None = None, *, slopes: bool = True
) -> Evidence:
    """The mode, the evidence there, its gradient and an information; O(n m³).

    Parameters
    ----------
    pattern, model
    start : (n,), optional
        Latent values near the mode.
    slopes
        Whether gradient and information are wanted; else they are empty.
    """
    points, near = pattern.points, pattern.neighbors
    columns = model.covariance.columns(points, points, near)
    mean = pattern.H @ model.coefficients
    prior = Prior(near, columns[0], mean, pattern.starts, pattern.places)
    latent = find_mode(prior, model.likelihood, pattern.observed, start)
    free, jittered = model.free, int((columns[1] > columns[1].min()).sum())
    if not slopes:
        empty = np.empty(0)
        value = latent.log_evidence
        return Evidence(model, free, value, empty, np.empty((0, 0)), latent, jittered)
    by_values, by_precision = np.empty_like(columns[0]), np.empty(len(mean))
    incomplete_slopes(
        near,
        columns[0],
        latent.factor,
        pattern.starts,
        pattern.places,
        np.full(len(mean), -1.0),
        by_values,
        by_precision,
    )
    change, by_likelihood = _implicit(pattern, model.likelihood, latent, by_precision)
    r, pulled = latent.mode - mean, prior.pull(latent.mode + change)
    white = prior.whiten(latent.mode)
    with_change = prior.whiten(latent.mode + change)
    there, at = near >= 0, np.maximum(near, 0)
    by_values[:, :-1] -= there * (r[at] * with_change[:, None] + change[at] * white[:, None])
    by_values[:, -1] -= r * with_change + change * white
    by_values[:, -1] += 1 / columns[0][:, -1]
    gradient = np.concatenate(
        [
            model.covariance.slopes(points, near, columns, by_values),
            by_likelihood,
            model.unit * (pattern.H.T @ pulled),
        ]
    )
    information = _information(pattern, model, latent)
    value = latent.log_evidence
    return Evidence(model, free, value, gradient, information, latent, jittered)


def _implicit(
    pattern: Pattern, likelihood: Likelihood, latent: Latent, by_precision: Array
) -> tuple[Array, Array]:
    """How the mode would move if the precision had its way, and slopes by the likelihood."""
    seen, prior, n = pattern.observed, latent.prior, len(latent.mode)
    f, y = seen.latent(latent.mode), seen.y
    (up_slope, up), (down_slope, down) = (likelihood.derivatives(y, f + h) for h in (_STEP, -_STEP))
    through = by_precision * seen.gather((up - down) / (2 * _STEP), n)
    change = np.zeros((n, 1))
    if through.any():
        # Where the curvature in W is the expected one, the mode follows the observed one.
        observed = seen.gather((down_slope - up_slope) / (2 * _STEP), n)
        precision = np.where(observed > 0, observed, latent.precision)
        solve_precision(
            prior.neighbors,
            prior.values,
            precision,
            latent.factor,
            through[:, None],
            change,
            _RTOL,
            _MOST_ITERATIONS,
        )
    moved, slopes = change[:, 0], np.empty(len(likelihood.free))
    for k in range(len(slopes)):
        step = _STEP * np.eye(len(slopes))[k]
        values = []
        for sign in (1, -1):
            other = likelihood.at(likelihood.free + sign * step)
            slope, curvature = other.derivatives(y, f)
            each = other.log_density(y, f) + moved[seen.site] * slope
            values.append(seen.weights @ (each + by_precision[seen.site] * curvature))
        slopes[k] = (values[0] - values[1]) / (2 * _STEP)
    return moved, slopes


def _information(pattern: Pattern, model: Model, latent: Latent) -> Array:
    """That of Gaussian observations of the same precisions, and of the likelihood alone."""
    seen, likelihood = pattern.observed, model.likelihood
    near, W = pattern.neighbors, latent.precision
    kernel, of_mean = model.covariance.information(pattern.points, near, W, pattern.H)
    f, count = seen.latent(latent.mode), len(likelihood.free)
    scores = np.empty((count, len(f)))
    for k in range(count):
        step = _STEP * np.eye(count)[k]
        up, down = (
            likelihood.at(likelihood.free + s * step).log_density(seen.y, f) for s in (1, -1)
        )
        scores[k] = (up - down) / (2 * _STEP)
    scores *= np.sqrt(seen.weights)
    blocks = [kernel, scores @ scores.T, model.unit**2 * of_mean]
    sizes = np.cumsum([0, *(len(b) for b in blocks)])
    out = np.zeros((sizes[-1], sizes[-1]))
    for block, low, high in zip(blocks, sizes, sizes[1:], strict=False):
        out[low:high, low:high] = block
    # A covariance that cannot be factored even with noise says nothing; secant pairs will.
    return out if np.isfinite(out).all() else 0.02 * len(f) * np.eye(len(out))
