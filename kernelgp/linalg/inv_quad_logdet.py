"""All that a marginal likelihood and its gradient need, from one block of right-hand sides."""

import warnings
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from kernelgp.errors import ArgumentError, ConvergenceWarning
from kernelgp.linalg.cg import solve_by_pcg
from kernelgp.linalg.cholesky import CholeskyFactor, entries, factorise, fits
from kernelgp.linalg.lanczos_quadrature import log_quadrature, probe_columns, sweep_columns
from kernelgp.linalg.preconditioner import automatic_preconditioner
from kernelgp.linalg.probes import draw_seed, row_normals
from kernelgp.linalg.protocol import Matrix, as_columns, as_square
from kernelgp.random import RandomState, as_generator
from kernelgp.validation import check_positive

__all__ = ["InvQuadLogdet", "inv_quad_logdet"]

# Up to here the inverse is formed, and the gradient of the determinant is exact: for n points
# that costs about what the factor does.
_EXACT_GRADIENT = 2000


@dataclass(frozen=True, slots=True, eq=False)
class InvQuadLogdet:
    """``A⁻¹ B``, ``log|A|`` and what the gradient of the latter is estimated from.

    For a change dA of the operator, ``d log|A| = tr(A⁻¹ dA)`` is the mean over the p probes
    of ``probe_solutions[:, i]ᵀ dA probes[:, i]``, and ``d bᵀA⁻¹b = -solutionᵀ dA solution``.

    Attributes
    ----------
    solution : Tensor, shape (..., n, k), float64
        ``A⁻¹ B``.
    residual : Tensor, shape (..., k), float64
        True relative residual of `solution`.
    probe_solutions : Tensor, shape (..., n, p), float64
        ``A⁻¹ z`` for ``z ~ N(0, P)``, P the preconditioner.
    probes : Tensor, shape (..., n, p), float64
        ``P⁻¹ z``.
    logdet, standard_error : Tensor, shape (...), float64
        The error is 0 where the determinant is exact.
    """

    solution: Tensor
    residual: Tensor
    probe_solutions: Tensor
    probes: Tensor
    logdet: Tensor
    standard_error: Tensor


@torch.no_grad()
def inv_quad_logdet(
    op: Any,
    rhs: Tensor,
    *,
    n_probes: int = 10,
    rtol: float = 1e-3,
    method: Literal["auto", "cholesky", "pcg"] = "auto",
    rank: int | None = None,
    max_iterations: int = 200,
    generator: RandomState = 0,
) -> InvQuadLogdet:
    """Solutions, log-determinant and probes for the gradient, without a graph.

    Parameters
    ----------
    op : Matrix, LinearOperator or Tensor, shape (..., n, n)
        Symmetric positive definite.
    rhs : Tensor, shape (..., n, k)
    n_probes
        Random vectors for the determinant and its gradient, at least 2. Up to n = 2 000
        the gradient is exact and takes n probes whatever is asked.
    rtol
        Of the worst column. Tight enough that it leaves less error than the probes do.
    method
        "auto": Cholesky as far as `solve` takes it, in the operator's dtype where that
        succeeds; beyond that "pcg", one block of CG on `rhs` and the probes.
    rank
        Of the preconditioner; 0 for none, None for the automatic rule.
    max_iterations
        Bound on the products of CG.
    generator : int, numpy Generator or RandomState, torch Generator, or None
        An int gives the same probes at every call, so that a loss built on them is smooth.

    Raises
    ------
    ArgumentError
        If `op` is not square, or `rhs` does not fit it or is not finite.
    NotPositiveDefiniteError
        If `op` is not positive definite, jitter included.

    Warns
    -----
    JitterWarning
        If Cholesky needed jitter.
    ConvergenceWarning
        If the worst column of `rhs` ends above `rtol`.

    Examples
    --------
    >>> A = torch.diag(torch.tensor([2.0, 3.0]))
    >>> found = inv_quad_logdet(A, torch.ones(2, 1))
    >>> found.solution.mT, found.logdet
    (tensor([[0.5000, 0.3333]], dtype=torch.float64), tensor(1.7918, dtype=torch.float64))
    >>> (found.probe_solutions * found.probes).sum(0).mean()  # tr A⁻¹: dA = I
    tensor(0.8333, dtype=torch.float64)
    """
    matrix = as_square("op", op)
    columns = as_columns(matrix, rhs)
    if n_probes < 2:
        raise ArgumentError("n_probes", str(n_probes), "give at least 2")
    if method not in ("auto", "cholesky", "pcg"):
        raise ArgumentError("method", repr(method), 'give "auto", "cholesky" or "pcg"')
    check_positive("rtol", rtol)
    check_positive("max_iterations", max_iterations)
    draws = as_generator(generator)
    if method == "cholesky" or (method == "auto" and fits(matrix)):
        factor, found = _by_cholesky(matrix, columns, n_probes, draws)
        factor.warn("", stacklevel=3)
    else:
        found = _by_pcg(matrix, columns, n_probes, rtol, rank, max_iterations, draws)
        worst = found.residual.max().item()
        if not worst <= rtol:
            given = f"inv_quad_logdet: worst residual {worst:.1e} (asked: {rtol:.1e})"
            remedy = "raise rank, max_iterations or rtol, or work in float64"
            warnings.warn(f"{given}; {remedy}.", ConvergenceWarning, stacklevel=3)
    return found


def _by_cholesky(
    op: Matrix, columns: Tensor, n_probes: int, generator: torch.Generator
) -> tuple[CholeskyFactor, InvQuadLogdet]:
    matrix = entries(op)
    root, failed = torch.linalg.cholesky_ex(matrix.to(op.dtype))
    factor = factorise(matrix, op.dtype) if failed.any() else CholeskyFactor(root)
    root = factor.factor
    index = torch.arange(op.shape[-1], device=op.device)
    if len(index) <= _EXACT_GRADIENT:
        probe_solutions = torch.cholesky_inverse(root).double()
        probes = len(index) * torch.eye(len(index), dtype=torch.float64, device=op.device)
        probes = probes.expand_as(probe_solutions)
    else:
        # P = A: z = L e, and both A⁻¹ z and P⁻¹ z are L⁻ᵀ e.
        noise = row_normals(index, n_probes, draw_seed(generator)).to(root.dtype)
        noise = noise.expand(*root.shape[:-2], *noise.shape)
        probes = torch.linalg.solve_triangular(root.mT, noise, upper=True).double()
        probe_solutions = probes
    target = columns.double()
    solution = torch.cholesky_solve(target.to(root.dtype), root).double()
    error = target - matrix @ solution
    correction = torch.cholesky_solve(error.to(root.dtype), root).double()
    solution, error = solution + correction, error - matrix @ correction
    scale = target.norm(dim=-2)
    residual = error.norm(dim=-2) / scale.where(scale > 0, 1.0)
    value = CholeskyFactor(root.double()).logdet()
    return factor, InvQuadLogdet(
        solution, residual, probe_solutions, probes, value, torch.zeros_like(value)
    )


def _by_pcg(
    op: Matrix,
    columns: Tensor,
    n_probes: int,
    rtol: float,
    rank: int | None,
    max_iterations: int,
    generator: torch.Generator,
) -> InvQuadLogdet:
    preconditioner = automatic_preconditioner(op, rank, generator)
    probes = probe_columns(op, preconditioner, n_probes, draw_seed(generator))
    batch = torch.broadcast_shapes(op.shape[:-2], columns.shape[:-2])
    block = torch.cat([v.double().expand(*batch, *v.shape[-2:]) for v in (columns, probes)], dim=-1)
    scale = block.norm(dim=-2, keepdim=True)
    scale = scale.where(scale > 0, 1.0)
    swept = sweep_columns(op, block / scale, preconditioner, rtol / 2, max_iterations)
    k = columns.shape[-1]
    solutions = scale * swept.solution
    # The running residual may lie in float32: the columns of the user are measured, and
    # corrected where they must be; the probes have an error of their own, far above this one.
    solution, report = solve_by_pcg(
        op, columns, preconditioner, rtol, max_iterations, start=solutions[..., :k]
    )
    value, error = log_quadrature(swept.tridiagonals()[..., k:, :, :], op.shape[-1], preconditioner)
    white = probes if preconditioner is None else preconditioner(probes)
    return InvQuadLogdet(
        solution,
        report.residual,
        solutions[..., k:],
        white.expand_as(solutions[..., k:]),
        value,
        error,
    )
