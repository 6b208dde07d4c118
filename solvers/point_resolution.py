"""Whether a solution by rows is resolved, where there is no grid that fills the box."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from solvers.collocation import Collocation
from solvers.equation import Derivative
from solvers.left_sides import left_overs
from solvers.outline import Held, outline
from solvers.places import PointPlaces
from solvers.problem import Problem
from solvers.resolution import Resolution

__all__ = ["measure_at_points", "other_conditions"]

Array = NDArray[np.float64]

# Random points, and lines along each axis that are looked at for edges, in 1, 2 and 3 dimensions.
_POINTS = {1: 1000, 2: 1500, 3: 1500}
_LINES = {1: 64, 2: 48, 3: 12}


def measure_at_points(collocation: Collocation, state: Array, seed: int) -> Resolution:
    """What equations leave at random points of the domain, and conditions on its boundary.

    Where data are given as arrays, at the points that they are given at.
    """
    problem, space = collocation.problem, collocation.space
    rng = np.random.default_rng(seed)
    places = collocation.places
    if collocation.on_functions:
        places = PointPlaces(problem.domain.random_points(_POINTS[problem.dimension], rng))

    def value(derivative: Derivative) -> Array | float:
        name, orders = derivative
        if name in collocation.intervals:
            return 0.0 if any(orders) else collocation.value_of(name, state)
        return places.features(space.bases[name], orders) @ state[space.slices[name]]

    left = max(left_overs(problem, places, value), key=lambda found: found.relative)
    zero = (0,) * problem.dimension
    sizes = {f: float(np.abs(value(Derivative(f, zero))).max()) for f in problem.functions}
    worst, size = 0.0, max(sizes.values())
    for held in other_conditions(problem, rng, collocation.held or ()):
        rows = collocation.rows_of(held)
        misfit = float(np.abs(rows.matrix @ state - rows.values).max())
        worst = max(worst, misfit / (sizes[held.function] or 1.0) * (size or 1.0))
    residual = float(np.sqrt(np.mean(np.square(left.residual))))
    return Resolution(residual, left.scale, worst, size)


def other_conditions(
    problem: Problem, rng: np.random.Generator, held: Sequence[Held]
) -> list[Held]:
    """The conditions on other lines than those they are held on, but for arrays."""
    if not all(one.on_functions for one in held):
        return list(held)
    count = _LINES[problem.dimension]
    lines = [np.sort(rng.uniform(lo, hi, count)) for lo, hi in problem.domain.bounds]
    return outline(problem, lines)
