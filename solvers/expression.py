"""Formulas as text: read into sympy without evaluating anything, written back, compiled.

`sympify` evaluates its text as Python, so formulas are read here instead: Python's grammar
gives the tree, and only numbers, names, arithmetic and the elementary functions below are
taken from it.
"""

import ast
import difflib
import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any, cast

import numpy as np
import sympy
from numpy.typing import NDArray
from sympy.printing.numpy import SciPyPrinter
from sympy.printing.str import StrPrinter

from kernelgp.errors import ArgumentError, ArgumentTypeError

__all__ = [
    "FUNCTIONS",
    "RESERVED",
    "check_names",
    "compile_expression",
    "format_expression",
    "parse_expression",
    "read_expression",
    "real_symbol",
    "with_real_symbols",
]

FUNCTIONS: dict[str, Any] = {
    **{name: getattr(sympy, name) for name in ("sin", "cos", "tan", "cot", "sec", "csc")},
    **{name: getattr(sympy, name) for name in ("asin", "acos", "atan", "atan2")},
    **{name: getattr(sympy, name) for name in ("sinh", "cosh", "tanh", "coth", "sech", "csch")},
    **{name: getattr(sympy, name) for name in ("asinh", "acosh", "atanh")},
    **{name: getattr(sympy, name) for name in ("exp", "log", "sqrt", "erf", "sign", "Abs")},
    "ln": sympy.log,
    "abs": sympy.Abs,
}
RESERVED = frozenset(FUNCTIONS) | {"pi", "E", "I"}

_OPERATORS = {
    ast.Add: lambda a, b: a + b,
    ast.Sub: lambda a, b: a - b,
    ast.Mult: lambda a, b: a * b,
    ast.Div: lambda a, b: a / b,
}
# A formula longer than this is a mistake; Python's parser is not made for hostile text.
_MAX_LENGTH = 20_000
# No float64 has more bits before its point: 9**9**9 would fill the memory.
_MAX_BITS = 1024


def real_symbol(name: str) -> sympy.Symbol:
    """The one symbol that stands for `name`; real, so that derivatives of |x| are simple."""
    return sympy.Symbol(name, real=True)


def parse_expression(argument: str, text: str) -> sympy.Expr:
    """Read a formula such as ``"-(100**2)*sin(100*x)"``; its names become real symbols.

    Parameters
    ----------
    argument
        The caller's name for it, for messages.
    text
        Numbers, names, ``+ - * / **``, brackets, `pi` and the functions of `FUNCTIONS`.

    Raises
    ------
    ArgumentError
        If it holds anything else, is complex, or has a number beyond float64.

    Examples
    --------
    >>> parse_expression("f", "2*sin(pi*x) - 1/3")
    2*sin(pi*x) - 1/3
    >>> parse_expression("f", "__import__('os').system('ls')")
    Traceback (most recent call last):
        ...
    kernelgp.errors.ArgumentError: f: got "__import__('os').system('ls')"; use numbers, \
names, + - * / **, brackets, pi and elementary functions such as sin and exp, not '__import__(...'.
    """
    shown = _shorten(text)
    if len(text) > _MAX_LENGTH:
        raise ArgumentError(argument, f"{len(text)} characters", f"give at most {_MAX_LENGTH}")
    try:
        tree = ast.parse(text.strip(), mode="eval")
        expression = cast(sympy.Expr, _Reader(argument, text.strip()).read(tree.body))
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        if isinstance(error, ArgumentError):
            raise
        reason = getattr(error, "msg", None) or "it is nested too deeply"
        remedy = f"give a formula such as 'sin(2*x)' ({reason if text.strip() else 'it is empty'})"
        raise ArgumentError(argument, shown, remedy) from error
    return _check_value(argument, shown, expression)


def read_expression(argument: str, value: str | sympy.Expr) -> sympy.Expr:
    """A formula from text or from sympy, with real symbols either way.

    Raises
    ------
    ArgumentTypeError
        If it is no formula.
    ArgumentError
        As `parse_expression`.
    """
    if isinstance(value, str):
        return parse_expression(argument, value)
    if not isinstance(value, sympy.Expr):
        raise ArgumentTypeError(argument, repr(value), "give a formula: text or a sympy expression")
    return _check_value(argument, _shorten(str(value)), with_real_symbols(value))


def with_real_symbols(expression: sympy.Expr) -> sympy.Expr:
    """The same expression over the symbols that `parse_expression` makes."""
    symbols = {s: real_symbol(s.name) for s in expression.atoms(sympy.Symbol)}
    return cast(sympy.Expr, expression.xreplace(symbols))


def check_names(argument: str, expression: sympy.Expr, known: Iterable[str], kind: str) -> None:
    """Raise unless every name in `expression` is one of `known`.

    Raises
    ------
    ArgumentError
        It lists the unknown names, those that are known, and what may have been meant.
    """
    known = list(known)
    names = {str(s) for s in expression.free_symbols}
    names |= {f.func.__name__ for f in expression.atoms(sympy.core.function.AppliedUndef)}
    unknown = sorted(names - set(known))
    if unknown:
        close = difflib.get_close_matches(unknown[0], known, n=1)
        meant = f"did you mean {close[0]!r}? " if close else ""
        given = f"the unknown name{'s' if unknown[1:] else ''} {_listed(unknown)}"
        raise ArgumentError(argument, given, f"{meant}known here are {_listed(known)}; {kind}")


def compile_expression(
    expression: sympy.Expr, names: Sequence[str]
) -> Callable[..., NDArray[np.float64]]:
    """A numpy function of one array for each name, returning their broadcast shape.

    Raises
    ------
    ArgumentError
        If it is no function of points, as the second derivative of ``Abs(x)`` is not.

    Examples
    --------
    >>> compile_expression(parse_expression("f", "2*x + 1"), ["x"])(np.array([0.0, 3.0]))
    array([1., 7.])
    """
    if expression.has(sympy.DiracDelta, sympy.Derivative, sympy.Subs):
        given = f"{format_expression(expression)!r}, which has no values at points"
        remedy = "give a smooth exact solution, or the source as a formula of its own"
        raise ArgumentError("formula", given, remedy)
    symbols = [real_symbol(name) for name in names]
    options = {"fully_qualified_modules": False, "inline": True, "allow_unknown_functions": True}
    function = sympy.lambdify(
        symbols, expression, ["scipy", "numpy"], printer=_Compiler(options), dummify=True
    )

    def evaluate(*arrays: NDArray[np.float64]) -> NDArray[np.float64]:
        shape = np.broadcast_shapes(*(a.shape for a in arrays))
        # What overflows or is undefined arrives as inf or NaN, and is reported with its place.
        with np.errstate(all="ignore"):
            values = np.asarray(function(*arrays), dtype=np.float64)
        return np.broadcast_to(values, shape)

    return evaluate


def format_expression(expression: sympy.Expr) -> str:
    """Text that `parse_expression` reads back to the same numbers, digit for digit."""
    return _Writer().doprint(expression)


class _Reader:
    """Turns the tree of one formula into sympy; what it does not know it refuses."""

    def __init__(self, argument: str, text: str) -> None:
        self.argument, self.text = argument, text

    def read(self, node: ast.expr) -> Any:
        match node:
            case ast.Constant(value=int() | float() as value) if not isinstance(value, bool):
                return sympy.Integer(value) if isinstance(value, int) else sympy.Float(value)
            case ast.Constant(value=complex()):
                raise self._refusal(node, "give real numbers: complex ones are not supported")
            case ast.Name(id="pi"):
                return sympy.pi
            case ast.Name(id=name) if name in FUNCTIONS:
                raise self._refusal(node, f"{name!r} is a function: write {name}(...)")
            case ast.Name(id=name):
                return real_symbol(name)
            case ast.UnaryOp(op=ast.USub()):
                return -self.read(node.operand)
            case ast.UnaryOp(op=ast.UAdd()):
                return self.read(node.operand)
            case ast.BinOp(op=ast.Pow()):
                return self._power(node)
            case ast.BinOp(op=ast.BitXor()):
                raise self._refusal(node, "write powers with **, not ^")
            case ast.BinOp() if type(node.op) in _OPERATORS:
                return _OPERATORS[type(node.op)](self.read(node.left), self.read(node.right))
            case ast.Call(func=ast.Name(id=name), keywords=[]) if name in FUNCTIONS:
                return self._call(node, name)
        raise self._refusal(node)

    def _power(self, node: ast.BinOp) -> Any:
        base, exponent = self.read(node.left), self.read(node.right)
        if base.is_Rational and exponent.is_Rational:
            bits = abs(exponent) * max(int(base.p).bit_length(), int(base.q).bit_length())
            if bits > _MAX_BITS and base not in (-1, 0, 1):
                raise self._refusal(node, "give numbers within the range of float64")
        return base**exponent

    def _call(self, node: ast.Call, name: str) -> Any:
        count = 2 if name == "atan2" else 1
        if len(node.args) != count:
            raise self._refusal(node, f"give {name} {count} argument{'s' if count > 1 else ''}")
        return FUNCTIONS[name](*(self.read(argument) for argument in node.args))

    def _refusal(self, node: ast.expr, remedy: str | None = None) -> ArgumentError:
        part = ast.get_source_segment(self.text, node) or ""
        if remedy is None:
            part = part if len(part) <= 12 else f"{part[:11]}..."
            remedy = (
                "use numbers, names, + - * / **, brackets, pi and elementary functions "
                f"such as sin and exp, not {part!r}"
            )
        return ArgumentError(self.argument, _shorten(self.text), remedy)


class _Compiler(SciPyPrinter):
    """sympy's code, but floats with all their digits: sympy prints 15, and 1e-13 is asked."""

    def _print_Float(self, expr: Any) -> str:  # noqa: N802 (sympy finds it by this name)
        return repr(float(expr))


class _Writer(StrPrinter):
    """sympy's text, but floats with all their digits and only names that are read back."""

    def _print_Float(self, expr: Any) -> str:  # noqa: N802 (sympy finds it by this name)
        return repr(float(expr))

    def _print_Exp1(self, expr: Any) -> str:  # noqa: ARG002, N802 (sympy's signature)
        return "exp(1)"


def _check_value(argument: str, shown: str, expression: sympy.Expr) -> sympy.Expr:
    names = {s.name for s in expression.atoms(sympy.Symbol)}
    if expression.has(sympy.I) or "I" in names:
        remedy = "give real numbers: complex ones are not supported"
        raise ArgumentError(argument, shown, remedy)
    if expression.has(sympy.nan, sympy.zoo, sympy.oo, -sympy.oo):
        raise ArgumentError(argument, shown, "give a formula with finite values")
    for number in expression.atoms(sympy.Number):
        if not _fits_float(number):
            raise ArgumentError(argument, shown, "give numbers within the range of float64")
    return expression


def _fits_float(number: Any) -> bool:
    try:
        return math.isfinite(float(number))
    except OverflowError:
        return False


def _shorten(text: str) -> str:
    return repr(text if len(text) <= 80 else f"{text[:77]}...")


def _listed(names: Sequence[str]) -> str:
    return ", ".join(repr(name) for name in names)
