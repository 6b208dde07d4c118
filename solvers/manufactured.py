"""The source that makes a given function the solution: manufactured problems."""

from collections.abc import Mapping
from typing import Any, cast

import numpy as np
import sympy

from kernelgp.errors import ArgumentError
from solvers.domain import Box
from solvers.equation import Equation
from solvers.expression import compile_expression, format_expression, real_symbol

__all__ = ["derive_source"]

# What is left of an equation into which its exact solution was put, relative to its terms.
_DEFECT_RTOL = 1e-9


def derive_source(
    equation: Equation, exact: sympy.Expr, values: Mapping[str, sympy.Expr], domain: Box
) -> dict[str, sympy.Expr]:
    """The data ``{name: formula}`` that make `exact` satisfy the equation; empty if it does.

    Parameters
    ----------
    equation
    exact : expression of the axes
    values
        Formulas for the other data.
    domain
        Where the equation has to hold.

    Raises
    ------
    ArgumentError
        If more than one name is free, the free one is no term on its own, or there is none
        and `exact` does not satisfy the equation; then with the defect.
    """
    free = [name for name in equation.data_names if name not in values]
    if len(free) > 1:
        remedy = "pass all but one of them as data"
        raise ArgumentError("equation", f"{', '.join(free)} to derive", remedy)
    defect = equation.defect(exact, values)
    if not free:
        _check_satisfied(equation, exact, defect, values, domain)
        return {}
    source = real_symbol(free[0])
    slope = sympy.diff(defect, source)
    if slope == 0 or slope.free_symbols:
        given = f"{equation.text!r}, where {free[0]} is no term on its own"
        raise ArgumentError("equation", given, "write the source as a term, such as ... = f")
    rest = cast(sympy.Expr, defect.xreplace({source: sympy.S.Zero}))
    return {free[0]: -rest / slope}


def _check_satisfied(
    equation: Equation,
    exact: sympy.Expr,
    defect: sympy.Expr,
    values: Mapping[str, sympy.Expr],
    domain: Box,
) -> None:
    rng = np.random.default_rng(0)
    points = [rng.uniform(lo, hi, size=200) for lo, hi in domain.bounds]

    def largest(expression: Any) -> float:
        return float(np.abs(compile_expression(expression, domain.axes)(*points)).max())

    # The size of the terms that have to cancel decides what rounding may leave.
    form = equation.linear_form(values)
    axes = [real_symbol(axis) for axis in domain.axes]
    terms = [
        c * sympy.diff(exact, *zip(axes, orders, strict=True))
        for orders, c in form.coefficients.items()
    ]
    worst, scale = largest(defect), max(map(largest, [*terms, form.source]))
    if not worst <= _DEFECT_RTOL * scale:
        given = f"{format_expression(exact)!r}, which leaves a defect of up to {worst:.2e}"
        remedy = f"give a solution of {equation.text!r}, or put a source f into the equation"
        raise ArgumentError("exact", given, remedy)
