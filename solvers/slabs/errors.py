"""Errors of a slab, drawn at random: what its start, its data and its equation leave.

An error obeys the linearised equation: its start is the end of one before it, its source what the
equation leaves between the nodes, taken for noise of that size. So it is damped where the
equation damps, and grows where that amplifies. What a basis cannot hold of a start is faster than
its functions: the fastest of them stand for it.
"""

import numpy as np
from numpy.typing import NDArray

from solvers.slabs.axes import SpaceAxis, TimeAxis
from solvers.slabs.conditions import Start, homogeneous_part
from solvers.slabs.newton import SlabResult
from solvers.slabs.residuals import Residuals
from solvers.slabs.system import SlabSystem

__all__ = ["draw_errors", "function_size", "own_error"]

Array = NDArray[np.float64]

# Of the largest term: rounding at the nodes.
_ROUNDING = 1e-15
# Draws that tell how large errors are; the share of the band that counts as fast.
_FEW, _FAST = 4, 0.5
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
    fast = _fast_noise(system.space, start.errors.shape, rng)
    initial = start.errors + start.misfit[:, None, :, None] * fast
    known = homogeneous_part(system.time, system.sides, initial)
    noise = system.project(_noise(system, residuals, members, rng))
    source = noise - system.apply_all(result.slopes, known)
    inside = result.neighbour.solve(source)
    for _ in range(_REFINEMENTS):
        left = source - system.apply_all(result.slopes, system.expand(inside))
        inside = inside + result.neighbour.solve(left)
    return known + system.expand(inside)


def own_error(
    system: SlabSystem, result: SlabResult, residuals: Residuals, rng: np.random.Generator
) -> float:
    """The size of the errors that the equation's residual makes, without those of the start."""
    source = system.project(_noise(system, residuals, _FEW, rng))
    return function_size(system.space, system.expand(result.neighbour.solve(source)), system.time)


def function_size(space: SpaceAxis, coefficients: Array, time: TimeAxis | None = None) -> float:
    """Root mean square over all functions, shape (m, r, ...), and over time where it is given."""
    values = np.tensordot(space.rows[0], coefficients, axes=(1, 1))
    if time is not None:
        values = np.tensordot(time.rows[0], values, axes=(1, 2))
    return float(np.sqrt(np.mean(np.square(values))))


def _noise(
    system: SlabSystem, residuals: Residuals, members: int, rng: np.random.Generator
) -> list[Array]:
    """Of the size of the residual and of rounding, at the nodes: one for each equation."""
    shape = (len(system.space.nodes), len(system.time.nodes), members)
    return [
        np.hypot(left_over, _ROUNDING * scale) * rng.standard_normal(shape)
        for left_over, scale in zip(residuals.left_over, residuals.scale, strict=True)
    ]


def _fast_noise(space: SpaceAxis, shape: tuple[int, ...], rng: np.random.Generator) -> Array:
    """Coefficients, shape (m, r, ...), of random functions in the upper half of the band."""
    basis = space.basis
    highest = max(component.frequency for component in basis.inner.components)
    lines = np.arange(_FAST * highest, highest, 1 / (basis.upper - basis.lower))
    s = basis.warp(space.nodes)[:, None]
    waves = np.hstack([np.cos(2 * np.pi * lines * s), np.sin(2 * np.pi * lines * s)])
    drawn = rng.standard_normal((waves.shape[1], shape[0] * int(np.prod(shape[2:]))))
    values = (waves / np.sqrt(len(lines))) @ drawn
    found = (space.fit @ values).reshape(-1, shape[0], *shape[2:])
    return np.moveaxis(found, 0, 1)
