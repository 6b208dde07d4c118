"""A periodic axis of the discretisation: no conditions, and matrices known in closed form.

On a uniform grid sines and cosines of whole periods are orthogonal as they are on the interval,
so that nothing has to be factored. Both ends of a grid are one point: each of them counts half.
"""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from solvers.discretisation import Condition
from solvers.fourier_basis import FourierBasis
from solvers.separation import Separation

__all__ = ["PeriodicAxis"]

Array = NDArray[np.float64]


class PeriodicAxis:
    """It has the attributes of `AxisDiscretisation`, with m = 0 conditions and p = r rows.

    Parameters
    ----------
    basis : FourierBasis, of rank r
        Below the highest frequency that the grid tells from others: r < n.
    grid : ndarray, shape (n,)
        Uniform, both ends included.
    separation : Separation
    axis : int
    """

    conditions: Sequence[Condition] = ()
    n_conditions = 0

    def __init__(
        self, basis: FourierBasis, grid: Array, separation: Separation, axis: int = 0
    ) -> None:
        self.basis, self.grid = basis, grid
        points, r = len(grid) - 1, basis.rank
        self.fill = r / points
        left, right = separation.left[axis], separation.right[axis]
        orders = sorted({mixed[axis] for mixed in separation.mixed})
        # What takes a function's coefficients to its orthonormal coordinates on the grid.
        scale = math.sqrt(points / basis.length)
        self.lift = basis.evaluate(grid)[0] / scale
        self.rows = self.lift.copy()
        self.rows[[0, -1]] /= 2

        self.value, self.fit = scale * np.eye(r), np.eye(r) / scale
        A, B = basis.apply(left), basis.apply(right)
        self.left, self.right = scale * A, scale * B
        self.mixed = {k: scale * basis.apply({k: 1.0}) for k in orders}
        self.pencil, self.test = (A, B), self.fit
        fine = basis.lower + basis.length * np.arange(2 * points) / (2 * points)
        self.quadrature = fine, basis.length / (2 * points) * basis.evaluate(fine)[0]
        self.boundary, self.boundary_factor = np.zeros((0, r)), np.zeros((0, 0))
        self.rotation = np.eye(r)

    def reweight(self, weights: Sequence[float]) -> None:
        """Give the prior of the basis other weights, one for each line."""
        self.basis = self.basis.reweighted(weights)
