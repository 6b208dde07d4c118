"""A Kronecker product with noise on its diagonal."""

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import torch
from linear_operator import LinearOperator
from linear_operator.operators import (
    ConstantDiagLinearOperator,
    DiagLinearOperator,
    MatmulLinearOperator,
    RootLinearOperator,
)
from torch import Tensor
from typing_extensions import override

from kernelgp.errors import ArgumentError
from kernelgp.operators.direct import check_square
from kernelgp.operators.missing_cells import MissingCells
from kernelgp.operators.partial import PartialOperator
from kernelgp.operators.spectrum import Spectrum
from kernelgp.validation import check_finite, check_floating, check_same

if TYPE_CHECKING:
    from kernelgp.operators.kronecker import KroneckerOperator

__all__ = ["NoisyKroneckerOperator"]

# Up to here the missing cells have a matrix of their own factorised: at 18³ with 10 % missing
# determinant and gradient take 0.7 s, Cholesky of the 5227 others 22 s, both on one core. At
# 141² with 3936 missing they take 8.5 s, an estimate 6.9 s; at 250² with 3115, 25 s and 32 s.
_MISSING_CELLS = 4000


class NoisyKroneckerOperator(PartialOperator):
    """``K1 ⊗ … ⊗ Kd + diag(noise)``; what `KroneckerOperator.add_diagonal` returns.

    With one noise variance and every cell observed, solves and determinants are direct and
    cost O(N Σ ni). Up to 4000 cells missing, they still are, with one Cholesky factor of that
    size besides. Where more are missing or variances differ, an operator of up to 2000 rows goes
    to Cholesky; beyond that solves are by conjugate gradients with the inverse on the whole
    grid, at the mean noise, to precondition, and determinants are estimated from 32 fixed probes.

    Parameters
    ----------
    base : KroneckerOperator, shape (..., N, N)
    noise : Tensor, shape (), (..., 1) or (..., N)
        A variance, or one for each cell.

    Examples
    --------
    >>> from kernelgp.operators import KroneckerOperator
    >>> noisy = KroneckerOperator(torch.eye(2), torch.ones(2, 2)).add_diagonal(torch.tensor(1.0))
    >>> noisy.solve(torch.tensor([1.0, 0.0, 3.0, 0.0]))
    tensor([ 0.6667, -0.3333,  2.0000, -1.0000])
    """

    def __init__(self, base: "KroneckerOperator", noise: Tensor) -> None:
        noise = _check(base, noise)
        batch = torch.broadcast_shapes(base.batch_shape, noise.shape[:-1])
        # A view is no leaf: expanding where nothing changes would hide the caller's `.grad`.
        self.base = base if base.batch_shape == batch else base._expand_batch(batch)
        self.noise = noise if noise.shape[:-1] == batch else noise.expand(*batch, noise.shape[-1])
        super().__init__(self.base, self.noise)

    def _size(self) -> torch.Size:
        return self.base.shape

    @cached_property
    def _complement(self) -> MissingCells | None:
        mask = self.base.mask
        if mask is None or self.noise.shape[-1] > 1:
            return None
        missing = mask.numel() - self.shape[-1]
        few = 0 < missing <= min(_MISSING_CELLS, self.shape[-1])
        return MissingCells(self._exact_spectrum, mask) if few else None

    @property
    def _whole_grid(self) -> bool:
        return self.base.mask is None and self.noise.shape[-1] == 1

    def _transpose_nonbatch(self) -> "NoisyKroneckerOperator":
        return NoisyKroneckerOperator(self.base._transpose_nonbatch(), self.noise)

    def _expand_batch(self, batch_shape: Sequence[int]) -> "NoisyKroneckerOperator":
        noise = self.noise.expand(*batch_shape, self.noise.shape[-1])
        return NoisyKroneckerOperator(self.base._expand_batch(batch_shape), noise)

    def _mul_constant(self, other: Tensor) -> "NoisyKroneckerOperator":
        noise = self.noise * (other[..., None] if other.dim() else other)
        return NoisyKroneckerOperator(self.base._mul_constant(other), noise)

    @override
    def add_diagonal(self, diag: Tensor) -> "NoisyKroneckerOperator":
        """More noise: `diag` is (), (..., 1) or (..., N)."""
        return NoisyKroneckerOperator(self.base, self.noise + diag)

    @override
    def __add__(self, other: Any) -> LinearOperator | Tensor:
        if isinstance(other, ConstantDiagLinearOperator):
            return self.add_diagonal(other.diag_values)
        if isinstance(other, DiagLinearOperator):
            return self.add_diagonal(other.diagonal())
        return super().__add__(other)

    @override
    def _matmul(self, rhs: Tensor) -> Tensor:
        if rhs.dim() == 1:
            return self._matmul(rhs.unsqueeze(-1)).squeeze(-1)
        return torch.addcmul(self.base._matmul(rhs), self.noise.unsqueeze(-1), rhs)

    def _diagonal(self) -> Tensor:
        return self.base.diagonal() + self.noise

    def _get_indices(self, row_index: Tensor, col_index: Tensor, *batch_indices: Tensor) -> Tensor:
        noise = self.noise.expand(self.shape[:-1])[(*batch_indices, row_index)]
        entries = self.base._get_indices(row_index, col_index, *batch_indices)
        return entries + noise * (row_index == col_index)

    def rows(self, index: Tensor) -> Tensor:
        """Rows of an unbatched operator, shape (len(index), n), without a graph."""
        noise = self.noise.detach().expand(self.shape[-1])[index]
        rows = self.base.rows(index)
        return rows.scatter_add(1, index.unsqueeze(-1), noise.unsqueeze(-1))

    @override
    def to_dense(self) -> Tensor:
        noise = self.noise.expand(self.shape[:-1])
        return self.base.to_dense() + torch.diag_embed(noise)

    def _bilinear_derivative(
        self, left_vecs: Tensor, right_vecs: Tensor
    ) -> tuple[Tensor | None, ...]:
        noise = (left_vecs * right_vecs).sum(dim=-1).sum_to_size(self.noise.shape)
        base = self.base._bilinear_derivative(left_vecs, right_vecs)
        return *base, noise if self.noise.requires_grad else None

    def factors_wanted(self) -> list[bool]:
        """Whether each factor requires a gradient."""
        return self.base.factors_wanted()

    def pull_back(
        self, gradients: Sequence[Tensor | None], shift: Tensor
    ) -> tuple[Tensor | None, ...]:
        """From gradients of the factors and the noise to those of the representation."""
        noise = shift.unsqueeze(-1).sum_to_size(self.noise.shape)
        return *self.base.pull_back(gradients), noise

    def _scatter(self, x: Tensor) -> Tensor:
        return self.base._scatter(x)

    def _gather(self, x: Tensor) -> Tensor:
        return self.base._gather(x)

    @cached_property
    def spectrum(self) -> Spectrum:
        """Of the whole grid, at the mean noise."""
        return self.base.spectrum.shifted(self.noise.detach().mean(dim=-1, keepdim=True))

    @override
    def _symeig(
        self, eigenvectors: bool = False, return_evals_as_lazy: bool | None = False
    ) -> tuple[Tensor, LinearOperator | None]:
        if not self._whole_grid:
            return super()._symeig(eigenvectors, return_evals_as_lazy)
        values, vectors = self.base._symeig(eigenvectors)
        return values + self.noise, vectors

    @override
    def diagonalization(self, method: str | None = None) -> tuple[Tensor, LinearOperator | None]:
        if method is None and self._whole_grid:
            method = "symeig"
        return super().diagonalization(method=method)

    @override
    def root_decomposition(self, method: str | None = None) -> LinearOperator:
        if self._has_cheap_root(method):
            return self._root(0.5)
        return super().root_decomposition(method)

    @override
    def root_inv_decomposition(
        self,
        initial_vectors: Tensor | None = None,
        test_vectors: Tensor | None = None,
        method: str | None = None,
    ) -> LinearOperator | Tensor:
        if self._has_cheap_root(method):
            return self._root(-0.5)
        return super().root_inv_decomposition(initial_vectors, test_vectors, method)

    def _has_cheap_root(self, method: str | None) -> bool:
        """Whether the spectrum must serve, as a dense Cholesky factor would be too large."""
        large = self._choose_root_method() != "cholesky"
        return method is None and self._whole_grid and large

    def _root(self, power: float) -> LinearOperator:
        """``Q (Λ + σ²)^power``."""
        values, vectors = self._symeig(eigenvectors=True)
        _ = self.spectrum.diagonal  # raises where there is no root
        return RootLinearOperator(MatmulLinearOperator(vectors, DiagLinearOperator(values**power)))


def _check(base: Any, noise: Any) -> Tensor:
    """`noise` with at least one dimension, if it fits `base`."""
    check_square(base)
    check_floating("noise", noise)
    if noise.dim() == 0:
        noise = noise.unsqueeze(-1)
    n = base.shape[-1]
    if noise.shape[-1] not in (1, n):
        remedy = f"give one variance, or {n}, one for each cell"
        raise ArgumentError("noise", f"shape {tuple(noise.shape)}", remedy)
    check_same("noise", noise, "the operator", base)
    return check_finite("noise", noise)
