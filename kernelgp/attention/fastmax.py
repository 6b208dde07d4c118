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

from kernelgp.attention.options import check_count
from kernelgp.attention.polynomial_sums import polynomial_sums
from kernelgp.attention.report import Found
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
        removed and its norm made ``sqrt(d)`` at order 2, and ``d^{1/4}`` at order 1, where the
        default scale then keeps logits within [-1, 1] and weights ``1 + s`` above 0. Each
        token by itself, so that a causal output does not depend on tokens to come.
    chunk
        Tokens at a time; None is 128 at order 1 and 256 at order 2, where it was fastest.

    Raises
    ------
    ArgumentError
        If `order` is neither 1 nor 2, or `chunk` no positive integer.
    """

    order: int = 2
    normalize: bool = True
    chunk: int | None = None

    def __post_init__(self) -> None:
        if self.order not in (1, 2) or isinstance(self.order, bool):
            raise ArgumentError("order", repr(self.order), "give 1 or 2")
        if self.chunk is not None:
            check_count("chunk", self.chunk)


def fastmax(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    *,
    is_causal: bool,
    scale: float,
    key_padding: Tensor | None,
    options: FastmaxOptions,
    generator: torch.Generator | None = None,  # noqa: ARG001  # nothing is drawn
) -> Found:
    """``Σ_j f(s_ij) v_j / Σ_j f(s_ij)`` with ``s = scale q·k`` and f of order 1 or 2.

    Parameters
    ----------
    q : Tensor, shape (B, G, n, d)
    k : Tensor, shape (B, N, d)
    v : Tensor, shape (B, N, dv)
    is_causal
        Whether query i meets keys up to i only; needs N = n.
    scale
    key_padding : boolean Tensor, shape (B, N), optional
        True where a key is ignored.
    options
    generator
        Not used.

    Returns
    -------
    Found
        0 where no key is allowed.

    Raises
    ------
    ArgumentError
        If, at order 1, `scale` or tokens that are not normalised allow weights that sum to
        nothing or less.
    """
    d, dtype = q.shape[-1], q.dtype
    if dtype not in (torch.float32, torch.float64):
        q, k, v = q.float(), k.float(), v.float()
    if options.normalize:
        q, k = (_standardised(x, options.order) for x in (q, k))
        # A little above 1: rounded powers of d are meant.
        if options.order == 1 and abs(scale) * math.sqrt(d) > 1 + 1e-6:
            most = f"give at most {1 / math.sqrt(d):.3g}, 1/sqrt(d), at order 1"
            raise ArgumentError("scale", f"{scale:.3g}", f"{most}, or weights 1 + s are negative")
    w = torch.cat([v, torch.ones_like(v[..., :1])], dim=-1)
    if key_padding is not None:
        w = w.masked_fill(key_padding.unsqueeze(-1), 0)
    keys, values = (x.unsqueeze(1).expand(-1, q.shape[1], -1, -1).flatten(0, 1) for x in (k, w))
    y = polynomial_sums(
        (q * scale).flatten(0, 1),
        keys,
        values,
        order=options.order,
        is_causal=is_causal,
        chunk=options.chunk or 128 * options.order,
    )
    total = y[..., -1:]
    if options.order == 1 and not options.normalize:
        _check_positive(total, values, is_causal=is_causal)
    out = y[..., :-1] / total.masked_fill(total == 0, 1)
    return Found(out.unflatten(0, q.shape[:2]).to(dtype))


def _standardised(x: Tensor, order: int) -> Tensor:
    # The smallest offset that keeps a token of equal coordinates, and its slope, finite.
    standard = layer_norm(x, x.shape[-1:], eps=torch.finfo(x.dtype).eps ** 2)
    return standard if order == 2 else standard * x.shape[-1] ** -0.25


def _check_positive(total: Tensor, w: Tensor, *, is_causal: bool) -> None:
    count = w[..., -1:].detach()
    count = count.cumsum(dim=-2) if is_causal else count.sum(dim=-2, keepdim=True)
    bad = (total.detach() <= 0) & (count > 0)
    if bad.any():
        given = f"queries and keys whose weights 1 + s sum to {total.detach().min().item():.2g}"
        raise ArgumentError("q", given, "normalize, give a smaller scale, or use order 2")
