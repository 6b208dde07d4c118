"""Attention by positive random features: ``exp(q·k) = E φ(q)·φ(k)``, in linear time.

With ω standard normal, ``φ(x) = exp(ω·x - |x|²/2)``. All products are kept as logarithms until
the largest key of every feature, and the largest feature of every query, is 1: nothing
overflows, and no query loses all its mass. Softmax does not see a constant added to all keys,
and of queries it sees one as a weight of each key: so both are moved to the origin, where the
features vary least.

References
----------
Choromanski et al., *Rethinking attention with performers*, ICLR 2021 (arXiv 2009.14794).
"""

import math
import warnings
from dataclasses import dataclass

import torch
from torch import Tensor

from kernelgp.attention.report import Found
from kernelgp.errors import ArgumentTypeError, NumericalWarning
from kernelgp.features import sample_frequencies
from kernelgp.features.coupling import COUPLINGS, Coupling
from kernelgp.kernels import RBF
from kernelgp.validation import check_choice, check_count

__all__ = ["FeatureOptions", "feature_attention"]


@dataclass(frozen=True, slots=True)
class FeatureOptions:
    """Of ``method="features"``.

    Attributes
    ----------
    n_components
        Features; the error falls as one over the root of their number.
    coupling
        How their directions depend on each other, as for `PositiveFeatures`.
    center
        Whether queries and keys are moved to the origin first; a causal product, whose means
        are of tokens to come, never is.
    chunk
        Tokens of a causal product at a time.
    """

    n_components: int = 256
    coupling: Coupling = "simplex+"
    center: bool = True
    chunk: int = 256

    def __post_init__(self) -> None:
        check_count("n_components", self.n_components)
        check_count("chunk", self.chunk)
        check_choice("coupling", self.coupling, COUPLINGS)
        if not isinstance(self.center, bool):
            raise ArgumentTypeError("center", repr(self.center), "give True or False")


def feature_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    *,
    is_causal: bool,
    scale: float,
    key_padding: Tensor | None,
    options: FeatureOptions,
    generator: torch.Generator,
) -> Found:
    """Softmax attention of q (B, G, n, d) with k (B, N, d) and v (B, N, dv), by features.

    Differentiable, with the directions held fixed; O((n + N) n_components) memory.

    Warns
    -----
    NumericalWarning
        If queries of a causal product have lost all their mass.
    """
    d, dtype = q.shape[-1], q.dtype
    if dtype not in (torch.float32, torch.float64):
        q, k, v = q.float(), k.float(), v.float()
    frequencies = sample_frequencies(
        RBF(), d, options.n_components, options.coupling, random_state=generator
    )
    directions = (2 * math.pi * frequencies.mT).to(q.device, q.dtype)
    q, k = q * math.sqrt(scale), k * math.sqrt(scale)
    weight = torch.zeros_like(k[..., :1])
    if options.center and not is_causal:
        keep = None if key_padding is None else ~key_padding.unsqueeze(-1)
        k = k - _mean(k, keep)
        center = q.mean(dim=(1, 2), keepdim=True)
        q = q - center
        weight = k @ center[:, 0].mT
    if key_padding is not None:
        weight = weight.masked_fill(key_padding.unsqueeze(-1), -torch.inf)
    log_q = q @ directions
    log_k = k @ directions - k.square().sum(dim=-1, keepdim=True) / 2 + weight
    w = torch.cat([v, torch.ones_like(v[..., :1])], dim=-1)
    y = _causal(log_q, log_k, w, options.chunk) if is_causal else _full(log_q, log_k, w)
    total = y[..., -1:]
    empty = total == 0
    if is_causal and bool(empty.any()) and key_padding is None:
        warnings.warn(
            f"attention: {int(empty.sum())} queries have lost all their mass in "
            f"{options.n_components} features, and are 0; use another method.",
            NumericalWarning,
            stacklevel=4,
        )
    return Found((y[..., :-1] / total.masked_fill(empty, 1)).to(dtype))


def _mean(k: Tensor, keep: Tensor | None) -> Tensor:
    if keep is None:
        return k.mean(dim=1, keepdim=True)
    return (k * keep).sum(dim=1, keepdim=True) / keep.sum(dim=1, keepdim=True).clamp_min(1)


def _full(log_q: Tensor, log_k: Tensor, w: Tensor) -> Tensor:
    top = _finite(log_k.detach().amax(dim=1, keepdim=True))
    total = (log_k - top).exp().mT @ w
    return _queries(log_q, top) @ total.unsqueeze(1)


def _causal(log_q: Tensor, log_k: Tensor, w: Tensor, chunk: int) -> Tensor:
    """The running sum of keys before each chunk, and the lower triangle inside it."""
    top = torch.full_like(log_k[:, :1], -torch.inf).detach()
    total, found = log_k.new_zeros(len(log_k), log_k.shape[-1], w.shape[-1]), []
    for q, k, part in zip(*(x.split(chunk, dim=-2) for x in (log_q, log_k, w)), strict=True):
        new = torch.maximum(top, k.detach().amax(dim=1, keepdim=True))
        safe = _finite(new)
        total = total * (top - safe).exp().mT
        phi_q, phi_k = _queries(q, safe), (k - safe).exp()
        inside = (phi_q @ phi_k.mT.unsqueeze(1)).tril()
        found.append(phi_q @ total.unsqueeze(1) + inside @ part.unsqueeze(1))
        total, top = total + phi_k.mT @ part, new
    return torch.cat(found, dim=-2)


def _queries(log_q: Tensor, top: Tensor) -> Tensor:
    """Features of queries in units of the keys' largest, each query's largest 1."""
    scaled = log_q + top.unsqueeze(1)
    return (scaled - scaled.detach().amax(dim=-1, keepdim=True)).exp()


def _finite(top: Tensor) -> Tensor:
    return top.masked_fill(top == -torch.inf, 0)
