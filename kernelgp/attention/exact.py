"""Exact attention: torch's fused kernel, and two rearrangements where they are faster.

On the CPU the kernel deals rows to threads in equal numbers. A causal product of one head is
then uneven work, and one query against many keys is no work to share. The first is cut by
halving, ``causal(n) = causal(n/2) + causal(n/2) + full(n/2 x n/2)``, the second by keys; the
parts are merged by their log-sum-exps.
"""

import torch
from torch import Tensor
from torch.nn.functional import pad, scaled_dot_product_attention

from kernelgp.attention.door import Call
from kernelgp.attention.report import Found
from kernelgp.attention.tiles import Tile, sum_parts

__all__ = ["causal_tiles", "exact", "key_bias", "masked"]

# Measured on two threads: halves of 2048 rows keep the kernel's own tiles full.
_CAUSAL_LEAF = 2048
_SPLIT_KEYS = 8192
_SPLITS = 8


def exact(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    *,
    is_causal: bool,
    scale: float,
    key_padding: Tensor | None,
    options: None = None,
    generator: torch.Generator | None = None,
    offset: int = 0,
    with_logsumexp: bool = False,
) -> Found:
    """Softmax attention of q (B, G, n, d) with k (B, N, d) and v (B, N, dv).

    Where `is_causal`, query i sees keys up to ``i + offset``. `options` and `generator` are
    every method's and not used.
    """
    del options, generator
    n, N = q.shape[-2], k.shape[-2]
    bias = None if key_padding is None else key_bias(key_padding, q)
    if is_causal:
        halved = _uneven(q) and n >= 2 * _CAUSAL_LEAF
        if halved or offset or n != N or with_logsumexp or bias is not None:
            leaf = _CAUSAL_LEAF if halved else n
            return sum_parts(q, k, v, causal_tiles(n, N, offset, leaf, scale, bias))
    elif _idle(q, k) or with_logsumexp:
        step = -(-N // _SPLITS) if _idle(q, k) else N
        keys = [slice(j, min(j + step, N)) for j in range(0, N, step)]
        return sum_parts(q, k, v, [Tile(slice(0, n), part, scale, bias=bias) for part in keys])
    mask = None if bias is None else bias[:, None, None].to(q.dtype)
    return Found(_attend(q, _shared(k, q), _shared(v, q), mask, scale, is_causal=is_causal))


def masked(call: Call, dropout_p: float) -> Found:
    """Exact attention with a general mask or dropout, for which torch may keep the matrix."""
    lead, (n, N) = call.shape[:-2], (call.q.shape[-2], call.k.shape[-2])
    # The last leading axis counts as heads, so that a mask shared by heads is not copied.
    heads = lead[-1] if lead else 1
    mask = call.mask
    if mask is not None and mask.dim() > 3 and len(lead) > 2:
        # One entry for all where it is shared, else the batch axes as one.
        shared = all(size == 1 for size in mask.shape[:-3])
        mask = mask.expand(*(mask.shape[:-3] if shared else lead[:-1]), -1, -1, -1).flatten(0, -4)
    if call.is_causal:
        i = torch.arange(n, device=call.q.device)[:, None]
        mask = torch.arange(N, device=call.q.device) <= i + call.offset
    if call.key_padding is not None:
        keep = ~_shared(call.key_padding, call.q).reshape(-1, heads, 1, N)
        if mask is None:
            mask = keep
        elif mask.dtype == torch.bool:
            mask = mask & keep
        else:
            mask = mask.masked_fill(~keep, -torch.inf)
    q, k, v = (
        x.reshape(-1, heads, *x.shape[-2:])
        for x in (call.q, _shared(call.k, call.q), _shared(call.v, call.q))
    )
    out = _attend(q, k, v, mask, call.scale, dropout_p=dropout_p)
    return Found(out.reshape(*call.q.shape[:-1], -1))


def causal_tiles(
    n: int, N: int, offset: int, leaf: int, scale: float, bias: Tensor | None = None
) -> list[Tile]:
    """Tiles of the pairs (i, j) with ``j <= i + offset``, triangles of at most `leaf` rows."""
    first, skipped = min(max(offset, 0), N), min(max(-offset, 0), n)
    size = min(n - skipped, N - first)
    tiles = []
    if first:
        tiles.append(Tile(slice(0, n), slice(0, first), scale, bias=bias))
    if size:
        tiles += _halves(skipped, first, size, leaf, scale, bias)
        if skipped + size < n:
            tiles.append(Tile(slice(skipped + size, n), slice(first, N), scale, bias=bias))
    return tiles


def _halves(
    row: int, key: int, size: int, leaf: int, scale: float, bias: Tensor | None
) -> list[Tile]:
    if size <= leaf:
        rows, keys = slice(row, row + size), slice(key, key + size)
        return [Tile(rows, keys, scale, is_causal=True, bias=bias)]
    half = -(-size // 2)
    rows, keys = slice(row + half, row + size), slice(key, key + half)
    return [
        *_halves(row, key, half, leaf, scale, bias),
        Tile(rows, keys, scale, bias=bias),
        *_halves(row + half, key + half, size - half, leaf, scale, bias),
    ]


def _attend(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    mask: Tensor | None,
    scale: float,
    *,
    is_causal: bool = False,
    dropout_p: float = 0.0,
) -> Tensor:
    """As torch does; heads of two sizes are padded to one, or its CPU kernel forms the matrix."""
    d, dv = q.shape[-1], v.shape[-1]
    if d < dv:
        q, k = pad(q, (0, dv - d)), pad(k, (0, dv - d))
    elif dv < d:
        v = pad(v, (0, d - dv))
    out = scaled_dot_product_attention(
        q, k, v, attn_mask=mask, dropout_p=dropout_p, is_causal=is_causal, scale=scale
    )
    return out[..., :dv]


def key_bias(key_padding: Tensor, q: Tensor) -> Tensor:
    """What to add to logits by key, (B, N): -inf where it is left out."""
    wide = torch.float64 if q.dtype == torch.float64 else torch.float32
    zero = torch.zeros(key_padding.shape, dtype=wide, device=q.device)
    return zero.masked_fill_(key_padding, -torch.inf)


def _shared(x: Tensor, q: Tensor) -> Tensor:
    """Keys (B, ...) for all G query heads of q, without a copy."""
    return x.unsqueeze(1).expand(-1, q.shape[1], *x.shape[1:])


def _uneven(q: Tensor) -> bool:
    """Whether the CPU kernel would deal a causal product unevenly: few heads for its threads."""
    heads, threads = q.shape[0] * q.shape[1], torch.get_num_threads()
    return q.device.type == "cpu" and bool(heads % threads) and heads < 4 * threads


def _idle(q: Tensor, k: Tensor) -> bool:
    """Whether threads would wait: the CPU kernel deals tiles of 32 queries, and here are few."""
    tiles = q.shape[0] * q.shape[1] * -(-q.shape[-2] // 32)
    many = k.shape[-2] >= _SPLIT_KEYS
    return q.device.type == "cpu" and many and tiles < torch.get_num_threads()
