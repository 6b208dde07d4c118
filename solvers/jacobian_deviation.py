"""How far a nonlinear solution may be off, or one whose coefficients vary: to first order.

Around its solution such an equation is linear, with the Jacobian for its operator. Every
function of the bases meets its own data exactly, so what is wrong in the solution is the noise
of the data, carried through the solve: with σ the relative noise of each row and w the weights
with which the data enter a functional of the solution, the deviation is ``σ |w|``. The weights
come from the transposed solve, by Krylov's method, a point at a time; for many points the
noise is drawn and solved for instead.
"""

import math
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from solvers.deviation import NUGGET, Deviation, sum_of_products
from solvers.jacobian import GridTerm, Jacobian
from solvers.structured import Data, StructuredEquation
from solvers.tensors import along_all

__all__ = ["JacobianDeviation", "deviation_of"]

Array = NDArray[np.float64]

# Deviations are given to two digits or so.
_RTOL = 1e-3
_BATCH = 2_000_000


def deviation_of(
    equation: StructuredEquation,
    terms: Sequence[GridTerm] | None,
    nugget: float = NUGGET,
    scales: Sequence[Array] | None = None,
) -> "Deviation | JacobianDeviation":
    """Deviations of an equation, or of the one linearised to `terms` whose neighbour it is."""
    if terms is None:
        return Deviation(equation, nugget, scales)
    return JacobianDeviation(Jacobian(equation, terms), nugget, scales)


class JacobianDeviation:
    """Posterior deviations of the equation linearised at its solution, at amplitude one.

    Parameters
    ----------
    jacobian : Jacobian
    nugget : float
    scales : sequence of ndarrays, optional
        As for `Deviation`.
    """

    def __init__(
        self,
        jacobian: Jacobian,
        nugget: float = NUGGET,
        scales: Sequence[Array] | None = None,
    ) -> None:
        self.jacobian, self.equation, self.nugget = jacobian, jacobian.equation, nugget
        if scales is None:
            scales = _scales(jacobian)
        self.scales = list(scales)
        self._neighbours = Deviation(self.equation, nugget, scales)

    def std(self, rows: Sequence[Sequence[Array]]) -> Array:
        """Deviation of linear functionals, given as to `Deviation.std`; shape (m,)."""
        m, batch = len(rows[0][0]), max(1, _BATCH // math.prod(self.equation.shape))
        variances = [
            self._variance([[r[i : i + batch] for r in product] for product in rows])
            for i in range(0, m, batch)
        ]
        return np.sqrt(np.concatenate([np.zeros(0), *variances]))

    def left_out(self, coordinates: Sequence[Array] | Array, orders: Sequence[int]) -> Array:
        return self._neighbours.left_out(coordinates, orders)

    def left_out_on_grid(self, axes: Sequence[Array], orders: Sequence[int]) -> Array:
        return self._neighbours.left_out_on_grid(axes, orders)

    def sample_errors(self, n_samples: int, generator: torch.Generator) -> Array:
        """Coefficients of draws of (solution minus mean), shape (r1, ..., rd, n_samples)."""
        return self.solve(self.draw_noise(n_samples, generator))

    def draw_noise(self, n_samples: int, generator: torch.Generator) -> Data:
        """Noise of the data at amplitude one, with a trailing axis of samples."""
        return self._neighbours.draw_noise(n_samples, generator)

    def solve(self, data: Data) -> Array:
        """The solution of the linearised equation, to three digits; shape (r1, ..., rd, k)."""
        known = self.equation.of_faces(data)
        residual = data.source - self.jacobian.compress(self.jacobian.apply(known))
        return known + self.jacobian.solve(residual, _RTOL)

    def adjoint(self, functional: Array) -> Data:
        """Weights w of the data for which ``<w, data> = <functional, solve(data)>``."""
        weights = self.jacobian.solve_transposed(functional, _RTOL)
        rows = [axis.rows for axis in self.equation.axes]
        back = self.jacobian.apply_transposed(along_all(rows, weights))
        return Data(weights, self.equation.of_faces_transposed(functional - back))

    def _variance(self, rows: Sequence[Sequence[Array]]) -> Array:
        weights = self.adjoint(sum_of_products(rows))
        variance = np.zeros(weights.source.shape[-1])
        for block, scale in zip((weights.source, *weights.faces), self.scales, strict=True):
            noise = self.nugget * scale * block
            variance += np.square(noise).reshape(-1, len(variance)).sum(axis=0)
        return variance


def _scales(jacobian: Jacobian) -> list[Array]:
    """Prior deviation of the data rows, as `Deviation.scales`, under the Jacobian."""
    axes = jacobian.equation.axes
    points = math.prod(axis.rows.shape[1] for axis in axes)
    total = float(jacobian.variance([a.basis.prior_factor for a in axes]).sum())
    first, *faces = Deviation(jacobian.equation).scales
    return [np.full_like(first, math.sqrt(total / points)), *faces]
