"""Rows at one place made one: a covariance that holds a point twice is singular."""

import numpy as np
from numpy.typing import NDArray

from kernelgp.vecchia.likelihood import Responses

__all__ = ["distinct_rows", "merge_rows"]

Array = NDArray[np.float64]


def distinct_rows(X: Array) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """One row number for each distinct row, in lexical order, and which of them every row is.

    Examples
    --------
    >>> distinct_rows(np.array([[2.0], [1.0], [2.0]]))
    (array([1, 0]), array([1, 0, 1]))
    """
    order = np.lexsort(X.T[::-1])
    new = np.ones(len(X), np.bool_)
    new[1:] = (X[order[1:]] != X[order[:-1]]).any(axis=1)
    which = np.empty(len(X), np.int64)
    which[order] = np.cumsum(new) - 1
    return order[new], which


def merge_rows(X: Array, y: Array, H: Array, counts: Array, relative: Array) -> Responses:
    """Rows that say what all of them say: means of those at one place, and what these leave out.

    Parameters
    ----------
    X : (n, d), y : (n,), H : (n, q)
        H the same in equal rows of X.
    counts : (n,)
        Each row counts as so many.
    relative : (n,)
        Noise variances, relative to the one that the likelihood calls noise.

    Examples
    --------
    >>> X, one = np.array([[0.0], [1.0], [0.0]]), np.ones(3)
    >>> rows = merge_rows(X, np.array([1.0, 5.0, 2.0]), one[:, None], one, one)
    >>> rows.y, rows.shares, rows.repeats, rows.within
    (array([1.5, 5. ]), array([0.5, 1. ]), 1.0, 0.5)
    """
    first, which = distinct_rows(X)
    precision = counts / relative
    total = np.bincount(which, precision)
    mean = np.bincount(which, precision * y) / total
    # About the mean of its place: squares of large numbers would lose it.
    within = float(precision @ np.square(y - mean[which]))
    log_weights = float(counts @ np.log(relative) + np.log(total).sum())
    repeats = float(counts.sum()) - len(first)
    return Responses(X[first], mean, H[first], 1.0 / total, repeats, within, log_weights)
