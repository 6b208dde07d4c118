"""The source that makes a given function the solution: manufactured problems."""

import itertools
from collections.abc import Mapping, Sequence
from typing import cast

import numpy as np
import sympy

from kernelgp.errors import ArgumentError
from solvers.domain import Box
from solvers.equation import Equation
from solvers.expression import compile_expression, format_expression, real_symbol

__all__ = ["check_periodic", "derive_sources"]

# What is left of an equation into which its exact solution was put, relative to its terms.
_DEFECT_RTOL = 1e-9
# The ends of an axis such as (0, 2 pi) are rounded, which a fast wave feels.
_PERIODIC_RTOL = 1e-8


def derive_sources(
    equations: Sequence[Equation],
    exact: Mapping[str, sympy.Expr],
    values: Mapping[str, sympy.Expr],
    domain: Box,
) -> dict[str, sympy.Expr]:
    """The data ``{name: formula}`` that make `exact` satisfy the equations; empty if it does.

    Parameters
    ----------
    equations
    exact : mapping of unknown to expression of the axes
    values
        Formulas for the other data.
    domain
        Where the equations have to hold.

    Raises
    ------
    ArgumentError
        If more than one name is free in an equation, the free one is no term on its own, or
        there is none and `exact` does not satisfy the equation; then with the defect.
    """
    derived: dict[str, sympy.Expr] = {}
    for equation in equations:
        derived |= _derive_source(equation, exact, {**values, **derived}, domain)
    return derived


def check_periodic(
    exact: Mapping[str, sympy.Expr],
    periodic: Sequence[int],
    orders: Mapping[str, tuple[int, ...]],
    domain: Box,
) -> None:
    """Raise where an exact solution is not periodic along an axis that is said to be.

    Raises
    ------
    ArgumentError
        It names the axis and holds the misfit.
    """
    rng = np.random.default_rng(0)
    points = [rng.uniform(lo, hi, size=50) for lo, hi in domain.bounds]
    for axis, (function, highest) in itertools.product(periodic, orders.items()):
        for order in range(max(1, highest[axis])):
            name = domain.axes[axis]
            formula = sympy.diff(exact[function], real_symbol(name), order)
            derivative = compile_expression(formula, domain.axes)
            # Not at the ends alone: a sine's fourth derivative is nothing but rounding there.
            size = max(1.0, float(np.abs(derivative(*points)).max()))
            values = []
            for bound in domain.bounds[axis]:
                at = [*points]
                at[axis] = np.full(50, bound)
                values.append(derivative(*at))
            worst = float(np.abs(values[1] - values[0]).max())
            if worst > _PERIODIC_RTOL * max(size, float(np.abs(values).max())):
                what = f"derivative {order}" if order else "value"
                given = f"a {what} that differs by {worst:.1e} at the ends of {name}"
                raise ArgumentError("exact", given, f"give one that is periodic in {name}")


def _derive_source(
    equation: Equation,
    exact: Mapping[str, sympy.Expr],
    values: Mapping[str, sympy.Expr],
    domain: Box,
) -> dict[str, sympy.Expr]:
    free = [name for name in equation.data_names if name not in values]
    if len(free) > 1:
        remedy = "pass all but one of them as data"
        raise ArgumentError("equation", f"{', '.join(free)} to derive", remedy)
    terms = equation.defect(exact, values)
    defect = cast(sympy.Expr, sympy.Add(*terms))
    if defect.has(sympy.DiracDelta, sympy.Derivative, sympy.Subs, sympy.nan, sympy.zoo):
        functions = ", ".join(repr(format_expression(exact[f])) for f in equation.functions)
        given = f"{functions}, which is not smooth enough for {equation.text!r}"
        raise ArgumentError("exact", given, "give formulas that sympy can differentiate so often")
    if not free:
        _check_satisfied(equation, exact, terms, domain)
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
    exact: Mapping[str, sympy.Expr],
    terms: Sequence[sympy.Expr],
    domain: Box,
) -> None:
    rng = np.random.default_rng(0)
    points = domain.random_points(200, rng).T
    sizes = [compile_expression(term, domain.axes)(*points) for term in terms]
    # The size of the terms that have to cancel decides what rounding may leave.
    worst, scale = float(np.abs(sum(sizes)).max()), float(np.abs(sizes).max())
    if not worst <= _DEFECT_RTOL * scale:
        functions = ", ".join(repr(format_expression(exact[f])) for f in equation.functions)
        given = f"{functions}, which leaves a defect of up to {worst:.2e}"
        remedy = f"give a solution of {equation.text!r}, or put a source f into the equation"
        raise ArgumentError("exact", given, remedy)
