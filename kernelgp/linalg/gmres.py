"""Preconditioned GMRES for square matrices that need not be symmetric: scipy's, reported on.

References
----------
Y. Saad and M. H. Schultz, *GMRES: a generalized minimal residual algorithm*, 1986.
"""

import time
import warnings
from typing import Any

import scipy.sparse.linalg
import torch
from torch import Tensor

from kernelgp.errors import ConvergenceWarning
from kernelgp.linalg.protocol import Map, as_columns, as_square, in_double
from kernelgp.linalg.report import SolveReport, like_rhs
from kernelgp.linalg.scipy_bridge import each_column, from_map
from kernelgp.validation import check_positive

__all__ = ["gmres"]


@torch.no_grad()
def gmres(
    op: Any,
    rhs: Tensor,
    *,
    preconditioner: Map | None = None,
    rtol: float = 1e-6,
    restart: int = 100,
    max_iterations: int = 1000,
) -> tuple[Tensor, SolveReport]:
    """Solve ``A X = B`` for any square operator, one column after another.

    Parameters
    ----------
    op : Matrix, LinearOperator or Tensor, shape (n, n)
    rhs : Tensor, shape (n,) or (n, k)
    preconditioner
        Applies an approximate inverse of `op` to a float64 tensor of shape (n, 1).
    rtol
        Bound on the true relative residual of the worst column.
    restart
        Vectors kept, n numbers each.
    max_iterations
        Bound on the products for one column.

    Returns
    -------
    solution : Tensor, shape of `rhs`, float64
    report : SolveReport
        Its iterations are those of all columns together.

    Raises
    ------
    ArgumentError
        If `op` is not square, or `rhs` does not fit it or is not finite.

    Warns
    -----
    ConvergenceWarning
        If the worst column ends above `rtol`.

    Examples
    --------
    >>> solution, report = gmres(torch.tensor([[1.0, 2.0], [0.0, 1.0]]), torch.tensor([3.0, 1.0]))
    >>> bool(torch.allclose(solution, torch.ones_like(solution))), report.converged
    (True, True)
    """
    matrix = as_square("op", op)
    columns = as_columns(matrix, rhs, batched=False)
    for name, value in (("rtol", rtol), ("restart", restart), ("max_iterations", max_iterations)):
        check_positive(name, value)
    started = time.perf_counter()
    exact, n = in_double(matrix), matrix.shape[-1]
    forward = from_map(exact.matmul, (n, n), matrix.device)
    inverse = from_map(preconditioner, (n, n), matrix.device) if preconditioner else None
    restart = min(restart, n, max_iterations)
    spent = 0

    def count(_: float) -> None:
        nonlocal spent
        spent += 1

    def solve_one(column: Any) -> Any:
        # scipy judges by the preconditioned residual's recurrence: the verdict is ours, below.
        return scipy.sparse.linalg.gmres(
            forward,
            column,
            rtol=rtol / 2,
            restart=restart,
            maxiter=max(1, max_iterations // restart),
            M=inverse,
            callback=count,
            callback_type="pr_norm",
        )[0]

    target = columns.double()
    solution = each_column(solve_one, target)
    scale = target.norm(dim=-2)
    residual = (target - exact.matmul(solution)).norm(dim=-2) / scale.where(scale > 0, 1.0)
    seconds = time.perf_counter() - started
    rank = getattr(preconditioner, "rank", 0)
    report = SolveReport("gmres", spent, residual, rtol, seconds, rank)
    if not report.converged:
        remedy = "precondition, or raise restart, max_iterations or rtol"
        warnings.warn(f"{report}; {remedy}.", ConvergenceWarning, stacklevel=3)
    return like_rhs(rhs, solution, report)
