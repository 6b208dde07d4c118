"""Where an equation is held: points of a grid, or any points, behind one interface."""

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from solvers.data import Field
from solvers.equation import Derivative
from solvers.feature_basis import FeatureBasis
from solvers.nonlinear import Nonlinear
from solvers.operator import Term

__all__ = ["GridPlaces", "Places", "PointPlaces"]

Array = NDArray[np.float64]
Orders = tuple[int, ...]


class Places(Protocol):
    """Points at which data and features can be had; every result has one row for each of them."""

    @property
    def count(self) -> int: ...

    def features(self, basis: FeatureBasis, orders: Orders) -> Array: ...

    def values(self, data: Field | Term) -> float | Array: ...

    def nonlinear(self, part: Nonlinear, values: Mapping[Derivative, Array]) -> Array: ...

    def slopes(
        self, part: Nonlinear, values: Mapping[Derivative, Array]
    ) -> dict[Derivative, Array]: ...


class GridPlaces:
    """The points of a grid, or some of its lines along each axis.

    Parameters
    ----------
    axes : sequence of ndarrays
        Of the whole grid, on which data given as arrays are.
    picks : sequence of int ndarrays
        The lines kept of each axis.
    """

    def __init__(self, axes: Sequence[Array], picks: Sequence[NDArray[np.intp]]) -> None:
        self.axes, self.picks = tuple(axes), tuple(picks)
        self.picked = [x[pick] for x, pick in zip(axes, picks, strict=True)]

    @property
    def count(self) -> int:
        return int(np.prod([len(pick) for pick in self.picks]))

    @cached_property
    def coordinates(self) -> list[Array]:
        return [c.ravel() for c in np.meshgrid(*self.picked, indexing="ij")]

    @property
    def is_whole(self) -> bool:
        """Whether no line of the grid is left out."""
        return all(len(x) == len(p) for x, p in zip(self.axes, self.picks, strict=True))

    def features(self, basis: FeatureBasis, orders: Orders) -> Array:
        """A derivative of all features, shape (n, p)."""
        numbered = enumerate(zip(self.picked, orders, strict=True))
        return basis.on_axes([basis.along(k, x, order) for k, (x, order) in numbered])

    def values(self, data: Field | Term) -> float | Array:
        """Data or a coefficient there, shape (n,); a number where it is constant."""
        found = data.on_grid(self.axes)
        if np.ndim(found) == 0:
            return float(found)
        whole = np.broadcast_to(found, tuple(len(x) for x in self.axes))
        return whole[np.ix_(*self.picks)].ravel()

    def nonlinear(self, part: Nonlinear, values: Mapping[Derivative, Array]) -> Array:
        """A nonlinear part there, given what it depends on."""
        if self.is_whole:
            found = part.on_grid(self._shaped(values), self.axes)
            return np.broadcast_to(found, self._shape).ravel()
        return np.broadcast_to(part(values, *self.coordinates), (self.count,))

    def slopes(
        self, part: Nonlinear, values: Mapping[Derivative, Array]
    ) -> dict[Derivative, Array]:
        """The derivatives of a nonlinear part there."""
        if self.is_whole:
            found = part.slopes_on_grid(self._shaped(values), self.axes)
            return {d: np.broadcast_to(s, self._shape).ravel() for d, s in found.items()}
        found = part.slopes(values, *self.coordinates)
        return {d: np.broadcast_to(s, (self.count,)) for d, s in found.items()}

    @property
    def _shape(self) -> tuple[int, ...]:
        return tuple(len(x) for x in self.picked)

    def _shaped(self, values: Mapping[Derivative, Array]) -> dict[Derivative, Array]:
        return {d: v.reshape(self._shape) if np.ndim(v) else v for d, v in values.items()}


class PointPlaces:
    """Any points of the domain.

    Parameters
    ----------
    points : ndarray, shape (n, d)
    """

    def __init__(self, points: Array) -> None:
        self.points = points

    @property
    def count(self) -> int:
        return len(self.points)

    def features(self, basis: FeatureBasis, orders: Orders) -> Array:
        """A derivative of all features, shape (n, p)."""
        return basis.at_points(self.points, orders)

    def values(self, data: Field | Term) -> float | Array:
        """Data or a coefficient there, shape (n,); a number where it is constant."""
        found = data(*self.points.T)
        return float(found) if np.ndim(found) == 0 else np.asarray(found)

    def nonlinear(self, part: Nonlinear, values: Mapping[Derivative, Array]) -> Array:
        """A nonlinear part there, given what it depends on."""
        return np.broadcast_to(part(values, *self.points.T), (self.count,))

    def slopes(
        self, part: Nonlinear, values: Mapping[Derivative, Array]
    ) -> dict[Derivative, Array]:
        """The derivatives of a nonlinear part there."""
        found = part.slopes(values, *self.points.T)
        return {d: np.broadcast_to(s, (self.count,)) for d, s in found.items()}
