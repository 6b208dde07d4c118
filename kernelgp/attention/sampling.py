"""A sample of keys in place of the far field, as KDEformer and HyperAttention take it.

References
----------
Zandieh, Han, Daliri and Karbasi, *KDEformer*, ICML 2023 (arXiv 2302.02451): by the norms of
values. Han et al., *HyperAttention*, ICLR 2024 (arXiv 2310.05869): uniformly.
"""

import torch
from torch import Tensor

from kernelgp.attention.options import KDEOptions
from kernelgp.attention.summary import Sample
from kernelgp.errors import ArgumentError

__all__ = ["draw"]

_PROBES = 64


def draw(
    q: Tensor,
    k: Tensor,
    v: Tensor | None,
    left_out: Tensor | None,
    members: Tensor,
    scale: float,
    options: KDEOptions,
    generator: torch.Generator,
) -> tuple[Sample, Tensor]:
    """Keys drawn with replacement, and the block of keys of each, (B, s).

    Parameters
    ----------
    q : Tensor, shape (B, G, n, d)
    k, v : Tensor, shape (B, N, d), (B, N, dv)
    left_out : Tensor, shape (B, N), bool, or None
    members : Tensor, shape (B, K, bk)
        Of every block, in the keys flattened over the batch.
    """
    batch, N, _ = k.shape
    weights = _weights(q, k, v, left_out, scale, options, generator).to(generator.device)
    # A row without keys: anything, its weight is zero.
    weights = weights.where(weights.sum(dim=-1, keepdim=True) > 0, 1.0)
    shares = weights / weights.sum(dim=-1, keepdim=True)
    drawn = torch.multinomial(weights, options.n_samples, replacement=True, generator=generator)
    log_weight = -(shares.gather(1, drawn) * options.n_samples).log()
    drawn, log_weight = drawn.to(k.device), log_weight.to(k.device)
    if left_out is not None:
        log_weight = log_weight.masked_fill(left_out.gather(1, drawn), -torch.inf)
    wide = torch.float64 if k.dtype == torch.float64 else torch.float32
    block = torch.empty(batch * N, dtype=torch.int64, device=k.device)
    places = torch.arange(members.shape[1], device=k.device)[:, None].expand(members.shape)
    # What is in an empty place is in its own too, which is before it.
    block = block.index_put_((members.flatten().flip(0),), places.flatten().flip(0))
    drawn = drawn + torch.arange(0, batch * N, N, device=k.device)[:, None]
    return Sample(drawn, log_weight.to(wide)), block[drawn]


def _weights(
    q: Tensor,
    k: Tensor,
    v: Tensor | None,
    left_out: Tensor | None,
    scale: float,
    options: KDEOptions,
    generator: torch.Generator,
) -> Tensor:
    """Unnormalised probabilities of the keys, (B, N), float64."""
    uniform = torch.ones(k.shape[:2], dtype=torch.float64, device=k.device)
    if left_out is not None:
        uniform = uniform * ~left_out
    if options.sampling == "uniform":
        return uniform
    if v is None:
        remedy = "give sampling='uniform' where values are not known beforehand"
        raise ArgumentError("sampling", repr(options.sampling), remedy)
    v = v.double()
    if options.sampling == "values":
        # KDEformer's |v| / |V|_op + 1/N, V without the keys left out.
        kept = v * uniform.unsqueeze(-1)
        largest = torch.linalg.matrix_norm(kept, ord=2).unsqueeze(-1)
        norms = kept.norm(dim=-1) / largest.where(largest > 0, 1.0)
        return norms + uniform / k.shape[1]
    # sqrt(mean p² |v - o|²) over exact rows: what makes the error of a sample least.
    flat = q.flatten(1, 2)
    rows = torch.randint(
        flat.shape[1], (_PROBES,), generator=generator, device=generator.device
    ).to(q.device)
    logits = scale * flat.index_select(1, rows).double() @ k.double().mT
    if left_out is not None:
        logits = logits.masked_fill(left_out.unsqueeze(-2), -torch.inf)
    p = logits.softmax(dim=-1).nan_to_num_(nan=0.0)
    out = p @ v
    # |v - o|² = |v|² - 2 v·o + |o|², weighted by p² and summed over the probes.
    squares = p.square()
    mass = squares.sum(dim=1) * v.square().sum(dim=-1)
    mass = mass - 2 * (v * (squares.mT @ out)).sum(dim=-1)
    mass = mass + (squares.mT @ out.square().sum(dim=-1, keepdim=True)).squeeze(-1)
    # A little of all keys, or one that no probe saw could never be drawn.
    found = mass.clamp(min=0).sqrt()
    return (found / found.sum(dim=-1, keepdim=True).clamp(min=1e-300) + 0.1 / k.shape[1]) * uniform
