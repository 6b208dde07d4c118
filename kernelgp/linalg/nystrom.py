"""Randomised Nyström: a preconditioner from products, for matrices without cheap rows.

References
----------
Z. Frangella, J. A. Tropp and M. Udell, *Randomized Nyström preconditioning*, 2023,
algorithm 2.1.
"""

from typing import Any

import torch

from kernelgp.linalg.preconditioner import LowRankPreconditioner
from kernelgp.linalg.probes import draw_seed, row_normals
from kernelgp.linalg.protocol import as_square, in_double, split
from kernelgp.random import RandomState, as_generator
from kernelgp.validation import check_positive

__all__ = ["nystrom"]


@torch.no_grad()
def nystrom(op: Any, rank: int, *, random_state: RandomState = 0) -> LowRankPreconditioner:
    """A preconditioner from the product of `op` with `rank` random columns.

    Costs one product with `rank` columns in float64 and O(n rank²). Where rows are cheap, as a
    kernel's are, `pivoted_cholesky_preconditioner` is quicker.

    Parameters
    ----------
    op : Matrix, LinearOperator or Tensor, shape (..., n, n)
        Where it is ``base + diag(noise)`` (see `Shifted`), only the base is approximated.
        Where it is not, its smallest captured eigenvalue serves as noise.
    rank
        Columns; at most n.
    random_state : int, numpy Generator or RandomState, torch Generator, or None

    Raises
    ------
    ArgumentError
        If `op` is not square or `rank` not positive.

    Examples
    --------
    >>> from kernelgp.linalg import pcg
    >>> A = torch.diag(torch.cat([torch.logspace(1, 5, 50), torch.ones(50)]).double())
    >>> ones = torch.ones(100, dtype=torch.float64)
    >>> plain, preconditioned = pcg(A, ones)[1], pcg(A, ones, preconditioner=nystrom(A, 60))[1]
    >>> preconditioned.iterations < plain.iterations / 4
    True
    """
    matrix = as_square("op", op)
    check_positive("rank", rank)
    parts = split(matrix)
    exact = in_double(parts[0] if parts else matrix)
    n = matrix.shape[-1]
    rank = min(rank, n)
    index = torch.arange(n, device=matrix.device)
    omega, _ = torch.linalg.qr(row_normals(index, rank, draw_seed(as_generator(random_state))))
    sketch = exact.matmul(omega)
    # A shift of the size of the rounding keeps the small matrix definite; it is taken off again.
    shift = torch.finfo(torch.float64).eps * n**0.5 * sketch.norm(dim=(-2, -1), keepdim=True)
    sketch = sketch + shift * omega
    inner = omega.mT @ sketch
    root = torch.linalg.cholesky((inner + inner.mT) / 2)
    thin = torch.linalg.solve_triangular(root, sketch.mT, upper=False).mT
    vectors, singular, _ = torch.linalg.svd(thin, full_matrices=False)
    eigenvalues = (singular.square() - shift.squeeze(-1)).clamp(min=0.0)
    if parts:
        noise = parts[1]
    else:
        smallest = eigenvalues[..., -1:].clamp(min=shift.squeeze(-1))
        eigenvalues = eigenvalues - eigenvalues[..., -1:]
        noise = smallest.expand(*eigenvalues.shape[:-1], n)
    return LowRankPreconditioner(vectors * eigenvalues.sqrt().unsqueeze(-2), noise)
