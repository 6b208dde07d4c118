"""The judgement on a system, on data with noise and on parameters: `solvers.verdict` for rows."""

import math
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from solvers.collocation_posterior import CollocationPosterior
from solvers.data import ArrayField, LostField
from solvers.faces import Face
from solvers.left_sides import left_overs, values_at
from solvers.places import PointPlaces
from solvers.problem import Problem
from solvers.protocol import Posterior, Values, has_deviation, posterior_of
from solvers.verdict import Check, Verdict, wavelength_checks

__all__ = ["is_judged_by_rows", "judge_rows"]

Array = NDArray[np.float64]

_POINTS, _CALIBRATION_POINTS = 2000, 200
_COVERAGE = 0.9
# Of a standard normal number's root mean square over what was seen.
_MISFIT = 1.5


def is_judged_by_rows(problem: Problem) -> bool:
    """Whether there are several functions, observations or unknown parameters."""
    return bool(len(problem.functions) > 1 or problem.observations or problem.unknown)


def judge_rows(
    problem: Problem,
    posterior: Posterior,
    grid: Sequence[int],
    *,
    rtol: float,
    rng: np.random.Generator,
) -> Verdict:
    """Hold a solution against its equations, its conditions and what was seen.

    Where the exact solution is known errors are held against their deviation, and against `rtol`
    if no data with noise are among what it follows from.
    """
    checks = [
        *_residual_checks(problem, posterior, rtol, rng),
        *_boundary_checks(problem, posterior, grid, rtol, rng),
        *_sensor_checks(problem, posterior),
        *wavelength_checks(problem, posterior, grid),
        *_error_checks(problem, posterior, rtol, rng),
        *_constant_checks(problem, posterior),
    ]
    return Verdict(tuple(checks))


def _residual_checks(
    problem: Problem, posterior: Posterior, rtol: float, rng: np.random.Generator
) -> Iterator[Check]:
    if not problem.source_is_function or any(map(np.ndim, problem.data.values())):
        return
    points = problem.domain.random_points(_POINTS, rng)
    found = left_overs(problem, PointPlaces(points), values_at(problem, posterior, points))
    for i, left in enumerate(found):
        of = "" if len(found) == 1 else f" of equation {i + 1}"
        yield Check(f"relative residual{of} at random points", left.relative, rtol)


def _boundary_checks(
    problem: Problem,
    posterior: Posterior,
    grid: Sequence[int],
    rtol: float,
    rng: np.random.Generator,
) -> Iterator[Check]:
    worst, name = 0.0, ""
    for face in problem.faces:
        if isinstance(face.field, LostField):
            continue
        on_grid = isinstance(face.field, ArrayField)
        axes = problem.domain.uniform_axes(grid if on_grid else [50] * problem.dimension)
        if not on_grid:
            axes = [np.sort(rng.uniform(x[0], x[-1], len(x))) for x in axes]
        error = _face_error(posterior_of(posterior, face.function), face, axes)
        if not error < worst:
            worst, name = error, face.name
    if name:
        what = f"boundary error relative to the solution, worst on {name}"
        yield Check(what, worst, rtol)


def _face_error(posterior: Values, face: Face, axes: Sequence[Array]) -> float:
    others = [x for k, x in enumerate(axes) if k != face.axis]
    here = [*axes]
    here[face.axis] = np.array([face.coordinate])
    found = np.zeros([len(x) for x in here])
    for order, weight in enumerate(face.weights):
        orders = tuple(order if k == face.axis else 0 for k in range(len(axes)))
        found = found + weight * posterior.mean_on_grid(here, orders)
    misfit = np.abs(np.squeeze(found, axis=face.axis) - face.value_on_grid(others)).max()
    size = float(np.abs(posterior.mean_on_grid(axes, (0,) * len(axes))).max())
    return float(misfit) / (size or 1.0)


def _sensor_checks(problem: Problem, posterior: Posterior) -> Iterator[Check]:
    noise = getattr(posterior.report, "noise", ())
    for seen, variance in zip(problem.observations, noise, strict=False):
        orders = (0,) * problem.dimension
        left = seen.values - posterior_of(posterior, seen.function).mean(seen.points, orders)
        value = math.sqrt(float(np.mean(np.square(left))) / variance)
        yield Check(f"misfit of {seen.function} at sensors, in deviations", value, _MISFIT)


def _error_checks(
    problem: Problem, posterior: Posterior, rtol: float, rng: np.random.Generator
) -> Iterator[Check]:
    points = problem.domain.random_points(_CALIBRATION_POINTS, rng)
    orders, fields = (0,) * problem.dimension, []
    if isinstance(posterior, CollocationPosterior):
        fields = posterior.fields
    for name in [*problem.functions, *fields]:
        if name not in problem.exact_formulas:
            continue
        exact, own = problem.exact(points, of=name), posterior_of(posterior, name)
        error = np.abs(own.mean(points, orders) - exact)
        if not problem.observations:
            relative = float(np.linalg.norm(error)) / (float(np.linalg.norm(exact)) or 1.0)
            yield Check(f"relative error of {name} against the exact solution", relative, rtol)
        if has_deviation(own):
            share = float(np.mean(error <= 2 * own.std(points, orders)))
            what = f"share of errors of {name} within two deviations"
            yield Check(what, share, _COVERAGE, at_least=True)


def _constant_checks(problem: Problem, posterior: Posterior) -> Iterator[Check]:
    if not isinstance(posterior, CollocationPosterior):
        return
    for name in posterior.intervals:
        if name in problem.exact_formulas:
            found, exact = (
                posterior.constant(name),
                problem.exact(np.zeros((1, problem.dimension)), of=name),
            )
            value = abs(found.mean - float(exact[0])) / found.std
            yield Check(f"error of {name}, in deviations", value, 3.0)
