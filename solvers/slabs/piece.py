"""The solution in one slab: coefficients on its two axes, and an ensemble of its errors."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from solvers.axis_basis import AxisBasis
from solvers.slabs.warp import WarpedBasis

__all__ = ["Piece"]

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Piece:
    """``u_f(x, t) = Σ C_fij q_i(x) p_j(t)`` from `start` to `stop`.

    Attributes
    ----------
    space : WarpedBasis
    time : AxisBasis
    coefficients : ndarray, shape (m, r, rt)
        For each of m functions.
    errors : ndarray, shape (m, r, rt, k)
        Draws of (solution minus mean).
    floor : float
        What the conditions on the sides miss: no deviation is below.
    residual : float
        What the equation leaves between the nodes, relative to its largest term.
    accepted : float
        The residual that has been found not to become less, here or before.
    steps : int
        Of Newton's method.
    size : float
        The largest value at the nodes.
    """

    space: WarpedBasis
    time: AxisBasis
    coefficients: Array
    errors: Array
    floor: float = 0.0
    residual: float = 0.0
    accepted: float = 0.0
    steps: int = 0
    size: float = 0.0

    @property
    def start(self) -> float:
        return self.time.lower

    @property
    def stop(self) -> float:
        return self.time.upper

    def at_time(self, t: float, order: int) -> tuple[Array, Array]:
        """Coefficients in x of value and derivatives in t, and their errors.

        Shapes (m, r, order + 1) and (m, r, order + 1, k).
        """
        rows = self.time.evaluate(np.array([t]), order)[:, 0]
        return (
            np.einsum("mrt,lt->mrl", self.coefficients, rows),
            np.einsum("mrtk,lt->mrlk", self.errors, rows),
        )
