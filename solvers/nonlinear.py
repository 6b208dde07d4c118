"""The nonlinear part of an equation as a function, with its slopes for Newton's method."""

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, cast

import numpy as np
import sympy
from numpy.typing import NDArray

from kernelgp.errors import ArgumentError
from solvers.data import Field
from solvers.equation import Derivative
from solvers.expression import compile_expression, format_expression

__all__ = ["Nonlinear", "make_nonlinear"]

Array = NDArray[np.float64]


class Nonlinear:
    """``N(u, u_x, ...)`` at points, and its slopes ``∂N/∂(∂^α u)``.

    Attributes
    ----------
    expression : sympy expression
    derivatives : tuple of Derivative
        What it depends on, and so what every call has to be given.
    symbols : dict of Derivative to sympy symbol
        How `expression` writes these.
    slope_expressions : dict of Derivative to sympy expression

    Examples
    --------
    >>> u = sympy.Symbol("u", real=True)
    >>> part = Nonlinear(u**3, {u: Derivative("u", (0,))}, ("x",), {})
    >>> at = {Derivative("u", (0,)): np.array([2.0])}
    >>> part(at, np.zeros(1)), part.slopes(at, np.zeros(1))
    (array([8.]), {Derivative(function='u', orders=(0,)): array([12.])})
    """

    def __init__(
        self,
        expression: sympy.Expr,
        unknowns: Mapping[sympy.Symbol, Derivative],
        axes: tuple[str, ...],
        parts: Mapping[str, Field],
    ) -> None:
        names = {cast(sympy.Symbol, s).name for s in expression.free_symbols}
        self.expression, self.axes = expression, axes
        self.symbols = {d: s for s, d in unknowns.items() if s.name in names}
        self._parts = {name: part for name, part in parts.items() if name in names}
        self.derivatives = tuple(self.symbols)
        self.slope_expressions: dict[Derivative, sympy.Expr] = {
            d: _slope(expression, s) for d, s in self.symbols.items()
        }

    def __call__(self, values: Mapping[Derivative, Array], *coordinates: Array) -> Array:
        """N at points, in the broadcast shape of values and coordinates.

        Parameters
        ----------
        values : mapping of Derivative to array
            The value of each of `derivatives` there. What overflows arrives as inf or NaN.
        *coordinates
            One array for each axis.
        """
        return self._functions[0](*self._arguments(values, coordinates))

    def slopes(
        self, values: Mapping[Derivative, Array], *coordinates: Array
    ) -> dict[Derivative, Array]:
        """``∂N/∂d`` at points for every derivative d that N depends on."""
        arguments = self._arguments(values, coordinates)
        functions = zip(self.derivatives, self._functions[1:], strict=True)
        return {derivative: function(*arguments) for derivative, function in functions}

    def on_grid(self, values: Mapping[Derivative, Array], axes: Sequence[Array]) -> Array:
        """N on the product of the axes; data given as arrays have to be on that grid."""
        return self._functions[0](*self._grid_arguments(values, axes))

    def slopes_on_grid(
        self, values: Mapping[Derivative, Array], axes: Sequence[Array]
    ) -> dict[Derivative, Array]:
        """The slopes on the product of the axes."""
        arguments = self._grid_arguments(values, axes)
        functions = zip(self.derivatives, self._functions[1:], strict=True)
        return {derivative: function(*arguments) for derivative, function in functions}

    @cached_property
    def _functions(self) -> list[Any]:
        names = [*self.axes, *(s.name for s in self.symbols.values()), *self._parts]
        expressions = [self.expression, *self.slope_expressions.values()]
        return [compile_expression(expression, names) for expression in expressions]

    def _arguments(
        self, values: Mapping[Derivative, Array], coordinates: Sequence[Array]
    ) -> list[Array]:
        parts = [part(*coordinates) for part in self._parts.values()]
        return [*coordinates, *(np.asarray(values[d]) for d in self.derivatives), *parts]

    def _grid_arguments(
        self, values: Mapping[Derivative, Array], axes: Sequence[Array]
    ) -> list[Array]:
        coordinates = np.meshgrid(*axes, indexing="ij", sparse=True)
        parts = [part.on_grid(axes) for part in self._parts.values()]
        return [*coordinates, *(np.asarray(values[d]) for d in self.derivatives), *parts]

    def __getstate__(self) -> dict[str, Any]:
        # Compiled code cannot be pickled, and is made again where it is needed.
        return {key: value for key, value in vars(self).items() if key != "_functions"}

    def __str__(self) -> str:
        return format_expression(self.expression)


def make_nonlinear(
    expression: sympy.Expr,
    unknowns: Mapping[sympy.Symbol, Derivative],
    axes: tuple[str, ...],
    parts: Mapping[str, Field],
) -> Nonlinear | None:
    """The nonlinear part, or None where there is none.

    Raises
    ------
    ArgumentError
        If it has no derivative that sympy knows as a function: ``sign(u)``, ``Heaviside(u)``.
    """
    return None if expression == 0 else Nonlinear(expression, unknowns, axes, parts)


def _slope(expression: sympy.Expr, symbol: sympy.Symbol) -> sympy.Expr:
    slope = sympy.diff(expression, symbol)
    if slope.has(sympy.DiracDelta, sympy.Derivative, sympy.Subs, sympy.nan, sympy.zoo):
        given = f"{format_expression(expression)!r}, which has no derivative in {symbol.name}"
        remedy = "give something smooth, such as tanh(u/0.01) for sign(u)"
        raise ArgumentError("equation", given, remedy)
    return cast(sympy.Expr, slope)
