"""Maximum likelihood under Vecchia's approximation, by preconditioned quasi-Newton steps.

The Fisher information comes with every evaluation; a fit on a sample gives the start.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kernelgp.vecchia.blocks import RATIONAL_QUADRATIC
from kernelgp.vecchia.climb import LEAST_GAIN, at_bounds, climb
from kernelgp.vecchia.likelihood import Evaluation, Parameters, Responses, evaluate
from kernelgp.vecchia.neighbors import nearest_previous

__all__ = ["VecchiaFit", "first_guess", "fit_vecchia"]

Array = NDArray[np.float64]

# Samples that a fit starts on, with fewer neighbors; the second where there is much more.
_SAMPLE, _SAMPLE_NEIGHBORS = 1500, 15
_LARGE, _LARGE_SAMPLE = 24_000, 8000
# Neighbors are looked for again where a log lengthscale has moved by this.
_MOVED, _MOST_REFRESHES = 0.1, 2


@dataclass(frozen=True, slots=True, eq=False)
class VecchiaFit:
    """What was found.

    Attributes
    ----------
    evaluation : Evaluation
        At the end, on all points.
    evaluations : int
        Passes over all points; those over samples are not counted.
    order : (n,) int64
        The order of the points that it was found in.
    neighbors : (n, m) int64
        Positions in that order.
    at_bound : tuple of int
        Free parameters that ended at a bound.
    converged : bool
    """

    evaluation: Evaluation
    evaluations: int
    order: NDArray[np.int64]
    neighbors: NDArray[np.int64]
    at_bound: tuple[int, ...]
    converged: bool

    @property
    def parameters(self) -> Parameters:
        return self.evaluation.parameters

    @property
    def outputscale(self) -> float:
        return self.evaluation.scale

    @property
    def noise(self) -> float:
        """The noise's variance."""
        return self.evaluation.scale * self.parameters.ratio


def fit_vecchia(
    rows: Responses,
    start: Parameters,
    *,
    from_sample: bool = True,
    n_neighbors: int = 30,
    least_ratio: float = 1e-8,
    least_gain: float = LEAST_GAIN,
    rng: np.random.Generator,
    on_step: Callable[[Evaluation], None] | None = None,
) -> VecchiaFit:
    """Lengthscales, noise, scale and mean of most likelihood.

    Parameters
    ----------
    rows
    start : Parameters
        Where to begin (`first_guess`). What is fixed in it stays so.
    from_sample : bool
        Whether a fit on a sample, where there are many rows, moves the start first.
    least_ratio : float
        The noise variance is at least this much of the outputscale.
    least_gain : float
        What a step must promise, in natural units of the likelihood.
    rng
        For the order, which is random: at the level of responses that is as good as any.
    on_step
        Called after every step.
    """
    n = len(rows.y)
    for size in (_SAMPLE, _LARGE_SAMPLE) if from_sample else ():
        if n > 3 * size and (size == _SAMPLE or n > _LARGE):
            sample = rows.ordered(rng.choice(n, size, replace=False))
            m = min(_SAMPLE_NEIGHBORS, n_neighbors)
            start = _Problem(sample, m, least_ratio, LEAST_GAIN).maximize(start, None).parameters
    order = rng.permutation(n)
    problem = _Problem(rows.ordered(order), n_neighbors, least_ratio, least_gain)
    found = problem.maximize(start, on_step)
    return VecchiaFit(
        found,
        problem.evaluations,
        order,
        problem.neighbors,
        problem.at_bound,
        problem.converged,
    )


def first_guess(
    X: Array,
    kind: int,
    *,
    isotropic: bool = False,
    groups: NDArray[np.int64] | None = None,
    noise: float | None = None,
) -> Parameters:
    """Half the spread of every axis, times the root of their number, and a tenth of noise.

    `noise` is its variance, where it is known, in units in which the targets vary by 1; axes of
    one of the `groups` share a lengthscale.
    """
    spread = X.std(axis=0)
    spread[spread == 0] = 1.0
    each = np.log(0.5 * math.sqrt(X.shape[1]) * spread)
    if isotropic:
        groups = np.zeros(X.shape[1], np.int64)
    if groups is not None:
        each = np.bincount(groups, each) / np.bincount(groups)
    lengthscale = np.exp(each)
    return Parameters(
        kind, lengthscale, 0.1 if noise is None else noise, noise=noise, groups=groups
    )


class _Problem:
    """One set of points in one order, and the search on it."""

    def __init__(
        self, rows: Responses, n_neighbors: int, least_ratio: float, least_gain: float
    ) -> None:
        self.rows = rows
        self._m = min(n_neighbors, max(len(rows.y) - 1, 1))
        self._least_ratio, self._least_gain = least_ratio, least_gain
        self.neighbors = np.empty((0, self._m), np.int64)
        self.evaluations, self.at_bound, self.converged = 0, (), False

    def maximize(
        self, start: Parameters, on_step: Callable[[Evaluation], None] | None
    ) -> Evaluation:
        low, high = self._bounds(start)
        mean: Array = np.zeros(self.rows.H.shape[1])
        if len(mean):
            mean = np.linalg.lstsq(self.rows.H, self.rows.y)[0].astype(np.float64)
        now = None
        for refresh in range(_MOST_REFRESHES + 1):
            free = np.clip(start.free(), low, high)
            self.neighbors = nearest_previous(start.scaled(self.rows.X), self._m)
            self.evaluations += 1
            now = evaluate(self.rows, self.neighbors, start.at(free), mean)
            now, self.converged = climb(self._evaluate, now, low, high, on_step, self._least_gain)
            mean = now.mean
            moved = np.abs(np.log(now.parameters.lengthscale / start.lengthscale)).max()
            start = now.parameters
            if moved < _MOVED or refresh == _MOST_REFRESHES:
                break
        assert now is not None
        self.at_bound = at_bounds(now.free, low, high)
        return now

    def _bounds(self, start: Parameters) -> tuple[Array, Array]:
        width = np.ptp(self.rows.X, axis=0)
        spread = np.zeros(len(start.lengthscale))
        np.maximum.at(spread, start.grouped(len(width)), width)
        spread = np.where(spread > 0, spread, 1.0)
        tail = [(-4.0, 7.0)] if start.kind == RATIONAL_QUADRATIC else []
        shifted = Parameters(start.kind, start.lengthscale, self._least_ratio).free()
        ratio = (shifted[len(spread)], math.log(1e4))
        if start.noise is not None:
            ratio = (math.log(1e-6), math.log(1e6))
        pairs = [*((math.log(1e-4 * w), math.log(1e4 * w)) for w in spread), ratio, *tail]
        low, high = np.array(pairs).T
        return low, high

    def _evaluate(self, free: Array, now: Evaluation) -> Evaluation:
        self.evaluations += 1
        return evaluate(self.rows, self.neighbors, now.parameters.at(free), now.mean)
