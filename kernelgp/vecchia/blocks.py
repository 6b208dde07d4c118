"""What every pass over Vecchia's columns begins with, for eight points side by side.

A column is a point and its neighbors: their covariance is built, then factored. Of a symmetric
matrix the lower triangle is kept, row after row: entry (i, j) in row ``i (i + 1) / 2 + j`` of an
array of shape (entries, LANES).
"""

from typing import Final

from numba import njit

from kernelgp.linalg.lanes import LANES, exp, fma, load, log, spread, sqrt, store

__all__ = [
    "EXPONENTIAL",
    "GAUSSIAN",
    "MATERN32",
    "MATERN52",
    "RATIONAL_QUADRATIC",
    "build",
    "factor",
    "gather",
    "solve_last",
]

EXPONENTIAL: Final = 0
MATERN32: Final = 1
MATERN52: Final = 2
GAUSSIAN: Final = 3
RATIONAL_QUADRATIC: Final = 4

# Of two coincident points; its root is not zero, which one has to divide by.
_TINY = 1e-300


@njit(inline="always")
def gather(points, queries, shares, own, neighbors, start, stop, x, valid, extra):
    """Coordinates of eight columns into `x`, the query last; whether a neighbor is missing.

    Lanes beyond `stop` repeat the last query. `valid` is 1 where there is a neighbor, else 0;
    `extra` is each point's share of the noise.
    """
    m, d = neighbors.shape[1], points.shape[1]
    missing = False
    for lane in range(LANES):
        i = min(start + lane, stop - 1)
        for a in range(m):
            j = neighbors[i, a]
            valid[a, lane] = 0.0 if j < 0 else 1.0
            missing = missing or j < 0
            extra[a, lane] = shares[max(j, 0)]
            for k in range(d):
                x[a * d + k, lane] = points[max(j, 0), k]
        valid[m, lane] = 1.0
        extra[m, lane] = own[i]
        for k in range(d):
            x[m * d + k, lane] = queries[i, k]
    return missing


@njit(inline="always")
def build(x, valid, missing, extra, p, d, kind, alpha, ratio, R, G):
    """The covariance of unit variance, plus `ratio` times `extra` on its diagonal, into R.

    G gets ``g = -k'(r) / r`` where it has rows: ``∂R/∂log l_k = g D_k²`` with D_k the scaled
    difference of coordinate k. Missing neighbors are independent of everything.
    """
    with_slopes = len(G) > 0
    one, zero = spread(1.0), spread(0.0)
    e = 0
    for a in range(p):
        for b in range(a):
            s = spread(_TINY)
            for k in range(d):
                difference = load(x, a * d + k) - load(x, b * d + k)
                s = fma(difference, difference, s)
            if kind == GAUSSIAN:
                value = exp(s * spread(-0.5))
                slope = value
            elif kind == RATIONAL_QUADRATIC:
                base = fma(s, spread(0.5 / alpha), one)
                value = exp(log(base) * spread(-alpha))
                slope = value / base
            else:
                r = sqrt(s)
                if kind == EXPONENTIAL:
                    value = exp(zero - r)
                    slope = value / r
                elif kind == MATERN32:
                    r = r * spread(1.7320508075688772)
                    decay = exp(zero - r)
                    value = fma(r, decay, decay)
                    slope = decay * spread(3.0)
                else:
                    r = r * spread(2.23606797749979)
                    decay = exp(zero - r)
                    slope = fma(r, decay, decay)
                    value = fma(r * r * spread(1.0 / 3.0), decay, slope)
                    slope = slope * spread(5.0 / 3.0)
            if missing:
                both = load(valid, a) * load(valid, b)
                value, slope = value * both, slope * both
            store(R, e, value)
            if with_slopes:
                store(G, e, slope)
            e += 1
        store(R, e, fma(spread(ratio), load(extra, a), one))
        if with_slopes:
            store(G, e, zero)
        e += 1


@njit(inline="always")
def factor(R, p, inverse):
    """The Cholesky factor of R in its place; `inverse` gets one over its diagonal."""
    one = spread(1.0)
    start = 0
    for i in range(p):
        other = 0
        for j in range(i):
            total = load(R, start + j)
            for k in range(j):
                total = total - load(R, start + k) * load(R, other + k)
            store(R, start + j, total * load(inverse, j))
            other += j + 1
        total = load(R, start + i)
        for k in range(i):
            entry = load(R, start + k)
            total = total - entry * entry
        root = sqrt(total)
        store(R, start + i, root)
        store(inverse, i, one / root)
        start += i + 1


@njit(inline="always")
def solve_last(R, p, inverse, v):
    """``v = L⁻ᵀ e_p``: the column of the inverse factor that belongs to the query."""
    last = p - 1
    row = last * (last + 1) // 2
    pivot = load(inverse, last)
    store(v, last, pivot)
    for a in range(last):
        store(v, a, spread(0.0) - load(R, row + a) * pivot)
    for a in range(last - 1, -1, -1):
        row = a * (a + 1) // 2
        entry = load(v, a) * load(inverse, a)
        store(v, a, entry)
        for b in range(a):
            store(v, b, load(v, b) - load(R, row + b) * entry)
