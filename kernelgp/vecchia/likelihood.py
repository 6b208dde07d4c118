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
from kernelgp.vecchia.factor import ranges
from kernelgp.vecchia.passes import fill_columns, sum_likelihood

__all__ = ["Evaluation", "Parameters", "evaluate", "predict"]

Array = NDArray[np.float64]

# The logarithm of τ plus this is free: so τ reaches its floor in few steps.
_SHIFT = 1e-3


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
    """

    kind: int
    lengthscale: Array
    ratio: float
    alpha: float = 1.0

    def free(self) -> Array:
        """As free numbers: log lengthscales, log(τ + 1e-3), for rational quadratics log α."""
        tail = [math.log(self.alpha)] if self.kind == RATIONAL_QUADRATIC else []
        return np.array([*np.log(self.lengthscale), math.log(self.ratio + _SHIFT), *tail])

    def at(self, free: Array) -> "Parameters":
        """The same kind of parameters from free numbers."""
        count = len(self.lengthscale)
        ratio = max(math.exp(free[count]) - _SHIFT, 0.0)
        alpha = math.exp(free[-1]) if self.kind == RATIONAL_QUADRATIC else self.alpha
        return Parameters(self.kind, np.exp(free[:count]), ratio, alpha)


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
    """

    parameters: Parameters
    log_likelihood: float
    gradient: Array
    information: Array
    scale: float
    mean: Array


def evaluate(
    X: Array, y: Array, H: Array, neighbors: NDArray[np.int64], parameters: Parameters, mean: Array
) -> Evaluation:
    """One pass over all columns; O(n (m³ + d m²)).

    Parameters
    ----------
    X : (n, d), y : (n,), H : (n, q)
        In their order; H holds the functions that the mean is linear in.
    neighbors : (n, m) int64
    parameters
    mean : (q,)
        Coefficients near the best: the gradient is taken there.
    """
    scaled = np.ascontiguousarray(X / parameters.lengthscale)
    isotropic = len(parameters.lengthscale) == 1
    arguments = (scaled, neighbors, y - H @ mean, H, isotropic)
    model = (parameters.kind, parameters.alpha, parameters.ratio)
    n, q = len(y), H.shape[1]
    with ThreadPoolExecutor(torch.get_num_threads()) as pool:
        jobs = [pool.submit(sum_likelihood, *arguments, *model, *part) for part in ranges(n)]
        sums = [np.sum(parts, axis=0) for parts in zip(*(j.result() for j in jobs), strict=True)]
    totals, A, B, information, cross = sums
    P = len(A)
    information = np.tril(information.reshape(P, P))
    information = information + np.tril(information, -1).T
    cross = cross.reshape(q, q + 1)
    change = np.linalg.lstsq(cross[:, :q], cross[:, q])[0] if q else np.empty(0)
    scale = float(totals[0] - cross[:, q] @ change) / n
    value = -0.5 * n * (math.log(2 * math.pi * scale) + 1) - totals[1]
    gradient = -A / 2 + B / scale
    # The scale is profiled: its row of the information is A / 2, and n / 2 its own.
    information = information - np.outer(A, A) / (2 * n)
    chain = np.ones(P)
    chain[len(parameters.lengthscale)] = parameters.ratio + _SHIFT
    return Evaluation(
        parameters,
        float(value),
        chain * gradient,
        chain[:, None] * information * chain,
        scale,
        mean + change,
    )


def predict(
    X: Array,
    residual: Array,
    queries: Array,
    neighbors: NDArray[np.int64],
    parameters: Parameters,
    scale: float,
) -> tuple[Array, Array]:
    """Mean and variance of the response at queries, each given its neighbors alone.

    Parameters
    ----------
    X : (n, d), residual : (n,)
        Training points and targets less their mean.
    queries : (q, d), neighbors : (q, m) int64
        Rows of X near each query.

    Returns
    -------
    mean, variance : (q,)
    """
    columns = np.empty((len(queries), neighbors.shape[1] + 1))
    points, at = (np.ascontiguousarray(x / parameters.lengthscale) for x in (X, queries))
    model = (parameters.kind, parameters.alpha, parameters.ratio)
    with ThreadPoolExecutor(torch.get_num_threads()) as pool:
        jobs = [
            pool.submit(fill_columns, points, at, neighbors, *model, *part, columns)
            for part in ranges(len(queries), fewest=16)
        ]
        for job in jobs:
            job.result()
    seen = np.where(neighbors >= 0, residual[neighbors], 0.0)
    last = columns[:, -1]
    return -np.einsum("qm,qm->q", columns[:, :-1], seen) / last, scale / last**2
