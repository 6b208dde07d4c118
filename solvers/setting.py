"""Where rows are held, and what frequencies the data there have: a grid, part of one, or points."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from solvers.outline import Held, outline
from solvers.places import Places, PointPlaces
from solvers.problem import Problem
from solvers.region_spectrum import edge_tones, run_tones
from solvers.row_frequencies import MOST_TONES, PEAK_FLOOR, row_frequencies
from solvers.scattered_spectrum import scattered_tones
from solvers.sited import with_arrays_on_grid

__all__ = ["Setting", "read_setting"]

Array = NDArray[np.float64]
Given = Mapping[str, Sequence[float]]

# Lines of conditions and samples of formulas, to the number of points along an axis that
# scattered ones amount to; no more of them in all than this.
_FINER, _FINEST = 3, 250_000
# With few points on an edge, what is slow cannot be told from a tone.
_LEAST_LINES = {1: 2, 2: 200, 3: 40}


@dataclass(frozen=True, slots=True, eq=False)
class Setting:
    """What a search by rows begins with.

    Attributes
    ----------
    problem : Problem
        Its arrays, if need be, as data at the points.
    axes : tuple of ndarrays
        A grid on the box.
    tones : tuple of lists
        Frequencies of each axis, in cycles per unit.
    places : Places or None
        Where equations are held, if not on the grid.
    held : list of Held or None
        Conditions at points, if not on the grid.
    """

    problem: Problem
    axes: tuple[Array, ...]
    tones: tuple[list[float], ...]
    places: Places | None = None
    held: list[Held] | None = None


def read_setting(
    problem: Problem, grid: Sequence[int], given: Given, points: Array | None
) -> Setting:
    """The setting of a problem on a grid or, where there are `points`, at these.

    Raises
    ------
    ArgumentError
        If arrays do not fit, or no point of the grid is inside the region.
    """
    axes = tuple(problem.domain.uniform_axes(grid))
    if points is not None:
        return _at_points(problem, axes, given, points)
    if problem.domain.region is not None:
        return _in_region(problem, axes, given)
    return Setting(problem, axes, row_frequencies(problem, axes, given))


def _in_region(problem: Problem, axes: tuple[Array, ...], given: Given) -> Setting:
    problem = with_arrays_on_grid(problem, [len(x) for x in axes])
    lines = list(axes)
    if all(face.field.is_function for face in problem.faces):
        least = _LEAST_LINES[len(axes)]
        lines = problem.domain.uniform_axes([max(len(x), least) for x in axes])
    held = outline(problem, lines)
    mask = problem.domain.contains_on_grid(axes)
    mesh = np.meshgrid(*axes, indexing="ij")
    inside = np.stack([c[mask] for c in mesh], axis=1)
    candidates = _run_candidates(problem, axes, mask, inside)
    for known, more in zip(candidates, edge_tones(held, problem.domain.bounds), strict=True):
        known += more
    return Setting(problem, axes, row_frequencies(problem, axes, given, candidates, inside))


def _at_points(problem: Problem, axes: tuple[Array, ...], given: Given, points: Array) -> Setting:
    d = problem.dimension
    finest = math.floor(_FINEST ** (1 / d))
    fine = problem.domain.uniform_axes([min(_FINER * len(x), finest) for x in axes])
    held = outline(problem, fine)
    places = PointPlaces(points)
    if problem.source_is_function and problem.domain.region is None:
        tones = row_frequencies(problem, fine, given, at=points)
        return Setting(problem, axes, tones, places, held)
    bounds = problem.domain.bounds
    candidates: list[list[float]] = [[] for _ in bounds]
    for source in problem.sources:
        found = scattered_tones(points, source(*points.T), bounds, limit=MOST_TONES[d])
        for known, more in zip(candidates, found, strict=True):
            known += more
    for known, more in zip(candidates, edge_tones(held, bounds), strict=True):
        known += more
    tones = row_frequencies(problem, axes, given, candidates, points)
    return Setting(problem, axes, tones, places, held)


def _run_candidates(
    problem: Problem, axes: Sequence[Array], mask: NDArray[np.bool_], inside: Array
) -> list[list[float]]:
    candidates: list[list[float]] = [[] for _ in axes]
    for source in problem.sources:
        values = np.zeros(mask.shape)
        values[mask] = source(*inside.T)
        for k, (known, x) in enumerate(zip(candidates, axes, strict=True)):
            step = float(x[1] - x[0])
            known += run_tones(values, mask, k, step, floor=PEAK_FLOOR[len(axes)])
    return candidates
