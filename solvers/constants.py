"""Unknown constants on an interval, as standard normal numbers.

A constant is uniform on its interval a priori: ``c = lower + (upper - lower) Φ(ξ)`` with ξ a
standard normal number and Φ its distribution function. So the interval is never left, and what
the data do not determine keeps the deviation of the whole interval.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri

__all__ = ["Interval"]

Array = NDArray[np.float64]

# One step takes at most this share of the way to an end, where the slope would vanish.
_SHARE = 0.9
_NODES = 40


@dataclass(frozen=True, slots=True)
class Interval:
    """A constant between two bounds, uniform a priori.

    Examples
    --------
    >>> unknown = Interval(0.0, 6.0)
    >>> unknown.value(0.0), round(unknown.moments(0.0, 1.0)[1], 6)  # 6 / √12
    (3.0, 1.732051)
    """

    lower: float
    upper: float

    def value(self, xi: float) -> float:
        return self.lower + (self.upper - self.lower) * float(ndtr(xi))

    def slope(self, xi: float) -> float:
        """``dc / dξ``."""
        density = np.exp(-(xi**2) / 2) / np.sqrt(2 * np.pi)
        return (self.upper - self.lower) * float(density)

    def position(self, share: float) -> float:
        """ξ at a share of the way from the lower to the upper bound."""
        return float(ndtri(share))

    def advance(self, xi: float, step: float) -> float:
        """ξ after a step that is taken in c, not in ξ: the equation is smooth in c."""
        share = float(ndtr(xi))
        aim = share + self.slope(xi) * step / (self.upper - self.lower)
        share = min(max(aim, (1 - _SHARE) * share), 1 - (1 - _SHARE) * (1 - share))
        return float(ndtri(share))

    def moments(self, mean: float, std: float) -> tuple[float, float]:
        """Mean and standard deviation of c where ξ is normal with these."""
        nodes, weights = np.polynomial.hermite_e.hermegauss(_NODES)
        values = self.lower + (self.upper - self.lower) * ndtr(mean + std * nodes)
        weights = weights / weights.sum()
        center = float(weights @ values)
        return center, float(np.sqrt(weights @ np.square(values - center)))
