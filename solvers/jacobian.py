"""A linear operator whose coefficients vary on a grid, inside the faces of a neighbour's bases.

Newton's method solves with it at every step, and deviations with it at the solution. On the
test space of the neighbour it is a square matrix that is never formed unless Krylov's method,
preconditioned by the neighbour's direct solve, gets nowhere.
"""

import math
import warnings
from collections.abc import Sequence
from functools import cached_property, reduce
from typing import Any

import numpy as np
import scipy.linalg
from numpy.typing import NDArray

from solvers.krylov import gmres_together
from solvers.structured import StructuredEquation
from solvers.tensors import along_all

__all__ = ["GridTerm", "Jacobian", "grid_rows"]

Array = NDArray[np.float64]
#: Orders of a derivative and its coefficient: a number, or an array of the grid's shape.
GridTerm = tuple[tuple[int, ...], float | Array]

# Iterations before and where there is nothing else; unknowns of a system factored densely.
_FEW_ITERATIONS, _MOST_ITERATIONS = 60, 200
_MOST_DENSE = 3600
# Systems so small are factored at once.
_SMALL = 400


def grid_rows(equation: StructuredEquation, orders: Sequence[tuple[int, ...]]) -> list[Array]:
    """Every axis's basis on its grid with the derivatives needed, shape (order + 1, n, r)."""
    highest = [max(o[i] for o in orders) for i in range(len(equation.axes))]
    return [a.basis.evaluate(a.grid, k) for a, k in zip(equation.axes, highest, strict=True)]


class Jacobian:
    """``Σ coefficient ∂^orders`` on the grid, in coefficients of a structured equation.

    Parameters
    ----------
    equation : StructuredEquation
        The linear neighbour: its bases, its conditions, its direct solve.
    terms : sequence of GridTerm
    rows : list of ndarrays, optional
        What `grid_rows` gives for the orders in `terms`, where it is known.
    dense : bool
        Whether to form and factor the matrix at once, where it is small enough for that.

    Attributes
    ----------
    is_dense : bool
        Whether it is factored: small, asked for, or Krylov's method has got nowhere.
    inexact : float
        The relative residual that Krylov's method has left at worst, where it ended too early.
    """

    def __init__(
        self,
        equation: StructuredEquation,
        terms: Sequence[GridTerm],
        rows: Sequence[Array] | None = None,
        *,
        dense: bool = False,
    ) -> None:
        self.equation, self.terms = equation, list(terms)
        self.inexact = 0.0
        self._rows = rows or grid_rows(equation, [orders for orders, _ in terms])
        self._free = [a.rotation[:, a.n_conditions :] for a in equation.axes]
        self.is_dense = self._may_be_dense and (dense or self._size <= _SMALL)

    def apply(self, coefficients: Array) -> Array:
        """On the grid, shape (n1, ..., nd) or (n1, ..., nd, k) as the coefficients."""
        return sum(
            (
                _times(c, along_all(self._at(orders), coefficients), len(self._free))
                for orders, c in self.terms
            ),
            np.zeros(1),
        )

    def apply_transposed(self, values: Array) -> Array:
        """From the grid back to coefficients."""
        d = len(self._free)
        return sum(
            (
                along_all([m.T for m in self._at(orders)], _times(c, values, d))
                for orders, c in self.terms
            ),
            np.zeros(1),
        )

    def compress(self, on_grid: Array) -> Array:
        """Values on the grid in the row spaces."""
        return along_all([a.rows.T for a in self.equation.axes], on_grid)

    def variance(self, factors: Sequence[Array]) -> Array:
        """Of this operator on a prior whose coefficients have these factors, on the grid."""
        at = [[m @ f for m, f in zip(self._at(o), factors, strict=True)] for o, _ in self.terms]
        total = np.zeros([len(a.grid) for a in self.equation.axes])
        for one, (_, c) in zip(at, self.terms, strict=True):
            for other, (_, e) in zip(at, self.terms, strict=True):
                products = [np.sum(a * b, axis=1) for a, b in zip(one, other, strict=True)]
                total = total + c * e * reduce(np.multiply.outer, products)
        return total

    def solve(self, residual: Array, rtol: float) -> Array:
        """Coefficients, zero on the faces, that answer a residual in the row spaces.

        Parameters
        ----------
        residual : ndarray, shape (p1, ..., pd, k)
        rtol : float
            Of the preconditioned residual.
        """
        projected = along_all([a.test.T for a in self.equation.axes], residual)
        return self.solve_tested(projected, rtol)

    def solve_tested(self, projected: Array, rtol: float) -> Array:
        """The same from a residual's products with the test functions."""
        equation = self.equation
        if self.is_dense:
            return along_all(self._free, self._dense_solve(projected, transposed=False))

        def product(v: Array) -> Array:
            inside = self._product(v.reshape(projected.shape))
            return equation.system.solve(inside).reshape(v.shape)

        start = equation.system.solve(projected)
        found = self._krylov(product, start, rtol)
        if found is None:
            return self.solve_tested(projected, rtol)
        return along_all(self._free, found)

    def solve_transposed(self, functional: Array, rtol: float) -> Array:
        """Weights in the row spaces for which ``<w, residual> = <functional, solve(residual)>``.

        Parameters
        ----------
        functional : ndarray, shape (r1, ..., rd, k)
        """
        equation = self.equation
        interior = along_all([f.T for f in self._free], functional)
        tests = [a.test for a in equation.axes]
        if self.is_dense:
            return along_all(tests, self._dense_solve(interior, transposed=True))

        def product(v: Array) -> Array:
            weights = equation.system.solve_transposed(v.reshape(interior.shape))
            return self._product_transposed(weights).reshape(v.shape)

        found = self._krylov(product, interior, rtol)
        if found is None:
            return self.solve_transposed(functional, rtol)
        return along_all(tests, equation.system.solve_transposed(found))

    def _krylov(self, product: Any, rhs: Array, rtol: float) -> Array | None:
        """None where the matrix had better be formed."""
        most = _FEW_ITERATIONS if self._may_be_dense else _MOST_ITERATIONS
        flat = rhs.reshape(-1, rhs.shape[-1])
        found, left = gmres_together(product, flat, rtol=rtol, max_iterations=most)
        if left > rtol:
            self.is_dense = self._may_be_dense
            self.inexact = max(self.inexact, left)
        return None if self.is_dense else found.reshape(rhs.shape)

    @property
    def _may_be_dense(self) -> bool:
        """Whether the matrix can be formed, and factored in seconds."""
        return len(self._free) <= 2 and self._size <= _MOST_DENSE

    @property
    def _size(self) -> int:
        return math.prod(f.shape[1] for f in self._free)

    def _at(self, orders: Sequence[int]) -> list[Array]:
        return [r[k] for r, k in zip(self._rows, orders, strict=True)]

    def _product(self, interior: Array) -> Array:
        on_grid = self.apply(along_all(self._free, interior))
        return along_all([a.test.T for a in self.equation.axes], self.compress(on_grid))

    def _product_transposed(self, weights: Array) -> Array:
        on_grid = along_all([a.rows @ a.test for a in self.equation.axes], weights)
        return along_all([f.T for f in self._free], self.apply_transposed(on_grid))

    def _dense_solve(self, rhs: Array, *, transposed: bool) -> Array:
        flat = rhs.reshape(self._size, -1)
        return scipy.linalg.lu_solve(self._factor, flat, trans=int(transposed)).reshape(rhs.shape)

    @cached_property
    def _factor(self) -> Any:
        matrix = self.matrix()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", scipy.linalg.LinAlgWarning)
            factor = scipy.linalg.lu_factor(matrix, check_finite=False)
        if not np.diag(factor[0]).all() or not np.isfinite(factor[0]).all():
            raise np.linalg.LinAlgError("the linearised equation is singular")
        return factor

    def matrix(self) -> Array:
        """Test functions times this operator on the free coefficients, (n, n)."""
        axes = self.equation.axes
        tests = [axis.rows @ axis.test for axis in axes]
        sizes = [f.shape[1] for f in self._free]
        shape = tuple(len(axis.grid) for axis in axes)
        if len(axes) == 1:
            (w,), (f,) = tests, self._free
            parts = [_times(c, self._at(o)[0] @ f, 1) for o, c in self.terms]
            return w.T @ np.sum(parts, axis=0)
        total = np.zeros((sizes[0] ** 2, math.prod(sizes[1:]) ** 2))
        for orders, coefficient in self.terms:
            # Test function times trial function, at every point of an axis.
            pairs = [
                np.einsum("np,ni->npi", w, rows @ f).reshape(len(w), -1)
                for w, rows, f in zip(tests, self._at(orders), self._free, strict=True)
            ]
            pairs.append(np.ones((1, 1)))
            weight = np.broadcast_to(coefficient, shape).reshape(len(pairs[0]), -1)
            total += pairs[0].T @ (weight @ pairs[1])
        inner = math.prod(sizes[1:])
        matrix = total.reshape(sizes[0], sizes[0], inner, inner).transpose(0, 2, 1, 3)
        n = math.prod(sizes)
        return matrix.reshape(n, n)


def _times(coefficient: float | Array, values: Array, dimension: int) -> Array:
    if np.ndim(coefficient) and values.ndim > dimension:
        coefficient = np.asarray(coefficient)[..., None]
    return coefficient * values
