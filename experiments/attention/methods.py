"""Ours and the peers, each a function of heads that is timed."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from experiments.attention.families import Heads
from experiments.harness import Method
from kernelgp.attention import FeatureOptions, KDEOptions, attention

__all__ = ["AUTO", "HYPER", "KDE", "KDEFORMER", "NAIVE", "PERFORMER", "SDPA", "methods"]

AUTO, EXACT, KDE = "kernelgp, auto", "kernelgp, exact", "kernelgp, kde"
KDE_FINE, KDE_CLUSTERS, THINNED = "kde, leaf 8", "kde, k-means", "kernelgp, thinned"
FEATURES = "kernelgp, features"
SDPA, NAIVE = "torch SDPA", "naive softmax"
KDEFORMER, HYPER, PERFORMER = "KDEformer", "HyperAttention", "Performer"

# 512 keys of the query's own block and 512 sampled ones, as in the papers' demonstrations.
_HASHED: dict[str, Any] = {
    "grouping": "lsh",
    "residual": "sample",
    "block_query": 512,
    "near": 8,
    "n_samples": 512,
}
_OPTIONS = {
    KDE: KDEOptions(),
    KDE_FINE: KDEOptions(leaf=8),
    KDE_CLUSTERS: KDEOptions(leaf=16, near=8, grouping="kmeans"),
    KDEFORMER: KDEOptions(**_HASHED),
    HYPER: KDEOptions(sampling="uniform", **_HASHED),
}


def methods(n: int, *, is_causal: bool = False) -> list[Method]:
    """All that can be run at n queries: the matrix of the naive softmax up to 8192."""
    found = [
        Method(KDE, _by_kde(KDE)),
        Method(AUTO, _by_name("auto")),
        Method(EXACT, _by_name("exact")),
        Method(KDE_FINE, _by_kde(KDE_FINE)),
        Method(KDE_CLUSTERS, _by_kde(KDE_CLUSTERS)),
        Method(THINNED, _by_name("thinned")),
        Method(FEATURES, _by_features),
        Method(SDPA, lambda heads: heads.exactly),
        Method(KDEFORMER, _by_kde(KDEFORMER)),
        Method(HYPER, _by_kde(HYPER)),
    ]
    if not is_causal:
        found.append(Method(PERFORMER, lambda heads: lambda: performer(heads)))
        if n <= 8192:
            found.append(Method(NAIVE, lambda heads: lambda: naive(heads)))
    return found


def _by_name(method: str) -> Callable[[Heads], Callable[[], Tensor]]:
    return lambda heads: (
        lambda: attention(
            heads.q,
            heads.k,
            heads.v,
            method=method,
            scale=heads.scale,
            is_causal=heads.is_causal,
        )
    )


def _by_features(heads: Heads) -> Callable[[], Tensor]:
    # As many as the peer's.
    options = FeatureOptions(512)
    return lambda: attention(
        heads.q,
        heads.k,
        heads.v,
        method="features",
        options=options,
        scale=heads.scale,
        is_causal=heads.is_causal,
    )


def _by_kde(name: str) -> Callable[[Heads], Callable[[], Tensor]]:
    options = _OPTIONS[name]
    return lambda heads: (
        lambda: attention(
            heads.q,
            heads.k,
            heads.v,
            method="kde",
            options=options,
            scale=heads.scale,
            is_causal=heads.is_causal,
        )
    )


def naive(heads: Heads) -> Tensor:
    """The matrix, as it is written."""
    return (heads.scale * heads.q @ heads.k.mT).softmax(dim=-1) @ heads.v


def performer(heads: Heads, features: int = 512) -> Tensor:
    """Positive features (Choromanski et al. 2021), orthogonal by blocks, with a stabiliser."""
    generator = torch.Generator().manual_seed(0)
    d = heads.q.shape[-1]
    blocks = []
    for _ in range(-(-features // d)):
        basis, _ = torch.linalg.qr(torch.randn(d, d, generator=generator))
        blocks.append(basis * torch.randn(d, d, generator=generator).norm(dim=1))
    planes = torch.cat(blocks)[:features].T
    q, k = (heads.scale**0.5 * x for x in (heads.q, heads.k))
    exponents = [x @ planes - x.square().sum(dim=-1, keepdim=True) / 2 for x in (q, k)]
    # A factor of each query, and one of all keys, drop out of the ratio.
    left = (exponents[0] - exponents[0].amax(dim=-1, keepdim=True)).exp()
    right = (exponents[1] - exponents[1].amax(dim=(-2, -1), keepdim=True)).exp()
    total = left @ right.sum(dim=-2).unsqueeze(-1)
    return left @ (right.mT @ heads.v) / total.clamp(min=torch.finfo(total.dtype).tiny)
