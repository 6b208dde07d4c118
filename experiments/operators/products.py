"""Products with a kernel matrix, their gradients, accuracy and memory."""

import multiprocessing
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from experiments.harness import Method, Task
from experiments.measure import alternate, peak_memory
from kernelgp.kernels import RBF, Matern
from kernelgp.operators import KernelOperator

__all__ = ["accuracy_tasks", "busy_task", "gradient_tasks", "product_tasks"]

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
        _product_task(name, nu, n // 4 if quick else n, d, k, dtype, lengthscale)
        for name, nu, n, d, k, dtype, lengthscale in cases
    ]


def _product_task(
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
            Method(OURS, partial(_ours, symmetric=True)),
            Method("kernelgp, rectangular", partial(_ours, symmetric=False)),
            Method(KEOPS, _keops, ("pykeops",)),
        ],
        params={"n": n, "d": d, "k": k, "dtype": str(dtype).removeprefix("torch.")},
        repeats=5,
    )


def _ours(data: Product, *, symmetric: bool) -> Callable[[], Tensor]:
    x2 = None if symmetric else data.x.clone()
    op = KernelOperator(data.kernel, data.x, x2, backend="tiled").detach()
    return lambda: op.matmul(data.rhs)


def _keops(data: Product) -> Callable[[], Tensor]:
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
                    Method(OURS, partial(_ours, symmetric=True)),
                    Method(KEOPS, _keops, ("pykeops",)),
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


# --- forward and backward ------------------------------------------------------------------------

D, COLUMNS = 4, 11


@dataclass(frozen=True, slots=True)
class Gradient:
    """Σ weights ∘ (K @ rhs), differentiated by ARD lengthscales."""

    x: Tensor
    rhs: Tensor
    weights: Tensor
    lengthscale: Tensor

    @staticmethod
    def make(seed: int, n: int, dtype: torch.dtype = torch.float32) -> "Gradient":
        generator = torch.Generator().manual_seed(seed)
        x, rhs, weights = (
            torch.randn(n, size, generator=generator).to(dtype) for size in (D, COLUMNS, COLUMNS)
        )
        return Gradient(x.abs() / 2, rhs, weights, torch.tensor([0.3, 0.5, 0.7, 0.9], dtype=dtype))

    def double(self) -> "Gradient":
        fields = (self.x, self.rhs, self.weights, self.lengthscale)
        return Gradient(*(tensor.double() for tensor in fields))


def gradient_tasks(*, quick: bool) -> list[Task]:
    n = 2000 if quick else 10_000
    methods = {OURS: _gradient_ours, KEOPS: _gradient_keops, "dense autograd": _gradient_dense}
    peers = {KEOPS: ("pykeops",)}
    exact: dict[int, Tensor] = {}

    def score(data: Gradient, found: Tensor) -> dict[str, float]:
        # One float64 reference for all methods: tiles, held against dense matrices in the tests.
        if id(data) not in exact:
            exact[id(data)] = _gradient_ours(data.double())().double()
        reference = exact[id(data)]
        return {"error": ((found.double() - reference).norm() / reference.norm()).item()}

    timed = Task(
        name="forward and backward, RBF",
        make=partial(Gradient.make, n=n),
        score=score,
        methods=[Method(name, make, peers.get(name, ())) for name, make in methods.items()],
        params={"n": n, "d": D, "k": COLUMNS, "dtype": "float32"},
        repeats=5,
    )
    memory = Task(
        name="memory of forward and backward",
        make=lambda seed: seed,
        score=lambda _data, mib: {"MiB": mib},
        methods=[
            Method(name, partial(_measure_memory, name, n), peers.get(name, ())) for name in methods
        ],
        params={"n": n, "d": D, "k": COLUMNS, "dtype": "float32"},
        repeats=1,
    )
    return [timed, memory]


def _measure_memory(name: str, n: int, seed: int) -> Callable[[], float]:
    return lambda: peak_memory(_prepare_gradient, name, n, seed)


def _prepare_gradient(name: str, n: int, seed: int) -> Callable[[], Tensor]:
    data = Gradient.make(seed, n)
    # A small one first: imports and what is allocated once do not count.
    small = Gradient.make(seed, 300)
    make = {OURS: _gradient_ours, KEOPS: _gradient_keops, "dense autograd": _gradient_dense}[name]
    make(small)()
    return make(data)


def _gradient_ours(data: Gradient) -> Callable[[], Tensor]:
    def gradient() -> Tensor:
        lengthscale = data.lengthscale.clone().requires_grad_()
        op = KernelOperator(RBF(lengthscale=lengthscale), data.x, backend="tiled")
        return torch.autograd.grad((op.matmul(data.rhs) * data.weights).sum(), lengthscale)[0]

    return gradient


def _gradient_keops(data: Gradient) -> Callable[[], Tensor]:
    from pykeops.torch import LazyTensor  # noqa: PLC0415 - optional

    def gradient() -> Tensor:
        lengthscale = data.lengthscale.clone().requires_grad_()
        x = data.x / lengthscale
        s = ((LazyTensor(x[:, None]) - LazyTensor(x[None])) ** 2).sum(-1)
        product = (-s / 2).exp() @ data.rhs
        return torch.autograd.grad((product * data.weights).sum(), lengthscale)[0]

    return gradient


def _gradient_dense(data: Gradient) -> Callable[[], Tensor]:
    def gradient() -> Tensor:
        lengthscale = data.lengthscale.clone().requires_grad_()
        x = data.x / lengthscale
        x = x - x.mean(dim=0)
        square = x.square().sum(dim=-1, keepdim=True)
        matrix = torch.exp(-(square + square.T - 2 * x @ x.T).clamp(min=0) / 2)
        return torch.autograd.grad(((matrix @ data.rhs) * data.weights).sum(), lengthscale)[0]

    return gradient


# --- on a busy machine ---------------------------------------------------------------------------


def busy_task(*, quick: bool) -> Task:
    """By how much one product slows beside two processes that never rest."""
    n = 5000 if quick else 20_000
    [task] = [t for t in product_tasks(quick=quick) if t.params["d"] == 3 and t.params["n"] == n][
        :1
    ]
    return Task(
        name="slowdown beside two busy processes",
        make=task.make,
        score=lambda _data, times: {"alone s": times[0], "slowdown": times[1] / times[0]},
        methods=[
            Method(OURS, lambda data: partial(_slowdown, _ours(data, symmetric=True))),
            Method(KEOPS, lambda data: partial(_slowdown, _keops(data)), ("pykeops",)),
        ],
        params=task.params,
        repeats=1,
    )


def _slowdown(product: Callable[[], Tensor]) -> Sequence[float]:
    [alone] = alternate([product], 5)
    context = multiprocessing.get_context("spawn")
    busy = [context.Process(target=_spin, daemon=True) for _ in range(2)]
    for process in busy:
        process.start()
    try:
        [beside] = alternate([product], 5)
    finally:
        for process in busy:
            process.kill()
            process.join()
    return alone, beside


def _spin() -> None:
    while True:
        pass
