"""Fastmax: attention whose exponential is replaced by its Taylor polynomial, in linear time.

A different attention, not an approximation of softmax, unless all logits are small.

References
----------
Gerami, Hoover, Dulepet and Duraiswami, *FAST: factorizable attention for speeding up
transformers*, 2024 (arXiv 2402.07901).
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import layer_norm

from kernelgp.attention.polynomial_sums import polynomial_sums
from kernelgp.errors import ArgumentError

__all__ = ["FastmaxOptions", "fastmax"]


@dataclass(frozen=True, slots=True)
class FastmaxOptions:
    """How `attention` computes ``method="fastmax"``.

    Parameters
    ----------
    order : {1, 2}
        Of the polynomial: 1 costs O(n d²), 2 costs O(n d³): for d = 32 it overtakes softmax at
        some 4 000 tokens, for d = 64 at some 8 000.
    normalize
        Whether every query and key is standardised first: its mean over the d coordinates is
        removed and their standard deviation made 1, so that ``|q·k| <= d``. Each token by
        itself, so that a causal output does not depend on tokens to come.
    chunk
        Tokens at a time.

    Raises
    ------
    ArgumentError
        If `order` is neither 1 nor 2, or `chunk` no positive integer.
    """

    order: int = 2
    normalize: bool = True
    chunk: int = 256

    def __post_init__(self) -> None:
        if self.order not in (1, 2) or isinstance(self.order, bool):
            raise ArgumentError("order", repr(self.order), "give 1 or 2")
        if not isinstance(self.chunk, int) or isinstance(self.chunk, bool) or self.chunk < 1:
            raise ArgumentError("chunk", repr(self.chunk), "give a positive integer")


def fastmax(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    *,
    is_causal: bool = False,
    scale: float | None = None,
    key_padding: Tensor | None = None,
    options: FastmaxOptions | None = None,
) -> Tensor:
    """``Σ_j f(s_ij) v_j / Σ_j f(s_ij)`` with ``s = scale q·k`` and f of order 1 or 2.

    Parameters
    ----------
    q : Tensor, shape (..., n, d)
    k : Tensor, shape (..., N, d)
    v : Tensor, shape (..., N, dv)
        With the batch dimensions of `q`.
    is_causal
        Whether query i meets keys up to i only; needs N = n.
    scale
        None for ``d^{-1/2}`` at order 2 and ``1/d`` at order 1, where no weight of standardised
        tokens is negative.
    key_padding : boolean Tensor, shape broadcast to (..., N), optional
        True where a key is ignored.
    options

    Returns
    -------
    Tensor, shape (..., n, dv)
        0 where no key is allowed.

    Raises
    ------
    ArgumentError
        If, at order 1, `scale` or tokens that are not normalised allow weights that sum to
        nothing or less.
    """
    options = options or FastmaxOptions()
    d = q.shape[-1]
    factor = scale if scale is not None else 1 / d if options.order == 1 else 1 / math.sqrt(d)
    if options.normalize:
        q, k = _standardised(q), _standardised(k)
        # A little above 1: rounded powers of d are meant.
        if options.order == 1 and abs(factor) * d > 1 + 1e-6:
            remedy = f"give at most 1/d = {1 / d:.3g} at order 1, or weights 1 + s are negative"
            raise ArgumentError("scale", f"{factor:.3g}", remedy)
    w = torch.cat([v, torch.ones_like(v[..., :1])], dim=-1)
    if key_padding is not None:
        w = w.masked_fill(key_padding.unsqueeze(-1), 0)
    batch = torch.broadcast_shapes(q.shape[:-2], k.shape[:-2], w.shape[:-2])
    q, k, w = (
        x.expand(*batch, *x.shape[-2:]).reshape(-1, *x.shape[-2:]) for x in (q * factor, k, w)
    )
    y = polynomial_sums(q, k, w, order=options.order, is_causal=is_causal, chunk=options.chunk)
    total = y[..., -1:]
    if options.order == 1 and not options.normalize:
        _check_positive(total, w, is_causal=is_causal)
    out = y[..., :-1] / total.masked_fill(total == 0, 1)
    return out.unflatten(0, batch) if batch else out.squeeze(0)


def _flat(x: Tensor, batch: torch.Size) -> Tensor:
    return x.expand(*batch, *x.shape[-2:]).reshape(-1, *x.shape[-2:])


def _standardised(x: Tensor) -> Tensor:
    # The smallest offset that keeps a token of equal coordinates, and its slope, finite.
    return layer_norm(x, x.shape[-1:], eps=torch.finfo(x.dtype).eps ** 2)


def _check_positive(total: Tensor, w: Tensor, *, is_causal: bool) -> None:
    count = w[..., -1:].detach()
    count = count.cumsum(dim=-2) if is_causal else count.sum(dim=-2, keepdim=True)
    bad = (total.detach() <= 0) & (count > 0)
    if bad.any():
        given = f"queries and keys whose weights 1 + s sum to {total.detach().min().item():.2g}"
        raise ArgumentError("q", given, "normalize, give a smaller scale, or use order 2")
