"""Polynomial attention against the fused kernel: another attention, so seconds alone compare."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from experiments.attention.methods import SDPA
from experiments.harness import Method, Task
from kernelgp.attention import FastmaxOptions, attention

__all__ = ["tasks"]

Tokens = tuple[Tensor, Tensor, Tensor]


def tasks(*, quick: bool) -> list[Task]:
    """Causal and not, by length and head size."""
    lengths = (4096,) if quick else (4096, 8192, 32_768)
    cases = [(n, d, causal) for n in lengths for d in (32, 64) for causal in (False, True)]
    return [
        Task(
            name="fastmax, causal" if causal else "fastmax",
            make=lambda seed, n=n, d=d: _tokens(n, d, seed),
            score=lambda _, out: {"mean square": out.square().mean().item()},
            methods=[
                *(
                    Method(f"fastmax, order {p}", lambda x, p=p, c=causal: _run(x, p, is_causal=c))
                    for p in (1, 2)
                ),
                Method(SDPA, lambda x, c=causal: _exact(x, is_causal=c)),
            ],
            params={"n": n, "d": d},
            repeats=3,
        )
        for n, d, causal in cases
    ]


def _tokens(n: int, d: int, seed: int) -> Tokens:
    generator = torch.Generator().manual_seed(seed)
    q, k, v = (torch.randn(1, 1, n, d, generator=generator) for _ in range(3))
    return q, k, v


def _run(tokens: Tokens, order: int, *, is_causal: bool) -> Callable[[], Tensor]:
    options = FastmaxOptions(order)
    return lambda: attention(*tokens, method="fastmax", options=options, is_causal=is_causal)


def _exact(tokens: Tokens, *, is_causal: bool) -> Callable[[], Tensor]:
    return lambda: scaled_dot_product_attention(*tokens, is_causal=is_causal)
