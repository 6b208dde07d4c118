"""Values on a grid of which only a region counts: computed inside, NaN outside."""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from solvers.problem import Problem

__all__ = ["blanked", "exact_on_grid", "source_on_grid"]

Array = NDArray[np.float64]


def blanked(problem: Problem, axes: Sequence[Array], values: Array) -> Array:
    """The values on the product of axes, NaN where the domain's region is not."""
    if problem.domain.region is None:
        return values
    return np.where(problem.domain.contains_on_grid(axes), values, np.nan)


def exact_on_grid(problem: Problem, axes: Sequence[Array]) -> Array:
    """The exact solution on the product of axes, which need not exist outside the region."""
    return _spread(*_inside(problem, axes), problem.exact)


def source_on_grid(problem: Problem, axes: Sequence[Array]) -> Array:
    """The right side on the product of axes, which need not exist outside the region."""
    if problem.domain.region is None:
        return problem.source_on_grid(axes)
    if not problem.source_is_function:
        return blanked(problem, axes, problem.source_on_grid(axes))
    return _spread(*_inside(problem, axes), lambda points: problem.source(*points.T))


def _inside(problem: Problem, axes: Sequence[Array]) -> tuple[NDArray[np.bool_], Array]:
    mask = problem.domain.contains_on_grid(axes)
    mesh = np.meshgrid(*axes, indexing="ij")
    return mask, np.stack([c[mask] for c in mesh], axis=1)


def _spread(mask: NDArray[np.bool_], points: Array, function: Callable[[Array], Array]) -> Array:
    values = np.full(mask.shape, np.nan)
    values[mask] = function(points)
    return values
