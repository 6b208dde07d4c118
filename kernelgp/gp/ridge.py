"""Kernel ridge regression: ``(K + D) a = y`` by whatever reaches the size.

A Cholesky factor for a few thousand rows; conjugate gradients with a low-rank preconditioner
beyond; and where a factor of useful rank no longer fits, accelerated sketch-and-project.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from kernelgp.gp.sketch import sketch_and_project
from kernelgp.linalg import SolveReport, solve
from kernelgp.operators import KernelOperator

__all__ = ["RidgeProblem", "choose_method", "solve_ridge"]

# Up to here also where the preconditioner does little: on 8 000 rows of kin40k (Matérn-5/2, to
# 1e-2) conjugate gradients took 4, 8, 12 and 21 CPU seconds at a ridge of 1e-1, 1e-2, 1e-3 and
# 1e-5, and sketches 19, 18, 13 and 50. Beyond, a factor of rank 5 √n takes some gigabytes: 1.6 GB
# at 200 000 rows.
_PRECONDITIONED = 200_000
_RTOL = {"cholesky": 1e-10, "pcg": 1e-6, "sketch": 1e-2}
_DENSE = {torch.float32: 7000, torch.float64: 5000}


@dataclass(frozen=True, slots=True, eq=False)
class RidgeProblem:
    """The system.

    Attributes
    ----------
    kernel
    x : Tensor, shape (n, d)
    y : Tensor, shape (n, k)
    noise : Tensor, shape (n,) or (1, k) or (n, k), float64
        Variances: one for each row, or each output.
    """

    kernel: Any
    x: Tensor
    y: Tensor
    noise: Tensor


def choose_method(n: int, dtype: torch.dtype) -> str:
    """By the number of rows: "cholesky", "pcg" or "sketch"."""
    if n <= _DENSE[dtype]:
        return "cholesky"
    return "pcg" if n <= _PRECONDITIONED else "sketch"


@torch.no_grad()
def solve_ridge(
    problem: RidgeProblem,
    method: str,
    *,
    rtol: float | None,
    max_iterations: int,
    generator: torch.Generator,
) -> tuple[Tensor, list[SolveReport]]:
    """Dual coefficients, shape (n, k), float64, and a report for each regularisation.

    Columns that share their noise are solved together. Without `rtol` it is that of the method.
    """
    noise = problem.noise.expand(len(problem.x), problem.y.shape[1]).double()
    groups, members = torch.unique(noise, dim=1, return_inverse=True)
    solution = problem.y.new_zeros(problem.y.shape, dtype=torch.float64)
    operator = KernelOperator(problem.kernel, problem.x)
    reports = []
    for j in range(groups.shape[1]):
        mine, diagonal = members == j, groups[:, j]
        wanted = _RTOL[method] if rtol is None else rtol
        if method == "sketch":
            part, report = sketch_and_project(
                operator,
                diagonal,
                problem.y[:, mine],
                rtol=wanted,
                max_passes=max_iterations,
                generator=generator,
            )
        else:
            part, report = solve(
                operator.add_diagonal(diagonal.to(problem.x)),
                problem.y[:, mine].to(problem.x),
                rtol=wanted,
                method="cholesky" if method == "cholesky" else "pcg",
                max_iterations=max_iterations,
                random_state=generator,
            )
        solution[:, mine] = part
        reports.append(report)
    return solution, reports
