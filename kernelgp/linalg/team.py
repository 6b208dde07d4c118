"""Several processes on one matrix: what each holds of the large things, and how they agree.

All of them run the same program on the same vectors; what is shared out are products with the
operator and whatever has as many rows as it and many columns. One process is a team of one, so
that every algorithm is written once.
"""

from typing import Any, Protocol, cast

from torch import Tensor

__all__ = ["ALONE", "Team", "team_of"]


class Team(Protocol):
    """The processes that share the work on one operator, as one of them sees it."""

    def rows(self, n: int) -> slice:
        """Which of n rows are kept here; those of all processes make up the n, in order."""
        ...

    def sum(self, part: Tensor) -> Tensor:
        """The sum over all processes, the same bits in each."""
        ...

    def join(self, part: Tensor, n: int) -> Tensor:
        """All n rows, (..., n, k), of which `part` has those that are kept here."""
        ...


class _Alone:
    """One process."""

    def rows(self, n: int) -> slice:
        return slice(0, n)

    def sum(self, part: Tensor) -> Tensor:
        return part

    def join(self, part: Tensor, n: int) -> Tensor:
        del n
        return part


ALONE: Team = _Alone()


def team_of(op: Any) -> Team:
    """Who shares the work on `op`: its attribute `team`, or this process alone."""
    return cast(Team, getattr(op, "team", ALONE))
