"""Conditions on the faces of a box: what a user asks for, and the faces it becomes.

A face holds ``alpha u + beta ∂u/∂n = value`` with the outward normal n; Dirichlet conditions
have alpha 1 and beta 0. Another condition on faces is another class with other weights.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from kernelgp.errors import ArgumentError
from solvers.data import ArrayField, Field
from solvers.domain import Box

__all__ = ["Dirichlet", "Face", "check_array", "faces_of", "make_face"]

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Dirichlet:
    """The solution's values on faces: ``u = value``.

    Parameters
    ----------
    value : number, formula, callable, array or None
        A formula or callable is of all the axes, in order; an array holds the values at the
        grid's points on one face. None takes the values of the exact solution.
    on : str, sequence of str or None
        Faces such as ``"x-"`` and ``"x+"``; None is every face.
    of : str or None
        The unknown function's name, where there are several.

    Examples
    --------
    >>> Dirichlet("sin(x)*y"), Dirichlet(0, on=["x-", "x+"])
    (Dirichlet('sin(x)*y'), Dirichlet(0, on=['x-', 'x+']))
    """

    value: Any = None
    on: str | Sequence[str] | None = None
    of: str | None = None

    alpha: ClassVar[float] = 1.0
    beta: ClassVar[float] = 0.0

    def __repr__(self) -> str:
        shape = getattr(self.value, "shape", ())
        value = f"array of shape {tuple(shape)}" if shape else repr(self.value)
        parts = [] if self.value is None else [value]
        parts += [] if self.on is None else [f"on={self.on!r}"]
        parts += [] if self.of is None else [f"of={self.of!r}"]
        return f"{type(self).__name__}({', '.join(parts)})"


@dataclass(frozen=True, eq=False)
class Face:
    """``alpha u + beta ∂u/∂n = value`` at one end of one axis.

    Attributes
    ----------
    name : str
        ``"x-"`` or ``"x+"``.
    axis, end : int
        The axis by number, and 0 for its lower end or 1 for its upper one.
    coordinate : float
        Where that end is.
    field : Field
    alpha, beta : float
    """

    name: str
    axis: int
    end: int
    coordinate: float
    field: Field
    alpha: float = 1.0
    beta: float = 0.0

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


def faces_of(condition: Dirichlet, box: Box) -> list[str]:
    """The names of the faces that a condition is on.

    Raises
    ------
    ArgumentError
        If it names a face that the box does not have, or one twice.
    """
    if condition.on is None:
        return list(box.faces)
    names = [condition.on] if isinstance(condition.on, str) else list(condition.on)
    remedy = f"give one or more of {', '.join(map(repr, box.faces))}, each once"
    for name in names:
        if name not in box.faces or names.count(name) > 1:
            raise ArgumentError("on", repr(condition.on), remedy)
    if not names:
        raise ArgumentError("on", "no face", remedy)
    return names


def make_face(condition: Dirichlet, name: str, box: Box, field: Field) -> Face:
    """The face `name` with the values of `field`."""
    index = box.faces.index(name)
    axis, end = divmod(index, 2)
    return Face(name, axis, end, box.bounds[axis][end], field, condition.alpha, condition.beta)


def check_array(field: Field, names: Sequence[str]) -> None:
    """Raise where one array was given for several faces: it cannot say which is which.

    Raises
    ------
    ArgumentError
    """
    if isinstance(field, ArrayField) and len(names) > 1:
        remedy = "give each face its own Dirichlet(array, on=...)"
        raise ArgumentError(field.name, f"one array for {len(names)} faces", remedy)
