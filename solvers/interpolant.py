"""Chebyshev points on an interval: interpolation and differentiation matrices.

References
----------
L. N. Trefethen, *Spectral Methods in MATLAB*, SIAM 2000, chapter 6.
J.-P. Berrut and L. N. Trefethen, *Barycentric Lagrange Interpolation*, SIAM Review 46 (2004).
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray

from kernelgp.errors import ArgumentError

__all__ = ["ChebyshevInterpolant", "ChebyshevReport", "chebyshev_nodes", "differentiation_matrix"]

Array = NDArray[np.float64]
_CHUNK = 4096


def chebyshev_nodes(n: int, lower: float, upper: float) -> Array:
    """The n Chebyshev points of the second kind, both ends included, ascending."""
    # The sine is antisymmetric to the last bit, which the cosine is not.
    unit = np.sin(np.pi * np.arange(1 - n, n, 2) / (2 * (n - 1)))
    nodes = (lower + upper) / 2 + (upper - lower) / 2 * unit
    nodes[[0, -1]] = lower, upper
    return nodes


def differentiation_matrix(n: int, length: float) -> Array:
    """The derivative at Chebyshev points of the polynomial through values there, (n, n)."""
    k = np.arange(n)
    weights = _weights(n)
    # Differences of nodes as products of sines: exact where neighbors nearly coincide.
    half = np.pi / (2 * (n - 1))
    difference = 2 * np.sin((k[:, None] + k) * half) * np.sin((k[:, None] - k) * half)
    np.fill_diagonal(difference, 1.0)
    matrix = weights / weights[:, None] / difference
    np.fill_diagonal(matrix, 0.0)
    # A constant has derivative zero: this diagonal makes it so to the last bit, which keeps
    # the digits that the closed form loses (Baltensperger and Trummer 2003).
    np.fill_diagonal(matrix, -matrix.sum(axis=1))
    return matrix * (2 / length)


@dataclass(frozen=True)
class ChebyshevReport:
    """What one solve did.

    Attributes
    ----------
    seconds : float
    method : str
        ``"dense"`` or ``"sylvester"``.
    unknowns : int
    """

    seconds: float
    method: str
    unknowns: int

    def __str__(self) -> str:
        return (
            f"Chebyshev collocation ({self.method}): {self.unknowns} unknowns, {self.seconds:.3g} s"
        )


class ChebyshevInterpolant:
    """The polynomial through values at Chebyshev points, on a box of any dimension.

    It answers as a posterior does, but knows nothing of its error: `std` and `sample` raise.

    Parameters
    ----------
    values : array, shape (n1, ..., nd)
    bounds : one (lower, upper) for each axis
    report : ChebyshevReport
    """

    has_deviation = False

    def __init__(
        self, values: Array, bounds: Sequence[tuple[float, float]], report: ChebyshevReport
    ) -> None:
        self.values, self.report = values, report
        self.bounds = tuple(bounds)

    def mean(self, points: Array, orders: Sequence[int]) -> Array:
        """The polynomial or a derivative of it at points of shape (m, d): shape (m,)."""
        values = self._differentiated(orders)
        chunks = range(0, len(points), _CHUNK)
        return np.concatenate([self._at(values, points[i : i + _CHUNK]) for i in chunks])

    def mean_on_grid(self, axes: Sequence[Array], orders: Sequence[int]) -> Array:
        """The same on the product of the axes, shape (len(axes[0]), ...)."""
        values = self._differentiated(orders)
        for k, x in enumerate(axes):
            values = _along(self._matrix(k, x), values, k)
        return values

    def std(self, points: Array, orders: Sequence[int]) -> Array:  # noqa: ARG002 (a posterior's)
        raise _no_deviation("std")

    def sample(self, points: Array, n_samples: int, generator: torch.Generator) -> Array:  # noqa: ARG002
        raise _no_deviation("sample")

    def arrays(self) -> dict[str, Array]:
        return {"values": self.values}

    def meta(self) -> dict[str, Any]:
        return {"bounds": [list(pair) for pair in self.bounds], "report": asdict(self.report)}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Array], meta: Mapping[str, Any]) -> Self:
        bounds = [(float(lo), float(hi)) for lo, hi in meta["bounds"]]
        return cls(arrays["values"], bounds, ChebyshevReport(**meta["report"]))

    def _differentiated(self, orders: Sequence[int]) -> Array:
        values = self.values
        for k, (order, (lo, hi)) in enumerate(zip(orders, self.bounds, strict=True)):
            matrix = differentiation_matrix(values.shape[k], hi - lo) if order else None
            for _ in range(order):
                values = _along(matrix, values, k)
        return values

    def _at(self, values: Array, points: Array) -> Array:
        # (m, n1, ...) contracted axis by axis, the last one first, with one row for each point.
        result = np.tensordot(self._matrix(0, points[:, 0]), values, axes=1)
        for k in range(1, values.ndim):
            result = np.einsum("mn,mn...->m...", self._matrix(k, points[:, k]), result)
        return result

    def _matrix(self, k: int, x: Array) -> Array:
        """Values at the nodes of axis k to values at `x`, shape (len(x), n)."""
        n = self.values.shape[k]
        difference = x[:, None] - chebyshev_nodes(n, *self.bounds[k])
        hit = difference == 0
        difference[hit] = 1.0
        matrix = _weights(n) / difference
        matrix /= matrix.sum(axis=1, keepdims=True)
        rows = hit.any(axis=1)
        matrix[rows] = hit[rows]
        return matrix


def _weights(n: int) -> Array:
    weights = np.where(np.arange(n) % 2, -1.0, 1.0)
    weights[[0, -1]] /= 2
    return weights


def _along(matrix: Any, values: Array, axis: int) -> Array:
    return np.moveaxis(np.tensordot(matrix, values, axes=(1, axis)), 0, axis)


def _no_deviation(what: str) -> ArgumentError:
    given = f"{what} of a Chebyshev solution, which has no probability"
    return ArgumentError("solution", given, "use GPSolver for deviations and samples")
