"""GMRES for several right-hand sides at once, each with its own space.

A product with a whole batch costs little more than one with a single vector where an axis has
some dozens of functions, and draws come by the dozen.

References
----------
Y. Saad and M. H. Schultz, *GMRES: a generalized minimal residual algorithm*, 1986.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

__all__ = ["gmres_together"]

Array = NDArray[np.float64]


def gmres_together(
    product: Callable[[Array], Array], rhs: Array, *, rtol: float, max_iterations: int
) -> tuple[Array, float]:
    """Solve ``A x = b`` for every column of `rhs`, from zero and without a restart.

    Parameters
    ----------
    product
        Multiplies an array of shape (n, k) by A.
    rhs : ndarray, shape (n, k)
    rtol
        The iteration ends where every column's residual is below this share of it.
    max_iterations : int

    Returns
    -------
    solution : ndarray, shape (n, k)
    residual : float
        The largest relative one, by the recurrence.

    Examples
    --------
    >>> A = np.array([[2.0, 1.0], [0.0, 1.0]])
    >>> x, residual = gmres_together(lambda v: A @ v, np.eye(2), rtol=1e-12, max_iterations=5)
    >>> x.round(12), residual < 1e-12
    (array([[ 0.5, -0.5],
           [ 0. ,  1. ]]), True)
    """
    n, k = rhs.shape
    size = np.linalg.norm(rhs, axis=0)
    scale = np.where(size > 0, size, 1.0)
    most = min(max_iterations, n)
    basis = [rhs / scale]
    # One upper triangle for each column, and what is left of the right-hand side.
    triangle = np.zeros((most, most, k))
    turned = np.zeros((most + 1, k))
    turned[0] = np.where(size > 0, 1.0, 0.0)
    turns: list[tuple[Array, Array]] = []
    left, steps = float(turned[0].max(initial=0.0)), 0
    while steps < most and left > rtol:
        column, vector = _orthogonalise(basis, product(basis[-1]))
        norm = np.linalg.norm(vector, axis=0)
        basis.append(vector / np.where(norm > 0, norm, 1.0))
        for i, (c, s) in enumerate(turns):
            column[i], column[i + 1] = (
                c * column[i] + s * column[i + 1],
                c * column[i + 1] - (s * column[i]),
            )
        radius = np.hypot(column[-1], norm)
        # A column that is solved already has nothing left to turn.
        safe = np.where(radius > 0, radius, 1.0)
        c, s = np.where(radius > 0, column[-1] / safe, 1.0), norm / safe
        turns.append((c, s))
        column[-1] = np.where(radius > 0, radius, 1.0)
        triangle[: steps + 1, steps] = column
        turned[steps + 1] = -s * turned[steps]
        turned[steps] = c * turned[steps]
        steps += 1
        left = float(np.abs(turned[steps]).max())
    weights = _back_substitute(triangle[:steps, :steps], turned[:steps])
    total = sum((w * v for w, v in zip(weights, basis, strict=False)), np.zeros_like(rhs))
    return total * scale, left


def _orthogonalise(basis: list[Array], vector: Array) -> tuple[Array, Array]:
    """Coordinates on the basis, shape (len(basis), k), and what is orthogonal to it."""
    column = np.empty((len(basis), vector.shape[1]))
    for i, known in enumerate(basis):
        column[i] = np.einsum("nk,nk->k", known, vector)
        vector = vector - column[i] * known
    return column, vector


def _back_substitute(triangle: Array, turned: Array) -> Array:
    weights = np.zeros_like(turned)
    for i in reversed(range(len(turned))):
        weights[i] = (turned[i] - (triangle[i, i + 1 :] * weights[i + 1 :]).sum(axis=0)) / triangle[
            i, i
        ]
    return weights
