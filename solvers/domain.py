"""Boxes: named axes with their bounds, the part of them that counts, grids and names of faces."""

import itertools
import math
from collections.abc import Sequence
from keyword import iskeyword
from numbers import Integral, Real
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kernelgp.errors import ArgumentError, ArgumentTypeError
from solvers.expression import RESERVED
from solvers.region import Region, read_region

__all__ = ["Box"]

_MAX_AXES = 3
# Of the box: a point on the edge of a region may be computed to lie outside by as much.
_SLACK = 1e-12
_MOST_DRAWS = 100
# Points along each axis of a face where it is asked whether the region is there.
_LOOKED_AT = 64


class Box:
    """A product of intervals, one for each named axis, in the order given, or a part of it.

    Parameters
    ----------
    inside : formula, callable, boolean array or mapping of names to these, optional
        The part of the box that the problem is on. A formula compares, ``"x**2 + y**2 < 1"``,
        with ``and``, ``or`` and ``not``, or is positive inside; a callable takes one array for
        each axis, in order, and returns booleans, or numbers that are positive inside; an array
        has the shape of the grid, and holds the cells around its points. Of a mapping all
        must hold: its names are those of the edges for ``on=``, which else is ``"edge"``.
    **bounds : pair of floats
        ``x=(lower, upper)``, in the unit of that axis; one to three axes.

    Attributes
    ----------
    axes : tuple of str
    bounds : tuple of (float, float)
    dimension : int
    region : Region or None
        What `inside` says.

    Raises
    ------
    ArgumentError
        If there is no axis or more than three, a name cannot stand in an equation, a lower
        bound is not below its upper bound, or `inside` cannot be read.

    Examples
    --------
    >>> box = Box(x=(0, 1), t=(0, 2.5))
    >>> box, box.dimension, box.faces
    (Box(x=(0, 1), t=(0, 2.5)), 2, ('x-', 'x+', 't-', 't+'))
    >>> ring = {"rim": "x**2 + y**2 < 1", "hole": "x**2 + y**2 > 0.1"}
    >>> box = Box(x=(-1, 1), y=(-1, 1), inside=ring)
    >>> box.edges, box.contains(np.array([[0.0, 0.0], [0.5, 0.5], [1.0, 0.0]]))
    (('rim', 'hole'), array([False,  True,  True]))
    """

    axes: tuple[str, ...]
    bounds: tuple[tuple[float, float], ...]
    region: Region | None

    def __init__(self, *, inside: Any = None, **bounds: tuple[float, float]) -> None:
        if not 1 <= len(bounds) <= _MAX_AXES:
            remedy = f"give one to {_MAX_AXES}, such as Box(x=(0, 1), y=(0, 1))"
            raise ArgumentError("domain", f"{len(bounds)} axes", remedy)
        for name in bounds:
            _check_axis_name(name)
        self.axes = tuple(bounds)
        self.bounds = tuple(_interval(name, pair) for name, pair in bounds.items())
        self.region = None if inside is None else read_region(inside, self.axes, self.bounds)
        for name in self.edges:
            if name in self.faces:
                raise ArgumentError("inside", f"the name {name!r}", "choose another: it is a face")

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

    @property
    def edges(self) -> tuple[str, ...]:
        """The names of the edges inside the box, one for each piece of the region."""
        return () if self.region is None else self.region.names

    def contains(self, points: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Whether points of the box, shape (m, d), are in the region or on its edge: (m,)."""
        if self.region is None:
            return np.ones(len(points), dtype=np.bool_)
        lower, upper = np.array(self.bounds).T
        found = self.region.contains(*points.T)
        for signs in itertools.product((-1, 0, 1), repeat=self.dimension):
            if found.all():
                break
            beside = points[~found] + _SLACK * np.array(signs) * (upper - lower)
            found[~found] = self.region.contains(*np.clip(beside, lower, upper).T)
        return found

    def contains_on_grid(self, axes: Sequence[NDArray[np.float64]]) -> NDArray[np.bool_]:
        """Whether the points of a product of axes are in the region: shape (n1, ..., nd)."""
        if self.region is None:
            return np.ones([len(x) for x in axes], dtype=np.bool_)
        return self.region.contains(*np.meshgrid(*axes, indexing="ij", sparse=True))

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

    def random_points(self, count: int, rng: np.random.Generator) -> NDArray[np.float64]:
        """Uniform draws from the region, shape (count, d).

        Raises
        ------
        ArgumentError
            If the region is so small that none falls into it.
        """
        lower, upper = np.array(self.bounds).T
        found = np.empty((0, self.dimension))
        for _ in range(_MOST_DRAWS):
            drawn = rng.uniform(lower, upper, size=(max(count, 1000), self.dimension))
            if self.region is not None:
                drawn = drawn[self.region.contains(*drawn.T)]
            found = np.concatenate([found, drawn])
            if len(found) >= count:
                return found[:count]
        given = f"a region that {len(found)} of {_MOST_DRAWS * max(count, 1000)} points fall into"
        raise ArgumentError("inside", given, "give a box that is closer to the region")

    def reaches(self, face: str) -> bool:
        """Whether the region extends to a face of the box."""
        if self.region is None:
            return True
        axis, end = divmod(self.faces.index(face), 2)
        # Its inner points: a region that meets the face in a point or along its rim does not.
        fractions = (np.arange(_LOOKED_AT) + 0.5) / _LOOKED_AT
        axes = [lo + (hi - lo) * fractions for lo, hi in self.bounds]
        axes[axis] = np.array([self.bounds[axis][end]])
        return bool(self.contains_on_grid(axes).any())

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Box):
            return NotImplemented
        return self._key == other._key

    def __hash__(self) -> int:
        return hash(self._key)

    @property
    def _key(self) -> tuple[Any, ...]:
        return self.axes, self.bounds, None if self.region is None else self.region.key

    def __repr__(self) -> str:
        pairs = zip(self.axes, self.bounds, strict=True)
        inside = "" if self.region is None else f", inside={self.region}"
        shown = ", ".join(f"{axis}=({lo:.16g}, {hi:.16g})" for axis, (lo, hi) in pairs)
        return f"Box({shown}{inside})"


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
