"""Products with a kernel matrix: how long they take and how accurate float32 is."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from experiments.harness import Method, Task
from kernelgp.kernels import RBF, Matern
from kernelgp.operators import KernelOperator

__all__ = [
    "OURS",
    "Product",
    "accuracy_tasks",
    "product_by_keops",
    "product_by_ours",
    "product_task",
    "product_tasks",
]

OURS, KEOPS = "kernelgp", "pykeops"


@dataclass(frozen=True, slots=True)
class Product:
    """K(x) @ rhs for one kernel."""

    x: Tensor
    rhs: Tensor
    lengthscale: float
    nu: float | None = None

    @property
    def kernel(self) -> Any:
        if self.nu is None:
            return RBF(lengthscale=self.lengthscale)
        return Matern(nu=self.nu, lengthscale=self.lengthscale)

    def error(self, found: Tensor) -> float:
        """Relative, on 300 rows, against differences of all pairs in float64."""
        rows = torch.linspace(0, len(self.x) - 1, 300).long()
        x = self.x.double()
        s = torch.cdist(x[rows], x, compute_mode="donot_use_mm_for_euclid_dist").square()
        s = s / self.lengthscale**2
        matrix = torch.exp(-s / 2)
        if self.nu is not None:
            u = (5 * s).sqrt()
            matrix = (1 + u + u.square() / 3) * torch.exp(-u)
        expected = matrix @ self.rhs.double()
        return ((found[rows].double() - expected).norm() / expected.norm()).item()


def product_tasks(*, quick: bool) -> list[Task]:
    cases = [
        ("RBF", None, 20_000, 3, 1, torch.float32, 0.3),
        ("RBF", None, 20_000, 10, 1, torch.float32, 0.6),
        ("RBF", None, 8_000, 100, 1, torch.float32, 2.0),
        ("Matern-5/2", 2.5, 20_000, 3, 1, torch.float32, 0.3),
        ("RBF", None, 20_000, 3, 16, torch.float32, 0.3),
        ("RBF", None, 10_000, 3, 1, torch.float64, 0.3),
    ]
    return [
        product_task(name, nu, n // 4 if quick else n, d, k, dtype, lengthscale)
        for name, nu, n, d, k, dtype, lengthscale in cases
    ]


def product_task(
    name: str, nu: float | None, n: int, d: int, k: int, dtype: torch.dtype, lengthscale: float
) -> Task:
    def make(seed: int) -> Product:
        generator = torch.Generator().manual_seed(seed)
        x = torch.rand(n, d, generator=generator, dtype=torch.float64).to(dtype)
        rhs = torch.randn(n, k, generator=generator, dtype=torch.float64).to(dtype)
        return Product(x, rhs, lengthscale, nu)

    return Task(
        name=f"product, {name}",
        make=make,
        score=lambda data, found: {"error": data.error(found)},
        methods=[
            Method(OURS, partial(product_by_ours, symmetric=True)),
            Method("kernelgp, rectangular", partial(product_by_ours, symmetric=False)),
            Method(KEOPS, product_by_keops, ("pykeops",)),
        ],
        params={"n": n, "d": d, "k": k, "dtype": str(dtype).removeprefix("torch.")},
        repeats=5,
    )


def product_by_ours(data: Product, *, symmetric: bool = True) -> Callable[[], Tensor]:
    """Our product, from the upper triangle where `symmetric`."""
    x2 = None if symmetric else data.x.clone()
    op = KernelOperator(data.kernel, data.x, x2, backend="tiled").detach()
    return lambda: op.matmul(data.rhs)


def product_by_keops(data: Product) -> Callable[[], Tensor]:
    """The same by KeOps."""
    from pykeops.torch import LazyTensor  # noqa: PLC0415 - optional

    x = data.x / data.lengthscale
    s = ((LazyTensor(x[:, None]) - LazyTensor(x[None])) ** 2).sum(-1)
    matrix = (-s / 2).exp()
    if data.nu is not None:
        u = (5 * s).sqrt()
        matrix = (1 + u + u**2 / 3) * (-u).exp()
    return lambda: matrix @ data.rhs


def accuracy_tasks(*, quick: bool) -> list[Task]:
    """Float32 where points lie far out or the lengthscale is short."""
    n = 1000 if quick else 4000
    cases = [(0.0, 0.3), (0.0, 0.05), (0.0, 0.003), (100.0, 0.3), (100.0, 0.05)]
    tasks = []
    for offset, lengthscale in cases:

        def make(seed: int, offset: float = offset, lengthscale: float = lengthscale) -> Product:
            generator = torch.Generator().manual_seed(seed)
            x = (torch.rand(n, 3, generator=generator, dtype=torch.float64) + offset).float()
            return Product(x, torch.randn(n, 1, generator=generator), lengthscale)

        tasks.append(
            Task(
                name="accuracy in float32",
                make=make,
                score=lambda data, found: {"error": data.error(found)},
                methods=[
                    Method(OURS, partial(product_by_ours, symmetric=True)),
                    Method(KEOPS, product_by_keops, ("pykeops",)),
                    Method("plain matrix product", _uncentred),
                ],
                params={"n": n, "offset": offset, "lengthscale": lengthscale},
                repeats=3,
            )
        )
    return tasks


def _uncentred(data: Product) -> Callable[[], Tensor]:
    """Squared distances as everyone writes them first."""
    x = data.x / data.lengthscale
    square = x.square().sum(dim=-1, keepdim=True)

    def product() -> Tensor:
        return torch.exp(-(square + square.T - 2 * x @ x.T) / 2) @ data.rhs

    return product
