"""Whether a prior of a few tones suits a solution, said in words: what no single figure says."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from solvers.left_sides import left_overs, values_at
from solvers.places import PointPlaces
from solvers.problem import Problem
from solvers.protocol import Posterior
from solvers.report import SolutionReport

__all__ = ["notes_on"]

Array = NDArray[np.float64]

# Rungs of the ladder before it gives up tones: see `solvers.prior`.
_TONES = 3
# What is left of an equation that is worth a word, relative to its largest term.
_LEFT = 1e-6
_POINTS = 4000
# A corner is this share of every side; a line is one of so many slices, and its two neighbors.
_CORNER, _SLICES = 0.06, 40
# The share of what is left that has to be in one place to be called concentrated there.
_MOST = 0.5


def notes_on(problem: Problem, posterior: Posterior, rng: np.random.Generator) -> Iterator[str]:
    """Sentences on how far the prior suits the solution; none where it does.

    Parameters
    ----------
    problem, posterior
    rng
        For the places looked at.
    """
    report = posterior.report
    if not isinstance(report, SolutionReport) or report.method != "direct":
        return
    free = [a for i, a in enumerate(problem.axes) if i not in problem.periodic]
    # Of a slow solution polynomials are as natural a prior as a slow component.
    fast = [axis for axis in free if len(report.frequencies.get(axis, ()))]
    wide = [axis for axis in fast if report.band.get(axis, 0.0) > 0]
    somewhere = []
    if report.residual > _LEFT and problem.source_is_function and not problem.observations:
        points = problem.domain.random_points(_POINTS, rng)
        places, value = PointPlaces(points), values_at(problem, posterior, points)
        found = max(left_overs(problem, places, value), key=lambda one: one.relative)
        somewhere = list(_places_of(problem, points, np.square(found.residual)))
    if somewhere:
        yield from somewhere
    elif report.prior > _TONES and wide:
        reach = ", ".join(f"{report.band[axis]:.3g} in {axis}" for axis in wide)
        yield (
            f"the prior does not fit: no few tones make up this solution, so that all frequencies "
            f"were taken (to {reach} cycles per unit), as for a chirp; a "
            f"spectral method such as ChebyshevSolver would do as well or better on the same grid"
        )


def _places_of(problem: Problem, points: Array, squares: Array) -> Iterator[str]:
    """Where most of the residual is: in the corners, on a line, or everywhere."""
    total = float(squares.sum())
    if not np.isfinite(total) or total == 0:
        return
    lower, upper = np.array(problem.domain.bounds).T
    unit = (points - lower) / (upper - lower)
    nearest = np.minimum(unit, 1 - unit).max(axis=1)
    if problem.dimension > 1 and squares[nearest < _CORNER].sum() > _MOST * total:
        yield (
            "the prior does not fit: what the equation leaves is in the corners, where the "
            "solution is not smooth (a corner singularity); a spectral or finite element method "
            "with elements graded towards the corners would do better"
        )
        return
    lines = [where for k in range(problem.dimension) if (where := _line(problem, unit, squares, k))]
    if lines:
        yield (
            f"the prior does not fit: what the equation leaves is near {' and '.join(lines)} (a "
            "shock, a layer or a kink); a finer grid, or a spectral method in pieces that meet "
            "there, would do better"
        )


def _line(problem: Problem, unit: Array, squares: Array, axis: int) -> str:
    """``"x = 0.5"`` where most is near one coordinate; else nothing."""
    slices = np.minimum((unit[:, axis] * _SLICES).astype(int), _SLICES - 1)
    share = np.bincount(slices, weights=squares, minlength=_SLICES) / squares.sum()
    near = np.convolve(share, np.ones(3), mode="same")
    best = int(near.argmax())
    if near[best] < _MOST:
        return ""
    here = abs(slices - best) <= 1
    lower, upper = problem.domain.bounds[axis]
    center = float(np.average(unit[here, axis], weights=squares[here]))
    return f"{problem.axes[axis]} = {lower + (upper - lower) * center:.3g}"
