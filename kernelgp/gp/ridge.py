"""Kernel ridge regression: ``(K + D) a = y`` by whatever reaches the size.

A Cholesky factor for a few thousand rows; conjugate gradients with a low-rank preconditioner
beyond; and where a factor of useful rank no longer fits, accelerated sketch-and-project, which
solves a random block of rows at a time and needs no memory but some vectors.

References
----------
Rathore, Frangella, Yang, Dereziński and Udell, *Have ASkotch: a neat solution for large-scale
kernel ridge regression*, 2024, algorithm 3 (steps by a Nyström factor of the block, Nesterov's
averaging).
"""

import math
import time
import warnings
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from kernelgp.errors import ConvergenceWarning
from kernelgp.linalg import LowRankPreconditioner, SolveReport, pivoted_cholesky, solve
from kernelgp.operators import KernelOperator

__all__ = ["RidgeProblem", "choose_method", "sketch_and_project", "solve_ridge"]

# Beyond, a factor of rank 5 √n takes some gigabytes: 1.6 GB at 200 000 rows.
_PRECONDITIONED = 200_000
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
    rtol: float,
    max_iterations: int,
    generator: torch.Generator,
) -> tuple[Tensor, list[SolveReport]]:
    """Dual coefficients, shape (n, k), float64, and a report for each regularisation.

    Columns that share their noise are solved together.
    """
    noise = problem.noise.expand(len(problem.x), problem.y.shape[1]).double()
    groups, members = torch.unique(noise, dim=1, return_inverse=True)
    solution = problem.y.new_zeros(problem.y.shape, dtype=torch.float64)
    operator = KernelOperator(problem.kernel, problem.x)
    reports = []
    for j in range(groups.shape[1]):
        mine = members == j
        rhs = problem.y[:, mine]
        diagonal = groups[:, j]
        if method == "sketch":
            part, report = sketch_and_project(
                operator, diagonal, rhs, rtol=rtol, max_passes=max_iterations, generator=generator
            )
        else:
            shifted = operator.add_diagonal(diagonal.to(problem.x))
            part, report = solve(
                shifted,
                rhs.to(problem.x),
                rtol=rtol,
                method="cholesky" if method == "cholesky" else "pcg",
                max_iterations=max_iterations,
                random_state=generator,
            )
        solution[:, mine] = part
        reports.append(report)
    return solution, reports


@torch.no_grad()
def sketch_and_project(
    operator: KernelOperator,
    noise: Tensor,
    rhs: Tensor,
    *,
    rtol: float = 1e-3,
    max_passes: int = 200,
    block: int | None = None,
    rank: int | None = None,
    generator: torch.Generator,
) -> tuple[Tensor, SolveReport]:
    """Solve ``(K + diag(noise)) X = B`` a block of rows at a time, with Nesterov's averaging.

    A step multiplies a block of rows with the iterate, O(n b), and solves the block's own system
    by a low-rank factor of it, O(b r²). A pass is as many steps as a product with all of K costs.

    Parameters
    ----------
    operator : shape (n, n)
    noise : Tensor, shape (n,), positive
    rhs : Tensor, shape (n, k)
    rtol
        Bound on the true relative residual of the worst column, measured every fifth pass.
    max_passes
    block, rank
        b and r; None for n / 100 and 100, within bounds that keep a step cheap.

    Returns
    -------
    solution : Tensor, shape (n, k), float64
    report : SolveReport
        Its iterations are passes.

    Warns
    -----
    ConvergenceWarning
        If the residual is above `rtol` after `max_passes`.
    """
    begun = time.perf_counter()
    n = operator.shape[-1]
    size = min(n, block or max(200, min(n // 100, 5000)))
    rank = min(size, rank or 100)
    target = rhs.double()
    x, v, z = (torch.zeros_like(target) for _ in range(3))
    # The paper's defaults: strong convexity as small as the mean noise, steps of n / b.
    mu = min(noise.mean().item(), 0.9)
    nu = n / size
    mu = min(mu, 0.9 * nu, 0.9 / nu)
    beta = 1 - math.sqrt(mu / nu)
    gamma = 1 / math.sqrt(mu * nu)
    alpha = 1 / (1 + gamma * nu)
    norms = target.norm(dim=0).clamp(min=torch.finfo(torch.float64).tiny)
    best, best_residual = x, torch.ones_like(norms)
    steps = max(1, n // size)
    passes = 0
    while passes < max_passes:
        for _ in range(steps):
            rows = torch.randperm(n, generator=generator)[:size].to(target.device)
            gradient = operator.rows(rows).to(operator.dtype).matmul(z.to(operator.dtype)).double()
            gradient += noise[rows].unsqueeze(-1) * z[rows] - target[rows]
            step = _block_step(operator, noise, rows, gradient, rank, generator)
            following = z.clone()
            following[rows] -= step
            v = beta * v + (1 - beta) * z
            v[rows] -= gamma * step
            x = following
            z = alpha * v + (1 - alpha) * x
        passes += 1
        if passes % 5 and passes < max_passes:
            continue
        error = target - operator.matmul(x.to(operator.dtype)).double() - noise.unsqueeze(-1) * x
        residual = error.norm(dim=0) / norms
        if not bool(residual.isfinite().all()) or residual.max() > 1e3:
            break
        if residual.max() < best_residual.max():
            best, best_residual = x.clone(), residual
        if residual.max() <= rtol:
            break
    seconds = time.perf_counter() - begun
    report = SolveReport("sketch", passes, best_residual, rtol, seconds, rank)
    if not report.converged:
        warnings.warn(f"{report}; raise max_iterations or rtol.", ConvergenceWarning, stacklevel=3)
    return best, report


def _block_step(
    operator: KernelOperator,
    noise: Tensor,
    rows: Tensor,
    gradient: Tensor,
    rank: int,
    generator: torch.Generator,
) -> Tensor:
    """``(K̂_BB + ρ + D_B)⁻¹ g / L`` with K̂ of low rank, ρ what it leaves, L its worst stretch."""
    points = operator.x1[rows]
    base = KernelOperator(operator.kernel, points).to_dense().double()
    low_rank = pivoted_cholesky(base, rank, generator=generator)
    left = max(low_rank.trace_left, 0.0) / len(rows)
    damped = LowRankPreconditioner(low_rank.factor, noise[rows] + left)
    vector = torch.randn(len(rows), 1, generator=generator, dtype=torch.float64).to(gradient.device)
    stretch = 1.0
    for _ in range(10):  # power iteration: steps longer than 1 / L diverge
        vector = damped(base @ vector + noise[rows].unsqueeze(-1) * vector)
        stretch = vector.norm().item()
        vector = vector / stretch
    return damped(gradient) / max(stretch, 1.0)
