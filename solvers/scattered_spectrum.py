"""Frequencies of values at scattered points: tone after tone, each taken out before the next.

Points at random have no Nyquist frequency, but every tone leaves noise of 1/√n of its height at
all others, which hides what is weaker. So the strongest peak of the periodogram is fitted, with
an amplitude that may vary, and the next one is looked for in what is left (matching pursuit). The
periodogram is a nonuniform fast Fourier transform, O(n + N log N) for N frequencies.

References
----------
A. Dutt and V. Rokhlin, *Fast Fourier transforms for nonequispaced data*, SIAM J. Sci. Comput.
1993; A. H. Barnett, J. Magland and L. af Klinteberg, *A parallel nonuniform fast Fourier transform
library based on an "exponential of semicircle" kernel*, SIAM J. Sci. Comput. 2019, for its window.

J. A. Högbom, *Aperture synthesis with a non-regular distribution of interferometer baselines*,
1974 (CLEAN); J. D. Scargle, *Studies in astronomical time series analysis II*, 1982, for the
level above which a peak is none of noise.
"""

import itertools
import math
from collections.abc import Sequence

import numpy as np
import scipy.optimize
from numpy.polynomial import chebyshev
from numpy.typing import NDArray
from scipy.special import roots_legendre

__all__ = ["nonuniform_fft", "scattered_tones"]

Array = NDArray[np.float64]

# Points of the fine grid that each value is spread to, and how fine it is: to 1e-6.
_SPREAD, _FINER = 7, 2
# The spectrum is looked at this many times as finely as the interval resolves.
_PADDING = 2
# Slower content, in cycles in the whole interval, belongs to the component of frequency zero.
_SLOWEST = 3.0
_SPREAD_OUT = 0.1
# Half a cycle is an amplitude that varies.
_STANDING = 0.5
# A fit is over when this is left of the values on 1, 2 and 3 axes, or a tone takes out less
# than that.
_EXPLAINED, _LEAST_GAIN = {1: 1e-10, 2: 1e-6, 3: 1e-4}, 0.95
# More points would tell nothing new, and take longer.
_MOST_POINTS = 4000
# Chance that the highest peak of pure noise is taken for a tone.
_FALSE_ALARM = 1e-3
# Degrees of the amplitude of what is slow and of a tone, on one axis and on more.
_SLOW_DEGREE, _TONE_DEGREE = {1: 16, 2: 8, 3: 5}, {1: 8, 2: 4, 3: 2}


def scattered_tones(
    points: Array,
    values: Array,
    bounds: Sequence[tuple[float, float]],
    *,
    limit: int,
    floor: float = 0.0,
) -> list[list[float]]:
    """For each axis the frequencies of values at scattered points, the strongest first.

    Parameters
    ----------
    points : ndarray, shape (n, d)
    values : ndarray, shape (n,)
    bounds
        Of the box the points are in.
    limit : int
        Of the number of frequencies of an axis.
    floor : float
        What is left of the values when the search ends, relative to their size, if that is more
        than can be told from what is slow.

    Returns
    -------
    list of lists of float
        In cycles per unit.

    Examples
    --------
    >>> x = np.random.default_rng(0).uniform(0, 2, size=(300, 1))
    >>> values = np.sin(2 * np.pi * 20 * x[:, 0]) + 1e-3 * np.cos(2 * np.pi * 33 * x[:, 0])
    >>> (found,) = scattered_tones(x, values, [(0, 2)], limit=4)
    >>> [round(frequency) for frequency in found]
    [20, 33]
    """
    lower, upper = np.array(bounds).T
    # Along an axis on which the points do not spread, every frequency fits.
    spread = np.ptp(points, axis=0) > _SPREAD_OUT * (upper - lower)
    if not spread.all():
        used = np.flatnonzero(spread)
        inner = [bounds[k] for k in used.tolist()]
        if not inner:
            return [[] for _ in bounds]
        found = iter(scattered_tones(points[:, used], values, inner, limit=limit, floor=floor))
        return [next(found) if there else [] for there in spread]
    if len(points) > _MOST_POINTS:
        chosen = np.random.default_rng(0).choice(len(points), _MOST_POINTS, replace=False)
        points, values = points[chosen], values[chosen]
    unit = (points - lower) / (upper - lower)
    n, d = unit.shape
    tones: list[list[float]] = [[] for _ in bounds]
    size = float(np.linalg.norm(values))
    columns = _amplitudes(unit, _degree(_SLOW_DEGREE[d], n, d))
    left = _left_over(columns, values)
    floor = max(floor, _EXPLAINED[d])
    while 0 < floor * size < np.linalg.norm(left):
        peak = _highest_peak(unit, left)
        new = [abs(k) > _SLOWEST and _is_clear(k, t) for k, t in zip(peak, tones, strict=True)]
        for k, found, clear in zip(peak, tones, new, strict=True):
            if clear and len(found) < limit:
                found.append(abs(k))
        more = _waves(unit, peak, _degree(_TONE_DEGREE[d], n, d))
        if not any(peak) or columns.shape[1] + more.shape[1] > n / 2:
            break
        columns = np.hstack([columns, more])
        before, left = float(np.linalg.norm(left)), _left_over(columns, values)
        if np.linalg.norm(left) > _LEAST_GAIN * before:
            break
        if all(len(found) >= limit for found in tones):
            break
    lengths = (upper - lower).tolist()
    return [[k / length for k in t] for t, length in zip(tones, lengths, strict=True)]


def nonuniform_fft(unit: Array, values: Array, sizes: Sequence[int]) -> NDArray[np.complex128]:
    """``Σj values_j exp(-2πi k·x_j)`` for whole k from ``-size`` to ``size`` on each axis.

    Parameters
    ----------
    unit : ndarray, shape (n, d)
        Points in [0, 1].
    values : ndarray, shape (n,)
    sizes

    Returns
    -------
    ndarray, shape (2 size_1 + 1, ..., 2 size_d + 1)
        To about 1e-6 of the sum of the absolute values.

    Examples
    --------
    >>> x = np.array([[0.2], [0.7]])
    >>> exact = np.exp(-2j * np.pi * np.outer(np.arange(-3, 4), x[:, 0])).sum(axis=1)
    >>> bool(np.allclose(nonuniform_fft(x, np.ones(2), [3]), exact, atol=1e-5))
    True
    """
    # Sizes that are powers of two are several times faster.
    fine = [2 ** math.ceil(math.log2(max(_FINER * (2 * m + 1), 2 * _SPREAD))) for m in sizes]
    beta, half = 2.30 * _SPREAD, _SPREAD / 2
    starts, weights = [], []
    for k, size in enumerate(fine):
        place = unit[:, k] * size
        first = np.ceil(place - half).astype(np.intp)
        distance = (first[:, None] + np.arange(_SPREAD) - place[:, None]) / half
        starts.append(first)
        weights.append(_window(distance, beta))
    grid = np.zeros(math.prod(fine))
    for offsets in itertools.product(range(_SPREAD), repeat=len(fine)):
        cell, weight = np.zeros(len(unit), dtype=np.intp), values
        for size, start, share, offset in zip(fine, starts, weights, offsets, strict=True):
            cell = cell * size + (start + offset) % size
            weight = weight * share[:, offset]
        grid += np.bincount(cell, weight, minlength=grid.size)
    spectrum = np.fft.fftn(grid.reshape(fine))
    nodes, node_weights = roots_legendre(40)
    for k, (size, m) in enumerate(zip(fine, sizes, strict=True)):
        wanted = np.arange(-m, m + 1)
        spread = half * np.cos(2 * np.pi / size * half * np.outer(wanted, nodes))
        shape = spread @ (node_weights * _window(nodes, beta))
        spectrum = np.moveaxis(np.moveaxis(spectrum, k, -1)[..., wanted] / shape, -1, k)
    return spectrum


def _window(distance: Array, beta: float) -> Array:
    inside = np.clip(1 - np.square(distance), 0.0, None)
    return np.where(np.abs(distance) < 1, np.exp(beta * (np.sqrt(inside) - 1)), 0.0)


def _highest_peak(unit: Array, values: Array) -> list[float]:
    """Where the periodogram is highest, in cycles in the interval; zeros where that is noise."""
    n, d = unit.shape
    sizes = [_PADDING * max(1, math.ceil(n ** (1 / d) / 2)) * (1 if d == 1 else 2)] * d
    # The window hides the ends, where a sharp one would leave side lobes.
    window = np.prod(np.sin(np.pi * unit), axis=1)
    # A padded interval is one whose frequencies are that much closer together.
    power = np.square(np.abs(nonuniform_fft(unit / _PADDING, values * window, sizes)))
    best = np.unravel_index(power.argmax(), power.shape)
    mean = float(np.square(values * window).sum())
    if power[best] < mean * math.log(power.size / _FALSE_ALARM):
        return [0.0] * d
    start = [(int(i) - m) / _PADDING for i, m in zip(best, sizes, strict=True)]
    return _refined(unit, values * window, start)


def _refined(unit: Array, values: Array, peak: Sequence[float]) -> list[float]:
    """The top of the peak: an amplitude that has to make up for an offset varies faster."""

    def negative_power(k: Array) -> float:
        return -float(np.abs(np.exp(-2j * np.pi * (unit @ k)) @ values))

    corners = np.vstack([np.zeros(len(peak)), np.eye(len(peak)) / (2 * _PADDING)])
    simplex = np.array(peak) + corners
    options = {"initial_simplex": simplex, "xatol": 1e-3, "fatol": 0.0, "maxfev": 100}
    found = scipy.optimize.minimize(
        negative_power, np.array(peak), method="Nelder-Mead", options=options
    )
    return [float(k) if abs(k) > _STANDING else 0.0 for k in found.x]


def _is_clear(peak: float, known: Sequence[float]) -> bool:
    return all(abs(abs(peak) - k) > 1.25 for k in known)


def _degree(wanted: int, n: int, d: int) -> int:
    """The highest that leaves more values than numbers to be fitted to them."""
    while wanted > 0 and 4 * math.comb(wanted + d, d) * 2**d > n:
        wanted -= 1
    return wanted


def _amplitudes(unit: Array, degree: int) -> Array:
    """Polynomials up to a total degree, shape (n, k)."""
    d = unit.shape[1]
    along = [chebyshev.chebvander(2 * x - 1, degree) for x in unit.T]
    orders = [o for o in itertools.product(range(degree + 1), repeat=d) if sum(o) <= degree]
    return np.stack(
        [np.prod([along[k][:, m] for k, m in enumerate(o)], axis=0) for o in orders], axis=1
    )


def _waves(unit: Array, peak: Sequence[float], degree: int) -> Array:
    """Products of sine and cosine along each axis, with amplitudes that vary."""
    amplitudes = _amplitudes(unit, degree)
    factors = [np.ones(len(unit))]
    for x, k in zip(unit.T, peak, strict=True):
        waves = [np.cos(2 * np.pi * k * x), np.sin(2 * np.pi * k * x)] if k else [1.0]
        factors = [f * w for f in factors for w in waves]
    return np.hstack([amplitudes * f[:, None] for f in factors])


def _left_over(columns: Array, values: Array) -> Array:
    coefficients = np.linalg.lstsq(columns, values, rcond=1e-13)[0]
    return values - columns @ coefficients
