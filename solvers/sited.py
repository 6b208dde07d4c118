"""Arrays of a problem as data at the points where they were given: scattered, or of a grid."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kernelgp.errors import ArgumentError
from solvers.data import ArrayField, Field, read_field
from solvers.problem import Problem

__all__ = [
    "GridField",
    "PointField",
    "points_of",
    "with_arrays_at_points",
    "with_arrays_on_grid",
]

Array = NDArray[np.float64]

# Of a cell: a coordinate of the grid computed in another way differs by rounding.
_OFF_GRID = 1e-6


@dataclass(frozen=True, eq=False)
class PointField(Field):
    """Values at scattered points; `values` has one for each of `points`, shape (n, d)."""

    name: str
    values: Array
    points: Array

    @property
    def is_function(self) -> bool:
        return False

    def __call__(self, *coordinates: Array) -> Array:
        """The values, if these are the points."""
        same = coordinates[0].shape == self.values.shape and all(
            np.array_equal(c, x) for c, x in zip(coordinates, self.points.T, strict=True)
        )
        if not same:
            remedy = "give a formula or a callable to have its values between the points"
            raise ArgumentError(self.name, f"values at {len(self.points)} points", remedy)
        return self.values

    def __str__(self) -> str:
        return f"values at {len(self.points)} points"


@dataclass(frozen=True, eq=False)
class GridField(ArrayField):
    """Values at the points of a uniform grid on a box, which may be asked for one by one."""

    bounds: tuple[tuple[float, float], ...]

    def __call__(self, *coordinates: Array) -> Array:
        """The values at points of the grid, in the broadcast shape of the coordinates."""
        cells = []
        for c, (lo, hi), n in zip(coordinates, self.bounds, self.values.shape, strict=True):
            place = (c - lo) / (hi - lo) * (n - 1)
            cell = np.rint(place)
            if np.abs(place - cell).max(initial=0.0) > _OFF_GRID:
                return super().__call__(*coordinates)
            cells.append(cell.astype(np.intp))
        return self.values[tuple(np.broadcast_arrays(*cells))]


def points_of(problem: Problem) -> Array | None:
    """The scattered points that data are given at; None if there are none."""
    fields = [v for v in problem.data.values() if isinstance(v, PointField)]
    return fields[0].points if fields else None


def with_arrays_at_points(problem: Problem, points: Array) -> Problem:
    """The same problem with its arrays, one value for each point, as data at these points.

    Raises
    ------
    ArgumentError
        If an array has another shape.
    """
    fields = _arrays(problem)
    for name, field in fields.items():
        if field.values.shape != (len(points),):
            remedy = f"give shape ({len(points)},), one value for each point"
            raise ArgumentError(name, f"an array of shape {field.values.shape}", remedy)
    return _with(problem, [PointField(n, f.values, points) for n, f in fields.items()])


def with_arrays_on_grid(problem: Problem, sizes: Sequence[int]) -> Problem:
    """The same problem with its arrays as data at single points of the grid.

    Raises
    ------
    ArgumentError
        If an array has another shape than the grid.
    """
    fields, shape = _arrays(problem), tuple(sizes)
    for name, field in fields.items():
        if field.values.shape != shape:
            remedy = f"give shape {shape}, as the grid has"
            raise ArgumentError(name, f"an array of shape {field.values.shape}", remedy)
    bounds = problem.domain.bounds
    return _with(problem, [GridField(n, f.values, bounds) for n, f in fields.items()])


def _arrays(problem: Problem) -> dict[str, ArrayField]:
    fields = {}
    for name, value in problem.data.items():
        # Formulas may name numbers that are not looked up here, and are no arrays.
        if np.ndim(value):
            field = read_field(name, value, problem.axes, {})
            if isinstance(field, ArrayField):
                fields[name] = field
    return fields


def _with(problem: Problem, fields: Sequence[GridField | PointField]) -> Problem:
    if not fields:
        return problem
    return problem.with_exact(
        [equation.text for equation in problem.equations],
        problem.domain,
        problem.conditions,
        problem.data | {field.name: field for field in fields},
        problem.exact_formulas,
        functions=problem.functions,
        unknown=problem.unknown,
    )
