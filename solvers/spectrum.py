"""Which frequencies a solution holds, read from its data.

For constant coefficients the spectrum of a source is that of the solution times the symbol
of the operator, and what a source does not excite enters through the faces. So the peaks of
their periodograms along an axis are the frequencies to give the prior there, and nobody has
to know a frequency scale in advance.
"""

import math
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.signal.windows import kaiser

__all__ = ["bandwidth", "characteristic_frequencies", "merge_frequencies", "peaks"]

Array = NDArray[np.float64]

# Side lobes of a Kaiser window of this shape stand 174 dB down, below rounding in power.
_SHAPE = 24
_PADDING = 8
# Of its main lobe, in cycles in the whole interval, at 1e-4 of the power.
_HALF_WIDTH = 5.0
# Cycles in the whole interval. Slower content belongs to the component of frequency zero.
_SLOWEST = 3.0
# Peaks nearer to each other are one: an envelope covers the difference.
_SEPARATION = 1.25


def peaks(signals: Sequence[Array], length: float, *, floor: float) -> list[tuple[float, float]]:
    """Local maxima of the mean periodogram of each of `signals`, the strongest first.

    Parameters
    ----------
    signals : sequence of ndarrays, shape (k, n)
        Each holds k functions sampled at n equally spaced points, both ends included; it is
        measured by its own maximum, so that a source cannot drown a boundary value.
    length : float
        Of the interval, in units of its axis.
    floor : float
        The least power that counts, relative to the greatest.

    Returns
    -------
    list of (power, frequency)
        Power relative to the greatest of its signal; frequency in cycles per unit.

    Examples
    --------
    >>> x = np.linspace(0, 2, 201)
    >>> [(power, frequency)] = peaks([np.sin(2 * np.pi * 20 * x)[None]], 2.0, floor=1e-9)
    >>> round(frequency, 1)
    20.0
    """
    found = []
    for power, frequency in _spectra(signals, length):
        inner = power[1:-1]
        maxima = 1 + np.flatnonzero((inner > power[:-2]) & (inner >= power[2:]))
        strong = power[maxima] > floor
        fast = frequency[maxima] * length > _SLOWEST
        found += [(float(power[i]), float(frequency[i])) for i in maxima[strong & fast]]
    return sorted(found, reverse=True)


def bandwidth(signals: Sequence[Array], length: float, *, floor: float) -> float:
    """The highest frequency at which any of `signals` has power, in cycles per unit.

    A chirp has one broad peak, and is faster than that.

    Examples
    --------
    >>> x = np.linspace(0, 1, 2001)
    >>> round(bandwidth([np.sin(2 * np.pi * 100 * x**2)[None]], 1.0, floor=1e-4))  # to 200
    155
    """
    highest = 0.0
    for power, frequency in _spectra(signals, length):
        last = frequency[np.flatnonzero(power > floor)[-1]]
        highest = max(highest, float(last) - _HALF_WIDTH / length)
    return highest


def _spectra(signals: Sequence[Array], length: float) -> Iterator[tuple[Array, Array]]:
    """Power, relative to its maximum, and frequency, for each signal that is not zero."""
    for signal in signals:
        n = signal.shape[-1]
        largest = np.abs(signal).max()
        if n < 3 or largest == 0:
            continue
        # The padded transform is long; sizes that are powers of two are several times faster.
        size = 2 ** math.ceil(math.log2(_PADDING * n))
        spectrum = np.fft.rfft(signal / largest * kaiser(n, _SHAPE), size)
        power = np.square(np.abs(spectrum)).mean(axis=0)
        yield power / power.max(), np.arange(len(power)) / size * (n - 1) / length


def merge_frequencies(
    candidates: Sequence[float], length: float, *, known: Sequence[float] = (), limit: int
) -> list[float]:
    """`known`, and those of `candidates` that stand clear of it and of one another.

    Parameters
    ----------
    candidates : sequence of floats, in cycles per unit, the most important first
    limit : int
        Of the number of frequencies returned.
    """
    kept = list(known)
    for candidate in candidates:
        if len(kept) >= limit:
            break
        slow = candidate * length <= _SLOWEST
        if not slow and all(abs(candidate - k) * length > _SEPARATION for k in kept):
            kept.append(candidate)
    return kept


def characteristic_frequencies(symbol: NDArray[np.complex128], length: float) -> list[float]:
    """Frequencies of the solutions ``exp(λx)`` of ``Σ symbol[k] dᵏu/dxᵏ = 0``, in cycles per unit.

    A source need not excite them: ``u'' + k² u = 0`` oscillates with its boundary values alone.

    Parameters
    ----------
    symbol : ndarray, shape (order + 1,)
        Complex where another axis carries a wave.
    length : float
        Frequencies of a few cycles in the interval are left to the slow component.

    Examples
    --------
    >>> characteristic_frequencies(np.array([(2 * np.pi * 5) ** 2, 0, 1]), 1.0)
    [5.0]
    """
    scaled = np.asarray(symbol, complex) * length ** -np.arange(len(symbol), dtype=float)
    nonzero = np.flatnonzero(scaled)
    if not nonzero.any():  # no derivative at all
        return []
    cycles = np.abs(np.roots(scaled[nonzero[-1] :: -1]).imag) / (2 * math.pi)
    return sorted({round(float(c / length), 12) for c in cycles if c > _SLOWEST})
