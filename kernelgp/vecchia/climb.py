"""Quasi-Newton steps to a maximum, from the expected information at every point.

The information comes with every evaluation, and its inverse is where each step begins; secant
pairs correct it, since the observed curvature can be twice the expected one, which plain Fisher
scoring answers by stepping to and fro.
"""

import math
from collections.abc import Callable
from typing import Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

__all__ = ["LEAST_GAIN", "Evaluated", "at_bounds", "climb"]

Array = NDArray[np.float64]

_PAIRS = 6
# A longer step than this, of a log parameter, is cut.
_LONGEST = 1.5
_ARMIJO, _MOST_HALVINGS = 1e-4, 8
# A step that promises less, in natural units of the likelihood, is not worth a pass.
LEAST_GAIN = 0.1
_MOST_STEPS = 60
_ROUNDING = 1e-9


class Evaluated(Protocol):
    """A function's value at `free`, in natural units of a log-likelihood."""

    @property
    def free(self) -> Array: ...
    @property
    def value(self) -> float: ...
    @property
    def gradient(self) -> Array: ...
    @property
    def information(self) -> Array: ...


P = TypeVar("P", bound=Evaluated)


def climb(
    evaluate: Callable[[Array, P], P],
    now: P,
    low: Array,
    high: Array,
    on_step: Callable[[P], None] | None = None,
    least_gain: float = LEAST_GAIN,
    stop: Callable[[P], bool] | None = None,
) -> tuple[P, bool]:
    """Go up until no step promises more; the last point, and whether that is why it ended.

    Parameters
    ----------
    evaluate
        From free numbers and the point before, which may warm it, to a point.
    now
        Where to begin.
    low, high : (P,)
        Bounds; they may be infinite.
    on_step
        Called after every step.
    least_gain : float
        What a step must promise, in natural units.
    stop
        Whether a point is so far away that the function is to be made anew.
    """
    pairs: list[tuple[Array, Array]] = []
    for _ in range(_MOST_STEPS):
        free = now.free
        # A logarithm of an exponential is not quite what it was.
        below, above = free <= low + _ROUNDING, free >= high - _ROUNDING
        inside = ~((below & (now.gradient < 0)) | (above & (now.gradient > 0)))
        step = np.zeros_like(free)
        if inside.any():
            step[inside] = _direction(now, pairs, inside)
        if float(now.gradient @ step) / 2 < least_gain:
            return now, True
        step = _cut(step, now.gradient)
        new = _search(evaluate, now, step, low, high)
        if new is None:
            break
        moved, change = new.free - free, now.gradient - new.gradient
        if moved @ change > 1e-10 * np.linalg.norm(moved) * np.linalg.norm(change):
            pairs = [*pairs[1 - _PAIRS :], (moved, change)]
        now = new
        if on_step is not None:
            on_step(now)
        if stop is not None and stop(now):
            break
    return now, False


def _cut(step: Array, gradient: Array) -> Array:
    """No number moves too far: each by itself, so that one which hardly matters holds up none."""
    each = np.clip(step, -_LONGEST, _LONGEST)
    whole = step * min(1.0, _LONGEST / np.abs(step).max())
    return each if gradient @ each > gradient @ whole else whole


def at_bounds(free: Array, low: Array, high: Array) -> tuple[int, ...]:
    """Which numbers are at a bound."""
    near = np.isclose(free, low, atol=1e-6) | np.isclose(free, high, atol=1e-6)
    return tuple(int(i) for i in np.flatnonzero(near))


def _search(
    evaluate: Callable[[Array, P], P], now: P, step: Array, low: Array, high: Array
) -> P | None:
    """A step that raises the value, shortened by quadratic interpolation."""
    length = 1.0
    for _ in range(_MOST_HALVINGS):
        target = np.clip(now.free + length * step, low, high)
        slope = float(now.gradient @ (target - now.free))
        new = evaluate(target, now)
        rise = new.value - now.value
        if math.isfinite(rise) and rise >= _ARMIJO * slope:
            return new
        # Where a parabola through both values and the slope has its top.
        best = slope / (2 * (slope - rise)) if math.isfinite(rise) else 0.1
        length *= min(max(best, 0.1), 0.5)
    return None


def _direction(
    now: Evaluated, pairs: list[tuple[Array, Array]], inside: NDArray[np.bool_]
) -> Array:
    """L-BFGS's two loops, with the inverse information in the middle."""
    q = now.gradient[inside].copy()
    kept = [(s[inside], y[inside]) for s, y in pairs]
    kept = [(s, y, 1 / (s @ y)) for s, y in kept if s @ y > 0]
    shares = []
    for s, y, rho in reversed(kept):
        share = rho * (s @ q)
        shares.append(share)
        q -= share * y
    information = now.information[np.ix_(inside, inside)]
    # A parameter that the data say nothing of would be moved without end.
    ridge = 1e-6 * np.trace(information) / len(information) + 1e-10
    r = np.linalg.solve(information + ridge * np.eye(len(information)), q)
    for (s, y, rho), share in zip(kept, reversed(shares), strict=True):
        r += s * (share - rho * (y @ r))
    return r if r @ now.gradient[inside] > 0 else now.gradient[inside]
