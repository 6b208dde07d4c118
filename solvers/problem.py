"""A partial differential equation with its domain, conditions and data: what a solver solves."""

import itertools
import warnings
from collections.abc import Mapping, Sequence
from keyword import iskeyword
from typing import Any, Self, cast

import numpy as np
import sympy
from numpy.typing import NDArray

from kernelgp.errors import ArgumentError, ArgumentTypeError, NumericalWarning
from solvers.conditions import Dirichlet, Face, check_array, faces_of, make_face
from solvers.data import ExpressionField, Field, LostField, as_number, read_field
from solvers.domain import Box
from solvers.equation import DifferentialOperator, Equation, check_data_names, read_equation
from solvers.expression import (
    RESERVED,
    check_names,
    compile_expression,
    format_expression,
    read_expression,
    real_symbol,
)

__all__ = ["Problem"]

Array = NDArray[np.float64]

# A formula evaluated at a corner in two ways differs by rounding, far below this; measured
# incompatibilities that a solution feels lie above it.
_CORNER_RTOL = 1e-8
_CORNER_ATOL = 1e-12
# What is left of an equation into which its exact solution was put, relative to its terms.
_DEFECT_RTOL = 1e-9


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
        Every face that has a condition.
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
        conditions: Dirichlet | Sequence[Dirichlet] = (),
        **data: Any,
    ) -> None:
        self._build(equation, domain, conditions, data, exact=None)

    @classmethod
    def from_exact(
        cls,
        equation: str | sympy.Eq,
        domain: Box,
        exact: str | sympy.Expr,
        conditions: Dirichlet | Sequence[Dirichlet] | None = None,
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
        data = data | _derive_source(read, formula, values, domain)
        problem = cls.__new__(cls)
        problem._build(equation, domain, Dirichlet() if conditions is None else conditions, data,
                       exact=formula)  # fmt: skip
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
        used = _names_in([*data.values(), *(c.value for c in self.conditions)])
        check_data_names(self.equation, data, used)

        formulas = {n: f.expression for n, f in fields.items() if isinstance(f, ExpressionField)}
        form = self.equation.linear_form(formulas)
        self.operator: DifferentialOperator = form.operator()
        names = {cast(sympy.Symbol, s).name for s in form.source.free_symbols}
        parts = {n: f for n, f in fields.items() if n in names and n not in formulas}
        name = ", ".join(n for n in self.equation.data_names if n not in constants) or "equation"
        self._source: Field = ExpressionField(name, form.source, self.axes, parts)
        self._exact = exact
        self.faces: tuple[Face, ...] = tuple(self._read_faces(constants))

    def _read_faces(self, constants: Mapping[str, sympy.Expr]) -> list[Face]:
        faces: list[Face] = []
        for condition in self.conditions:
            names = faces_of(condition, self.domain)
            if condition.of not in (None, self.function):
                remedy = f"give {self.function!r}, the unknown function, or leave it out"
                raise ArgumentError("of", repr(condition.of), remedy)
            label = f"{type(condition).__name__} value on {', '.join(names)}"
            value = condition.value
            if value is None:
                if self._exact is None:
                    remedy = "give its value: there is no exact solution to take it from"
                    raise ArgumentError("conditions", f"{condition} without a value", remedy)
                value = self._exact
            field = read_field(label, value, self.axes, constants)
            check_array(field, names)
            faces += [make_face(condition, name, self.domain, field) for name in names]
        names = [face.name for face in faces]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            remedy = "give one condition for each face"
            raise ArgumentError("conditions", f"more than one on {', '.join(twice)}", remedy)
        return faces

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
    def has_exact(self) -> bool:
        return self._exact is not None

    @property
    def exact_expression(self) -> sympy.Expr | None:
        return self._exact

    @property
    def source_is_function(self) -> bool:
        return self._source.is_function

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
        return compile_expression(self._exact, self.axes)(*np.asarray(points, dtype=float).T)

    def check_conditions(self) -> None:
        """Raise where conditions are missing; warn where they contradict each other.

        An axis along which the equation is of order two needs a condition on both of its
        faces, one of order one on either. Solvers call it once they accept the equation.

        Raises
        ------
        ArgumentError
            It names every face without a condition.

        Warns
        -----
        NumericalWarning
            If two faces disagree where they meet; it holds the misfit and the place.
        """
        present = {face.name for face in self.faces}
        missing: list[str] = []
        for axis, order in zip(self.axes, self.orders, strict=True):
            absent = [name for name in (f"{axis}-", f"{axis}+") if name not in present]
            if len(absent) > 2 - order:
                missing += absent if order == 2 else [" or ".join(absent)]
        if missing:
            first = missing[0].split()[0]
            remedy = f"give one on each, such as Dirichlet(0, on={first!r})"
            faces = "face" if len(missing) == 1 else "faces"
            raise ArgumentError("conditions", f"none on {faces} {', '.join(missing)}", remedy)
        self._check_corners()

    def _check_corners(self) -> None:
        ends = np.array(list(itertools.product((0, 1), repeat=self.dimension)))
        worst, place, pair = 0.0, (), ("", "")
        for one, other in itertools.combinations(self.faces, 2):
            if one.axis == other.axis or (one.alpha, one.beta) != (other.alpha, other.beta):
                continue
            for corner in ends[(ends[:, one.axis] == one.end) & (ends[:, other.axis] == other.end)]:
                misfit = abs(self._at_corner(one, corner) - self._at_corner(other, corner))
                if misfit > worst:
                    worst, pair = misfit, (one.name, other.name)
                    place = tuple(b[e] for b, e in zip(self.domain.bounds, corner, strict=True))
        if worst > _CORNER_ATOL and worst > _CORNER_RTOL * self._trace_scale():
            where = ", ".join(f"{a}={c:.6g}" for a, c in zip(self.axes, place, strict=True))
            warnings.warn(
                f"conditions: {pair[0]} and {pair[1]} differ by {worst:.1e} where they meet, at "
                f"{where}; no smooth solution takes both values: expect an error of that size "
                f"near there, or make them agree.",
                NumericalWarning,
                stacklevel=4,
            )

    def _at_corner(self, face: Face, corner: Array) -> float:
        if face.field.is_function:
            axes = [np.array([b[e]]) for b, e in zip(self.domain.bounds, corner, strict=True)]
            return float(face.value(*axes)[0])
        # The first or last value along each of the other axes; index -1 is the upper end.
        index = tuple(-int(end) for axis, end in enumerate(corner) if axis != face.axis)
        return float(cast(Any, face.field).values[index])

    def _trace_scale(self) -> float:
        scale = 0.0
        for face in self.faces:
            if face.field.is_function:
                axes = self.domain.uniform_axes([17] * self.dimension)
                values = face.value_on_grid(axes[: face.axis] + axes[face.axis + 1 :])
            else:
                values = cast(Any, face.field).values
            scale = max(scale, float(np.abs(values).max()))
        return scale

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


def _condition_list(conditions: Any) -> tuple[Dirichlet, ...]:
    if isinstance(conditions, Dirichlet):
        return (conditions,)
    if conditions is None or isinstance(conditions, str) or not isinstance(conditions, Sequence):
        remedy = "give a list of conditions, such as [Dirichlet('sin(x)')]"
        raise ArgumentTypeError("conditions", repr(conditions), remedy)
    return tuple(conditions)


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


def _derive_source(
    equation: Equation, exact: sympy.Expr, values: Mapping[str, sympy.Expr], domain: Box
) -> dict[str, sympy.Expr]:
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
    return {free[0]: cast(sympy.Expr, -defect.xreplace({source: sympy.S.Zero}) / slope)}


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


def _show(value: Any) -> str:
    if isinstance(value, sympy.Expr):
        value = format_expression(value)
    if isinstance(value, str):
        return repr(value if len(value) <= 60 else f"{value[:57]}...")
    if isinstance(value, np.ndarray):
        return f"array of shape {value.shape}"
    return str(value) if isinstance(value, LostField) else repr(value)
