"""A product and its derivative by ARD lengthscales: seconds, accuracy and memory."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from experiments.harness import Method, Task
from experiments.measure import peak_memory
from kernelgp.kernels import RBF
from kernelgp.operators import KernelOperator

__all__ = ["gradient_tasks"]

OURS, KEOPS = "kernelgp", "pykeops"

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
