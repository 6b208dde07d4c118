"""Data of a problem as functions of the coordinates, whatever form the user gave them in.

A field is evaluated at points with ``field(*coordinates)``, one array for each axis, or on the
product of one-dimensional axes with `on_grid`. Values are checked as they arrive: what is not
finite, not real or of a wrong shape is an error that names the data.
"""

import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from numbers import Number, Real
from typing import Any, cast

import numpy as np
import sympy
import torch
from numpy.typing import NDArray
from torch import Tensor

from kernelgp.errors import ArgumentError, ArgumentTypeError
from solvers.expression import (
    check_names,
    compile_expression,
    format_expression,
    read_expression,
    real_symbol,
)

__all__ = [
    "ArrayField",
    "CallableField",
    "ExpressionField",
    "Field",
    "LostField",
    "as_number",
    "read_field",
]

Array = NDArray[np.float64]
_FORMS = "a number, a formula, a callable of one array per axis, or an array"


class Field(ABC):
    """Real values over the domain."""

    name: str

    @abstractmethod
    def __call__(self, *coordinates: Array) -> Array:
        """Values at points, in the broadcast shape of the coordinates."""

    @property
    def is_function(self) -> bool:
        """Whether it has values everywhere, not at the points of a grid only."""
        return True

    def on_grid(self, axes: Sequence[Array]) -> Array:
        """Values on the product of the axes, shape (n1, ..., nd)."""
        return self(*np.meshgrid(*axes, indexing="ij", sparse=True))


@dataclass(frozen=True, eq=False)
class ExpressionField(Field):
    """A formula of the axes and, where it has `parts`, of other fields."""

    name: str
    expression: sympy.Expr
    axes: tuple[str, ...]
    parts: Mapping[str, Field] = field(default_factory=dict)

    @property
    def is_function(self) -> bool:
        return all(part.is_function for part in self.parts.values())

    @cached_property
    def _function(self) -> Callable[..., Array]:
        return compile_expression(self.expression, [*self.axes, *self.parts])

    def __call__(self, *coordinates: Array) -> Array:
        parts = [part(*coordinates) for part in self.parts.values()]
        return _checked(self.name, self._function(*coordinates, *parts), coordinates)

    def __getstate__(self) -> dict[str, Any]:
        # Compiled code cannot be pickled, and is made again where it is needed.
        return {key: value for key, value in vars(self).items() if key != "_function"}

    def on_grid(self, axes: Sequence[Array]) -> Array:
        coordinates = np.meshgrid(*axes, indexing="ij", sparse=True)
        parts = [part.on_grid(axes) for part in self.parts.values()]
        return _checked(self.name, self._function(*coordinates, *parts), coordinates)

    def __str__(self) -> str:
        return repr(format_expression(self.expression))


@dataclass(frozen=True, eq=False)
class CallableField(Field):
    """A Python function of one array for each axis."""

    name: str
    function: Callable[..., Any]

    def __call__(self, *coordinates: Array) -> Array:
        shape = np.broadcast_shapes(*(c.shape for c in coordinates))
        values = _real_array(self.name, _call(self.name, self.function, coordinates))
        # A size of 1 stands for an axis it does not depend on; fewer dimensions would be guessed.
        fits = values.ndim in (0, len(shape))
        if not fits or any(n not in (1, m) for n, m in zip(values.shape, shape, strict=False)):
            given = f"shape {values.shape} from the callable"
            raise ArgumentError(self.name, given, f"return the broadcast shape {shape}")
        return _checked(self.name, np.broadcast_to(values, shape), coordinates)

    def __str__(self) -> str:
        return getattr(self.function, "__name__", repr(self.function))


@dataclass(frozen=True, eq=False)
class ArrayField(Field):
    """Values at the points of the grid, and nowhere else."""

    name: str
    values: Array

    @property
    def is_function(self) -> bool:
        return False

    def __call__(self, *_: Array) -> Array:
        remedy = "give a formula or a callable to have its values between the grid's points"
        raise ArgumentError(self.name, f"an array of shape {self.values.shape}", remedy)

    def on_grid(self, axes: Sequence[Array]) -> Array:
        shape = tuple(len(axis) for axis in axes)
        if self.values.shape != shape:
            remedy = f"give shape {shape}, as the grid has"
            raise ArgumentError(self.name, f"an array of shape {self.values.shape}", remedy)
        return self.values

    def __str__(self) -> str:
        return f"array of shape {self.values.shape}"


@dataclass(frozen=True, eq=False)
class LostField(Field):
    """What a file could not hold: a callable, or a formula of functions that are not ours."""

    name: str

    @property
    def is_function(self) -> bool:
        return False

    def __call__(self, *_: Array) -> Array:
        remedy = "solve again, or give it as a formula: a file cannot hold it"
        raise ArgumentError(self.name, "a callable that was not saved", remedy)

    def on_grid(self, axes: Sequence[Array]) -> Array:
        return self(*axes)

    def __str__(self) -> str:
        return "callable, not saved"


def read_field(
    name: str, value: Any, axes: tuple[str, ...], constants: Mapping[str, sympy.Expr]
) -> Field:
    """The field that `value` stands for.

    Parameters
    ----------
    name
        The caller's name for it, for messages.
    value : number, formula, callable of one array per axis, or array
    axes
    constants
        Numbers that a formula may use by name.

    Raises
    ------
    ArgumentError, ArgumentTypeError
        If it is none of these, or is not real and finite.

    Examples
    --------
    >>> read_field("f", "k*x", ("x",), {"k": sympy.Integer(3)})(np.array([1.0, 2.0]))
    array([3., 6.])
    """
    if isinstance(value, Field):
        return value
    if isinstance(value, str | sympy.Expr):
        expression = read_expression(name, value)
        remedy = "write it in the axes and in data that are numbers"
        check_names(name, expression, [*axes, *constants], remedy)
        put_in = {real_symbol(key): number for key, number in constants.items()}
        return ExpressionField(name, cast(sympy.Expr, expression.xreplace(put_in)), axes)
    if (number := as_number(name, value)) is not None:
        return ExpressionField(name, number, axes)
    if callable(value):
        return CallableField(name, value)
    if value is None or isinstance(value, Mapping | set | bool):
        raise ArgumentTypeError(name, repr(value), f"give {_FORMS}")
    values = _real_array(name, value)
    bad = ~np.isfinite(values)
    if bad.any():
        where = tuple(int(i) for i in np.argwhere(bad)[0])
        given = f"{bad.sum()} of {values.size} values not finite, the first at index {where}"
        raise ArgumentError(name, given, "give finite values")
    return ArrayField(name, values)


def as_number(name: str, value: Any) -> sympy.Expr | None:
    """A single real number as sympy holds it; None for what is no number.

    Raises
    ------
    ArgumentTypeError
        If it is complex.
    ArgumentError
        If it is NaN or infinite.
    """
    if isinstance(value, np.ndarray | Tensor) and value.ndim == 0:
        value = value.item()
    if isinstance(value, sympy.Expr) and value.is_number:
        return read_expression(name, value)
    if not isinstance(value, Number) or isinstance(value, bool):
        return None
    if not isinstance(value, Real):
        raise ArgumentTypeError(name, repr(value), "give real numbers: complex ones have no place")
    if not np.isfinite(float(value)):
        raise ArgumentError(name, repr(value), "give a finite number")
    number = float(value)
    # Small whole numbers stay exact, so that x**2 is a square.
    whole = number.is_integer() and abs(number) < 2**53
    return sympy.Integer(int(number)) if whole else sympy.Float(number)


def _call(name: str, function: Callable[..., Any], coordinates: Sequence[Array]) -> Any:
    try:
        inspect.signature(function).bind(*coordinates)
    except TypeError as error:
        given = f"a callable that does not take {len(coordinates)} arrays ({error})"
        raise ArgumentTypeError(name, given, "give one of one array for each axis") from error
    except ValueError:
        pass  # some compiled functions, numpy's among them, have no signature to look at
    return function(*coordinates)


def _real_array(name: str, value: Any) -> Array:
    if isinstance(value, Tensor):
        if value.dtype == torch.bfloat16:
            raise ArgumentError(name, "bfloat16 values", "convert them to float32 or float64")
        value = value.detach().cpu().numpy()
    try:
        array = np.asarray(value)
    except ValueError as error:
        raise ArgumentTypeError(name, type(value).__name__, f"give {_FORMS}") from error
    if array.dtype.kind == "c":
        raise ArgumentTypeError(name, f"{array.dtype} values", "give real numbers")
    if array.dtype.kind not in "fiub":
        raise ArgumentTypeError(name, f"{type(value).__name__} values", f"give {_FORMS}")
    if array.dtype == np.float16:
        raise ArgumentError(name, "float16 values", "convert them to float32 or float64")
    # A copy: what the caller does to the array later is not to change the problem.
    return np.array(array, dtype=np.float64)


def _checked(name: str, values: Array, coordinates: Sequence[Array]) -> Array:
    bad = ~np.isfinite(values)
    if bad.any():
        where = tuple(np.argwhere(bad)[0])
        point = (float(np.broadcast_to(c, values.shape)[where]) for c in coordinates)
        place = ", ".join(f"{c:.6g}" for c in point)
        given = f"{bad.sum()} of {values.size} values not finite, the first at ({place})"
        raise ArgumentError(name, given, "give data that are finite on the whole domain")
    return values
