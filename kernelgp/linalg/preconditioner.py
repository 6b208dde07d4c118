"""Low rank plus diagonal: the preconditioner of every kernel matrix with noise.

``P = L Lᵀ + D``, applied in its whitened form ``D^½ (B Bᵀ + I) D^½`` with ``B = D^-½ L``, so
that noise of any kind, one variance for each point included, costs the same.

References
----------
N. J. Higham, *Accuracy and Stability of Numerical Algorithms*, 2nd ed., SIAM 2002, chapter 26
(Sherman-Morrison-Woodbury); Wenger, Pleiss, Hennig, Cunningham and Gardner, *Preconditioning
for scalable Gaussian process hyperparameter optimization*, 2022 (draws from N(0, P)).
"""

import math
from typing import Any, cast

import torch
from linear_operator import LinearOperator
from torch import Tensor

from kernelgp.errors import ArgumentError
from kernelgp.linalg.pivoted_cholesky import factorise
from kernelgp.linalg.probes import row_normals
from kernelgp.linalg.protocol import Matrix, as_square, in_double, split
from kernelgp.linalg.team import ALONE, Team, team_of
from kernelgp.random import RandomState, as_generator
from kernelgp.validation import check_positive

__all__ = ["LowRankPreconditioner", "pivoted_cholesky_preconditioner"]


class LowRankPreconditioner:
    """``P = L Lᵀ + diag(noise)``; calling it applies the inverse.

    Parameters
    ----------
    factor : Tensor, shape (..., n, r), float64
        Of a matrix that is shared by several processes, the rows that are kept here.
    noise : Tensor, shape (..., n), float64, positive
    team
        The processes that share it.

    Examples
    --------
    >>> L = torch.ones(3, 1, dtype=torch.float64)
    >>> P = LowRankPreconditioner(L, torch.ones(3, dtype=torch.float64))
    >>> P(torch.ones(3, 1, dtype=torch.float64)).mT, P.logdet()
    (tensor([[0.2500, 0.2500, 0.2500]], dtype=torch.float64), tensor(1.3863, dtype=torch.float64))
    """

    def __init__(self, factor: Tensor, noise: Tensor, team: Team = ALONE) -> None:
        self.factor, self.noise = factor, noise
        self._team, self._mine = team, team.rows(noise.shape[-1])
        self._deviation = noise[..., self._mine].sqrt().unsqueeze(-1)
        self._whitened = factor / self._deviation
        gram = team.sum(_gram(self._whitened))
        gram.diagonal(dim1=-2, dim2=-1).add_(1.0)
        self._root = torch.linalg.cholesky(gram)

    @property
    def rank(self) -> int:
        return self.factor.shape[-1]

    def __call__(self, rhs: Tensor) -> Tensor:
        """``P⁻¹ rhs`` for float64 columns of shape (..., n, k)."""
        white = rhs[..., self._mine, :] / self._deviation
        inner = torch.cholesky_solve(self._team.sum(self._whitened.mT @ white), self._root)
        return self._join((white - self._whitened @ inner) / self._deviation)

    def matmul(self, rhs: Tensor) -> Tensor:
        """``P rhs`` for float64 columns of shape (..., n, k)."""
        inner = self._team.sum(self.factor.mT @ rhs[..., self._mine, :])
        return self._join(self.factor @ inner) + self.noise.unsqueeze(-1) * rhs

    def logdet(self) -> Tensor:
        """``log|P|``, shape (...)."""
        root = self._root.diagonal(dim1=-2, dim2=-1)
        return self.noise.log().sum(dim=-1) + 2 * root.log().sum(dim=-1)

    def sample(self, n_samples: int, *, seed: int) -> Tensor:
        """Columns drawn from N(0, P), shape (..., n, n_samples).

        The diagonal's part is seeded by row, so that it does not depend on how rows are spread
        over processes; every process draws the factor's part alike.
        """
        device, rank = self.factor.device, self.rank
        index = torch.arange(self._mine.start, self._mine.stop, device=device)
        own = row_normals(index, n_samples, seed)
        shared = row_normals(torch.arange(rank, device=device), n_samples, seed + 1)
        return self._join(self.factor @ shared + self._deviation * own)

    def _join(self, own: Tensor) -> Tensor:
        return self._team.join(own, self.noise.shape[-1])


def _gram(whitened: Tensor) -> Tensor:
    """``BᵀB`` below the diagonal, in blocks of rows: 5/8 of the work of the whole."""
    rank = whitened.shape[-1]
    gram = whitened.new_zeros(*whitened.shape[:-2], rank, rank)
    step = math.ceil(rank / 4) or 1
    for first in range(0, rank, step):
        end = first + step
        gram[..., first:end, :end] += whitened[..., first:end].mT @ whitened[..., :end]
    return gram


@torch.no_grad()
def pivoted_cholesky_preconditioner(
    op: Any, rank: int | None = None, *, random_state: RandomState = 0
) -> LowRankPreconditioner:
    """A preconditioner from rows of `op`, drawn by randomly pivoted Cholesky.

    Parameters
    ----------
    op : Matrix, LinearOperator or Tensor, shape (..., n, n)
        Where it is ``base + diag(noise)`` (see `Shifted`), only the base is approximated.
        Where it is not, what the factor leaves of the diagonal serves as noise.
    rank
        Columns at most. If None, the rank grows until what is left of the trace is 2 % of the
        noise (n = 20 000, d = 4: CG then needs four iterations to 1e-3) or until the factor
        has cost about as much as four products with `op`; a quarter of that rank is so cheap
        that up to there it grows until next to nothing is left.
    random_state : int, numpy Generator or RandomState, torch Generator, or None

    Raises
    ------
    ArgumentError
        If `op` is not square or its diagonal is negative or not finite.

    Examples
    --------
    >>> x = torch.linspace(0, 1, 300, dtype=torch.float64)
    >>> K = torch.exp(-((x[:, None] - x) ** 2) / 0.02) + 0.01 * torch.eye(300)
    >>> P = pivoted_cholesky_preconditioner(K, rank=30)
    >>> ones = torch.ones(300, 1, dtype=torch.float64)
    >>> bool((K @ P(ones) - ones).norm() < 1e-3 * ones.norm())
    False
    """
    matrix = as_square("op", op)
    if rank is not None:
        check_positive("rank", rank)
    generator = as_generator(random_state)
    batch = matrix.shape[:-2]
    if not batch:
        return _of_one(matrix, rank, generator)
    if not isinstance(op, LinearOperator | Tensor):
        raise ArgumentError("op", f"shape {tuple(matrix.shape)}", "give one matrix at a time")
    flat = [
        _of_one(cast(Any, matrix)[tuple(index)], rank, generator)
        for index in torch.cartesian_prod(*(torch.arange(size) for size in batch))
        .reshape(-1, len(batch))
        .tolist()
    ]
    width = max(one.rank for one in flat)
    factors = [torch.nn.functional.pad(one.factor, (0, width - one.rank)) for one in flat]
    factor = torch.stack(factors).unflatten(0, batch)
    noise = torch.stack([one.noise for one in flat]).unflatten(0, batch)
    return LowRankPreconditioner(factor, noise)


def _of_one(op: Matrix, rank: int | None, generator: torch.Generator) -> LowRankPreconditioner:
    limit = rank if rank is not None else automatic_limit(op.shape[-1])
    parts = split(op)
    base = in_double(parts[0] if parts else op)
    diagonal, team = base.diagonal(), team_of(base)
    whole = diagonal.sum().item()

    def little_left(trace: float, used: int) -> bool:
        # While the factor costs next to nothing, until nothing is left that CG could feel.
        total = noise.mean().item() if used < limit / 4 else noise.sum().item()
        return rank is None and trace <= 0.02 * total

    def flat(trace: float, used: int) -> bool:
        # A factor that is hardly better than what any rows would give is not worth its cost.
        return rank is None and used > 0 and trace > 0.8 * (1 - used / len(diagonal)) * whole

    # Where noise vanishes beside the base, P⁻¹ would be lost to cancellation.
    floor = 1e-10 * diagonal.mean().item()
    if parts:
        noise = parts[1]
        low_rank = factorise(base, limit, little_left, generator)
        return LowRankPreconditioner(low_rank.factor, noise.clamp(min=floor), team)
    low_rank = factorise(base, limit, flat, generator)
    taken = team.join(low_rank.factor.square().sum(dim=-1, keepdim=True), len(diagonal))
    left = (diagonal - taken.squeeze(-1)).clamp(min=floor)
    return LowRankPreconditioner(low_rank.factor, left.clamp(min=left.mean().item()), team)


def automatic_preconditioner(
    op: Matrix, rank: int | None, random_state: RandomState
) -> LowRankPreconditioner | None:
    """The default of `solve`; None where `rank` is 0 or a batch cannot be taken apart."""
    if rank == 0 or (len(op.shape) > 2 and not isinstance(op, LinearOperator)):
        return None
    return pivoted_cholesky_preconditioner(op, rank, random_state=random_state)


def automatic_limit(n: int) -> int:
    """The rank at which a factor costs about four products with a kernel operator.

    Measured in CPU seconds at n = 20 000 (RBF, d = 4, noise 0.01, to 1e-3), a whole solve
    cost 12, 9.9, 9.2, 9.8 and 11 products at ranks 500, 600, 800, 1000 and 1200. The factor's
    cost grows as n r² and the product's as n², hence the square root.
    """
    return min(n, math.ceil(5 * n**0.5))
