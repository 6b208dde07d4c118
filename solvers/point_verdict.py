"""The judgement on a solution at points: where a box is not filled, or the data are scattered."""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from solvers.data import LostField
from solvers.left_sides import left_overs, values_at
from solvers.outline import Held, outline
from solvers.places import PointPlaces
from solvers.point_resolution import other_conditions
from solvers.problem import Problem
from solvers.protocol import Posterior, posterior_of
from solvers.sited import points_of, with_arrays_on_grid
from solvers.verdict import Check, Verdict, calibration_checks, wavelength_checks

__all__ = ["is_judged_at_points", "judge_at_points"]

Array = NDArray[np.float64]

_MISSED = 1.5
_POINTS = {1: 2000, 2: 3000, 3: 3000}


def is_judged_at_points(problem: Problem) -> bool:
    """Whether it is more than one equation on a filled box with its data on a grid."""
    several = len(problem.functions) > 1 or bool(problem.unknown) or bool(problem.observations)
    return several or problem.domain.region is not None or points_of(problem) is not None


def judge_at_points(
    problem: Problem,
    posterior: Posterior,
    grid: Sequence[int],
    *,
    rtol: float,
    rng: np.random.Generator,
) -> Verdict:
    """`solvers.verdict.judge` at points: of several equations, of regions, of scattered data."""
    points = problem.domain.random_points(_POINTS[problem.dimension], rng)
    checks = [
        *_residual_checks(problem, posterior, grid, points, rtol),
        *_boundary_checks(problem, posterior, grid, points, rtol, rng),
        *_sensor_checks(problem, posterior),
        *wavelength_checks(problem, posterior, grid),
    ]
    if problem.has_exact:
        zero = (0,) * problem.dimension
        errors = []
        for name in problem.functions:
            exact = problem.exact(points, of=name)
            error = posterior_of(posterior, name).mean(points, zero) - exact
            errors.append(float(np.linalg.norm(error)) / (float(np.linalg.norm(exact)) or 1.0))
        # What noise leaves unknown is for the deviation to say, not an error of the solver.
        if not problem.observations:
            checks.append(Check("relative error against the exact solution", max(errors), rtol))
        checks += calibration_checks(problem, posterior, rng)
    return Verdict(tuple(checks))


def _residual_checks(
    problem: Problem, posterior: Posterior, grid: Sequence[int], points: Array, rtol: float
) -> Iterator[Check]:
    if problem.source_is_lost:
        return
    what = "relative residual at random points inside"
    if not all(source.is_function for source in problem.sources):
        given = points_of(problem)
        what = "relative residual at the points where the source is known"
        if given is None:
            problem = with_arrays_on_grid(problem, grid)
            given = _inside(problem, grid)
        points = given
    found = left_overs(problem, PointPlaces(points), values_at(problem, posterior, points))
    worst = max(one.relative for one in found)
    if worst > rtol:
        what += " (the prior does not fit the solution: a corner, a layer or a pole?)"
    yield Check(what, worst, rtol)


def _boundary_checks(
    problem: Problem,
    posterior: Posterior,
    grid: Sequence[int],
    points: Array,
    rtol: float,
    rng: np.random.Generator,
) -> Iterator[Check]:
    if any(isinstance(c.field, LostField) for c in (*problem.faces, *problem.edges)):
        return
    zero = (0,) * problem.dimension
    worst, name = -1.0, ""
    held = outline(problem, problem.domain.uniform_axes(grid))
    for one in other_conditions(problem, rng, held):
        size = float(np.abs(posterior_of(posterior, one.function).mean(points, zero)).max())
        error = float(np.abs(_left(posterior, one) - one.values).max()) / (size or 1.0)
        if error > worst:
            worst, name = error, one.name
    if name:
        what = f"boundary error relative to the solution, worst on {name}"
        yield Check(what, worst, rtol)


def _sensor_checks(problem: Problem, posterior: Posterior) -> Iterator[Check]:
    """Whether values seen are missed by as much as their noise."""
    noise = getattr(posterior.report, "noise", ())
    for seen, variance in zip(problem.observations, noise, strict=False):
        zero = (0,) * problem.dimension
        missed = posterior_of(posterior, seen.function).mean(seen.points, zero) - seen.values
        value = float(np.sqrt(np.mean(np.square(missed)) / variance))
        yield Check("misfit at the sensors, in deviations of their noise", value, _MISSED)


def _left(posterior: Posterior, held: Held) -> Array:
    of = posterior_of(posterior, held.function)
    return sum(
        (weight * of.mean(held.points, orders) for orders, weight in held.terms),
        np.zeros(len(held.points)),
    )


def _inside(problem: Problem, grid: Sequence[int]) -> Array:
    axes = problem.domain.uniform_axes(grid)
    mask = problem.domain.contains_on_grid(axes)
    return np.stack([c[mask] for c in np.meshgrid(*axes, indexing="ij")], axis=1)
