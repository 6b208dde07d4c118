"""``method="kde"``: near blocks of keys one by one, the far field by leaves of a tree.

A causal product is two causal halves and an unmasked block between them; halves of a few
thousand rows are exact. Which keys are near, and the order of all, are chosen once from q and k:
the backward takes them as given.
"""

import math
import warnings
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from kernelgp.attention.blocks import Blocks
from kernelgp.attention.clusters import assign, hash_ranks, kmeans_centers, rank_order
from kernelgp.attention.exact import causal_tiles
from kernelgp.attention.options import KDEOptions
from kernelgp.attention.report import Found
from kernelgp.attention.sampling import draw
from kernelgp.attention.summary import Leaves, Summary
from kernelgp.attention.tiles import Part, Tile, sum_parts
from kernelgp.attention.tree import arities, tree_order
from kernelgp.errors import NumericalWarning

__all__ = ["default_leaf", "kde", "kde_parts"]

_SCORED = 16
_ENTRIES = 2**22
# Of Gaussian keys with a variance of 0.9 the slope takes a third of the error, with 3.5 nothing,
# and of smooth ones with 3.9 it makes the error four times as large.
_LINEAR_UP_TO = 2.0


def kde(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    *,
    is_causal: bool,
    scale: float,
    key_padding: Tensor | None,
    options: KDEOptions,
    generator: torch.Generator,
    offset: int = 0,
) -> Found:
    """Attention of q (B, G, n, d) with k (B, N, d) and v (B, N, dv), the far field in bulk."""
    parts = kde_parts(
        q,
        k,
        v,
        is_causal=is_causal,
        scale=scale,
        key_padding=key_padding,
        options=options,
        generator=generator,
        offset=offset,
    )
    return sum_parts(q, k, v, parts)


@torch.no_grad()
def kde_parts(
    q: Tensor,
    k: Tensor,
    v: Tensor | None,
    *,
    is_causal: bool,
    scale: float,
    key_padding: Tensor | None,
    options: KDEOptions,
    generator: torch.Generator,
    offset: int = 0,
) -> list[Part]:
    """Parts that make up the product, for `sum_parts` with any values.

    `v` is read only where keys are sampled by their values.
    """
    n, N = q.shape[-2], k.shape[-2]
    n_blocks = -(-N // options.block_key)
    if options.near > n_blocks:
        warnings.warn(
            f"near: got {options.near} with {n_blocks} blocks of {options.block_key} keys; "
            f"all {n_blocks} are near and the product is exact.",
            NumericalWarning,
            stacklevel=4,
        )
    bias = None
    if key_padding is not None:
        wide = torch.float64 if q.dtype == torch.float64 else torch.float32
        bias = torch.zeros(key_padding.shape, dtype=wide, device=k.device)
        bias = bias.masked_fill(key_padding, -torch.inf)
    whole = Tile(slice(0, n), slice(0, N), scale)
    tiles = causal_tiles(n, N, offset, options.causal_leaf, scale, bias) if is_causal else [whole]
    parts: list[Part] = []
    for tile in tiles:
        if tile.is_causal:
            parts.append(tile)
        else:
            parts.append(_blocks(tile, q, k, v, key_padding, options, generator))
    return parts


def _blocks(
    tile: Tile,
    q: Tensor,
    k: Tensor,
    v: Tensor | None,
    key_padding: Tensor | None,
    options: KDEOptions,
    generator: torch.Generator,
) -> Blocks:
    """The pairs of a tile, by blocks."""
    q, k = q[..., tile.rows, :], k[:, tile.keys]
    v = None if v is None else v[:, tile.keys]
    left_out = None if key_padding is None else key_padding[:, tile.keys]
    wide = torch.float64 if q.dtype == torch.float64 else torch.float32
    batch, groups, n, d = q.shape
    N = k.shape[1]
    flat_q, wide_k = q.reshape(-1, n, d).to(wide), k.to(wide)
    leaf = options.leaf or default_leaf(N, options.block_key)
    shape = _Shape.of(n, N, options, leaf)
    query_order, key_order = _orders(flat_q, wide_k, left_out, shape, options, generator)

    members = key_order.clamp(max=N - 1)
    valid = None
    if left_out is not None or shape.n_keys > N:
        valid = key_order < N
        if left_out is not None:
            valid = valid & ~left_out.gather(1, members)
        valid = valid.view(batch, -1, options.block_key)
    members = members + torch.arange(0, batch * N, N, device=k.device)[:, None]
    first = torch.arange(0, batch * groups * n, n, device=q.device)[:, None]
    queries = torch.where(query_order < n, query_order + first, batch * groups * n)
    queries = queries.view(batch, -1, options.block_query)

    leaves = Leaves(
        members.view(batch, -1, leaf), None if valid is None else valid.view(batch, -1, leaf), None
    )
    summary = leaves.summarize(k, k[..., :1])
    if options.linear:
        leaves = replace(leaves, linear=_nearly_linear(q.to(wide), summary, tile.scale))
    members = members.view(batch, -1, options.block_key)
    n_near = min(options.near, members.shape[1])
    if options.grouping == "lsh":
        near = _beside(queries.shape[1] // groups, members.shape[1], n_near, q.device)
        near = near.repeat(batch, groups, 1)
    else:
        near = _heaviest(flat_q.flatten(0, 1), queries, summary, tile.scale, n_near, members)
    per_block = options.block_key // leaf
    far_block = torch.arange(members.shape[1], device=k.device).repeat_interleave(per_block)
    far_block = far_block.expand(batch, -1)
    far = leaves if options.residual == "leaf" else None
    if options.residual == "sample":
        far, far_block = draw(q, k, v, left_out, members, tile.scale, options, generator)
    return Blocks(
        rows=tile.rows,
        keys=tile.keys,
        scale=tile.scale,
        queries=queries,
        near=near,
        members=members,
        valid=valid,
        far=far,
        far_block=far_block,
        n_queries=batch * groups * n,
    )


def _nearly_linear(q: Tensor, summary: Summary, scale: float) -> Tensor:
    """1 for entries in whose leaves weights change about linearly with the key, (B, 1, 1), else 0.

    Judged by the mean variance of a logit within a leaf.
    """
    there = (summary.log_weight > -torch.inf).to(q.dtype).unsqueeze(-1)
    assert summary.spread is not None
    spread = (summary.spread * there).sum(dim=1) / there.sum(dim=1).clamp(min=1)
    variance = scale**2 * (q.square().mean(dim=(1, 2)) * spread).sum(dim=-1)
    return (variance <= _LINEAR_UP_TO).to(q.dtype)[:, None, None]


def default_leaf(N: int, block_key: int) -> int:
    """16, and more where leaves would be more than 2048; a divisor of `block_key`."""
    wanted = max(16, N // 2048)
    return max(size for size in range(1, min(wanted, block_key) + 1) if block_key % size == 0)


@dataclass(frozen=True, slots=True)
class _Shape:
    """Arities of the two trees, and the places that they have."""

    query_arities: list[int]
    key_arities: list[int]
    leaf: int
    n_queries: int
    n_keys: int

    @classmethod
    def of(cls, n: int, N: int, options: KDEOptions, leaf: int) -> "_Shape":
        queries = arities(-(-n // options.block_query))
        keys = arities(-(-N // options.block_key))
        # Leaves nest inside blocks, whatever their number.
        inner = [f for f in arities(options.block_key // leaf) if f > 1]
        if math.prod(inner) != options.block_key // leaf:
            inner = [options.block_key // leaf]
        places = math.prod(queries) * options.block_query, math.prod(keys) * options.block_key
        return cls(queries, [*keys, *inner], leaf, *places)


def _orders(
    q: Tensor,
    k: Tensor,
    left_out: Tensor | None,
    shape: _Shape,
    options: KDEOptions,
    generator: torch.Generator,
) -> tuple[Tensor, Tensor]:
    """Orders of the queries (B G, places) and of the keys (B, places)."""
    if options.grouping == "tree":
        keys = tree_order(k, left_out, shape.key_arities, shape.leaf, generator)
        size = options.block_query
        return tree_order(q, None, shape.query_arities, size, generator), keys
    if options.grouping == "lsh":
        query_ranks, key_ranks = hash_ranks(q, k, generator)
    else:
        centers = kmeans_centers(k, left_out, generator)
        key_ranks = assign(k, centers)
        groups = len(q) // len(k)
        query_centers = centers.repeat_interleave(groups, dim=0)
        if not _alike(q, k, left_out, query_centers, centers):
            query_centers = kmeans_centers(q, None, generator)
        query_ranks = assign(q, query_centers)
    return (
        rank_order(query_ranks, None, shape.n_queries),
        rank_order(key_ranks, left_out, shape.n_keys),
    )


def _alike(
    q: Tensor, k: Tensor, left_out: Tensor | None, query_centers: Tensor, centers: Tensor
) -> bool:
    """Whether the centers of the keys fit the queries too: about as near to them as to keys."""
    rows = q[:, :: -(-q.shape[1] // 1024)]
    distances = _distances(rows, query_centers)
    own = _distances(k[:, :: -(-k.shape[1] // 1024)], centers)
    if left_out is not None:
        own = own[~left_out[:, :: -(-k.shape[1] // 1024)]]
    return bool(own.numel()) and bool(distances.mean() <= 1.5 * own.mean())


def _distances(x: Tensor, centers: Tensor) -> Tensor:
    return torch.cdist(x, centers).amin(dim=-1).square()


def _beside(n_query_blocks: int, n_key_blocks: int, near: int, device: torch.device) -> Tensor:
    """The blocks of keys at each block of queries' own place in the order, (R, m)."""
    place = torch.arange(n_query_blocks, device=device) * n_key_blocks // n_query_blocks
    first = place.clamp(max=n_key_blocks - near)
    return first[:, None] + torch.arange(near, device=device)


def _heaviest(
    q: Tensor, queries: Tensor, summary: Summary, scale: float, near: int, members: Tensor
) -> Tensor:
    """The blocks of keys with most mass for some queries of each block, (B, R, m).

    Leaves are scored by their second-order log mass.
    """
    batch = len(queries)
    # The places in use come first in every block.
    count = (queries < len(q)).sum(dim=-1, keepdim=True).clamp(min=1)
    step = torch.arange(_SCORED, device=q.device) * count // _SCORED
    rows = queries.gather(-1, step).clamp(max=len(q) - 1)
    assert summary.spread is not None
    keys = torch.cat([scale * summary.keys, scale**2 / 2 * summary.spread], dim=-1)
    chosen = []
    per_chunk = max(_ENTRIES // (batch * _SCORED * keys.shape[1]), 1)
    for part in rows.split(per_chunk, dim=1):
        x = q.index_select(0, part.flatten()).view(batch, -1, q.shape[-1])
        scores = torch.cat([x, x.square()], dim=-1) @ keys.mT
        scores = scores + summary.log_weight.unsqueeze(-2)
        mass = scores.softmax(dim=-1).nan_to_num_(nan=0.0)
        mass = mass.view(batch, -1, _SCORED, keys.shape[1]).sum(dim=-2)
        mass = mass.view(batch, -1, members.shape[1], keys.shape[1] // members.shape[1])
        chosen.append(mass.sum(dim=-1).topk(near, dim=-1).indices)
    return torch.cat(chosen, dim=1)
