"""Maximin ordering: every point as far as can be from those before it.

The coarse comes first and the fine later, so that a point's nearest predecessors surround it at
about its own distance; Vecchia's approximation is best on such an order.

References
----------
J. Guinness, *Permutation and grouping methods for sharpening Gaussian process approximations*,
Technometrics 60, 2018; M. Katzfuss and J. Guinness, *A general framework for Vecchia
approximations of Gaussian processes*, Statistical Science 36, 2021.
"""

import numpy as np
from numba import njit
from numpy.typing import ArrayLike, NDArray

from kernelgp.errors import ArgumentError
from kernelgp.linalg.lanes import LANES, fma, greater, largest, lesser, load, spread, store
from kernelgp.vecchia.points import as_points

__all__ = ["maximin_order"]

# Points to a leaf, and leaves to a branch.
_LEAF, _BRANCH = 32, 32
_VECTORS = _LEAF // LANES
_EMPTY = -1.0


def maximin_order(
    X: ArrayLike, n_first: int | None = None
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """The exact maximin order of points, by farthest-point sampling on a tree of boxes.

    Cost is near-linear in few dimensions (n = 100 000: a second), O(n²) at worst.

    Parameters
    ----------
    X : array, shape (n, d)
        Points in units in which their distance matters: divide by the lengthscales.
    n_first : int, optional
        The first so many rows, of training points, come before all others; each class is in
        maximin order, the second one given the first.

    Returns
    -------
    order : int64 array, shape (n,)
        ``X[order]`` is ordered. It begins with the point nearest to the mean.
    distances : array, shape (n,)
        Of every point, in that order, to the nearest one before it. The first has that of the
        second, or infinity where it is alone.

    Raises
    ------
    ArgumentError, ArgumentTypeError
        If X is not a finite array of that shape, or `n_first` not in 1 to n.

    Examples
    --------
    >>> order, distances = maximin_order([[0.0], [0.1], [0.5], [1.0]])
    >>> order, distances.round(1)
    (array([2, 0, 3, 1]), array([0.5, 0.5, 0.5, 0.1]))
    """
    points = as_points("X", X)
    n = len(points)
    first = n if n_first is None else n_first
    if isinstance(first, bool) or not isinstance(first, int | np.integer) or not 0 < first <= n:
        raise ArgumentError("n_first", repr(n_first), f"give a whole number from 1 to {n}")
    start = int(np.argmin(np.square(points[:first] - points[:first].mean(axis=0)).sum(axis=1)))
    order, sqdist = np.empty(n, np.int64), np.empty(n)
    tree = _Tree(points, 0, first)
    _choose(points, *tree.arrays, start, order[:first], sqdist[:first])
    if first < n:
        tree = _Tree(points, first, n)
        _, coordinates, nearest, *_ = tree.arrays
        _lower_by_all(points, order[:first], coordinates, nearest)
        _choose(points, *tree.arrays, -1, order[first:], sqdist[first:])
    distances = np.sqrt(sqdist)
    distances[0] = distances[1] if n > 1 else np.inf
    return order, distances


class _Tree:
    """Points in leaves of near ones, eight side by side, and the boxes around leaves.

    A leaf is `_LEAF` slots, a branch `_BRANCH` leaves; empty slots are far below every distance.

    Attributes
    ----------
    rows : (n_leaves * _LEAF,), the point in every slot, or -1
    coordinates : (n_leaves * _LEAF / LANES * d, LANES)
    nearest : (n_leaves * _LEAF / LANES, LANES), squared distance to the nearest point chosen
    low, high : (n_branches * _BRANCH / LANES * d, LANES), corners of the leaves' boxes
    branch_low, branch_high : (n_branches, d)
    """

    def __init__(self, points: NDArray[np.float64], start: int, stop: int) -> None:
        n, d = stop - start, points.shape[1]
        n_leaves = -(-n // _LEAF)
        n_branches = -(-n_leaves // _BRANCH)
        rows = np.full(n_branches * _BRANCH * _LEAF, -1)
        rows[:n] = _in_leaves(points, np.arange(start, stop))
        there = (rows >= 0)[:, None]
        inside = points[rows]
        leaves = (n_branches * _BRANCH, _LEAF, d)
        low = np.where(there, inside, np.inf).reshape(leaves).min(axis=1)
        high = np.where(there, inside, -np.inf).reshape(leaves).max(axis=1)
        branches = (n_branches, _BRANCH, d)
        self.arrays = (
            rows,
            _side_by_side(inside),
            np.where(there, np.inf, _EMPTY).reshape(-1, LANES),
            _side_by_side(low),
            _side_by_side(high),
            low.reshape(branches).min(axis=1),
            high.reshape(branches).max(axis=1),
        )


def _side_by_side(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """Shape (n, d) to (n / LANES * d, LANES)."""
    n, d = rows.shape
    tiles = rows.reshape(n // LANES, LANES, d).transpose(0, 2, 1)
    return np.ascontiguousarray(tiles).reshape(-1, LANES)


def _in_leaves(points: NDArray[np.float64], rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """Rows so that leaves hold near points: halved along the longest side again and again."""
    todo = [(0, len(rows))]
    while todo:
        start, stop = todo.pop()
        n_leaves = -(-(stop - start) // _LEAF)
        if n_leaves == 1:
            continue
        inside = points[rows[start:stop]]
        axis = int(np.argmax(np.ptp(inside, axis=0)))
        middle = _LEAF * (n_leaves // 2)
        rows[start:stop] = rows[start:stop][np.argpartition(inside[:, axis], middle)]
        todo += [(start, start + middle), (start + middle, stop)]
    return rows


@njit(cache=True)
def _lower_by_all(points, chosen, coordinates, nearest):
    """Let every leaf know of all the points chosen."""
    for i in chosen:
        for leaf in range(len(nearest) // _VECTORS):
            _lower(points, i, coordinates, nearest, leaf)


@njit(cache=True)
def _choose(
    points,
    rows,
    coordinates,
    nearest,
    low,
    high,
    b_low,
    b_high,
    start,
    order,
    sqdist,
):
    """Fill `order` with the farthest point again and again."""
    d = points.shape[1]
    n_leaves, n_branches = len(nearest) // _VECTORS, len(b_low)
    most, gaps = np.empty(n_leaves), np.empty((_BRANCH // LANES, LANES))
    for leaf in range(n_leaves):
        kept = load(nearest, leaf * _VECTORS)
        for t in range(1, _VECTORS):
            kept = greater(kept, load(nearest, leaf * _VECTORS + t))
        most[leaf] = largest(kept)
    b_most = np.empty(n_branches)
    for branch in range(n_branches):
        b_most[branch] = most[branch * _BRANCH : (branch + 1) * _BRANCH].max()
    for k in range(len(order)):
        if k == 0 and start >= 0:
            slot = np.int64(0)
            while rows[slot] != start:
                slot += 1
        else:
            branch = np.argmax(b_most)
            leaf = branch * _BRANCH
            while most[leaf] != b_most[branch]:
                leaf += 1
            slot = leaf * _LEAF
            while nearest[slot // LANES, slot % LANES] != most[leaf]:
                slot += 1
        chosen = rows[slot]
        order[k], sqdist[k] = chosen, nearest[slot // LANES, slot % LANES]
        # Below every distance: it is not chosen again.
        nearest[slot // LANES, slot % LANES] = _EMPTY
        own = slot // _LEAF
        most[own] = _lower(points, chosen, coordinates, nearest, own)
        for branch in range(n_branches):
            gap = 0.0
            for axis in range(d):
                x = points[chosen, axis]
                outside = max(b_low[branch, axis] - x, x - b_high[branch, axis], 0.0)
                gap += outside * outside
            if gap >= b_most[branch] and branch != own // _BRANCH:
                continue
            for t in range(_BRANCH // LANES):
                total = spread(0.0)
                for axis in range(d):
                    place = (branch * (_BRANCH // LANES) + t) * d + axis
                    x = spread(points[chosen, axis])
                    outside = greater(load(low, place) - x, x - load(high, place))
                    outside = greater(outside, spread(0.0))
                    total = fma(outside, outside, total)
                store(gaps, t, total)
            b_most[branch] = _EMPTY
            for t in range(_BRANCH):
                leaf = branch * _BRANCH + t
                if gaps[t // LANES, t % LANES] < most[leaf]:
                    most[leaf] = _lower(points, chosen, coordinates, nearest, leaf)
                b_most[branch] = max(b_most[branch], most[leaf])


@njit(inline="always")
def _lower(points, i, coordinates, nearest, leaf):
    """Let a leaf's points know of point i; the largest distance that is left."""
    d = points.shape[1]
    kept = spread(_EMPTY)
    for t in range(leaf * _VECTORS, (leaf + 1) * _VECTORS):
        total = spread(0.0)
        for k in range(d):
            difference = load(coordinates, t * d + k) - spread(points[i, k])
            total = fma(difference, difference, total)
        total = lesser(total, load(nearest, t))
        store(nearest, t, total)
        kept = greater(kept, total)
    return largest(kept)
