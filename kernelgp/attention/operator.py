"""The attention matrix ``D⁻¹ exp(scale Q Kᵀ)`` as a lazy operator: its products are attention.

Which keys an approximation takes one by one is chosen once, when the operator is made, so that
the operator is one fixed matrix: its adjoint is exactly that matrix' transpose.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from linear_operator import LinearOperator
from torch import Tensor
from typing_extensions import override

from kernelgp.attention.attention_matrix import choose_matrix
from kernelgp.attention.door import check_call, check_generator
from kernelgp.attention.tiles import Part
from kernelgp.errors import ArgumentError, ArgumentTypeError
from kernelgp.random import RandomState
from kernelgp.validation import check_floating

__all__ = ["AttentionOperator"]

# Columns of the identity that are multiplied at a time.
_COLUMNS = 256


class AttentionOperator(LinearOperator):
    """``A = D⁻¹ exp(scale Q Kᵀ)``, whose rows sum to one, or a fixed approximation of it.

    ``A @ v`` is attention with values v, in O((n + N) d) memory, ``A.mT @ g`` its adjoint: the
    gradient of values. Gradients reach q and k.

    Parameters
    ----------
    q : Tensor, shape (..., n, d)
        float32 or float64.
    k : Tensor, shape (..., N, d)
    method : {"exact", "auto", "kde", "thinned", "features", "fastmax"}
        As for `attention`; "auto" is exact here, as an error depends on values. "kde" and
        "thinned" take one head at a time.
    is_causal
        Whether row i is of keys up to i only; needs N = n.
    scale
        ``d^{-1/2}`` if None.
    options
        Of the method.
    generator : int, numpy or torch generator, or None
        For what the method draws; None is seed 0.
    blocks
        `blocks` of another operator of the same shape and method, to keep what it chose.

    Attributes
    ----------
    blocks
        What was chosen, or None where there is nothing to choose.

    Raises
    ------
    ArgumentError, ArgumentTypeError
        As by `attention`.

    Examples
    --------
    >>> q, k = torch.zeros(2, 4), torch.randn(3, 4)
    >>> A = AttentionOperator(q, k)  # queries at the origin average all keys
    >>> A @ torch.tensor([1.0, 2.0, 3.0])
    tensor([2., 2.])
    >>> A.mT @ torch.ones(2)
    tensor([0.6667, 0.6667, 0.6667])
    """

    def __init__(
        self,
        q: Tensor,
        k: Tensor,
        *,
        method: str = "exact",
        is_causal: bool = False,
        scale: float | None = None,
        options: Any = None,
        generator: RandomState = None,
        blocks: Sequence[Part] | None = None,
    ) -> None:
        for name, x in (("q", q), ("k", k)):
            check_floating(name, x)
        call = check_call(
            q,
            k,
            k,
            is_causal=is_causal,
            causal_offset=None,
            attn_mask=None,
            key_padding_mask=None,
            scale=scale,
            enable_gqa=False,
        )
        if q.shape[-2] == 0:
            raise ArgumentError("q", f"shape {tuple(q.shape)}", "give at least one query")
        random = check_generator(generator, q.device)
        self._matrix = choose_matrix(call, method, options, random, blocks)
        batch = torch.broadcast_shapes(q.shape[:-2], k.shape[:-2])
        # A view is no leaf: expanding where nothing changes would hide the caller's `.grad`.
        q, k = (x if x.shape[:-2] == batch else x.expand(*batch, *x.shape[-2:]) for x in (q, k))
        self.q, self.k = q, k
        self.blocks = None if self._matrix.is_exact else self._matrix.parts
        super().__init__(
            q,
            k,
            method=method,
            is_causal=is_causal,
            scale=scale,
            options=options,
            # A number, so that an operator that is made again draws the same.
            generator=self._matrix.seed,
            blocks=self.blocks,
        )

    @override
    def _size(self) -> torch.Size:
        return torch.Size([*self.q.shape[:-1], self.k.shape[-2]])

    @override
    def _transpose_nonbatch(self) -> "_Adjoint":
        return _Adjoint(self)

    @override
    def matmul(self, other: Any) -> Any:
        """``A @ other`` for values of shape (..., N, c) or (N,), or an operator."""
        _check_columns(self, other)
        return super().matmul(other)

    @override
    def _matmul(self, rhs: Tensor) -> Tensor:
        return self._by_columns(rhs, self._matrix.product)

    @override
    def _t_matmul(self, rhs: Tensor) -> Tensor:
        return self._by_columns(rhs, self._matrix.adjoint)

    def _by_columns(
        self, rhs: Tensor, multiply: Callable[[Tensor, Tensor, Tensor], Tensor]
    ) -> Tensor:
        """Multiply q (B, n, d), k (B, N, d) and columns (B, m, c), whatever batches they have."""
        if rhs.dim() == 1:
            return self._by_columns(rhs.unsqueeze(-1), multiply).squeeze(-1)
        c = rhs.shape[-1]
        batch = torch.broadcast_shapes(self.batch_shape, rhs.shape[:-2])
        if self.batch_shape.numel() == 1:
            # One matrix for all: what is a batch of right-hand sides are columns.
            flat = rhs.reshape(-1, *rhs.shape[-2:]).movedim(0, -2).flatten(-2).unsqueeze(0)
            # The fused kernel's backward wants rows that lie as they are read.
            flat = flat.contiguous()
            product = multiply(_stacked(self.q), _stacked(self.k), flat)
            product = product.squeeze(0).unflatten(-1, (-1, c)).movedim(-2, 0)
            return product.reshape(*batch, *product.shape[-2:])
        q, k, flat = (x.expand(*batch, *x.shape[-2:]).flatten(0, -3) for x in (self.q, self.k, rhs))
        return multiply(q, k, flat.contiguous()).unflatten(0, batch)

    def logsumexp(self) -> Tensor:
        """``log Σ_j exp(scale q_i·k_j)``, shape (..., n), without a graph but for "exact".

        Raises
        ------
        ArgumentError
            If the method has none.
        """
        found = self._matrix.logsumexp(_stacked(self.q), _stacked(self.k))
        return found.view(self.shape[:-1])

    @override
    def _get_indices(self, row_index: Any, col_index: Any, *batch_indices: Any) -> Tensor:
        if self._matrix.is_exact:
            left = self.q[(*batch_indices, row_index)]
            right = self.k[(*batch_indices, col_index)]
            logits = (left * right).sum(dim=-1) * self._matrix.scale
            entries = (logits - self.logsumexp()[(*batch_indices, row_index)]).exp()
            return entries * (col_index <= row_index) if self._matrix.is_causal else entries
        columns, place = col_index.unique(return_inverse=True)
        return self._columns(columns)[(*batch_indices, row_index, place)]

    @override
    def to_dense(self) -> Tensor:
        """All entries, (..., n, N)."""
        if self._matrix.is_exact:
            logits = self.q @ self.k.mT * self._matrix.scale
            entries = (logits - self.logsumexp().unsqueeze(-1)).exp()
            return entries.tril() if self._matrix.is_causal else entries
        return self._columns(torch.arange(self.shape[-1], device=self.device))

    def rows(self, index: Tensor) -> Tensor:
        """Rows of an unbatched operator, shape (len(index), N)."""
        if self._matrix.is_exact:
            logits = self.q[index] @ self.k.mT * self._matrix.scale
            entries = (logits - self.logsumexp()[index].unsqueeze(-1)).exp()
            if self._matrix.is_causal:
                later = torch.arange(self.shape[-1], device=self.device) > index.unsqueeze(-1)
                entries = entries.masked_fill(later, 0)
            return entries
        unit = torch.zeros(self.shape[-2], len(index), dtype=self.dtype, device=self.device)
        unit[index, torch.arange(len(index), device=self.device)] = 1
        return self._t_matmul(unit).mT

    def _columns(self, index: Tensor) -> Tensor:
        """Columns (..., n, len(index)), as products with those of the identity."""
        found = []
        for part in index.split(_COLUMNS):
            unit = torch.zeros(self.shape[-1], len(part), dtype=self.dtype, device=self.device)
            unit[part, torch.arange(len(part), device=self.device)] = 1
            found.append(self._matmul(unit))
        return torch.cat(found, dim=-1)


class _Adjoint(LinearOperator):
    """The transpose of an attention matrix."""

    def __init__(self, base: AttentionOperator) -> None:
        self.base = base
        super().__init__(base)

    @override
    def _size(self) -> torch.Size:
        *batch, n, N = self.base.shape
        return torch.Size([*batch, N, n])

    @override
    def _transpose_nonbatch(self) -> AttentionOperator:
        return self.base

    @override
    def matmul(self, other: Any) -> Any:
        _check_columns(self, other)
        return super().matmul(other)

    @override
    def _matmul(self, rhs: Tensor) -> Tensor:
        return self.base._t_matmul(rhs)

    @override
    def _t_matmul(self, rhs: Tensor) -> Tensor:
        return self.base._matmul(rhs)

    @override
    def _bilinear_derivative(
        self, left_vecs: Tensor, right_vecs: Tensor
    ) -> tuple[Tensor | None, ...]:
        return self.base._bilinear_derivative(right_vecs, left_vecs)

    @override
    def _get_indices(self, row_index: Any, col_index: Any, *batch_indices: Any) -> Tensor:
        return self.base._get_indices(col_index, row_index, *batch_indices)

    @override
    def to_dense(self) -> Tensor:
        return self.base.to_dense().mT


def _stacked(x: Tensor) -> Tensor:
    return x.reshape(-1, *x.shape[-2:])


def _check_columns(op: LinearOperator, other: Any) -> None:
    if isinstance(other, LinearOperator):
        return
    if not isinstance(other, Tensor):
        raise ArgumentTypeError("rhs", type(other).__name__, "give a torch tensor")
    n = op.shape[-1]
    if other.dim() == 0 or other.shape[-2 if other.dim() > 1 else -1] != n:
        raise ArgumentError("rhs", f"shape {tuple(other.shape)}", f"give ({n},) or (..., {n}, c)")
    if other.dtype != op.dtype:
        raise ArgumentError("rhs", str(other.dtype), f"convert it to {op.dtype}, the operator's")
