"""The patterns of the source paper: balls around points, and reduced sets of ancestors.

References
----------
J. Cao et al., *Variational sparse inverse Cholesky approximation for latent Gaussian processes via
double Kullback-Leibler minimization*, ICML 2023, sections 3.1 and 3.3; F. Schäfer, M. Katzfuss and
H. Owhadi, *Sparse Cholesky factorization by Kullback-Leibler minimization*, SIAM Journal on
Scientific Computing 43, 2021.
"""

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.spatial import KDTree

from kernelgp.errors import ArgumentError
from kernelgp.vecchia.points import as_points

__all__ = ["nearest_in_balls", "reduced_ancestors"]

# Points of about one scale share a tree: their distances differ by no more than this.
_SCALE = 1.5
# Points at the radius itself are inside, as at rho = 1 the one that set it is.
_TIE = 1e-12


def nearest_in_balls(X: ArrayLike, distances: ArrayLike, rho: float = 2.0) -> NDArray[np.int64]:
    """All points before each that are within `rho` times its own maximin distance.

    The sparsity ``S_j = {i < j: |x_i - x_j| <= ρ l_j}`` of the source paper, some ρ^d points.

    Parameters
    ----------
    X : array, shape (n, d)
        In maximin order.
    distances : array, shape (n,)
        As `maximin_order` gives them.
    rho : float

    Returns
    -------
    int64 array, shape (n, m)
        The nearest first, m the size of the largest set; -1 where there are fewer.

    Raises
    ------
    ArgumentError
        If the shapes do not fit, or `rho` is not positive.

    Examples
    --------
    >>> nearest_in_balls([[0.5], [0.0], [1.0], [0.2]], [0.5, 0.5, 0.5, 0.2], rho=1.5)
    array([[-1, -1],
           [ 0, -1],
           [ 0, -1],
           [ 1,  0]])
    """
    points, radii = _checked(X, distances, rho)
    n = len(points)
    sets: list[NDArray[np.int64]] = [np.empty(0, np.int64)] * n
    tree = KDTree(points)
    for j in range(n):
        near = np.sort(np.asarray(tree.query_ball_point(points[j], radii[j]), np.int64))
        sets[j] = near[: np.searchsorted(near, j)]
    return _by_distance(points, sets)


def reduced_ancestors(X: ArrayLike, distances: ArrayLike, rho: float = 2.0) -> NDArray[np.int64]:
    """All points before each that are within `rho` times *their* maximin distance.

    The reduced ancestor set ``A_j = {i < j: |x_i - x_j| <= ρ l_i}`` of the source paper: what
    the columns of the inverse factor need of those before them, some ρ^d log n points. It holds
    the sparsity of `nearest_in_balls`.

    Parameters
    ----------
    X, distances, rho
        As for `nearest_in_balls`.

    Returns
    -------
    int64 array, shape (n, m)
        The nearest first, m the size of the largest set; -1 where there are fewer.

    Raises
    ------
    ArgumentError
        As `nearest_in_balls`.

    Examples
    --------
    >>> reduced_ancestors([[0.5], [0.0], [1.0], [0.2]], [0.5, 0.5, 0.5, 0.2], rho=1.5)
    array([[-1, -1],
           [ 0, -1],
           [ 0, -1],
           [ 1,  0]])
    """
    points, radii = _checked(X, distances, rho)
    n = len(points)
    pairs = []
    # From its own radius every point looks for those after it.
    start = 0
    while start < n:
        finer = np.flatnonzero(radii[start:] < radii[start] / _SCALE)
        stop = start + int(finer[0]) if len(finer) else n
        tree = KDTree(points[start:])
        for i in range(start, stop):
            after = np.asarray(tree.query_ball_point(points[i], radii[i]), np.int64) + start
            after = after[after > i]
            pairs.append(np.stack([after, np.full(len(after), i)]))
        start = stop
    j, i = np.concatenate(pairs, axis=1)
    order = np.argsort(j, kind="stable")
    sets = np.split(i[order], np.searchsorted(j[order], np.arange(1, n)))
    return _by_distance(points, sets)


def _checked(
    X: ArrayLike, distances: ArrayLike, rho: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    points, lengths = as_points("X", X), np.asarray(distances, np.float64)
    if lengths.shape != (len(points),):
        remedy = f"give ({len(points)},): the second result of maximin_order"
        raise ArgumentError("distances", f"shape {lengths.shape}", remedy)
    if not (np.isfinite(lengths).all() and (lengths >= 0).all()):
        remedy = "order the points and pass the distances of maximin_order"
        raise ArgumentError("distances", "numbers below 0, or not finite", remedy)
    if not isinstance(rho, int | float) or not math.isfinite(rho) or rho <= 0:
        raise ArgumentError("rho", repr(rho), "give a positive number, such as 2")
    return points, rho * lengths * (1 + _TIE)


def _by_distance(points: NDArray[np.float64], sets: list[NDArray[np.int64]]) -> NDArray[np.int64]:
    out = np.full((len(sets), max(1, *map(len, sets))), -1)
    for j, members in enumerate(sets):
        sqdist = np.square(points[members] - points[j]).sum(axis=1)
        out[j, : len(members)] = members[np.argsort(sqdist, kind="stable")]
    return out
