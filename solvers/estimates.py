"""Parameters found with a solution: constants and fields, each with its uncertainty."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from solvers.domain import Box
from solvers.points import read_points
from solvers.protocol import Values

__all__ = ["ConstantEstimate", "FieldEstimate"]

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class ConstantEstimate:
    """A constant that was unknown.

    Attributes
    ----------
    mean, std : float
        Of its posterior, which is Laplace's approximation on the interval given.
    interval : (float, float)
        Where it was looked for.

    Examples
    --------
    >>> ConstantEstimate(0.7, 0.002, (0.1, 5.0))
    ConstantEstimate(0.7 ± 0.002, in (0.1, 5))
    """

    mean: float
    std: float
    interval: tuple[float, float]

    def __repr__(self) -> str:
        lower, upper = self.interval
        return f"ConstantEstimate({self.mean:.6g} ± {self.std:.2g}, in ({lower:.6g}, {upper:.6g}))"


class FieldEstimate:
    """A function of the axes that was unknown.

    Parameters
    ----------
    name : str
    posterior : Values
    domain : Box
    dtype : torch.dtype
        Of tensors given back for tensors.
    """

    def __init__(
        self, name: str, posterior: Values, domain: Box, dtype: torch.dtype = torch.float64
    ) -> None:
        self.name, self.posterior, self.domain, self.dtype = name, posterior, domain, dtype

    def mean(self, points: Any) -> Any:
        """The field at points of shape (m, d): shape (m,)."""
        x, give_back = self._read(points)
        return give_back(self.posterior.mean(x, self._orders))

    def std(self, points: Any) -> Any:
        """Its posterior standard deviation at points, shape (m,)."""
        x, give_back = self._read(points)
        return give_back(self.posterior.std(x, self._orders))

    def _read(self, points: Any) -> tuple[Array, Callable[[Array], Any]]:
        return read_points(points, self.domain, self.dtype)

    @property
    def _orders(self) -> tuple[int, ...]:
        return (0,) * self.domain.dimension

    def __repr__(self) -> str:
        return f"FieldEstimate({self.name!r} on {self.domain})"
