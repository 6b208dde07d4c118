"""Stochastic Lanczos quadrature: a log-determinant from the coefficients that CG leaves behind.

With ``z ~ N(0, P)``, CG preconditioned by P is Lanczos on ``P^-½ A P^-½`` from a random
direction, and ``log|A| = log|P| + tr log(P^-½ A P^-½)``: the better the preconditioner, the
nearer that matrix to the identity and the smaller the variance.

References
----------
S. Ubaru, J. Chen and Y. Saad, *Fast estimation of tr(f(A)) via stochastic Lanczos quadrature*,
SIAM J. Matrix Anal. Appl. 2017; Wenger, Pleiss, Hennig, Cunningham and Gardner,
*Preconditioning for scalable Gaussian process hyperparameter optimization*, 2022.
"""

import torch
from torch import Tensor

from kernelgp.errors import NotPositiveDefiniteError
from kernelgp.linalg.cg import Sweep, sweep
from kernelgp.linalg.preconditioner import LowRankPreconditioner
from kernelgp.linalg.probes import row_normals
from kernelgp.linalg.protocol import Matrix, in_double, product

__all__ = ["log_quadrature", "probe_columns", "sweep_columns"]


def probe_columns(
    op: Matrix, preconditioner: LowRankPreconditioner | None, n_probes: int, seed: int
) -> Tensor:
    """Columns from N(0, P), or N(0, I) without a preconditioner, shape (..., n, n_probes)."""
    if preconditioner is not None:
        return preconditioner.sample(n_probes, seed=seed)
    columns = row_normals(torch.arange(op.shape[-1], device=op.device), n_probes, seed)
    return columns.expand(*op.shape[:-2], *columns.shape)


def sweep_columns(
    op: Matrix,
    columns: Tensor,
    preconditioner: LowRankPreconditioner | None,
    rtol: float,
    max_iterations: int,
) -> Sweep:
    """CG on unit columns; in float64 throughout if float32 products lose definiteness."""
    swept = sweep(
        product(op),
        columns,
        preconditioner,
        rtol,
        max_iterations,
        eps=torch.finfo(op.dtype).eps,
    )
    if swept.curvature >= 0 and bool((torch.linalg.eigvalsh(swept.tridiagonals()) > 0).all()):
        return swept
    if op.dtype == torch.float32:
        return sweep_columns(in_double(op), columns, preconditioner, rtol, max_iterations)
    given = f"a direction of curvature {swept.curvature:.1e}"
    raise NotPositiveDefiniteError("op", given, "check the kernel, or add noise to its diagonal")


def log_quadrature(
    tridiagonals: Tensor, n: int, preconditioner: LowRankPreconditioner | None
) -> tuple[Tensor, Tensor]:
    """``log|A|`` and its standard error, shape (...), from (..., p, m, m)."""
    values, vectors = torch.linalg.eigh(tridiagonals)
    # Unit vectors of random direction: E n uᵀf(M)u = tr f(M), with less variance than zᵀf(M)z.
    estimates = n * (vectors[..., 0, :].square() * values.log()).sum(dim=-1)
    known = preconditioner.logdet() if preconditioner is not None else 0.0
    return known + estimates.mean(dim=-1), estimates.std(dim=-1) / estimates.shape[-1] ** 0.5
