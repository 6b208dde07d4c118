"""A problem's data on a grid: the source, and the values on the faces that carry the solution."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from solvers.faces import Face
from solvers.interpolant import chebyshev_nodes
from solvers.neighbour import ConstantTerm, neighbour_terms
from solvers.problem import Problem

__all__ = ["Samples", "sample_at_chebyshev", "sample_problem"]

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Samples:
    """Source and face values at the points of a grid.

    Attributes
    ----------
    axes : tuple of ndarrays
        The grid's coordinates along each axis.
    source : ndarray, shape (n1, ..., nd)
    faces : tuple of tuples of Face
        For each axis the faces whose conditions are imposed.
    values : tuple of tuples of ndarrays
        Their values, of the grid's shape without that axis.
    spare : tuple of Face
        Faces with a condition that the equation does not need: checked, not imposed.
    terms : tuple of (orders, coefficient)
        Of the linear neighbour with constant coefficients, which is the equation where that is
        linear and its coefficients constant.
    """

    axes: tuple[Array, ...]
    source: Array
    faces: tuple[tuple[Face, ...], ...]
    values: tuple[tuple[Array, ...], ...]
    spare: tuple[Face, ...]
    terms: tuple[ConstantTerm, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(len(x) for x in self.axes)


def sample_problem(problem: Problem, grid: tuple[int, ...]) -> Samples:
    """Evaluate the data of `problem` on a uniform grid, ends included."""
    return _sample_on(problem, problem.domain.uniform_axes(grid))


def sample_at_chebyshev(problem: Problem, grid: tuple[int, ...]) -> Samples:
    """The same on as many Chebyshev points, but for periodic axes, which stay uniform."""
    axes = problem.domain.uniform_axes(grid)
    for i, (lower, upper) in enumerate(problem.domain.bounds):
        if i not in problem.periodic:
            axes[i] = chebyshev_nodes(grid[i], lower, upper)
    return _sample_on(problem, axes)


def _sample_on(problem: Problem, axes: list[Array]) -> Samples:
    terms = tuple(neighbour_terms(problem, axes))
    faces, spare = [], []
    for axis in range(problem.dimension):
        given = [face for face in problem.faces if face.axis == axis]
        if problem.orders[axis] == 1 and len(given) == 2:
            end = _upstream_end(problem, terms, axis)
            spare += [face for face in given if face.end != end]
            given = [face for face in given if face.end == end]
        faces.append(tuple(given))
    values = tuple(
        tuple(
            np.asarray(face.value_on_grid(axes[: face.axis] + axes[face.axis + 1 :]), float)
            for face in on_axis
        )
        for on_axis in faces
    )
    source = np.asarray(problem.source_on_grid(axes), float)
    return Samples(tuple(axes), source, tuple(faces), values, tuple(spare), terms)


def _upstream_end(problem: Problem, terms: Sequence[ConstantTerm], axis: int) -> int:
    """The end of a first-order axis from which the solution is carried, where both are given.

    With a wave on the other axes the solution is ``exp(λ x)``: a condition belongs where it
    is large, so that it decays from there (a heat equation starts at its beginning). Where it
    neither grows nor decays, it travels: the last such axis starts at its lower end, and the
    others at the end from which the characteristics enter with it.
    """
    unit = tuple(int(k == axis) for k in range(problem.dimension))
    speed = sum(c for orders, c in terms if orders == unit)
    even = [(o, c) for o, c in terms if o[axis] == 0 and sum(o) == 2]
    # A pure second derivative of a wave has the sign of minus its coefficient.
    growth = sum(c for orders, c in even if 2 in orders) * speed
    if growth:
        return 0 if growth < 0 else 1
    slopes = {o.index(1): c for o, c in terms if sum(o) == 1 and 1 in o}
    both = {k for k in slopes if len([f for f in problem.faces if f.axis == k]) == 2}
    single = [f for f in problem.faces if f.axis in slopes and f.axis not in both]
    if single:
        reference, end = single[-1].axis, single[-1].end
    else:
        reference, end = max(slopes, default=axis), 0
    aligned = slopes.get(axis, 1.0) * slopes.get(reference, 1.0) > 0
    return end if aligned else 1 - end
