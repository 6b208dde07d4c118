"""Conjugate gradients for many right-hand sides, stopped by the residual itself.

In float32 the recurrence for the residual goes on shrinking long after the residual has
stopped (measured: 1.1e-7 against a true 1.6e-4 at n = 20 000). So vectors are float64, only
the products are of the operator's dtype, and each sweep of CG ends by measuring ``b - A x`` in
float64 and solving for what is left: iterative refinement.

References
----------
Y. Saad, *Iterative Methods for Sparse Linear Systems*, 2nd ed., SIAM 2003, algorithm 9.1;
section 6.7.3 for the tridiagonal matrix hidden in the coefficients.
"""

import time
import warnings
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from kernelgp.errors import ArgumentError, ConvergenceWarning, NotPositiveDefiniteError
from kernelgp.linalg.protocol import Map, Matrix, as_columns, as_square, in_double, product
from kernelgp.linalg.refinement import refine
from kernelgp.linalg.report import SolveReport, like_rhs
from kernelgp.validation import check_positive

__all__ = ["pcg"]

# What one sweep with float32 products may be asked for: its running residual parts from the
# true one at 1.6e-4 (n = 20 000) to 1.1e-3 (n = 50 000) of where it began.
_FLOAT32_FLOOR = 5e-4


@torch.no_grad()
def pcg(
    op: Any,
    rhs: Tensor,
    *,
    preconditioner: Map | None = None,
    rtol: float = 1e-6,
    max_iterations: int = 1000,
) -> tuple[Tensor, SolveReport]:
    """Solve ``A X = B`` for a symmetric positive definite operator.

    Parameters
    ----------
    op : Matrix, LinearOperator or Tensor, shape (..., n, n)
    rhs : Tensor, shape (n,) or (..., n, k)
    preconditioner
        Applies an approximate inverse of `op` to a float64 tensor of shape (..., n, k), such
        as what `nystrom` and `pivoted_cholesky_preconditioner` return.
    rtol
        Bound on the true relative residual of the worst column.
    max_iterations
        Bound on the products with `op`; measuring the residual is not counted.

    Returns
    -------
    solution : Tensor, shape of `rhs`, float64
    report : SolveReport

    Raises
    ------
    ArgumentError
        If the shape, dtype or device of `rhs` does not fit `op`, or it is not finite.
    NotPositiveDefiniteError
        If a search direction has negative curvature.

    Warns
    -----
    ConvergenceWarning
        If the worst column ends above `rtol`.

    Examples
    --------
    >>> solution, report = pcg(torch.diag(torch.tensor([1.0, 4.0])), torch.ones(2))
    >>> solution, report.converged
    (tensor([1.0000, 0.2500], dtype=torch.float64), True)
    """
    matrix = as_square("op", op)
    columns = as_columns(matrix, rhs)
    check_positive("rtol", rtol)
    check_positive("max_iterations", max_iterations)
    solution, report = solve_by_pcg(matrix, columns, preconditioner, rtol, max_iterations)
    if not report.converged:
        remedy = "precondition, raise max_iterations or rtol, or work in float64"
        warnings.warn(f"{report}; {remedy}.", ConvergenceWarning, stacklevel=3)
    return like_rhs(rhs, solution, report)


def solve_by_pcg(
    op: Matrix,
    columns: Tensor,
    preconditioner: Map | None,
    rtol: float,
    max_iterations: int,
    start: Tensor | None = None,
) -> tuple[Tensor, SolveReport]:
    """`pcg` behind the door: no checks, no warning, and a first guess if there is one."""
    started = time.perf_counter()

    def correct(error: Tensor, goal: float, budget: int) -> tuple[Tensor, int]:
        # In float32 a curvature may be negative by rounding: leave the verdict to float64.
        swept = sweep(product(op), error, preconditioner, goal, budget, eps=_eps(op))
        return swept.solution, swept.iterations

    def correct_in_double(error: Tensor, goal: float, budget: int) -> tuple[Tensor, int]:
        swept = sweep(in_double(op).matmul, error, preconditioner, goal, budget)
        if swept.curvature < 0:
            given = f"a direction of curvature {swept.curvature:.1e}"
            raise NotPositiveDefiniteError("op", given, "add jitter or check the kernel")
        return swept.solution, swept.iterations

    if start is None and preconditioner is not None and op.dtype == torch.float32:
        # A float32 product is off in proportion to what it multiplies: let float64 see to the
        # bulk of the solution, and one sweep reaches 1.4e-4 where from zero it ends at 1.1e-3
        # (n = 50 000, d = 4, rank 664).
        start = preconditioner(columns.double())
    attempt, floor = (
        (correct_in_double, 1e-10) if op.dtype == torch.float64 else (correct, _FLOAT32_FLOOR)
    )
    refined = refine(
        op, columns, attempt, rtol=rtol, budget=max_iterations, floor=floor, start=start
    )
    spent = refined.iterations
    if attempt is correct and rtol < refined.worst and spent < max_iterations:
        # Float32 products are too rough for this operator; dearer ones go on.
        refined = refine(
            op,
            columns,
            correct_in_double,
            rtol=rtol,
            budget=max_iterations - spent,
            start=refined.solution,
        )
        spent += refined.iterations
    seconds = time.perf_counter() - started
    rank = getattr(preconditioner, "rank", 0)
    return refined.solution, SolveReport("pcg", spent, refined.residual, rtol, seconds, rank)


@dataclass(frozen=True, slots=True, eq=False)
class Sweep:
    """One run of CG from zero.

    Attributes
    ----------
    solution : Tensor, shape (..., n, k)
    iterations
        Products with the operator.
    residual
        The worst column's running residual at the end.
    curvature
        The most negative ``pᵀAp / pᵀp`` beyond rounding, 0 if there was none.
    steps, momenta : Tensor, shape (iterations, ..., k)
        CG's α and β of every column; 0 where it had ended before.
    """

    solution: Tensor
    iterations: int
    residual: float
    curvature: float
    steps: Tensor
    momenta: Tensor

    def tridiagonals(self) -> Tensor:
        """Lanczos' T of the preconditioned operator for every column, shape (..., k, m, m).

        Columns that ended early are padded with the identity, on which a logarithm is 0.
        """
        steps, momenta = self.steps.movedim(0, -1), self.momenta.movedim(0, -1)
        used = steps > 0
        inverse = torch.where(used, 1 / steps.where(used, 1.0), 0.0)
        diagonal = inverse.where(used, 1.0)
        diagonal[..., 1:] += (momenta * inverse)[..., :-1] * used[..., 1:]
        off = (momenta.sqrt() * inverse)[..., :-1] * used[..., 1:]
        return diagonal.diag_embed() + off.diag_embed(1) + off.diag_embed(-1)


def sweep(
    matmul: Map,
    rhs: Tensor,
    preconditioner: Map | None,
    goal: float,
    budget: int,
    *,
    eps: float = torch.finfo(torch.float64).eps,
) -> Sweep:
    """Plain CG from zero until the running residual of every column has norm `goal`.

    Every column has its own step. One that has ended is dropped from the products, and
    frozen where only some of its batch have.
    """
    precondition = preconditioner or torch.clone
    solution, x, r = torch.zeros_like(rhs), torch.zeros_like(rhs), rhs
    residual = torch.empty_like(rhs[..., 0, :])
    z = precondition(r)
    p, rz = z, _dots(r, z)
    live = r.norm(dim=-2) > goal
    index = torch.arange(rhs.shape[-1], device=rhs.device)
    found, stretch = 0.0, rhs.new_zeros(())
    steps, momenta = [], []
    while len(steps) < budget:
        keep = live.reshape(-1, len(index)).any(dim=0)
        if not keep.all():
            solution[..., index], residual[..., index] = x, r.norm(dim=-2)
            index, rz, live = index[keep], rz[..., keep], live[..., keep]
            x, r, p = x[..., keep], r[..., keep], p[..., keep]
        if len(index) == 0:
            break
        q = matmul(p)
        curvature, length = _dots(p, q), _dots(p, p)
        # A sign within the rounding of the product says nothing about the operator.
        stretch = torch.maximum(stretch, (q.norm(dim=-2) / length.sqrt()).nan_to_num().max())
        rounding = 10 * rhs.shape[-2] ** 0.5 * eps * stretch * length
        if (curvature < -rounding).any():
            found = min(found, (curvature / length).nan_to_num().min().item())
        live = live & (curvature > 0)
        alpha = torch.where(live, rz / curvature, 0.0)
        x = x + alpha.unsqueeze(-2) * p
        r = r - alpha.unsqueeze(-2) * q
        z = precondition(r)
        rz, previous = _dots(r, z), rz
        if (rz < -1e-8 * r.norm(dim=-2) * z.norm(dim=-2)).any():
            given = f"rᵀP⁻¹r = {rz.min().item():.1e}"
            raise ArgumentError("preconditioner", given, "give a positive definite one")
        beta = torch.where(live, rz / previous, 0.0)
        p = z + beta.unsqueeze(-2) * p
        live = live & (r.norm(dim=-2) > goal) & (rz > 0)
        for record, values in ((steps, alpha), (momenta, beta)):
            row = values.new_zeros(*values.shape[:-1], rhs.shape[-1])
            row[..., index] = values
            record.append(row)
    solution[..., index], residual[..., index] = x, r.norm(dim=-2)
    none = rhs.new_zeros(0, *rhs.shape[:-2], rhs.shape[-1])
    return Sweep(
        solution,
        len(steps),
        residual.max().item(),
        found,
        torch.stack(steps) if steps else none,
        torch.stack(momenta) if momenta else none,
    )


def _dots(left: Tensor, right: Tensor) -> Tensor:
    return (left * right).sum(dim=-2)


def _eps(op: Matrix) -> float:
    return torch.finfo(op.dtype).eps
