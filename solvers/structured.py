"""The discrete equation on all axes, and its direct solve in O(r³) in 2-D, O(r⁴) in 3-D.

Coefficients C, one axis of the tensor for each axis of the box, hold the solution
``u(x, y) = Σ C_ij q_i(x) q_j(y)``. In rotated coordinates the faces fix the leading blocks
of C, and one interior block is left, whose equation is a `KroneckerSumOperator`. Everything
is a linear map of the data, so the same code serves samples and, transposed, deviations.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, reduce

import numpy as np
import scipy.linalg
from numpy.typing import NDArray

from solvers.discretisation import AxisDiscretisation
from solvers.interior import InteriorSystem
from solvers.periodic_axis import PeriodicAxis
from solvers.separation import Separation
from solvers.tensors import along, along_all

__all__ = ["Axis", "Data", "StructuredEquation"]

Array = NDArray[np.float64]
Axis = AxisDiscretisation | PeriodicAxis

# Relative to the operator on a function of the size of the box.
_SHIFT = 1e-5


@dataclass(frozen=True, slots=True)
class Data:
    """Compressed data: the source, and for each axis the values on its conditioned faces.

    Attributes
    ----------
    source : ndarray, shape (p1, ..., pd) or (p1, ..., pd, k)
        k is a batch.
    faces : tuple of ndarrays
        Entry i has shape (p1, ..., mi, ..., pd) or (..., k): face values along axis i.
    """

    source: Array
    faces: tuple[Array, ...]

    def plus(self, other: "Data") -> "Data":
        faces = (one + two for one, two in zip(self.faces, other.faces, strict=True))
        return Data(self.source + other.source, tuple(faces))


class StructuredEquation:
    """``Σi A_i ⊗ Π B_k`` and `mixed` terms, with conditions on the faces.

    Parameters
    ----------
    axes
        One discretisation for each axis.
    separation : Separation
        The operator that they discretise.
    free_constant : bool
        Whether equation and conditions leave a constant free. The solution then has mean zero.

    Raises
    ------
    ArgumentError
        From `solve`, if the discrete equation is singular.
    """

    def __init__(
        self,
        axes: Sequence[Axis],
        separation: Separation,
        *,
        free_constant: bool = False,
    ) -> None:
        self.axes, self.separation = tuple(axes), separation
        self.free_constant = free_constant
        free = [axis.rotation[:, axis.n_conditions :] for axis in axes]
        products = [
            [a.test.T @ m @ f for a, m, f in zip(axes, matrices, free, strict=True)]
            for matrices in self._mixed_products
        ]
        shift = self._shift if free_constant else 0.0
        self.system = InteriorSystem([axis.pencil for axis in axes], products, shift=shift)

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(axis.basis.rank for axis in self.axes)

    def compress(self, source: Array, faces: Sequence[Sequence[Array]]) -> Data:
        """Data on the grid to data in the row spaces.

        Parameters
        ----------
        source : ndarray, shape (n1, ..., nd)
        faces : one sequence for each axis
            An array of shape (n1, ..., nd) without this axis for every condition on it.
        """
        rows = [axis.rows.T for axis in self.axes]
        compressed = []
        for i, values in enumerate(faces):
            stacked = np.stack(values, i) if values else np.zeros(_without(source.shape, i, 0))
            for j, row in enumerate(rows):
                stacked = stacked if j == i else along(row, stacked, j)
            compressed.append(stacked)
        return Data(along_all(rows, source), tuple(compressed))

    def data_of(self, coefficients: Array) -> Data:
        """What the solution with these coefficients would have as data."""
        faces = []
        for i, axis in enumerate(self.axes):
            matrices = [a.value for a in self.axes]
            matrices[i] = axis.boundary
            faces.append(along_all(matrices, coefficients))
        return Data(self.apply(coefficients), tuple(faces))

    def apply(self, coefficients: Array) -> Array:
        """The equation's left side in the row spaces."""
        return reduce(np.add, (along_all(m, coefficients) for m in self.products))

    def apply_transposed(self, residual: Array) -> Array:
        return reduce(np.add, (along_all([m.T for m in ms], residual) for ms in self.products))

    def solve(self, data: Data) -> Array:
        """Coefficients of the solution, shape (r1, ..., rd) or (r1, ..., rd, k).

        One step of refinement: it takes the rounding of the triangular sweeps out, which
        otherwise exceeds the posterior standard deviation on parabolic problems.
        """
        known = self.of_faces(data)
        solution = self.inside(data.source - self.apply(known))
        for _ in range(1):
            solution += self.inside(data.source - self.apply(known + solution))
        return self.centre(known + solution)

    def centre(self, coefficients: Array) -> Array:
        """Without the mean over the box, where a constant is free."""
        if not self.free_constant:
            return coefficients
        means = [c[None] / (a.basis.upper - a.basis.lower) for c, a in self._constants]
        return coefficients - along_all(
            [c[:, None] for c, _ in self._constants], along_all(means, coefficients)
        )

    def centre_transposed(self, functional: Array) -> Array:
        """The functional of the centred solution that this one is."""
        if not self.free_constant:
            return functional
        means = [c[:, None] / (a.basis.upper - a.basis.lower) for c, a in self._constants]
        return functional - along_all(
            means, along_all([c[None] for c, _ in self._constants], functional)
        )

    def adjoint(self, functional: Array) -> Data:
        """Weights w of the data for which ``<w, data> = <functional, solve(data)>``.

        Parameters
        ----------
        functional : ndarray, shape (r1, ..., rd, k)
        """
        functional = self.centre_transposed(functional)
        rotated = along_all([axis.rotation.T for axis in self.axes], functional)
        interior = rotated[self._interior]
        weights = along_all([a.test for a in self.axes], self.system.solve_transposed(interior))
        back = along_all([a.rotation.T for a in self.axes], self.apply_transposed(weights))
        return Data(weights, self._of_faces_transposed(rotated - back))

    def of_faces_transposed(self, functional: Array) -> tuple[Array, ...]:
        """Weights of the face values for which ``<w, faces> = <functional, of_faces(data)>``."""
        return self._of_faces_transposed(along_all([a.rotation.T for a in self.axes], functional))

    def _of_faces_transposed(self, rotated: Array) -> tuple[Array, ...]:
        rotated[self._interior] = 0
        faces: list[Array] = [np.zeros(0)] * len(self.axes)
        # The faces written last in `of_faces` are read first.
        for i in reversed(range(len(self.axes))):
            axis, index = self.axes[i], self._block(i)
            block = along(_inverse(axis.boundary_factor).T, rotated[index], i)
            rotated[index] = 0
            for j, other in enumerate(self.axes):
                if j != i:
                    block = along(other.fit.T @ other.rotation, block, j)
            faces[i] = block
        return tuple(faces)

    def logabsdet(self) -> float:
        """Log of the absolute determinant of the square system, faces and interior."""
        total = self.system.logabsdet()
        free = [axis.basis.rank for axis in self.axes]
        for i, axis in reversed(list(enumerate(self.axes))):
            # Axis i takes the corners that the axes after it have not taken.
            diagonal = np.abs(np.diag(axis.boundary_factor))
            others = math.prod(n for k, n in enumerate(free) if k != i)
            total += others * float(np.log(diagonal).sum())
            free[i] -= axis.n_conditions
        return total

    @cached_property
    def _constants(self) -> list[tuple[Array, Axis]]:
        """Coefficients of the function one on each axis: its products with the orthonormal q."""
        return [(a.basis.evaluate(a.basis.nodes)[0].T @ a.basis.node_weights, a) for a in self.axes]

    @property
    def _shift(self) -> float:
        """Far below the least eigenvalue that is not zero, on the side where there is none."""
        left = self.separation.left[0]
        sizes = [
            max(
                (abs(c) / (a.basis.upper - a.basis.lower) ** k for k, c in operator.items()),
                default=0.0,
            )
            for operator, a in zip(self.separation.left, self.axes, strict=True)
        ]
        return -math.copysign(_SHIFT * min(sizes), left[max(left)])

    @cached_property
    def products(self) -> list[list[Array]]:
        """The operator as a list of products, one matrix for each axis."""
        products = []
        for i in range(len(self.axes)):
            chosen = [a.left if j == i else a.right for j, a in enumerate(self.axes)]
            products.append(chosen)
        return products + self._mixed_products

    @cached_property
    def _mixed_products(self) -> list[list[Array]]:
        products = []
        for orders, coefficient in self.separation.mixed.items():
            first, *rest = [a.mixed[k] for k, a in zip(orders, self.axes, strict=True)]
            products.append([coefficient * first, *rest])
        return products

    def of_faces(self, data: Data) -> Array:
        """Coefficients that the faces alone determine; where two faces meet the last one wins."""
        batch = data.source.shape[len(self.axes) :]
        known = np.zeros((*self.shape, *batch))
        for i, axis in enumerate(self.axes):
            block = data.faces[i]
            for j, other in enumerate(self.axes):
                if j != i:
                    block = along(other.rotation.T @ other.fit, block, j)
            known[self._block(i)] = along(_inverse(axis.boundary_factor), block, i)
        return along_all([axis.rotation for axis in self.axes], known)

    def _block(self, i: int) -> tuple[slice, ...]:
        """Where the conditions on axis i stand in rotated coefficients."""
        return (*(slice(None) for _ in range(i)), slice(self.axes[i].n_conditions))

    @property
    def _interior(self) -> tuple[slice, ...]:
        return tuple(slice(axis.n_conditions, None) for axis in self.axes)

    def inside(self, residual: Array) -> Array:
        """The coefficients, zero on the faces, that answer a residual of the equation."""
        projected = along_all([axis.test.T for axis in self.axes], residual)
        free = [axis.rotation[:, axis.n_conditions :] for axis in self.axes]
        return along_all(free, self.system.solve(projected))


def _without(shape: tuple[int, ...], axis: int, size: int) -> tuple[int, ...]:
    return (*shape[:axis], size, *shape[axis + 1 :])


def _inverse(lower: Array) -> Array:
    return np.asarray(scipy.linalg.solve_triangular(lower, np.eye(len(lower)), lower=True))
