"""What a `Solution` asks of the numbers behind it, whichever solver made them."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, Self

import numpy as np
import torch
from numpy.typing import NDArray

__all__ = ["Posterior", "has_deviation"]

Array = NDArray[np.float64]


class Posterior(Protocol):
    """A distribution over functions on a box, evaluated at points (m, d) or on axes.

    `orders` is a derivative: one order for each axis. What `arrays` and `meta` give is enough
    for `from_arrays` to make the same posterior again; `meta` is fit for JSON.
    """

    @property
    def report(self) -> Any: ...

    def mean(self, points: Array, orders: tuple[int, ...]) -> Array: ...

    def mean_on_grid(self, axes: Sequence[Array], orders: tuple[int, ...]) -> Array: ...

    def std(self, points: Array, orders: tuple[int, ...]) -> Array: ...

    def sample(self, points: Array, n_samples: int, generator: torch.Generator) -> Array: ...

    def arrays(self) -> dict[str, Array]: ...

    def meta(self) -> dict[str, Any]: ...

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Array], meta: Mapping[str, Any]) -> Self: ...


def has_deviation(posterior: Posterior) -> bool:
    """Whether it has `std` and `sample`; a collocation baseline says that it has none."""
    return getattr(posterior, "has_deviation", True)
