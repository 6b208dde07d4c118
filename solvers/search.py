"""The search for a prior that resolves a problem: its frequencies, then the ladder of widths."""

import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from kernelgp.errors import ArgumentError, ConvergenceWarning
from solvers.axis_basis import AxisBasis
from solvers.discretisation import AxisDiscretisation, Basis, Condition
from solvers.divergence import DivergenceError, Iterate
from solvers.fourier_basis import FourierBasis, highest_line, strongest_lines
from solvers.jacobian import GridTerm
from solvers.journal import SILENT, Journal
from solvers.neighbour import is_its_own_neighbour, on_functions
from solvers.newton import newton
from solvers.periodic_axis import PeriodicAxis
from solvers.polynomial_basis import PolynomialBasis
from solvers.prior import LADDER, POLYNOMIALS, PriorShape
from solvers.problem import Problem
from solvers.resolution import Resolution, measure, signals_along, source_lines
from solvers.samples import Samples, sample_at_chebyshev
from solvers.section_basis import SectionBasis
from solvers.separation import separate
from solvers.slabs.layout import may_march
from solvers.spectrum import bandwidth, characteristic_frequencies, merge_frequencies, peaks
from solvers.structured import Axis, Data, StructuredEquation
from solvers.tensors import along_all

__all__ = ["Attempt", "complain_if_unresolved", "find_frequencies", "search_prior"]

Array = NDArray[np.float64]

# A solution this well resolved is at the rounding of its data: wider priors would not help.
_RESOLVED, _RESOLVED_NEWTON = 1e-12, 1e-11
_RESOLVED_ROUGH = 1e-4
# Below the second, a prior that gains less than this has met the rounding of the data.
_GAIN = 1.5
# A band of lines is worth its cost, up to seconds, only where tones have failed by this much.
_TONES_FAILED = 1e-9
# From here on the user is told that digits are missing.
_UNRESOLVED = 1e-6
_UNRESOLVED_ROUGH = 1e-3
# From here on nothing is left of the solution, if the grid cannot carry the data's main wave.
_LOST = 1e-2
# Above this share of the grid's points the row space cannot be told from noise.
_MOST_FILL = 0.8
_NARROWEST = 0.01
# For one, two and three axes. A tone more makes every axis longer by some 20 functions.
_MOST_TONES = {1: 8, 2: 4, 3: 4}
# Of a periodic axis: bound on its waves, and what a first guess adds to those of the data.
_MOST_WAVES = {1: 1000, 2: 300, 3: 40}
_HARMONICS = 1.25
_MOST_LINES = {1: 400, 2: 100, 3: 40}
_MOST_DEGREES = {1: 1000, 2: 160, 3: 48}
_MOST_SECTIONS = {1: 300, 2: 120, 3: 40}
_PEAK_FLOOR = {1: 1e-13, 2: 1e-9, 3: 1e-9}
# What is looked for beyond the grid's reach, relative to the strongest power: on whole lines,
# and on quarters of them, where a window does not hide what happens near an end.
_ALIAS_FLOOR, _QUARTER_FLOOR = 1e-12, 1e-4
# Points that suffice: to a wavelength of a tone, to one of a chirp, and for what is slow.
_POINTS_PER_WAVE, _POINTS_PER_BROAD_WAVE, _SLOW_POINTS = 2.2, 4.0, 60
_CHIRP_WAVES = 8


@dataclass(frozen=True, slots=True, eq=False)
class Attempt:
    """One prior tried, and how far its solution is resolved.

    Attributes
    ----------
    equation, samples, data
        Of the linear neighbour, so that its solution is this one.
    frequencies : tuple of lists
        The tones of each axis, in cycles per unit.
    band : tuple of floats
        For each axis the frequency up to which lines fill the spectrum.
    terms : list of GridTerm or None
        Of the equation linearised at its solution, where it is not its own neighbour.
    """

    equation: StructuredEquation
    samples: Samples
    data: Data
    coefficients: Array
    frequencies: tuple[list[float], ...]
    band: tuple[float, ...]
    resolution: Resolution
    number: int
    newton_steps: int
    terms: list[GridTerm] | None


def find_frequencies(
    problem: Problem, samples: Samples, given: Mapping[str, Sequence[float]]
) -> tuple[list[float], ...]:
    """The tones of each axis: those given, or the peaks of its data, the strongest first.

    Where the equation by itself turns a tone of one axis into one of another
    (``u_xx + u_yy + k² u = 0``), that one is added.
    """
    domain, d = problem.domain, problem.dimension
    lengths = dict(zip(domain.axes, domain.lengths, strict=True))
    found = []
    for i, axis in enumerate(domain.axes):
        if axis in given:
            found.append(list(given[axis]))
            continue
        if i in problem.periodic:
            lines = strongest_lines(signals_along(samples, i), limit=_MOST_TONES[d])
            found.append([line / lengths[axis] for line in lines])
            continue
        strongest = peaks(signals_along(samples, i), lengths[axis], floor=_PEAK_FLOOR[d])
        candidates = [frequency for _, frequency in strongest]
        found.append(merge_frequencies(candidates, lengths[axis], limit=_MOST_TONES[d]))
    own = [_own_frequencies(problem, samples, i, found) for i in range(d)]
    return tuple(
        tones
        if axis in given or i in problem.periodic
        else merge_frequencies(more, lengths[axis], known=tones, limit=_MOST_TONES[d] + 2)
        for i, (axis, tones, more) in enumerate(zip(domain.axes, found, own, strict=True))
    )


def search_prior(
    problem: Problem,
    samples: Samples,
    frequencies: tuple[list[float], ...],
    *,
    smooth: bool = True,
    seed: int = 0,
    journal: Journal = SILENT,
) -> Attempt:
    """Climb the ladder until the equation holds between the grid's points.

    Parameters
    ----------
    frequencies
        For each axis.
    smooth
        Whether the envelopes are Gaussian; else they are Matérn-5/2.
    seed
        For the points at which attempts are judged.
    journal
        Where rungs and Newton's steps are recorded.

    Raises
    ------
    ArgumentError
        If the equation has no unique solution, or the grid cannot carry the data's main wave.
    DivergenceError
        If Newton's method finds no solution, or nothing that resembles one where slabs may.

    Warns
    -----
    ConvergenceWarning
        If the best attempt leaves digits missing.
    """
    best, singular, failure = None, "", None
    if not smooth:
        resolved = _RESOLVED_ROUGH
    else:
        resolved = _RESOLVED if _is_cheap(problem) else _RESOLVED_NEWTON
    # Where a prior is dear, rounding is taken for what it is earlier.
    at_rounding = _RESOLVED_NEWTON if resolved == _RESOLVED else 10 * _RESOLVED_NEWTON
    ladder = [shape for shape in LADDER if not shape.band]
    if smooth:
        everywhere = [POLYNOMIALS] if _is_everywhere(problem) else []
        ladder += [*everywhere, *(shape for shape in LADDER if shape.band)]
    for number, shape in enumerate(ladder, start=1):
        if best is not None and shape.band and best.resolution.worst <= _TONES_FAILED:
            break
        if number > 1 and _repeats(problem, ladder[number - 2], shape):
            break
        rung = journal.part(f"prior {number}")
        if failed := rung.recall("failed"):
            singular = failed["message"].tobytes().decode()
            continue
        try:
            attempt = _attempt(
                problem, samples, frequencies, shape, number, rung, smooth=smooth, seed=seed
            )
        except ArgumentError as error:
            singular = ArgumentError.__str__(error)
            failure = error if isinstance(error, DivergenceError) else failure
            rung.record("failed", {"message": np.frombuffer(singular.encode(), np.uint8)})
            continue
        if best is None or attempt.resolution.is_better_than(best.resolution):
            before = math.inf if best is None else best.resolution.worst
            best = attempt
        else:
            before = best.resolution.worst
        worst = best.resolution.worst
        if worst <= resolved or (worst <= at_rounding and before < _GAIN * worst):
            break
    if best is None:
        why = "whose discrete system is singular"
        if not is_its_own_neighbour(problem):
            why = "to which Newton's method finds no solution"
        given = f"{problem.equation.text!r}, {why} ({singular})"
        remedy = "change a condition or a coefficient, so that it has one solution"
        if failure is not None:
            raise DivergenceError("problem", given, remedy, failure.history, failure.last)
        raise ArgumentError("problem", given, remedy)
    if best.resolution.worst > _LOST and may_march(problem):
        given = f"{problem.equation.text!r}, whose relative residual is {best.resolution.worst:.1e}"
        last = Iterate([axis.basis for axis in best.equation.axes], best.coefficients)
        raise DivergenceError("problem", given, "solve it slab by slab", last=last)
    complain_if_unresolved(problem, samples, best.resolution, smooth=smooth)
    return best


def complain_if_unresolved(
    problem: Problem, samples: Samples, resolution: Resolution, *, smooth: bool
) -> None:
    """Say what is missing, and whether a finer grid would help.

    Draws of a rough prior leave a residual between the points of any grid; more is allowed.

    Raises
    ------
    ArgumentError
        If the grid cannot carry the data's main wave, and the solution shows it.

    Warns
    -----
    ConvergenceWarning
        If residual or boundary error are above 1e-6, for a rough prior 1e-3.
    """
    if resolution.worst <= (_UNRESOLVED if smooth else _UNRESOLVED_ROUGH):
        return
    figures = (
        f"relative residual {resolution.residual:.1e} between the grid's points, "
        f"boundary error {resolution.boundary_error:.1e}"
    )
    sizes, coarse = list(samples.shape), []
    rng = np.random.default_rng(0)
    for i, (axis, length) in enumerate(zip(problem.axes, problem.domain.lengths, strict=True)):
        lines = source_lines(problem, samples, i, rng) or signals_along(samples, i)
        strongest = peaks(lines, length, floor=_ALIAS_FLOOR)
        quarters = [part for line in lines for part in np.array_split(line, 4, axis=1)]
        broad = bandwidth(quarters, length / 4, floor=_QUARTER_FLOOR)
        tone = max((frequency for _, frequency in strongest), default=0.0)
        tone_waves, broad_waves = tone * length, broad * length
        needed = _POINTS_PER_WAVE * tone_waves
        # A chirp is faster than its peak by more than a tone is wide.
        if broad_waves > tone_waves + _CHIRP_WAVES:
            needed = max(needed, _POINTS_PER_BROAD_WAVE * broad_waves)
        if needed > samples.shape[i]:
            sizes[i] = math.ceil(needed + _SLOW_POINTS)
            coarse.append(f"{samples.shape[i]} points along {axis} for {max(tone, broad):.4g}")
        main = strongest[0][1] if strongest else 0.0
        if 2 * main * length > samples.shape[i] - 1 and not resolution.worst <= _LOST:
            given = f"{samples.shape[i]} points along {axis} for {main:.4g} cycles per unit"
            enough = max(sizes[i], math.ceil(_POINTS_PER_WAVE * main * length + _SLOW_POINTS))
            remedy = f"give at least {enough} points there"
            raise ArgumentError("grid", given, remedy)
    if coarse:
        remedy = (
            f"the grid is too coarse for the frequencies found ({'; '.join(coarse)} cycles per "
            f"unit): give grid={tuple(sizes)}"
        )
    elif problem.constant_is_free and resolution.residual > _LOST:
        remedy = (
            "with derivatives alone, equation and conditions may contradict each other: the "
            "source has to balance the slopes on the faces, on periodic axes to have the mean zero"
        )
    elif not problem.source_is_function:
        remedy = (
            "the source is an array: give it on a finer grid and without noise, which is "
            "interpolated, not smoothed"
        )
    elif not smooth:
        remedy = "give a finer grid or, if the solution is smooth, kernel='gaussian'"
    else:
        finer = tuple(2 * n for n in samples.shape)
        remedy = (
            "no frequency of the data explains it, so the solution may have a layer, a kink or "
            f"a corner: give a finer grid, such as {finer}, or compare with ChebyshevSolver"
        )
    warnings.warn(f"solve: {figures}; {remedy}.", ConvergenceWarning, stacklevel=6)


def _own_frequencies(
    problem: Problem, samples: Samples, axis: int, found: Sequence[Sequence[float]]
) -> list[float]:
    """Of the waves that the equation without a source admits along one axis.

    In one dimension the roots of its symbol; in two, those for each tone of the other axis.
    """
    d = problem.dimension
    if d > 2:
        return []
    waves = [0.0] if d == 1 else [0.0, *found[1 - axis]]
    frequencies = []
    for wave in waves:
        symbol = np.zeros(problem.orders[axis] + 1, complex)
        for orders, coefficient in samples.terms:
            other = orders[1 - axis] if d == 2 else 0
            symbol[orders[axis]] += coefficient * (2j * math.pi * wave) ** other
        frequencies += characteristic_frequencies(symbol, problem.domain.lengths[axis])
    # What the grid cannot carry only makes its basis longer: u_t + u_xxx turns 5 cycles in x
    # into thousands in t.
    most = (samples.shape[axis] - 1) / (2 * problem.domain.lengths[axis])
    return [frequency for frequency in frequencies if frequency <= most]


def _attempt(
    problem: Problem,
    samples: Samples,
    frequencies: tuple[list[float], ...],
    shape: PriorShape,
    number: int,
    journal: Journal,
    *,
    smooth: bool,
    seed: int,
) -> Attempt:
    if shape.polynomial:
        samples = sample_at_chebyshev(problem, samples.shape)
    separation = separate(samples.terms, problem.dimension)
    axes: list[Axis] = []
    band = []
    for i, x in enumerate(samples.axes):
        if i in problem.periodic:
            lines = _periodic_lines(problem, samples, i, frequencies[i], shape)
            fourier = FourierBasis.up_to(lines, *problem.domain.bounds[i])
            axes.append(PeriodicAxis(fourier, x, separation, i))
            band.append(lines / problem.domain.lengths[i])
            continue
        ends = [Condition(face.end, face.alpha, face.beta) for face in samples.faces[i]]
        if shape.polynomial:
            degree = min(len(x), _MOST_DEGREES[problem.dimension])
            polynomials = PolynomialBasis.below(degree, *problem.domain.bounds[i])
            axes.append(AxisDiscretisation(polynomials, x, ends, separation, i))
            band.append(degree / (2 * problem.domain.lengths[i]))
            continue
        width = shape
        while True:
            basis = _basis(problem, i, len(x), width, frequencies[i], smooth=smooth)
            axis = AxisDiscretisation(basis, x, ends, separation, i)
            if axis.fill <= _MOST_FILL or width.slow < _NARROWEST:
                break
            width = width.narrowed()
        axes.append(axis)
        lines = [c.frequency for c in basis.components if math.isinf(c.lengthscale)]
        band.append(max(lines, default=0.0))
    equation = StructuredEquation(axes, separation, free_constant=problem.constant_is_free)
    data = equation.compress(samples.source, samples.values)
    steps, terms = 0, None
    if is_its_own_neighbour(problem):
        known = journal.recall("coefficients")
        if known is not None:
            coefficients = known["values"]
        else:
            with warnings.catch_warnings():
                # The residual between the grid's points says what an iteration has left.
                warnings.simplefilter("ignore", ConvergenceWarning)
                coefficients = equation.solve(data)
            journal.record("coefficients", {"values": coefficients})
    else:
        try:
            found = newton(problem, samples, equation, data, journal)
        except DivergenceError as error:
            error.last = Iterate([axis.basis for axis in axes], error.last)
            raise
        coefficients, steps, terms = found.coefficients, found.steps, found.terms
        # The data of which the neighbour has this solution, and misses as much.
        source = along_all([a.lift for a in axes], equation.apply(coefficients)) + found.left_over
        samples = replace(samples, source=source)
        data = equation.compress(source, samples.values)

    def mean(at: Sequence[Array], orders: tuple[int, ...]) -> Array:
        rows = [a.basis.evaluate(x, k)[k] for a, x, k in zip(axes, at, orders, strict=True)]
        return along_all(rows, coefficients)

    # The same places for every attempt: a comparison is not to depend on their luck.
    resolution = measure(problem, samples, mean, np.random.default_rng(seed))
    return Attempt(
        equation,
        samples,
        data,
        coefficients,
        frequencies,
        tuple(band),
        resolution,
        number,
        steps,
        terms,
    )


def _is_cheap(problem: Problem) -> bool:
    """Whether a last digit is worth another prior: its solve is direct and takes a moment."""
    separable = all(sum(o > 0 for o in t.orders) <= 1 for t in problem.operator.terms)
    return is_its_own_neighbour(problem) and separable and problem.dimension <= 2


def _is_everywhere(problem: Problem) -> bool:
    """Whether all data are functions, which have values between the grid's points too."""
    return on_functions(problem) and all(face.field.is_function for face in problem.faces)


def _repeats(problem: Problem, before: PriorShape, shape: PriorShape) -> bool:
    """Whether two shapes are one: on periodic axes they differ in the lines alone."""
    all_periodic = len(problem.periodic) == problem.dimension
    return all_periodic and (is_its_own_neighbour(problem) or before.lines == shape.lines)


def _periodic_lines(
    problem: Problem,
    samples: Samples,
    axis: int,
    frequencies: Sequence[float],
    shape: PriorShape,
) -> int:
    """How many waves a periodic axis gets at most.

    A linear equation with constant coefficients answers with the waves of its data.
    """
    length, most = problem.domain.lengths[axis], (samples.shape[axis] - 2) // 2
    lines = max(
        highest_line(signals_along(samples, axis)),
        math.ceil(max(frequencies, default=0.0) * length - 1e-9),
    )
    if not is_its_own_neighbour(problem):
        lines = max(math.ceil(_HARMONICS * lines), int(shape.lines * most))
    return min(lines, most, _MOST_WAVES[problem.dimension])


def _basis(
    problem: Problem,
    i: int,
    points: int,
    shape: PriorShape,
    frequencies: Sequence[float],
    *,
    smooth: bool,
) -> Basis:
    (lower, upper), d = problem.domain.bounds[i], problem.dimension
    components = shape.components(upper - lower, points, frequencies, most_lines=_MOST_LINES[d])
    if smooth:
        return AxisBasis(lower, upper, components)
    # Rough functions and their derivatives span different spaces: two rows for each.
    limit = min(int(_MOST_FILL * points / 2), _MOST_SECTIONS[d])
    return SectionBasis(lower, upper, components, max(limit, 2))
