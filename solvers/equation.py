"""Partial differential equations as data: text or sympy, read into symbols and split.

``"u_xx + u*u_x = f"`` becomes a linear part, a nonlinear one and the source on the other side,
all still symbolic; `solvers.operator` and `solvers.nonlinear` make functions of them.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple, cast

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
    "Derivative",
    "Equation",
    "Form",
    "Orders",
    "check_data_names",
    "parse_derivative",
    "read_equation",
]

Orders = tuple[int, ...]
_MAX_ORDER = 8


class Derivative(NamedTuple):
    """``∂^orders function``: which unknown function, and one order for each axis."""

    function: str
    orders: Orders


@dataclass(frozen=True)
class Form:
    """``Σ linear[d] d + nonlinear = source`` over derivatives d of the unknown functions.

    Attributes
    ----------
    linear : mapping of Derivative to sympy expression
        Coefficients, of the axes and data.
    nonlinear : sympy expression
        Over the symbols of the equation's `unknowns`; zero where it is linear.
    source : sympy expression
    """

    linear: Mapping[Derivative, sympy.Expr]
    nonlinear: sympy.Expr
    source: sympy.Expr

    def coefficients_of(self, function: str) -> dict[Orders, sympy.Expr]:
        """Of the linear part, what belongs to one function."""
        return {d.orders: c for d, c in self.linear.items() if d.function == function}


@dataclass(frozen=True)
class Equation:
    """An equation read and checked, before its data are put in.

    Attributes
    ----------
    text : str
        As it was given.
    axes : tuple of str
    functions : tuple of str
        The names of the unknown functions.
    residual : sympy expression
        Left side minus right side, over the axes, the symbols in `unknowns` and the data.
    unknowns : mapping of symbol to Derivative
        `u`, `u_xx` and so on as they occur, and parameters to be found.
    """

    text: str
    axes: tuple[str, ...]
    functions: tuple[str, ...]
    residual: sympy.Expr
    unknowns: Mapping[sympy.Symbol, Derivative]

    def __str__(self) -> str:
        return self.text

    @property
    def function(self) -> str:
        """The unknown function of an equation of one."""
        return self.functions[0]

    @cached_property
    def data_names(self) -> tuple[str, ...]:
        """Every name that is neither an axis nor an unknown."""
        names = {cast(sympy.Symbol, s).name for s in self.residual.free_symbols}
        return tuple(sorted(names - set(self.axes) - {s.name for s in self.unknowns}))

    def form(self, values: Mapping[str, sympy.Expr]) -> Form:
        """Split into linear part, nonlinear part and source, with data put in for their names.

        Raises
        ------
        ArgumentError
            If no derivative is left, or one is of too high an order.
        """
        put_in = {real_symbol(n): v for n, v in values.items()}
        residual = cast(sympy.Expr, self.residual.xreplace(put_in))
        linear: dict[Derivative, Any] = {}
        nonlinear, rest = [], []
        for term in _separate_terms(residual, set(self.unknowns)):
            inside = [symbol for symbol in self.unknowns if term.has(symbol)]
            slopes = {symbol: sympy.diff(term, symbol) for symbol in inside}
            if any(slope.free_symbols & set(self.unknowns) for slope in slopes.values()):
                nonlinear.append(term)
                continue
            for symbol, slope in slopes.items():
                derivative = self.unknowns[symbol]
                linear[derivative] = linear.get(derivative, 0) + slope
            rest.append(term.xreplace(dict.fromkeys(inside, sympy.S.Zero)))
        linear = {d: linear[d] for d in self.unknowns.values() if linear.get(d, 0) != 0}
        form = Form(linear, sympy.Add(*nonlinear), -sympy.Add(*rest))  # pyright: ignore[reportArgumentType]
        self._check_orders(form)
        return form

    def defect(
        self, exact: Mapping[str, sympy.Expr], values: Mapping[str, sympy.Expr]
    ) -> list[sympy.Expr]:
        """The terms of left side minus right side where the unknowns are `exact`."""
        axes = [real_symbol(axis) for axis in self.axes]
        put_in: dict[sympy.Symbol, Any] = {
            symbol: sympy.diff(exact[function], *zip(axes, orders, strict=True))
            for symbol, (function, orders) in self.unknowns.items()
        }
        put_in |= {real_symbol(name): value for name, value in values.items()}
        terms = sympy.Add.make_args(self.residual)
        return [cast(sympy.Expr, term.xreplace(put_in)) for term in terms]

    def _check_orders(self, form: Form) -> None:
        nonlinear = [d for s, d in self.unknowns.items() if form.nonlinear.has(s)]
        present = [d for d in (*form.linear, *nonlinear) if d.function in self.functions]
        order, function = max(((sum(d.orders), d.function) for d in present), default=(0, ""))
        if order == 0 and len(self.functions) == 1:
            raise _no_derivative(self.text, self.axes)
        if order > _MAX_ORDER:
            given = f"one of order {order} in {function}"
            raise ArgumentError("equation", given, f"give one of order 1 to {_MAX_ORDER}")


def _separate_terms(residual: sympy.Expr, unknowns: set[sympy.Symbol]) -> list[sympy.Expr]:
    """The terms of a sum; products with unknowns are multiplied out, all others left alone.

    Multiplying out a source such as ``(x - 1/2)**2`` would cost it digits.
    """
    terms: list[Any] = []
    for term in sympy.Add.make_args(residual):
        slopes = [sympy.diff(term, s) for s in unknowns if term.has(s)]
        if any(slope.free_symbols & unknowns for slope in slopes):
            terms += sympy.Add.make_args(sympy.expand(term, deep=False, log=False, trig=False))
        else:
            terms.append(term)
    return terms


def read_equation(
    equation: str | sympy.Eq,
    axes: tuple[str, ...],
    data: Collection[str],
    functions: Sequence[str] | None = None,
    parameters: Collection[str] = (),
) -> Equation:
    """Read text with one ``=`` or a sympy equation; find the unknown functions in it.

    Parameters
    ----------
    equation
        Derivatives are subscripts (``u_xxt``), in sympy also ``Derivative(u(x, t), x, 2, t)``.
    axes
    data
        Names that stand for data, so that one such as ``k_x`` is no derivative.
    functions
        The unknown functions; None is the one that has derivatives.
    parameters
        Names of other unknowns: constants, or fields that may have derivatives too.

    Raises
    ------
    ArgumentError
        If it is no equation, holds no derivative or other functions', or names clash.

    Examples
    --------
    >>> read_equation("u_tt = 4*u_xx + f", ("x", "t"), ["f"]).form({}).source
    f
    """
    text, residual = _residual(equation)
    names = sorted(cast(sympy.Symbol, s).name for s in residual.free_symbols)
    derivatives = {
        name: split for name in names if name not in data if (split := _subscripts(name, axes))
    }
    found = sorted({function for function, _ in derivatives.values()} - set(parameters))
    if functions is None:
        functions = [_only_function(text, axes, names, found, data)]
    elif not set(found) <= set(functions):
        strange = ", ".join(sorted(set(found) - set(functions)))
        remedy = f"give equations of {', '.join(functions)}, or name it in functions="
        raise ArgumentError("equation", f"derivatives of {strange}", remedy)
    _check_clashes(functions, parameters, axes, data)
    unknowns = {
        real_symbol(name): Derivative(function, orders)
        for name, (function, orders) in derivatives.items()
    }
    zero = (0,) * len(axes)
    plain = [name for name in (*functions, *parameters) if name in names]
    unknowns |= {real_symbol(name): Derivative(name, zero) for name in plain}
    # u_xy and u_yx are one derivative, under one symbol.
    first = {derivative: symbol for symbol, derivative in reversed(unknowns.items())}
    residual = residual.xreplace({s: first[d] for s, d in unknowns.items() if first[d] != s})
    unknowns = {symbol: derivative for derivative, symbol in reversed(first.items())}
    return Equation(text, axes, tuple(functions), cast(sympy.Expr, residual), unknowns)


def _only_function(
    text: str, axes: tuple[str, ...], names: list[str], found: list[str], data: Collection[str]
) -> str:
    if not found:
        known = [*axes, *sorted(data)]
        subscripted = [name for name in names if "_" in name and name not in known]
        if subscripted:
            remedy = f"write derivatives as u_ and axes; the axes are {', '.join(axes)}"
            raise ArgumentError("equation", f"the unknown name {subscripted[0]!r}", remedy)
        raise _no_derivative(text, axes)
    if len(found) > 1:
        remedy = (
            "give an equation of one, and data without a subscript of axes; for a system a list "
            "of equations and functions="
        )
        raise ArgumentError("equation", f"derivatives of {', '.join(found)}", remedy)
    return found[0]


def _check_clashes(
    functions: Sequence[str],
    parameters: Collection[str],
    axes: tuple[str, ...],
    data: Collection[str],
) -> None:
    roles = [("the unknown function", name) for name in functions]
    roles += [("an unknown parameter", name) for name in parameters]
    for role, name in roles:
        others = [("an axis", axes), ("data", data)]
        others += [("an unknown parameter", parameters)] if name in functions else []
        for kind, names in others:
            if name in names:
                given = f"{name!r} as {role} and as {kind}"
                raise ArgumentError("equation", given, "give every thing its own name")


def check_data_names(
    equations: Sequence[Equation], given: Collection[str], used: Iterable[str]
) -> None:
    """Hold the names in the equations against the data given for them.

    Raises
    ------
    ArgumentError
        If a name has no meaning, or data was given that nothing uses.
    """
    used = set(used)
    for equation in equations:
        unknowns = [s.name for s in equation.unknowns]
        known = dict.fromkeys([*equation.axes, *equation.functions, *unknowns, *given])
        remedy = "pass data by keyword, such as f='sin(x)'"
        check_names("equation", equation.residual, known, remedy)
        used |= set(equation.data_names)
    for name in given:
        if name not in used:
            text = "; ".join(equation.text for equation in equations)
            given_text = f"data that {text!r} does not use"
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
