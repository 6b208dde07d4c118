"""Whether a solution is resolved: its equation and its conditions, held between the grid's points.

On the grid a solver can meet an equation that it misses everywhere else, and a wave faster
than the grid's can pass for a slow one. So the points here are random, and lines for the
search of missing frequencies are finer than the grid.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from solvers.faces import Face
from solvers.neighbour import on_functions
from solvers.problem import Problem
from solvers.samples import Samples

__all__ = ["Resolution", "measure", "signals_along", "source_lines"]

Array = NDArray[np.float64]
#: Mean, or a derivative of it, on the product of axes.
Mean = Callable[[Sequence[Array], tuple[int, ...]], Array]

# Random coordinates along each axis: a few thousand points in all.
_COORDINATES = {1: 1000, 2: 64, 3: 16}
# A line is this many times as fine as the grid, and there are this many of them.
_FINER = 8
_LINES = 8


@dataclass(frozen=True, slots=True)
class Resolution:
    """What the equation and the conditions leave.

    Attributes
    ----------
    left_over, scale : float
        Root mean square of the equation's residual, and of its largest term.
    misfit, size : float
        The largest misfit on any face, and the largest value of the solution.
    """

    left_over: float
    scale: float
    misfit: float
    size: float

    @property
    def residual(self) -> float:
        """Relative to the largest term."""
        return _ratio(self.left_over, self.scale)

    @property
    def boundary_error(self) -> float:
        """Relative to the largest value."""
        return _ratio(self.misfit, self.size)

    @property
    def worst(self) -> float:
        return max(self.residual, self.boundary_error)

    def is_better_than(self, other: "Resolution") -> bool:
        """Whether less is left, both measured alike: a solution that explodes is large itself."""
        scale, size = min(self.scale, other.scale), min(self.size, other.size)
        mine, its = (max(_ratio(r.left_over, scale), _ratio(r.misfit, size)) for r in (self, other))
        return mine < its


def measure(problem: Problem, samples: Samples, mean: Mean, rng: np.random.Generator) -> Resolution:
    """Residual and boundary error, at random points where the data are functions."""
    axes = _random_axes(problem, rng) if on_functions(problem) else list(samples.axes)
    residual, scale = _residual(problem, mean, axes)
    size = float(np.abs(mean(axes, (0,) * problem.dimension)).max())
    errors = (_face_error(problem, samples, mean, face, rng) for face in problem.faces)
    worst = max(errors, default=0.0)
    return Resolution(_rms(residual), scale, worst, size)


def signals_along(samples: Samples, axis: int) -> list[Array]:
    """The source and every face that runs along `axis`, each of shape (k, n)."""
    n = samples.shape[axis]
    signals = [np.moveaxis(samples.source, axis, -1).reshape(-1, n)]
    for other, values in enumerate(samples.values):
        place = axis - (other < axis)
        if other != axis:
            signals += [np.moveaxis(v, place, -1).reshape(-1, n) for v in values]
    return signals


def source_lines(
    problem: Problem, samples: Samples, axis: int, rng: np.random.Generator
) -> list[Array]:
    """The same, where they are functions, on lines finer than the grid: what it may alias."""
    lower, upper = problem.domain.bounds[axis]
    fine = np.linspace(lower, upper, _FINER * samples.shape[axis] + 1)
    coordinates = [
        rng.uniform(lo, hi, _LINES)[:, None] if k != axis else fine[None, :]
        for k, (lo, hi) in enumerate(problem.domain.bounds)
    ]
    signals = []
    if problem.source_is_function:
        signals.append(np.asarray(problem.source(*coordinates)).reshape(-1, len(fine)))
    for face in problem.faces:
        if face.axis != axis and face.field.is_function:
            at_face = list(coordinates)
            at_face[face.axis] = np.full((_LINES, 1), face.coordinate)
            signals.append(np.asarray(face.value(*at_face)).reshape(-1, len(fine)))
    return signals


def _random_axes(problem: Problem, rng: np.random.Generator) -> list[Array]:
    count = _COORDINATES[problem.dimension]
    return [np.sort(rng.uniform(lo, hi, count)) for lo, hi in problem.domain.bounds]


def _residual(problem: Problem, mean: Mean, axes: Sequence[Array]) -> tuple[Array, float]:
    source = problem.source_on_grid(list(axes))
    size = _rms(mean(axes, (0,) * problem.dimension))
    left, scale = np.zeros_like(source), _rms(source)
    for term in problem.operator.terms:
        coefficient = term.on_grid(axes)
        values = coefficient * mean(axes, term.orders)
        # Where every term is zero, what rounding leaves is held against the derivative that
        # a function of this size may well have.
        units = zip(problem.domain.lengths, term.orders, strict=True)
        usual = _rms(coefficient) * size / math.prod(length**k for length, k in units)
        left, scale = left + values, max(scale, _rms(values), usual)
    if problem.nonlinear is not None:
        derivatives = {d: mean(axes, d.orders) for d in problem.nonlinear.derivatives}
        values = problem.nonlinear.on_grid(derivatives, axes)
        left, scale = left + values, max(scale, _rms(values))
    return left - source, scale


def _face_error(
    problem: Problem, samples: Samples, mean: Mean, face: Face, rng: np.random.Generator
) -> float:
    axes = _random_axes(problem, rng) if face.field.is_function else list(samples.axes)
    others = [x for k, x in enumerate(axes) if k != face.axis]
    axes[face.axis] = np.array([face.coordinate])
    orders = [0] * problem.dimension
    found = face.alpha * mean(axes, tuple(orders))
    if face.beta:
        orders[face.axis] = 1
        found = found + (2 * face.end - 1) * face.beta * mean(axes, tuple(orders))
    misfit = np.squeeze(found, axis=face.axis) - face.value_on_grid(others)
    return float(np.abs(misfit).max())


def _rms(values: Array | float) -> float:
    return float(np.sqrt(np.mean(np.square(values))))


def _ratio(value: float, scale: float) -> float:
    return value / scale if scale else value
