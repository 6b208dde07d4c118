"""A kernel matrix with noise on its diagonal: the covariance of noisy observations."""

from dataclasses import dataclass
from typing import Any, cast

import torch
from linear_operator import LinearOperator
from linear_operator.operators import (
    ConstantDiagLinearOperator,
    DenseLinearOperator,
    DiagLinearOperator,
)
from torch import Tensor
from typing_extensions import override

from kernelgp.errors import ArgumentError
from kernelgp.operators.door import check_columns
from kernelgp.operators.positive_definite import PositiveDefinite
from kernelgp.validation import check_finite, check_floating, check_same

__all__ = ["NoisyKernelOperator", "diagonal_values"]

# A block off the diagonal is formed up to this many entries: linear_operator's lazy one goes
# through sparse matrices, about which torch warns.
_SMALL_BLOCK = 2**20


class NoisyKernelOperator(PositiveDefinite):
    """``K + diag(noise)``.

    Solves, log-determinants and roots are exact as far as a Cholesky factor is the fastest way
    (some 7 000 rows on a CPU). Beyond, solves are iterated to a true residual, with a low-rank
    preconditioner made of `base` and `noise`.

    Parameters
    ----------
    base : KernelOperator, shape (..., n, n)
        Symmetric.
    noise : Tensor, shape () or (..., 1) or (..., n)
        Variance of the noise: one for all rows, or one for each.

    Raises
    ------
    ArgumentError
        If `base` is not square, or `noise` does not fit it, is negative or not finite.

    Examples
    --------
    >>> from kernelgp.kernels import RBF
    >>> from kernelgp.operators import KernelOperator
    >>> A = NoisyKernelOperator(KernelOperator(RBF(), torch.zeros(2, 1)), torch.tensor(0.5))
    >>> A.to_dense()
    tensor([[1.5000, 1.0000],
            [1.0000, 1.5000]], grad_fn=<AddBackward0>)
    >>> A.logdet()  # log 1.25
    tensor(0.2231, grad_fn=<_InvQuadLogdetBackward>)
    """

    def __init__(self, base: LinearOperator, noise: Tensor) -> None:
        check_floating("noise", noise)
        if base.shape[-1] != base.shape[-2]:
            raise ArgumentError("base", f"shape {tuple(base.shape)}", "give a square operator")
        check_same("noise", noise, "base", base)
        try:
            expanded = noise.expand(torch.broadcast_shapes(base.shape[:-1], noise.shape))
        except RuntimeError:
            expanded = None
        n = base.shape[-1]
        if expanded is None or expanded.shape[-1] != n:
            remedy = f"give one number, or {n} to match the rows of base"
            raise ArgumentError("noise", f"shape {tuple(noise.shape)}", remedy)
        check_finite("noise", noise)
        if (noise < 0).any():
            given = f"a smallest value of {noise.min().item():.3g}"
            raise ArgumentError("noise", given, "give variances, which are not negative")
        self._set(base, noise)

    def _set(self, base: LinearOperator, noise: Tensor) -> None:
        LinearOperator.__init__(self, base, noise)
        self.base, self.noise = base, noise

    @staticmethod
    def _of(base: LinearOperator, noise: Tensor) -> "NoisyKernelOperator":
        """What the constructor gives, without its checks."""
        new = NoisyKernelOperator.__new__(NoisyKernelOperator)
        new._set(base, noise)
        return new

    @override
    def representation_tree(self) -> "_Tree":
        return _Tree(self.base.representation_tree())

    @override
    def type(self, dtype: torch.dtype) -> "NoisyKernelOperator":
        return self._of(self.base.type(dtype), self.noise.to(dtype))

    @property
    def _diag(self) -> Tensor:
        """The noise of every row, (..., n)."""
        return self.noise.expand(self.shape[:-1])

    @override
    def _size(self) -> torch.Size:
        n = self.base.shape[-1]
        noise_batch = self.noise.shape[:-1]
        return torch.Size([*torch.broadcast_shapes(self.base.batch_shape, noise_batch), n, n])

    @override
    def _transpose_nonbatch(self) -> "NoisyKernelOperator":
        return self._of(self.base._transpose_nonbatch(), self.noise)

    @override
    def matmul(self, other: Any) -> Any:
        """``A @ other`` for a tensor of shape (..., n, k) or (n,), or an operator."""
        if isinstance(other, Tensor):
            check_columns("rhs", other, self)
        return super().matmul(other)

    @override
    def _matmul(self, rhs: Tensor) -> Tensor:
        if rhs.dim() == 1:
            return self._matmul(rhs.unsqueeze(-1)).squeeze(-1)
        return self.base._matmul(rhs) + self._diag.unsqueeze(-1) * rhs

    @override
    def _t_matmul(self, rhs: Tensor) -> Tensor:
        return self._matmul(rhs)

    @override
    def _bilinear_derivative(
        self, left_vecs: Tensor, right_vecs: Tensor
    ) -> tuple[Tensor | None, ...]:
        by_diagonal = (left_vecs * right_vecs).sum(dim=-1)
        by_base = self.base._bilinear_derivative(left_vecs, right_vecs)
        return *by_base, self._by_noise(by_diagonal)

    @override
    def _weighted_derivative(self, weights: Tensor) -> tuple[Tensor | None, ...]:
        by_diagonal = weights.diagonal(dim1=-2, dim2=-1)
        if isinstance(self.base, PositiveDefinite):
            by_base = self.base._weighted_derivative(weights)
        else:
            eye = torch.eye(self.shape[-1], dtype=self.dtype, device=self.device)
            by_base = self.base._bilinear_derivative(weights, eye.expand_as(weights))
        return *by_base, self._by_noise(by_diagonal)

    def _by_noise(self, by_diagonal: Tensor) -> Tensor | None:
        return by_diagonal.sum_to_size(self.noise.shape) if self.noise.requires_grad else None

    @override
    def _diagonal(self) -> Tensor:
        return self.base._diagonal() + self._diag

    @override
    def to_dense(self) -> Tensor:
        """The matrix, (..., n, n), with a graph."""
        return self.base.to_dense() + torch.diag_embed(self._diag)

    @override
    def _get_indices(self, row_index: Tensor, col_index: Tensor, *batch_indices: Tensor) -> Tensor:
        base = self.base._expand_batch(self.batch_shape)
        entries = cast(Any, base)._get_indices(row_index, col_index, *batch_indices)
        return entries + (row_index == col_index) * self._diag[(*batch_indices, row_index)]

    @override
    def _getitem(self, row_index: Any, col_index: Any, *batch_indices: Any) -> LinearOperator:
        same = isinstance(row_index, slice) and row_index == col_index
        if same:
            base = self.base._expand_batch(self.batch_shape)
            noise = self._diag[(*batch_indices, row_index)]
            return self._of(base._getitem(row_index, col_index, *batch_indices), noise)
        if not batch_indices and isinstance(row_index, slice) and isinstance(col_index, slice):
            block = self.base._getitem(row_index, col_index)
            if block.numel() <= _SMALL_BLOCK:
                index = torch.arange(self.shape[-1], device=self.device)
                hot = index[row_index].unsqueeze(-1) == index[col_index]
                noise = hot * self._diag[row_index].unsqueeze(-1)
                return DenseLinearOperator(block.to_dense() + noise)
        return super()._getitem(row_index, col_index, *batch_indices)

    @override
    def _expand_batch(self, batch_shape: torch.Size | list[int]) -> "NoisyKernelOperator":
        return self._of(self.base._expand_batch(batch_shape), self.noise)

    @override
    def _unsqueeze_batch(self, dim: int) -> "NoisyKernelOperator":
        base = self.base._expand_batch(self.batch_shape)._unsqueeze_batch(dim)
        return self._of(base, self._diag.unsqueeze(dim))

    @override
    def _permute_batch(self, *dims: int) -> "NoisyKernelOperator":
        base = self.base._expand_batch(self.batch_shape)._permute_batch(*dims)
        return self._of(base, self._diag.permute(*dims, len(dims)))

    @override
    def _mul_constant(self, other: Any) -> LinearOperator:
        factor = torch.as_tensor(other, dtype=self.dtype, device=self.device)
        if not (factor > 0).all():
            return super()._mul_constant(other)
        base = self.base._expand_batch(self.batch_shape)._mul_constant(factor)
        return self._of(base, self.noise * factor.unsqueeze(-1))

    @override
    def add_diagonal(self, diag: Tensor) -> LinearOperator:
        """The same operator with more noise: `diag` of shape (), (..., 1) or (..., n)."""
        return NoisyKernelOperator(self.base, self.noise + diag)

    @override
    def __add__(self, other: Any) -> Any:
        values = diagonal_values(other)
        if values is not None and (values >= 0).all():
            return self.add_diagonal(values)
        return super().__add__(other)

    def rows(self, index: Tensor) -> Tensor:
        """Rows of the matrix, shape (len(index), n)."""
        out = self.base.rows(index)  # pyright: ignore[reportAttributeAccessIssue] - of ours
        hot = torch.zeros_like(out).scatter(-1, index.unsqueeze(-1), 1.0)
        return out + hot * self._diag[..., index].unsqueeze(-1)

    def __repr__(self) -> str:
        noise = f"{self.noise.item():.3g}" if self.noise.numel() == 1 else "one per row"
        return f"NoisyKernelOperator({self.base!r}, noise={noise})"


@dataclass(frozen=True, slots=True, eq=False)
class _Tree:
    """Builds the operator again from other tensors (linear_operator's representation tree)."""

    base: Any

    def __call__(self, *tensors: Tensor) -> NoisyKernelOperator:
        *of_base, noise = tensors
        return NoisyKernelOperator._of(self.base(*of_base), noise)


def diagonal_values(other: Any) -> Tensor | None:
    """What a diagonal operator adds, (..., 1) or (..., n); None for any other operator."""
    if isinstance(other, ConstantDiagLinearOperator):
        return other.diag_values
    return other._diag if isinstance(other, DiagLinearOperator) else None
