"""Attention to a coreset: kernel halving keeps few keys that stand for all, with equal weights.

Unlike random samples, those kept balance what was dropped, in the kernel
``exp(-scale |k - k'|² / 2) (v·v' + max |v|²)`` of keys and values: that of attention's numerator
and normaliser, divided by what the keys' norms contribute so that nothing overflows.

References
----------
Carrell, Gong, Shetty, Dwivedi and Mackey, *Low-rank thinning*, ICML 2025 (Thinformer).
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from kernelgp.attention.exact import causal_tiles, key_bias
from kernelgp.attention.fused import attend, attend_backward
from kernelgp.attention.options import check_count
from kernelgp.attention.report import Found
from kernelgp.attention.tiles import Part, Tile, sum_parts
from kernelgp.thinning import compress

__all__ = ["ThinnedOptions", "thinned", "thinned_parts"]


@dataclass(frozen=True, slots=True)
class ThinnedOptions:
    """Of ``method="thinned"``.

    Attributes
    ----------
    size
        Keys that stand for all, about: their number is halved until it is nearest to this.
    causal_leaf
        Rows up to which a causal product is exact.
    """

    size: int = 1024
    causal_leaf: int = 4096

    def __post_init__(self) -> None:
        check_count("size", self.size)
        check_count("causal_leaf", self.causal_leaf)


def thinned(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    *,
    is_causal: bool,
    scale: float,
    key_padding: Tensor | None,
    options: ThinnedOptions,
    generator: torch.Generator,
    offset: int = 0,
) -> Found:
    """Softmax attention to a coreset; gradients with the choice of keys held fixed.

    A key that is not chosen has no gradient.
    """
    parts = thinned_parts(
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


def thinned_parts(
    q: Tensor,
    k: Tensor,
    v: Tensor | None,
    *,
    is_causal: bool,
    scale: float,
    key_padding: Tensor | None,
    options: ThinnedOptions,
    generator: torch.Generator,
    offset: int = 0,
) -> list[Part]:
    """The parts of which attention is summed; without `v` keys are chosen by themselves."""
    n, N = q.shape[-2], k.shape[-2]
    bias = None if key_padding is None else key_bias(key_padding, q)
    if is_causal:
        tiles = causal_tiles(n, N, offset, options.causal_leaf, scale, bias)
    else:
        tiles = [Tile(slice(0, n), slice(0, N), scale, bias=bias)]
    return [_thin(tile, k, v, options.size, generator) for tile in tiles]


@dataclass(frozen=True, slots=True, eq=False)
class Coreset:
    """All pairs of a range of queries with some keys, each standing for several.

    Attributes
    ----------
    index : Tensor, shape (B, s), int64
    bias : Tensor, shape (B, s)
        Logarithm of how many keys each stands for; -inf leaves it out.
    """

    rows: slice
    index: Tensor
    bias: Tensor
    scale: float

    def forward(self, q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor, None]:
        q, k, v, bias = self._cut(q, k, v)
        return *attend(q, k, v, bias, scale=self.scale), None

    def backward(
        self, grad: Tensor, q: Tensor, k: Tensor, v: Tensor, out: Tensor, logsumexp: Tensor
    ) -> tuple[Tensor, tuple[slice, Tensor, Tensor]]:
        n_keys = k.shape[-2]
        q, k, v, bias = self._cut(q, k, v)
        dq, *dkv = attend_backward(grad, q, k, v, out, logsumexp, bias, scale=self.scale)
        dk, dv = (self._spread(x.sum(dim=1), n_keys) for x in dkv)
        return dq, (slice(0, n_keys), dk, dv)

    def _cut(self, q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        groups = q.shape[1]
        q = q[..., self.rows, :]
        k, v = (_rows_of(x, self.index).unsqueeze(1).expand(-1, groups, -1, -1) for x in (k, v))
        return q, k, v, self.bias[:, None, None]

    def _spread(self, x: Tensor, n_keys: int) -> Tensor:
        zero = x.new_zeros(x.shape[0], n_keys, x.shape[-1])
        return zero.scatter_add_(1, self.index.unsqueeze(-1).expand_as(x), x)


def _rows_of(x: Tensor, index: Tensor) -> Tensor:
    return x.gather(1, index.unsqueeze(-1).expand(-1, -1, x.shape[-1]))


def _thin(tile: Tile, k: Tensor, v: Tensor | None, size: int, generator: torch.Generator) -> Part:
    """The tile with a coreset in place of its keys, unless they are few or it is a triangle."""
    start, stop = tile.keys.start, tile.keys.stop
    if tile.is_causal or _levels(stop - start, size) == 0:
        return tile
    wide = torch.float64 if k.dtype == torch.float64 else torch.float32
    k = k.detach().to(wide)
    v = k.new_zeros(*k.shape[:-1], 1) if v is None else v.detach().to(wide)
    if tile.bias is None:
        everyone = torch.arange(start, stop, device=k.device).expand(k.shape[0], -1)
        index, count = _choose(everyone, k, v, tile.scale, size, generator)
        bias = count.log().to(wide).expand_as(index)
        return Coreset(tile.rows, index, bias, tile.scale)
    rows = [start + keys.nonzero().squeeze(-1) for keys in tile.bias[:, tile.keys] > -torch.inf]
    found = [
        _choose(keys[None], k[b : b + 1], v[b : b + 1], tile.scale, size, generator)
        for b, keys in enumerate(rows)
    ]
    longest = max(1, *(index.shape[-1] for index, _ in found))
    index = torch.zeros(len(found), longest, dtype=torch.int64, device=k.device)
    bias = torch.full(index.shape, -torch.inf, dtype=wide, device=k.device)
    for b, (kept, count) in enumerate(found):
        index[b, : kept.shape[-1]] = kept
        bias[b, : kept.shape[-1]] = count.log()
    return Coreset(tile.rows, index, bias, tile.scale)


def _levels(n: int, size: int) -> int:
    return max(0, round(math.log2(n / size))) if n else 0


def _choose(
    index: Tensor, k: Tensor, v: Tensor, scale: float, size: int, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """A coreset of keys (B, m): its keys (B, s), and how many each stands for, (s,)."""
    b, m = index.shape
    if m == 0:
        return index, torch.ones(0, device=k.device)
    offsets = torch.arange(b, device=k.device).unsqueeze(-1) * k.shape[1]
    # Of these keys alone: what comes later must not change what is chosen now.
    largest = _rows_of(v, index).square().sum(dim=-1).max().item()
    points = _Tokens(k.flatten(0, 1), v.flatten(0, 1), scale, largest or 1.0)
    kept, counts, start = [], [], 0
    # What 4^levels does not divide is halved less often: digit by digit in base 4.
    for levels in range(_levels(m, size), -1, -1):
        usable = (m - start) // 4**levels * 4**levels
        if usable:
            part = index[:, start : start + usable] + offsets
            kept.append(compress(part, points.of, generator, levels) - offsets)
            counts.append(torch.full((usable // 2**levels,), 2.0**levels, device=k.device))
        start += usable
    return torch.cat(kept, dim=-1), torch.cat(counts)


@dataclass(frozen=True, slots=True, eq=False)
class _Tokens:
    """Keys and values, (n, d) and (n, dv), or groups of them, and their kernel."""

    k: Tensor
    v: Tensor
    scale: float
    constant: float

    def of(self, groups: Tensor) -> "_Tokens":
        k = self.k[groups]
        # Differences from one token of the group: far from the origin digits would be lost.
        return _Tokens(k - k[:, :1], self.v[groups], self.scale, self.constant)

    def gram(self, at: slice) -> Tensor:
        return self._between(at, at)

    def later(self, at: slice, signs: Tensor) -> Tensor:
        rest = self._between(slice(at.stop, None), at)
        return (rest @ signs.to(rest.dtype).unsqueeze(-1)).squeeze(-1)

    def _between(self, rows: slice, columns: slice) -> Tensor:
        left, right = self.k[:, rows], self.k[:, columns]
        half_left, half_right = (x.square().sum(dim=-1) * (self.scale / 2) for x in (left, right))
        logits = torch.baddbmm(half_right.unsqueeze(-2), left, right.mT, beta=-1, alpha=self.scale)
        weight = logits.sub_(half_left.unsqueeze(-1)).exp_()
        products = torch.bmm(self.v[:, rows], self.v[:, columns].mT)
        return weight.mul_(products.add_(self.constant))
