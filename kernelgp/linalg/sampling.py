"""`sample`: draws from N(0, A), exact by Cholesky or nearly so by a split square root.

A low-rank factor takes the large eigenvalues: ``A = L Lᵀ + R``. So ``L e₁ + R^½ e₂`` has
covariance A exactly, and the remainder R, little more than the noise, is so well conditioned
that Lanczos finds its square root in a few products. (A Lanczos root of A itself would lose the
small eigenvalues, and the samples with them.)

References
----------
Y. Saad, *Iterative Methods for Sparse Linear Systems*, 2nd ed., SIAM 2003, algorithm 6.15
(Lanczos); Chow and Saad, *Preconditioned Krylov subspace methods for sampling multivariate
Gaussian distributions*, 2014.
"""

import warnings
from typing import Any

import torch
from torch import Tensor

from kernelgp.errors import ArgumentError, NotPositiveDefiniteError, NumericalWarning
from kernelgp.linalg.cholesky import entries, factorise
from kernelgp.linalg.preconditioner import LowRankPreconditioner, pivoted_cholesky_preconditioner
from kernelgp.linalg.probes import draw_seed, row_normals
from kernelgp.linalg.protocol import Matrix, as_square, check_symmetric, in_double
from kernelgp.random import RandomState, as_generator
from kernelgp.validation import check_positive

__all__ = ["sample"]

_EXACT = 5000


@torch.no_grad()
def sample(
    op: Any,
    n_samples: int,
    *,
    rtol: float = 1e-4,
    max_iterations: int = 200,
    random_state: RandomState = None,
) -> Tensor:
    """Draws from the normal distribution with mean 0 and covariance `op`.

    Exact, O(n³), below n = 5 000. From there on O(n) memory and some ten products in float64,
    with the relative error of the covariance estimated and told in a warning.

    Parameters
    ----------
    op : Matrix, LinearOperator or Tensor, shape (n, n); (..., n, n) below n = 5 000
        Symmetric positive definite. From n = 5 000 on it should be ``base + diag(noise)``
        (see `Shifted`); where it is not, the square root converges slowly.
    n_samples
    rtol
        Relative change of a sample at which the square root is taken as found.
    max_iterations
        Bound on the products.
    random_state : int, numpy Generator or RandomState, torch Generator, or None

    Returns
    -------
    Tensor, shape (..., n_samples, n), float64

    Raises
    ------
    ArgumentError
        If `op` is not square or not symmetric.
    NotPositiveDefiniteError
        If it is not positive definite, jitter included.

    Warns
    -----
    JitterWarning
        If Cholesky needed jitter, which the covariance then contains.
    NumericalWarning
        From n = 5 000 on: the estimated error of the covariance.

    Examples
    --------
    >>> A = torch.tensor([[2.0, 1.0], [1.0, 2.0]])
    >>> draws = sample(A, 10_000, random_state=0)
    >>> draws.shape, bool(((draws.mT @ draws / 10_000 - A).abs() < 0.1).all())
    (torch.Size([10000, 2]), True)
    """
    matrix = as_square("op", op)
    check_positive("n_samples", n_samples)
    check_positive("rtol", rtol)
    check_positive("max_iterations", max_iterations)
    generator, n = as_generator(random_state), matrix.shape[-1]
    if n < _EXACT:
        factor = factorise(entries(matrix), matrix.dtype)
        factor.warn(", and is part of the covariance", stacklevel=3)
        normal = torch.randn(
            *matrix.shape[:-2], n, n_samples, generator=generator, dtype=torch.float64
        )
        return (factor.factor @ normal.to(matrix.device)).mT

    if len(matrix.shape) != 2:
        given = f"shape {tuple(matrix.shape)}"
        raise ArgumentError("op", given, f"give one matrix at a time from n = {_EXACT} on")
    check_symmetric(matrix)
    split = pivoted_cholesky_preconditioner(matrix, random_state=generator)
    seed = draw_seed(generator)
    index = torch.arange(n, device=matrix.device)
    low = split.factor @ row_normals(index[: split.rank], n_samples, seed)
    rest, change = _root_product(
        in_double(matrix), split, row_normals(index, n_samples, seed + 1), rtol, max_iterations
    )
    # A sample off by a fraction c has a covariance off by 2 c, in the remainder's share of it.
    share = rest.square().sum() / (rest.square().sum() + low.square().sum())
    warnings.warn(
        f"sample: n = {n} is too large for Cholesky; the covariance of these samples is off by "
        f"about {2 * change * share.item():.1e} of its size ({2 * change:.1e} of its part "
        f"beyond rank {split.rank}); lower rtol or raise max_iterations for less.",
        NumericalWarning,
        stacklevel=3,
    )
    return (low + rest).mT


def _root_product(
    op: Matrix, split: LowRankPreconditioner, normal: Tensor, rtol: float, max_iterations: int
) -> tuple[Tensor, float]:
    """``R^½ normal`` up to a rotation of `normal`, R = A - L Lᵀ, and its last relative change.

    With ``M = D^-½ R D^-½``, ``D^½ M^½`` is a square root of R; Lanczos on M starts from each
    column, ``M^½ v ≈ |v| V T^½ e₁``.
    """
    deviation = split.noise.sqrt().unsqueeze(-1)

    def remainder(v: Tensor) -> Tensor:
        white = v / deviation
        return (op.matmul(white) - split.factor @ (split.factor.mT @ white)) / deviation

    length = normal.norm(dim=0)
    basis, diagonal, off = [normal / length], [], []
    before, change = torch.zeros_like(normal), float("inf")
    for _ in range(max_iterations):
        v = basis[-1]
        w = remainder(v)
        diagonal.append((v * w).sum(dim=0))
        stored = torch.stack(basis)
        for _ in range(2):  # twice is enough: the basis stays orthogonal to rounding
            w = w - torch.einsum("jnk,jk->nk", stored, torch.einsum("jnk,nk->jk", stored, w))
        root = _root_coefficients(torch.stack(diagonal, dim=-1), off) * length.unsqueeze(-1)
        current = torch.einsum("jnk,kj->nk", stored, root)
        change = ((current - before).norm(dim=0) / current.norm(dim=0)).max().item()
        before = current
        following = w.norm(dim=0)
        if change <= rtol or bool((following <= 1e-14 * diagonal[0].abs()).all()):
            break
        off.append(following)
        basis.append(w / following.where(following > 0, 1.0))
    return deviation * before, change


def _root_coefficients(diagonal: Tensor, off: list[Tensor]) -> Tensor:
    """``T^½ e₁`` for every column, shape (k, m)."""
    tridiagonal = diagonal.diag_embed()
    if off:
        beside = torch.stack(off, dim=-1)
        tridiagonal = tridiagonal + beside.diag_embed(1) + beside.diag_embed(-1)
    values, vectors = torch.linalg.eigh(tridiagonal)
    if bool((values < -1e-8 * values.abs().amax(dim=-1, keepdim=True)).any()):
        given = f"a direction of curvature {values.min().item():.1e} beside its noise"
        raise NotPositiveDefiniteError("op", given, "check the kernel")
    first = vectors[..., 0, :] * values.clamp(min=0.0).sqrt()
    return (vectors @ first.unsqueeze(-1)).squeeze(-1)
