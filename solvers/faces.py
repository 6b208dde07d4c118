"""Conditions as solvers know them: rows ``Σ weights[k] ∂ᵏu/∂axisᵏ = value`` at an end of an axis.

Derivatives are plain ones along the axis: the sign of the outward normal is already in the
weights, so a velocity at the start and a slope on a face are rows of one kind.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, cast

import numpy as np
import sympy
from numpy.typing import NDArray

from kernelgp.errors import ArgumentError
from solvers.conditions import Condition, FaceCondition, Initial, Periodic
from solvers.data import ArrayField, Field, read_field
from solvers.domain import Box
from solvers.expression import real_symbol

__all__ = ["TIME", "Face", "FaceReader", "periodic_axes"]

Array = NDArray[np.float64]

#: The axis that `Initial` is about.
TIME = "t"


@dataclass(frozen=True, eq=False)
class Face:
    """``Σ weights[k] ∂ᵏu/∂axisᵏ = value`` at one end of one axis.

    Attributes
    ----------
    name : str
        ``"x-"`` or ``"x+"``.
    axis, end : int
        The axis by number, and 0 for its lower end or 1 for its upper one.
    coordinate : float
        Where that end is.
    field : Field
    weights : tuple of float
        Of the derivatives along the axis, from order zero; the last one is not zero.
    function : str
        The unknown function it is about.
    """

    name: str
    axis: int
    end: int
    coordinate: float
    field: Field
    weights: tuple[float, ...]
    function: str

    @property
    def alpha(self) -> float:
        """The weight of the value."""
        return self.weights[0]

    @property
    def beta(self) -> float:
        """The weight of the derivative along the outward normal; -1 for a velocity at `t-`."""
        return (2.0 * self.end - 1.0) * self.weights[1] if len(self.weights) > 1 else 0.0

    @property
    def of_values(self) -> bool:
        """Whether it is on the values alone, as a Dirichlet condition is."""
        return len(self.weights) == 1

    @cached_property
    def kind(self) -> str:
        """``"values"``, ``"slopes"`` or ``"a mixture"``, for messages."""
        if self.of_values:
            return "values"
        return "a mixture" if any(self.weights[:-1]) else "slopes"

    def value(self, *coordinates: Array) -> Array:
        """Values at points of the face, given by their coordinates along all axes."""
        here = list(coordinates)
        here[self.axis] = np.full_like(here[self.axis], self.coordinate)
        return self.field(*here)

    def value_on_grid(self, axes: Sequence[Array]) -> Array:
        """Values on the product of the *other* axes; a scalar array in one dimension."""
        if not self.field.is_function:
            return self.field.on_grid(axes)
        here = [*axes[: self.axis], np.array([self.coordinate]), *axes[self.axis :]]
        return np.squeeze(self.field.on_grid(here), axis=self.axis)


def periodic_axes(conditions: Sequence[Condition], box: Box) -> tuple[int, ...]:
    """The axes that conditions make periodic, by number.

    Raises
    ------
    ArgumentError
        If a condition names no axis of the box, or one twice.
    """
    names = [c.axis for c in conditions if isinstance(c, Periodic)]
    for name in names:
        if name not in box.axes or names.count(name) > 1:
            remedy = f"give one of {', '.join(map(repr, box.axes))}, each once"
            raise ArgumentError("axis", repr(name), remedy)
    return tuple(sorted(map(box.axes.index, names)))


@dataclass(frozen=True)
class FaceReader:
    """Makes faces of conditions, with values from the exact solution where none are given.

    Attributes
    ----------
    box : Box
    orders : mapping of function to tuple of int
        The highest order of each unknown function along each axis.
    exact : mapping of function to formula
        Empty where it is not known.
    constants : mapping of name to number
        What formulas may use by name.
    """

    box: Box
    orders: Mapping[str, tuple[int, ...]]
    exact: Mapping[str, sympy.Expr]
    constants: Mapping[str, sympy.Expr]

    def read(self, conditions: Sequence[Condition]) -> tuple[Face, ...]:
        """The faces of all conditions, in their order.

        Raises
        ------
        ArgumentError
            If a face or function does not exist, a value is missing and cannot be derived, or
            conditions on one face contradict each other.
        """
        periodic = periodic_axes(conditions, self.box)
        faces: list[Face] = []
        for condition in conditions:
            if isinstance(condition, FaceCondition):
                faces += self._on_faces(condition, periodic)
            elif isinstance(condition, Initial):
                faces += self._at_start(condition)
        self._check_independent(faces, periodic)
        return tuple(faces)

    def _on_faces(self, condition: FaceCondition, periodic: tuple[int, ...]) -> Iterator[Face]:
        names = _faces_of(condition, self.box, periodic)
        label = f"{type(condition).__name__} value on {', '.join(names)}"
        for function in self.functions(condition, condition.of):
            for name in names:
                weights = condition.weights(cast(Literal[0, 1], int(name.endswith("+"))))
                face = self._face(condition, label, name, function, weights, condition.value)
                if isinstance(face.field, ArrayField) and len(names) > 1:
                    # It cannot say which face is which.
                    remedy = f"give each face its own {type(condition).__name__}(array, on=...)"
                    raise ArgumentError(label, f"one array for {len(names)} faces", remedy)
                yield face

    def _at_start(self, condition: Initial) -> Iterator[Face]:
        if TIME not in self.box.axes:
            given = f"{condition} on {self.box}"
            raise ArgumentError("conditions", given, f"name the axis of time {TIME!r}")
        name, axis = f"{TIME}-", self.box.axes.index(TIME)
        for function in self.functions(condition, condition.of):
            label = f"Initial value on {name}"
            yield self._face(condition, label, name, function, (1.0,), condition.value)
            if self.orders[function][axis] > 1:
                label = f"Initial velocity on {name}"
                yield self._face(condition, label, name, function, (0.0, 1.0), condition.velocity)
            elif condition.velocity is not None:
                given = f"{condition!r} where {function} is of first order in {TIME}"
                raise ArgumentError("velocity", given, "leave the velocity out")

    def functions(self, condition: Condition, of: str | None) -> list[str]:
        """The unknown functions that a condition is about.

        Raises
        ------
        ArgumentError
            If there is no such function, or several where a value can be of one only.
        """
        functions = list(self.orders)
        if of is None:
            explicit = [getattr(condition, key, None) for key in ("value", "velocity")]
            if len(functions) > 1 and any(value is not None for value in explicit):
                remedy = f"say whose it is with of=, one of {', '.join(map(repr, functions))}"
                raise ArgumentError("of", f"{condition!r} for several functions", remedy)
            return functions
        if of not in functions:
            known = " or ".join(map(repr, functions))
            kind = "the unknown function" if len(functions) == 1 else "an unknown function"
            raise ArgumentError("of", repr(of), f"give {known}, {kind}, or leave it out")
        return [of]

    def _face(
        self,
        condition: Condition,
        label: str,
        name: str,
        function: str,
        weights: tuple[float, ...],
        value: Any,
    ) -> Face:
        axis, end = divmod(self.box.faces.index(name), 2)
        while weights[-1] == 0:
            weights = weights[:-1]
        if value is None:
            if function not in self.exact:
                remedy = "give its value: there is no exact solution to take it from"
                what = "velocity" if "velocity" in label else "value"
                if what == "velocity":
                    remedy = remedy.replace("value", what)
                raise ArgumentError("conditions", f"{condition} without a {what}", remedy)
            value = _applied(weights, self.exact[function], self.box.axes[axis])
        field = read_field(label, value, self.box.axes, self.constants)
        return Face(name, axis, end, self.box.bounds[axis][end], field, weights, function)

    def _check_independent(self, faces: Sequence[Face], periodic: tuple[int, ...]) -> None:
        """Raise where conditions at one place cannot all hold, or say the same thing."""
        together: dict[tuple[str, str], list[Face]] = {}
        for face in faces:
            if face.axis in periodic:
                given = f"one on {face.name} and Periodic({self.box.axes[face.axis]!r})"
                raise ArgumentError("conditions", given, "give one of the two")
            together.setdefault((face.name, face.function), []).append(face)
        twice = sorted({name for (name, _), here in together.items() if _rank(here) < len(here)})
        if twice:
            remedy = "give one condition for each face, or on values and on slopes"
            raise ArgumentError("conditions", f"more than one on {', '.join(twice)}", remedy)


def _faces_of(condition: FaceCondition, box: Box, periodic: tuple[int, ...]) -> list[str]:
    """The names of the faces that a condition is on; edges of a region are read apart."""
    if condition.on is None:
        return [name for i, name in enumerate(box.faces) if i // 2 not in periodic]
    names = [condition.on] if isinstance(condition.on, str) else list(condition.on)
    known = [*box.faces, *box.edges]
    remedy = f"give one or more of {', '.join(map(repr, known))}, each once"
    for name in names:
        if name not in known or names.count(name) > 1:
            raise ArgumentError("on", repr(condition.on), remedy)
    if not names:
        raise ArgumentError("on", "no face", remedy)
    return [name for name in names if name in box.faces]


def _applied(weights: tuple[float, ...], exact: sympy.Expr, axis: str) -> sympy.Expr:
    symbol = real_symbol(axis)
    terms = [
        sympy.Integer(int(w)) * sympy.diff(exact, symbol, k)
        if float(w).is_integer()
        else sympy.Float(w) * sympy.diff(exact, symbol, k)
        for k, w in enumerate(weights)
    ]
    return cast(sympy.Expr, sympy.Add(*terms))


def _rank(faces: Sequence[Face]) -> int:
    rows = np.zeros((len(faces), max(len(face.weights) for face in faces)))
    for row, face in zip(rows, faces, strict=True):
        row[: len(face.weights)] = face.weights
    return int(np.linalg.matrix_rank(rows))
