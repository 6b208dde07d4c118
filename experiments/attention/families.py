"""Queries, keys and values to attend with, from a seed."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import normalize, scaled_dot_product_attention

__all__ = ["Heads", "clustered", "gaussian", "smooth"]

_D = 64


@dataclass(frozen=True, slots=True, eq=False)
class Heads:
    """Heads (h, n, 64) and what exact attention makes of them."""

    q: Tensor
    k: Tensor
    v: Tensor
    scale: float
    is_causal: bool = False

    def exactly(self) -> Tensor:
        q, k, v = self.q[None], self.k[None], self.v[None]
        return scaled_dot_product_attention(
            q, k, v, is_causal=self.is_causal, scale=self.scale
        ).squeeze(0)


def gaussian(n: int, spread: float, seed: int) -> Heads:
    """All independent; `spread` is the standard deviation of a logit."""
    q, k, v = torch.randn(3, 1, n, _D, generator=torch.Generator().manual_seed(seed)).unbind()
    return Heads(spread**0.5 * q, spread**0.5 * k, v, _D**-0.5)


def clustered(n: int, seed: int) -> Heads:
    """Keys that are queries: one of 1000 centers by Zipf's law; values tied to the center."""
    generator = torch.Generator().manual_seed(seed)
    centers = 3.2 * normalize(torch.randn(1000, _D, generator=generator), dim=-1)
    values = torch.randn(1000, _D, generator=generator)
    law = 1 / torch.arange(1.0, 1001.0)
    drawn = torch.multinomial(law, n, replacement=True, generator=generator)
    k = centers[drawn] + 0.12 * torch.randn(n, _D, generator=generator)
    v = values[drawn] + 0.7 * torch.randn(n, _D, generator=generator)
    return Heads(k[None], k[None], v[None], 1.0)


def smooth(n: int, seed: int) -> Heads:
    """Keys that are queries: random Fourier features of time; smooth values, a little noise."""
    generator = torch.Generator().manual_seed(seed)
    t = torch.linspace(0, 1, n)[:, None]
    waves = 40.0 * torch.randn(1, _D // 2, generator=generator)
    k = torch.cat([torch.cos(waves * t), torch.sin(waves * t)], dim=-1) * (8 / (_D // 2)) ** 0.5
    rates = 10.0 * torch.rand(1, _D, generator=generator)
    phases = 6.28 * torch.rand(1, _D, generator=generator)
    v = torch.sin(rates * t + phases) + 0.1 * torch.randn(n, _D, generator=generator)
    return Heads(k[None], k[None], v[None], 1.0)
