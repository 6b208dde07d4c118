"""Dense Cholesky: the quickest solve of a small matrix, and the one that sees it is singular.

A matrix of float32 is factorised in float32 first (four times faster, measured) and refined to
the residual asked for; only where that fails in float64. Only a matrix that float64 cannot
factorise gets jitter, and then it is said how much.
"""

import time
import warnings
from dataclasses import dataclass
from functools import cache
from typing import Any, cast

import scipy.linalg
import torch
from linear_operator import to_linear_operator
from threadpoolctl import ThreadpoolController
from torch import Tensor

from kernelgp.errors import ArgumentError, JitterWarning, NotPositiveDefiniteError
from kernelgp.linalg.probes import row_normals
from kernelgp.linalg.protocol import Matrix, as_square, dense, in_double
from kernelgp.linalg.refinement import Refined, refine
from kernelgp.linalg.report import SolveReport
from kernelgp.validation import check_finite

__all__ = ["CholeskyFactor", "cholesky"]

# Relative to the mean of the diagonal. What was rounded to float32 may be as far from
# positive definite as that rounding.
_LADDER = {
    torch.float64: (1e-12, 1e-10, 1e-8, 1e-6),
    torch.float32: (1e-12, 1e-10, 1e-8, 1e-6, 1e-4),
}
# Not where the two cost the same. For one right-hand side and an easy kernel (RBF, d = 4, noise
# 0.01, to 1e-6) that was measured near n = 3 000, CPU seconds by Cholesky and by CG in float32:
# 0.20 and 0.35 at 2 000, 1.3 and 0.7 at 4 000, 3.0 and 0.9 at 6 000. A few seconds buy an exact
# determinant, a factor to use again, and no dependence on how fast the spectrum falls.
# On CUDA not measured. The entries bound the memory: 1.2 GB for each copy.
_LIMIT = {torch.float32: 7000, torch.float64: 5000}
_CUDA_LIMIT = 12_000
_ENTRIES = 150_000_000


@dataclass(frozen=True, slots=True, eq=False)
class CholeskyFactor:
    """``A + jitter I = L Lᵀ``.

    Attributes
    ----------
    factor : Tensor, shape (..., n, n)
        L, lower triangular; float64 from `cholesky`.
    jitter
        The most that was added to a diagonal of the batch; 0 where none was needed.
    smallest_eigenvalue
        An estimate for A where there is jitter, else None.
    """

    factor: Tensor
    jitter: float = 0.0
    smallest_eigenvalue: float | None = None

    def logdet(self) -> Tensor:
        """``log|A + jitter I|``, shape (...)."""
        return 2 * self.factor.diagonal(dim1=-2, dim2=-1).log().sum(dim=-1)

    def warn(self, consequence: str, *, stacklevel: int) -> None:
        """A `JitterWarning` at the caller's line, if there is jitter."""
        if self.jitter:
            warnings.warn(
                f"op is singular to working precision (smallest eigenvalue about "
                f"{self.smallest_eigenvalue:.1e}): jitter {self.jitter:.1e} was added to its "
                f"diagonal{consequence}; remove duplicate points or give it noise.",
                JitterWarning,
                stacklevel=stacklevel + 1,
            )


@torch.no_grad()
def cholesky(op: Any) -> CholeskyFactor:
    """The factor of a symmetric positive definite matrix, with jitter where it must be.

    Parameters
    ----------
    op : Matrix, LinearOperator or Tensor, shape (..., n, n)
        Formed in float64: 8 n² bytes, twice.

    Raises
    ------
    ArgumentError
        If it is not square, not symmetric or not finite.
    NotPositiveDefiniteError
        If jitter of 1e-6 of its mean diagonal (1e-4 in float32) does not make it definite.

    Warns
    -----
    JitterWarning
        If it is singular to working precision.

    Examples
    --------
    >>> cholesky(torch.tensor([[4.0, 2.0], [2.0, 2.0]])).factor
    tensor([[2., 0.],
            [1., 1.]], dtype=torch.float64)
    """
    matrix = as_square("op", op)
    found = factorise(entries(matrix), matrix.dtype)
    found.warn("", stacklevel=3)
    return found


def fits(op: Matrix) -> bool:
    """Whether Cholesky is expected to be faster than iterating, and to fit the memory."""
    n = op.shape[-1]
    limit = _CUDA_LIMIT if op.device.type == "cuda" else _LIMIT[op.dtype]
    return n <= limit and op.shape.numel() <= _ENTRIES


def solve_by_cholesky(
    op: Matrix, columns: Tensor, rtol: float
) -> tuple[Tensor, SolveReport, CholeskyFactor]:
    """Factorise, solve and refine."""
    started = time.perf_counter()
    matrix = entries(op)
    found, refined = _solve_in_single(matrix, columns, rtol) if op.dtype != matrix.dtype else _NONE
    if found is None or refined is None:
        found = factorise(matrix, op.dtype)
        refined = _refine(matrix, columns, found.factor, rtol)
    seconds = time.perf_counter() - started
    report = SolveReport(
        "cholesky", refined.iterations, refined.residual, rtol, seconds, jitter=found.jitter
    )
    return refined.solution, report, found


_NONE = None, None


def _solve_in_single(
    matrix: Tensor, columns: Tensor, rtol: float
) -> tuple[CholeskyFactor | None, Refined | None]:
    """By a float32 factor; nothing where it fails or does not refine to `rtol`."""
    factor, failed = torch.linalg.cholesky_ex(matrix.float())
    if failed.any():
        return _NONE
    refined = _refine(matrix, columns, factor, rtol)
    return (CholeskyFactor(factor), refined) if refined.worst <= rtol else _NONE


def _refine(matrix: Tensor, columns: Tensor, factor: Tensor, rtol: float) -> Refined:
    def correct(error: Tensor, _goal: float, _budget: int) -> tuple[Tensor, int]:
        return torch.cholesky_solve(error.to(factor.dtype), factor).double(), 1

    exact = cast(Matrix, to_linear_operator(matrix))
    return refine(exact, columns, correct, rtol=rtol, budget=20)


def entries(op: Matrix) -> Tensor:
    """All entries in float64, if they are finite and symmetric."""
    matrix = check_finite("op", dense(in_double(op)))
    difference = (matrix - matrix.mT).abs().max().item()
    scale = matrix.abs().max().item()
    if difference > 1e-5 * scale:
        given = f"an operator with |A - Aᵀ| up to {difference:.1e} beside |A| of {scale:.1e}"
        raise ArgumentError("op", given, "give a symmetric one, or use linalg.gmres or lsmr")
    return matrix


def factorise(matrix: Tensor, origin: torch.dtype) -> CholeskyFactor:
    """Climb the ladder that belongs to the dtype the entries come from."""
    factor, failed = torch.linalg.cholesky_ex(matrix)
    if not failed.any():
        return CholeskyFactor(factor)
    scale = matrix.diagonal(dim1=-2, dim2=-1).abs().mean(dim=-1, keepdim=True)
    added, still = torch.zeros_like(scale), failed
    for rung in _LADDER[origin]:
        added = rung * scale * (failed > 0).unsqueeze(-1)
        factor, still = torch.linalg.cholesky_ex(matrix + added.unsqueeze(-1) * _eye(matrix))
        if not still.any():
            return CholeskyFactor(factor, added.max().item(), _smallest(matrix, factor))
    given = (
        f"a matrix that is not positive definite with jitter {added.max().item():.1e} "
        f"(its leading minor of order {int(still.max())} is not positive)"
    )
    raise NotPositiveDefiniteError("op", given, "check the kernel, or add noise to its diagonal")


def lower_inverse(root: Tensor) -> Tensor:
    """``(L Lᵀ)⁻¹`` on and below the diagonal, a new tensor with anything above; no batch."""
    if root.device.type != "cpu":
        return torch.cholesky_inverse(root)
    return _by_lapack("potri", root)


def triangular_inverse(root: Tensor) -> Tensor:
    """``L⁻¹``, shape (..., n, n), of what is on and below the diagonal of `root`."""
    if root.device.type != "cpu" or root.dim() > 2:
        eye = torch.eye(root.shape[-1], dtype=root.dtype, device=root.device)
        return torch.linalg.solve_triangular(root, eye, upper=False)
    return _by_lapack("trtri", root).tril_()


def _by_lapack(name: str, root: Tensor) -> Tensor:
    # scipy's LAPACK takes two thirds of the time of torch's here (potri: 0.24 and 0.36 s at
    # 2 000), but only on one thread: two wait for each other, 3 to 27 s on a busy machine.
    array = root.numpy()
    (function,) = scipy.linalg.get_lapack_funcs((name,), (array,))
    with _openblas().limit(limits=1):
        inverse, _ = function(array, lower=1)
    return torch.from_numpy(inverse)


@cache
def _openblas() -> ThreadpoolController:
    return ThreadpoolController().select(internal_api="openblas")


def _eye(matrix: Tensor) -> Tensor:
    return torch.eye(matrix.shape[-1], dtype=matrix.dtype, device=matrix.device)


def _smallest(matrix: Tensor, factor: Tensor) -> float:
    """Rayleigh quotient after a few steps of inverse iteration: an upper bound, close to it."""
    v = row_normals(torch.arange(matrix.shape[-1], device=matrix.device), 1, seed=0)
    for _ in range(10):
        v = torch.cholesky_solve(v, factor)
        v = v / v.norm(dim=-2, keepdim=True)
    return (v * (matrix @ v)).sum(dim=-2).min().item()
