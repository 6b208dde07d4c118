"""The evidence of a prior on a structured equation, exact although nothing dense is as large.

With coefficients C along the principal directions of the prior, ``C ~ N(0, s2 P²)`` with P a
product over the axes, and rows A of data, scaled so that their noise is ``σ² s2``,

    log|A P² Aᵀ + σ²| = n log σ² + log|I + P AᵀA P / σ²|.

Two things make this cheap and keep its digits. The prior ranges over 15 decades, but it is
diagonal; ``AᵀA`` is no worse than the square of the operator on its basis. And the directions
with ``P² (AᵀA)_kk / σ²`` well below one, about half of a product basis, add nothing: by
Fischer's inequality no more than the sum of these numbers. So one Cholesky factorisation of
``AᵀA + σ² P⁻²`` over the others is all, O(k³) for k of them.

The quadratic form is taken at the coefficients of the structured solve after one Newton step
with this factor, as a sum of squares of residuals and whitened coefficients.
"""

import math
from dataclasses import dataclass

import numpy as np
import scipy.linalg
from numpy.typing import NDArray

from solvers.deviation import NUGGET
from solvers.structured import Data, StructuredEquation
from solvers.tensors import along_all

__all__ = ["StructuredEvidence", "structured_evidence"]

Array = NDArray[np.float64]

# What the directions left out may add to the log density.
_NATS = 1e-3
# 0.5 s for this many directions.
_LARGEST = 3000


@dataclass(frozen=True, slots=True)
class StructuredEvidence:
    """The log density of the compressed data.

    Attributes
    ----------
    log_marginal_likelihood : float
        In natural units, constants included; NaN where `reason` says why it is not known.
    amplitude : float
        Profiled standard deviation of the prior, in units of the solution.
    n_directions : int
        Of the prior, those that the noise does not hide.
    reason : str
        Empty where the density is known.
    """

    log_marginal_likelihood: float
    amplitude: float
    n_directions: int
    reason: str = ""


def structured_evidence(
    equation: StructuredEquation, data: Data, coefficients: Array, *, nugget: float = NUGGET
) -> StructuredEvidence:
    """Evidence and amplitude of a structured solve.

    Parameters
    ----------
    equation : StructuredEquation
    data : Data
        As compressed by it.
    coefficients : ndarray, shape (r1, ..., rd)
        Of its solution.
    nugget
        Standard deviation of the noise, relative to the deviation of each block of rows.

    Returns
    -------
    StructuredEvidence
    """
    system = _WhiteSystem(equation, nugget)
    kept = system.kept
    n_kept = int(kept.sum())
    if n_kept > _LARGEST:
        reason = f"{n_kept} directions stand out of the noise; up to {_LARGEST} are factored"
        return StructuredEvidence(math.nan, math.nan, n_kept, reason)
    precision = (nugget / system.deviation[kept]) ** 2
    hessian = system.normal_matrix()
    hessian[np.diag_indices(n_kept)] += precision
    try:
        factor = scipy.linalg.cho_factor(hessian, lower=True, overwrite_a=True, check_finite=False)
    except np.linalg.LinAlgError:
        reason = "the equation does not determine its solution to rounding"
        return StructuredEvidence(math.nan, math.nan, n_kept, reason)
    logdet = 2 * float(np.sum(np.log(np.diag(factor[0]))) + np.sum(np.log(system.deviation[kept])))
    logdet += 2 * (system.n_rows - n_kept) * math.log(nugget)

    mean = system.rotated(coefficients)[kept]
    residual = system.residual(data, mean)
    step = system.transposed(residual)[kept] - precision * mean
    mean = mean + scipy.linalg.cho_solve(factor, step, check_finite=False)
    squares = sum(float(np.sum(block**2)) for block in system.residual(data, mean))
    quadratic = squares / nugget**2 + float(np.sum((mean / system.deviation[kept]) ** 2))
    n = system.n_rows
    if quadratic == 0:
        return StructuredEvidence(math.inf, 0.0, n_kept)
    log_density = -0.5 * (n * (math.log(2 * math.pi * quadratic / n) + 1) + logdet)
    return StructuredEvidence(log_density - system.log_scale, math.sqrt(quadratic / n), n_kept)


@dataclass(frozen=True, slots=True, eq=False)
class _Block:
    """Rows of one kind: a sum of products of one matrix for each axis, and their scale.

    The matrices take coordinates along the principal directions of the prior.
    """

    products: list[list[Array]]
    scale: float
    shape: tuple[int, ...]

    @property
    def grams(self) -> list[list[Array]]:
        """Of the scaled rows: AᵀA is the sum of the products of these matrices."""
        return [
            [m.T @ n / self.scale ** (2 / len(one)) for m, n in zip(one, other, strict=True)]
            for one in self.products
            for other in self.products
        ]


class _WhiteSystem:
    """Data rows over their deviations, on principal directions of the prior."""

    def __init__(self, equation: StructuredEquation, nugget: float) -> None:
        axes = equation.axes
        pairs = [scipy.linalg.svd(axis.basis.prior_factor)[:2] for axis in axes]
        self._directions = [vectors for vectors, _ in pairs]
        self.deviation: Array = _outer([sd for _, sd in pairs])
        values = [axis.value for axis in axes]
        self._blocks = [self._block(equation.products)]
        self._conditions = [(i, j) for i, axis in enumerate(axes) for j in range(axis.n_conditions)]
        for i, j in self._conditions:
            rows = [*values[:i], axes[i].boundary[[j]], *values[i + 1 :]]
            self._blocks.append(self._block([rows]))
        self._grams = [gram for block in self._blocks for gram in block.grams]
        self.n_rows = sum(math.prod(block.shape) for block in self._blocks)
        self.log_scale = sum(math.prod(b.shape) * math.log(b.scale) for b in self._blocks)

        diagonal = sum(
            (_outer([np.diag(m) for m in gram]) for gram in self._grams),
            np.zeros_like(self.deviation),
        )
        gain = self.deviation**2 * diagonal / nugget**2
        order = np.argsort(gain, axis=None)
        hidden = np.cumsum(gain.flat[order]) <= _NATS
        self.kept = np.ones(gain.shape, dtype=bool)
        self.kept.flat[order[hidden]] = False

    def normal_matrix(self) -> Array:
        """AᵀA over the directions kept."""
        index = np.nonzero(self.kept)
        total = np.zeros((len(index[0]),) * 2)
        for gram in self._grams:
            product = gram[0][np.ix_(index[0], index[0])]
            for m, i in zip(gram[1:], index[1:], strict=True):
                product *= m[np.ix_(i, i)]
            total += product
        return total

    def rotated(self, coefficients: Array) -> Array:
        return along_all([vectors.T for vectors in self._directions], coefficients)

    def residual(self, data: Data, mean: Array) -> list[Array]:
        """Scaled data minus what `mean`, on the directions kept, says of them."""
        tensor = np.zeros_like(self.deviation)
        tensor[self.kept] = mean
        given = [data.source, *(np.take(data.faces[i], [j], axis=i) for i, j in self._conditions)]
        residuals = []
        for block, values in zip(self._blocks, given, strict=True):
            residual = values.copy()
            for product in block.products:
                residual -= along_all(product, tensor)
            residuals.append(residual / block.scale)
        return residuals

    def transposed(self, residuals: list[Array]) -> Array:
        total = np.zeros_like(self.deviation)
        for block, residual in zip(self._blocks, residuals, strict=True):
            for product in block.products:
                total += along_all([m.T for m in product], residual) / block.scale
        return total

    def _block(self, products: list[list[Array]]) -> _Block:
        rotated = [
            [m @ u for m, u in zip(product, self._directions, strict=True)] for product in products
        ]
        shape = tuple(len(m) for m in rotated[0])
        block = _Block(rotated, 1.0, shape)
        variance = sum(
            float(np.sum(self.deviation**2 * _outer([np.diag(m) for m in gram])))
            for gram in block.grams
        )
        return _Block(rotated, math.sqrt(variance / math.prod(shape)), shape)


def _outer(vectors: list[Array]) -> Array:
    product = vectors[0]
    for vector in vectors[1:]:
        product = np.multiply.outer(product, vector)
    return product
