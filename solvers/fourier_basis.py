"""One periodic axis of the prior: sines and cosines of whole periods, exactly.

A stationary periodic kernel is a Fourier series with positive weights,

    k(x, x') = Σk w_k cos(2π k (x - x') / L),

so that lines at whole numbers of waves are all its draws can hold, and nothing is lost.

References
----------
C. E. Rasmussen and C. K. I. Williams, *Gaussian Processes for Machine Learning*, 2006, 4.2.1.
L. N. Trefethen, *Spectral Methods in MATLAB*, SIAM 2000, chapter 3.
"""

import copy
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from solvers.axis_basis import Component

__all__ = ["FourierBasis", "highest_line", "neighbours", "strongest_lines"]

Array = NDArray[np.float64]

# Relative to the largest value of a signal: below this a line is rounding.
_NOISE = 3e-14
# A line that is far below the strongest one is no tone of the solution.
_WEAK = 1e-4


class FourierBasis:
    """``1, cos(2πkx/L), sin(2πkx/L)`` up to k = K, orthonormal on ``[lower, upper]``.

    It has the attributes of `AxisBasis`, and is its counterpart for a periodic axis.

    Parameters
    ----------
    lower, upper : float
        One period.
    components
        One for each line: frequency ``k / L`` for k = 0 ... K, in this order, with an infinite
        lengthscale and the weight of the line.

    Attributes
    ----------
    factor : pair of empty arrays
        Nothing is computed that a file would have to hold.
    rank : int
        2 K + 1.

    Examples
    --------
    >>> basis = FourierBasis.up_to(2, 0.0, 1.0)
    >>> x = np.array([0.0, 0.25, 1.0])
    >>> basis.rank, bool(np.allclose(basis.evaluate(x)[0][0], basis.evaluate(x)[0][2]))
    (5, True)
    """

    kind: ClassVar[str] = "fourier"

    def __init__(self, lower: float, upper: float, components: Sequence[Component]) -> None:
        self.lower, self.upper, self.components = lower, upper, tuple(components)
        self.rank = 2 * len(self.components) - 1
        self.factor = np.zeros(0), np.zeros(0)

    @classmethod
    def up_to(cls, highest: int, lower: float, upper: float) -> "FourierBasis":
        """Lines 0 ... `highest`, all of weight one."""
        lines = np.arange(highest + 1) / (upper - lower)
        return cls(lower, upper, [Component(float(f), math.inf) for f in lines])

    @property
    def length(self) -> float:
        return self.upper - self.lower

    @property
    def nodes(self) -> Array:
        """Of a rule that integrates products of two functions exactly."""
        return self.lower + self.length * np.arange(self.rank + 1) / (self.rank + 1)

    @property
    def node_weights(self) -> Array:
        return np.full(self.rank + 1, self.length / (self.rank + 1))

    def evaluate(self, x: Array, order: int = 0) -> Array:
        """The functions and their derivatives at the points `x`, shape (order + 1, n, r)."""
        k = np.arange(1, len(self.components))
        # Whole waves are taken out first: sines of large numbers lose digits.
        turns = np.outer((np.asarray(x, float) - self.lower) / self.length, k)
        phase = 2 * math.pi * (turns - np.round(turns))
        values = np.zeros((order + 1, len(phase), self.rank))
        values[0, :, 0] = 1 / math.sqrt(self.length)
        values[0, :, 1::2], values[0, :, 2::2] = np.cos(phase), np.sin(phase)
        values[0, :, 1:] *= math.sqrt(2 / self.length)
        for m in range(order):
            values[m + 1] = _differentiated(values[m], self._angular)
        return values

    def apply(self, operator: Mapping[int, float]) -> Array:
        """``Σ coefficient dᵏ/dxᵏ`` on the coefficients, shape (r, r): blocks of two."""
        power, total = np.eye(self.rank), np.zeros((self.rank, self.rank))
        for order in range(max(operator, default=-1) + 1):
            total += operator.get(order, 0.0) * power
            power = _differentiated(power, self._angular)
        return total

    @property
    def groups(self) -> NDArray[np.intp]:
        """Lines that share a weight: those within some 12 % of each other."""
        return neighbours(len(self.components))

    def missing(self, x: Array, order: int) -> Array:  # noqa: ARG002 - as `SectionBasis` has it
        """Prior variance at `x` that the functions do not have: none, shape (n,)."""
        return np.zeros(len(x))

    def interpolation(self, grid: Array) -> None:
        """None: data on the grid are carried to the nodes by the functions themselves."""

    @property
    def component_factors(self) -> tuple[Array, ...]:
        """One T for each line, shape (r, 1 or 2): with weights w the prior is Σ w T Tᵀ."""
        unit = math.sqrt(self.length / 2) * np.eye(self.rank)
        lines = range(1, len(self.components))
        return (math.sqrt(2) * unit[:, :1], *(unit[:, 2 * k - 1 : 2 * k + 1] for k in lines))

    @cached_property
    def prior_factor(self) -> Array:
        """G, shape (r, r), diagonal: the prior covariance of the coefficients is G Gᵀ."""
        weights = np.repeat([c.weight for c in self.components], 2)[1:]
        weights[1:] /= 2
        return np.diag(np.sqrt(self.length * weights))

    def reweighted(self, weights: Sequence[float]) -> "FourierBasis":
        """The same functions under a prior with other weights."""
        other = copy.copy(self)
        other.__dict__.pop("prior_factor", None)
        other.components = tuple(
            replace(c, weight=float(w)) for c, w in zip(self.components, weights, strict=True)
        )
        return other

    @property
    def _angular(self) -> Array:
        return np.asarray(2 * math.pi / self.length * np.arange(1.0, len(self.components)))


def neighbours(count: int) -> NDArray[np.intp]:
    """Groups of the numbers below `count` that differ by some 12 %, one for each of the first."""
    bands = np.floor(6 * np.log2(1 + np.arange(count)))
    return np.unique(bands, return_inverse=True)[1]


def highest_line(signals: Sequence[Array]) -> int:
    """The highest number of waves that any of `signals` has, above rounding.

    Parameters
    ----------
    signals : sequence of ndarrays, shape (k, n)
        Each holds k functions sampled at n equally spaced points, both ends of the period
        included.

    Examples
    --------
    >>> x = np.linspace(0, 1, 33)
    >>> highest_line([np.cos(2 * np.pi * 7 * x)[None] + 1])
    7
    """
    strong = [np.flatnonzero(a > _NOISE) for a in map(_line_sizes, signals)]
    return max((int(lines[-1]) for lines in strong if lines.size), default=0)


def strongest_lines(signals: Sequence[Array], *, limit: int) -> list[int]:
    """Numbers of waves of the strongest lines but the constant, the strongest first."""
    sizes = [a for a in map(_line_sizes, signals) if a.size]
    if not sizes:
        return []
    largest = np.max(sizes, axis=0)
    order = [int(k) for k in np.argsort(-largest, kind="stable") if k and largest[k] > _WEAK]
    return order[:limit]


def _line_sizes(signal: Array) -> Array:
    """The largest amplitude of each line in any row, relative to the largest value."""
    largest = np.abs(signal).max(initial=0.0)
    if largest == 0:
        return np.zeros(0)
    # The last point is the first.
    spectrum = np.fft.rfft(signal[:, :-1] / largest)
    amplitudes = 2 * np.abs(spectrum).max(axis=0) / (signal.shape[1] - 1)
    return np.asarray(amplitudes, dtype=np.float64)


def _differentiated(values: Array, angular: Array) -> Array:
    """Derivatives of cosines and sines in alternating columns after a constant."""
    derivative = np.zeros_like(values)
    derivative[:, 1::2] = -angular * values[:, 2::2]
    derivative[:, 2::2] = angular * values[:, 1::2]
    return derivative
