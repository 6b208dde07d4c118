"""Queries in blocks: the keys of a few blocks near each are summed one by one, the rest in bulk.

With the near and far sums of a query merged by their log-sum-exps, ``π`` the far share and W
the slope of `kernelgp.attention.summary`,

    o = Σ_near p_j v_j + Σ_far p_c u_c + π s q W,

the backward is that of a tile (`kernelgp.attention.fused`) on both sides; on the far side with
``o - s q W`` for the output, since a far value is ``u_c + s q W``, and

    dq += π s W g,   dW += π s qᵀ g,   and ds_c summed over a block for its bias.

References
----------
Zandieh, Han, Daliri and Karbasi, *KDEformer: accelerating transformers via kernel density
estimation*, ICML 2023 (arXiv 2302.02451), of which the near blocks are; the far field by leaves
in place of its samples is ours.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import pad

from kernelgp.attention.fused import attend, attend_backward
from kernelgp.attention.summary import Leaves, Sample, Summary, SummaryGradient, rows_of
from kernelgp.attention.tiles import merge

__all__ = ["Blocks"]

# Rows at a time: large enough for the fused kernel, small against the inputs.
_ROWS = 2**14
_STAND_INS = 2**16


@dataclass(frozen=True, slots=True, eq=False)
class Blocks:
    """All pairs of a range of n queries and a range of keys, as a part of `tiles.sum_parts`.

    Attributes
    ----------
    rows, keys
        The ranges. What follows counts from their starts.
    queries : Tensor, shape (B, R, bq), int64
        Rows of the queries (B, G, n, d) flattened over all but the last axis, R blocks in all;
        an empty place is their number B G n.
    near : Tensor, shape (B, R, m), int64
        Blocks of keys that are near, in ``members``.
    members : Tensor, shape (B, K, bk), int64
        Rows of the keys (B, N, d) flattened over the batch; any row at an empty place.
    valid : Tensor, shape (B, K, bk), bool, or None
        False where a place is empty or its key left out.
    far : Leaves, Sample or None
    far_block : Tensor, shape (B, L), int64
        Block of keys that each stand-in is of.
    n_queries
        B G n.
    """

    rows: slice
    keys: slice
    scale: float
    queries: Tensor
    near: Tensor
    members: Tensor
    valid: Tensor | None
    far: Leaves | Sample | None
    far_block: Tensor
    n_queries: int

    def forward(self, q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        q, k, v = q[..., self.rows, :], k[:, self.keys], v[:, self.keys]
        summary = None if self.far is None else self.far.summarize(k, v)
        count, wide = q.shape[:-1].numel(), _wide(q.dtype)
        # One row more than there are, for what is in empty places.
        out = q.new_empty(count + 1, v.shape[-1])
        logsumexp = q.new_empty(count + 1, dtype=wide)
        far_logsumexp = q.new_full((count + 1,), -torch.inf, dtype=wide)
        for part in self._chunks(_ROWS):
            at = self.queries[:, part].flatten()
            block = self._block(part, q)
            found, total = attend(block, *self._near(part, k, v), scale=self.scale)
            if summary is not None:
                far_out, far_total = self._attend_far(part, block, summary)
                far_logsumexp.index_copy_(0, at, far_total.flatten())
                found = found.to(wide)
                merge(found, total, far_out, far_total)
            out.index_copy_(0, at, found.flatten(0, -2).to(out.dtype))
            logsumexp.index_copy_(0, at, total.flatten())
        found, total, far_total = (x[:-1] for x in (out, logsumexp, far_logsumexp))
        shape = q.shape[:-1]
        return found.view(*shape, -1), total.view(shape), far_total.view(shape)

    def backward(
        self, grad: Tensor, q: Tensor, k: Tensor, v: Tensor, out: Tensor, logsumexp: Tensor
    ) -> tuple[Tensor, tuple[slice, Tensor, Tensor]]:
        q, k, v = q[..., self.rows, :], k[:, self.keys], v[:, self.keys]
        summary = None if self.far is None else self.far.summarize(k, v)
        sums = None if summary is None else SummaryGradient(summary)
        count, wide = q.shape[:-1].numel(), _wide(q.dtype)
        dq = q.new_empty(count + 1, q.shape[-1], dtype=wide)
        dk, dv = (x.new_zeros(x.shape, dtype=wide).flatten(0, 1) for x in (k, v))
        rows = _ROWS
        if summary is not None:
            # The kernel returns the gradients of the stand-ins for every block by itself.
            rows = min(rows, _STAND_INS // summary.keys.shape[1] * self.queries.shape[-1])
        for part in self._chunks(rows):
            at = self.queries[:, part]
            block, g, o = (self._block(part, x) for x in (q, grad, out))
            total = logsumexp.flatten().index_select(0, at.clamp(max=count - 1).flatten())
            # No pair of an empty place weighs anything.
            total = total.view(at.shape).masked_fill(at == count, torch.inf)
            near_keys, near_values, bias = self._near(part, k, v)
            dq_block, dk_near, dv_near = attend_backward(
                g, block, near_keys, near_values, o, total, bias, scale=self.scale
            )
            index = self._near_members(part).flatten()
            dk.index_add_(0, index, dk_near.to(wide).flatten(0, -2))
            dv.index_add_(0, index, dv_near.to(wide).flatten(0, -2))
            if summary is not None and sums is not None:
                far = self._far_backward(part, g, block, o, total, summary, sums)
                dq_block = dq_block.to(wide) + far
            dq.index_copy_(0, at.flatten(), dq_block.to(wide).flatten(0, -2))
        dk, dv = dk.view(k.shape), dv.view(v.shape)
        if self.far is not None and sums is not None:
            dk_far, dv_far = self.far.backward(k, v, sums)
            dk, dv = dk + dk_far, dv + dv_far
        return dq[:-1].view(q.shape), (self.keys, dk, dv)

    def _chunks(self, rows: int) -> Iterator[slice]:
        """Ranges of blocks of about so many queries over the whole batch."""
        batch, blocks, size = self.queries.shape
        step = max(rows // (batch * size), 1)
        return (slice(i, min(i + step, blocks)) for i in range(0, blocks, step))

    def _block(self, part: slice, x: Tensor) -> Tensor:
        """Rows of the queries or of what belongs to them, (B, blocks, bq, c)."""
        x = x.reshape(-1, x.shape[-1])
        at = self.queries[:, part].clamp(max=len(x) - 1)
        return x.index_select(0, at.flatten()).view(*at.shape, -1)

    def _near_members(self, part: slice) -> Tensor:
        return _pick(self.members, self.near[:, part])

    def _near(self, part: slice, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        """Keys and values near each block, (B, blocks, m bk, c), and the bias of what is not."""
        index = self._near_members(part)
        bias = None
        if self.valid is not None:
            kept = _pick(self.valid, self.near[:, part]).unsqueeze(-2)
            bias = torch.zeros(kept.shape, dtype=_wide(k.dtype), device=k.device)
            bias = bias.masked_fill_(~kept, -torch.inf)
        return rows_of(k, index), rows_of(v, index), bias

    def _attend_far(self, part: slice, block: Tensor, summary: Summary) -> tuple[Tensor, Tensor]:
        keys, values = (_for_blocks(x, block) for x in (summary.keys, summary.values))
        bias = self._far_bias(part, block, summary)
        out, total = attend(
            block, keys.to(block.dtype), values.to(block.dtype), bias, scale=self.scale
        )
        return out.to(total.dtype) + self._slope(block, summary), total

    def _far_bias(self, part: slice, block: Tensor, summary: Summary) -> Tensor:
        """Logarithm of what each stand-in weighs for a block, (B, blocks, 1, L); -inf if near."""
        bias = summary.log_weight.unsqueeze(-2)
        if summary.spread is not None:
            squares = (self._share(part, block) * block.to(bias.dtype).square()).sum(dim=-2)
            bias = bias + self.scale**2 / 2 * squares @ summary.spread.mT
        near = self.near[:, part]
        is_near = torch.zeros(
            *near.shape[:-1], self.members.shape[1], dtype=torch.bool, device=near.device
        ).scatter_(-1, near, value=True)
        of_far = self.far_block.unsqueeze(1).expand(-1, near.shape[1], -1)
        return bias.masked_fill(is_near.gather(-1, of_far), -torch.inf).unsqueeze(-2)

    def _share(self, part: slice, block: Tensor) -> Tensor:
        """Weight of each query in the mean of its block, (B, blocks, bq, 1); 0 at empty places."""
        there = (self.queries[:, part] < self.n_queries).to(_wide(block.dtype))
        return (there / there.sum(dim=-1, keepdim=True).clamp(min=1)).unsqueeze(-1)

    def _slope(self, block: Tensor, summary: Summary) -> Tensor | float:
        if summary.slope is None:
            return 0.0
        return block.to(summary.slope.dtype) @ (self.scale * summary.slope).unsqueeze(1)

    def _far_backward(
        self,
        part: slice,
        grad: Tensor,
        block: Tensor,
        out: Tensor,
        logsumexp: Tensor,
        summary: Summary,
        sums: SummaryGradient,
    ) -> Tensor:
        """Gradient for the queries of the blocks; those of the stand-ins are added to `sums`."""
        dtype, wide, d = block.dtype, logsumexp.dtype, block.shape[-1]
        keys, values = (_for_blocks(x.to(dtype), block) for x in (summary.keys, summary.values))
        bias = self._far_bias(part, block, summary)
        slope = self._slope(block, summary)
        # A column of ones beside one of zeros changes no logit, and its gradient is the bias'.
        dq, dkeys, dvalues = attend_backward(
            grad,
            pad(block, (0, 1), value=1.0),
            pad(keys, (0, 1)),
            values,
            (out.to(wide) - slope).to(dtype),
            logsumexp,
            bias,
            scale=self.scale,
        )
        dq = dq[..., :d].to(wide)
        sums.keys += dkeys[..., :d].to(wide).sum(dim=1)
        sums.values += dvalues.to(wide).sum(dim=1)
        if summary.spread is not None:
            dbias = dkeys[..., d].to(wide) / self.scale
            factor = self.scale**2 / 2
            squares = (self._share(part, block) * block.to(wide).square()).sum(dim=-2)
            sums.spread += factor * dbias.mT @ squares
            dsquares = factor * dbias @ summary.spread
            dq += 2 * self._share(part, block) * block.to(wide) * dsquares.unsqueeze(-2)
        if summary.slope is not None:
            _, total = attend(block, keys, values, bias, scale=self.scale)
            weighted = (self.scale * (total - logsumexp).exp()).unsqueeze(-1) * grad.to(wide)
            dq += weighted @ summary.slope.mT.unsqueeze(1)
            sums.slope += block.to(wide).flatten(1, 2).mT @ weighted.flatten(1, 2)
        return dq


def _pick(x: Tensor, blocks: Tensor) -> Tensor:
    """Entries x (B, K, bk) of some blocks (B, R, m) in a row: (B, R, m bk)."""
    batch, number, size = x.shape
    first = torch.arange(0, batch * number, number, device=x.device)[:, None, None]
    found = x.reshape(-1, size).index_select(0, (blocks + first).flatten())
    return found.view(*blocks.shape[:-1], -1)


def _for_blocks(x: Tensor, block: Tensor) -> Tensor:
    return x.unsqueeze(1).expand(-1, block.shape[1], -1, -1)


def _wide(dtype: torch.dtype) -> torch.dtype:
    return torch.float64 if dtype == torch.float64 else torch.float32
