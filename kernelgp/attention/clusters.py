"""Orders of rows in which those that are alike stand together: k-means and random hyperplanes."""

import torch
from torch import Tensor

from kernelgp.attention.tree import arities, tree_order

__all__ = ["assign", "hash_ranks", "kmeans_centers", "rank_order"]

_CENTERS = 512
_SAMPLE = 8192
_STEPS = 4
_BITS = 7
_ENTRIES = 2**23


def kmeans_centers(x: Tensor, left_out: Tensor | None, generator: torch.Generator) -> Tensor:
    """Centers (B, c, d) of the rows x (B, n, d), at most 512, in the order of a tree."""
    batch, n, d = x.shape
    size = min(n, _SAMPLE)
    if left_out is None:
        rows = torch.randperm(n, generator=generator, device=generator.device)[:size]
        sample = x.index_select(1, rows.to(x.device))
    else:
        weights = (~left_out).double().to(generator.device) + 1e-300
        rows = torch.multinomial(weights, size, replacement=True, generator=generator)
        sample = x.gather(1, rows.to(x.device)[..., None].expand(-1, -1, d))
    count = min(_CENTERS, max(size // 8, 1))
    centers = sample[:, :count]
    for _ in range(_STEPS):
        nearest = assign(sample, centers)
        index = nearest[..., None].expand(-1, -1, d)
        sums = torch.zeros_like(centers).scatter_add_(1, index, sample)
        ones = torch.ones_like(nearest, dtype=x.dtype)
        counts = x.new_zeros(batch, count).scatter_add_(1, nearest, ones)[..., None]
        centers = torch.where(counts > 0, sums / counts.clamp(min=1), centers)
    order = tree_order(centers, None, arities(count), 1, generator)
    order = order[order < count].reshape(batch, count)
    return centers.gather(1, order[..., None].expand(-1, -1, d))


def assign(x: Tensor, centers: Tensor) -> Tensor:
    """Index (B, n) of the nearest center of each row, some rows at a time."""
    half = 0.5 * centers.square().sum(dim=-1).unsqueeze(-2)
    step = max(_ENTRIES // (len(x) * centers.shape[1]), 1)
    found = [(half - part @ centers.mT).argmin(dim=-1) for part in x.split(step, dim=1)]
    return torch.cat(found, dim=1)


def rank_order(ranks: Tensor, left_out: Tensor | None, places: int) -> Tensor:
    """Rows sorted by rank (B, n), those left out and empty places last: (B, places)."""
    batch, n = ranks.shape
    behind = ranks.max() + 1
    if left_out is not None:
        ranks = ranks.masked_fill(left_out, behind)
    ranks = torch.cat([ranks, behind.expand(batch, places - n)], dim=1)
    return ranks.argsort(dim=-1, stable=True)


def hash_ranks(q: Tensor, k: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Ranks of rows by seven bits of random hyperplanes in Gray order (Zandieh et al. 2023).

    Neighbors in rank differ in one bit.
    """
    planes = torch.randn(
        q.shape[-1], _BITS, generator=generator, device=generator.device, dtype=torch.float64
    ).to(q.device, q.dtype)
    return _gray_rank(q @ planes > 0), _gray_rank(k @ planes > 0)


def _gray_rank(bits: Tensor) -> Tensor:
    """Place of a code in the Gray sequence: each bit of it is the parity of those above."""
    parities = bits.cumsum(dim=-1) % 2
    powers = 2 ** torch.arange(bits.shape[-1] - 1, -1, -1, device=bits.device)
    return (parities * powers).sum(dim=-1)
