"""What a `Solution` asks of the numbers behind it, whichever solver made them."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, Self

import numpy as np
import torch
from numpy.typing import NDArray

__all__ = ["Posterior", "Values", "has_deviation", "posterior_of"]

Array = NDArray[np.float64]


class Values(Protocol):
    """A distribution over functions on a box, evaluated at points (m, d) or on axes.

    `orders` is a derivative: one order for each axis.
    """

    @property
    def report(self) -> Any: ...

    def mean(self, points: Array, orders: tuple[int, ...]) -> Array: ...

    def mean_on_grid(self, axes: Sequence[Array], orders: tuple[int, ...]) -> Array: ...

    def std(self, points: Array, orders: tuple[int, ...]) -> Array: ...

    def sample(self, points: Array, n_samples: int, generator: torch.Generator) -> Array: ...


class Posterior(Values, Protocol):
    """One that a file can hold: `arrays` and `meta`, fit for JSON, make it again."""

    def arrays(self) -> dict[str, Array]: ...

    def meta(self) -> dict[str, Any]: ...

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Array], meta: Mapping[str, Any]) -> Self: ...


def has_deviation(posterior: Values) -> bool:
    """Whether it has `std` and `sample`; a collocation baseline says that it has none."""
    return getattr(posterior, "has_deviation", True)


def posterior_of(posterior: Any, function: str) -> Values:
    """That of one unknown function; one that does not tell functions apart is of the only one."""
    return posterior.of(function) if hasattr(posterior, "of") else posterior
