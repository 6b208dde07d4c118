"""Iterative refinement: whatever solves roughly is made to solve to the residual asked for.

The residual ``b - A x`` is measured in float64, and the next correction solves for it. So the
corrections may be cheap (products or factors in float32, a factor with jitter), the solution is
float64, and the residual reported is that of the solution returned.

References
----------
N. J. Higham, *Accuracy and Stability of Numerical Algorithms*, 2nd ed., SIAM 2002, chapter 12.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from kernelgp.errors import ArgumentError
from kernelgp.linalg.protocol import Matrix, in_double

__all__ = ["Refined", "refine"]

# error, goal (reduction of its norm wanted), budget -> correction, iterations it took
Correct = Callable[[Tensor, float, int], tuple[Tensor, int]]


@dataclass(frozen=True, slots=True, eq=False)
class Refined:
    """A solution (..., n, k), its true relative residual (..., k), and the work spent."""

    solution: Tensor
    residual: Tensor
    iterations: int

    @property
    def worst(self) -> float:
        return self.residual.max().item()


def refine(
    op: Matrix,
    rhs: Tensor,
    correct: Correct,
    *,
    rtol: float,
    budget: int,
    floor: float = 1e-10,
    start: Tensor | None = None,
) -> Refined:
    """Correct until the worst column's true residual is `rtol`, or a correction fails.

    Parameters
    ----------
    op : Matrix, shape (..., n, n)
    rhs : Tensor, shape (..., n, k)
    correct
        Solves for an error of norm 1 or less; its answer need only be rough.
    floor
        The smallest reduction one correction can be trusted with. It is raised to what a
        correction achieved in fact, so that the next does no work for nothing.
    start : Tensor, shape (..., n, k), float64
        Where to begin; 0 if not given.
    """
    target = rhs.double()
    scale = target.norm(dim=-2, keepdim=True)
    scale = scale.where(scale > 0, 1.0)
    target = target / scale
    batch = torch.broadcast_shapes(op.shape[:-2], rhs.shape[:-2])
    exact = in_double(op)
    if start is None:
        x = target.new_zeros(*batch, *rhs.shape[-2:])
        error = target.expand_as(x)
    else:
        x = start / scale
        error = target - exact.matmul(x)

    residual = error.norm(dim=-2)
    worst, spent, failed = residual.max().item(), 0, False
    while rtol < worst and spent < budget and not failed:
        # Half leaves room for the rounding of the correction: a goal missed by a little would
        # cost another.
        goal = _share(min(rtol / worst / 2, 0.5), floor)
        step, used = correct(error / worst, goal, budget - spent)
        candidate = torch.add(x, step, alpha=worst)
        candidate_error = target - exact.matmul(candidate)
        candidate_residual = candidate_error.norm(dim=-2)
        reached = candidate_residual.max().item()
        if math.isnan(reached):
            _explain(exact, candidate)
        spent += used
        failed = not reached < worst / 2
        if reached > 2 * goal * worst:
            floor = max(floor, min(reached / worst, 0.5))
        if reached < worst:
            x, error, residual, worst = candidate, candidate_error, candidate_residual, reached
    return Refined(scale * x, residual, spent)


def _share(goal: float, floor: float) -> float:
    """The reduction to ask of each of the fewest equal corrections that reach `goal`."""
    return goal if goal >= floor else goal ** (1 / math.ceil(math.log(goal) / math.log(floor)))


def _explain(exact: Matrix, vectors: Tensor) -> None:
    """Raise if it is the operator, not the correction, that is not finite."""
    probe = torch.ones_like(vectors[..., :1])
    bad = ~exact.matmul(probe).isfinite()
    if bad.any():
        given = f"a product with {int(bad.sum())} of {bad.numel()} entries not finite"
        raise ArgumentError("op", given, "look for NaN or infinity in what it is made of")
