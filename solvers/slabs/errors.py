"""Errors of a slab, drawn at random: what its start, its data and its equation leave.

An error obeys the linearised equation: its start is the end of one before it, its source what the
equation leaves between the nodes, taken for noise of that size. So it is damped where the
equation damps, and grows where that amplifies.
"""

import numpy as np
from numpy.typing import NDArray

from solvers.slabs.conditions import Start, homogeneous_part
from solvers.slabs.newton import SlabResult
from solvers.slabs.residuals import Residuals
from solvers.slabs.system import SlabSystem

__all__ = ["draw_errors"]

Array = NDArray[np.float64]

# Of the largest term: rounding at the nodes.
_ROUNDING = 1e-15
# Steps that take the difference of the frozen neighbour and the equation out.
_REFINEMENTS = 3


def draw_errors(
    system: SlabSystem,
    result: SlabResult,
    start: Start,
    residuals: Residuals,
    rng: np.random.Generator,
) -> Array:
    """Coefficients of errors, shape (m, r, rt, k)."""
    *_, members = start.errors.shape
    space, time = system.space, system.time
    length = space.basis.upper - space.basis.lower
    # White in an orthonormal basis, of the root mean square of the misfit.
    white = start.misfit[:, None, :, None] * np.sqrt(length / space.rank)
    initial = start.errors + white * rng.standard_normal(start.errors.shape)
    known = homogeneous_part(time, system.sides, initial)
    shape = (len(space.nodes), len(time.nodes), members)
    noise = [
        np.hypot(left_over, _ROUNDING * scale) * rng.standard_normal(shape)
        for left_over, scale in zip(residuals.left_over, residuals.scale, strict=True)
    ]
    source = system.project(noise) - system.apply_all(result.slopes, known)
    inside = result.neighbour.solve(source)
    for _ in range(_REFINEMENTS):
        left = source - system.apply_all(result.slopes, system.expand(inside))
        inside = inside + result.neighbour.solve(left)
    return known + system.expand(inside)
