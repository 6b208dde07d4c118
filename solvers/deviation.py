"""How far the solution may be off: the posterior deviation of a structured solve.

The solve is a linear predictor ``u(x*) = <w, z>`` of the data z. Whatever its weights w, its
prior mean-square error is

    |φ* - Aᵀ w|² + σ² |w|²,

with φ* the features at x*, A the data rows on features, and σ the relative noise of each
row. It is never below the posterior variance, and within a few per cent of it where the
noise is small. It is a norm of a difference of vectors, not a difference of norms: the
classical ``k(x, x) - kᵀ G⁻¹ k`` leaves 1e-8 of the amplitude, far above these errors. The
weights come from the solve transposed, O(r³) a point.

Samples follow Matheron's rule: draw a solution and noise from the prior, run the solver on
the data it would give, and take the error made.
"""

import math
from collections.abc import Callable, Sequence
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray

from kernelgp.operators import KroneckerOperator
from solvers.structured import Data, StructuredEquation
from solvers.tensors import along_all

__all__ = ["NUGGET", "Deviation", "sum_of_products"]

Array = NDArray[np.float64]

#: Standard deviation of the noise of a data row, relative to what the prior says of the row:
#: the rounding of the data. At 1e-15 deviations begin to miss the errors, at 1e-10 the prior
#: is no longer followed to the last digits.
NUGGET = 7e-14
# What the directions that a basis leaves out have together, relative to the prior's deviation.
_TRUNCATED = 2e-15
# Points are treated together as long as their tensors hold fewer numbers than this.
_BATCH = 2_000_000


class Deviation:
    """Posterior deviations of one equation, for a prior of amplitude one.

    Parameters
    ----------
    equation : StructuredEquation
    nugget : float
    scales : sequence of ndarrays, optional
        In place of `scales`: the size of a row of the source and of the conditions on each axis.
    """

    def __init__(
        self,
        equation: StructuredEquation,
        nugget: float = NUGGET,
        scales: Sequence[Array] | None = None,
    ) -> None:
        self.equation, self.nugget, self._given = equation, nugget, scales
        self._factors = [axis.basis.prior_factor for axis in equation.axes]

    def std(self, rows: Sequence[Sequence[Array]]) -> Array:
        """Deviation of linear functionals of the solution.

        Parameters
        ----------
        rows : sequence of products, each one array of shape (m, ri) for every axis
            Functional j is the sum over the products of the outer products of their rows j.

        Returns
        -------
        ndarray, shape (m,)
        """
        m = len(rows[0][0])
        batch = max(1, _BATCH // math.prod(self.equation.shape))
        variances = [
            self._variance([[r[i : i + batch] for r in product] for product in rows])
            for i in range(0, m, batch)
        ]
        return np.sqrt(np.concatenate([np.zeros(0), *variances]))

    def left_out(self, coordinates: Sequence[Array] | Array, orders: Sequence[int]) -> Array:
        """Prior deviation of a derivative at points that the bases do not have.

        A rough prior's bases lack a good part of it. A smooth one's lack what is below rounding,
        which shows where the amplitude is large.

        Parameters
        ----------
        coordinates : one ndarray of shape (m,) for each axis
        orders : one for each axis

        Returns
        -------
        ndarray, shape (m,)
        """
        return self._left_out(coordinates, orders, np.multiply)

    def left_out_on_grid(self, axes: Sequence[Array], orders: Sequence[int]) -> Array:
        """The same on the product of the axes, shape (m1, ..., md)."""
        return self._left_out(axes, orders, np.multiply.outer)

    def _left_out(
        self,
        coordinates: Sequence[Array] | Array,
        orders: Sequence[int],
        times: Callable[[Array, Array], Array],
    ) -> Array:
        product, error = np.ones(()), np.zeros(())
        for axis, x, order in zip(self.equation.axes, coordinates, orders, strict=True):
            rows = axis.basis.evaluate(x, order)[order] @ axis.basis.prior_factor
            held = np.square(rows).sum(axis=1)
            missing = axis.basis.missing(x, order) + _TRUNCATED**2 * held
            # Π (held + missing) - Π held, without the difference.
            error = times(error, held + missing) + times(product, missing)
            product = times(product, held)
        return np.sqrt(error)

    def sample_errors(self, n_samples: int, generator: torch.Generator) -> Array:
        """Coefficients of draws of (solution minus mean), shape (r1, ..., rd, n_samples)."""
        shape = (*self.equation.shape, n_samples)
        white = torch.randn(
            math.prod(shape[:-1]), n_samples, generator=generator, dtype=torch.double
        )
        prior = KroneckerOperator(*(torch.from_numpy(f.copy()) for f in self._factors))
        drawn = self.equation.centre((prior @ white).numpy().reshape(shape))
        exact, noise = self.equation.data_of(drawn), self.draw_noise(n_samples, generator)
        return drawn - self.equation.solve(exact.plus(noise))

    def draw_noise(self, n_samples: int, generator: torch.Generator) -> Data:
        """Noise of the data at amplitude one, with a trailing axis of samples."""
        axes = self.equation.axes
        shapes = [tuple(axis.rows.shape[1] for axis in axes)]
        shapes += [
            tuple(axis.n_conditions if k == i else n for k, n in enumerate(shapes[0]))
            for i, axis in enumerate(axes)
        ]
        source, *faces = (
            self.nugget
            * scale
            * torch.randn(*shape, n_samples, generator=generator, dtype=torch.double).numpy()
            for shape, scale in zip(shapes, self.scales, strict=True)
        )
        return Data(source, tuple(faces))

    def _variance(self, rows: Sequence[Sequence[Array]]) -> Array:
        functional = sum_of_products(rows)
        functional = self.equation.centre_transposed(functional)
        weights = self.equation.adjoint(functional)
        error = functional - self._data_transposed(weights)
        # One step of refinement, as the solve takes.
        weights = weights.plus(self.equation.adjoint(error))
        error = functional - self._data_transposed(weights)
        white = along_all([f.T for f in self._factors], error)
        variance = np.square(white).reshape(-1, white.shape[-1]).sum(axis=0)
        for block, scale in zip((weights.source, *weights.faces), self.scales, strict=True):
            noise = self.nugget * scale * block
            variance += np.square(noise).reshape(-1, white.shape[-1]).sum(axis=0)
        return variance

    def _data_transposed(self, weights: Data) -> Array:
        axes = self.equation.axes
        total = self.equation.apply_transposed(weights.source)
        for i, block in enumerate(weights.faces):
            matrices = [axis.value.T for axis in axes]
            matrices[i] = axes[i].boundary.T
            total = total + along_all(matrices, block)
        return total

    @cached_property
    def scales(self) -> list[Array]:
        """Size of the data rows: one for the source, one for each condition.

        It is their prior deviation unless it was given. Shaped to multiply the blocks of `Data`.
        """
        if self._given is not None:
            return list(self._given)
        axes, d = self.equation.axes, len(self.equation.axes)
        products = [
            [m @ f for m, f in zip(product, self._factors, strict=True)]
            for product in self.equation.products
        ]
        total = sum(
            math.prod(float(np.sum(a * b)) for a, b in zip(one, other, strict=True))
            for one in products
            for other in products
        )
        # The root mean square over compressed rows: rounding in the solve is of that size,
        # while the rounding of a single value of the source is less.
        points = math.prod(axis.rows.shape[1] for axis in axes)
        scales = [np.full((1,) * (d + 1), np.sqrt(total / points))]
        for i, axis in enumerate(axes):
            others = math.prod(v for j, v in enumerate(self._values) if j != i)
            rows = np.square(axis.boundary @ self._factors[i]).sum(axis=1)
            scales.append(np.sqrt(others * rows).reshape(_along(i, d)))
        return scales

    @cached_property
    def _values(self) -> list[float]:
        """Mean prior variance of the values of a function on each axis, per compressed row."""
        return [
            float(np.sum(np.square(axis.value @ f))) / axis.rows.shape[1]
            for axis, f in zip(self.equation.axes, self._factors, strict=True)
        ]


def sum_of_products(rows: Sequence[Sequence[Array]]) -> Array:
    """The sum of the outer products of one matrix for each axis, shape (r1, ..., rd, m)."""
    return sum((_outer(product) for product in rows[1:]), _outer(rows[0]))


def _outer(rows: Sequence[Array]) -> Array:
    """Outer products of the rows of one matrix for each axis, shape (r1, ..., rd, m)."""
    product = rows[0].T
    for row in rows[1:]:
        product = product[..., None, :] * row.T
    return product


def _along(axis: int, dimension: int) -> tuple[int, ...]:
    return tuple(-1 if k == axis else 1 for k in range(dimension + 1))
