"""What equations leave of a solution: left side minus source at places, for one or several."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from solvers.collocation import Collocation
from solvers.collocation_posterior import CollocationPosterior
from solvers.equation import Derivative
from solvers.gauss_newton import Found
from solvers.places import Places, PointPlaces
from solvers.problem import Problem
from solvers.protocol import Posterior, posterior_of

__all__ = ["LeftOver", "held_out_surprise", "left_overs", "values_at", "values_on_axes"]

Array = NDArray[np.float64]
#: A derivative of an unknown at the places, shape (n,); an unknown constant is one too.
Value = Callable[[Derivative], Array | float]

_HELD_OUT = 64


@dataclass(frozen=True, slots=True, eq=False)
class LeftOver:
    """What one equation leaves.

    Attributes
    ----------
    residual : ndarray, shape (n,)
        Left side minus source, in the unit of the source.
    scale : float
        Root mean square of the largest term.
    """

    residual: Array
    scale: float

    @property
    def relative(self) -> float:
        size = _rms(self.residual)
        return size / self.scale if self.scale else size


def left_overs(problem: Problem, places: Places, value: Value) -> list[LeftOver]:
    """What each equation of a problem leaves at places."""
    lengths, zero = problem.domain.lengths, (0,) * problem.dimension
    sizes = {name: _rms(value(Derivative(name, zero))) for name in problem.functions}
    found = []
    for i, source in enumerate(problem.sources):
        right = np.broadcast_to(places.values(source), (places.count,))
        left, scale = np.zeros(places.count), _rms(right)
        for function, operator in zip(problem.functions, problem.operators[i], strict=True):
            for term in operator.terms:
                coefficient = places.values(term)
                values = coefficient * value(Derivative(function, term.orders))
                # Where every term is zero, what rounding leaves is held against the derivative
                # that a function of this size may well have.
                unit = math.prod(length**k for length, k in zip(lengths, term.orders, strict=True))
                usual = _rms(coefficient) * sizes[function] / unit
                left, scale = left + values, max(scale, _rms(values), usual)
        for name, operator in problem.parameter_operators[i].items():
            for term in operator.terms:
                values = places.values(term) * value(Derivative(name, term.orders))
                left, scale = left + values, max(scale, _rms(values))
        part = problem.nonlinears[i]
        if part is not None:
            derivatives = {d: np.broadcast_to(value(d), (places.count,)) for d in part.derivatives}
            values = places.nonlinear(part, derivatives)
            left, scale = left + values, max(scale, _rms(values))
        found.append(LeftOver(left - right, scale))
    return found


def values_at(problem: Problem, posterior: Posterior, points: Array) -> Value:
    """Derivatives of a posterior's mean at points (m, d), for `left_overs`."""

    def value(derivative: Derivative) -> Array | float:
        name, orders = derivative
        if (constant := _constant(problem, posterior, derivative)) is not None:
            return constant
        return posterior_of(posterior, name).mean(points, orders)

    return value


def values_on_axes(problem: Problem, posterior: Posterior, axes: Sequence[Array]) -> Value:
    """The same on the product of axes, in order of `GridPlaces`."""

    def value(derivative: Derivative) -> Array | float:
        name, orders = derivative
        if (constant := _constant(problem, posterior, derivative)) is not None:
            return constant
        return posterior_of(posterior, name).mean_on_grid(axes, orders).ravel()

    return value


def _constant(problem: Problem, posterior: Posterior, derivative: Derivative) -> float | None:
    name, orders = derivative
    if problem.unknown.get(name, "field") == "field":
        return None
    assert isinstance(posterior, CollocationPosterior)
    return 0.0 if any(orders) else posterior.constant_at_mode(name)


def held_out_surprise(collocation: Collocation, found: Found, seed: int) -> float:
    """What equations leave at random points, over the deviation claimed for it; at least 1."""
    # Other points than those that the prior was chosen by.
    rng = np.random.default_rng([seed, 1])
    points = collocation.problem.domain.random_points(_HELD_OUT, rng)
    there = collocation.at(PointPlaces(points))
    worst = 1.0
    for i, block in enumerate(there.equations(found.state)):
        claimed = found.fit.deviation(block.matrix)
        ratio = there.residual(i, found.state) / np.where(claimed > 0, claimed, 1.0)
        worst = max(worst, _rms(ratio))
    return worst


def _rms(values: Array | float) -> float:
    return float(np.sqrt(np.mean(np.square(values))))
