"""Kronecker products of small matrices on a grid, without ever forming one.

Every function runs over the axes with one matrix product each and no permuted copy: the last
axis is ``X Kᵀ``, the first ``K X``, those between are batched. With the columns k ahead of
the grid all of them are large; behind it the last axis would be a batch of N / n slivers,
which made a first version four times slower than linear_operator at 128³.
"""

import math
from collections.abc import Sequence
from functools import reduce

import torch
from torch import Tensor

__all__ = [
    "along_axes",
    "contract",
    "factor_gradients",
    "kronecker_matmul",
    "kronecker_product",
    "kronecker_vector",
]


def kronecker_matmul(factors: Sequence[Tensor], rhs: Tensor) -> Tensor:
    """``(K1 ⊗ ... ⊗ Kd) R``; factors (..., mi, ni), R (..., N, k), result (..., M, k)."""
    return along_axes(factors, rhs.mT).mT


def kronecker_vector(vectors: Sequence[Tensor]) -> Tensor:
    """``v1 ⊗ ... ⊗ vd``; vectors (..., ni), result (..., N)."""
    return reduce(lambda a, b: (a.unsqueeze(-1) * b.unsqueeze(-2)).flatten(-2), vectors)


def kronecker_product(factors: Sequence[Tensor]) -> Tensor:
    """Every entry of ``K1 ⊗ ... ⊗ Kd``, shape (..., M, N)."""

    def outer(a: Tensor, b: Tensor) -> Tensor:
        product = a[..., :, None, :, None] * b[..., None, :, None, :]
        return product.flatten(-4, -3).flatten(-2)

    return reduce(outer, factors)


def factor_gradients(factors: Sequence[Tensor], left: Tensor, right: Tensor) -> list[Tensor]:
    """Derivative of ``Σk leftᵀ (K1 ⊗ ... ⊗ Kd) right`` in every factor.

    Those of axis i contract everything else: earlier factors are moved to the left vectors,
    later ones to the right vectors, each step shared by all axes.

    Parameters
    ----------
    factors : Tensors, shape (..., mi, ni)
    left : Tensor, shape (..., M, k)
    right : Tensor, shape (..., N, k)
    """
    lefts, rights = [left.mT], [right.mT]
    for i, factor in enumerate(factors[:-1]):
        lefts.append(_along_axis(factor.mT, lefts[-1], *_around(factors, i)))
    for i in range(len(factors) - 1, 0, -1):
        rights.append(_along_axis(factors[i], rights[-1], *_around(factors, i)))
    return [
        contract(lefts[i], rights[-1 - i], _around(factors, i)[1], factors[i].shape[-2:])
        for i in range(len(factors))
    ]


def contract(left: Tensor, right: Tensor, after: int, shape: Sequence[int]) -> Tensor:
    """``Σ left[..., p, a, q] right[..., p, b, q]`` over columns k, p and q; (..., a, b)."""
    a = left.reshape(*left.shape[:-2], -1, shape[0], after)
    b = right.reshape(*right.shape[:-2], -1, shape[1], after)
    if after == 1:
        return a.squeeze(-1).mT @ b.squeeze(-1)
    if a.shape[-3] == 1:
        return (a @ b.mT).squeeze(-3)
    return (a @ b.mT).sum(dim=-3)


def _around(factors: Sequence[Tensor], i: int) -> tuple[int, int]:
    """Points before axis i, as columns, and after it, as rows."""
    before = math.prod(factor.shape[-1] for factor in factors[:i])
    return before, math.prod(factor.shape[-2] for factor in factors[i + 1 :])


def along_axes(factors: Sequence[Tensor], x: Tensor, *, reuse: bool = False) -> Tensor:
    """All factors on the rows of x, shape (..., k, N), last axis first.

    With `reuse` the memory of x may be overwritten.
    """
    # Fresh memory of this size costs a page fault for every 4 kB, a quarter of the time at
    # 128³: what an earlier axis has read is written to by a later one.
    spare, own = None, reuse
    for i in range(len(factors) - 1, -1, -1):
        product = _along_axis(factors[i], x, *_around(factors, i), spare)
        spare = x if own and not torch.is_grad_enabled() else None
        x, own = product, True
    return x


def _along_axis(
    factor: Tensor, x: Tensor, before: int, after: int, spare: Tensor | None = None
) -> Tensor:
    *batch, k, _ = x.shape
    m, n = factor.shape[-2:]
    if factor.dim() > 2:
        return _along_axis_of_batch(factor, x, before, after)
    slices = math.prod(batch) * k * before
    if spare is None or spare.numel() != slices * m * after or not spare.is_contiguous():
        spare = x.new_empty(0)

    def out(*shape: int) -> Tensor | None:
        return spare.view(shape) if spare.numel() else None

    if after == 1:
        product = torch.mm(x.reshape(slices, n), factor.mT, out=out(slices, m))
    elif slices == 1:
        product = torch.mm(factor, x.reshape(n, after), out=out(m, after))
    else:
        stack = factor.expand(slices, m, n)
        product = torch.bmm(stack, x.reshape(slices, n, after), out=out(slices, m, after))
    return product.reshape(*batch, k, before * m * after)


def _along_axis_of_batch(factor: Tensor, x: Tensor, before: int, after: int) -> Tensor:
    *batch, k, _ = x.shape
    m, n = factor.shape[-2:]
    if after == 1:
        out = x.reshape(*batch, k * before, n) @ factor.mT
    else:
        # A batch of factors is not repeated for every slice: it would outgrow the data.
        slices = x.reshape(*batch, k * before, n, after).transpose(-3, -2)
        out = (factor @ slices.flatten(-2)).unflatten(-1, (k * before, after)).transpose(-3, -2)
    batch = torch.broadcast_shapes(tuple(batch), factor.shape[:-2])
    return out.reshape(*batch, k, before * m * after)
