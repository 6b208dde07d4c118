"""Features of a prior on a box: products of those of its axes, whitened, the negligible left out.

A function is ``u(x) = Σ φj(x) cj`` with coefficients that are independent standard normal
numbers, which is the form that a least squares solve wants: no prior matrix is left. On each axis
``φ = q U S`` with ``G = U S Vᵀ`` the prior factor of its basis, so that a feature's scale is its
prior standard deviation. In more dimensions most products are below rounding and are dropped,
which leaves about half of them in two dimensions and a fifth in three.
"""

import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from solvers.axis_basis import AxisBasis, Component
from solvers.fourier_basis import FourierBasis

__all__ = ["Axis", "FeatureBasis"]

Array = NDArray[np.float64]
Orders = tuple[int, ...]
#: Functions on one axis and a prior on their coefficients.
Axis = AxisBasis | FourierBasis

# Prior standard deviation of a feature, relative to the largest. Derivatives raise the smallest
# by several orders, so the cut is at rounding and not at the nugget of the rows.
_NEGLIGIBLE = 1e-16


class FeatureBasis:
    """Functions on a box whose coefficients are a priori independent and of unit variance.

    Parameters
    ----------
    axes : sequence of AxisBasis or FourierBasis
        One for each axis of the box.
    negligible
        Prior deviation, relative to the largest, below which a product is left out.

    Attributes
    ----------
    indices : int ndarray, shape (d, p)
        Which function of each axis makes each feature.

    Examples
    --------
    >>> line = AxisBasis(0.0, 1.0, [Component(0.0, 0.5)])
    >>> plane = FeatureBasis([line, line])
    >>> plane.size < line.rank**2
    True
    >>> features = plane.at_points(np.array([[0.1, 0.2], [0.4, 0.6]]), (0, 0))
    >>> (features @ features.T).round(12)  # exp(-(0.3² + 0.4²) / (2 * 0.5²)) off the diagonal
    array([[1.        , 0.60653066],
           [0.60653066, 1.        ]])
    """

    def __init__(self, axes: Sequence[Axis], *, negligible: float = _NEGLIGIBLE) -> None:
        self.axes = tuple(axes)
        self._whitened = []
        product = np.ones(())
        for axis in axes:
            vectors, sd, _ = np.linalg.svd(axis.prior_factor)
            self._whitened.append(vectors * sd)
            product = np.multiply.outer(product, sd / sd[0])
        self.indices = np.stack(np.nonzero(product > negligible))

    @property
    def size(self) -> int:
        """The number of features."""
        return self.indices.shape[1]

    @property
    def dimension(self) -> int:
        return len(self.axes)

    def along(self, k: int, x: Array, order: int = 0) -> Array:
        """The functions of axis k, or a derivative, at its coordinates `x`: shape (n, r)."""
        return self.axes[k].evaluate(np.asarray(x, float), order)[order] @ self._whitened[k]

    def at_points(self, points: Array, orders: Orders) -> Array:
        """A derivative of all features at points of shape (m, d): shape (m, p)."""
        features = np.ones((len(points), self.size))
        for k, (x, order) in enumerate(zip(points.T, orders, strict=True)):
            features *= self.along(k, x, order)[:, self.indices[k]]
        return features

    def on_axes(self, matrices: Sequence[Array]) -> Array:
        """The features under one functional matrix (n_k, r_k) for each axis: (n1 ... nd, p)."""
        features = np.ones((1, self.size))
        for matrix, index in zip(matrices, self.indices, strict=True):
            features = features[:, None, :] * matrix[None, :, index]
            features = features.reshape(-1, self.size)
        return features

    def combine_on_axes(self, matrices: Sequence[Array], coefficients: Array) -> Array:
        """``on_axes(matrices) @ coefficients`` without the large matrix: shape (n1, ..., nd, k).

        Parameters
        ----------
        matrices
        coefficients : ndarray, shape (p, k)
        """
        sizes = [matrix.shape[1] for matrix in matrices]
        tensor = np.zeros((*sizes, coefficients.shape[1]))
        tensor[tuple(self.indices)] = coefficients
        for k, matrix in enumerate(matrices):
            tensor = np.moveaxis(np.tensordot(matrix, tensor, (1, k)), 0, k)
        return tensor

    def arrays(self, prefix: str) -> dict[str, Array]:
        """What `from_arrays` needs, by name."""
        arrays: dict[str, Array] = {}
        for k, axis in enumerate(self.axes):
            name = f"{prefix}/axis{k}"
            arrays[f"{name}/factor0"] = axis.factor[0].astype(np.float64)
            arrays[f"{name}/factor1"] = axis.factor[1]
            arrays[f"{name}/whitened"] = self._whitened[k]
            rows = [(axis.lower, axis.upper, 0.0)]
            rows += [(c.frequency, c.lengthscale, c.weight) for c in axis.components]
            arrays[f"{name}/components"] = np.array(rows)
        arrays[f"{prefix}/indices"] = self.indices.astype(np.float64)
        return arrays

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Array], prefix: str) -> "FeatureBasis":
        """The basis that `arrays` was taken from, to the last digit."""
        self = cls.__new__(cls)
        self.indices = np.array(arrays[f"{prefix}/indices"]).astype(np.intp)
        axes, self._whitened = [], []
        for k in range(len(self.indices)):
            name = f"{prefix}/axis{k}"
            (lower, upper, _), *rows = np.array(arrays[f"{name}/components"])
            components = [Component(float(f), float(w), float(s)) for f, w, s in rows]
            order = np.array(arrays[f"{name}/factor0"]).astype(np.intp)
            factor = order, np.array(arrays[f"{name}/factor1"])
            ends = float(lower), float(upper)
            axes.append(
                AxisBasis(*ends, components, factor=factor)
                if len(order)
                else FourierBasis(*ends, components)
            )
            self._whitened.append(np.array(arrays[f"{name}/whitened"]))
        self.axes = tuple(axes)
        return self

    def __repr__(self) -> str:
        ranks = " x ".join(str(axis.rank) for axis in self.axes)
        return f"FeatureBasis({self.size} of {ranks} features)"

    @property
    def full_size(self) -> int:
        """The number of products before the negligible ones are dropped."""
        return math.prod(axis.rank for axis in self.axes)
