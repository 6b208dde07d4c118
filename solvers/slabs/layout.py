"""An evolution problem in one space dimension, laid out as space and time."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kernelgp.errors import ArgumentError
from solvers.equation import Derivative
from solvers.faces import TIME, Face
from solvers.problem import Problem

__all__ = ["Equations", "Layout", "Slopes", "may_march"]

Array = NDArray[np.float64]
#: ``slopes[e]`` are ``(function, order in x, order in t, coefficient)`` of equation e.
Slopes = list[list[tuple[int, int, int, float | Array]]]
#: Values of a derivative ``(function, order in x, order in t)`` on the product of x and t.
At = Callable[[int, int, int], Array]


@dataclass(frozen=True)
class Layout:
    """Which axis is space, how many conditions hold at the start, what each equation evolves.

    Attributes
    ----------
    problem : Problem
    space, time : int
        The axes, by number.
    order : int
        In time, 1 or 2.
    paired : tuple of int
        For each equation the function whose highest derivative in time it holds.
    """

    problem: Problem
    space: int
    time: int
    order: int
    paired: tuple[int, ...]

    @classmethod
    def of(cls, problem: Problem) -> "Layout":
        """Lay a problem out.

        Raises
        ------
        ArgumentError
            If it is no initial-value problem in one space dimension and time, naming why.
        """
        why = cls.obstacle(problem)
        if why:
            raise ArgumentError("slabs", why, "leave slabs out")
        time = problem.axes.index(TIME)
        (order,) = {orders[time] for orders in problem.orders_of.values()}
        return cls(problem, 1 - time, time, order, _pairs(problem, time, order) or ())

    @staticmethod
    def obstacle(problem: Problem) -> str:
        """Why a problem cannot be solved slab by slab; empty if it can."""
        if TIME not in problem.axes or problem.dimension != 2:
            return f"a problem on {problem.domain}, not in one space dimension and time t"
        time = problem.axes.index(TIME)
        orders = {name: orders[time] for name, orders in problem.orders_of.items()}
        if set(orders.values()) not in ({1}, {2}):
            listed = ", ".join(f"{name} of order {k}" for name, k in orders.items())
            return f"a problem where in t {listed}, not all of order 1 or all of order 2"
        for name, order in orders.items():
            starts = [f for f in problem.faces if f.axis == time and f.function == name]
            if sum(f.end == 0 for f in starts) != order:
                return f"a problem without {order} conditions on {name} at t-"
            if order == 2 and any(f.end for f in starts):
                return "a problem with a condition at t+"
        given = [name for name, value in problem.data.items() if np.ndim(value)]
        given += [f.name for f in problem.faces if not f.field.is_function]
        if given:
            return f"a problem whose {given[0]} is an array, not a formula or a callable"
        if problem.observations or problem.unknown:
            return "a problem with observations or unknown parameters"
        if _pairs(problem, time, max(orders.values())) is None:
            return "a system in which no equation is the one that evolves a function"
        return ""

    @cached_property
    def orders(self) -> tuple[int, int]:
        """The highest in x and in t."""
        highest = self.problem.orders
        return highest[self.space], highest[self.time]

    @property
    def periodic(self) -> bool:
        return self.space in self.problem.periodic

    def faces_of(self, function: str) -> list[Face]:
        """Conditions on the sides."""
        return [f for f in self.problem.faces if f.axis == self.space and f.function == function]

    def starts_of(self, function: str) -> list[Face]:
        """Conditions at the start."""
        faces = self.problem.faces
        return [f for f in faces if f.axis == self.time and f.end == 0 and f.function == function]

    def split(self, orders: Sequence[int]) -> tuple[int, int]:
        return orders[self.space], orders[self.time]

    def axes(self, x: Array, t: Array) -> list[Array]:
        return [x, t] if self.space == 0 else [t, x]

    def turned(self, values: Any) -> Any:
        """Values on the problem's axes with space first, or back; numbers stay what they are."""
        return values if np.ndim(values) == 0 or self.space == 0 else np.asarray(values).T


class Equations:
    """All equations of a problem on the product of places in space and time.

    Parameters
    ----------
    layout : Layout
    x, t : ndarrays
    """

    def __init__(self, layout: Layout, x: Array, t: Array) -> None:
        self.layout, self._axes = layout, layout.axes(x, t)
        problem = layout.problem
        self._shape = len(x), len(t)
        self._index = {name: f for f, name in enumerate(problem.functions)}
        self._sources = [
            np.broadcast_to(layout.turned(s.on_grid(self._axes)), self._shape)
            for s in problem.sources
        ]
        self._linear: Slopes = [
            [
                (f, *layout.split(term.orders), layout.turned(term.on_grid(self._axes)))
                for f, operator in enumerate(row)
                for term in operator.terms
            ]
            for row in problem.operators
        ]

    def left_over(self, at: At) -> tuple[list[Array], list[float]]:
        """Source minus left side of every equation, and the size of its largest term."""
        residuals, scales = [], []
        terms_of = zip(self._sources, self._linear, self.layout.problem.nonlinears, strict=True)
        for source, terms, nonlinear in terms_of:
            parts = [source, *(-c * at(f, kx, kt) for f, kx, kt, c in terms)]
            if nonlinear is not None:
                values = self._values(nonlinear.derivatives, at)
                parts.append(-self.layout.turned(nonlinear.on_grid(values, self._axes)))
            residuals.append(np.sum([np.broadcast_to(p, self._shape) for p in parts], axis=0))
            scales.append(max(float(np.sqrt(np.mean(np.square(p)))) for p in parts))
        return residuals, scales

    def slopes(self, at: At) -> Slopes:
        """Derivatives of the left sides by every derivative of every function."""
        found = [list(terms) for terms in self._linear]
        for e, nonlinear in enumerate(self.layout.problem.nonlinears):
            if nonlinear is not None:
                values = self._values(nonlinear.derivatives, at)
                slopes = nonlinear.slopes_on_grid(values, self._axes)
                found[e] += [
                    (self._index[d.function], *self.layout.split(d.orders), self.layout.turned(c))
                    for d, c in slopes.items()
                ]
        return found

    def _values(self, derivatives: Sequence[Derivative], at: At) -> Mapping[Derivative, Array]:
        return {
            d: self.layout.turned(at(self._index[d.function], *self.layout.split(d.orders)))
            for d in derivatives
        }


def may_march(problem: Problem) -> bool:
    """Whether slabs may solve what one solve does not: it is nonlinear, and starts somewhere."""
    return any(problem.nonlinears) and not Layout.obstacle(problem)


def _pairs(problem: Problem, time: int, order: int) -> tuple[int, ...] | None:
    """One function for each equation, each once; None where there is no such pairing."""
    holds = []
    for row, nonlinear in zip(problem.operators, problem.nonlinears, strict=True):
        evolved = {
            f
            for f, operator in enumerate(row)
            if any(term.orders[time] == order for term in operator.terms)
        }
        for d in nonlinear.derivatives if nonlinear else ():
            if d.function in problem.functions and d.orders[time] == order:
                evolved.add(problem.functions.index(d.function))
        holds.append(evolved)
    return _matching(holds, ())


def _matching(holds: Sequence[set[int]], taken: tuple[int, ...]) -> tuple[int, ...] | None:
    if len(taken) == len(holds):
        return taken
    for f in sorted(holds[len(taken)] - set(taken)):
        found = _matching(holds, (*taken, f))
        if found is not None:
            return found
    return None
