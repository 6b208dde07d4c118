"""Conditions on the edges of a region: rows ``alpha u + beta ∂u/∂n = value`` at points of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
import sympy
from numpy.typing import NDArray

from kernelgp.errors import ArgumentError
from solvers.conditions import Condition, FaceCondition
from solvers.data import ArrayField, ExpressionField, Field, read_field
from solvers.expression import real_symbol
from solvers.faces import FaceReader

__all__ = ["Edge", "check_edges", "read_edges"]

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Edge:
    """``alpha u + beta ∂u/∂n = value`` on one edge, n the outward normal.

    Attributes
    ----------
    name : str
        Of the piece of the region that ends there.
    piece : int
    alpha, beta : float
    function : str
        The unknown function it is about.
    field : Field or None
        None where the value is that of the exact solution.
    exact : tuple of Field
        The exact solution and its slope along each axis; empty where it is not known.
    """

    name: str
    piece: int
    alpha: float
    beta: float
    function: str
    field: Field | None
    exact: tuple[Field, ...]

    def value(self, points: Array, normals: Array) -> Array:
        """Values at points of the edge, shape (m,)."""
        if self.field is not None:
            return self.field(*points.T)
        value = self.alpha * self.exact[0](*points.T)
        if self.beta:
            for slope, n in zip(self.exact[1:], normals.T, strict=True):
                value = value + self.beta * n * slope(*points.T)
        return value


def read_edges(conditions: Sequence[Condition], reader: FaceReader) -> tuple[Edge, ...]:
    """The edges that conditions are on, in their order.

    Raises
    ------
    ArgumentError
        If a value is missing and cannot be derived, or conditions on one edge contradict each
        other.
    """
    edges: list[Edge] = []
    for condition in conditions:
        if isinstance(condition, FaceCondition):
            on = condition.on
            names = reader.box.edges if on is None else [on] if isinstance(on, str) else on
            for name in (n for n in names if n in reader.box.edges):
                edges += [
                    _edge(condition, name, function, reader)
                    for function in reader.functions(condition, condition.of)
                ]
    _check_independent(edges)
    return tuple(edges)


def check_edges(
    names: Sequence[str], edges: Sequence[Edge], orders: Mapping[str, tuple[int, ...]]
) -> None:
    """Raise where an edge has no condition and the equation is of second order, or higher.

    Raises
    ------
    ArgumentError
    """
    for function, order in orders.items():
        present = {edge.name for edge in edges if edge.function == function}
        missing = [name for name in names if name not in present]
        if missing and max(order) > 1:
            remedy = f"give one, such as Dirichlet(0, on={missing[0]!r})"
            raise ArgumentError("conditions", f"none on {', '.join(missing)}", remedy)


def _edge(condition: FaceCondition, name: str, function: str, reader: FaceReader) -> Edge:
    # Along an axis the outward normal at the upper end has the direction of the axis.
    alpha, beta = (*condition.weights(1), 0.0)[:2]
    box, value = reader.box, condition.value
    field, exact = None, ()
    label = f"{type(condition).__name__} value on {name}"
    if value is not None:
        field = read_field(label, value, box.axes, reader.constants)
        if isinstance(field, ArrayField):
            remedy = "give a number, a formula or a callable: the grid has no points on an edge"
            raise ArgumentError(label, str(field), remedy)
    elif function in reader.exact:
        formula = reader.exact[function]
        slopes = [cast(sympy.Expr, sympy.diff(formula, real_symbol(a))) for a in box.axes]
        exact = tuple(ExpressionField(label, e, box.axes) for e in [formula, *slopes])
    else:
        remedy = "give its value: there is no exact solution to take it from"
        raise ArgumentError("conditions", f"{condition} without a value", remedy)
    return Edge(name, box.edges.index(name), alpha, beta, function, field, exact)


def _check_independent(edges: Sequence[Edge]) -> None:
    for i, edge in enumerate(edges):
        for other in edges[:i]:
            same = (edge.name, edge.function) == (other.name, other.function)
            if same and edge.alpha * other.beta == edge.beta * other.alpha:
                remedy = "give one condition for each edge, or on values and on slopes"
                raise ArgumentError("conditions", f"more than one on {edge.name}", remedy)
