"""Accelerated randomly pivoted Cholesky: a low-rank factor from few rows of a matrix.

Pivots are drawn in blocks in proportion to the diagonal that is left, and each is kept with
the probability that it would still have been drawn after those before it. So the factor has
the distribution, and the guarantees, of one pivot at a time, at the speed of matrix products.

References
----------
E. N. Epperly, J. A. Tropp and R. J. Webber, *Embrace rejection: kernel matrix approximation by
accelerated randomly pivoted Cholesky*, 2024, algorithm 2.1 (its ``RejectionSampleSubmatrix``
is `_accept` here).
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from kernelgp.errors import ArgumentError
from kernelgp.linalg.protocol import Matrix, as_square, in_double, own_columns
from kernelgp.linalg.team import Team, team_of
from kernelgp.random import RandomState, as_generator
from kernelgp.validation import check_positive

__all__ = ["LowRank", "pivoted_cholesky"]

_BLOCK = 128


@dataclass(frozen=True, slots=True, eq=False)
class LowRank:
    """``A ≈ L Lᵀ``, and how much of A that leaves out.

    Attributes
    ----------
    factor : Tensor, shape (n, r), float64
        L; ``A - L Lᵀ`` is positive semidefinite.
    pivots : Tensor, shape (r,), int64
        The rows of A that L reproduces.
    trace_left
        Trace of ``A - L Lᵀ``.
    """

    factor: Tensor
    pivots: Tensor
    trace_left: float

    @property
    def rank(self) -> int:
        return self.factor.shape[-1]


@torch.no_grad()
def pivoted_cholesky(
    op: Any,
    rank: int,
    *,
    trace_goal: float = 0.0,
    generator: RandomState = 0,
) -> LowRank:
    """A factor of the positive semidefinite `op` with at most `rank` columns.

    Costs `rank` rows of `op` (somewhat more diagonal blocks) and O(n rank²).

    Parameters
    ----------
    op : Matrix, LinearOperator or Tensor, shape (n, n)
    rank
        Columns at most: fewer where the matrix is used up before.
    trace_goal
        Stop as soon as no more of the trace than this is left.
    generator
        An int, a generator, or None for a fresh one.

    Raises
    ------
    ArgumentError
        If `op` is not square, is a batch, or has a diagonal that is negative or not finite.

    Examples
    --------
    >>> x = torch.linspace(0, 1, 500, dtype=torch.float64)
    >>> K = torch.exp(-((x[:, None] - x) ** 2) / 2)
    >>> low_rank = pivoted_cholesky(K, 8)
    >>> low_rank.rank, bool((K - low_rank.factor @ low_rank.factor.mT).abs().max() < 1e-6)
    (8, True)
    """
    matrix = as_square("op", op)
    if len(matrix.shape) != 2:
        raise ArgumentError("op", f"shape {tuple(matrix.shape)}", "give one matrix at a time")
    check_positive("rank", rank)

    def enough(trace: float, _rank: int) -> bool:
        return trace <= trace_goal

    exact = in_double(matrix)
    own = factorise(exact, int(rank), enough, as_generator(generator))
    return replace(own, factor=team_of(exact).join(own.factor, matrix.shape[-1]))


def factorise(
    matrix: Matrix,
    rank: int,
    enough: Callable[[float, int], bool],
    generator: torch.Generator,
) -> LowRank:
    """`pivoted_cholesky` behind the door, of a float64 matrix.

    `enough` is asked before each block, with the trace left and the rank so far. The factor has
    the rows that its team keeps here; what is left of the diagonal each process knows in full.
    """
    left, team = matrix.diagonal().detach().clone(), team_of(matrix)
    n, mine = len(left), team.rows(len(left))
    if not bool((left >= 0).all()):
        given = f"a diagonal with {left.min().item():.1e} as its smallest entry"
        raise ArgumentError("op", given, "give a positive semidefinite matrix")
    rank = min(rank, n)
    # What is left is a difference: below this it is rounding, and nothing to divide by.
    rounding = 20 * torch.finfo(left.dtype).eps * left.max().item()
    # By rows, as blocks arrive: writing columns would copy across the grain.
    transposed, pivots, used = left.new_empty(rank, mine.stop - mine.start), [], 0
    while used < rank:
        trace = left.sum().item()
        if trace <= n * rounding or enough(trace, used):
            break
        drawn = torch.multinomial(left.cpu(), _BLOCK, replacement=True, generator=generator)
        drawn = drawn.unique().to(left.device)  # the second of two equal pivots is never kept
        drawn = drawn[torch.randperm(len(drawn), generator=generator).to(left.device)]
        block = own_columns(matrix, drawn, mine)
        entries = _columns(team, torch.cat([block, transposed[:used]]), drawn, mine)
        square, known = entries[: len(drawn)], entries[len(drawn) :].mT
        kept, root = _accept(square - known @ known.mT, rounding, generator)
        if len(kept) == 0:
            break
        kept, width = kept[: rank - used], min(used + len(kept), rank)
        root = root[: len(kept), : len(kept)]
        remainder = block[kept] - known[kept] @ transposed[:used]
        columns = torch.linalg.solve_triangular(root, remainder, upper=False)
        transposed[used:width] = columns
        taken = team.join(columns.square().sum(dim=0).unsqueeze(-1), n).squeeze(-1)
        left = (left - taken).clamp_(min=0.0)  # below zero it is rounding
        pivots.append(drawn[kept])
        used = width
    none = torch.empty(0, dtype=torch.int64, device=left.device)
    return LowRank(transposed[:used].mT, torch.cat([none, *pivots]), left.sum().item())


def _columns(team: Team, own: Tensor, index: Tensor, mine: slice) -> Tensor:
    """Columns `index` of what is spread over the team by columns, `own` being those from here."""
    local = index - mine.start
    here = (local >= 0) & (local < own.shape[-1])
    found = own.new_zeros(len(own), len(index))
    found[:, here] = own[:, local[here]]
    return team.sum(found)


def _accept(block: Tensor, rounding: float, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Of the pivots proposed, those kept, and the Cholesky factor of their block.

    A serial loop over some hundred numbers: numpy is quicker at it than torch.
    """
    left = block.cpu().numpy().copy()
    bars = left.diagonal() * torch.rand(len(left), generator=generator, dtype=torch.float64).numpy()
    bars = np.maximum(bars, rounding)
    root = np.zeros_like(left)
    kept = []
    for i in range(len(left)):
        if left[i, i] > bars[i]:
            column = left[i:, i] / left[i, i] ** 0.5
            root[i:, i] = column
            left[i:, i:] -= np.outer(column, column)
            kept.append(i)
    index = torch.tensor(kept, dtype=torch.int64, device=block.device)
    return index, torch.from_numpy(root[np.ix_(kept, kept)]).to(block.device)
