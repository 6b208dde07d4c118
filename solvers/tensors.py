"""Matrices applied along one axis of a tensor."""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

__all__ = ["along", "along_all", "evaluate_at"]

Array = NDArray[np.float64]


def along(matrix: Array, tensor: Array, axis: int) -> Array:
    """`matrix`, shape (m, n), applied to axis `axis`, of length n, of `tensor`."""
    shape = tensor.shape
    before, after = math.prod(shape[:axis]), math.prod(shape[axis + 1 :])
    if before == 1:
        product = matrix @ tensor.reshape(shape[axis], after)
    elif after == 1:
        product = tensor.reshape(before, shape[axis]) @ matrix.T
    else:
        product = np.matmul(matrix, tensor.reshape(before, shape[axis], after))
    return product.reshape(*shape[:axis], matrix.shape[0], *shape[axis + 1 :])


def along_all(matrices: Sequence[Array], tensor: Array) -> Array:
    """One matrix for each leading axis; axes beyond them are a batch."""
    for axis, matrix in enumerate(matrices):
        tensor = along(matrix, tensor, axis)
    return tensor


def evaluate_at(rows: Sequence[Array], tensor: Array) -> Array:
    """``Σ tensor[i, j, ...] rows[0][p, i] rows[1][p, j] ...`` for each point p, shape (p,).

    Examples
    --------
    >>> evaluate_at([np.array([[1.0, 2.0]]), np.array([[3.0, 1.0]])], np.eye(2))
    array([5.])
    """
    product = rows[0] @ tensor.reshape(tensor.shape[0], -1)
    for row in rows[1:]:
        product = product.reshape(len(row), row.shape[1], -1)
        product = np.einsum("pi,pik->pk", row, product)
    return product.reshape(len(rows[0]))
