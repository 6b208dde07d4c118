"""Partial differential equations as data: text or sympy, read into a linear form.

``"u_xx + u_yy = f"`` becomes the coefficients of the derivatives of `u` and the source on the
other side. Coefficients stay symbolic in `LinearForm`; only `LinearForm.operator` asks that
they be numbers, so what solves variable coefficients starts from the same reading.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, cast

import sympy
from sympy.core.function import AppliedUndef

from kernelgp.errors import ArgumentError, ArgumentTypeError
from solvers.expression import (
    check_names,
    format_expression,
    parse_expression,
    read_expression,
    real_symbol,
)

__all__ = [
    "DifferentialOperator",
    "Equation",
    "LinearForm",
    "Term",
    "check_data_names",
    "parse_derivative",
    "read_equation",
]

Orders = tuple[int, ...]
_MAX_ORDER = 8


@dataclass(frozen=True)
class Term:
    """``coefficient * ∂^orders u``, one order of differentiation for each axis."""

    orders: Orders
    coefficient: float


@dataclass(frozen=True)
class DifferentialOperator:
    """A sum of terms with constant coefficients."""

    terms: tuple[Term, ...]

    @property
    def orders(self) -> Orders:
        """The highest order along each axis."""
        return tuple(map(max, zip(*(term.orders for term in self.terms), strict=True)))


@dataclass(frozen=True)
class LinearForm:
    """``Σ coefficients[orders] ∂^orders u = source``, all of it still symbolic.

    Attributes
    ----------
    function : str
    coefficients : mapping of orders to sympy expression
    source : sympy expression, free of `function`
    """

    function: str
    coefficients: Mapping[Orders, sympy.Expr]
    source: sympy.Expr

    def operator(self) -> DifferentialOperator:
        """The left side as numbers.

        Raises
        ------
        ArgumentError
            If a coefficient is no constant or the order is not supported.
        """
        order = max(map(sum, self.coefficients))
        if order > _MAX_ORDER:
            given = f"one of order {order} in {self.function}"
            raise ArgumentError("equation", given, f"give one of order 1 to {_MAX_ORDER}")
        for coefficient in self.coefficients.values():
            if coefficient.free_symbols:
                given = f"the coefficient {format_expression(coefficient)!r}"
                remedy = "give one that is linear with constant coefficients"
                raise ArgumentError("equation", given, remedy)
        return DifferentialOperator(
            tuple(Term(orders, float(c)) for orders, c in self.coefficients.items())
        )


@dataclass(frozen=True)
class Equation:
    """An equation read and checked, before its data are put in.

    Attributes
    ----------
    text : str
        As it was given.
    axes : tuple of str
    function : str
        The name of the unknown function.
    residual : sympy expression
        Left side minus right side, over the axes, the symbols in `unknowns` and the data.
    unknowns : mapping of symbol to orders
        `u`, `u_xx` and so on, as they occur.
    """

    text: str
    axes: tuple[str, ...]
    function: str
    residual: sympy.Expr
    unknowns: Mapping[sympy.Symbol, Orders]

    def __str__(self) -> str:
        return self.text

    @cached_property
    def data_names(self) -> tuple[str, ...]:
        """Every name that is neither an axis nor the unknown function."""
        names = {cast(sympy.Symbol, s).name for s in self.residual.free_symbols}
        return tuple(sorted(names - set(self.axes) - {s.name for s in self.unknowns}))

    def linear_form(self, values: Mapping[str, sympy.Expr]) -> LinearForm:
        """Collect the derivatives, with data put in for their names.

        Raises
        ------
        ArgumentError
            If the equation is not linear in the unknown function.
        """
        residual = self.residual.xreplace({real_symbol(n): v for n, v in values.items()})
        coefficients: dict[Orders, Any] = {}
        for symbol, orders in self.unknowns.items():
            coefficient = sympy.diff(residual, symbol)
            if coefficient.free_symbols & set(self.unknowns):
                given = f"{self.text!r}, which is not linear in {self.function}"
                remedy = "give one that is linear with constant coefficients"
                raise ArgumentError("equation", given, remedy)
            # u_xy and u_yx are one derivative.
            coefficients[orders] = coefficients.get(orders, 0) + coefficient
        coefficients = {orders: c for orders, c in coefficients.items() if c != 0}
        if not any(map(sum, coefficients)):
            raise _no_derivative(self.text, self.axes)
        rest = cast(sympy.Expr, residual.xreplace(dict.fromkeys(self.unknowns, sympy.S.Zero)))
        return LinearForm(self.function, coefficients, -rest)

    def defect(self, exact: sympy.Expr, values: Mapping[str, sympy.Expr]) -> sympy.Expr:
        """Left side minus right side where the unknown function is `exact`."""
        axes = [real_symbol(axis) for axis in self.axes]
        put_in: dict[sympy.Symbol, Any] = {
            symbol: sympy.diff(exact, *zip(axes, orders, strict=True))
            for symbol, orders in self.unknowns.items()
        }
        put_in |= {real_symbol(name): value for name, value in values.items()}
        return cast(sympy.Expr, self.residual.xreplace(put_in))


def read_equation(equation: str | sympy.Eq, axes: tuple[str, ...], data: Iterable[str]) -> Equation:
    """Read text with one ``=`` or a sympy equation; find the unknown function in it.

    Parameters
    ----------
    equation
        Derivatives are subscripts (``u_xxt``), in sympy also ``Derivative(u(x, t), x, 2, t)``.
    axes
    data
        Names that stand for data, so that one such as ``k_x`` is no derivative.

    Raises
    ------
    ArgumentError
        If it is no equation, holds no derivative or several unknown functions, or names clash.

    Examples
    --------
    >>> read_equation("u_tt = 4*u_xx + f", ("x", "t"), ["f"]).linear_form({}).source
    f
    """
    data = set(data)
    text, residual = _residual(equation)
    names = sorted(cast(sympy.Symbol, s).name for s in residual.free_symbols)
    derivatives = {
        name: split for name in names if name not in data if (split := _subscripts(name, axes))
    }
    functions = sorted({function for function, _ in derivatives.values()})
    if not functions:
        known = [*axes, *sorted(data)]
        subscripted = [name for name in names if "_" in name and name not in known]
        if subscripted:
            remedy = f"write derivatives as u_ and axes; the axes are {', '.join(axes)}"
            raise ArgumentError("equation", f"the unknown name {subscripted[0]!r}", remedy)
        raise _no_derivative(text, axes)
    if len(functions) > 1:
        remedy = "give an equation of one, and data without a subscript of axes"
        raise ArgumentError("equation", f"derivatives of {', '.join(functions)}", remedy)
    (function,) = functions
    for kind, others in (("an axis", axes), ("data", data)):
        if function in others:
            given = f"{function!r} as the unknown function and as {kind}"
            raise ArgumentError("equation", given, "give every thing its own name")
    unknowns = {real_symbol(name): orders for name, (_, orders) in derivatives.items()}
    if function in names:
        unknowns[real_symbol(function)] = (0,) * len(axes)
    return Equation(text, axes, function, residual, unknowns)


def check_data_names(equation: Equation, given: Iterable[str], used: Iterable[str]) -> None:
    """Hold the names in the equation against the data given for them.

    Raises
    ------
    ArgumentError
        If a name has no meaning, or data was given that nothing uses.
    """
    known = [*equation.axes, equation.function, *(s.name for s in equation.unknowns), *given]
    remedy = "pass data by keyword, such as f='sin(x)'"
    check_names("equation", equation.residual, known, remedy)
    for name in given:
        if name not in equation.data_names and name not in used:
            given_text = f"data that {equation.text!r} does not use"
            raise ArgumentError(name, given_text, "leave it out, or use it in the equation")


def parse_derivative(argument: str, text: str, function: str, axes: tuple[str, ...]) -> Orders:
    """The orders of a derivative such as ``"u_xx"``; ``"u"`` itself has none.

    Raises
    ------
    ArgumentError
        If it is no derivative of `function` along `axes`.
    """
    if text == function:
        return (0,) * len(axes)
    split = _subscripts(text, axes) if isinstance(text, str) else None
    if split is None or split[0] != function:
        example = f"{function}_{axes[0] * 2}"
        remedy = f"give {function!r} with subscripts of {', '.join(axes)}, such as {example!r}"
        raise ArgumentError(argument, repr(text), remedy)
    return split[1]


def _residual(equation: Any) -> tuple[str, sympy.Expr]:
    if isinstance(equation, str):
        sides = equation.split("=")
        if len(sides) != 2 or sides[0].rstrip().endswith(("<", ">", "!", ":")):
            remedy = "give an equation with one =, such as 'u_xx + u_yy = f'"
            raise ArgumentError("equation", repr(equation), remedy)
        left, right = (parse_expression("equation", side) for side in sides)
        return equation.strip(), cast(sympy.Expr, left - right)
    if isinstance(equation, sympy.Eq):
        left, right = (_without_functions(side) for side in equation.args)
        return f"{format_expression(left)} = {format_expression(right)}", left - right
    remedy = "give text such as 'u_xx = f', or a sympy.Eq with two different sides"
    raise ArgumentTypeError("equation", repr(equation), remedy)


def _without_functions(side: Any) -> sympy.Expr:
    """Write sympy's ``u(x, t)`` and its derivatives as the symbols `u` and `u_xxt`."""
    if side.has(sympy.Subs):
        raise _no_plain_function(side)
    put_in: dict[Any, sympy.Symbol] = {}
    for derivative in side.atoms(sympy.Derivative):
        name = _name(derivative.expr)
        subscripts = "".join(str(v) * int(count) for v, count in derivative.variable_count)
        put_in[derivative] = real_symbol(f"{name}_{subscripts}")
    # Derivatives first: they hold the functions that are replaced after them.
    side = side.xreplace(put_in)
    applied = {f: real_symbol(_name(f)) for f in side.atoms(AppliedUndef)}
    return read_expression("equation", side.xreplace(applied))


def _name(expression: Any) -> str:
    if isinstance(expression, sympy.Symbol):
        return expression.name
    if isinstance(expression, AppliedUndef) and all(a.is_Symbol for a in expression.args):
        return expression.func.__name__
    raise _no_plain_function(expression)


def _no_plain_function(expression: Any) -> ArgumentError:
    remedy = "write derivatives of a function of the axes only, such as u(x, y).diff(x)"
    return ArgumentError("equation", repr(str(expression)), remedy)


def _subscripts(name: str, axes: tuple[str, ...]) -> tuple[str, Orders] | None:
    """``"u_xxy"`` as ``("u", (2, 1))``, or None where the subscript is not made of axes."""
    function, _, subscript = name.rpartition("_")
    orders = [0] * len(axes)
    while function and subscript:
        # Axes whose names begin alike: the longest one that fits is meant.
        fitting = [axis for axis in axes if subscript.startswith(axis)]
        if not fitting:
            return None
        axis = max(fitting, key=len)
        orders[axes.index(axis)] += 1
        subscript = subscript.removeprefix(axis)
    return (function, tuple(orders)) if sum(orders) else None


def _no_derivative(text: str, axes: tuple[str, ...]) -> ArgumentError:
    remedy = f"write derivatives as subscripts, such as u_{axes[0] * 2}"
    return ArgumentError("equation", f"{text!r}, which holds no derivative", remedy)
