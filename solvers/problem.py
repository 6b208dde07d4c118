"""A partial differential equation with its domain, conditions and data: what a solver solves."""

from collections.abc import Collection, Mapping, Sequence
from keyword import iskeyword
from typing import Any, Self, cast

import numpy as np
import sympy
from numpy.typing import NDArray

from kernelgp.errors import ArgumentError, ArgumentTypeError
from solvers.conditions import Condition, Dirichlet, FaceCondition, Initial, Observations
from solvers.corners import check_corners
from solvers.data import ArrayField, ExpressionField, LostField, as_number, read_field
from solvers.domain import Box
from solvers.equation import DifferentialOperator, Equation, check_data_names, read_equation
from solvers.expression import (
    RESERVED,
    check_names,
    format_expression,
    read_expression,
)
from solvers.faces import Face, FaceReader, periodic_axes
from solvers.manufactured import derive_source
from solvers.needs import Need, check_needs
from solvers.observations import Sensors, read_observations
from solvers.well_posed import check_counts, check_orders

__all__ = ["Problem"]

Array = NDArray[np.float64]


class Problem:
    """A linear equation with constant coefficients on a box, with its conditions and data.

    Parameters
    ----------
    equation : str or sympy.Eq
        With exactly one ``=``; derivatives by subscripts, such as ``"u_xx + u_yy = f"``.
        It is read, never evaluated.
    domain : Box
    conditions : condition or sequence of conditions
    **data : number, formula, callable or array
        What every other name in the equation stands for. A formula is of the axes and of
        data that are numbers; a callable takes one array for each axis, in order, and returns
        their broadcast shape; an array has the shape of the grid.

    Attributes
    ----------
    axes : tuple of str
    dimension : int
    function : str
        The name of the unknown function.
    operator : DifferentialOperator
        The left side: its terms, each with orders and a coefficient.
    orders : tuple of int
        The highest order along each axis.
    faces : tuple of Face
        Every condition at an end of an axis, with the weights of its derivatives; there may be
        two at one end.
    periodic : tuple of int
        The axes, by number, that are periodic.
    observations : tuple of Sensors
        Blocks of values seen in the domain.
    source_is_function : bool
        Whether the source has values everywhere, not at the grid's points only.
    has_exact : bool

    Raises
    ------
    ArgumentError, ArgumentTypeError
        If the equation cannot be read, is not linear with constant coefficients, is of an
        order above two, or its names, data and conditions do not fit together.

    Examples
    --------
    >>> problem = Problem(
    ...     "u_xx + u_yy = f", Box(x=(0, 1), y=(0, 1)), conditions=[Dirichlet(0)], f="x*y"
    ... )
    >>> problem
    Problem('u_xx + u_yy = f', Box(x=(0, 1), y=(0, 1)), conditions=[Dirichlet(0)], f='x*y')
    >>> problem.operator.terms[0], problem.source(np.array([2.0]), np.array([3.0]))
    (Term(orders=(2, 0), coefficient=1.0), array([6.]))
    """

    def __init__(
        self,
        equation: str | sympy.Eq,
        domain: Box,
        conditions: Condition | Sequence[Condition] = (),
        **data: Any,
    ) -> None:
        self._build(equation, domain, conditions, data, exact=None)

    @classmethod
    def from_exact(
        cls,
        equation: str | sympy.Eq,
        domain: Box,
        exact: str | sympy.Expr,
        conditions: Condition | Sequence[Condition] | None = None,
        **data: Any,
    ) -> Self:
        """A problem whose solution is known: its source and conditions are derived from it.

        Parameters
        ----------
        equation, domain
            As for `Problem`. One name that is neither axis, function nor data is the source
            to derive; without one, `exact` has to satisfy the equation as it stands.
        exact
            A formula of the axes.
        conditions
            Those without a value take it from `exact`. None is `Dirichlet` on every face.
        **data : number or formula

        Raises
        ------
        ArgumentError
            If `exact` does not satisfy the equation, or several names are left to derive.

        Examples
        --------
        >>> made = Problem.from_exact("u_xx = f", Box(x=(0, 1)), "sin(3*x)")
        >>> made
        Problem('u_xx = f', Box(x=(0, 1)), conditions=[Dirichlet()], f='-9*sin(3*x)')
        >>> made.exact(np.array([[0.0]]))
        array([0.])
        """
        _check_domain(domain)
        read = read_equation(equation, domain.axes, data)
        formula = read_expression("exact", exact)
        check_names("exact", formula, domain.axes, "give a formula of the axes")
        values = {name: _formula(name, value, domain.axes) for name, value in data.items()}
        data = data | derive_source(read, formula, values, domain)
        if conditions is None:
            conditions = [Dirichlet()]
        return cls.with_exact(equation, domain, conditions, data, formula)

    @classmethod
    def with_exact(
        cls,
        equation: str | sympy.Eq,
        domain: Box,
        conditions: Condition | Sequence[Condition],
        data: Mapping[str, Any],
        exact: sympy.Expr | None,
    ) -> Self:
        """A problem of which the exact solution is known besides; nothing is derived."""
        problem = cls.__new__(cls)
        problem._build(equation, domain, conditions, data, exact=exact)
        return problem

    def _build(
        self,
        equation: Any,
        domain: Box,
        conditions: Any,
        data: Mapping[str, Any],
        *,
        exact: sympy.Expr | None,
    ) -> None:
        self.domain = _check_domain(domain)
        self.equation = read_equation(equation, domain.axes, data)
        self.conditions = _condition_list(conditions)
        _check_data_keys(self.equation, data)
        self.data = dict(data)
        constants = {n: c for n, v in data.items() if (c := as_number(n, v)) is not None}
        fields = {n: read_field(n, v, self.axes, constants) for n, v in data.items()}
        used = _names_in([*data.values(), *_condition_values(self.conditions)])
        check_data_names(self.equation, data, used)

        formulas = {n: f.expression for n, f in fields.items() if isinstance(f, ExpressionField)}
        form = self.equation.linear_form(formulas)
        self.operator: DifferentialOperator = form.operator()
        names = {cast(sympy.Symbol, s).name for s in form.source.free_symbols}
        parts = {n: f for n, f in fields.items() if n in names and n not in formulas}
        name = ", ".join(n for n in self.equation.data_names if n not in constants) or "equation"
        self._source = ExpressionField(name, form.source, self.axes, parts)
        self._exact = None if exact is None else ExpressionField("exact", exact, self.axes)
        exact_formulas = {} if exact is None else {self.function: exact}
        reader = FaceReader(domain, {self.function: self.orders}, exact_formulas, constants)
        self.faces: tuple[Face, ...] = reader.read(self.conditions)
        self.periodic = periodic_axes(self.conditions, domain)
        seen = [c for c in self.conditions if isinstance(c, Observations)]
        self.observations: tuple[Sensors, ...] = read_observations(seen, domain, (self.function,))

    @property
    def axes(self) -> tuple[str, ...]:
        return self.domain.axes

    @property
    def dimension(self) -> int:
        return self.domain.dimension

    @property
    def function(self) -> str:
        return self.equation.function

    @property
    def orders(self) -> tuple[int, ...]:
        return self.operator.orders

    @property
    def exact_formula(self) -> sympy.Expr | None:
        return None if self._exact is None else self._exact.expression

    @property
    def has_exact(self) -> bool:
        return self._exact is not None

    @property
    def source_is_function(self) -> bool:
        return self._source.is_function

    @property
    def source_is_lost(self) -> bool:
        """Whether it was a callable that a file could not hold."""
        return any(isinstance(part, LostField) for part in self._source.parts.values())

    @property
    def source_shape(self) -> tuple[int, ...] | None:
        """The shape of the grid that arrays in the source are for; None without one."""
        arrays = [p for p in self._source.parts.values() if isinstance(p, ArrayField)]
        return arrays[0].values.shape if arrays and not self.source_is_lost else None

    def source(self, *coordinates: Array) -> Array:
        """The right side at points, in the broadcast shape of one array for each axis.

        Raises
        ------
        ArgumentError
            If it is an array (`source_is_function` is false), or not finite there.
        """
        return self._source(*coordinates)

    def source_on_grid(self, axes: Sequence[Array]) -> Array:
        """The right side on the product of the axes, shape (n1, ..., nd).

        Raises
        ------
        ArgumentError
            If it was given as an array of another shape, or is not finite there.
        """
        return np.ascontiguousarray(self._source.on_grid(axes))

    @property
    def constant_is_free(self) -> bool:
        """Whether a solution plus any constant is a solution too: pure Neumann Poisson.

        Equation and conditions hold derivatives only; a solver has to fix the mean.
        """
        values = any(face.alpha for face in self.faces) or self.observations
        given = bool(self.faces or self.periodic)
        return given and not values and all(any(term.orders) for term in self.operator.terms)

    def exact(self, points: Array) -> Array:
        """The exact solution at points of shape (m, d): shape (m,).

        Raises
        ------
        ArgumentError
            If it is not known.
        """
        if self._exact is None:
            remedy = "make the problem with Problem.from_exact"
            raise ArgumentError("problem", "one without an exact solution", remedy)
        return self._exact(*np.asarray(points, dtype=np.float64).T)

    @property
    def needs(self) -> frozenset[Need]:
        """What this problem asks of a solver beyond Dirichlet problems of second order."""
        found = {
            Need.SLOPES: not all(face.of_values for face in self.faces),
            Need.PERIODIC: bool(self.periodic),
            Need.OBSERVATIONS: bool(self.observations),
            Need.FREE_CONSTANT: self.constant_is_free,
            Need.HIGH_ORDER: any(sum(term.orders) > 2 for term in self.operator.terms),
        }
        return frozenset(need for need, present in found.items() if present)

    def require(self, supported: Collection[Need], solver: str) -> None:
        """Raise unless a solver that can do what is `supported` can solve this problem.

        Raises
        ------
        ArgumentError
            It names what the solver does not do.
        """
        check_needs(self.needs, supported, solver)

    def check_conditions(self) -> None:
        """Raise where conditions are missing; warn where they contradict each other.

        An axis along which the equation is of order k needs k conditions over its two ends,
        unless it is periodic or there are observations. Solvers call it once they accept the
        equation.

        Raises
        ------
        ArgumentError
            It names every face without a condition.

        Warns
        -----
        NumericalWarning
            If two faces disagree where they meet; it holds the misfit and the place.
        """
        check_orders(self.domain, {self.function: self.orders}, self.faces)
        seen = bool(self.observations)
        check_counts(self.domain, self.orders, self.faces, self.periodic, seen=seen)
        check_corners(self.faces, self.domain)

    def __repr__(self) -> str:
        data = "".join(f", {name}={_show(value)}" for name, value in self.data.items())
        conditions = ", ".join(map(repr, self.conditions))
        return (
            f"{type(self).__name__}({self.equation.text!r}, {self.domain}, "
            f"conditions=[{conditions}]{data})"
        )


def _check_domain(domain: Any) -> Box:
    if not isinstance(domain, Box):
        raise ArgumentTypeError("domain", repr(domain), "give a Box, such as Box(x=(0, 1))")
    return domain


def _condition_list(conditions: Any) -> tuple[Condition, ...]:
    if isinstance(conditions, Condition):
        return (conditions,)
    if conditions is None or isinstance(conditions, str) or not isinstance(conditions, Sequence):
        remedy = "give a list of conditions, such as [Dirichlet('sin(x)')]"
        raise ArgumentTypeError("conditions", repr(conditions), remedy)
    for condition in conditions:
        if not isinstance(condition, Condition):
            remedy = "give conditions such as Dirichlet('sin(x)')"
            raise ArgumentTypeError("conditions", repr(condition), remedy)
    return tuple(conditions)


def _condition_values(conditions: Sequence[Condition]) -> list[Any]:
    values = [c.value for c in conditions if isinstance(c, FaceCondition)]
    starts = [c for c in conditions if isinstance(c, Initial)]
    return [*values, *(c.value for c in starts), *(c.velocity for c in starts)]


def _check_data_keys(equation: Equation, data: Mapping[str, Any]) -> None:
    remedy = "choose another name for this data"
    for name in data:
        if not name.isidentifier() or iskeyword(name) or name in RESERVED:
            raise ArgumentError(name, "a name that has another meaning in a formula", remedy)
        if name in equation.axes:
            raise ArgumentError(name, "data with the name of an axis", remedy)


def _names_in(values: Sequence[Any]) -> set[str]:
    """The names in those of the values that are formulas."""
    formulas = [read_expression("data", v) for v in values if isinstance(v, str | sympy.Expr)]
    return {cast(sympy.Symbol, s).name for formula in formulas for s in formula.free_symbols}


def _formula(name: str, value: Any, axes: tuple[str, ...]) -> sympy.Expr:
    field = read_field(name, value, axes, {})
    if not isinstance(field, ExpressionField):
        remedy = "give a number or a formula: a source is derived from it"
        raise ArgumentError(name, str(field), remedy)
    return field.expression


def _show(value: Any) -> str:
    if isinstance(value, sympy.Expr):
        value = format_expression(value)
    if isinstance(value, str):
        return repr(value if len(value) <= 60 else f"{value[:57]}...")
    if isinstance(value, np.ndarray):
        return f"array of shape {value.shape}"
    return str(value) if isinstance(value, LostField) else repr(value)
