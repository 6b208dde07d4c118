"""The compiled passes over all columns: their values, or likelihood, gradient and information.

Every pass works on a range of points, so that threads can share it; it holds no lock while it
runs. Its first use compiles it, some seconds, and keeps the result on disk.

References
----------
J. Guinness, *Gaussian process learning via Fisher scoring of Vecchia's approximation*, Statistics
and Computing 31, 2021, for the gradient and the information.
"""

import numpy as np
from numba import njit

from kernelgp.linalg.lanes import LANES, fma, load, log, spread, store
from kernelgp.vecchia.blocks import RATIONAL_QUADRATIC, build, factor, gather, solve_last

__all__ = ["fill_columns", "sum_likelihood"]


@njit(nogil=True, cache=True)
def fill_columns(
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
    out,
):
    """``out[i] = L⁻ᵀ e_p`` for queries start to stop: neighbors first, the query itself last.

    Parameters
    ----------
    points : (n, d), queries : (q, d) float64, in lengthscales
    shares : (n,), own : (q,)
        What points and queries have of the noise.
    neighbors : (q, m) int64, -1 where there is none
    kind, alpha : which covariance of unit variance (`kernelgp.vecchia.blocks`)
    ratio : times the shares, what is added to its diagonal
    out : (q, m + 1); NaN where a covariance is not positive definite
    """
    m, d = neighbors.shape[1], points.shape[1]
    p = m + 1
    x, valid, extra = np.empty((p * d, LANES)), np.empty((p, LANES)), np.empty((p, LANES))
    R, G = np.empty((p * (p + 1) // 2, LANES)), np.empty((0, LANES))
    inverse, v = np.empty((p, LANES)), np.empty((p, LANES))
    for block in range(start, stop, LANES):
        missing = gather(points, queries, shares, own, neighbors, block, stop, x, valid, extra)
        build(x, valid, missing, extra, p, d, kind, alpha, ratio, R, G)
        factor(R, p, inverse)
        solve_last(R, p, inverse, v)
        for lane in range(min(LANES, stop - block)):
            for a in range(p):
                out[block + lane, a] = v[a, lane]


@njit(nogil=True, cache=True)
def sum_likelihood(
    points,
    shares,
    neighbors,
    residual,
    means,
    groups,
    kind,
    alpha,
    ratio,
    start,
    stop,
):
    """Sums over the columns start to stop, in unit scale.

    Parameters
    ----------
    points : (n, d) float64, in lengthscales
    shares : (n,), what each has of the noise
    neighbors : (n, m) int64, -1 where there is none
    residual : (n,), the targets less their mean
    means : (n, q), the functions that the mean is linear in
    groups : (d,) int64, which lengthscale each axis has, from 0
    kind, alpha, ratio : as for `fill_columns`

    Returns
    -------
    totals : (2,), squares of the whitened residual and the log of the factors' last pivots
    A, B : (P,), slopes: the log-likelihood's gradient is ``-A / 2 + B / scale``, by the log
        lengthscales, the ratio and, for rational quadratics, log alpha
    information : (P, P)
    cross : (q, q + 1), sums over ``c cᵀ`` and ``c z`` with c the whitened means
    """
    m, d, q = neighbors.shape[1], points.shape[1], means.shape[1]
    p = m + 1
    n_scales = groups.max() + 1
    isotropic = n_scales == 1
    P = n_scales + 1 + (1 if kind == RATIONAL_QUADRATIC else 0)
    x, valid, extra = np.empty((p * d, LANES)), np.empty((p, LANES)), np.empty((p, LANES))
    R, G = np.empty((p * (p + 1) // 2, LANES)), np.empty((p * (p + 1) // 2, LANES))
    K = np.empty((p * (p + 1) // 2 if kind == RATIONAL_QUADRATIC else 0, LANES))
    inverse, v = np.empty((p, LANES)), np.empty((p, LANES))
    r, z, c = np.empty((p, LANES)), np.empty((p, LANES)), np.empty((q, LANES))
    h = np.empty((p * q, LANES))
    T = np.empty((P * p, LANES))
    weight = np.empty((1, LANES))
    totals, A, B = np.zeros((2, LANES)), np.zeros((P, LANES)), np.zeros((P, LANES))
    information, cross = np.zeros((P * P, LANES)), np.zeros((q * (q + 1), LANES))
    zero, half = spread(0.0), spread(0.5)
    for block in range(start, stop, LANES):
        missing = gather(points, points, shares, shares, neighbors, block, stop, x, valid, extra)
        for lane in range(LANES):
            i = min(block + lane, stop - 1)
            weight[0, lane] = 1.0 if block + lane < stop else 0.0
            for a in range(p):
                j = neighbors[i, a] if a < m else i
                there = 0.0 if j < 0 else 1.0
                r[a, lane] = there * residual[max(j, 0)]
                for k in range(q):
                    h[a * q + k, lane] = there * means[max(j, 0), k]
        build(x, valid, missing, extra, p, d, kind, alpha, ratio, R, G)
        for e in range(len(K)):
            store(K, e, load(R, e))
        factor(R, p, inverse)
        solve_last(R, p, inverse, v)
        _forward(R, p, inverse, r, 0, z, 0)
        last = load(z, m)
        w = load(weight, 0)
        store(totals, 0, fma(w * last, last, load(totals, 0)))
        store(totals, 1, load(totals, 1) - w * log(load(inverse, m)))

        for t in range(P * p):
            store(T, t, zero)
        e = 0
        for a in range(p):
            va, wa = load(v, a), zero
            for b in range(a):
                g, vb = load(G, e), load(v, b)
                whole = zero
                for k in range(d):
                    difference = load(x, a * d + k) - load(x, b * d + k)
                    slope = g * difference * difference
                    if isotropic:
                        whole = whole + slope
                    else:
                        to = groups[k] * p
                        store(T, to + a, fma(slope, vb, load(T, to + a)))
                        store(T, to + b, fma(slope, va, load(T, to + b)))
                if isotropic:
                    wa = fma(whole, vb, wa)
                    store(T, b, fma(whole, va, load(T, b)))
                e += 1
            if isotropic:
                store(T, a, load(T, a) + wa)
            store(T, n_scales * p + a, load(extra, a) * va)
            e += 1
        if kind == RATIONAL_QUADRATIC:
            _slope_of_alpha(K, G, p, alpha, v, T, (n_scales + 1) * p)
        for j in range(P):
            _forward(R, p, inverse, T, j * p, T, j * p)
        for j in range(P):
            dot, tail = zero, load(T, j * p + m)
            for a in range(m):
                dot = fma(load(T, j * p + a), load(z, a), dot)
            store(A, j, fma(w, tail, load(A, j)))
            store(B, j, fma(w * last, fma(half * tail, last, dot), load(B, j)))
            for k in range(j + 1):
                dot = half * tail * load(T, k * p + m)
                for a in range(m):
                    dot = fma(load(T, j * p + a), load(T, k * p + a), dot)
                store(information, j * P + k, fma(w, dot, load(information, j * P + k)))

        for k in range(q):
            total = zero
            for a in range(p):
                total = fma(load(h, a * q + k), load(v, a), total)
            store(c, k, total)
        for k in range(q):
            ck = w * load(c, k)
            for other in range(q):
                place = k * (q + 1) + other
                store(cross, place, fma(ck, load(c, other), load(cross, place)))
            place = k * (q + 1) + q
            store(cross, place, fma(ck, last, load(cross, place)))
    return _summed(totals), _summed(A), _summed(B), _summed(information), _summed(cross)


@njit(inline="always")
def _forward(R, p, inverse, rhs, offset, out, to):
    """``L⁻¹`` of p rows; both may be the same array."""
    start = 0
    for a in range(p):
        total = load(rhs, offset + a)
        for b in range(a):
            total = total - load(R, start + b) * load(out, to + b)
        store(out, to + a, total * load(inverse, a))
        start += a + 1


@njit(inline="always")
def _slope_of_alpha(K, G, p, alpha, v, T, to):
    """``∂R/∂log α`` times v: ``α k (q/(1+q) - log(1+q))``, where ``1 + q = k / g``."""
    one = spread(1.0)
    e = 0
    for a in range(p):
        va, wa = load(v, a), spread(0.0)
        for b in range(a):
            k, g = load(K, e), load(G, e)
            # A missing neighbor has neither: its slope is zero.
            base = (k + spread(1e-300)) / (g + spread(1e-300))
            slope = spread(alpha) * k * (one - one / base - log(base))
            wa = fma(slope, load(v, b), wa)
            store(T, to + b, fma(slope, va, load(T, to + b)))
            e += 1
        store(T, to + a, load(T, to + a) + wa)
        e += 1


@njit
def _summed(values):
    out = np.zeros(len(values))
    for i in range(len(values)):
        for lane in range(LANES):
            out[i] += values[i, lane]
    return out
