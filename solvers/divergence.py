"""The error of an iteration that finds no solution, with what it has found."""

from collections.abc import Sequence
from typing import Any

from kernelgp.errors import ArgumentError

__all__ = ["DivergenceError"]

_SHOWN = 6


class DivergenceError(ArgumentError):
    """Newton's method ended without a solution.

    Parameters
    ----------
    argument, given, remedy
        As for every `ArgumentError`.
    history : sequence of float
        Before each step the change that the equation asks for, relative to the solution.
    last : object, optional
        What was good until then: a `Solution`, where there is one.

    Examples
    --------
    >>> error = DivergenceError("equation", "'u_t = u**2'", "end before t = 1", [0.1, 0.2])
    >>> error.history, str(error)
    ((0.1, 0.2), "equation: got 'u_t = u**2' (residuals 1.0e-01, 2.0e-01); end before t = 1.")
    """

    def __init__(
        self,
        argument: str,
        given: str,
        remedy: str,
        history: Sequence[float] = (),
        last: Any = None,
    ) -> None:
        super().__init__(argument, given, remedy)
        self.history, self.last = tuple(float(size) for size in history), last
        # What is not in `args` is lost to a worker's error: the history is not to be.
        self.args = (argument, given, remedy, self.history)

    def __str__(self) -> str:
        shown = ", ".join(f"{size:.1e}" for size in self.history[-_SHOWN:])
        more = f" (residuals {'..., ' if len(self.history) > _SHOWN else ''}{shown})"
        return f"{self.argument}: got {self.given}{more if shown else ''}; {self.remedy}."
