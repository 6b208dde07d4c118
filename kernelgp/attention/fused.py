"""One fused product with its log-sum-exp, and its backward from what the *whole* row came to.

Exact and approximate attention both cut the matrix into tiles. For a tile of logits ``s`` whose
rows, over all tiles, came to the output ``o`` and the log-sum-exp ``L``,

    p = exp(s - L),   dv = pᵀ g,   ds = p (g vᵀ - <g, o>),   dq = scale ds k,   dk = scale dsᵀ q,

so that a backward needs `o` and `L` alone and no tile is kept.

On the CPU torch's flash kernel does both. It wants one head size for q, k and v, takes an
additive mask broadcast over queries, and calls the log-sum-exp of a row without keys 0: here it
is +inf in a finished row, so that ``exp(s - L)`` is zero. Elsewhere a few rows at a time are
multiplied plainly: no kernel of torch's CUDA build returns what is needed in every dtype.
"""

import torch
from torch import Tensor
from torch.nn.functional import pad

__all__ = ["attend", "attend_backward"]

_PLAIN_ENTRIES = 2**24


def attend(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    bias: Tensor | None = None,
    *,
    scale: float,
    is_causal: bool = False,
) -> tuple[Tensor, Tensor]:
    """``softmax(scale q kᵀ + bias) v`` and the log-sum-exp of every row; no autograd.

    Parameters
    ----------
    q : Tensor, shape (B, G, n, d)
    k : Tensor, shape (B, G, m, d)
        May be expanded along G: nothing is copied.
    v : Tensor, shape (B, G, m, dv)
    bias : Tensor, shape (B or 1, G or 1, 1 or n, m), float32 or the dtype of q, or None
        -inf leaves a key out.
    is_causal
        Row i sees keys up to i; n is m then, and `bias` has one row.

    Returns
    -------
    out : Tensor, shape (B, G, n, dv)
    logsumexp : Tensor, shape (B, G, n), float64 for float64 and else float32
        -inf where a row has no key; `out` is 0 there.
    """
    if q.device.type != "cpu":
        return _plain(q, k, v, bias, scale, is_causal=is_causal)
    q, k, v, dv = _one_size(q, k, v)
    out, logsumexp = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(
        q, k, v, 0.0, is_causal, attn_mask=bias, scale=scale
    )
    if bias is not None:
        logsumexp = logsumexp.masked_fill(_without_keys(bias, q, is_causal=is_causal), -torch.inf)
    return out[..., :dv], logsumexp


def attend_backward(
    grad: Tensor,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    out: Tensor,
    logsumexp: Tensor,
    bias: Tensor | None = None,
    *,
    scale: float,
    is_causal: bool = False,
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of a tile for q, k and v, from the finished rows' `out` and `logsumexp`.

    Parameters
    ----------
    grad, out : Tensor, shape (B, G, n, dv)
        In place of ``out`` anything with the same ``<grad, out>`` row by row does.
    logsumexp : Tensor, shape (B, G, n)
        +inf in rows without keys.
    """
    if q.device.type != "cpu":
        return _plain_backward(grad, q, k, v, out, logsumexp, bias, scale, is_causal=is_causal)
    d, dv = q.shape[-1], v.shape[-1]
    q, k, v, _ = _one_size(q, k, v)
    if dv < q.shape[-1]:
        grad, out = (pad(x, (0, q.shape[-1] - dv)) for x in (grad, out))
    dq, dk, dv_ = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward(
        grad, q, k, v, out, logsumexp, 0.0, is_causal, attn_mask=bias, scale=scale
    )
    return dq[..., :d], dk[..., :d], dv_[..., :dv]


def _without_keys(bias: Tensor, q: Tensor, *, is_causal: bool) -> Tensor:
    """Which rows see no key, broadcasting to (B, G, n)."""
    seen = bias > -torch.inf
    if is_causal:
        return seen.squeeze(-2).cumsum(dim=-1)[..., : q.shape[-2]] == 0
    return ~seen.any(dim=-1)


def _one_size(q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor, Tensor, int]:
    d, dv = q.shape[-1], v.shape[-1]
    if d < dv:
        q, k = pad(q, (0, dv - d)), pad(k, (0, dv - d))
    elif dv < d:
        v = pad(v, (0, d - dv))
    return q, k, v, dv


def _plain(
    q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None, scale: float, *, is_causal: bool
) -> tuple[Tensor, Tensor]:
    """Some rows at a time; half precision is multiplied as it is and summed in float32."""
    outs, sums = [], []
    for rows in _row_chunks(q, k):
        logits = _logits(q, k, bias, scale, rows, is_causal=is_causal)
        top = logits.amax(dim=-1, keepdim=True)
        top = top.where(top > -torch.inf, 0.0)
        p = (logits - top).exp_()
        total = p.sum(dim=-1, keepdim=True)
        outs.append((p / total.where(total > 0, 1.0)).to(v.dtype) @ v)
        sums.append((total.log() + top).squeeze(-1))
    return torch.cat(outs, dim=-2), torch.cat(sums, dim=-1)


def _plain_backward(
    grad: Tensor,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    out: Tensor,
    logsumexp: Tensor,
    bias: Tensor | None,
    scale: float,
    *,
    is_causal: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    wide = logsumexp.dtype
    dq, dk, dv = [], k.new_zeros(k.shape, dtype=wide), v.new_zeros(v.shape, dtype=wide)
    for rows in _row_chunks(q, k):
        g = grad[..., rows, :]
        logits = _logits(q, k, bias, scale, rows, is_causal=is_causal)
        p = (logits - logsumexp[..., rows, None]).exp_()
        inner = (g.to(wide) * out[..., rows, :].to(wide)).sum(dim=-1, keepdim=True)
        ds = (p * ((g @ v.mT).to(wide) - inner)).mul_(scale).to(q.dtype)
        dv += p.to(g.dtype).mT @ g
        dk += ds.mT @ q[..., rows, :]
        dq.append(ds @ k)
    return torch.cat(dq, dim=-2), dk.to(k.dtype), dv.to(v.dtype)


def _row_chunks(q: Tensor, k: Tensor) -> list[slice]:
    row = q.shape[0] * q.shape[1] * k.shape[-2]
    step = max(_PLAIN_ENTRIES // max(row, 1), 1)
    return [slice(i, min(i + step, q.shape[-2])) for i in range(0, q.shape[-2], step)]


def _logits(
    q: Tensor, k: Tensor, bias: Tensor | None, scale: float, rows: slice, *, is_causal: bool
) -> Tensor:
    wide = torch.float64 if q.dtype == torch.float64 else torch.float32
    logits = (q[..., rows, :] @ k.mT).to(wide) * scale
    if bias is not None:
        logits = logits + (bias if bias.shape[-2] == 1 else bias[..., rows, :])
    if is_causal:
        i = torch.arange(rows.start, rows.stop, device=q.device)[:, None]
        j = torch.arange(k.shape[-2], device=q.device)
        logits = logits.masked_fill(j > i, -torch.inf)
    return logits
