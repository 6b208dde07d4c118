"""Sums of Gaussian kernels: the leaves with most mass point by point, the rest in bulk.

A leaf of weight W, mean c and variances s (in bandwidths) is taken to be Gaussian, of which the
kernel's sum is

    log W - 1/2 Σ_a log(1 + s_a) - 1/2 Σ_a (y_a - c_a)² / (1 + s_a),

one product of the squares and the coordinates of y with numbers of the leaf. The tree is that
of `method="kde"` of attention, of which this is the normaliser. Every y chooses leaves of its
own: one that lies alone would lose its mass to the choice of others.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from kernelgp.attention.scaled_points import Targets
from kernelgp.attention.tree import arities, tree_order

__all__ = ["NearFarDensity", "leaf_of"]

# Points that each y meets one by one.
_NEAR = 512
# Pairs of queries and leaves, and numbers of near points, at a time: what fits the cache.
_PAIRS, _NUMBERS = 2**18, 2**20


@dataclass(frozen=True, slots=True, eq=False)
class NearFarDensity:
    """``log Σ_i w_i exp(-|y - x_i|² / 2)`` for points in bandwidths and weights not negative.

    Attributes
    ----------
    points : Tensor, shape (L, leaf, d)
    log_weights : Tensor, shape (L, leaf)
        -inf at empty places and at points of no weight.
    mixing : Tensor, shape (2 d, L)
        What squares and coordinates of y are multiplied with.
    constant : Tensor, shape (L,)
    centers : Targets, of shape (L, d)
    radius : Tensor, shape (L,)
        Distance of the furthest point of a leaf from its center.
    log_total : Tensor, shape (L,)
        Logarithm of its weight.
    """

    points: Tensor
    log_weights: Tensor
    mixing: Tensor
    constant: Tensor
    centers: Targets
    radius: Tensor
    log_total: Tensor

    @classmethod
    def of(
        cls, x: Tensor, weights: Tensor, leaf: int, generator: torch.Generator
    ) -> "NearFarDensity":
        n, d = x.shape
        sizes = arities(-(-n // leaf))
        left_out = (weights == 0).unsqueeze(0)
        order = tree_order(x.unsqueeze(0), left_out, sizes, leaf, generator)[0]
        there = order < n
        order = order.clamp(max=n - 1)
        points, kept = x[order], weights[order] * there
        by_leaf, w = points.view(-1, leaf, d), kept.view(-1, leaf, 1)
        total = w.sum(dim=1)
        share = w / total.clamp_min(torch.finfo(x.dtype).tiny).unsqueeze(1)
        mean = (share * by_leaf).sum(dim=1)
        spread = 1 + (share * (by_leaf - mean.unsqueeze(1)).square()).sum(dim=1)
        radius = (by_leaf - mean.unsqueeze(1)).norm(dim=-1).mul_(w.squeeze(-1) > 0).amax(dim=-1)
        log_total = total.squeeze(-1).log()
        constant = log_total - 0.5 * (spread.log() + mean.square() / spread).sum(dim=-1)
        return cls(
            by_leaf,
            kept.log().view(-1, leaf),
            torch.cat([-0.5 / spread, mean / spread], dim=-1).mT.contiguous(),
            constant,
            Targets(mean),
            radius,
            log_total,
        )

    def at(self, y: Tensor) -> tuple[Tensor, Tensor]:
        """The logarithms at y (m, d), and the share of each that came from leaves."""
        leaves, leaf, d = self.points.shape
        near = min(leaves, _NEAR // leaf)
        step = max(1, min(_PAIRS // leaves, _NUMBERS // (near * leaf * d)))
        parts = zip(*(self._part(part, near) for part in y.split(step)), strict=True)
        found, share = (torch.cat(part) for part in parts)
        return found, share

    def _part(self, y: Tensor, near: int) -> tuple[Tensor, Tensor]:
        far = torch.addmm(self.constant, torch.cat([y.square(), y], dim=-1), self.mixing)
        # A leaf ends somewhere, and far out no Gaussian says where: what it holds is bounded by
        # all its weight at its nearest end. Leaves are near by both, as a geometric mean.
        distance = self.centers.sqdist(y).sqrt_().sub_(self.radius).clamp_(min=0)
        most = torch.addcmul(self.log_total, distance, distance, value=-0.5)
        far = torch.minimum(far, most)
        chosen = most.add_(far).topk(near, dim=-1, sorted=False).indices
        from_far = far.scatter_(-1, chosen, -torch.inf).logsumexp(dim=-1)
        points, log_weights = self.points[chosen].flatten(1, 2), self.log_weights[chosen].flatten(1)
        logits = Targets(points).sqdist(y.unsqueeze(1)).squeeze(1).mul_(-0.5).add_(log_weights)
        total = torch.logaddexp(logits.logsumexp(dim=-1), from_far)
        return total, (from_far - total).exp().nan_to_num(nan=0.0)


def leaf_of(n: int) -> int:
    """Points of a leaf: 8, and more where leaves would be more than 4096; a power of 2."""
    return min(64, 2 ** max(3, math.ceil(math.log2(n / 4096))))
