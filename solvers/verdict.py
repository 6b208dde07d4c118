"""The judgement on a solution: figures, the bounds they are held against, and the reasons."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from solvers.data import ArrayField, LostField
from solvers.faces import Face
from solvers.masked import source_on_grid
from solvers.problem import Problem
from solvers.protocol import Posterior, has_deviation, posterior_of

__all__ = [
    "PER_CELL",
    "Check",
    "Verdict",
    "calibration_checks",
    "judge",
    "residual_on",
    "wavelength_checks",
]

Array = NDArray[np.float64]

# Random points between each two of the grid's, along each axis: four to a cell at least.
PER_CELL = {1: 4, 2: 2, 3: 2}
# Two points to a wavelength are the least that tell its frequency from a lower one.
_POINTS_PER_WAVELENGTH = 2.0
# The share of a normal error within two deviations is 0.954.
_COVERAGE = 0.9
_CALIBRATION_POINTS = 200


@dataclass(frozen=True)
class Check:
    """One figure and the bound it is held against.

    Attributes
    ----------
    what : str
    value, bound : float
    at_least : bool
        Whether the bound is a lower one.
    """

    what: str
    value: float
    bound: float
    at_least: bool = False

    @property
    def passed(self) -> bool:
        # Written so that NaN fails.
        return self.value >= self.bound if self.at_least else self.value <= self.bound

    def __str__(self) -> str:
        side = "at least" if self.at_least else "at most"
        mark = "ok    " if self.passed else "FAILED"
        return f"{mark} {self.what}: {self.value:.3g} ({side} {self.bound:.3g})"


@dataclass(frozen=True)
class Verdict:
    """Whether a solution can be trusted, ``bool(verdict)``, and why, ``str(verdict)``.

    Attributes
    ----------
    checks : tuple of Check
    notes : tuple of str
        What is worth knowing besides, such as that the prior does not fit; they do not count.

    Examples
    --------
    >>> verdict = Verdict((Check("residual", 2e-9, 1e-4), Check("coverage", 0.5, 0.9, True)))
    >>> bool(verdict)
    False
    >>> print(verdict)
    not trustworthy: coverage
      ok     residual: 2e-09 (at most 0.0001)
      FAILED coverage: 0.5 (at least 0.9)
    """

    checks: tuple[Check, ...]
    notes: tuple[str, ...] = ()

    @property
    def failed(self) -> tuple[Check, ...]:
        return tuple(check for check in self.checks if not check.passed)

    def __bool__(self) -> bool:
        return not self.failed

    def __str__(self) -> str:
        names = "; ".join(check.what for check in self.failed)
        head = f"not trustworthy: {names}" if names else "trustworthy"
        notes = [f"note   {note}" for note in self.notes]
        return "\n  ".join([head, *map(str, self.checks), *notes])


def judge(
    problem: Problem,
    posterior: Posterior,
    grid: Sequence[int],
    *,
    rtol: float,
    rng: np.random.Generator,
) -> Verdict:
    """Hold a solution against its equation, its conditions and, where known, the truth.

    Parameters
    ----------
    problem, posterior, grid
    rtol
        Bound on residual, boundary error and error, each relative to the size of what it is
        an error of.
    rng
        For the places looked at.
    """
    fine = problem.domain.random_axes(grid, PER_CELL[problem.dimension], rng)
    checks = [*_residual_checks(problem, posterior, grid, fine, rtol)]
    mean = posterior.mean_on_grid(fine, (0,) * problem.dimension)
    size = float(np.abs(mean).max())
    checks += _boundary_checks(problem, posterior, grid, fine, size, rtol)
    checks += wavelength_checks(problem, posterior, grid)
    if problem.has_exact:
        exact = problem.exact(_product(fine)).reshape(mean.shape)
        error = float(np.linalg.norm(mean - exact)) / _norm(exact)
        checks.append(Check("relative error against the exact solution", error, rtol))
        checks += calibration_checks(problem, posterior, rng)
    return Verdict(tuple(checks))


def residual_on(
    problem: Problem, posterior: Posterior, axes: Sequence[Array]
) -> tuple[Array, float]:
    """Left side minus source on the product of axes, and the size of the largest term."""
    source = source_on_grid(problem, axes)
    size = _rms(posterior.mean_on_grid(axes, (0,) * problem.dimension))
    left, scale = np.zeros_like(source), _rms(source)
    for term in problem.operator.terms:
        coefficient = term.on_grid(axes)
        values = coefficient * posterior.mean_on_grid(axes, term.orders)
        # Where every term is zero, what rounding leaves is held against the derivative that
        # a function of this size may well have.
        lengths = zip(problem.domain.lengths, term.orders, strict=True)
        usual = _rms(coefficient) * size / math.prod(length**k for length, k in lengths)
        left, scale = left + values, max(scale, _rms(values), usual)
    if problem.nonlinear is not None:
        derivatives = {
            d: posterior.mean_on_grid(axes, d.orders) for d in problem.nonlinear.derivatives
        }
        values = problem.nonlinear.on_grid(derivatives, axes)
        left, scale = left + values, max(scale, _rms(values))
    return left - source, scale


def _residual_checks(
    problem: Problem, posterior: Posterior, grid: Sequence[int], fine: Sequence[Array], rtol: float
) -> Iterator[Check]:
    if problem.source_is_function:
        place, axes = "at random points between the grid's", fine
    elif problem.source_is_lost:
        return
    else:
        place, axes = "at the grid's points, where the source is known", None
        axes = problem.domain.uniform_axes(grid)
    residual, scale = residual_on(problem, posterior, axes)
    value = _rms(residual) / (scale or 1.0)
    yield Check(f"relative residual {place}", value, rtol)


def _boundary_checks(
    problem: Problem,
    posterior: Posterior,
    grid: Sequence[int],
    fine: Sequence[Array],
    size: float,
    rtol: float,
) -> list[Check]:
    worst, name = 0.0, ""
    for face in problem.faces:
        if isinstance(face.field, LostField):
            continue
        on_grid = isinstance(face.field, ArrayField)
        axes = problem.domain.uniform_axes(grid) if on_grid else list(fine)
        error = _face_error(problem, posterior, face, axes)
        if error >= worst:
            worst, name = error, face.name
    if not name:
        return []
    return [
        Check(
            f"boundary error relative to the solution, worst on {name}", worst / (size or 1.0), rtol
        )
    ]


def _face_error(problem: Problem, posterior: Posterior, face: Face, axes: list[Array]) -> float:
    others = [x for k, x in enumerate(axes) if k != face.axis]
    here = [*axes]
    here[face.axis] = np.array([face.coordinate])
    orders = [0] * problem.dimension
    found = face.alpha * posterior.mean_on_grid(here, tuple(orders))
    if face.beta:
        orders[face.axis] = 1
        outward = 1.0 if face.end else -1.0
        found = found + outward * face.beta * posterior.mean_on_grid(here, tuple(orders))
    found = np.squeeze(found, axis=face.axis)
    return float(np.abs(found - face.value_on_grid(others)).max())


def wavelength_checks(
    problem: Problem, posterior: Posterior, grid: Sequence[int]
) -> Iterator[Check]:
    """Whether the grid carries the frequencies found."""
    frequencies = getattr(posterior.report, "frequencies", None) or {}
    for axis, n, length in zip(problem.axes, grid, problem.domain.lengths, strict=True):
        found = np.abs(np.asarray(frequencies.get(axis, ()), dtype=np.float64))
        if found.size and found.max() > 0:
            value = (n - 1) / (length * float(found.max()))
            what = f"points per wavelength along {axis}"
            yield Check(what, value, _POINTS_PER_WAVELENGTH, at_least=True)


def calibration_checks(
    problem: Problem, posterior: Posterior, rng: np.random.Generator
) -> Iterator[Check]:
    """Whether errors are as large as the deviation says, where the truth is known."""
    if not has_deviation(posterior):
        return
    points = problem.domain.random_points(_CALIBRATION_POINTS, rng)
    orders, shares = (0,) * problem.dimension, []
    for name in problem.functions:
        of = posterior_of(posterior, name)
        error = np.abs(of.mean(points, orders) - problem.exact(points, of=name))
        shares.append(float(np.mean(error <= 2 * of.std(points, orders))))
    coverage = min(shares)
    yield Check("share of errors within two deviations", coverage, _COVERAGE, at_least=True)


def _product(axes: Sequence[Array]) -> Array:
    return np.stack([c.ravel() for c in np.meshgrid(*axes, indexing="ij")], axis=1)


def _rms(values: Array | float) -> float:
    return float(np.sqrt(np.mean(np.square(values))))


def _norm(values: Array) -> float:
    return float(np.linalg.norm(values)) or 1.0
