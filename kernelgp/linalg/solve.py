"""`solve`: one call that picks the algorithm and reports what it picked."""

import time
import warnings
from dataclasses import replace
from typing import Any, Literal, cast

import torch
from torch import Tensor

from kernelgp.errors import ArgumentError, ConvergenceWarning
from kernelgp.linalg.cg import solve_by_pcg
from kernelgp.linalg.cholesky import fits, solve_by_cholesky
from kernelgp.linalg.preconditioner import automatic_preconditioner
from kernelgp.linalg.protocol import (
    Direct,
    Map,
    Matrix,
    Preconditioned,
    as_columns,
    as_square,
    check_symmetric,
)
from kernelgp.linalg.refinement import refine
from kernelgp.linalg.report import SolveReport, like_rhs
from kernelgp.random import RandomState, as_generator
from kernelgp.validation import check_positive

__all__ = ["solve"]


@torch.no_grad()
def solve(
    op: Any,
    rhs: Tensor,
    *,
    rtol: float = 1e-6,
    method: Literal["auto", "cholesky", "pcg"] = "auto",
    rank: int | None = None,
    preconditioner: Map | None = None,
    max_iterations: int = 1000,
    random_state: RandomState = 0,
) -> tuple[Tensor, SolveReport]:
    """Solve ``A X = B`` for a symmetric positive definite operator, or one that solves itself.

    Parameters
    ----------
    op : Matrix, LinearOperator or Tensor, shape (..., n, n)
    rhs : Tensor, shape (n,) or (..., n, k), dtype and device of `op`
    rtol
        Bound on the true relative residual of the worst column.
    method
        "auto" takes the operator's own ``direct_solve`` where it has one (it need then not be
        symmetric), Cholesky up to n = 5 000 (float64) or 7 000 (float32), and beyond that
        "pcg", conjugate gradients with the operator's own ``preconditioner()`` where it has
        one, else with randomly pivoted Cholesky.
    rank
        Of that preconditioner; 0 for none, None for the automatic rule of
        `pivoted_cholesky_preconditioner`.
    preconditioner
        Used in its place: applies an approximate inverse to float64 columns. "auto" then
        means "pcg".
    max_iterations
        Bound on the products of CG.
    random_state : int, numpy Generator or RandomState, torch Generator, or None
        Draws the preconditioner's pivots.

    Returns
    -------
    solution : Tensor, shape of `rhs`, float64, without a graph
        A float32 solution could not hold a residual of 1e-6.
    report : SolveReport
        What was done, and the true residual of the solution as returned.

    Raises
    ------
    ArgumentError
        If `op` is not square or not symmetric, or `rhs` does not fit it or is not finite.
    NotPositiveDefiniteError
        If `op` is not positive definite, jitter included.

    Warns
    -----
    JitterWarning
        If Cholesky needed jitter: how much, and the smallest eigenvalue.
    ConvergenceWarning
        If the worst column ends above `rtol`.

    Examples
    --------
    >>> x = torch.linspace(0, 1, 200)
    >>> A = torch.exp(-((x[:, None] - x) ** 2) / 0.02) + 0.1 * torch.eye(200)
    >>> solution, report = solve(A, torch.ones(200))
    >>> solution.dtype, report.method, report.converged
    (torch.float64, 'cholesky', True)
    """
    matrix = as_square("op", op)
    columns = as_columns(matrix, rhs)
    check_positive("rtol", rtol)
    check_positive("max_iterations", max_iterations)
    if method not in ("auto", "cholesky", "pcg"):
        raise ArgumentError("method", repr(method), 'give "auto", "cholesky" or "pcg"')
    if rank is not None:
        check_positive("rank", rank, zero=True)
    generator = as_generator(random_state)

    chosen = _choose(matrix, preconditioner) if method == "auto" else method
    remedy = "raise rtol: this is as far as float64 goes"
    if chosen == "direct":
        solution, report = _solve_directly(cast(Direct, matrix), columns, rtol)
    elif chosen == "cholesky":
        solution, report, factor = solve_by_cholesky(matrix, columns, rtol)
        if factor.jitter:
            factor.warn(f" ({report})", stacklevel=3)
            return like_rhs(rhs, solution, report)
    else:
        started = time.perf_counter()
        check_symmetric(matrix)
        if preconditioner is None and rank is None and isinstance(matrix, Preconditioned):
            preconditioner = matrix.preconditioner()
        if preconditioner is None:
            preconditioner = automatic_preconditioner(matrix, rank, generator)
        solution, report = solve_by_pcg(matrix, columns, preconditioner, rtol, max_iterations)
        report = replace(report, seconds=time.perf_counter() - started)
        remedy = "raise rank, max_iterations or rtol, or work in float64"
    if not report.converged:
        warnings.warn(f"{report}; {remedy}.", ConvergenceWarning, stacklevel=3)
    return like_rhs(rhs, solution, report)


def _choose(op: Matrix, preconditioner: Map | None) -> str:
    if isinstance(op, Direct):
        return "direct"
    return "cholesky" if preconditioner is None and fits(op) else "pcg"


def _solve_directly(op: Any, columns: Tensor, rtol: float) -> tuple[Tensor, SolveReport]:
    """The operator's own solve, and corrections by it while the residual asks for them."""
    started = time.perf_counter()

    def correct(error: Tensor, _goal: float, _budget: int) -> tuple[Tensor, int]:
        return op.direct_solve(error.to(op.dtype)).double(), 1

    refined = refine(op, columns, correct, rtol=rtol, budget=5)
    seconds = time.perf_counter() - started
    return refined.solution, SolveReport(
        "direct", refined.iterations, refined.residual, rtol, seconds
    )
