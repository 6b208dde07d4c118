"""A latent posterior at new points: means, variances, covariances and draws.

A new point's column of the prior's factor, given its nearest training points, extends the factor
of the posterior: what is read off the training points is read off the new ones by the same
substitution. Jointly, new points are given each other too.

References
----------
J. Cao et al., *Variational sparse inverse Cholesky approximation for latent Gaussian processes via
double Kullback-Leibler minimization*, ICML 2023, section 3.5.
"""

from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import ArrayLike, NDArray

from kernelgp.errors import ArgumentError
from kernelgp.vecchia.adjoints import incomplete_slopes
from kernelgp.vecchia.covariances import Covariance
from kernelgp.vecchia.latent import Latent
from kernelgp.vecchia.neighbors import nearest
from kernelgp.vecchia.observations import MeanFunctions
from kernelgp.vecchia.ordering import maximin_order
from kernelgp.vecchia.points import as_points
from kernelgp.vecchia.selected import sparse_variances
from kernelgp.vecchia.sparse import substitute_upper

__all__ = ["Posterior"]

Array = NDArray[np.float64]
Index = NDArray[np.int64]

# Queries whose columns are held at once.
_BATCH = 20_000
# New points that are looked for at once, of those that are given each other.
_BLOCK = 4096


@dataclass(frozen=True, slots=True, eq=False)
class Posterior:
    """The latent function given the data.

    Attributes
    ----------
    covariance : Covariance
    points : (n, d)
        In the order of `latent`.
    latent : Latent
    mean : MeanFunctions
    coefficients : (q,), of the mean
    """

    covariance: Covariance
    points: Array
    latent: Latent
    mean: MeanFunctions
    coefficients: Array

    def predict(
        self,
        X: ArrayLike,
        n_neighbors: int = 120,
        *,
        variance: bool = True,
        full_cov: bool = False,
    ) -> tuple[Array, Array | None]:
        """Mean and variance of the latent function at new points, without offsets.

        Parameters
        ----------
        X : array, shape (q, d)
        n_neighbors : int
            Training points that each is given; with `full_cov` new points before it count too.
        variance
            Whether it is wanted; else None.
        full_cov
            Whether the covariance (q, q) is wanted instead of the variance.

        Raises
        ------
        ArgumentError, ArgumentTypeError
            If X does not fit the training points, or `n_neighbors` is not from 1.
        """
        queries, m = self._checked(X, n_neighbors)
        if full_cov:
            return self._joint(queries, m)
        means, variances = [], []
        for start in range(0, len(queries), _BATCH):
            part = queries[start : start + _BATCH]
            near = nearest(self._scaled(self.points), self._scaled(part), m)
            columns, _ = self.covariance.columns(self.points, part, near)
            last = columns[:, -1]
            weights = -columns[:, :-1] / last[:, None]
            deviation = (self.latent.mode - self.latent.prior.mean)[near]
            means.append(self._prior_mean(part) + np.einsum("qm,qm->q", weights, deviation))
            if variance:
                V = self.latent.prior.neighbors, self.latent.factor
                variances.append(1 / last**2 + sparse_variances(*V, near, weights))
        return np.concatenate(means), np.concatenate(variances) if variance else None

    def draw(
        self, X: ArrayLike, n_samples: int, rng: np.random.Generator, n_neighbors: int = 120
    ) -> Array:
        """Joint draws at new points, shape (n_samples, q)."""
        queries, m = self._checked(X, n_neighbors)
        order, near, columns = self._extended(queries, m)
        n, q = len(self.points), len(queries)
        normals = rng.standard_normal((n + q, n_samples))
        out = np.empty((n + q, n_samples))
        out[:n] = self.latent.draw(normals[:n])
        out[:n] += (self.latent.mode - self.latent.prior.mean)[:, None]
        out[n:] = normals[n:]
        _continue(near, columns, out)
        drawn = np.empty((n_samples, q))
        drawn[:, order] = out[n:].T
        return drawn + self._prior_mean(queries)

    def training_variance(self, *, exact: bool = False) -> Array:
        """Variances of the latent values at the training points.

        Parameters
        ----------
        exact
            Whether of ``(V Vᵀ)⁻¹`` itself, O(n) times the ancestors of a point. Else by selected
            inversion on the pattern of V, O(n m²): that of ``(U Uᵀ + W)⁻¹`` but for fill outside
            the pattern, which is as near to it as V is.
        """
        prior, n = self.latent.prior, len(self.points)
        if exact or self.latent.learned:
            own = np.arange(n)[:, None]
            return sparse_variances(prior.neighbors, self.latent.factor, own, np.ones((n, 1)))
        by_values, variances = np.empty_like(prior.values), np.empty(n)
        incomplete_slopes(
            prior.neighbors,
            prior.values,
            self.latent.factor,
            prior.starts,
            prior.places,
            np.full(n, 2.0),
            by_values,
            variances,
        )
        return variances

    def _checked(self, X: ArrayLike, n_neighbors: int) -> tuple[Array, int]:
        queries, d = as_points("X", X), self.points.shape[1]
        if queries.shape[1] != d:
            given = f"{queries.shape[1]} columns"
            raise ArgumentError("X", given, f"give {d}, as the training points have")
        if isinstance(n_neighbors, bool) or not isinstance(n_neighbors, int | np.integer):
            raise ArgumentError("n_neighbors", repr(n_neighbors), "give a whole number from 1")
        if n_neighbors < 1:
            raise ArgumentError("n_neighbors", repr(n_neighbors), "give a whole number from 1")
        return queries, int(n_neighbors)

    def _scaled(self, points: Array) -> Array:
        return self.covariance.scale(points)

    def _prior_mean(self, points: Array) -> Array:
        return self.mean(points) @ self.coefficients

    def _extended(self, queries: Array, m: int) -> tuple[Index, Index, Array]:
        """An order of the queries, and their columns given the points before them in it."""
        n, q = len(self.points), len(queries)
        order, _ = maximin_order(self._scaled(queries))
        ordered = queries[order]
        every = np.concatenate([self.points, ordered])
        scaled = self._scaled(every)
        near = _nearest_before(scaled, n, min(m, n + q - 1))
        columns, _ = self.covariance.columns(every, ordered, near)
        return order, near, columns

    def _joint(self, queries: Array, m: int) -> tuple[Array, Array]:
        n, q = len(self.points), len(queries)
        order, near, columns = self._extended(queries, m)
        # The last q columns of the inverse of the extended factor.
        lower = np.zeros((n + q, q))
        lower[n:] = np.eye(q)
        _begin(near, columns, lower)
        inner = np.ascontiguousarray(lower[:n])
        substitute_upper(self.latent.prior.neighbors, self.latent.factor, inner)
        lower[:n] = inner
        covariance = np.empty((q, q))
        covariance[np.ix_(order, order)] = lower.T @ lower
        deviation = np.zeros((n + q, 1))
        deviation[:n, 0] = self.latent.mode - self.latent.prior.mean
        _continue(near, columns, deviation)
        mean = self._prior_mean(queries)
        mean[order] += deviation[n:, 0]
        return mean, covariance


def _nearest_before(points: Array, n: int, m: int) -> Index:
    """The m nearest before each point from row n on, -1 where there are fewer."""
    total = len(points)
    out = np.full((total - n, m), -1)
    start = n
    while start < total:
        # Within a block each point looks at all, and keeps those before it.
        stop = min(total, start + min(max(64, start // 4), _BLOCK))
        before = nearest(points[:start], points[start:stop], m)
        rows = np.arange(start, stop)[:, None]
        inside = np.broadcast_to(np.arange(start, stop), (stop - start, stop - start))
        if stop - start > 2 * m:
            inside = nearest(points[start:stop], points[start:stop], 2 * m) + start
        candidates = np.hstack([before, inside])
        gaps = np.square(points[candidates] - points[rows]).sum(axis=2)
        gaps[candidates >= rows] = np.inf
        kept = np.argsort(gaps, axis=1, kind="stable")[:, :m]
        found = np.take_along_axis(candidates, kept, axis=1)
        found[~np.isfinite(np.take_along_axis(gaps, kept, axis=1))] = -1
        out[start - n : stop - n, : found.shape[1]] = found
        start = stop
    return out


@njit(nogil=True, cache=True)
def _continue(neighbors, columns, x):
    """``V⁻ᵀ x`` for the last rows, those before them done, in place."""
    q, m = neighbors.shape
    n = len(x) - q
    for j in range(q):
        for a in range(m):
            i = neighbors[j, a]
            for c in range(x.shape[1]):
                x[n + j, c] -= columns[j, a] * x[i, c]
        for c in range(x.shape[1]):
            x[n + j, c] /= columns[j, m]


@njit(nogil=True, cache=True)
def _begin(neighbors, columns, x):
    """``V⁻¹ x`` from the last rows, those before them left to do, in place."""
    q, m = neighbors.shape
    n = len(x) - q
    for j in range(q - 1, -1, -1):
        for c in range(x.shape[1]):
            x[n + j, c] /= columns[j, m]
        for a in range(m):
            i = neighbors[j, a]
            for c in range(x.shape[1]):
                x[i, c] -= columns[j, a] * x[n + j, c]
