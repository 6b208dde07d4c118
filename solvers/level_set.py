"""Where a formula says a domain is: comparisons read as functions that are positive inside.

``a < b`` is ``b - a > 0``; the smaller of two such functions is positive where both are, the
larger where one is (R-functions). So a condition of any shape becomes one level set with the
same zeros, and the part that decides at a point has the normal of the boundary as its gradient.

References
----------
V. L. Rvachev, *Theory of R-functions and Some Applications*, 1982 (in Russian); V. Shapiro,
*Semi-analytic geometry with R-functions*, Acta Numerica 2007.
"""

import ast
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import sympy
from numpy.typing import NDArray
from sympy.logic.boolalg import And, Boolean, Not, Or

from kernelgp.errors import ArgumentError, ArgumentTypeError
from solvers.expression import (
    check_names,
    compile_expression,
    format_expression,
    parse_expression,
    read_expression,
    real_symbol,
)

__all__ = ["LevelSet", "read_level_set"]

Array = NDArray[np.float64]

_FORM = "give a comparison such as 'x**2 + y**2 < 1', or a formula that is positive inside"


class LevelSet(ABC):
    """A function of the axes that is positive inside, and its gradient almost everywhere."""

    @abstractmethod
    def __call__(self, *coordinates: Array) -> Array:
        """Values at points, in the broadcast shape; undefined ones are outside, at -inf."""

    @abstractmethod
    def gradient(self, *coordinates: Array) -> Array:
        """One row for each axis, shape (d, ...)."""


@dataclass(frozen=True, eq=False)
class _Formula(LevelSet):
    """One smooth piece."""

    expression: sympy.Expr
    axes: tuple[str, ...]

    @cached_property
    def _value(self) -> Callable[..., Array]:
        return compile_expression(self.expression, self.axes)

    @cached_property
    def _slopes(self) -> list[Callable[..., Array]]:
        slopes = [sympy.diff(self.expression, real_symbol(axis)) for axis in self.axes]
        return [compile_expression(slope, self.axes) for slope in slopes]

    def __call__(self, *coordinates: Array) -> Array:
        values = self._value(*coordinates)
        return np.where(np.isnan(values), -np.inf, values)

    def gradient(self, *coordinates: Array) -> Array:
        return np.stack([slope(*coordinates) for slope in self._slopes])

    def __getstate__(self) -> dict[str, Any]:
        # Compiled code cannot be pickled, and is made again where it is needed.
        return {key: self.__dict__[key] for key in ("expression", "axes")}


@dataclass(frozen=True, eq=False)
class _Joined(LevelSet):
    """The least of several, or the greatest: where all of them, or any, are positive."""

    parts: tuple[LevelSet, ...]
    of_all: bool

    def __call__(self, *coordinates: Array) -> Array:
        return (np.min if self.of_all else np.max)(self._values(*coordinates), axis=0)

    def gradient(self, *coordinates: Array) -> Array:
        pick = (np.argmin if self.of_all else np.argmax)(self._values(*coordinates), axis=0)
        slopes = np.stack([part.gradient(*coordinates) for part in self.parts])
        return np.take_along_axis(slopes, pick[None, None], axis=0)[0]

    def _values(self, *coordinates: Array) -> Array:
        return np.stack([part(*coordinates) for part in self.parts])


def read_level_set(
    argument: str, value: str | sympy.Basic, axes: tuple[str, ...]
) -> tuple[LevelSet, str]:
    """The level set of a condition, and text that is read back to the same.

    Parameters
    ----------
    argument
        The caller's name for it, for messages.
    value
        Comparisons ``< <= > >=`` of formulas, joined by ``and``, ``or``, ``not`` (or ``&``,
        ``|``, ``~`` between brackets), or one formula; also of sympy.
    axes

    Raises
    ------
    ArgumentError
        If it cannot be read, or holds another name than those of the axes.

    Examples
    --------
    >>> ring, _ = read_level_set("inside", "0.25 < x**2 + y**2 < 1", ("x", "y"))
    >>> ring(np.array([0.0, 0.6, 1.0]), np.array([0.0, 0.0, 0.2]))
    array([-0.25,  0.11, -0.04])
    """
    if not isinstance(value, str):
        text = _from_sympy(argument, value)
        return read_level_set(argument, text, axes)
    text = value.strip()
    try:
        return _Reader(argument, text, axes).read(ast.parse(text, mode="eval").body), text
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        if isinstance(error, ArgumentError):
            raise
        reason = getattr(error, "msg", None) or "it is nested too deeply"
        why = reason if text else "it is empty"
        raise ArgumentError(argument, repr(value), f"{_FORM} ({why})") from error


@dataclass(frozen=True)
class _Reader:
    argument: str
    text: str
    axes: tuple[str, ...]

    def read(self, node: ast.expr, *, negated: bool = False) -> LevelSet:
        match node:
            case ast.BoolOp(op=op, values=values):
                return self._join(values, of_all=isinstance(op, ast.And), negated=negated)
            case ast.BinOp(left=left, op=ast.BitAnd() | ast.BitOr() as op, right=right):
                of_all = isinstance(op, ast.BitAnd)
                return self._join([left, right], of_all=of_all, negated=negated)
            case ast.UnaryOp(op=ast.Not() | ast.Invert(), operand=operand):
                return self.read(operand, negated=not negated)
            case ast.Compare(left=left, ops=ops, comparators=others):
                pairs = zip([left, *others[:-1]], ops, others, strict=True)
                parts = [self._compare(a, op, b, negated=negated) for a, op, b in pairs]
                return parts[0] if len(parts) == 1 else _Joined(tuple(parts), of_all=not negated)
        expression = self._formula(node)
        return _Formula(-expression if negated else expression, self.axes)

    def _join(self, nodes: Sequence[ast.expr], *, of_all: bool, negated: bool) -> LevelSet:
        parts = tuple(self.read(node, negated=negated) for node in nodes)
        return _Joined(parts, of_all=of_all != negated)

    def _compare(self, a: ast.expr, op: ast.cmpop, b: ast.expr, *, negated: bool) -> LevelSet:
        if not isinstance(op, ast.Lt | ast.LtE | ast.Gt | ast.GtE):
            raise ArgumentError(self.argument, repr(self.text), "compare with < or >")
        difference: Any = self._formula(b) - self._formula(a)
        turned = isinstance(op, ast.Gt | ast.GtE) != negated
        return _Formula(-difference if turned else difference, self.axes)

    def _formula(self, node: ast.expr) -> sympy.Expr:
        segment = ast.get_source_segment(self.text, node) or ""
        if any(isinstance(n, ast.BitAnd | ast.BitOr) for n in ast.walk(node)):
            remedy = "write 'and' and 'or', or put brackets around each comparison"
            raise ArgumentError(self.argument, repr(self.text), remedy)
        expression = parse_expression(self.argument, segment)
        check_names(self.argument, expression, self.axes, "write it in the axes")
        return expression


def _from_sympy(argument: str, value: Any) -> str:
    """Text of a sympy relation, a combination of relations, or a formula."""
    match value:
        case And() | Or():
            word = " and " if isinstance(value, And) else " or "
            return word.join(f"({_from_sympy(argument, part)})" for part in value.args)
        case Not():
            return f"not ({_from_sympy(argument, value.args[0])})"
        case sympy.StrictLessThan() | sympy.LessThan():
            sign = "<"
        case sympy.StrictGreaterThan() | sympy.GreaterThan():
            sign = ">"
        case Boolean():
            raise ArgumentError(argument, repr(value), "compare with < or >")
        case sympy.Expr():
            return format_expression(read_expression(argument, value))
        case _:
            raise ArgumentTypeError(argument, repr(value), _FORM)
    sides: Any = value.args
    left, right = (format_expression(read_expression(argument, side)) for side in sides)
    return f"{left} {sign} {right}"
