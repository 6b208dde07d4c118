"""Linear differential operators: sums of derivatives with coefficients, constant or not."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any, cast

import numpy as np
import sympy
from numpy.typing import NDArray

from solvers.data import ExpressionField, Field
from solvers.equation import Orders
from solvers.expression import real_symbol

__all__ = ["DifferentialOperator", "Term", "make_operator"]

Array = NDArray[np.float64]


@dataclasses.dataclass(frozen=True)
class Term:
    """``coefficient * ∂^orders u``, one order of differentiation for each axis.

    Attributes
    ----------
    orders : tuple of int
    coefficient : float
        NaN where it varies, so that no one uses it by mistake.
    field : Field or None
        The coefficient where it varies: ``field(*coordinates)``, ``field.on_grid(axes)``.
    factors : tuple of Field or None
        Where that is a product of one function for each axis, these: ``factors[k](x_k)``.
    """

    orders: Orders
    coefficient: float
    field: Field | None = dataclasses.field(default=None, repr=False, compare=False)
    factors: tuple[Field, ...] | None = dataclasses.field(default=None, repr=False, compare=False)

    def __call__(self, *coordinates: Array) -> float | Array:
        """The coefficient at points; a number where it is constant."""
        return self.coefficient if self.field is None else self.field(*coordinates)

    def on_grid(self, axes: Sequence[Array]) -> float | Array:
        """The coefficient on the product of the axes; a number where it is constant."""
        return self.coefficient if self.field is None else self.field.on_grid(axes)


@dataclasses.dataclass(frozen=True)
class DifferentialOperator:
    """A sum of terms; none for a function that an equation does not hold."""

    terms: tuple[Term, ...]

    @property
    def orders(self) -> Orders:
        """The highest order along each axis."""
        return tuple(map(max, zip(*(term.orders for term in self.terms), strict=True)))

    @property
    def is_constant(self) -> bool:
        return all(term.field is None for term in self.terms)


def make_operator(
    coefficients: Mapping[Orders, sympy.Expr], axes: tuple[str, ...], parts: Mapping[str, Field]
) -> DifferentialOperator:
    """Numbers and fields from formulas.

    Parameters
    ----------
    coefficients : mapping of orders to formula
    axes
    parts
        Fields that formulas use by name.

    Examples
    --------
    >>> x, y = real_symbol("x"), real_symbol("y")
    >>> (term,) = make_operator({(2, 0): (1 + x**2) * sympy.sin(y)}, ("x", "y"), {}).terms
    >>> term(np.array([2.0]), np.array([np.pi / 2])), term.factors[0](np.array([2.0]))
    (array([5.]), array([5.]))
    """
    return DifferentialOperator(
        tuple(_term(orders, c, axes, parts) for orders, c in coefficients.items())
    )


def _term(
    orders: Orders, coefficient: sympy.Expr, axes: tuple[str, ...], parts: Mapping[str, Field]
) -> Term:
    if not coefficient.free_symbols:
        return Term(orders, float(coefficient))
    name = "the coefficient of u_" + "".join(a * k for a, k in zip(axes, orders, strict=True))
    names = {cast(sympy.Symbol, s).name for s in coefficient.free_symbols}
    inside = {key: part for key, part in parts.items() if key in names}
    whole = ExpressionField(name.removesuffix("_"), coefficient, axes, inside)
    factors = None if inside else _factors(coefficient, axes)
    if factors is not None:
        fields = zip(factors, axes, strict=True)
        factors = tuple(ExpressionField(whole.name, f, (axis,)) for f, axis in fields)
    return Term(orders, math.nan, whole, factors)


def _factors(coefficient: sympy.Expr, axes: tuple[str, ...]) -> tuple[sympy.Expr, ...] | None:
    """One function for each axis whose product this is; None where sympy finds none."""
    symbols = [real_symbol(axis) for axis in axes]
    found: Any = sympy.separatevars(coefficient, symbols=symbols, dict=True)
    if found is None:
        return None
    factors = [found[symbol] for symbol in symbols]
    return (factors[0] * found["coeff"], *factors[1:])
