"""The strongest tones of data: pursuit in a spectrum, refined by least squares.

References
----------
J. D. Scargle, *Studies in astronomical time series analysis II*, 1982. J. T. VanderPlas,
*Understanding the Lomb-Scargle Periodogram*, 2018. J. A. Högbom, *Aperture Synthesis with a
Non-Regular Distribution of Interferometer Baselines* (CLEAN), 1974.
"""

import math
from dataclasses import dataclass
from functools import reduce
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import least_squares
from scipy.signal import lombscargle

from kernelgp.errors import ArgumentError, ArgumentTypeError

__all__ = ["Tones", "find_tones"]

Array = NDArray[np.floating[Any]]

# Points of the spectrum in each resolvable interval 1 / extent.
_OVERSAMPLING = 8


@dataclass(frozen=True)
class Tones:
    """Q tones of d inputs.

    Attributes
    ----------
    frequencies : shape (Q, d), in cycles per unit, not negative
    powers : shape (Q,), the mean square of each tone over the data
    extents : shape (Q, d), that of the data along each input
    """

    frequencies: Array
    powers: Array
    extents: Array


def find_tones(x: Any, y: Any, n_components: int) -> Tones:
    """At most `n_components` tones; see `SpectralMixture.from_data`."""
    x, y = _check(x, y)
    if isinstance(n_components, bool) or not isinstance(n_components, int) or n_components < 1:
        raise ArgumentError("n_components", repr(n_components), "give a positive whole number")
    low, extent = x.min(axis=0), np.ptp(x, axis=0)
    t = (x - low) / extent - 0.5
    limits = _limits(t)
    found = np.zeros((0, x.shape[1]))
    residual = y
    while len(found) < n_components and _rms(residual) > 1e-12 * _rms(y):
        found = np.vstack([found, _strongest(t, residual, limits)])
        found = _refine(t, y, found, limits)
        residual = y - _fit(t, y, found)[0]
    _, powers = _fit(t, y, found)
    order = np.argsort(powers)[::-1]
    # A tone that the others have made idle has no weight to start from.
    order = order[powers[order] > 1e-16 * powers.max()]
    found, powers = found[order], powers[order]
    return Tones(found / extent, powers, np.broadcast_to(extent, found.shape).copy())


def _check(x: Any, y: Any) -> tuple[Array, Array]:
    arrays = []
    for name, value in {"x": x, "y": y}.items():
        value = value.detach().cpu() if hasattr(value, "detach") else value
        array = np.asarray(value)
        if array.dtype.kind not in "iuf":
            raise ArgumentTypeError(name, f"dtype {array.dtype}", "give real numbers")
        array = array.astype(np.float64)
        if not np.isfinite(array).all():
            bad = int((~np.isfinite(array)).sum())
            raise ArgumentError(name, f"{bad} entries not finite", "remove or impute them")
        arrays.append(array)
    x, y = arrays
    if x.ndim not in (1, 2) or x.size == 0 or len(x) < 4:
        raise ArgumentError("x", f"shape {x.shape}", "give (n,) or (n, d), at least four points")
    x = x.reshape(len(x), -1)
    if y.shape != (len(x),):
        raise ArgumentError("y", f"shape {y.shape}", f"give ({len(x)},), one for each point of x")
    for j, span in enumerate(np.ptp(x, axis=0)):
        if span == 0:
            raise ArgumentError("x", f"column {j} with one value", "leave the column out")
    if not y.any():
        raise ArgumentError("y", "zeros only", "give data with a tone in them")
    return x, y


def _limits(t: Array) -> Array:
    """The highest frequency looked for along each axis, in cycles per extent.

    Nyquist's on a grid; twice the mean rate of points where they are scattered, which can tell
    such frequencies apart.
    """
    counts = np.array([len(np.unique(axis)) for axis in t.T])
    if counts.prod() == len(t):
        return (counts - 1) / 2
    n, d = t.shape
    return np.full(d, max(n ** (1 / d), 2.0))


def _strongest(t: Array, y: Array, limits: Array) -> Array:
    """The frequencies (d,) of the highest peak of the spectrum."""
    if t.shape[1] > 1 or _is_uniform(t[:, 0]):
        return _strongest_on_grid(t, y, limits)
    grid = np.arange(0, limits[0] + 1e-9, 1 / _OVERSAMPLING)
    # At frequency 0 the sine vanishes and the periodogram divides by its norm.
    power = np.append(y.sum() ** 2 / len(y), lombscargle(t[:, 0], y, 2 * math.pi * grid[1:]))
    return grid[[np.argmax(power)]]


def _strongest_on_grid(t: Array, y: Array, limits: Array) -> Array:
    """By FFT of the points put into cells finer than any wave looked for."""
    # Sixteen cells to the shortest wave: being put into a cell costs under 1 % of the power.
    cells = [_OVERSAMPLING * 2 ** math.ceil(math.log2(16 * limit)) for limit in limits]
    index = [
        np.rint((axis + 0.5) * (n // _OVERSAMPLING - 1)).astype(int)
        for axis, n in zip(t.T, cells, strict=True)
    ]
    values = np.zeros(cells)
    np.add.at(values, tuple(index), y)
    power = np.abs(np.fft.rfftn(values)) ** 2
    # A cell is extent / (cells / oversampling - 1) wide.
    steps = [(n // _OVERSAMPLING - 1) / n for n in cells]
    axes = [np.abs(np.fft.fftfreq(n, 1 / n)) * step for n, step in zip(cells, steps, strict=True)]
    axes[-1] = axes[-1][: cells[-1] // 2 + 1]
    for j, (axis, limit) in enumerate(zip(axes, limits, strict=True)):
        outside = np.expand_dims(axis > limit + 1e-9, [k for k in range(len(axes)) if k != j])
        power[np.broadcast_to(outside, power.shape)] = 0
    peak = np.unravel_index(np.argmax(power), power.shape)
    return np.array([axis[i] for axis, i in zip(axes, peak, strict=True)])


def _refine(t: Array, y: Array, frequencies: Array, limits: Array) -> Array:
    """All frequencies together, by variable projection: amplitudes are solved for inside."""
    free = frequencies > 0.5
    if not free.any() or free.sum() * 2 >= len(y):
        return frequencies

    def residual(values: Array) -> Array:
        trial = frequencies.copy()
        trial[free] = values
        return (y - _fit(t, y, trial)[0]) / _rms(y)

    start = frequencies[free]
    bounds = (start - 0.5, np.maximum(start + 0.5, 0.0))
    # A difference quotient is exact to 1e-8 of the residual, enough as it vanishes at a solution.
    best = least_squares(residual, start, bounds=bounds, xtol=1e-14, ftol=1e-14, gtol=1e-14)
    refined = frequencies.copy()
    refined[free] = np.minimum(best.x, np.broadcast_to(limits, frequencies.shape)[free])
    return refined


def _fit(t: Array, y: Array, frequencies: Array) -> tuple[Array, Array]:
    """Least squares by the waves of all tones: the fitted values, and each tone's mean square."""
    blocks = [_waves(t, f) for f in frequencies]
    design = np.hstack(blocks)
    coefficients = np.linalg.lstsq(design, y, rcond=1e-10)[0]
    parts = np.split(coefficients, np.cumsum([b.shape[1] for b in blocks])[:-1])
    powers = [np.mean((b @ c) ** 2) for b, c in zip(blocks, parts, strict=True)]
    return design @ coefficients, np.array(powers)


def _waves(t: Array, frequencies: Array) -> Array:
    """Products over the axes of cos and sin, (n, 2^d); of frequency 0 the cosine only."""
    angles = 2 * math.pi * t * frequencies
    axes = [
        np.stack([np.cos(a), np.sin(a)], axis=1) if f > 0 else np.ones((len(a), 1))
        for a, f in zip(angles.T, frequencies, strict=True)
    ]
    return reduce(lambda a, b: (a[:, :, None] * b[:, None, :]).reshape(len(a), -1), axes)


def _is_uniform(axis: Array) -> bool:
    steps = np.diff(axis)
    return bool(np.ptp(steps) <= 1e-9 * np.abs(steps).max() and steps[0] != 0)


def _rms(y: Array) -> float:
    return math.sqrt(np.mean(y**2))
