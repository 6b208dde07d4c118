"""Accelerated sketch-and-project: a block of rows at a time, solved exactly.

It needs no factor of K, only one of each block, and every pass leaves an answer that is better
than the last: conjugate gradients on a hard spectrum pass through errors of a thousand times the
answer on their way. To the same residual they are quicker all the same where they have room.

References
----------
Rathore, Frangella, Yang, Dereziński and Udell, *Have ASkotch: a neat solution for large-scale
kernel ridge regression*, 2024, algorithm 3; its steps here are by a Cholesky factor of the block
in the place of a Nyström one, over blocks of one random partition. Nesterov and Stich,
*Efficiency of the accelerated coordinate descent method on structured optimization problems*, 2017.
"""

import math
import time
import warnings
from functools import lru_cache

import torch
from torch import Tensor

from kernelgp.errors import ConvergenceWarning
from kernelgp.linalg import SolveReport
from kernelgp.linalg.cholesky import factorise
from kernelgp.operators import KernelOperator

__all__ = ["sketch_and_project"]

# A block of 1 000 costs 10 ms for its rows at n = 20 000 and 5 ms for its factor, which is kept.
_BLOCK = 1000
# Entries of the factors that are kept, 1 GB in float32; others are made again.
_KEPT = 2**28
# Passes between measurements of the residual, each of which costs one more.
_MEASURE = 4


@torch.no_grad()
def sketch_and_project(
    operator: KernelOperator,
    noise: Tensor,
    rhs: Tensor,
    *,
    rtol: float = 1e-3,
    max_passes: int = 200,
    block: int = _BLOCK,
    generator: torch.Generator,
) -> tuple[Tensor, SolveReport]:
    """Solve ``(K + diag(noise)) X = B`` a block of rows at a time, with Nesterov's averages.

    A pass costs two products with K and needs O(n b) memory at most.

    Parameters
    ----------
    operator : shape (n, n)
    noise : Tensor, shape (n,), positive
    rhs : Tensor, shape (n, k)
    rtol
        Bound on the true relative residual of the worst column.
    max_passes
    block
        Rows in a block.

    Returns
    -------
    solution : Tensor, shape (n, k), float64
    report : SolveReport
        Its iterations are passes, its rank is the size of a block.

    Warns
    -----
    ConvergenceWarning
        If the residual is above `rtol` after `max_passes`.
    """
    begun = time.perf_counter()
    n = operator.shape[-1]
    parts = -(-n // min(n, block))
    order = torch.randperm(n, generator=generator).to(rhs.device)
    blocks = [rows.sort().values for rows in order.tensor_split(parts)]
    steps = _Steps(operator, noise, blocks)
    target = rhs.double()
    state = _Nesterov(torch.zeros_like(target), _strong_convexity(operator, noise), parts)
    norms = target.norm(dim=0).clamp(min=torch.finfo(torch.float64).tiny)
    best, least = torch.zeros_like(target), target.norm(dim=0) / norms
    passes = 0
    while passes < max_passes and least.max() > rtol:
        for i in torch.randperm(parts, generator=generator).tolist():
            state.move(blocks[i], steps.step(i, state.average, target))
        passes += 1
        if passes % _MEASURE and passes < max_passes:
            continue
        residual = steps.residual(state.solution, target).norm(dim=0) / norms
        if not bool(residual.isfinite().all()):
            break
        if residual.max() < least.max():
            best, least = state.solution.clone(), residual
    seconds = time.perf_counter() - begun
    report = SolveReport("sketch", passes, least, rtol, seconds, len(blocks[0]))
    if not report.converged:
        warnings.warn(f"{report}; raise max_iterations or rtol.", ConvergenceWarning, stacklevel=4)
    return best, report


def _strong_convexity(operator: KernelOperator, noise: Tensor) -> float:
    """What the paper takes for the parameter that nobody knows: the ridge, relative to K."""
    diagonal = operator.diagonal().double().mean().item()
    ridge = noise.double().mean().item()
    return min(max(ridge / (ridge + diagonal), 1e-6), 0.9)


class _Nesterov:
    """The paper's three sequences: the solution, its momentum and the average of both."""

    def __init__(self, zero: Tensor, mu: float, nu: float) -> None:
        mu = min(mu, 0.9 / nu)
        self._beta, self._gamma = 1 - math.sqrt(mu / nu), 1 / math.sqrt(mu * nu)
        # One block is the whole: each step is then a refinement, and momentum would spoil it.
        self._alpha = 1 / (1 + self._gamma * nu) if nu > 1 else 0.0
        self.solution, self._momentum, self.average = zero, zero.clone(), zero.clone()

    def move(self, rows: Tensor, step: Tensor) -> None:
        self.solution = self.average.index_add(0, rows, step, alpha=-1)
        self._momentum = torch.lerp(self.average, self._momentum, self._beta)
        self._momentum.index_add_(0, rows, step, alpha=-self._gamma)
        self.average = torch.lerp(self.solution, self._momentum, self._alpha)


class _Steps:
    """Projections on blocks; products in the operator's dtype, sums in float64."""

    def __init__(self, operator: KernelOperator, noise: Tensor, blocks: list[Tensor]) -> None:
        self._operator, self._noise, self._blocks = operator, noise.double(), blocks
        kept = max(1, _KEPT // len(blocks[0]) ** 2)
        self._factor = lru_cache(maxsize=kept)(self._make_factor)

    def _make_factor(self, i: int) -> Tensor:
        rows = self._blocks[i]
        points = self._operator.x1[rows]
        matrix = KernelOperator(self._operator.kernel, points).to_dense().double()
        matrix.diagonal().add_(self._noise[rows])
        return factorise(matrix, torch.float64).factor.to(self._operator.dtype)

    def step(self, i: int, at: Tensor, target: Tensor) -> Tensor:
        """``(K_BB + D_B)⁻¹ (K_B z + D_B z_B - b_B)``."""
        rows, op = self._blocks[i], self._operator
        product = KernelOperator(op.kernel, op.x1[rows], op.x1).matmul(at.to(op.dtype)).double()
        gradient = product + self._noise[rows].unsqueeze(-1) * at[rows] - target[rows]
        return torch.cholesky_solve(gradient.to(op.dtype), self._factor(i)).double()

    def residual(self, x: Tensor, target: Tensor) -> Tensor:
        product = self._operator.matmul(x.to(self._operator.dtype)).double()
        return target - product - self._noise.unsqueeze(-1) * x
