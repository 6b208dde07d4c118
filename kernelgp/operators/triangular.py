"""Triangular solves with a sparse upper factor, compiled: torch and scipy take ten times as long.

The factor is held by columns, the diagonal last in each. Both loops run over columns and need no
levels or reordering; a right-hand side of k columns costs k multiply-adds for every entry.
"""

import numpy as np
from numba import njit

__all__ = ["fill_variances", "solve_lower", "solve_upper"]


@njit(nogil=True, cache=True)
def solve_upper(starts, rows, values, x):
    """``U⁻¹ x`` in place of x, shape (n, k)."""
    n, k = x.shape
    for j in range(n - 1, -1, -1):
        last = starts[j + 1] - 1
        for c in range(k):
            x[j, c] /= values[last]
        for e in range(starts[j], last):
            i, value = rows[e], values[e]
            for c in range(k):
                x[i, c] -= value * x[j, c]


@njit(nogil=True, cache=True)
def solve_lower(starts, rows, values, x):
    """``U⁻ᵀ x`` in place of x, shape (n, k)."""
    n, k = x.shape
    total = np.empty(k, x.dtype)
    for j in range(n):
        last = starts[j + 1] - 1
        for c in range(k):
            total[c] = x[j, c]
        for e in range(starts[j], last):
            i, value = rows[e], values[e]
            for c in range(k):
                total[c] -= value * x[i, c]
        for c in range(k):
            x[j, c] = total[c] / values[last]


@njit(nogil=True, cache=True)
def fill_variances(starts, rows, values, members, coefficients, begin, end, out):
    """``out[q] = |U⁻¹ c|²`` for rows begin to end of the coefficients: variances of sums.

    The solution is zero but for ancestors of the entries of c, which are looked for on the way:
    in few dimensions a point has some hundred, however many points there are.

    Parameters
    ----------
    starts, rows, values
        U, as above.
    members : (q, k) int64
        Where each row's coefficients stand; -1 for none.
    coefficients : (q, k)
    """
    x = np.zeros(len(starts) - 1)
    for q in range(begin, end):
        last = -1
        for k in range(members.shape[1]):
            if members[q, k] >= 0:
                x[members[q, k]] += coefficients[q, k]
                last = max(last, members[q, k])
        total = 0.0
        for j in range(last, -1, -1):
            if x[j] != 0.0:
                diagonal = starts[j + 1] - 1
                entry = x[j] / values[diagonal]
                x[j] = 0.0
                total += entry * entry
                for e in range(starts[j], diagonal):
                    x[rows[e]] -= values[e] * entry
        out[q] = total
