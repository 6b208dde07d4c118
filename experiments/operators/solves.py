"""Solves of large kernel systems in float32 tiles, to true residuals."""

import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from linear_operator import settings
from linear_operator.operators import AddedDiagLinearOperator, ConstantDiagLinearOperator
from torch import Tensor

from experiments.harness import Method, Task
from kernelgp import linalg
from kernelgp.kernels import RBF
from kernelgp.operators import KernelOperator

__all__ = ["solve_tasks"]

OURS = "kernelgp"


@dataclass(frozen=True, slots=True)
class System:
    """(K + 0.01 I) solution = y."""

    base: Any
    y: Tensor
    rtol: float

    @property
    def matrix(self) -> Any:
        return self.base.add_diagonal(torch.tensor(0.01))

    def true_residual(self, solution: Tensor) -> float:
        """In float64, by products with the float64 matrix."""
        error = self.y.double() - self.matrix.double() @ solution.double()
        return (error.norm() / self.y.double().norm()).item()


@dataclass(frozen=True, slots=True)
class Solved:
    solution: Tensor
    seconds: float
    reported: float
    products: int


def solve_tasks(*, quick: bool) -> list[Task]:
    cases = [(20_000, 1e-6, True), (50_000, 1e-3, False)]
    if quick:
        cases = [(8_000, 1e-6, True)]
    tasks = []
    for n, rtol, with_peer in cases:
        methods = [Method(OURS, _ours)]
        if with_peer and not quick:
            methods.append(Method("linear_operator, on our products", _theirs))
        tasks.append(
            Task(
                name="solve in float32 tiles",
                make=partial(_make, n=n, rtol=rtol),
                score=_score,
                methods=methods,
                params={"n": n, "d": 4, "rtol": rtol},
                repeats=1,
            )
        )
    return tasks


def _make(seed: int, n: int, rtol: float) -> System:
    generator = torch.Generator().manual_seed(seed)
    x = torch.rand(n, 4, generator=generator)
    y = torch.sin(6 * x).sum(dim=-1) / 2 + 0.1 * torch.randn(n, generator=generator)
    base = KernelOperator(RBF(lengthscale=0.35), x, backend="tiled").detach()
    base.matmul(y)  # threads start
    return System(base, y, rtol)


def _score(data: System, found: Solved) -> dict[str, float]:
    times = []
    for _ in range(5):
        started = time.perf_counter()
        data.base.matmul(data.y)
        times.append(time.perf_counter() - started)
    true = data.true_residual(found.solution)
    return {
        "in products": found.seconds / sorted(times)[2],
        "iterations": found.products,
        "residual": true,
        "reported/true": found.reported / true,
    }


def _ours(data: System) -> Callable[[], Solved]:
    def solve() -> Solved:
        started = time.perf_counter()
        solution, report = linalg.solve(data.matrix, data.y, rtol=data.rtol)
        seconds = time.perf_counter() - started
        return Solved(solution, seconds, report.residual.max().item(), report.iterations)

    return solve


def _theirs(data: System) -> Callable[[], Solved]:
    """Its conjugate gradients and preconditioner of rank 15, at a hundred products at most."""

    def solve() -> Solved:
        diagonal: Any = ConstantDiagLinearOperator(torch.tensor([0.01]), diag_shape=len(data.y))
        matrix = AddedDiagLinearOperator(data.base, diagonal)
        started = time.perf_counter()
        with (
            settings.cg_tolerance(data.rtol),
            settings.max_cg_iterations(100),
            warnings.catch_warnings(),
        ):
            warnings.simplefilter("ignore")
            solution = matrix.solve(data.y.unsqueeze(-1)).squeeze(-1)
        return Solved(solution, time.perf_counter() - started, float("nan"), 100)

    return solve
