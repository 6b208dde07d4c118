"""Operators that solve themselves, and the derivatives of such solves, written once."""

from abc import abstractmethod
from typing import Any

import torch
from linear_operator import LinearOperator, to_linear_operator
from torch import Tensor
from torch.autograd.function import once_differentiable
from typing_extensions import override

from kernelgp.errors import ArgumentError
from kernelgp.operators.door import check_columns

__all__ = ["DirectOperator", "check_square"]

# Rows up to which a root is an exact Cholesky factor: above it linear_operator's Lanczos
# root takes over, whose samples are only approximate.
_CHOLESKY_ROWS = 5000


class DirectOperator(LinearOperator):
    """A `LinearOperator` whose structure gives its solves and log-determinants.

    What linear_operator would send to Cholesky, CG or Lanczos by size goes to the methods
    below instead, whatever its global settings say.
    """

    @abstractmethod
    def _solve(self, rhs: Tensor, *_: Any, **__: Any) -> Tensor:
        """``A⁻¹ rhs`` for (..., N, k), without a graph, as accurate as the dtype allows."""

    @abstractmethod
    def _logabsdet(self) -> Tensor:
        """``log|det A|``, shape (...), without a graph."""

    @abstractmethod
    def _logabsdet_derivative(self, grad: Tensor) -> tuple[Tensor | None, ...]:
        """``grad · tr(A⁻¹ dA)`` for every tensor of the representation; `grad` is (...)."""

    def _solve_transposed(self, rhs: Tensor) -> Tensor:
        return self._solve(rhs)

    @property
    def _is_symmetric(self) -> bool:
        return True

    @override
    def matmul(self, other: Tensor | LinearOperator) -> Tensor | LinearOperator:
        """``A X`` for X of shape (n,) or (..., n, k), a tensor or an operator."""
        if not isinstance(other, Tensor):
            return super().matmul(other)
        if other.dim() == 1:
            return self.matmul(other.unsqueeze(-1)).squeeze(-1)
        check_columns("rhs", other, self)
        return _Matmul.apply(self, other, *self.representation())

    @override
    def solve(self, right_tensor: Tensor, left_tensor: Tensor | None = None) -> Tensor:
        """``A⁻¹ R``, or ``L A⁻¹ R`` where `left_tensor` is given.

        Parameters
        ----------
        right_tensor : Tensor, shape (N,) or (..., N, k)
        left_tensor : Tensor, shape (..., m, N)

        Raises
        ------
        ArgumentError
            If the operator is not square, or a shape, dtype or device does not fit it.
        NotPositiveDefiniteError
            If the operator is singular to working precision.
        """
        check_square(self)
        if right_tensor.dim() == 1:
            return self.solve(right_tensor.unsqueeze(-1), left_tensor).squeeze(-1)
        check_columns("right_tensor", right_tensor, self)
        solved = _DirectSolve.apply(self, right_tensor, *self.representation())
        return solved if left_tensor is None else left_tensor @ solved

    @override
    def logdet(self) -> Tensor:
        """``log|det A|``, shape (...)."""
        check_square(self)
        return _DirectLogdet.apply(self, *self.representation())

    @override
    def inv_quad_logdet(
        self,
        inv_quad_rhs: Tensor | None = None,
        logdet: bool | None = False,
        reduce_inv_quad: bool | None = True,
    ) -> tuple[Tensor, Tensor]:
        """``tr(RᵀA⁻¹R)`` and ``log|det A|``, shape (...); what is not asked for is zero."""
        check_square(self)
        zero = torch.zeros(self.batch_shape, dtype=self.dtype, device=self.device)
        quad = zero
        if inv_quad_rhs is not None:
            rhs = inv_quad_rhs.unsqueeze(-1) if inv_quad_rhs.dim() == 1 else inv_quad_rhs
            quad = (rhs * self.solve(rhs)).sum(dim=-2)
            quad = quad.sum(dim=-1) if reduce_inv_quad else quad
        return quad, self.logdet() if logdet else zero

    @override
    def inv_quad(self, inv_quad_rhs: Tensor, reduce_inv_quad: bool = True) -> Tensor:
        return self.inv_quad_logdet(inv_quad_rhs, reduce_inv_quad=reduce_inv_quad)[0]

    @override
    def half(self, device_id: str | None = None) -> LinearOperator:
        """Every entry in half precision, for storage: our operators compute in no such type."""
        return to_linear_operator(self.to_dense().half())

    def _choose_root_method(self) -> str:
        small = self.shape[-1] <= _CHOLESKY_ROWS
        return "cholesky" if small else super()._choose_root_method()


def check_square(op: LinearOperator) -> None:
    if op.shape[-1] != op.shape[-2]:
        remedy = "solves and log-determinants need a square one"
        raise ArgumentError("op", f"shape {tuple(op.shape)}", remedy)


class _Matmul(torch.autograd.Function):
    """``A X``, as in linear_operator, but on the operator itself and so with its caches."""

    @staticmethod
    def forward(ctx: Any, op: DirectOperator, rhs: Tensor, *representation: Tensor) -> Tensor:
        ctx.op = op
        # Saved for use, and so that torch notices if one is overwritten before the backward.
        ctx.save_for_backward(rhs, *representation)
        return op._matmul(rhs)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        rhs, *representation = ctx.saved_tensors
        gradients: tuple[Tensor | None, ...] = (None,) * len(representation)
        if any(ctx.needs_input_grad[2:]):
            gradients = ctx.op._bilinear_derivative(grad, rhs)
        return None, ctx.op._t_matmul(grad) if ctx.needs_input_grad[1] else None, *gradients


class _DirectSolve(torch.autograd.Function):
    """``x = A⁻¹ b``, differentiated by one more solve: ``b̄ = A⁻ᵀ x̄`` and ``Ā = -b̄ xᵀ``."""

    @staticmethod
    def forward(ctx: Any, op: DirectOperator, rhs: Tensor, *representation: Tensor) -> Tensor:
        solved = op._solve(rhs)
        ctx.op = op
        # Saved only so that torch notices if one is overwritten before the backward.
        ctx.save_for_backward(solved, *representation)
        return solved

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        solved, *representation = ctx.saved_tensors
        left = ctx.op._solve_transposed(grad)
        if not any(ctx.needs_input_grad[2:]):
            return None, left, *(None for _ in representation)
        left, solved = torch.broadcast_tensors(left, solved)
        if ctx.op._is_symmetric:
            # Both orders, halved: the gradient of a symmetric matrix is symmetric, as it is
            # everywhere in linear_operator.
            pairs = torch.cat([left, solved], -1), torch.cat([solved, left], -1) / -2
        else:
            pairs = left, -solved
        return None, left, *ctx.op._bilinear_derivative(*pairs)


class _DirectLogdet(torch.autograd.Function):
    """``log|det A|``, whose derivative is ``tr(A⁻¹ dA)``."""

    @staticmethod
    def forward(ctx: Any, op: DirectOperator, *representation: Tensor) -> Tensor:
        ctx.op = op
        ctx.save_for_backward(*representation)
        return op._logabsdet()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        _ = ctx.saved_tensors
        return None, *ctx.op._logabsdet_derivative(grad)
