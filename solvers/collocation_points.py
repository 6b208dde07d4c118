"""Where the user wants the equation to hold: a grid, or points in no order; checked."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from kernelgp.errors import ArgumentError
from solvers.domain import Box
from solvers.points import read_points

__all__ = ["CollocationPoints", "read_collocation"]

Array = NDArray[np.float64]


class CollocationPoints(NamedTuple):
    """A grid, and points if there are.

    Attributes
    ----------
    grid : tuple of int
        Of points, one that has as many.
    points : ndarray of shape (n, d), or None
    """

    grid: tuple[int, ...]
    points: Array | None


def read_collocation(
    box: Box, grid: Sequence[int] | None, points: Any, *, fewest: int
) -> CollocationPoints:
    """Exactly one of the two.

    Parameters
    ----------
    box, grid, points
    fewest
        Points along an axis.

    Raises
    ------
    ArgumentError, ArgumentTypeError
        If both are given or none, or points are outside, twice there or too few.

    Examples
    --------
    >>> read_collocation(Box(x=(0, 1)), None, [0.1, 0.5, 0.2, 0.9], fewest=4).grid
    (4,)
    """
    if (grid is None) == (points is None):
        given = "neither a grid nor points" if grid is None else "a grid and points"
        example = ", ".join(["n"] * box.dimension) + ("," if box.dimension == 1 else "")
        remedy = f"give grid=({example}), or points of shape (n, {box.dimension})"
        raise ArgumentError("grid", given, remedy)
    if points is None:
        sizes = box.check_grid(grid, minimum=fewest)
        if box.region is not None:
            box.region.check_grid(sizes)
        return CollocationPoints(sizes, None)
    values, _ = read_points(points, box)
    n, d = values.shape
    _, first, counts = np.unique(values, axis=0, return_index=True, return_counts=True)
    if len(counts) < n:
        row = int(first[counts > 1].min())
        given = f"{n - len(counts)} of {n} points twice, the first of them at row {row}"
        raise ArgumentError("points", given, "give each once: np.unique(points, axis=0)")
    if n < fewest**d:
        raise ArgumentError("points", f"{n} points", f"give at least {fewest**d}")
    return CollocationPoints((max(fewest, math.ceil(n ** (1 / d))),) * d, values)
