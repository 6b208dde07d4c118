"""Boxes: named axes with their bounds, the grids on them and the names of their faces."""

import math
from collections.abc import Sequence
from keyword import iskeyword
from numbers import Integral, Real
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kernelgp.errors import ArgumentError, ArgumentTypeError
from solvers.expression import RESERVED

__all__ = ["Box"]

_MAX_AXES = 3


class Box:
    """A product of intervals, one for each named axis, in the order given.

    Parameters
    ----------
    **bounds : pair of floats
        ``x=(lower, upper)``, in the unit of that axis; one to three axes.

    Attributes
    ----------
    axes : tuple of str
    bounds : tuple of (float, float)
    dimension : int

    Raises
    ------
    ArgumentError
        If there is no axis or more than three, a name cannot stand in an equation, or a
        lower bound is not below its upper bound.

    Examples
    --------
    >>> box = Box(x=(0, 1), t=(0, 2.5))
    >>> box, box.dimension, box.faces
    (Box(x=(0, 1), t=(0, 2.5)), 2, ('x-', 'x+', 't-', 't+'))
    """

    axes: tuple[str, ...]
    bounds: tuple[tuple[float, float], ...]

    def __init__(self, **bounds: tuple[float, float]) -> None:
        if not 1 <= len(bounds) <= _MAX_AXES:
            remedy = f"give one to {_MAX_AXES}, such as Box(x=(0, 1), y=(0, 1))"
            raise ArgumentError("domain", f"{len(bounds)} axes", remedy)
        for name in bounds:
            _check_axis_name(name)
        self.axes = tuple(bounds)
        self.bounds = tuple(_interval(name, pair) for name, pair in bounds.items())

    @property
    def dimension(self) -> int:
        return len(self.axes)

    @property
    def lengths(self) -> tuple[float, ...]:
        return tuple(hi - lo for lo, hi in self.bounds)

    @property
    def faces(self) -> tuple[str, ...]:
        """``"x-"`` is where x is at its lower bound, ``"x+"`` where it is at its upper one."""
        return tuple(f"{axis}{end}" for axis in self.axes for end in "-+")

    def check_grid(self, grid: Any, *, minimum: int = 2) -> tuple[int, ...]:
        """The numbers of points along the axes, checked.

        Raises
        ------
        ArgumentError, ArgumentTypeError
            If `grid` is not one whole number of at least `minimum` for each axis.
        """
        example = ", ".join(["n"] * self.dimension) + ("," if self.dimension == 1 else "")
        axes = ", ".join(self.axes)
        remedy = f"give ({example}), the numbers of points along {axes}, each at least {minimum}"
        if isinstance(grid, str) or not isinstance(grid, Sequence | np.ndarray):
            raise ArgumentTypeError("grid", repr(grid), remedy)
        sizes = list(grid)
        whole = all(isinstance(n, Integral) and not isinstance(n, bool) for n in sizes)
        if len(sizes) != self.dimension or not whole or min(sizes) < minimum:
            raise ArgumentError("grid", str(grid), remedy)
        return tuple(int(n) for n in sizes)

    def uniform_axes(self, grid: Sequence[int]) -> list[NDArray[np.float64]]:
        """The coordinates of a uniform grid, both bounds included: one array for each axis."""
        return [np.linspace(lo, hi, n) for (lo, hi), n in zip(self.bounds, grid, strict=True)]

    def random_axes(
        self, grid: Sequence[int], per_cell: int, rng: np.random.Generator
    ) -> list[NDArray[np.float64]]:
        """Coordinates with `per_cell` uniform draws between each two points of the grid.

        Their product puts ``per_cell ** dimension`` points into every cell, none where the
        grid's points are, and is evaluated at the price of a grid.
        """
        return [
            lo + (hi - lo) * np.sort((np.arange(n - 1)[:, None] + draws) / (n - 1), axis=1).ravel()
            for (lo, hi), n in zip(self.bounds, grid, strict=True)
            for draws in [rng.uniform(size=(n - 1, per_cell))]
        ]

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Box):
            return NotImplemented
        return (self.axes, self.bounds) == (other.axes, other.bounds)

    def __hash__(self) -> int:
        return hash((self.axes, self.bounds))

    def __repr__(self) -> str:
        pairs = zip(self.axes, self.bounds, strict=True)
        return f"Box({', '.join(f'{axis}=({lo:.16g}, {hi:.16g})' for axis, (lo, hi) in pairs)})"


def _check_axis_name(name: str) -> None:
    # An underscore begins a subscript: `u_x_y` could not be told apart.
    if not name.isidentifier() or iskeyword(name) or "_" in name:
        remedy = "give a name of letters and digits, without an underscore"
        raise ArgumentError("domain", f"the axis {name!r}", remedy)
    if name in RESERVED:
        remedy = "choose another name: it means something else in a formula"
        raise ArgumentError("domain", f"the axis {name!r}", remedy)


def _interval(name: str, pair: Any) -> tuple[float, float]:
    given = f"{name}={pair!r}"
    remedy = f"give {name}=(lower, upper)"
    if isinstance(pair, str) or not isinstance(pair, Sequence | np.ndarray) or len(pair) != 2:
        raise ArgumentTypeError("domain", given, remedy)
    if not all(isinstance(bound, Real) and not isinstance(bound, bool) for bound in pair):
        raise ArgumentTypeError("domain", given, f"{remedy}, two real numbers")
    lo, hi = float(pair[0]), float(pair[1])
    if not (math.isfinite(lo) and math.isfinite(hi) and lo < hi):
        raise ArgumentError("domain", given, f"{remedy}, finite, the lower one first")
    return lo, hi
