"""Preconditioned LSMR for least squares with any operator: scipy's, reported on.

References
----------
D. C.-L. Fong and M. Saunders, *LSMR: an iterative algorithm for sparse least-squares problems*,
SIAM J. Sci. Comput. 2011.
"""

import time
import warnings
from typing import Any, Protocol

import numpy as np
import scipy.sparse.linalg
import torch
from torch import Tensor

from kernelgp.errors import ArgumentTypeError, ConvergenceWarning
from kernelgp.linalg.protocol import as_columns, as_matrix, in_double
from kernelgp.linalg.report import SolveReport, like_rhs
from kernelgp.linalg.scipy_bridge import each_column, from_map
from kernelgp.validation import check_positive

__all__ = ["lsmr"]


class Transposable(Protocol):
    """A square matrix that also multiplies from the left."""

    def matmul(self, rhs: Tensor, /) -> Tensor: ...
    @property
    def mT(self) -> "Transposable": ...  # noqa: N802 - torch's name


@torch.no_grad()
def lsmr(
    op: Any,
    rhs: Tensor,
    *,
    preconditioner: Transposable | None = None,
    rtol: float = 1e-6,
    max_iterations: int = 1000,
) -> tuple[Tensor, SolveReport]:
    """The ``X`` of least ``|A X - B|``, one column after another.

    Parameters
    ----------
    op : LinearOperator, Tensor or a Matrix with ``mT``, shape (m, n)
    rhs : Tensor, shape (m,) or (m, k)
    preconditioner : Tensor or LinearOperator, shape (n, n), float64
        R such that ``A R`` is better conditioned (right preconditioning): the solution is
        sought as ``X = R Y``, and is that of least ``|Y|`` where there are many.
    rtol
        A column has converged when its relative residual ``|b - A x| / |b|``, or failing that
        its relative gradient ``|Rᵀ Aᵀ (b - A x)| / |Rᵀ Aᵀ b|``, is at most this.
    max_iterations
        Bound on the pairs of products with A and its transpose for one column.

    Returns
    -------
    solution : Tensor, shape (n,) or (n, k), float64
    report : SolveReport
        `residual` is the smaller of the two, measured in float64 on the solution returned.

    Raises
    ------
    ArgumentTypeError
        If `op` has no transpose.
    ArgumentError
        If `rhs` does not fit `op` or is not finite.

    Warns
    -----
    ConvergenceWarning
        If the worst column ends above `rtol`.

    Examples
    --------
    >>> A = torch.tensor([[1.0], [1.0]])
    >>> solution, report = lsmr(A, torch.tensor([0.0, 2.0]))
    >>> solution, report.converged
    (tensor([1.0000], dtype=torch.float64), True)
    """
    matrix = as_matrix("op", op)
    if not hasattr(matrix, "mT"):
        raise ArgumentTypeError("op", f"{type(op).__name__} without mT", "give it a transpose")
    columns = as_columns(matrix, rhs, batched=False)
    check_positive("rtol", rtol)
    check_positive("max_iterations", max_iterations)
    started = time.perf_counter()
    exact: Any = in_double(matrix)
    n = matrix.shape[-1]
    right: Any = torch.eye(n, dtype=torch.float64) if preconditioner is None else preconditioner

    def forward(y: Tensor) -> Tensor:
        return exact.matmul(y if preconditioner is None else right.matmul(y))

    def adjoint(v: Tensor) -> Tensor:
        image = exact.mT.matmul(v)
        return image if preconditioner is None else right.mT.matmul(image)

    bridge = from_map(forward, (matrix.shape[-2], n), matrix.device, adjoint)
    spent = 0

    def solve_one(column: Any) -> Any:
        nonlocal spent
        y, used = np.zeros(n), 0
        # scipy measures against |A| |x|, not |b|: where that stopped it early, go on from there.
        for atol in (rtol / 10, rtol / 1e4, rtol / 1e7):
            found = scipy.sparse.linalg.lsmr(
                bridge,
                column,
                atol=atol,
                btol=rtol / 2,
                conlim=0.0,
                maxiter=max_iterations - used,
                x0=y,
            )
            y, used = found[0], used + found[2]
            error = column - bridge.matvec(y)
            gradient, whole = bridge.rmatvec(error), bridge.rmatvec(column)
            if (
                np.linalg.norm(error) <= rtol * np.linalg.norm(column)
                or np.linalg.norm(gradient) <= rtol * np.linalg.norm(whole)
                or used >= max_iterations
            ):
                break
        spent += used
        return y

    target = columns.double()
    inner = each_column(solve_one, target)
    error = target - forward(inner)
    residual = torch.minimum(_ratio(error, target), _ratio(adjoint(error), adjoint(target)))
    solution = inner if preconditioner is None else right.matmul(inner)
    report = SolveReport("lsmr", spent, residual, rtol, time.perf_counter() - started)
    if not report.converged:
        remedy = "precondition, or raise max_iterations or rtol"
        warnings.warn(f"{report}; {remedy}.", ConvergenceWarning, stacklevel=3)
    return like_rhs(rhs, solution, report)


def _ratio(error: Tensor, target: Tensor) -> Tensor:
    scale = target.norm(dim=-2)
    return error.norm(dim=-2) / scale.where(scale > 0, 1.0)
