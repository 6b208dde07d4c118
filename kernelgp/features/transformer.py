"""What the scikit-learn transformers of features share: the door, the stream, the module."""

from abc import abstractmethod
from copy import deepcopy
from typing import Any, Self, cast

import numpy as np
import torch
from scipy import sparse
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils import Tags, sparsefuncs
from sklearn.utils import validation as sklearn_validation
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from kernelgp.arrays import from_torch
from kernelgp.errors import ArgumentError
from kernelgp.features.map import FeatureMap
from kernelgp.features.sampler import read_kernel
from kernelgp.kernels import RBF
from kernelgp.random import RandomState, as_generator
from kernelgp.validation import check_count

__all__ = ["FeatureTransformer"]

# scikit-learn's function has no types; what it returns depends on what it is given.
validate_data: Any = sklearn_validation.validate_data
mean_variance_axis: Any = sparsefuncs.mean_variance_axis
_READ: dict[str, Any] = {"accept_sparse": "csr", "dtype": [np.float64, np.float32]}
# Entries of a block of rows and of its features: 16 MB in float32, so that both stay in cache.
_BLOCK = 2**22


class FeatureTransformer(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):
    """A transformer that draws a `FeatureMap` in `fit` and streams rows through it.

    A subclass stores its arguments, `n_components` and `random_state` among them, and says
    `_make_map`. Arrays and frames are numpy inside; a torch tensor gives a torch tensor back, on
    its device, without a graph: `as_module` has one.

    Attributes
    ----------
    kernel_ : Kernel
        In the units of the inputs.
    n_features_in_ : int
    feature_names_in_ : ndarray of str
        Where X has names.
    """

    kernel: Any
    n_components: int
    random_state: RandomState

    @abstractmethod
    def _make_map(self, kernel: Any, d: int, generator: torch.Generator) -> FeatureMap:
        """The map for points of d columns."""

    def fit(self, X: Any, y: Any = None) -> Self:
        """Draw the map for as many columns as X has.

        Parameters
        ----------
        X : array, frame, sparse matrix or Tensor, shape (n, d)
        y
            Ignored.
        """
        del y
        array = validate_data(self, from_torch(X, None)[0], **_READ)
        d = array.shape[1]
        kernel = self._read_kernel(d, lambda: default_kernel(array))
        self._set_map(self._make_map(kernel, d, as_generator(self.random_state)))
        self._look_at(array)
        return self

    def partial_fit(self, X: Any, y: Any = None) -> Self:
        """Draw the map with the first block of rows; later ones are checked only."""
        if not hasattr(self, "n_features_in_"):
            return self.fit(X, y)
        validate_data(self, from_torch(X, None)[0], reset=False, **_READ)
        return self

    def transform(self, X: Any) -> Any:
        """Features, shape (n, n_components), in the dtype of X; integers give float64."""
        check_is_fitted(self)
        array = validate_data(self, from_torch(X, None)[0], reset=False, **_READ)
        device = X.device if isinstance(X, Tensor) else torch.device("cpu")
        found = self._stream(array, device)
        return found if isinstance(X, Tensor) else found.numpy()

    def as_module(self, d: int | None = None) -> FeatureMap:
        """The map as a torch module.

        It has buffers, `redraw()`, and the kernel's hyperparameters as parameters.

        Parameters
        ----------
        d
            Number of inputs, of a module drawn from `random_state`; `fit` is not needed. None for
            a copy of the map that `fit` drew.

        Returns
        -------
        FeatureMap
            From points (..., d) to features (..., n_components).
        """
        if d is None:
            check_is_fitted(self)
            return deepcopy(self._map)
        d = check_count("d", d)
        kernel = self._read_kernel(d, RBF)
        return self._make_map(kernel, d, as_generator(self.random_state))

    @property
    def kernel_(self) -> Any:
        check_is_fitted(self)
        return self._kernel_of(self._map)

    @property
    def _n_features_out(self) -> int:
        return self._map.n_components

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "_map")

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        assert tags.transformer_tags is not None
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags

    def _set_map(self, found: FeatureMap) -> None:
        self._map = found

    def _look_at(self, array: Any) -> None:
        """Learn from the rows that `fit` got; most maps need nothing of them."""

    def _check_features(self, result: Tensor) -> None:
        """Warn of features that are no good."""

    def _kernel_of(self, found: Any) -> Any:
        return found.frequencies.kernel

    def _read_kernel(self, d: int, default: Any) -> Any:
        check_count("n_components", self.n_components)
        kernel = default() if self.kernel is None else self.kernel
        return read_kernel(kernel, d)

    @torch.no_grad()
    def _stream(self, array: Any, device: torch.device) -> Tensor:
        """The features of all rows, a block at a time."""
        dtype = torch.float32 if array.dtype == np.float32 else torch.float64
        found = self._map if device.type == "cpu" else deepcopy(self._map).to(device)
        n, d = array.shape
        # numpy asks the system for large pages, which torch does not.
        empty = np.empty((n, self._n_features_out), array.dtype)
        result = torch.from_numpy(empty).to(device, dtype)
        features = found.prepare(result)
        step = max(1, _BLOCK // max(d, self._n_features_out))
        for start in range(0, n, step):
            rows = array[start : start + step]
            rows = rows.toarray() if sparse.issparse(rows) else np.ascontiguousarray(rows)
            points, place = as_tensor(rows).to(device), result[start : start + step]
            if hasattr(features, "fill"):
                cast(Any, features).fill(points, place)
            else:
                place.copy_(features(points))
        self._check_features(result)
        return result


def as_tensor(array: Any) -> Tensor:
    """A tensor on the memory of an array, which is not written to."""
    if not array.flags.writeable:
        array = array.copy()
    return torch.from_numpy(array)


def default_kernel(array: Any) -> Any:
    """ARD RBF with lengthscales of half the spread of each column times the root of their number.

    Where a column does not vary, its lengthscale is that root.
    """
    spread = np.sqrt(column_moments(array)[1])
    spread[spread == 0] = 1.0
    return RBF(lengthscale=torch.from_numpy(0.5 * np.sqrt(len(spread)) * spread).reshape(1, -1))


def column_moments(array: Any) -> tuple[Any, Any]:
    """Mean and variance of every column of a dense or sparse array, float64."""
    if sparse.issparse(array):
        mean, variance = mean_variance_axis(array.astype(np.float64), axis=0)
    else:
        values = array.astype(np.float64, copy=False)
        mean, variance = values.mean(axis=0), np.var(values, axis=0)
    if not np.isfinite(variance).all():
        given = f"values up to {np.abs(array).max():.3g}"
        raise ArgumentError("X", given, "rescale them: float64 cannot hold their squares")
    return mean, variance
