"""A product with a kernel matrix at growing sizes: what every other operation is made of."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from experiments.harness import Method, Options, Task
from experiments.operators.products import Product, product_task

__all__ = ["sweep"]


def sweep(options: Options) -> Sequence[Task]:
    """RBF in three dimensions, float32."""
    sizes = (1_000, 2_000, 4_000) if options.quick else (2_000, 8_000, 20_000)
    return [_task(n) for n in sizes]


def _task(n: int) -> Task:
    task = product_task("RBF", None, n, 3, 1, torch.float32, 0.3)
    plain = Method("torch.cdist", _dense)
    return replace(task, name="product at growing n", repeats=3).with_methods(plain)


def _dense(data: Product) -> Callable[[], Tensor]:
    """The whole matrix at once: twice n² numbers."""

    def product() -> Tensor:
        distances = torch.cdist(data.x, data.x) / data.lengthscale
        return torch.exp(-(distances**2) / 2) @ data.rhs

    return product
