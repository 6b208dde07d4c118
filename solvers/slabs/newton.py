"""Newton's method within a slab: GMRES preconditioned by the frozen neighbour, and damping.

References
----------
C. T. Kelley, *Iterative Methods for Linear and Nonlinear Equations*, SIAM, 1995.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse.linalg
from numpy.typing import NDArray

from solvers.slabs.layout import Slopes
from solvers.slabs.system import FrozenNeighbour, SlabSystem

__all__ = ["SlabResult", "solve_slab"]

Array = NDArray[np.float64]

_MOST_STEPS, _MOST_HALVINGS, _MOST_ITERATIONS = 15, 6, 80
# Relative to the solution: rounding, and from where on a step that gains nothing is the last.
_CONVERGED, _NEARLY = 1e-13, 1e-7
# Of a step of GMRES.
_FORCING, _TIGHTEST = 1e-3, 1e-9


@dataclass(frozen=True, slots=True)
class SlabResult:
    """What Newton's method found in a slab.

    Attributes
    ----------
    coefficients : ndarray, shape (m, r, rt)
        The last good iterate where it did not converge.
    converged : bool
    history : tuple of float
        The size of the residual, as the change it asks for relative to the solution, before
        each step.
    slopes, neighbour
        At the solution: what its errors obey, to first order, and what preconditions that.
    """

    coefficients: Array
    converged: bool
    history: tuple[float, ...]
    slopes: Slopes
    neighbour: FrozenNeighbour


def solve_slab(system: SlabSystem, starts: Sequence[Array]) -> SlabResult:
    """Newton's method from the best of several first guesses, all of which meet the data."""
    sizes = [float(np.linalg.norm(system.residual(C))) for C in starts]
    C = starts[int(np.argmin([s if np.isfinite(s) else np.inf for s in sizes]))]
    projected, history, converged = system.residual(C), [], False
    slopes = system.slopes(C)
    neighbour = system.frozen(slopes)
    while np.isfinite(projected).all():
        residual = neighbour.solve(projected)
        size = float(np.linalg.norm(residual))
        now = size / (float(np.linalg.norm(C)) or 1.0)
        stalls = bool(history) and now <= _NEARLY and now > history[-1] / 4
        history.append(now)
        if now <= _CONVERGED or stalls or len(history) > _MOST_STEPS:
            converged = now <= _NEARLY
            break
        forcing = max(min(_FORCING, now), _TIGHTEST)
        found = _damped(
            system, C, _step(system, slopes, neighbour, residual, forcing), neighbour, size
        )
        if found is None:
            converged = now <= _NEARLY
            break
        C, projected = found
        if not system.is_linear:
            slopes = system.slopes(C)
            neighbour = system.frozen(slopes)
    return SlabResult(C, converged, tuple(history), slopes, neighbour)


def _step(
    system: SlabSystem,
    slopes: Slopes,
    neighbour: FrozenNeighbour,
    residual: Array,
    rtol: float,
) -> Array:
    shape = residual.shape

    def product(v: Array) -> Array:
        return neighbour.solve(system.apply(slopes, v.reshape(shape))).ravel()

    # scipy's annotations know subclasses of its operator only.
    operator: Any = scipy.sparse.linalg.LinearOperator
    move, _ = scipy.sparse.linalg.gmres(
        operator((residual.size, residual.size), matvec=product, dtype=float),
        residual.ravel(),
        rtol=rtol,
        restart=min(_MOST_ITERATIONS, residual.size),
        maxiter=1,
    )
    return move.reshape(shape)


def _damped(
    system: SlabSystem, C: Array, move: Array, neighbour: FrozenNeighbour, size: float
) -> tuple[Array, Array] | None:
    """A part of the step that lowers the residual, and that; None if no part does."""
    step = system.expand(move)
    for halving in range(_MOST_HALVINGS + 1):
        new = C + step / 2**halving
        left = system.residual(new)
        if np.isfinite(left).all() and np.linalg.norm(neighbour.solve(left)) < size:
            return new, left
    return None
