"""The door for graphs: an adjacency matrix, checked, as what walkers and solvers read."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any, cast

import numpy as np
import scipy.sparse
from numpy.typing import NDArray
from torch import Tensor

from kernelgp.errors import ArgumentError, ArgumentTypeError

__all__ = ["Graph", "read_graph"]


@dataclass(frozen=True, eq=False)
class Graph:
    """An undirected graph with weights that are not negative.

    Attributes
    ----------
    starts : (n + 1,) int64, neighbors : (edges,) int64
        Node i has the neighbors ``neighbors[starts[i]:starts[i + 1]]``, itself where it has a
        loop. An edge counts twice, a loop once.
    weights : (edges,) float64
    dtype
        float32 or float64: what features of it are made in.
    """

    starts: NDArray[np.int64]
    neighbors: NDArray[np.int64]
    weights: NDArray[np.float64]
    dtype: np.dtype[Any]

    @property
    def n(self) -> int:
        return len(self.starts) - 1

    @cached_property
    def root_degree(self) -> NDArray[np.float64]:
        """Square roots of the sums of weights; 0 for a node without neighbors."""
        rows = np.repeat(np.arange(self.n), np.diff(self.starts))
        return np.sqrt(np.bincount(rows, weights=self.weights, minlength=self.n))

    @cached_property
    def cumulative(self) -> NDArray[np.float64]:
        """For each edge the share of its node's weight up to it; empty where all are equal."""
        if not len(self.weights) or (self.weights == self.weights[0]).all():
            return np.empty(0)
        total = np.cumsum(self.weights)
        before = np.concatenate([[0.0], total])[self.starts[:-1]]
        counts = np.diff(self.starts)
        degree = np.repeat(self.root_degree**2, counts)
        shares = (total - np.repeat(before, counts)) / degree
        shares[self.starts[1:][counts > 0] - 1] = 1.0  # where rounding would leave a gap
        return shares

    @cached_property
    def normalized(self) -> scipy.sparse.csr_array:
        """``D^-1/2 A D^-1/2``, whose eigenvalues lie in [-1, 1]; rows without neighbors are 0."""
        root = self.root_degree
        rows = np.repeat(np.arange(self.n), np.diff(self.starts))
        values = self.weights / root[rows] / root[self.neighbors]
        parts = values, self.neighbors, self.starts
        return scipy.sparse.csr_array(parts, shape=(self.n, self.n))


def read_graph(adjacency: Any) -> Graph:
    """Check an adjacency matrix.

    Parameters
    ----------
    adjacency : scipy sparse array or matrix, or dense array or Tensor, shape (n, n)
        Symmetric, not negative. Explicit zeros are no edges; integers and booleans become
        float64.

    Raises
    ------
    ArgumentTypeError
        If it is no matrix of real numbers.
    ArgumentError
        If it is empty, not square, not symmetric, or has a weight that is negative or not finite.
    """
    matrix = _as_csr(adjacency)
    rows, columns = cast(tuple[int, int], matrix.shape)
    if rows != columns or rows == 0:
        remedy = "give a square one, (n, n) for n nodes"
        raise ArgumentError("adjacency", f"shape {matrix.shape}", remedy)
    values = matrix.data
    if not np.isfinite(values).all():
        count = int((~np.isfinite(values)).sum())
        raise ArgumentError("adjacency", f"{count} weights not finite", "remove or impute them")
    if len(values) and values.min() < 0:
        given = f"{int((values < 0).sum())} negative weights, the least {values.min():.4g}"
        raise ArgumentError("adjacency", given, "give similarities, 0 where there is no edge")
    matrix.eliminate_zeros()
    apart = abs(matrix - matrix.T)
    largest = float(matrix.data.max()) if matrix.nnz else 0.0
    worst = float(apart.data.max()) if apart.nnz else 0.0
    if worst > 8 * np.finfo(matrix.dtype).eps * largest:
        given = f"a directed graph ({apart.nnz // 2} pairs differ, by up to {worst:.4g})"
        raise ArgumentError("adjacency", given, "symmetrise it: (A + A.T) / 2 or A.maximum(A.T)")
    matrix.sort_indices()
    return Graph(
        matrix.indptr.astype(np.int64),
        matrix.indices.astype(np.int64),
        matrix.data.astype(np.float64),
        matrix.dtype,
    )


def _as_csr(adjacency: Any) -> scipy.sparse.csr_array:
    """A float copy."""
    if isinstance(adjacency, Tensor):
        adjacency = adjacency.detach().cpu().to_dense().numpy()
    remedy = "give a scipy sparse array of shape (n, n), such as networkx.to_scipy_sparse_array(G)"
    if not scipy.sparse.issparse(adjacency):
        try:
            adjacency = np.asarray(adjacency)
        except (TypeError, ValueError) as error:
            raise ArgumentTypeError("adjacency", type(adjacency).__name__, remedy) from error
        if adjacency.dtype.kind not in "biuf":
            raise ArgumentTypeError("adjacency", f"dtype {adjacency.dtype}", remedy)
        if adjacency.ndim != 2:
            raise ArgumentError("adjacency", f"shape {adjacency.shape}", remedy)
    sparse = cast(Any, adjacency)
    if sparse.dtype.kind not in "biuf":
        raise ArgumentTypeError("adjacency", f"dtype {sparse.dtype}", remedy)
    if len(sparse.shape) != 2:
        raise ArgumentError("adjacency", f"shape {sparse.shape}", remedy)
    kept = sparse.dtype if sparse.dtype in (np.float32, np.float64) else np.float64
    matrix = scipy.sparse.csr_array(sparse, dtype=kept, copy=True)
    matrix.sum_duplicates()
    return matrix
