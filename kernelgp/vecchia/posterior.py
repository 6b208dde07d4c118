"""What noisy responses say of the function at new points: each given the responses near it.

Alone every point is a small regression of its own; together they are the last columns of a sparse
inverse Cholesky factor, given responses near them and the new points before them.

References
----------
M. Katzfuss, J. Guinness, W. Gong and D. Zilber, *Vecchia approximations of Gaussian-process
predictions*, Journal of Agricultural, Biological and Environmental Statistics 25, 2020, section 3.
"""

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kernelgp.errors import JitterWarning
from kernelgp.vecchia.columns import columns
from kernelgp.vecchia.merging import distinct_rows
from kernelgp.vecchia.neighbors import nearest, nearest_previous
from kernelgp.vecchia.ordering import maximin_order
from kernelgp.vecchia.sparse import substitute_lower

__all__ = ["Joint", "ResponsePosterior"]

Array = NDArray[np.float64]

# Relative to the kernel's variance, so that a query on top of a response stays apart from it.
_JITTER = 1e-10
# Queries whose columns are held at a time.
_BATCH = 2**15


@dataclass(frozen=True, slots=True, eq=False)
class Joint:
    """The function at some points: ``N(mean, (U Uᵀ)⁻¹)`` of the distinct ones among them.

    Attributes
    ----------
    mean : (q,)
    which : (q,) int64
        The place of every point among those of U.
    neighbors : (u, m) int64, values : (u, m + 1)
        U (`kernelgp.vecchia.sparse`).
    """

    mean: Array
    which: NDArray[np.int64]
    neighbors: NDArray[np.int64]
    values: Array

    @property
    def n_distinct(self) -> int:
        return len(self.values)

    def deviations(self, normals: Array) -> Array:
        """``U⁻ᵀ ε`` at every point, shape (q, k), from normals of shape (u, k)."""
        out = np.array(normals, order="C")
        substitute_lower(self.neighbors, self.values, out)
        return out[self.which]

    def covariance(self) -> Array:
        """Shape (q, q)."""
        root = self.deviations(np.eye(self.n_distinct))
        return root @ root.T


@dataclass(frozen=True, slots=True, eq=False)
class ResponsePosterior:
    """The function given responses ``residual = f(X) + e``.

    Attributes
    ----------
    kernel : kernel of `kernelgp.kernels` or gpytorch
    noise : float
        The variance of e, times `shares`.
    X : (n, d)
        Distinct.
    residual : (n,)
        Responses less their mean.
    shares : (n,)
    metric : (d,)
        What the columns of X are divided by where neighbors are looked for.
    n_neighbors : int
        Responses that every point is given.
    """

    kernel: Any
    noise: float
    X: Array
    residual: Array
    shares: Array
    metric: Array
    n_neighbors: int

    def marginal(self, queries: Array) -> tuple[Array, Array]:
        """Mean and variance at every query by itself, shape (q,) each."""
        mean, variance = np.empty(len(queries)), np.empty(len(queries))
        for start in range(0, len(queries), _BATCH):
            part = slice(start, start + _BATCH)
            near, weights, variance[part] = self.weights(queries[part])
            mean[part] = np.einsum("qm,qm->q", weights, self.residual[near])
        return mean, variance

    def weights(self, queries: Array) -> tuple[NDArray[np.int64], Array, Array]:
        """Rows near every query, (q, m), what each counts there, and the variance left, (q,)."""
        near = self._near(queries)
        return near, *self.weights_of(queries, near)

    def weights_of(self, queries: Array, near: NDArray[np.int64]) -> tuple[Array, Array]:
        """What rows chosen by others count at every query, (q, m), and the variance left, (q,)."""
        found = self._columns(queries, near)
        return -found[:, :-1] / found[:, -1:], 1 / found[:, -1] ** 2

    def joint(self, queries: Array, n_between: int) -> Joint:
        """All queries together, each given responses and up to `n_between` other queries."""
        first, which = distinct_rows(queries)
        points = queries[first]
        order, _ = maximin_order(points / self.metric)
        place = np.empty(len(order), np.int64)
        place[order] = np.arange(len(order))
        points = points[order]
        near = self._near(points)
        between = nearest_previous(points / self.metric, min(n_between, max(len(points) - 1, 1)))
        n, m = len(self.X), near.shape[1]
        others = np.where(between >= 0, between + n, -1)
        values = self._columns(points, np.concatenate([near, others], axis=1))
        pulled = -np.einsum("qm,qm->q", values[:, :m], self.residual[near])
        own = np.ascontiguousarray(values[:, m:])
        mean = pulled[:, None]
        substitute_lower(between, own, mean)
        return Joint(mean[place[which], 0], place[which], between, own)

    def _near(self, queries: Array) -> NDArray[np.int64]:
        return nearest(self.X / self.metric, queries / self.metric, self.n_neighbors)

    def _columns(self, queries: Array, near: NDArray[np.int64]) -> Array:
        """Neighbors are responses or, from n on, the queries themselves."""
        points, variances = self.X, self.noise * self.shares
        if near.max() >= len(points):
            points = np.concatenate([points, queries])
            variances = np.concatenate([variances, np.zeros(len(queries))])
        found, used = columns(self.kernel, points, queries, near, _JITTER, variances)
        if (raised := int((used > _JITTER).sum())) > 0:
            warnings.warn(
                f"at {raised} points the covariance is singular; up to {used.max():.0e} of its "
                "variance was added.",
                JitterWarning,
                stacklevel=6,
            )
        return found
