"""Nearest neighbors, among the points before each in an order or among all points of a table.

Up to some ten thousand points comparing all pairs, eight queries at once, is faster than any
tree; beyond that trees on growing prefixes are, in few dimensions.
"""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from numba import njit
from numpy.typing import ArrayLike, NDArray
from scipy.spatial import KDTree

from kernelgp.errors import ArgumentError
from kernelgp.linalg.lanes import LANES, any_below, fma, load, spread, store
from kernelgp.vecchia.points import as_points

__all__ = ["nearest", "nearest_previous"]

# From here on trees are faster, where the points have no more than so many dimensions.
_MOST_PAIRS, _FEW_DIMENSIONS = 45_000, 6
# A tree serves until the points have grown by this much.
_GROWTH = 1.5
_FIRST_TREE = 2000
_QUERIES_PER_JOB = 512


def nearest_previous(X: ArrayLike, m: int = 30) -> NDArray[np.int64]:
    """The `m` nearest of the points before each one: exact.

    Parameters
    ----------
    X : array, shape (n, d)
        In their order, and in units in which their distance matters.
    m : int

    Returns
    -------
    int64 array, shape (n, m)
        The nearest first; -1 where there are fewer, as before the first points.

    Raises
    ------
    ArgumentError, ArgumentTypeError
        If X is not a finite array of that shape, or m not a whole number from 1.

    Examples
    --------
    >>> nearest_previous([[0.0], [1.0], [0.4], [0.9]], m=2)
    array([[-1, -1],
           [ 0, -1],
           [ 0,  1],
           [ 1,  2]])
    """
    points, m = as_points("X", X), _checked_count(m)
    n, d = points.shape
    if n > _MOST_PAIRS and d <= _FEW_DIMENSIONS:
        return _by_trees(points, m)
    return _by_pairs(points, points, m, previous=True)


def nearest(X: ArrayLike, queries: ArrayLike, m: int) -> NDArray[np.int64]:
    """The `m` nearest rows of X to each query, nearest first, shape (q, min(m, n)).

    Raises
    ------
    ArgumentError, ArgumentTypeError
        As `nearest_previous`, and if the two have not as many columns.

    Examples
    --------
    >>> nearest([[0.0], [1.0], [0.4]], [[0.45]], m=2)
    array([[2, 0]])
    """
    points, asked, m = as_points("X", X), as_points("queries", queries), _checked_count(m)
    if asked.shape[1] != points.shape[1]:
        given = f"{asked.shape[1]} columns"
        raise ArgumentError("queries", given, f"give {points.shape[1]}, as X has")
    m = min(m, len(points))
    if len(points) > _MOST_PAIRS and points.shape[1] <= _FEW_DIMENSIONS:
        found = KDTree(points).query(asked, m, workers=torch.get_num_threads())[1]
        return np.asarray(found, np.int64).reshape(len(asked), m)
    return _by_pairs(points, asked, m, previous=False)


def _checked_count(m: int) -> int:
    if isinstance(m, bool) or not isinstance(m, int | np.integer) or m < 1:
        raise ArgumentError("m", repr(m), "give a whole number from 1")
    return int(m)


def _by_pairs(
    points: NDArray[np.float64], queries: NDArray[np.float64], m: int, *, previous: bool
) -> NDArray[np.int64]:
    out = np.full((len(queries), m), -1)
    starts = range(0, len(queries), _QUERIES_PER_JOB)
    with ThreadPoolExecutor(torch.get_num_threads()) as pool:
        jobs = [
            pool.submit(
                _compare,
                points,
                queries,
                start,
                min(start + _QUERIES_PER_JOB, len(queries)),
                previous,
                out,
            )
            # The longest first, so that none is left over at the end.
            for start in reversed(starts)
        ]
        for job in jobs:
            job.result()
    return out


@njit(nogil=True, cache=True)
def _compare(points, queries, start, stop, previous, out):
    """Compare queries, eight at a time, with every point (or with those before them)."""
    (n, d), m = points.shape, out.shape[1]
    x, worst = np.empty((d, LANES)), np.empty((1, LANES))
    found = np.empty((1, LANES))
    heap, which = np.empty((LANES, m)), np.empty((LANES, m), np.int64)
    for block in range(start, stop, LANES):
        for lane in range(LANES):
            i = min(block + lane, stop - 1)
            for k in range(d):
                x[k, lane] = queries[i, k]
        heap[:], which[:] = np.inf, -1
        worst[:] = np.inf
        last = min(block + LANES - 1, stop - 1) if previous else n
        for j in range(last):
            total = spread(0.0)
            for k in range(d):
                difference = load(x, k) - spread(points[j, k])
                total = fma(difference, difference, total)
            if not any_below(total, load(worst, 0)):
                continue
            store(found, 0, total)
            for lane in range(LANES):
                is_before = not previous or j < block + lane
                if is_before and found[0, lane] < worst[0, lane]:
                    _replace_worst(heap[lane], which[lane], found[0, lane], j)
                    worst[0, lane] = heap[lane, 0]
        for lane in range(min(LANES, stop - block)):
            order = np.argsort(heap[lane], kind="mergesort")
            out[block + lane] = which[lane][order]


@njit(inline="always")
def _replace_worst(heap, which, value, index):
    """Put a value into a max-heap in place of its root."""
    m, place = len(heap), 0
    while True:
        child = 2 * place + 1
        if child >= m:
            break
        if child + 1 < m and heap[child + 1] > heap[child]:
            child += 1
        if heap[child] <= value:
            break
        heap[place], which[place] = heap[child], which[child]
        place = child
    heap[place], which[place] = value, index


def _by_trees(points: NDArray[np.float64], m: int) -> NDArray[np.int64]:
    """A tree on all points to some place gives, of each, those before it among its nearest."""
    n = len(points)
    out = np.full((n, m), -1)
    start = min(n, max(_FIRST_TREE, 2 * m))
    out[:start] = _by_pairs(points[:start], points[:start], m, previous=True)
    while start < n:
        stop = min(n, int(_GROWTH * start))
        tree, todo, k = KDTree(points[:stop]), np.arange(start, stop), int(_GROWTH * m) + 8
        while len(todo):
            found = np.asarray(
                tree.query(points[todo], min(k, stop), workers=torch.get_num_threads())[1]
            )
            before = found < todo[:, None]
            enough = before.sum(axis=1) >= m
            # The first m that come before, in the order of their distance.
            kept = before & (before.cumsum(axis=1) <= m)
            out[todo[enough]] = found[enough][kept[enough]].reshape(-1, m)
            todo, k = todo[~enough], 2 * k
        start = stop
    return out
