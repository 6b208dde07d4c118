"""The search for a prior by rows: the ladder of widths where data are exact, evidence where noisy.

Exact data are met to rounding by a prior that holds the solution, and missed by one that does not:
the residual between the grid's points says when to stop, as in `solvers.search`. Noisy data are
met by many priors; the widths are those that make what was seen most likely given the equation.
"""

import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kernelgp.errors import ArgumentError, ConvergenceWarning, NumericalWarning
from solvers.axis_basis import AxisBasis, Component
from solvers.collocation import Collocation
from solvers.equation import Derivative
from solvers.feature_basis import Axis, FeatureBasis
from solvers.fourier_basis import FourierBasis
from solvers.gauss_newton import Found, solve_rows
from solvers.journal import SILENT, Journal
from solvers.least_squares import NUGGET, learn_scales, observed_evidence
from solvers.left_sides import left_overs
from solvers.outline import Held
from solvers.places import GridPlaces, Places
from solvers.point_resolution import measure_at_points
from solvers.prior import LADDER, PriorShape
from solvers.problem import Problem
from solvers.resolution import Resolution
from solvers.rows import Space, held

__all__ = ["RowAttempt", "search_rows"]

Array = NDArray[np.float64]
Shapes = tuple[PriorShape, ...]

# Dense factorisations of more unknowns take minutes on two cores.
_MOST_UNKNOWNS = 2600
_MOST_LINES = {1: 400, 2: 40, 3: 16}
_RESOLVED, _UNRESOLVED, _UNRESOLVED_NOISY = 1e-11, 1e-6, 1e-3
_TONES_FAILED = 1e-9
# A solution that leaves so much is in no prior of the ladder, and rows are met less exactly:
# nuggets tried. log(x² + y²) on a ring about its pole: 1e-3 at 1e-13, 7e-6 at 1e-4.
_OUTSIDE, _SOFT, _MOST_SOFT = 1e-3, (1e-6, 1e-4), 1500
# From this many unknowns on, seconds, and digits that are not worth them.
_DEAR, _GOOD = 1000, 1e-9
# The nugget of exact rows stays this far below the noise of observations: the less exact, the
# fewer functions are needed, and rows beyond the noise tell nothing.
_BELOW_NOISE, _SOFTEST = 1e-4, 1e-6
_NEGLIGIBLE_TO_NUGGET = 1e-4
# Of a line on a periodic axis, as a variance.
_NEGLIGIBLE_LINE = 1e-30
# Widths tried for the slow component where data are noisy, as `PriorShape.slow`.
_WIDTHS = (0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0)
_WIDTH_ROUNDS = 6
# In natural units of evidence: what a width has to gain to be taken.
_WORTH = 1.0
# Root mean square of what is left at sensors, in deviations of their noise.
_MISSED = 1.5
# Relative residual of a nonlinear equation from which on nothing is left of a solution.
_LOST = 0.1
_COORDINATES = {1: 1000, 2: 48, 3: 12}


@dataclass(frozen=True, slots=True, eq=False)
class RowAttempt:
    """One prior tried.

    Attributes
    ----------
    collocation : Collocation
    found : Found
    resolution : Resolution
    nugget : float
    number : int
        The rung of the ladder, or 0 where the widths were chosen by evidence.
    band : tuple of float
        For each axis the frequency up to which lines fill the spectrum.
    """

    collocation: Collocation
    found: Found
    resolution: Resolution
    nugget: float
    number: int
    band: tuple[float, ...]


def search_rows(
    problem: Problem,
    axes: Sequence[Array],
    tones: tuple[list[float], ...],
    *,
    places: Places | None = None,
    held: Sequence[Held] | None = None,
    seed: int = 0,
    journal: Journal = SILENT,
) -> RowAttempt:
    """Solve a problem by rows, under the prior that suits its data.

    Parameters
    ----------
    problem
    axes
        The grid.
    tones
        Frequencies of each axis, in cycles per unit.
    places, held
        Where equations and conditions are held, if not on the grid.
    seed
        For the points at which attempts are judged.
    journal
        Where steps are recorded.

    Raises
    ------
    ArgumentError
        If no steps solve a nonlinear problem.

    Warns
    -----
    ConvergenceWarning
        If equations, conditions or observations are not met.
    NumericalWarning
        If the prior had to be cut short for the number of its functions.
    """
    search = _Search(problem, axes, tones, places, held, seed, journal)
    best = search.by_evidence() if problem.observations else search.by_ladder()
    search.complain(best)
    return best


class _Search:
    def __init__(
        self,
        problem: Problem,
        axes: Sequence[Array],
        tones: tuple[list[float], ...],
        places: Places | None,
        held: Sequence[Held] | None,
        seed: int,
        journal: Journal,
    ) -> None:
        self.problem, self.axes, self.tones = problem, tuple(axes), tones
        self.places, self.held = places, held
        self.seed, self.journal = seed, journal
        self.cut = 0.0

    def by_ladder(self) -> RowAttempt:
        best: RowAttempt | None = None
        for number, shape in enumerate(LADDER, start=1):
            if best is not None and shape.band and best.resolution.worst <= _TONES_FAILED:
                break
            shapes = (shape,) * len(self.axes)
            # Only the first is cut to size: the others are wider, and would gain nothing.
            space, nugget = self._space(shapes, NUGGET, may_cut=best is None)
            if space is None or (best is not None and self._is_idle(best, space)):
                continue
            attempt = self._attempt(space, nugget, number)
            if best is None or attempt.resolution.is_better_than(best.resolution):
                best = attempt
            if best.resolution.worst <= _RESOLVED:
                break
        if best is None:
            given = f"frequencies that take more than {_MOST_UNKNOWNS} functions"
            raise ArgumentError("problem", given, "give fewer, by GPSolver(frequencies=...)")
        return self._softened(best) if best.resolution.worst > _OUTSIDE else best

    def _softened(self, best: RowAttempt) -> RowAttempt:
        """The best of priors that need not meet their rows, for a solution that is in none.

        To meet a corner or a pole at every point, a smooth function has to swing between them.
        """
        if self.held is None and self.problem.domain.region is None:
            return best
        if not best.collocation.is_linear:
            return best
        for number, shape in list(enumerate(LADDER, start=1))[::-1]:
            for nugget in _SOFT:
                space, softer = self._space((shape,) * len(self.axes), nugget, may_cut=False)
                if space is not None and space.size <= _MOST_SOFT:
                    attempt = self._attempt(space, softer, number)
                    if attempt.resolution.is_better_than(best.resolution):
                        best = attempt
        return best

    def _is_idle(self, best: RowAttempt, space: Space) -> bool:
        """Whether a prior is the one of before, or costs more than the digits it may add."""
        before = best.collocation.space
        same = all(
            [a.components for a in space.bases[name].axes]
            == [a.components for a in before.bases[name].axes]
            for name in self.problem.functions
        )
        return same or (space.size > _DEAR and best.resolution.worst <= _GOOD)

    def by_evidence(self) -> RowAttempt:
        nugget = float(np.clip(_BELOW_NOISE * self._relative_noise(), NUGGET, _SOFTEST))
        shapes = self._widths("widths", (PriorShape(2.0, 0.3),) * len(self.axes), nugget, {})
        best = self._solve(shapes, nugget, None)
        if not best.collocation.has_parameters or not best.collocation.is_semilinear:
            return best
        # With parameters known, more is linear, and says more about the widths.
        parameters = best.collocation.parameters(best.found.state)
        better = self._widths("widths again", shapes, nugget, parameters)
        return best if better == shapes else self._solve(better, nugget, best)

    def _solve(self, shapes: Shapes, nugget: float, before: RowAttempt | None) -> RowAttempt:
        space, nugget = self._space(shapes, nugget, may_cut=True)
        assert space is not None
        return self._attempt(space, nugget, 0, before)

    def _widths(
        self, label: str, shapes: Shapes, nugget: float, parameters: Mapping[str, Array]
    ) -> Shapes:
        """What `_climb` finds, recorded."""
        if before := self.journal.recall(label):
            return tuple(PriorShape(float(slow), 0.3) for slow in before["slow"])
        found = self._climb(shapes, nugget, parameters)
        self.journal.record(label, {"slow": [shape.slow for shape in found]})
        return found

    def _climb(self, shapes: Shapes, nugget: float, parameters: Mapping[str, Array]) -> Shapes:
        """The widths near these under which what was seen is most likely, axis by axis."""
        score = self._score(shapes, nugget, parameters)
        for k in range(len(shapes)):
            for direction in (1, -1):
                while (other := _neighbor(shapes[k].slow, direction)) is not None:
                    tried = tuple(
                        PriorShape(other, s.tone) if i == k else s for i, s in enumerate(shapes)
                    )
                    new = self._score(tried, nugget, parameters)
                    if new <= score + _WORTH:
                        break
                    shapes, score = tried, new
        return shapes

    def _relative_noise(self) -> float:
        relative = []
        for seen in self.problem.observations:
            size = float(np.sqrt(np.mean(np.square(seen.values)))) or 1.0
            relative.append(1e-2 if isinstance(seen.noise, str) else seen.noise**0.5 / size)
        return min(relative)

    def _score(self, shapes: Shapes, nugget: float, parameters: Mapping[str, Array]) -> float:
        """Log density of what was seen, given the rows that are linear where these are known."""
        space, nugget = self._space(shapes, nugget, may_cut=False)
        if space is None:
            return -math.inf
        collocation = self._collocation(space)
        state, own = np.zeros(space.size), collocation.own
        for name, values in parameters.items():
            state[space.slices[name]] = values
        numbers = [
            i
            for i in range(len(self.problem.equations))
            if parameters or not collocation.is_nonlinear(i)
        ]
        equations = collocation.equations(state) if numbers else []
        blocks = [*collocation.known, *(equations[i] for i in numbers)]
        groups = space.groups[own]
        found = learn_scales(
            held(blocks, own, state),
            groups,
            [1.0] * (groups[-1] + 1),
            learn_noise=collocation.learned_noise,
            nugget=nugget,
            rounds=_WIDTH_ROUNDS,
        )
        return observed_evidence(found, nugget)

    def _attempt(
        self, space: Space, nugget: float, number: int, before: RowAttempt | None = None
    ) -> RowAttempt:
        collocation = self._collocation(space)
        start = None
        if before is not None:
            start = collocation.with_parameters(before.collocation.parameters(before.found.state))
        rung = self.journal.part(f"prior {number}{'' if before is None else ' again'}")
        found = solve_rows(
            collocation, self._scales(space), nugget=nugget, start=start, journal=rung
        )
        resolution = measure_rows(collocation, found.state, self.seed)
        band = tuple(
            max((c.frequency for c in basis.components if math.isinf(c.lengthscale)), default=0.0)
            for basis in space.bases[self.problem.functions[0]].axes
        )
        return RowAttempt(collocation, found, resolution, nugget, number, band)

    def _collocation(self, space: Space) -> Collocation:
        return Collocation(self.problem, space, self.axes, self.places, self.held)

    def _scales(self, space: Space) -> list[float]:
        return [1.0] * len(space.slices)

    def _space(self, shapes: Shapes, nugget: float, *, may_cut: bool) -> tuple[Space | None, float]:
        """Bases of all unknowns, and the nugget that goes with what they leave out."""
        problem = self.problem
        negligible = max(_NEGLIGIBLE_TO_NUGGET * nugget, 1e-16)
        own = self._axes_of(shapes, self.tones)
        smooth = self._axes_of((LADDER[0],) * len(shapes), tuple([] for _ in shapes))
        fields = [name for name, kind in problem.unknown.items() if kind == "field"]
        constants = [name for name in problem.unknown if name not in fields]
        while True:
            function = FeatureBasis(own, negligible=negligible)
            field = FeatureBasis(smooth, negligible=negligible) if fields else function
            bases = dict.fromkeys(problem.functions, function) | dict.fromkeys(fields, field)
            space = Space(bases, constants)
            if space.size <= _MOST_UNKNOWNS:
                return space, nugget
            if not may_cut or negligible > 1e-4:
                return None, nugget
            negligible *= 10
            nugget = max(nugget, negligible / _NEGLIGIBLE_TO_NUGGET)
            self.cut = negligible

    def _axes_of(self, shapes: Shapes, tones: Sequence[Sequence[float]]) -> list[Axis]:
        found: list[Axis] = []
        most = _MOST_LINES[len(shapes)]
        for k, (lower, upper) in enumerate(self.problem.domain.bounds):
            length, points = upper - lower, len(self.axes[k])
            components = shapes[k].components(length, points, tones[k], most_lines=most)
            if k in self.problem.periodic:
                found.append(_fourier(lower, upper, components, points))
                continue
            found.append(AxisBasis(lower, upper, components))
        return found

    def complain(self, best: RowAttempt) -> None:
        if self.cut:
            given = (
                f"solve: the prior has more than {_MOST_UNKNOWNS} functions; those below "
                f"{self.cut:.0e} of the largest were left out, and so were as many digits"
            )
            warnings.warn(f"{given}.", NumericalWarning, stacklevel=6)
        resolution, found = best.resolution, best.found
        figures = [
            f"relative residual {resolution.residual:.1e} between the grid's points",
            f"boundary error {resolution.boundary_error:.1e}",
        ]
        missed = [
            (block.name, math.sqrt(found.fit.misfit(block) / block.count) / noise)
            for block, noise in zip(found.fit.blocks, found.fit.noise, strict=True)
            if block.noise is not None
        ]
        far = [
            f"{name} {left:.1f} deviations of their noise off"
            for name, left in missed
            if left > _MISSED
        ]
        seen = bool(self.problem.observations)
        bound = _UNRESOLVED_NOISY if seen else _UNRESOLVED
        if resolution.worst <= bound and not far:
            return
        if found.history and not seen and not resolution.residual <= _LOST:
            history = ", ".join(f"{r:.1e}" for r in found.history[-6:])
            given = (
                f"{'; '.join(e.text for e in self.problem.equations)!r}, where {found.steps} steps "
                f"of Gauss-Newton end at residuals {history}"
            )
            remedy = "give a finer grid, more data, or an equation nearer to linear"
            raise ArgumentError("equation", given, remedy)
        remedy = "give a finer grid"
        if resolution.worst > _OUTSIDE:
            remedy = (
                "the prior does not fit, as at a corner, in a layer or near a pole: give a finer "
                "grid, or a method made for it"
            )
        if seen:
            remedy = "check the equation, the noise given and the intervals of unknown constants"
        text = ", ".join([*figures, *far])
        warnings.warn(f"solve: {text}; {remedy}.", ConvergenceWarning, stacklevel=6)


def _fourier(
    lower: float, upper: float, components: Sequence[Component], points: int
) -> FourierBasis:
    """The prior of these components made periodic: lines weighted by their spectral density."""
    length = upper - lower
    lines = np.arange(max((points - 2) // 2, 1) + 1)
    weights = np.zeros(len(lines))
    for component in components:
        center = component.frequency * length
        width = length / component.lengthscale / (2 * math.pi)
        if width == 0:
            weights[min(round(center), len(lines) - 1)] += 1
            continue
        for line in (center, -center):
            weights += np.exp(-(((lines - line) / width) ** 2) / 2) / width
    kept = np.flatnonzero(weights > _NEGLIGIBLE_LINE * weights.max())[-1] + 1
    weights = np.maximum(weights, _NEGLIGIBLE_LINE * weights.max())[:kept]
    spectrum = [
        Component(float(k / length), math.inf, float(w))
        for k, w in zip(lines, weights / weights.sum(), strict=False)
    ]
    return FourierBasis(lower, upper, spectrum)


def measure_rows(collocation: Collocation, state: Array, seed: int) -> Resolution:
    """What equations leave at random points, and what conditions leave on faces."""
    if collocation.held is not None:
        return measure_at_points(collocation, state, seed)
    problem, space = collocation.problem, collocation.space
    rng = np.random.default_rng(seed)
    axes = list(collocation.axes)
    if collocation.on_functions:
        count = _COORDINATES[problem.dimension]
        axes = [np.sort(rng.uniform(lo, hi, count)) for lo, hi in problem.domain.bounds]
    grid = GridPlaces(axes, [np.arange(len(x)) for x in axes])

    def on_axes(derivative: Derivative, at: Sequence[Array]) -> Array:
        name, orders = derivative
        basis = space.bases[name]
        rows = [basis.along(k, x, o) for k, (x, o) in enumerate(zip(at, orders, strict=True))]
        return basis.combine_on_axes(rows, state[space.slices[name]][:, None])[..., 0]

    def value(derivative: Derivative) -> Array | float:
        if derivative.function in collocation.intervals:
            zero = any(derivative.orders)
            return 0.0 if zero else collocation.value_of(derivative.function, state)
        return on_axes(derivative, axes).ravel()

    left = max(left_overs(problem, grid, value), key=lambda found: found.relative)
    zero = (0,) * problem.dimension
    sizes = {f: float(np.abs(value(Derivative(f, zero))).max()) for f in problem.functions}
    worst, size = 0.0, max(sizes.values())
    for face in problem.faces:
        at = list(axes) if face.field.is_function else list(collocation.axes)
        others = [x for k, x in enumerate(at) if k != face.axis]
        at[face.axis] = np.array([face.coordinate])
        found = np.zeros([len(x) for x in at])
        for k, weight in enumerate(face.weights):
            orders = tuple(k if axis == face.axis else 0 for axis in range(len(at)))
            found = found + weight * on_axes(Derivative(face.function, orders), at)
        misfit = np.abs(np.squeeze(found, axis=face.axis) - face.value_on_grid(others)).max()
        relative = float(misfit) / (sizes[face.function] or 1.0)
        worst = max(worst, relative * (size or 1.0))
    residual = float(np.sqrt(np.mean(np.square(left.residual))))
    return Resolution(residual, left.scale, worst, size)


def _neighbor(width: float, direction: int) -> float | None:
    place = _WIDTHS.index(width) + direction
    return _WIDTHS[place] if 0 <= place < len(_WIDTHS) else None
