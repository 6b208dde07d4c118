"""Kronecker covariances on grids, against linear_operator's."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from linear_operator.operators import (
    ConstantDiagLinearOperator,
    DenseLinearOperator,
    KroneckerProductAddedDiagLinearOperator,
    KroneckerProductLinearOperator,
)
from torch import Tensor

from experiments.harness import Method, Task
from kernelgp.operators import KroneckerOperator

__all__ = ["grid_tasks"]

OURS, PEER = "kernelgp", "linear_operator"


@dataclass(frozen=True, slots=True)
class Grid:
    """Matérn-1/2 factors on three axes, noise and one right-hand side, in float64."""

    factors: tuple[Tensor, ...]
    noise: Tensor
    rhs: Tensor
    answers: dict[str, Tensor]


def grid_tasks(*, quick: bool) -> list[Task]:
    tasks = []
    for size in (32,) if quick else (64, 128):
        for name, run in (("solve", _solve), ("inv_quad_logdet", _logdet), ("backward", _backward)):
            tasks.append(
                Task(
                    name=f"Kronecker, {name}",
                    make=partial(_make, size=size),
                    score=partial(_score, name),
                    methods=[
                        Method(OURS, partial(_prepare, run, _ours)),
                        Method(PEER, partial(_prepare, run, _theirs)),
                    ],
                    params={"grid": f"{size}^3", "dtype": "float64"},
                    repeats=7,
                )
            )
    return tasks


def _make(seed: int, size: int) -> Grid:
    generator = torch.Generator().manual_seed(seed)
    axis = torch.linspace(0, 1, size, dtype=torch.float64)
    factors = tuple(
        torch.exp(-(axis[:, None] - axis).abs() / lengthscale) for lengthscale in (0.2, 0.3, 0.5)
    )
    rhs = torch.randn(size**3, 1, generator=generator, dtype=torch.float64)
    return Grid(factors, torch.tensor([0.1], dtype=torch.float64), rhs, {})


def _score(name: str, data: Grid, found: Tensor) -> dict[str, float]:
    """How far an answer is from the first one given, ours."""
    first = data.answers.setdefault(name, found)
    return {"difference": ((found - first).norm() / first.norm()).item()}


def _ours(factors: list[Tensor], noise: Tensor) -> Any:
    return KroneckerOperator(*factors).add_diagonal(noise)


def _theirs(factors: list[Tensor], noise: Tensor) -> Any:
    # Its constructors are annotated as if they took one tuple.
    product: Any = KroneckerProductLinearOperator(*map(DenseLinearOperator, factors))
    diagonal: Any = ConstantDiagLinearOperator(noise, diag_shape=product.shape[-1])
    return KroneckerProductAddedDiagLinearOperator(product, diagonal)


def _prepare(
    run: Callable[[Any, Grid, list[Tensor]], Tensor],
    build: Callable[[list[Tensor], Tensor], Any],
    data: Grid,
) -> Callable[[], Tensor]:
    def once() -> Tensor:
        # A new operator every time: eigendecompositions are part of the work.
        factors = [factor.clone().requires_grad_() for factor in data.factors]
        return run(build(factors, data.noise), data, factors).detach()

    return once


def _solve(op: Any, data: Grid, _factors: list[Tensor]) -> Tensor:
    with torch.no_grad():
        return op.solve(data.rhs)


def _logdet(op: Any, data: Grid, _factors: list[Tensor]) -> Tensor:
    with torch.no_grad():
        return torch.stack(op.inv_quad_logdet(data.rhs, logdet=True))


def _backward(op: Any, data: Grid, factors: list[Tensor]) -> Tensor:
    quad, logdet = op.inv_quad_logdet(data.rhs, logdet=True)
    grads = torch.autograd.grad(quad + logdet, factors)
    # The peer's gradient is not symmetric; only its symmetric part means anything.
    return torch.cat([(grad + grad.mT).flatten() for grad in grads])
