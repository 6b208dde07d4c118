"""Vecchia's likelihood of responses: value, gradient and Fisher information in one pass.

The model is ``y = H b + g + e`` with covariance ``s (k(x / l) + τ I)``. Scale s and mean
coefficients b have closed forms and are profiled; the rest are `Parameters`.

References
----------
J. Guinness, *Gaussian process learning via Fisher scoring of Vecchia's approximation*, Statistics
and Computing 31, 2021; A. Vecchia, *Estimation and model identification for continuous spatial
processes*, Journal of the Royal Statistical Society B 50, 1988.
"""

import math
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from kernelgp.vecchia.blocks import RATIONAL_QUADRATIC
from kernelgp.vecchia.columns import ranges
from kernelgp.vecchia.passes import fill_columns, sum_likelihood

__all__ = ["Evaluation", "Parameters", "Responses", "Sums", "evaluate", "predict", "sums"]

Array = NDArray[np.float64]

# The logarithm of τ plus this is free: so τ reaches its floor in few steps.
_SHIFT = 1e-3
# What keeps a query on top of a training point apart from it; in noises, and in scales.
_LEAST_SHARE, _LEAST_RATIO = 1e-6, 1e-10


@dataclass(frozen=True, slots=True, eq=False)
class Responses:
    """Rows in their order, those at one place merged into their mean.

    Attributes
    ----------
    X : (n, d)
    y : (n,)
    H : (n, q)
        The functions that the mean is linear in.
    shares : (n,)
        Of the noise's variance that y has: one over how many rows it is the mean of.
    repeats : float
        How many rows were merged into others.
    within : float
        Sum of squares of the merged rows about their means.
    log_weights : float
        Sum of the logs of how many rows each y is the mean of.
    """

    X: Array
    y: Array
    H: Array
    shares: Array
    repeats: float = 0.0
    within: float = 0.0
    log_weights: float = 0.0

    def ordered(self, order: NDArray[np.int64]) -> "Responses":
        """The same in another order; of a part of the rows, without what was merged."""
        X, y, H, shares = (a[order] for a in (self.X, self.y, self.H, self.shares))
        if len(order) < len(self.y):
            return Responses(X, y, H, shares)
        return Responses(X, y, H, shares, self.repeats, self.within, self.log_weights)


@dataclass(frozen=True, slots=True, eq=False)
class Parameters:
    """What the likelihood is a function of.

    Attributes
    ----------
    kind : int, of `kernelgp.vecchia.blocks`
    lengthscale : (1,) or (d,)
    ratio : float
        τ, the noise variance over the outputscale.
    alpha : float
    noise : float, optional
        The noise variance where it is known; then the scale is free instead of τ.
    groups : (d,) int64, optional
        Which lengthscale every column has; None where each has its own, or all have one.
    """

    kind: int
    lengthscale: Array
    ratio: float
    alpha: float = 1.0
    noise: float | None = None
    groups: NDArray[np.int64] | None = None

    def grouped(self, d: int) -> NDArray[np.int64]:
        """Which lengthscale each of d columns has."""
        if self.groups is not None:
            return self.groups
        return np.arange(d) if len(self.lengthscale) == d else np.zeros(d, np.int64)

    def scaled(self, points: Array) -> Array:
        """Points in lengthscales."""
        return np.ascontiguousarray(points / self.lengthscale[self.grouped(points.shape[1])])

    def free(self) -> Array:
        """As free numbers: log lengthscales, log(τ + 1e-3), for rational quadratics log α.

        Where the noise is known the second is the log of the scale.
        """
        tail = [math.log(self.alpha)] if self.kind == RATIONAL_QUADRATIC else []
        middle = math.log(self.ratio + _SHIFT)
        if self.noise is not None:
            middle = math.log(self.noise / self.ratio)
        return np.array([*np.log(self.lengthscale), middle, *tail])

    def at(self, free: Array) -> "Parameters":
        """The same kind of parameters from free numbers."""
        count = len(self.lengthscale)
        ratio = max(math.exp(free[count]) - _SHIFT, 0.0)
        if self.noise is not None:
            ratio = self.noise * math.exp(-free[count])
        alpha = math.exp(free[-1]) if self.kind == RATIONAL_QUADRATIC else self.alpha
        lengthscale = np.exp(free[:count])
        return Parameters(self.kind, lengthscale, ratio, alpha, self.noise, self.groups)


@dataclass(frozen=True, slots=True, eq=False)
class Evaluation:
    """The profiled log-likelihood at `parameters`.

    Attributes
    ----------
    log_likelihood : float, in natural units
    gradient : (P,), by free parameters
    information : (P, P), expected and profiled
    scale : float, the outputscale s
    mean : (q,), the mean's coefficients
    mean_information : (q, q), of them
    """

    parameters: Parameters
    log_likelihood: float
    gradient: Array
    information: Array
    scale: float
    mean: Array
    mean_information: Array

    @property
    def free(self) -> Array:
        return self.parameters.free()

    @property
    def value(self) -> float:
        return self.log_likelihood


def evaluate(
    rows: Responses, neighbors: NDArray[np.int64], parameters: Parameters, mean: Array
) -> Evaluation:
    """One pass over all columns; O(n (m³ + d m²)).

    Parameters
    ----------
    rows
        In their order.
    neighbors : (n, m) int64
    parameters
    mean : (q,)
        Coefficients near the best: the gradient is taken there.
    """
    found = sums(rows, neighbors, parameters, rows.y - rows.H @ mean)
    squares, half_logdet, change = found.squares, found.half_logdet, found.change
    A, B, information = found.A, found.B, found.information
    P, at, tau = len(A), len(parameters.lengthscale), parameters.ratio
    n = len(rows.y) + rows.repeats
    chain = np.ones(P)
    if parameters.noise is None:
        scale = squares / n
        gradient = -A / 2 + B / scale
        # The scale is profiled: its row of the information is A / 2, and n / 2 its own.
        information = information - np.outer(A, A) / (2 * n)
        chain[at] = tau + _SHIFT
    else:
        scale = parameters.noise / tau
        gradient = -A / 2 + B / scale
        # By the log of the scale, with which τ falls.
        chain[at] = -tau
        information = chain[:, None] * information * chain
        gradient = chain * gradient
        gradient[at] += squares / (2 * scale) - n / 2
        information[at] += chain * A / 2
        information[:, at] += chain * A / 2
        information[at, at] += n / 2
        chain = np.ones(P)
    value = -0.5 * (n * math.log(2 * math.pi * scale) + squares / scale) - half_logdet
    return Evaluation(
        parameters,
        float(value),
        chain * gradient,
        chain[:, None] * information * chain,
        scale,
        mean + change,
        found.gram / scale,
    )


@dataclass(frozen=True, slots=True, eq=False)
class Sums:
    """What one pass adds up, in unit scale, merged rows included.

    Attributes
    ----------
    squares : float
        The whitened residual's, after the mean has moved by `change`.
    half_logdet : float
    A, B : (P,)
        Slopes by the log lengthscales, the ratio and, for rational quadratics, log α: those of
        the determinant are A, those of the squares -2 B.
    information : (P, P), expected, by the same
    gram : (q, q), of the whitened functions that the mean is linear in
    change : (q,), of the mean's coefficients, that makes the squares least
    """

    squares: float
    half_logdet: float
    A: Array
    B: Array
    information: Array
    gram: Array
    change: Array


def sums(
    rows: Responses, neighbors: NDArray[np.int64], parameters: Parameters, residual: Array
) -> Sums:
    """One pass over all columns; the slopes B are at the residual given."""
    groups, scaled = parameters.grouped(rows.X.shape[1]), parameters.scaled(rows.X)
    arguments = (scaled, rows.shares, neighbors, residual, rows.H, groups)
    model = (parameters.kind, parameters.alpha, parameters.ratio)
    q, parts = rows.H.shape[1], ranges(len(rows.y))
    with ThreadPoolExecutor(torch.get_num_threads()) as pool:
        jobs = [pool.submit(sum_likelihood, *arguments, *model, *part) for part in parts]
        added = [np.sum(found, axis=0) for found in zip(*(j.result() for j in jobs), strict=True)]
    totals, A, B, information, cross = added
    P, at, tau = len(A), len(parameters.lengthscale), parameters.ratio
    information = np.tril(information.reshape(P, P))
    information = information + np.tril(information, -1).T
    cross = cross.reshape(q, q + 1)
    change = np.linalg.lstsq(cross[:, :q], cross[:, q])[0] if q else np.empty(0)
    # Not below what rounding leaves: a mean may go through all targets.
    least = 1e-20 * float(np.square(rows.y).sum()) + 1e-300
    squares = max(float(totals[0] - cross[:, q] @ change), least)
    half_logdet = float(totals[1])
    if rows.repeats:
        # What merged rows say of the noise, which their means do not.
        squares += rows.within / tau
        half_logdet += 0.5 * (rows.repeats * math.log(tau) + rows.log_weights)
        A[at] += rows.repeats / tau
        B[at] += rows.within / (2 * tau**2)
        information[at, at] += rows.repeats / (2 * tau**2)
    return Sums(squares, half_logdet, A, B, information, cross[:, :q], change)


def predict(
    rows: Responses,
    residual: Array,
    queries: Array,
    neighbors: NDArray[np.int64],
    parameters: Parameters,
    scale: float,
) -> tuple[Array, Array]:
    """Mean and variance of the latent function at queries, each given its neighbors alone.

    Parameters
    ----------
    rows
    residual : (n,)
        Their targets less their mean.
    queries : (q, d), neighbors : (q, m) int64
        Rows near each query.

    Returns
    -------
    mean, variance : (q,)
    """
    columns = np.empty((len(queries), neighbors.shape[1] + 1))
    points, at = parameters.scaled(rows.X), parameters.scaled(queries)
    arguments = (points, at, rows.shares, np.full(len(at), _LEAST_SHARE), neighbors)
    model = (parameters.kind, parameters.alpha, max(parameters.ratio, _LEAST_RATIO))
    with ThreadPoolExecutor(torch.get_num_threads()) as pool:
        jobs = [
            pool.submit(fill_columns, *arguments, *model, *part, columns)
            for part in ranges(len(queries), fewest=16)
        ]
        for job in jobs:
            job.result()
    seen = np.where(neighbors >= 0, residual[neighbors], 0.0)
    last = columns[:, -1]
    return -np.einsum("qm,qm->q", columns[:, :-1], seen) / last, scale / last**2
