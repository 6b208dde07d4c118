"""A problem as blocks of rows: equations at places, conditions on faces, observations.

Linear equations with constant coefficients are projected axis by axis, which loses nothing; all
others are held at points. What is nonlinear, unknown parameters included, is linearised about a
state, which is a vector of coefficients of all unknowns.
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from solvers.constants import Interval
from solvers.data import Field
from solvers.equation import Derivative
from solvers.faces import Face
from solvers.feature_basis import FeatureBasis
from solvers.operator import Term
from solvers.outline import Held, outline
from solvers.places import GridPlaces, Places, PointPlaces
from solvers.problem import Problem
from solvers.rows import AxisPart, Block, Part, Space, derivative_rows

__all__ = ["Collocation", "is_linear"]

Array = NDArray[np.float64]

# Lines kept of each axis of a grid, for a basis of rank r: _OVERSAMPLING r + _SPARE.
_OVERSAMPLING, _SPARE = 1.5, 6


def is_linear(problem: Problem) -> bool:
    """Whether all equations are linear in functions and parameters together."""
    return not any(problem.nonlinears) and not any(
        isinstance(interval, tuple) for interval in problem.unknown.values()
    )


class Collocation:
    """The rows of a problem over the coefficients of a `Space`.

    Parameters
    ----------
    problem : Problem
    space : Space
        Its bases are for functions and unknown fields, its constants for unknown constants.
    axes : sequence of ndarrays
        The grid, on which data given as arrays are.
    places : Places, optional
        Where equations are held; by default the grid, or as many of its lines as bases need, of
        a region those of their points that are inside.
    held : sequence of Held, optional
        Conditions on faces and edges as they are held at points; by default those on faces are
        held on the grid's lines and, if there is a region, those on edges where they meet it.

    Attributes
    ----------
    intervals : dict of name to Interval
    """

    def __init__(
        self,
        problem: Problem,
        space: Space,
        axes: Sequence[Array],
        places: Places | None = None,
        held: Sequence[Held] | None = None,
    ) -> None:
        self.problem, self.space, self.axes = problem, space, tuple(axes)
        ends = {n: ends for n, ends in problem.unknown.items() if isinstance(ends, tuple)}
        self.intervals = {name: Interval(*ends[name]) for name in space.constants}
        self._on_grid = places is None and problem.domain.region is None
        if problem.domain.region is not None and (places is None or held is None):
            lines = _even_lines(problem, space, axes)
            places = _inside(problem, lines) if places is None else places
            held = outline(problem, lines) if held is None else held
        self.places = _thinned(problem, space, axes) if places is None else places
        self.held = held
        self._features: dict[Derivative, Array] = {}

    @property
    def is_linear(self) -> bool:
        return is_linear(self.problem)

    @cached_property
    def own(self) -> NDArray[np.bool_]:
        """Which columns are of functions, not of parameters, shape (p,)."""
        own = np.zeros(self.space.size, bool)
        for name in self.problem.functions:
            own[self.space.slices[name]] = True
        return own

    @property
    def has_parameters(self) -> bool:
        return bool(self.problem.unknown)

    def parameters(self, state: Array) -> dict[str, Array]:
        """The coefficients of every parameter in a state."""
        return {name: state[self.space.slices[name]] for name in self.problem.unknown}

    def with_parameters(self, parameters: Mapping[str, Array]) -> Array:
        """A state of these parameters, and functions that are zero."""
        state = np.zeros(self.space.size)
        for name, values in parameters.items():
            state[self.space.slices[name]] = values
        return state

    @property
    def is_semilinear(self) -> bool:
        """Whether functions enter linearly where parameters are known."""
        functions = set(self.problem.functions)
        for part in self.problem.nonlinears:
            symbols = part.symbols if part is not None else {}
            own = {symbol for d, symbol in symbols.items() if d.function in functions}
            slopes = part.slope_expressions if part is not None else {}
            for derivative, slope in slopes.items():
                if derivative.function in functions and slope.free_symbols & own:
                    return False
        return True

    @property
    def constants_only(self) -> bool:
        """Whether constants that multiply functions are all that is unknown besides them."""
        fields = set(self.space.bases) - set(self.problem.functions)
        bound = any(self.problem.nonlinears)
        return bool(bound and self.intervals and self.problem.observations) and not fields

    @property
    def on_functions(self) -> bool:
        """Whether sources and coefficients have values everywhere, not at a grid's points only."""
        problem = self.problem
        data = problem.data.values()
        arrays = any(np.ndim(v) or (isinstance(v, Field) and not v.is_function) for v in data)
        return problem.source_is_function and not arrays

    def at(self, places: Places) -> "Collocation":
        """The same rows, but for equations, which are held at other places."""
        return Collocation(self.problem, self.space, self.axes, places, self.held)

    @cached_property
    def known(self) -> list[Block]:
        """Faces, edges and observations: linear, whatever the equation is."""
        conditions = self._faces() if self.held is None else map(self.rows_of, self.held)
        return [*conditions, *self._mean(), *self._observations()]

    def _mean(self) -> Iterator[Block]:
        """Where any constant may be added to a solution at points: its mean is zero."""
        if self.held is not None and self.problem.constant_is_free:
            (function,), zero = self.problem.functions, (0,) * self.problem.dimension
            rows = self.places.features(self.space.bases[function], zero)
            yield Block("mean", rows.mean(axis=0, keepdims=True), np.zeros(1))

    def rows_of(self, held: Held) -> Block:
        """A condition that is held at points."""
        parts = [Part(held.function, orders, weight) for orders, weight in held.terms]
        return Block(held.name, self.space.at_points(held.points, parts), held.values)

    def equations(self, state: Array) -> list[Block]:
        """One block for each equation, linearised about `state`, shape (p,)."""
        blocks = []
        for i in range(len(self.problem.equations)):
            name = f"equation {i}"
            if self._on_grid and self._is_constant(i):
                blocks.append(self._constant_equation(i, name))
                continue
            residual = self.residual(i, state)
            matrix = self._jacobian(i, state)
            blocks.append(Block(name, matrix, matrix @ state - residual))
        return blocks

    def residual(self, i: int, state: Array) -> Array:
        """Left side minus source of equation i at the places, shape (n,)."""
        problem, places = self.problem, self.places
        total = -np.broadcast_to(places.values(problem.sources[i]), (places.count,))
        for derivative, term in self._linear_terms(i):
            total = total + places.values(term) * self._value(derivative, state)
        part = problem.nonlinears[i]
        if part is not None:
            values = {d: self._value(d, state) for d in part.derivatives}
            total = total + places.nonlinear(part, values)
        return total

    def is_nonlinear(self, i: int) -> bool:
        """Whether equation i is nonlinear in functions and parameters together."""
        terms = self._linear_terms(i)
        return self.problem.nonlinears[i] is not None or any(
            derivative.function in self.intervals for derivative, _ in terms
        )

    def value_of(self, name: str, state: Array) -> float:
        """An unknown constant in a state."""
        return self.intervals[name].value(float(state[self.space.slices[name]][0]))

    def advance(self, state: Array, step: Array) -> Array:
        """A state after a step; constants stay in their intervals."""
        new = state + step
        for name, interval in self.intervals.items():
            column = self.space.slices[name].start
            new[column] = interval.advance(float(state[column]), float(step[column]))
        return new

    def _linear_terms(self, i: int) -> Iterator[tuple[Derivative, Term]]:
        problem = self.problem
        for function, operator in zip(problem.functions, problem.operators[i], strict=True):
            for term in operator.terms:
                yield Derivative(function, term.orders), term
        for name, operator in problem.parameter_operators[i].items():
            for term in operator.terms:
                yield Derivative(name, term.orders), term

    def _value(self, derivative: Derivative, state: Array) -> Array:
        name, orders = derivative
        if name in self.intervals:
            value = 0.0 if any(orders) else self.value_of(name, state)
            return np.full(self.places.count, value)
        return self._rows(derivative) @ state[self.space.slices[name]]

    def _rows(self, derivative: Derivative) -> Array:
        if derivative not in self._features:
            basis = self.space.bases[derivative.function]
            self._features[derivative] = self.places.features(basis, derivative.orders)
        return self._features[derivative]

    def _jacobian(self, i: int, state: Array) -> Array:
        slopes: dict[Derivative, Array | float] = {}
        for derivative, term in self._linear_terms(i):
            slopes[derivative] = self.places.values(term)
        part = self.problem.nonlinears[i]
        if part is not None:
            values = {d: self._value(d, state) for d in part.derivatives}
            for derivative, slope in self.places.slopes(part, values).items():
                slopes[derivative] = slopes.get(derivative, 0.0) + slope
        matrix = np.zeros((self.places.count, self.space.size))
        for derivative, slope in slopes.items():
            columns = self.space.slices[derivative.function]
            column = np.reshape(slope, (-1, 1))
            if derivative.function in self.intervals:
                if not any(derivative.orders):
                    xi = float(state[columns][0])
                    matrix[:, columns] += column * self.intervals[derivative.function].slope(xi)
            else:
                matrix[:, columns] += column * self._rows(derivative)
        return matrix

    def _is_constant(self, i: int) -> bool:
        problem = self.problem
        if problem.nonlinears[i] is not None:
            return False
        return all(
            term.field is None and derivative.function not in self.intervals
            for derivative, term in self._linear_terms(i)
        )

    def _constant_equation(self, i: int, name: str) -> Block:
        parts = [
            _on_axes(Part(*derivative, term.coefficient), self.axes)
            for derivative, term in self._linear_terms(i)
        ]
        shape = tuple(len(x) for x in self.axes)
        source = np.broadcast_to(self.problem.sources[i].on_grid(self.axes), shape)
        return self.space.projected(name, parts, source)

    def _faces(self) -> Iterator[Block]:
        for face in self.problem.faces:
            others = [x for k, x in enumerate(self.axes) if k != face.axis]
            values = np.asarray(face.value_on_grid(others), float)
            shape = tuple(len(x) for x in others)
            values = np.expand_dims(np.broadcast_to(values, shape), face.axis)
            yield self.space.projected(f"face {face.name}", self._face_parts(face), values)

    def _face_parts(self, face: Face) -> list[AxisPart]:
        place = np.array([face.coordinate])

        def rows(basis: FeatureBasis) -> Array:
            found = [w * basis.along(face.axis, place, k) for k, w in enumerate(face.weights)]
            return np.sum(found, axis=0)

        along = [derivative_rows(k, x, 0) for k, x in enumerate(self.axes)]
        along[face.axis] = rows
        return [AxisPart(face.function, tuple(along))]

    def _observations(self) -> Iterator[Block]:
        zero = (0,) * self.problem.dimension
        for i, seen in enumerate(self.problem.observations):
            rows = self.space.at_points(seen.points, [Part(seen.function, zero)])
            size = float(np.std(seen.values)) or float(np.abs(seen.values).max()) or 1.0
            # What is to be learned starts at a tenth of what was seen.
            noise = 0.1 * size if isinstance(seen.noise, str) else seen.noise**0.5
            yield Block(f"observations {i}", rows, seen.values, noise)

    @property
    def learned_noise(self) -> list[str]:
        """The names of blocks whose noise is to be learned."""
        seen = enumerate(self.problem.observations)
        return [f"observations {i}" for i, block in seen if isinstance(block.noise, str)]


def _on_axes(part: Part, axes: Sequence[Array]) -> AxisPart:
    numbered = enumerate(zip(axes, part.orders, strict=True))
    rows = tuple(derivative_rows(k, x, order) for k, (x, order) in numbered)
    return AxisPart(part.function, rows, float(part.coefficient))


def _thinned(problem: Problem, space: Space, axes: Sequence[Array]) -> GridPlaces:
    """Of each axis as many lines as its bases can tell apart, closer together at the ends."""
    whole = [np.arange(len(x)) for x in axes]
    if any(np.ndim(value) for value in problem.data.values()):
        return GridPlaces(axes, whole)
    picks = []
    for k, x in enumerate(axes):
        count = _lines_needed(space, k)
        if count >= len(x):
            picks.append(whole[k])
            continue
        nodes = (1 - np.cos(np.linspace(0, np.pi, count))) / 2
        picks.append(np.unique(np.round(nodes * (len(x) - 1)).astype(np.intp)))
    return GridPlaces(axes, picks)


def _lines_needed(space: Space, k: int) -> int:
    ranks = [basis.axes[k].rank for basis in space.bases.values()]
    return int(_OVERSAMPLING * max(ranks)) + _SPARE


def _even_lines(problem: Problem, space: Space, axes: Sequence[Array]) -> list[Array]:
    """The coordinates of as many lines, evenly: where a region ends has nothing to do with ends.

    Data given as arrays on a face are on all lines.
    """
    if any(not face.field.is_function for face in problem.faces):
        return list(axes)
    lines = []
    for k, x in enumerate(axes):
        count = min(_lines_needed(space, k), len(x))
        lines.append(x[np.round(np.linspace(0, len(x) - 1, count)).astype(np.intp)])
    return lines


def _inside(problem: Problem, lines: Sequence[Array]) -> PointPlaces:
    mask = problem.domain.contains_on_grid(lines)
    mesh = np.meshgrid(*lines, indexing="ij")
    return PointPlaces(np.stack([c[mask] for c in mesh], axis=1))
