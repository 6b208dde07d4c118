"""Where a solution is steep: the layers that a warp is made of."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from solvers.slabs.warp import Layer, Warp

__all__ = ["find_layers"]

Array = NDArray[np.float64]

# A layer is narrower than this share of the axis, and steeper than this against the steepest.
_NARROW, _STEEP = 1 / 4, 0.2
_MOST = 8
# Of the stretched axis, to all layers together.
_SHARE = 0.5
# Half width of the Lorentzian, in full widths at half maximum of the slope.
_WIDTH = 1.1


def find_layers(x: Array, slopes: Sequence[Array], warp: Warp) -> Warp:
    """A warp of the axis of `warp` that is made for these slopes.

    Parameters
    ----------
    x : ndarray, shape (n,)
        Increasing, and dense where the slopes are large.
    slopes : sequence of ndarrays, shape (n,)
        Of every function; each counts relative to its own largest.
    warp : Warp
        Only its ends and its kind are used.
    """
    length = warp.upper - warp.lower
    height = np.max([np.abs(s) / (np.abs(s).max() or 1.0) for s in slopes], axis=0)
    found: list[tuple[float, float]] = []
    is_open = np.ones(len(x), bool)
    for _ in range(_MOST):
        candidates = np.where(is_open, height, 0.0)
        peak = int(np.argmax(candidates))
        if candidates[peak] < _STEEP:
            break
        # Of a periodic axis the peak is put in the middle.
        turn = len(x) // 2 - peak if warp.periodic else 0
        here, at = np.roll(height, turn), peak + turn
        places = x[peak] + _wrapped(np.roll(x, turn) - x[peak], length, warp.periodic)
        width = _full_width(places, here, at)
        if width < _NARROW * length:
            found.append((float(x[peak]), width))
        is_open &= ~np.roll(_hill(here, at), -turn)
    share = _SHARE / max(len(found), 1)
    layers = tuple(Layer(center, _WIDTH * width, share) for center, width in sorted(found))
    return Warp(warp.lower, warp.upper, layers, warp.periodic)


def _wrapped(distance: Array, length: float, periodic: bool) -> Array:  # noqa: FBT001
    return distance - length * np.round(distance / length) if periodic else distance


def _full_width(x: Array, height: Array, peak: int) -> float:
    """At half the peak; at an end of the axis twice what lies inside."""
    half, sides = height[peak] / 2, []
    for direction in (-1, 1):
        outward = slice(peak, None) if direction == 1 else slice(peak, None, -1)
        there, values = x[outward], height[outward]
        below = np.flatnonzero(values < half)
        if len(below):
            j = below[0]
            part = (values[j - 1] - half) / (values[j - 1] - values[j])
            sides.append(abs(there[j - 1] + part * (there[j] - there[j - 1]) - x[peak]))
    return 2 * min(sides) if len(sides) == 1 else sum(sides) or float(x[-1] - x[0])


def _hill(height: Array, peak: int) -> NDArray[np.bool_]:
    """The points around a peak until the slope rises again, or has fallen to a tenth."""
    left = right = peak
    low = _STEEP * height[peak]
    while left > 0 and low <= height[left - 1] <= height[left]:
        left -= 1
    while right + 1 < len(height) and low <= height[right + 1] <= height[right]:
        right += 1
    taken = np.zeros(len(height), bool)
    taken[left : right + 1] = True
    return taken
