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
from solvers.edges import Edge, check_edges, read_edges
from solvers.equation import Equation, check_data_names
from solvers.expression import (
    RESERVED,
    format_expression,
    read_expression,
)
from solvers.faces import Face, FaceReader, periodic_axes
from solvers.manufactured import check_periodic, derive_sources
from solvers.needs import Need, check_needs
from solvers.nonlinear import Nonlinear
from solvers.observations import Sensors, read_observations
from solvers.operator import DifferentialOperator
from solvers.parameters import check_used, read_unknown
from solvers.system import (
    highest_orders,
    needed_orders,
    read_exact,
    read_parts,
    read_system,
)
from solvers.well_posed import check_counts, check_ends, check_orders

__all__ = ["Problem"]

Array = NDArray[np.float64]


class Problem:
    """An equation, or a system of them, on a box with its conditions and data.

    Parameters
    ----------
    equation : str, sympy.Eq or list of them
        With exactly one ``=``; derivatives by subscripts, such as ``"u_xx + u*u_x = f"``.
        It is read, never evaluated.
    domain : Box
    conditions : condition or sequence of conditions
    functions : sequence of str, optional
        The names of the unknown functions of a system, one for each equation.
    unknown : mapping, optional
        Parameters to be found as well: ``{"c": (lower, upper)}`` is a constant, ``{"a":
        "field"}`` a function of the axes, whose derivatives may stand in the equation too.
    **data : number, formula, callable or array
        What every other name in the equation stands for. A formula is of the axes and of
        data that are numbers; a callable takes one array for each axis, in order, and returns
        their broadcast shape; an array has the shape of the grid.

    Attributes
    ----------
    axes : tuple of str
    dimension : int
    functions : tuple of str
        The names of the unknown functions.
    equations : tuple of Equation
    operators : tuple of tuples of DifferentialOperator
        The linear part: one row for each equation, one column for each function.
    parameter_operators : tuple of mappings of name to DifferentialOperator
        For each equation, where it is linear in an unknown parameter alone.
    nonlinears : tuple of (Nonlinear or None)
        The nonlinear part of each equation, products with unknown parameters among it.
    sources : tuple of Field
        What stands apart from the unknowns, on the right side.
    orders_of : mapping of function to tuple of int
        The highest order of each function along each axis, nonlinear terms included.
    faces : tuple of Face
        Every condition at an end of an axis, with the weights of its derivatives; there may be
        two at one end.
    periodic : tuple of int
        The axes, by number, that are periodic.
    edges : tuple of Edge
        Every condition on an edge of the domain's region.
    observations : tuple of Sensors
        Blocks of values seen in the domain.
    unknown : dict of name to (lower, upper) or "field"
    source_is_function : bool
        Whether the source has values everywhere, not at the grid's points only.
    has_exact : bool

    Raises
    ------
    ArgumentError, ArgumentTypeError
        If an equation cannot be read or differentiated, or equations, names, data and
        conditions do not fit together.

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
        equation: str | sympy.Eq | Sequence[str | sympy.Eq],
        domain: Box,
        conditions: Condition | Sequence[Condition] = (),
        *,
        functions: Sequence[str] | None = None,
        unknown: Mapping[str, Any] | None = None,
        **data: Any,
    ) -> None:
        self._build(equation, domain, conditions, data, {}, functions, unknown)

    @classmethod
    def from_exact(
        cls,
        equation: str | sympy.Eq | Sequence[str | sympy.Eq],
        domain: Box,
        exact: str | sympy.Expr | Mapping[str, Any],
        conditions: Condition | Sequence[Condition] | None = None,
        *,
        functions: Sequence[str] | None = None,
        unknown: Mapping[str, Any] | None = None,
        **data: Any,
    ) -> Self:
        """A problem whose solution is known: its source and conditions are derived from it.

        Parameters
        ----------
        equation, domain, functions, unknown
            As for `Problem`. In each equation one name that is neither axis, unknown nor data
            is the source to derive; without one, `exact` has to satisfy it as it stands.
        exact
            A formula of the axes; for several unknowns a mapping of their names to formulas,
            parameters included.
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
        parameters = read_unknown(unknown)
        equations = read_system(equation, domain.axes, data, functions, parameters)
        formulas = read_exact(exact, equations[0].functions, parameters, domain.axes)
        values = {name: _formula(name, value, domain.axes) for name, value in data.items()}
        data = data | derive_sources(equations, formulas, values, domain)
        if conditions is None:
            conditions = [Dirichlet()]
        problem = cls.with_exact(
            equation, domain, conditions, data, formulas, functions=functions, unknown=unknown
        )
        check_periodic(problem.exact_formulas, problem.periodic, problem.orders_of, domain)
        return problem

    @classmethod
    def with_exact(
        cls,
        equation: Any,
        domain: Box,
        conditions: Condition | Sequence[Condition],
        data: Mapping[str, Any],
        exact: Mapping[str, sympy.Expr],
        *,
        functions: Sequence[str] | None = None,
        unknown: Mapping[str, Any] | None = None,
    ) -> Self:
        """A problem of which exact formulas are known besides; nothing is derived."""
        problem = cls.__new__(cls)
        problem._build(equation, domain, conditions, data, exact, functions, unknown)
        return problem

    def with_parameters(self, values: Mapping[str, Any]) -> Self:
        """The same problem where unknown parameters have these values, as data have.

        Parameters
        ----------
        values : mapping of name to number, formula, callable or array
        """
        strange = sorted(set(values) - set(self.unknown))
        if strange:
            remedy = f"give values of {', '.join(self.unknown) or 'none: nothing is unknown'}"
            raise ArgumentError("values", repr(strange[0]), remedy)
        return self.with_exact(
            [equation.text for equation in self.equations],
            self.domain,
            self.conditions,
            self.data | dict(values),
            self.exact_formulas,
            functions=self.functions,
            unknown={n: u for n, u in self.unknown.items() if n not in values},
        )

    def _build(
        self,
        equation: Any,
        domain: Box,
        conditions: Any,
        data: Mapping[str, Any],
        exact: Mapping[str, sympy.Expr],
        functions: Sequence[str] | None,
        unknown: Mapping[str, Any] | None,
    ) -> None:
        self.domain = _check_domain(domain)
        self.unknown = read_unknown(unknown)
        self.equations = read_system(equation, domain.axes, data, functions, self.unknown)
        self.functions = self.equations[0].functions
        self.conditions = _condition_list(conditions)
        _check_data_keys(self.axes, data)
        check_used(self.unknown, self.equations)
        self.data = dict(data)
        constants = {n: c for n, v in data.items() if (c := as_number(n, v)) is not None}
        fields = {n: read_field(n, v, self.axes, constants) for n, v in data.items()}
        used = _names_in([*data.values(), *_condition_values(self.conditions)])
        check_data_names(self.equations, data, used)

        read = [read_parts(one, fields, self.functions) for one in self.equations]
        self.operators = tuple(parts.operators for parts in read)
        self.parameter_operators = tuple(parts.parameter_operators for parts in read)
        self.nonlinears = tuple(parts.nonlinear for parts in read)
        self.sources = tuple(parts.source for parts in read)
        self.orders_of = highest_orders(self.functions, read, self.dimension)
        self._needed = needed_orders(self.functions, read, self.dimension)
        self._exact = {n: ExpressionField("exact", e, self.axes) for n, e in exact.items()}

        known = {name: formula for name, formula in exact.items() if name in self.functions}
        reader = FaceReader(domain, self.orders_of, known, constants)
        self.faces: tuple[Face, ...] = reader.read(self.conditions)
        self.edges: tuple[Edge, ...] = read_edges(self.conditions, reader)
        self.periodic = periodic_axes(self.conditions, domain)
        seen = [c for c in self.conditions if isinstance(c, Observations)]
        self.observations: tuple[Sensors, ...] = read_observations(seen, domain, self.functions)

    @property
    def axes(self) -> tuple[str, ...]:
        return self.domain.axes

    @property
    def dimension(self) -> int:
        return self.domain.dimension

    @property
    def equation(self) -> Equation:
        """The equation, where there is one."""
        return self._alone(self.equations, "equations")

    @property
    def function(self) -> str:
        """The unknown function, where there is one."""
        return self._alone(self.functions, "functions")

    @property
    def operator(self) -> DifferentialOperator:
        """The linear part of the equation, where there is one."""
        return self._alone(self.operators, "operators")[0]

    @property
    def nonlinear(self) -> Nonlinear | None:
        """The nonlinear part of the equation, where there is one equation."""
        return self._alone(self.nonlinears, "nonlinears")

    @property
    def orders(self) -> tuple[int, ...]:
        """The highest order along each axis, of any unknown function."""
        return tuple(map(max, zip(*self.orders_of.values(), strict=True)))

    @property
    def exact_formulas(self) -> dict[str, sympy.Expr]:
        """The exact solution of each unknown, parameters included; empty if it is not known."""
        return {name: field.expression for name, field in self._exact.items()}

    @property
    def has_exact(self) -> bool:
        return set(self.functions) <= set(self._exact)

    @property
    def source_is_function(self) -> bool:
        return all(source.is_function for source in self.sources)

    @property
    def source_is_lost(self) -> bool:
        """Whether it was a callable that a file could not hold."""
        return any(isinstance(part, LostField) for s in self.sources for part in s.parts.values())

    @property
    def source_shape(self) -> tuple[int, ...] | None:
        """The shape of the grid that arrays in the source are for; None without one."""
        parts = [part for source in self.sources for part in source.parts.values()]
        arrays = [part for part in parts if isinstance(part, ArrayField)]
        return arrays[0].values.shape if arrays and not self.source_is_lost else None

    def _alone(self, items: tuple[Any, ...], name: str) -> Any:
        if len(self.functions) > 1:
            given = f"a system of {len(self.functions)} equations"
            raise ArgumentError("problem", given, f"use problem.{name}, one for each")
        return items[0]

    def source(self, *coordinates: Array) -> Array:
        """The right side at points, in the broadcast shape of one array for each axis.

        Raises
        ------
        ArgumentError
            If it is an array (`source_is_function` is false), or not finite there.
        """
        return self._alone(self.sources, "sources")(*coordinates)

    def source_on_grid(self, axes: Sequence[Array]) -> Array:
        """The right side on the product of the axes, shape (n1, ..., nd).

        Raises
        ------
        ArgumentError
            If it was given as an array of another shape, or is not finite there.
        """
        return np.ascontiguousarray(self._alone(self.sources, "sources").on_grid(axes))

    @property
    def constant_is_free(self) -> bool:
        """Whether a solution plus any constant is a solution too: pure Neumann Poisson.

        Equation and conditions hold derivatives only; a solver has to fix the mean.
        """
        held = [*self.faces, *self.edges]
        if len(self.functions) > 1 or not (held or self.periodic):
            return False
        values = any(condition.alpha for condition in held) or self.observations
        nonlinear = self.nonlinear.derivatives if self.nonlinear else ()
        present = [term.orders for term in self.operator.terms]
        present += [d.orders for d in nonlinear if d.function in self.functions]
        return not values and all(map(any, present))

    def exact(self, points: Array, of: str | None = None) -> Array:
        """The exact solution at points of shape (m, d): shape (m,).

        Parameters
        ----------
        points
        of
            The unknown function or parameter, where there are several.

        Raises
        ------
        ArgumentError
            If it is not known.
        """
        name = self.function if of is None else of
        if name not in self._exact:
            remedy = "make the problem with Problem.from_exact"
            raise ArgumentError("problem", "one without an exact solution", remedy)
        return self._exact[name](*np.asarray(points, dtype=np.float64).T)

    @property
    def needs(self) -> frozenset[Need]:
        """What this problem asks of a solver beyond Dirichlet problems of second order."""
        operators = [operator for row in self.operators for operator in row]
        terms = [term for operator in operators for term in operator.terms]
        found = {
            Need.SLOPES: not all(face.of_values for face in self.faces)
            or any(edge.beta for edge in self.edges),
            Need.PERIODIC: bool(self.periodic),
            Need.OBSERVATIONS: bool(self.observations),
            Need.FREE_CONSTANT: self.constant_is_free,
            Need.HIGH_ORDER: any(sum(term.orders) > 2 for term in terms)
            or any(order > 2 for orders in self.orders_of.values() for order in orders),
            Need.VARIABLE: any(term.field is not None for term in terms),
            Need.NONLINEAR: any(part is not None for part in self.nonlinears),
            Need.SYSTEM: len(self.functions) > 1,
            Need.UNKNOWN: bool(self.unknown),
            Need.REGION: self.domain.region is not None,
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
        check_orders(self.domain, self.orders_of, self.faces)
        seen = bool(self.observations)
        if not seen:
            check_edges(self.domain.edges, self.edges, self.orders_of)
        check_counts(self.domain, self._needed, self.faces, self.periodic, seen=seen)
        if len(self.functions) == 1:
            check_ends(self.domain, self.operator, self.faces)
        check_corners(self.faces, self.domain)

    def __repr__(self) -> str:
        more = f", functions={list(self.functions)}" if len(self.functions) > 1 else ""
        more += f", unknown={self.unknown}" if self.unknown else ""
        data = "".join(f", {name}={_show(value)}" for name, value in self.data.items())
        conditions = ", ".join(map(repr, self.conditions))
        return (
            f"{type(self).__name__}({_show_equations(self.equations)}, {self.domain}, "
            f"conditions=[{conditions}]{more}{data})"
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


def _check_data_keys(axes: tuple[str, ...], data: Mapping[str, Any]) -> None:
    remedy = "choose another name for this data"
    for name in data:
        if not name.isidentifier() or iskeyword(name) or name in RESERVED:
            raise ArgumentError(name, "a name that has another meaning in a formula", remedy)
        if name in axes:
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


def _show_equations(equations: Sequence[Equation]) -> str:
    texts = [equation.text for equation in equations]
    return repr(texts[0] if len(texts) == 1 else texts)


def _show(value: Any) -> str:
    if isinstance(value, sympy.Expr):
        value = format_expression(value)
    if isinstance(value, str):
        return repr(value if len(value) <= 60 else f"{value[:57]}...")
    if isinstance(value, np.ndarray):
        return f"array of shape {value.shape}"
    return str(value) if isinstance(value, LostField) else repr(value)
