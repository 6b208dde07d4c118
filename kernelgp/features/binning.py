"""Random binning: a Laplacian kernel from random grids, one entry a grid.

References
----------
A. Rahimi and B. Recht, *Random features for large-scale kernel machines*, 2007, algorithm 2.
"""

import math
from typing import Any, Self

import numpy as np
import scipy.sparse
import torch
from numba import njit
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils import Tags
from sklearn.utils.validation import check_is_fitted

from kernelgp.arrays import from_torch
from kernelgp.errors import ArgumentError
from kernelgp.features.splitmix import mix
from kernelgp.features.transformer import default_kernel, validate_data
from kernelgp.random import RandomState, as_generator
from kernelgp.validation import check_count, check_positive

__all__ = ["RandomBinning"]


class RandomBinning(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):
    """Sparse features of the Laplacian kernel ``exp(-Σ_j |x_j - y_j| / lengthscale_j)``.

    A column is a cell of one of `n_grids` random grids that rows of `fit` fell into; a row has one
    entry for each grid, or none where its cell is new. So products with the rows of `fit` are as
    for infinitely many columns, and new rows far from all of them are zero.

    Parameters
    ----------
    lengthscale : float, sequence of d floats, or None
        None is half the spread of each column times the root of their number.
    n_grids
        Entries of a row; the error falls with its root.
    random_state : int, numpy Generator or RandomState, torch Generator, or None

    Attributes
    ----------
    pitches_, shifts_ : ndarray, shape (n_grids, d)
        Of the grids.
    cells_ : ndarray of uint64, shape (n_columns,)
        Names of the cells: 64 bits of a hash of their place.

    Notes
    -----
    The kernel is a product over the inputs, which is not `Matern(0.5)` of several inputs.
    `partial_fit` appends columns for new cells and leaves the others where they are.

    Examples
    --------
    >>> X = np.random.default_rng(0).uniform(size=(100, 2))
    >>> Z = RandomBinning(0.5, n_grids=2000, random_state=0).fit_transform(X)
    >>> K = np.exp(-np.abs(X[:, None] - X).sum(axis=-1) / 0.5)
    >>> bool(np.abs((Z @ Z.T).toarray() - K).max() < 0.06)
    True
    """

    def __init__(
        self,
        lengthscale: Any = None,
        n_grids: int = 256,
        *,
        random_state: RandomState = None,
    ) -> None:
        self.lengthscale = lengthscale
        self.n_grids = n_grids
        self.random_state = random_state

    def fit(self, X: Any, y: Any = None) -> Self:
        """Draw the grids, and name the cells that the rows of X fall into."""
        del y
        array = validate_data(self, from_torch(X, None)[0], **_READ)
        n_grids, d = check_count("n_grids", self.n_grids), array.shape[1]
        scales = self._lengthscales(array, d)
        generator = as_generator(self.random_state)
        exponentials = -torch.rand(2, n_grids, d, generator=generator, dtype=torch.float64).log()
        uniform = torch.rand(n_grids, d, generator=generator, dtype=torch.float64).numpy()
        # A hat of width w at distance t is max(0, 1 - t / w); with w of density w exp(-w) they
        # sum to exp(-t): pitches are Gamma(2), sums of two exponentials.
        self.pitches_ = exponentials.sum(dim=0).numpy() * scales
        self.shifts_ = uniform * self.pitches_
        self.cells_, self._order = np.empty(0, np.uint64), np.empty(0, np.int64)
        return self._add(array)

    def partial_fit(self, X: Any, y: Any = None) -> Self:
        """`fit` with the first rows; later ones add columns for the cells that are new."""
        if not hasattr(self, "cells_"):
            return self.fit(X, y)
        return self._add(validate_data(self, from_torch(X, None)[0], reset=False, **_READ))

    def transform(self, X: Any) -> scipy.sparse.csr_array:
        """Sparse features, (n, n_columns), with ``1 / √n_grids`` in the cells of a row."""
        check_is_fitted(self)
        array = validate_data(self, from_torch(X, None)[0], reset=False, **_READ)
        names = self._names(array)
        place = np.searchsorted(self.cells_[self._order], names)
        place = self._order[np.minimum(place, len(self._order) - 1)]
        known = self.cells_[place] == names
        starts = np.concatenate([[0], np.cumsum(known.sum(axis=1))])
        values = np.full(starts[-1], 1 / math.sqrt(len(self.pitches_)), array.dtype)
        shape = (len(names), self._n_features_out)
        return scipy.sparse.csr_array((values, place[known], starts), shape=shape)

    @property
    def _n_features_out(self) -> int:
        return len(self.cells_)

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        assert tags.transformer_tags is not None
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags

    def _add(self, array: NDArray[Any]) -> Self:
        new = np.setdiff1d(self._names(array), self.cells_)
        self.cells_ = np.concatenate([self.cells_, new])
        self._order = np.argsort(self.cells_)
        return self

    def _names(self, array: Any) -> NDArray[np.uint64]:
        """The cell of every row in every grid, (n, n_grids)."""
        dense = array.toarray() if scipy.sparse.issparse(array) else array
        out = np.empty((len(dense), len(self.pitches_)), np.uint64)
        points = np.ascontiguousarray(dense, dtype=np.float64)
        _name_cells(points, self.pitches_, self.shifts_, out)
        return out

    def _lengthscales(self, array: Any, d: int) -> NDArray[np.float64]:
        if self.lengthscale is None:
            return default_kernel(array).lengthscale.detach().numpy().reshape(d)
        scales = check_positive("lengthscale", self.lengthscale).detach().cpu().numpy()
        if scales.size not in (1, d):
            given = f"{scales.size} numbers for {d} columns"
            raise ArgumentError("lengthscale", given, "give one, or one for each column")
        return np.broadcast_to(scales.reshape(-1), (d,))


_READ: dict[str, Any] = {"accept_sparse": "csr", "dtype": [np.float64, np.float32]}


@njit(nogil=True, cache=True)
def _name_cells(points, pitches, shifts, out):
    for i in range(points.shape[0]):
        for g in range(pitches.shape[0]):
            h = mix(np.uint64(g))
            for j in range(points.shape[1]):
                cell = np.floor((points[i, j] - shifts[g, j]) / pitches[g, j]) + 0.0
                h = mix(h ^ np.float64(cell).view(np.uint64))
            out[i, g] = h
