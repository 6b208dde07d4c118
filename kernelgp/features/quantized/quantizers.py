"""Quantisers of waves in [-1, 1], compiled: noise shaping, random rounding and plain rounding.

With K levels on each side, ``L = 2 K - 1``, a wave becomes one of the numbers ``c / L``, c odd and
at most L in size. Tiles are (waves, rows): the recursion runs down the waves and all rows of a
tile move together, in vector registers.

References
----------
J. Zhang, A. Cloninger and R. Saab, *Sigma-Delta and distributed noise-shaping quantization methods
for random Fourier features*, 2021: (5) and (6) are `sum_first_order` and `sum_second_order` with
condensation, (8) `shape_in_blocks`.
"""

import numpy as np
from numba import njit

from kernelgp.features.splitmix import mix

__all__ = [
    "round_nearest",
    "round_randomly",
    "row_seeds",
    "shape_in_blocks",
    "sum_first_order",
    "sum_second_order",
]

# Waves back to which the stable one-bit filter of second order looks.
_DELAY = 7


@njit(inline="always")
def _nearest(t, L):
    """The odd number c nearest to ``t L``, at most L in size."""
    c = np.float32(2.0) * np.floor(np.float32(0.5) * L * t) + np.float32(1.0)
    return min(max(c, -L), L)


@njit(nogil=True, cache=True)
def round_nearest(z, levels, out):
    """C of each wave by itself; out is (waves, rows) float32, as it is below."""
    L = np.float32(levels)
    for j in range(z.shape[0]):
        for i in range(z.shape[1]):
            out[j, i] = _nearest(z[j, i], L)


@njit(nogil=True, cache=True)
def round_randomly(z, levels, seeds, out):
    """C above or below, whose mean is the wave; the draws of a row depend on its seed alone."""
    L = np.float32(levels)
    for j in range(z.shape[0]):
        step = np.uint64(j + 1) * np.uint64(0x9E3779B97F4A7C15)
        for i in range(z.shape[1]):
            u = np.float32(mix(seeds[i] + step) >> np.uint64(40)) * np.float32(2.0**-24)
            k = np.floor(np.float32(0.5) * (z[j, i] + np.float32(1.0)) * L + u)
            out[j, i] = min(max(np.float32(2.0) * k - L, -L), L)


@njit(nogil=True, cache=True)
def sum_first_order(z, levels, block, out):
    """``t = u + z``, ``u = t - c / L``; out (waves / block, rows) has the sum of c over blocks."""
    L, inverse = np.float32(levels), np.float32(1.0 / levels)
    u = np.zeros(z.shape[1], np.float32)
    for b in range(out.shape[0]):
        for i in range(z.shape[1]):
            out[b, i] = np.float32(0.0)
        for j in range(b * block, (b + 1) * block):
            for i in range(z.shape[1]):
                t = u[i] + z[j, i]
                c = _nearest(t, L)
                u[i] = t - c * inverse
                out[b, i] += c


@njit(nogil=True, cache=True)
def sum_second_order(z, levels, block, out):
    """The same for ``t = 2 u - u' + z``, summed with weights 1, 2, ... (block + 1) / 2, ... 2, 1.

    Of one bit the filter is ``7/6 u - 1/6 u'``, u' seven waves back: the other is not stable.
    """
    L, inverse = np.float32(levels), np.float32(1.0 / levels)
    delay = _DELAY if levels == 1 else 2
    near = np.float32(7.0 / 6.0) if levels == 1 else np.float32(2.0)
    far = np.float32(1.0 / 6.0) if levels == 1 else np.float32(1.0)
    states = np.zeros((delay, z.shape[1]), np.float32)
    for b in range(out.shape[0]):
        for i in range(z.shape[1]):
            out[b, i] = np.float32(0.0)
        for a in range(block):
            j = b * block + a
            weight = np.float32(min(a + 1, block - a))
            last, old = (j - 1) % delay, j % delay
            for i in range(z.shape[1]):
                t = near * states[last, i] - far * states[old, i] + z[j, i]
                c = _nearest(t, L)
                states[old, i] = t - c * inverse
                out[b, i] += weight * c


@njit(nogil=True, cache=True)
def shape_in_blocks(z, levels, block, beta, gain, out):
    """``t = gain z + beta u`` anew in each block; c of each wave."""
    L, inverse = np.float32(levels), np.float32(1.0 / levels)
    factor, scale = np.float32(beta), np.float32(gain)
    u = np.zeros(z.shape[1], np.float32)
    for j in range(z.shape[0]):
        if j % block == 0:
            u[:] = np.float32(0.0)
        for i in range(z.shape[1]):
            t = scale * z[j, i] + factor * u[i]
            c = _nearest(t, L)
            u[i] = t - c * inverse
            out[j, i] = c


@njit(nogil=True, cache=True)
def row_seeds(x, seed):
    """A number from the values of each row of x (n, d) float64, and of nothing else."""
    out = np.empty(x.shape[0], np.uint64)
    for i in range(x.shape[0]):
        h = seed
        for k in range(x.shape[1]):
            value = x[i, k] + 0.0  # -0.0 becomes 0.0
            h = mix(h ^ _bits(value))
        out[i] = h
    return out


@njit(inline="always")
def _bits(value):
    return np.float64(value).view(np.uint64)
