"""One equation or several: read, and split into the parts that solvers work with."""

import itertools
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import sympy

from kernelgp.errors import ArgumentError, ArgumentTypeError
from solvers.data import ExpressionField, Field
from solvers.equation import Equation, Orders, read_equation
from solvers.expression import check_names, read_expression
from solvers.nonlinear import Nonlinear, make_nonlinear
from solvers.operator import DifferentialOperator, make_operator

__all__ = ["Parts", "highest_orders", "needed_orders", "read_exact", "read_parts", "read_system"]


@dataclass(frozen=True, eq=False)
class Parts:
    """One equation: ``Σ operators[j] u_j + Σ parameters + nonlinear = source``."""

    operators: tuple[DifferentialOperator, ...]
    parameter_operators: Mapping[str, DifferentialOperator]
    nonlinear: Nonlinear | None
    source: ExpressionField


def read_system(
    equations: Any,
    axes: tuple[str, ...],
    data: Collection[str],
    functions: Sequence[str] | None,
    parameters: Collection[str],
) -> tuple[Equation, ...]:
    """Read one equation or a list of as many as there are functions.

    Raises
    ------
    ArgumentError, ArgumentTypeError
        If one cannot be read, or there are more or fewer than functions.
    """
    several = isinstance(equations, list | tuple)
    written = list(equations) if several else [equations]
    if functions is not None and (
        isinstance(functions, str)
        or not isinstance(functions, Sequence)
        or not all(isinstance(name, str) for name in functions)
        or len(set(functions)) != len(functions)
    ):
        remedy = "give a list of different names, such as ['u', 'v']"
        raise ArgumentTypeError("functions", repr(functions), remedy)
    if several and functions is None and len(written) > 1:
        remedy = "name them, such as functions=['u', 'v']"
        raise ArgumentError("functions", f"None for {len(written)} equations", remedy)
    count = 1 if functions is None else len(functions)
    if len(written) != count:
        given = f"{len(written)} for {count} function{'s' if count > 1 else ''}"
        raise ArgumentError("equation", given, "give as many equations as functions")
    read = tuple(read_equation(e, axes, data, functions, parameters) for e in written)
    present = {d.function for equation in read for d in equation.unknowns.values()}
    for name in read[0].functions:
        if name not in present:
            given = f"{name!r}, which no equation holds"
            raise ArgumentError("functions", given, "leave it out, or use it in an equation")
    return read


def read_parts(equation: Equation, fields: Mapping[str, Field], functions: Sequence[str]) -> Parts:
    """Numbers and functions of one equation, data put in."""
    formulas = {n: f.expression for n, f in fields.items() if isinstance(f, ExpressionField)}
    form, axes = equation.form(formulas), equation.axes
    others = {name: field for name, field in fields.items() if name not in formulas}
    operators = [make_operator(form.coefficients_of(f), axes, others) for f in functions]
    parameters = sorted({d.function for d in form.linear} - set(functions))
    names = {cast(sympy.Symbol, s).name for s in form.source.free_symbols}
    parts = {name: field for name, field in others.items() if name in names}
    numbers = {n for n, e in formulas.items() if e.is_number}
    label = ", ".join(name for name in equation.data_names if name not in numbers)
    return Parts(
        tuple(operators),
        {p: make_operator(form.coefficients_of(p), axes, others) for p in parameters},
        make_nonlinear(form.nonlinear, equation.unknowns, axes, others),
        ExpressionField(label or "equation", form.source, axes, parts),
    )


def read_exact(
    exact: Any, functions: Sequence[str], parameters: Collection[str], axes: tuple[str, ...]
) -> dict[str, sympy.Expr]:
    """Formulas of every unknown, by name.

    Raises
    ------
    ArgumentError, ArgumentTypeError
        If one is missing, there is one too many, or one is not of the axes.
    """
    names = [*functions, *parameters]
    if not isinstance(exact, Mapping):
        if len(names) > 1:
            remedy = f"give a mapping of {', '.join(names)} to formulas"
            raise ArgumentTypeError("exact", repr(exact), remedy)
        exact = {functions[0]: exact}
    if set(exact) != set(names):
        given = f"formulas for {', '.join(map(str, exact)) or 'none'}"
        raise ArgumentError("exact", given, f"give one for each of {', '.join(names)}")
    formulas = {}
    for name in names:
        argument = "exact" if len(names) == 1 else f"exact[{name!r}]"
        value = exact[name]
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        formulas[name] = read_expression(argument, str(value) if is_number else cast(Any, value))
        check_names(argument, formulas[name], axes, "give a formula of the axes")
    return formulas


def highest_orders(
    functions: Sequence[str], equations: Sequence[Parts], dimension: int
) -> dict[str, Orders]:
    """The highest order of each function along each axis, in any equation."""
    return {
        function: tuple(map(max, zip((0,) * dimension, *found, strict=True)))
        for j, function in enumerate(functions)
        for found in [[orders for parts in equations for orders in _orders(parts, j, function)]]
    }


def needed_orders(
    functions: Sequence[str], equations: Sequence[Parts], dimension: int
) -> tuple[int, ...]:
    """For each axis the order of the whole system along it: how many conditions it takes.

    It is the degree of the determinant of the symbols, in the derivative along that axis:
    ``u_x = v, v_x = f`` is of order two.
    """
    needed = []
    for axis in range(dimension):
        degrees = {
            (i, j): max(orders[axis] for orders in found)
            for i, parts in enumerate(equations)
            for j, function in enumerate(functions)
            if (found := _orders(parts, j, function))
        }
        n = range(len(functions))
        products = [list(enumerate(columns)) for columns in itertools.permutations(n)]
        sums = [sum(degrees[k] for k in p) for p in products if all(k in degrees for k in p)]
        needed.append(max(sums, default=0))
    return tuple(needed)


def _orders(parts: Parts, column: int, function: str) -> list[Orders]:
    nonlinear = parts.nonlinear.derivatives if parts.nonlinear else ()
    linear = [term.orders for term in parts.operators[column].terms]
    return [*linear, *(d.orders for d in nonlinear if d.function == function)]
