"""Compiled algebra of upper factors with a rectangular pattern: products, solves, IC(0), PCG.

A factor is two arrays: `neighbors` (n, m), the rows of every column above its diagonal (-1 where
there is none), and `values` (n, m + 1), the entries there and, last, the diagonal.

References
----------
J. Cao et al., *Variational sparse inverse Cholesky approximation for latent Gaussian processes via
double Kullback-Leibler minimization*, ICML 2023, section 3.4 (IC0); F. Schäfer, M. Katzfuss and
H. Owhadi, *Sparse Cholesky factorization by Kullback-Leibler minimization*, 2021, section 4.
"""

import numpy as np
from numba import njit
from numpy.typing import NDArray

__all__ = [
    "by_rows",
    "incomplete_cholesky",
    "solve_precision",
    "substitute_lower",
    "substitute_upper",
    "times",
    "transposed_times",
]


def by_rows(neighbors: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Which columns hold every row, and where in them.

    Returns
    -------
    starts : (n + 1,)
        Row i is held by entries ``places[starts[i]:starts[i + 1]]``.
    places : (nnz,)
        ``column * m + position``, columns ascending in each row.
    """
    flat = neighbors.ravel()
    places = np.flatnonzero(flat >= 0)
    rows = flat[places]
    order = np.argsort(rows, kind="stable")
    counts = np.bincount(rows, minlength=len(neighbors))
    return np.concatenate([[0], np.cumsum(counts)]), places[order]


@njit(nogil=True, cache=True)
def incomplete_cholesky(neighbors, values, weights, starts, places, out):
    """V on the pattern of U with ``V Vᵀ ≈ U Uᵀ + diag(weights)``, by IC(0) from the last column.

    Parameters
    ----------
    neighbors, values
        U.
    weights : (n,), not negative
    starts, places
        As `by_rows` gives them.
    out : (n, m + 1)
        V, in the layout of `values`.

    Returns
    -------
    int
        How many pivots had to be raised; none on a maximin order.
    """
    n, m = neighbors.shape
    where = np.full(n, -1, np.int64)
    raised = 0
    work = np.empty(m + 1)
    for j in range(n - 1, -1, -1):
        for a in range(m):
            work[a] = values[j, a] * values[j, m]
            if neighbors[j, a] >= 0:
                where[neighbors[j, a]] = a
        work[m] = values[j, m] * values[j, m] + weights[j]
        where[j] = m
        for e in range(starts[j], starts[j + 1]):
            k, at = places[e] // m, places[e] % m
            u, v = values[k, at], out[k, at]
            for b in range(m):
                i = neighbors[k, b]
                if i >= 0 and i <= j and where[i] >= 0:
                    work[where[i]] += values[k, b] * u - out[k, b] * v
        least = 1e-10 * (values[j, m] * values[j, m] + weights[j])
        if not work[m] > least:
            work[m] = values[j, m] * values[j, m] + weights[j]
            raised += 1
        pivot = np.sqrt(work[m])
        for a in range(m):
            out[j, a] = work[a] / pivot if neighbors[j, a] >= 0 else 0.0
            if neighbors[j, a] >= 0:
                where[neighbors[j, a]] = -1
        out[j, m] = pivot
        where[j] = -1
    return raised


@njit(nogil=True, cache=True)
def substitute_upper(neighbors, values, x):
    """``V⁻¹ x`` in place of x, shape (n, k)."""
    n, m = neighbors.shape
    if x.shape[1] == 1:
        _upper(neighbors, values, x.reshape(n))
        return
    for j in range(n - 1, -1, -1):
        for c in range(x.shape[1]):
            x[j, c] /= values[j, m]
        for a in range(m):
            i = neighbors[j, a]
            if i >= 0:
                for c in range(x.shape[1]):
                    x[i, c] -= values[j, a] * x[j, c]


@njit(nogil=True, cache=True)
def substitute_lower(neighbors, values, x):
    """``V⁻ᵀ x`` in place of x, shape (n, k)."""
    n, m = neighbors.shape
    if x.shape[1] == 1:
        _lower(neighbors, values, x.reshape(n))
        return
    for j in range(n):
        for a in range(m):
            i = neighbors[j, a]
            if i >= 0:
                for c in range(x.shape[1]):
                    x[j, c] -= values[j, a] * x[i, c]
        for c in range(x.shape[1]):
            x[j, c] /= values[j, m]


# One column is four times as fast where the compiler knows that it is one.
@njit(nogil=True, cache=True)
def _upper(neighbors, values, x):
    n, m = neighbors.shape
    for j in range(n - 1, -1, -1):
        entry = x[j] / values[j, m]
        x[j] = entry
        for a in range(m):
            i = neighbors[j, a]
            if i >= 0:
                x[i] -= values[j, a] * entry


@njit(nogil=True, cache=True)
def _lower(neighbors, values, x):
    n, m = neighbors.shape
    for j in range(n):
        total = x[j]
        for a in range(m):
            i = neighbors[j, a]
            if i >= 0:
                total -= values[j, a] * x[i]
        x[j] = total / values[j, m]


@njit(nogil=True, cache=True)
def times(neighbors, values, x):
    """``U x``, shape (n,)."""
    n, m = neighbors.shape
    out = np.zeros(n)
    for j in range(n):
        out[j] += values[j, m] * x[j]
        for a in range(m):
            i = neighbors[j, a]
            if i >= 0:
                out[i] += values[j, a] * x[j]
    return out


@njit(nogil=True, cache=True)
def transposed_times(neighbors, values, x):
    """``Uᵀ x``, shape (n,)."""
    n, m = neighbors.shape
    out = np.empty(n)
    for j in range(n):
        total = values[j, m] * x[j]
        for a in range(m):
            i = neighbors[j, a]
            if i >= 0:
                total += values[j, a] * x[i]
        out[j] = total
    return out


@njit(nogil=True, cache=True)
def solve_precision(neighbors, values, weights, incomplete, rhs, x, rtol, most):
    """Solve ``(U Uᵀ + diag(weights)) x = rhs`` by conjugate gradients preconditioned with V.

    Parameters
    ----------
    neighbors, values
        U.
    weights : (n,)
    incomplete : (n, m + 1)
        V of `incomplete_cholesky`.
    rhs : (n, k)
    x : (n, k)
        The start, and in its place the solution.
    rtol : float
        Of the residual, relative to the right-hand side, worst column.
    most : int
        Iterations at most.

    Returns
    -------
    iterations : int
    residual : float, as measured by the recurrence
    """
    iterations, residual = 0, 0.0
    for c in range(rhs.shape[1]):
        one = x[:, c].copy()
        count, left = _solve(neighbors, values, weights, incomplete, rhs[:, c], one, rtol, most)
        x[:, c] = one
        iterations, residual = max(iterations, count), max(residual, left)
    return iterations, residual


@njit(nogil=True, cache=True)
def _solve(neighbors, values, weights, incomplete, rhs, x, rtol, most):
    r = rhs - weights * x - times(neighbors, values, transposed_times(neighbors, values, x))
    size = np.sqrt((rhs * rhs).sum()) + 1e-300
    z = r.copy()
    _upper(neighbors, incomplete, z)
    _lower(neighbors, incomplete, z)
    p = z.copy()
    rz = (r * z).sum()
    left = np.sqrt((r * r).sum()) / size
    for iteration in range(most):
        if left <= rtol:
            return iteration, left
        product = times(neighbors, values, transposed_times(neighbors, values, p)) + weights * p
        alpha = rz / ((p * product).sum() + 1e-300)
        x += alpha * p
        r -= alpha * product
        left = np.sqrt((r * r).sum()) / size
        z[:] = r
        _upper(neighbors, incomplete, z)
        _lower(neighbors, incomplete, z)
        new = (r * z).sum()
        p = z + new / (rz + 1e-300) * p
        rz = new
    return most, left
