"""What every operator that computes its own products and their derivatives has in common."""

from typing import Any

import torch
from linear_operator.functions._matmul import Matmul
from torch import Tensor
from typing_extensions import override

from kernelgp.operators.door import check_columns
from kernelgp.operators.positive_definite import PositiveDefinite

__all__ = ["ProductOperator"]


class ProductOperator(PositiveDefinite):
    """An operator of which `_plain_product` and `_derivative` are all that multiplies.

    They see columns, and no graph.
    """

    def _plain_product(self, rhs: Tensor, *, transpose: bool) -> Tensor:
        """``A @ rhs``, or ``Aᵀ @ rhs``, for a tensor of shape (..., m, k), without a graph."""
        raise NotImplementedError

    def _derivative(self, left: Tensor, right: Tensor) -> tuple[Tensor | None, ...]:
        """Of ``tr(leftᵀ A right)`` by the representation; both are of shape (..., n or m, k)."""
        raise NotImplementedError

    @override
    def matmul(self, other: Any) -> Any:
        """``A @ other`` for a tensor of shape (..., m, k) or (m,), or an operator."""
        if isinstance(other, Tensor):
            check_columns("rhs", other, self)
        return super().matmul(other)

    @override
    def _matmul(self, rhs: Tensor) -> Tensor:
        return self._product(rhs, transpose=False)

    @override
    def _t_matmul(self, rhs: Tensor) -> Tensor:
        return self._product(rhs, transpose=True)

    def _product(self, rhs: Tensor, *, transpose: bool) -> Tensor:
        if rhs.dim() == 1:
            return self._product(rhs.unsqueeze(-1), transpose=transpose).squeeze(-1)
        if torch.is_grad_enabled() and (rhs.requires_grad or self.requires_grad):
            # Asked by an operator that differentiates through its parts.
            op = self._transpose_nonbatch() if transpose else self
            return Matmul.apply(op.representation_tree(), rhs, *op.representation())
        return self._plain_product(rhs, transpose=transpose)

    @override
    def _bilinear_derivative(
        self, left_vecs: Tensor, right_vecs: Tensor
    ) -> tuple[Tensor | None, ...]:
        if left_vecs.dim() == 1:
            left_vecs, right_vecs = left_vecs.unsqueeze(-1), right_vecs.unsqueeze(-1)
        return self._derivative(left_vecs, right_vecs)
