"""The error of an iteration that finds no solution, with what it has found."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kernelgp.errors import ArgumentError
from solvers.tensors import along_all, evaluate_at

__all__ = ["DivergenceError", "Iterate"]

Array = NDArray[np.float64]

_SHOWN = 6


@dataclass(frozen=True, slots=True, eq=False)
class Iterate:
    """A function that Newton's method had reached, on the bases of the axes."""

    bases: Sequence[Any]
    coefficients: Array

    def mean(self, points: Array, orders: Sequence[int] | None = None) -> Array:
        """Its values, or those of a derivative, at points of shape (m, d): shape (m,)."""
        return evaluate_at(self._rows(list(np.transpose(points)), orders), self.coefficients)

    def mean_on_grid(self, axes: Sequence[Array], orders: Sequence[int] | None = None) -> Array:
        """The same on the product of the axes."""
        return along_all(self._rows(axes, orders), self.coefficients)

    def _rows(self, coordinates: Sequence[Array], orders: Sequence[int] | None) -> list[Array]:
        orders = orders or (0,) * len(self.bases)
        places = zip(self.bases, coordinates, orders, strict=True)
        return [basis.evaluate(x, order)[order] for basis, x, order in places]


class DivergenceError(ArgumentError):
    """Newton's method ended without a solution.

    Parameters
    ----------
    argument, given, remedy
        As for every `ArgumentError`.
    history : sequence of float
        Before each step the change that the equation asks for, relative to the solution.
    last : object, optional
        What was good until then, where there is something: its `mean` takes points.

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
