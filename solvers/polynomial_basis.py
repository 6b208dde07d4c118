"""One axis of a prior for smooth functions without tones: polynomials on Chebyshev points.

With ``x = cos θ`` a smooth function on an interval becomes an even periodic one, and a
stationary prior for that is a Chebyshev series with independent coefficients,

    k(x, x') = Σj w_j T_j(x) T_j(x').

Layers, bumps and chirps that have no place in a spectral mixture have one here, and data at
Chebyshev points determine it well. The functions are Legendre's, which are orthonormal; only the
prior is written in Chebyshev's.

References
----------
L. N. Trefethen, *Approximation Theory and Approximation Practice*, SIAM 2013, chapters 3 and 8.
"""

import copy
import math
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property, lru_cache
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from scipy.special import roots_legendre

from solvers.axis_basis import Component
from solvers.fourier_basis import neighbours

__all__ = ["PolynomialBasis"]

Array = NDArray[np.float64]


class PolynomialBasis:
    """Orthonormal polynomials of degree 0 ... r - 1 on ``[lower, upper]``.

    It has the attributes of `AxisBasis`, and is its counterpart where no tone explains the data.

    Parameters
    ----------
    lower, upper : float
    components
        One for each degree j, in this order: the frequency ``j / 2 L`` of j half waves, an
        infinite lengthscale, and the weight of T_j.

    Attributes
    ----------
    factor : pair of empty arrays
        Nothing is computed that a file would have to hold.
    rank : int

    Examples
    --------
    >>> basis = PolynomialBasis.below(3, 0.0, 1.0)
    >>> features = basis.evaluate(np.array([0.0, 0.5, 1.0]))[0] @ basis.prior_factor
    >>> (features @ features.T).round(12)  # T_0 = 1, T_1 = 2x - 1, T_2 = 2 T_1² - 1
    array([[3., 0., 1.],
           [0., 2., 0.],
           [1., 0., 3.]])
    """

    kind: ClassVar[str] = "polynomial"

    def __init__(self, lower: float, upper: float, components: Sequence[Component]) -> None:
        self.lower, self.upper, self.components = lower, upper, tuple(components)
        self.rank = len(self.components)
        self.factor = np.zeros(0), np.zeros(0)
        self._half = (upper - lower) / 2
        s, weights = _gauss_legendre(self.rank + 1)
        self.nodes, self.node_weights = lower + self._half * (s + 1), self._half * weights

    @classmethod
    def below(cls, degree: int, lower: float, upper: float) -> "PolynomialBasis":
        """Of a degree below `degree`, all of weight one."""
        half_waves = np.arange(degree) / (2 * (upper - lower))
        return cls(lower, upper, [Component(float(f), math.inf) for f in half_waves])

    def evaluate(self, x: Array, order: int = 0) -> Array:
        """The functions and their derivatives at the points `x`, shape (order + 1, n, r)."""
        s = (np.asarray(x, float) - (self.lower + self.upper) / 2) / self._half
        values = np.zeros((self.rank, order + 1, len(s)))
        values[0, 0] = 1
        if self.rank > 1:
            values[1, 0] = s
            values[1, 1:2] = 1
        for j in range(1, self.rank - 1):
            values[j + 1, 0] = ((2 * j + 1) * s * values[j, 0] - j * values[j - 1, 0]) / (j + 1)
            # P'(j+1) = (2j + 1) P(j) + P'(j-1), and so for every derivative.
            values[j + 1, 1:] = (2 * j + 1) * values[j, :-1] + values[j - 1, 1:]
        norms = np.sqrt((np.arange(self.rank) + 0.5) / self._half)
        scale = self._half ** -np.arange(order + 1.0)
        return values.transpose(1, 2, 0) * norms * scale[:, None, None]

    @property
    def groups(self) -> NDArray[np.intp]:
        """Degrees that share a weight: those within some 12 % of each other."""
        return neighbours(self.rank)

    def missing(self, x: Array, order: int) -> Array:  # noqa: ARG002 - as `SectionBasis` has it
        """Prior variance at `x` that the functions do not have: none, shape (n,)."""
        return np.zeros(len(x))

    def interpolation(self, grid: Array) -> None:
        """None: data on the grid are carried to the nodes by the functions themselves."""

    @property
    def component_factors(self) -> tuple[Array, ...]:
        """One T for each degree, shape (r, 1): with weights w the prior is Σ w T Tᵀ."""
        return tuple(self._chebyshev.T[:, :, None])

    @cached_property
    def prior_factor(self) -> Array:
        """G, shape (r, r): the prior covariance of the coefficients is G Gᵀ."""
        return self._chebyshev * np.sqrt([c.weight for c in self.components])

    def reweighted(self, weights: Sequence[float]) -> "PolynomialBasis":
        """The same functions under a prior with other weights."""
        other = copy.copy(self)
        other.__dict__.pop("prior_factor", None)
        other.components = tuple(
            replace(c, weight=float(w)) for c, w in zip(self.components, weights, strict=True)
        )
        return other

    @cached_property
    def _chebyshev(self) -> Array:
        """Coefficients of T_j in column j, shape (r, r), upper triangular."""
        values = self.evaluate(self.nodes)[0]
        angles = np.arccos(np.clip((self.nodes - self.lower) / self._half - 1, -1, 1))
        polynomials = np.cos(np.outer(angles, np.arange(self.rank)))
        return np.triu((values.T * self.node_weights) @ polynomials)


@lru_cache(maxsize=32)
def _gauss_legendre(count: int) -> tuple[Array, Array]:
    nodes, weights = roots_legendre(count)
    for shared in (nodes, weights):
        shared.flags.writeable = False
    return nodes, weights
