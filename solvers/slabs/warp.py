"""Input warping: an axis stretched where a solution is steep, so that the prior is rough there.

With ``s(x)`` smooth and increasing, ``k(x, x') = k₀(s(x), s(x'))`` is a covariance that varies
where s does. Here s' is a constant and, for each layer, a Lorentzian as wide as the layer: s is a
sum of arctangents, whose derivatives of every order are closed forms and whose singularities lie
away from the axis. On a periodic axis the Lorentzians are summed over all their images.

References
----------
P. D. Sampson and P. Guttorp, *Nonparametric Estimation of Nonstationary Spatial Covariance
Structure*, JASA 1992 (warped covariances). A. Bayliss and E. Turkel, *Mappings and Accuracy for
Chebyshev Pseudo-Spectral Approximations*, J. Comput. Phys. 101, 1992 (the arctangent).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.polynomial.polynomial import polyder, polymul, polyval
from numpy.typing import NDArray

from solvers.axis_basis import AxisBasis
from solvers.fourier_basis import FourierBasis

__all__ = ["Layer", "Warp", "WarpedBasis"]

Array = NDArray[np.float64]

# Of a bisection that halves an interval down to rounding.
_HALVINGS = 60


@dataclass(frozen=True, slots=True)
class Layer:
    """Where a solution is steep, and the share of the stretched axis that goes there.

    Attributes
    ----------
    center, width : float
        The Lorentzian's center and half width at half maximum, in units of the axis.
    share : float
    """

    center: float
    width: float
    share: float


@dataclass(frozen=True, slots=True)
class Warp:
    """The map s from ``[lower, upper]`` onto itself; the identity where there are no layers.

    Examples
    --------
    >>> warp = Warp(-1.0, 1.0, (Layer(0.0, 0.01, 0.5),))
    >>> warp(np.array([-1.0, 0.01, 1.0])).round(3)
    array([-1.   ,  0.257,  1.   ])
    """

    lower: float
    upper: float
    layers: tuple[Layer, ...] = ()
    periodic: bool = False

    def __call__(self, x: Array) -> Array:
        return self.derivatives(x, 0)[0]

    def derivatives(self, x: Array, order: int) -> list[Array]:
        """The values of s and of its derivatives up to `order`."""
        x = np.asarray(x, float)
        slope = 1.0 - sum(layer.share for layer in self.layers)
        found = [self.lower + slope * (x - self.lower)]
        found += [np.full_like(x, slope if k == 1 else 0.0) for k in range(1, order + 1)]
        for layer in self.layers:
            start, end = self._primitive(layer, np.array([self.lower, self.upper]))
            scale = layer.share * (self.upper - self.lower) / (end - start)
            found[0] = found[0] + scale * (self._primitive(layer, x) - start)
            for k, value in enumerate(self._slopes(layer, x, order), start=1):
                found[k] = found[k] + scale * value
        return found

    def inverse(self, s: Array) -> Array:
        """The x of which s is the value."""
        if not self.layers:
            return np.asarray(s, float)
        low, high = np.full_like(s, self.lower), np.full_like(s, self.upper)
        for _ in range(_HALVINGS):
            middle = (low + high) / 2
            above = self(middle) > s
            low, high = np.where(above, low, middle), np.where(above, middle, high)
        return (low + high) / 2

    def is_like(self, other: "Warp") -> bool:
        """Whether another one would make little difference."""
        return len(self.layers) == len(other.layers) and all(
            abs(a.center - b.center) < a.width / 10 and 0.8 < a.width / b.width < 1.25
            for a, b in zip(self.layers, other.layers, strict=True)
        )

    def _primitive(self, layer: Layer, x: Array) -> Array:
        if not self.periodic:
            return np.arctan((x - layer.center) / layer.width)
        length = self.upper - self.lower
        turns = np.round((x - layer.center) / length)
        phase = math.pi * ((x - layer.center) / length - turns)
        ratio = 1 / math.tanh(math.pi * layer.width / length)
        return np.arctan(ratio * np.tan(phase)) + math.pi * turns

    def _slopes(self, layer: Layer, x: Array, order: int) -> list[Array]:
        """Derivatives of the primitive: imaginary parts of those of ``log z``."""
        z = x - layer.center - 1j * layer.width
        if not self.periodic:
            return [
                np.asarray(((-1.0) ** (k - 1) * math.factorial(k - 1) * z**-k).imag, float)
                for k in range(1, order + 1)
            ]
        unit = math.pi / (self.upper - self.lower)
        cotangent = 1 / np.tan(unit * z)
        # Each derivative is a polynomial of the cotangent: cot' = -1 - cot².
        polynomial, found = np.array([0.0, unit]), list[Array]()
        for _ in range(order):
            found.append(np.asarray(np.imag(polyval(cotangent, polynomial)), float))
            polynomial = polymul(polyder(polynomial), [-unit, 0.0, -unit])
        return found


class WarpedBasis:
    """Functions ``q(s(x))`` of a basis q, orthonormal over s.

    Attributes
    ----------
    inner : AxisBasis or FourierBasis
    warp : Warp
    """

    def __init__(self, inner: AxisBasis | FourierBasis, warp: Warp) -> None:
        self.inner, self.warp = inner, warp
        self.lower, self.upper, self.rank = inner.lower, inner.upper, inner.rank

    def evaluate(self, x: Array, order: int = 0) -> Array:
        """The basis and its derivatives in x at the points `x`, shape (order + 1, n, r)."""
        if not self.warp.layers:
            return self.inner.evaluate(x, order)
        s, *slopes = self.warp.derivatives(x, order)
        q = self.inner.evaluate(np.clip(s, self.lower, self.upper), order)
        bell = _bell(slopes, order)
        return np.stack(
            [
                sum(
                    (bell[m][k][:, None] * q[k] for k in range(min(m, 1), m + 1)),
                    np.zeros(q.shape[1:]),
                )
                for m in range(order + 1)
            ]
        )


def _bell(slopes: Sequence[Array], order: int) -> list[list[Array]]:
    """``B[m][k]`` with ``dᵐ q(s(x)) / dxᵐ = Σk q⁽ᵏ⁾(s) B[m][k]`` (Faà di Bruno)."""
    one = np.ones_like(slopes[0]) if slopes else np.ones(1)
    bell = [[one]]
    for m in range(1, order + 1):
        row = [np.zeros_like(one)]
        for k in range(1, m + 1):
            terms = [
                math.comb(m - 1, i - 1) * slopes[i - 1] * bell[m - i][k - 1]
                for i in range(1, m - k + 2)
            ]
            row.append(np.sum(terms, axis=0))
        bell.append(row)
    return bell
