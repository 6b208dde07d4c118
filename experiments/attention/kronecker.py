"""Kronecker attention on maps against the fused kernel on all their cells."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from experiments.attention.methods import SDPA
from experiments.harness import Method, Task
from kernelgp.attention import KroneckerAttention2d

__all__ = ["tasks"]

_CHANNELS = 64


def tasks(*, quick: bool) -> list[Task]:
    """Square maps of 64 channels, without projections."""
    return [
        Task(
            name="maps",
            make=lambda seed, side=side: torch.randn(
                1, _CHANNELS, side, side, generator=torch.Generator().manual_seed(seed)
            ),
            score=lambda _, out: {"mean square": out.square().mean().item()},
            methods=[
                Method("KroneckerAttention2d, kv", lambda x: _run(x, "kv")),
                Method("KroneckerAttention2d, qkv", lambda x: _run(x, "qkv")),
                Method(SDPA, _cells),
            ],
            params={"side": side},
        )
        for side in ((32, 64) if quick else (32, 64, 128))
    ]


def _run(x: Tensor, mode: str) -> Callable[[], Tensor]:
    module = KroneckerAttention2d(_CHANNELS, mode=mode, projections=False)
    return torch.no_grad()(lambda: module(x))


def _cells(x: Tensor) -> Callable[[], Tensor]:
    cells = x.flatten(-2).mT.unsqueeze(1).contiguous()
    return lambda: scaled_dot_product_attention(cells, cells, cells)
