"""Compiled reverse passes: from slopes by a factor's entries to slopes by what it was made from.

Each costs about two forward passes and is exact for what the forward pass computed, incomplete
factors included, so that an optimiser sees a gradient that belongs to its value.

References
----------
S. P. Smith, *Differentiation of the Cholesky algorithm*, Journal of Computational and Graphical
Statistics 4, 1995.
"""

import numpy as np
from numba import njit

from kernelgp.linalg.lanes import LANES, fma, load, log, spread, store
from kernelgp.vecchia.blocks import RATIONAL_QUADRATIC, build, factor, gather, solve_last

__all__ = ["column_slopes", "incomplete_slopes"]


@njit(nogil=True, cache=True)
def incomplete_slopes(neighbors, values, incomplete, starts, places, seeds, by_values, by_weights):
    """Slopes of ``Σ seeds_j log V_jj`` by U and by the weights, V of `incomplete_cholesky`.

    With seeds of 2 it is the log-determinant of ``U Uᵀ + diag(weights)``, and the slopes by the
    weights are the diagonal of its inverse: selected inversion on the pattern, exact where the
    pattern holds all fill.

    Parameters
    ----------
    neighbors, values
        U.
    incomplete : (n, m + 1)
        V.
    starts, places
        As `by_rows` gives them.
    seeds : (n,)
    by_values : (n, m + 1), by_weights : (n,)
        Where the slopes go.
    """
    n, m = neighbors.shape
    where = np.full(n, -1, np.int64)
    by_factor = np.zeros((n, m + 1))
    target = np.empty(m + 1)
    by_values[:] = 0.0
    for j in range(n):
        pivot = incomplete[j, m]
        last = by_factor[j, m] + seeds[j] / pivot
        for a in range(m):
            target[a] = 0.0
            if neighbors[j, a] >= 0:
                target[a] = by_factor[j, a] / pivot
                last -= by_factor[j, a] * incomplete[j, a] / pivot
                where[neighbors[j, a]] = a
        target[m] = last / (2 * pivot)
        where[j] = m
        by_weights[j] = target[m]
        for a in range(m):
            by_values[j, a] += target[a] * values[j, m]
            by_values[j, m] += target[a] * values[j, a]
        by_values[j, m] += 2 * target[m] * values[j, m]
        for e in range(starts[j], starts[j + 1]):
            k, at = places[e] // m, places[e] % m
            u, v = values[k, at], incomplete[k, at]
            total_u, total_v = 0.0, 0.0
            for b in range(m):
                i = neighbors[k, b]
                if i >= 0 and i <= j and where[i] >= 0:
                    slope = target[where[i]]
                    by_values[k, b] += slope * u
                    by_factor[k, b] -= slope * v
                    total_u += slope * values[k, b]
                    total_v += slope * incomplete[k, b]
            by_values[k, at] += total_u
            by_factor[k, at] -= total_v
        for a in range(m):
            if neighbors[j, a] >= 0:
                where[neighbors[j, a]] = -1
        where[j] = -1


@njit(nogil=True, cache=True)
def column_slopes(
    points,
    queries,
    shares,
    own,
    neighbors,
    kind,
    alpha,
    ratio,
    start,
    stop,
    slopes,
):
    """Slopes of ``Σ slopes_ia out_ia`` by the log lengthscale of each axis and by log alpha.

    With v a column of `fill_columns`, R its covariance and s the slopes by it, they are
    ``-aᵀ (∂R) v``, ``a = R⁻¹ s - (sᵀ v) v / 2``.

    Parameters
    ----------
    points, queries, shares, own, neighbors, kind, alpha, ratio, start, stop
        As for `fill_columns`.
    slopes : (q, m + 1)

    Returns
    -------
    (d + 1,), the last 0 but for rational quadratics
    """
    m, d = neighbors.shape[1], points.shape[1]
    p = m + 1
    size = p * (p + 1) // 2
    x, valid, extra = np.empty((p * d, LANES)), np.empty((p, LANES)), np.empty((p, LANES))
    R, G = np.empty((size, LANES)), np.empty((size, LANES))
    K = np.empty((size if kind == RATIONAL_QUADRATIC else 0, LANES))
    inverse, v = np.empty((p, LANES)), np.empty((p, LANES))
    s, a = np.empty((p, LANES)), np.empty((p, LANES))
    totals = np.zeros((d + 1, LANES))
    zero = spread(0.0)
    for block in range(start, stop, LANES):
        missing = gather(points, queries, shares, own, neighbors, block, stop, x, valid, extra)
        build(x, valid, missing, extra, p, d, kind, alpha, ratio, R, G)
        for e in range(len(K)):
            store(K, e, load(R, e))
        factor(R, p, inverse)
        solve_last(R, p, inverse, v)
        for lane in range(LANES):
            i = min(block + lane, stop - 1)
            # Lanes beyond the end repeat the last query, and count for nothing.
            there = 1.0 if block + lane < stop else 0.0
            for b in range(p):
                s[b, lane] = there * slopes[i, b]
        both = zero
        for b in range(p):
            both = fma(load(s, b), load(v, b), both)
        _solve(R, p, inverse, s, a)
        half = both * spread(-0.5)
        for b in range(p):
            store(a, b, fma(half, load(v, b), load(a, b)))
        e = 0
        for b in range(p):
            for c in range(b):
                pair = load(a, b) * load(v, c) + load(a, c) * load(v, b)
                weight = pair * load(G, e)
                for k in range(d):
                    difference = load(x, b * d + k) - load(x, c * d + k)
                    square = difference * difference
                    store(totals, k, load(totals, k) - weight * square)
                if kind == RATIONAL_QUADRATIC:
                    # A missing neighbor has neither: its slope is zero.
                    value = load(K, e)
                    base = (value + spread(1e-300)) / (load(G, e) + spread(1e-300))
                    inside = spread(1.0) - spread(1.0) / base - log(base)
                    change = spread(alpha) * value * inside
                    store(totals, d, load(totals, d) - pair * change)
                e += 1
            e += 1
    out = np.zeros(d + 1)
    for k in range(d + 1):
        for lane in range(LANES):
            out[k] += totals[k, lane]
    return out


@njit(inline="always")
def _solve(R, p, inverse, s, a):
    """``a = L⁻ᵀ L⁻¹ s``, L in R."""
    start = 0
    for b in range(p):
        total = load(s, b)
        for c in range(b):
            total = total - load(R, start + c) * load(a, c)
        store(a, b, total * load(inverse, b))
        start += b + 1
    for b in range(p - 1, -1, -1):
        start -= b + 1
        entry = load(a, b) * load(inverse, b)
        store(a, b, entry)
        for c in range(b):
            store(a, c, load(a, c) - load(R, start + c) * entry)
