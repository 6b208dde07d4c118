"""Attention as a sum over parts of the matrix, merged by their log-sum-exps.

A *part* covers some pairs of queries and keys; together the parts cover every pair that counts
once. The forward merges their outputs. The backward hands the finished rows to every part in
turn (`kernelgp.attention.fused`), so that nothing of size n² is kept: O(n d) memory both ways.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from typing_extensions import override

from kernelgp.attention.fused import attend, attend_backward
from kernelgp.attention.report import Found

__all__ = ["Gradients", "Part", "Tile", "merge", "sum_parts"]

Gradients = tuple[Tensor, Tensor, Tensor]


class Part(Protocol):
    """Some pairs of queries (B, G, n, d) and keys (B, m, d)."""

    @property
    def rows(self) -> slice:
        """The queries it has pairs of."""
        ...

    def forward(self, q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        """Output of its rows over its own pairs and log-sum-exps, -inf in rows without any.

        The last is that of the pairs it summed in bulk; None where there are none such.
        """
        ...

    def backward(
        self, grad: Tensor, q: Tensor, k: Tensor, v: Tensor, out: Tensor, logsumexp: Tensor
    ) -> tuple[Tensor, tuple[slice, Tensor, Tensor]]:
        """Gradient of its rows' queries, and of the keys and values in a slice.

        `grad`, `out` and `logsumexp` are of its rows, merged over all parts.
        """
        ...


@dataclass(frozen=True, slots=True, eq=False)
class Tile:
    """All pairs of a range of queries and a range of keys, or their lower triangle.

    Attributes
    ----------
    bias : Tensor, shape (B, N), or None
        Added to the logits, by key; -inf leaves it out.
    """

    rows: slice
    keys: slice
    scale: float
    is_causal: bool = False
    bias: Tensor | None = None

    def forward(self, q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor, None]:
        q, k, v, bias = self._cut(q, k, v)
        return *attend(q, k, v, bias, scale=self.scale, is_causal=self.is_causal), None

    def backward(
        self, grad: Tensor, q: Tensor, k: Tensor, v: Tensor, out: Tensor, logsumexp: Tensor
    ) -> tuple[Tensor, tuple[slice, Tensor, Tensor]]:
        q, k, v, bias = self._cut(q, k, v)
        dq, dk, dv = attend_backward(
            grad, q, k, v, out, logsumexp, bias, scale=self.scale, is_causal=self.is_causal
        )
        return dq, (self.keys, dk.sum(dim=1), dv.sum(dim=1))

    def _cut(self, q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
        groups = q.shape[1]
        q = q[..., self.rows, :]
        k, v = (x[:, None, self.keys].expand(-1, groups, -1, -1) for x in (k, v))
        bias = None if self.bias is None else self.bias[:, None, None, self.keys]
        return q, k, v, bias


def sum_parts(q: Tensor, k: Tensor, v: Tensor, parts: Sequence[Part]) -> Found:
    """Attention over the pairs of all parts; differentiable in q, k and v.

    Parameters
    ----------
    q : Tensor, shape (B, G, n, d)
    k : Tensor, shape (B, N, d)
    v : Tensor, shape (B, N, dv)
    """
    out, logsumexp, far = _SumParts.apply(q, k, v, tuple(parts))  # pyright: ignore[reportGeneralTypeIssues]  # torch: Any
    return Found(out, logsumexp, far)


class _SumParts(torch.autograd.Function):
    """Derivative: that of every part's weights ``exp(s - L)`` with the merged rows' o and L."""

    @staticmethod
    @override
    def forward(
        ctx: Any, q: Tensor, k: Tensor, v: Tensor, parts: tuple[Part, ...]
    ) -> tuple[Tensor, Tensor, Tensor]:
        wide = torch.float64 if q.dtype == torch.float64 else torch.float32
        far = q.new_full(q.shape[:-1], -torch.inf, dtype=wide)
        if len(parts) == 1 and parts[0].rows == slice(0, q.shape[-2]):
            out, logsumexp, far_part = parts[0].forward(q, k, v)
            far = far if far_part is None else far_part
        else:
            out = q.new_zeros(*q.shape[:-1], v.shape[-1], dtype=wide)
            logsumexp = far.clone()
            for part in parts:
                out_part, logsumexp_part, far_part = part.forward(q, k, v)
                rows = part.rows
                merge(out[..., rows, :], logsumexp[..., rows], out_part, logsumexp_part)
                if far_part is not None:
                    far[..., rows] = torch.logaddexp(far[..., rows], far_part)
            out = out.to(q.dtype)
        logsumexp = logsumexp.masked_fill(logsumexp == -torch.inf, torch.inf)
        ctx.parts = parts
        ctx.save_for_backward(q, k, v, out, logsumexp)
        ctx.mark_non_differentiable(logsumexp, far)
        return out, logsumexp, far

    @staticmethod
    @override
    @once_differentiable
    def backward(ctx: Any, grad: Tensor, *_: Any) -> tuple[Tensor, Tensor, Tensor, None]:
        q, k, v, out, logsumexp = ctx.saved_tensors
        grad = grad.contiguous()
        wide = logsumexp.dtype
        dq, dk, dv = (torch.zeros_like(x, dtype=wide) for x in (q, k, v))
        for part in ctx.parts:
            rows = part.rows
            finished = out[..., rows, :], logsumexp[..., rows]
            dq_part, (keys, dk_part, dv_part) = part.backward(
                grad[..., rows, :], q, k, v, *finished
            )
            dq[..., rows, :] += dq_part
            dk[:, keys] += dk_part
            dv[:, keys] += dv_part
        return dq.to(q.dtype), dk.to(k.dtype), dv.to(v.dtype), None


def merge(out: Tensor, logsumexp: Tensor, other: Tensor, other_logsumexp: Tensor) -> None:
    """Bring a second part of the same rows into `out` and `logsumexp`, in place.

    Parameters
    ----------
    out, other : Tensor, shape (..., n, dv)
    logsumexp, other_logsumexp : Tensor, shape (..., n)
        -inf where a part has no key for a row.
    """
    # Of two rows without keys the difference would be NaN: neither has weight.
    share = (other_logsumexp - logsumexp).nan_to_num_(nan=0.0, posinf=torch.inf, neginf=-torch.inf)
    out.lerp_(other.to(out.dtype), share.sigmoid_().unsqueeze(-1))
    logsumexp.copy_(torch.logaddexp(logsumexp, other_logsumexp))
