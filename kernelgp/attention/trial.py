"""A look at a few blocks of queries, before an attempt is worth the cost of all."""

import dataclasses

import torch
from torch import Tensor

from kernelgp.attention.blocks import Blocks
from kernelgp.attention.fused import attend
from kernelgp.attention.summary import rows_of

__all__ = ["trial_errors"]

_BLOCKS = 4
_ROWS = 16


@torch.no_grad()
def trial_errors(
    part: Blocks,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    key_padding: Tensor | None,
    generator: torch.Generator,
) -> Tensor:
    """Relative error of `part` on 16 rows each of four random blocks of queries, by entry: (B,).

    Rows of a block are alike, so that this is a coarser estimate than that of `probe`.

    Parameters
    ----------
    q : Tensor, shape (B, G, n, d)
    k, v : Tensor, shape (B, N, d), (B, N, dv)
    key_padding : Tensor, shape (B, N), bool, or None
    """
    blocks, size = part.queries.shape[1:]
    some = torch.randperm(blocks, generator=generator, device=generator.device)[:_BLOCKS]
    some = some.to(q.device)
    few = dataclasses.replace(part, queries=part.queries[:, some], near=part.near[:, some])
    found, _, _ = few.forward(q, k, v)
    q, k, v = q[..., part.rows, :], k[:, part.keys], v[:, part.keys]
    at = few.queries[..., :: max(size // _ROWS, 1)].flatten(1)
    there = at < part.n_queries
    at = at.clamp(max=part.n_queries - 1)
    wide = torch.float64 if q.dtype == torch.float64 else torch.float32
    bias = None
    if key_padding is not None:
        left_out = key_padding[:, None, None, part.keys]
        bias = torch.zeros(left_out.shape, dtype=wide, device=q.device)
        bias = bias.masked_fill_(left_out, -torch.inf)
    rows = rows_of(q.flatten(1, 2), at).unsqueeze(1)
    exactly, _ = attend(rows, k.unsqueeze(1), v.unsqueeze(1), bias, scale=part.scale)
    exactly = exactly.squeeze(1).double() * there.unsqueeze(-1)
    given = rows_of(found.flatten(1, 2), at).double() * there.unsqueeze(-1)
    total = exactly.square().sum(dim=(-2, -1))
    error = (given - exactly).square().sum(dim=(-2, -1))
    return (error / total.clamp(min=torch.finfo(total.dtype).tiny)).sqrt()
