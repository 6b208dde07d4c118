"""The square system inside the faces: direct where it separates, preconditioned where not.

Without mixed derivatives it is one `KroneckerSumOperator`, solved by QZ. A mixed derivative
that does not fit into two products (``u_xx + u_xy + u_yy``) is added as further products;
small systems are then factored densely, larger ones iterated on with the separable part as
preconditioner.
"""

import math
import warnings
from collections.abc import Callable, Sequence
from functools import cached_property, reduce

import numpy as np
import scipy.linalg
import scipy.sparse.linalg
import torch
from numpy.typing import NDArray

from kernelgp.errors import ConvergenceWarning
from kernelgp.operators import KroneckerSumOperator
from solvers.tensors import along_all

__all__ = ["InteriorSystem"]

Array = NDArray[np.float64]

_MAX_ITERATIONS = 300
_RTOL = 1e-13


class InteriorSystem:
    """``Σi A_i ⊗ Π B_k + Σ products``, each factor a square matrix on one axis.

    Parameters
    ----------
    pencils
        ``(A, B)`` of every axis.
    products
        Further terms, one matrix for each axis.
    dense
        Up to this many unknowns a system with such terms is factored densely, which takes
        less than a second; an iteration is needed anew for every right-hand side.
    """

    def __init__(
        self,
        pencils: Sequence[tuple[Array, Array]],
        products: Sequence[Sequence[Array]] = (),
        *,
        dense: int = 2500,
    ) -> None:
        self.pencils, self.products = list(pencils), [list(p) for p in products]
        self._is_dense = bool(products) and self._size <= dense
        terms = [(torch.from_numpy(a.copy()), torch.from_numpy(b.copy())) for a, b in pencils]
        self.separable = KroneckerSumOperator(*terms)

    def solve(self, rhs: Array) -> Array:
        """Shape (s1, ..., sd) or (s1, ..., sd, k), as `rhs`."""
        if not self.products:
            return _direct(self.separable, rhs)
        if self._is_dense:
            return scipy.linalg.lu_solve(self._dense, rhs.reshape(self._size, -1)).reshape(
                rhs.shape
            )
        return self._iterate(
            lambda x: _sum(self._terms, x), lambda r: _direct(self.separable, r), rhs
        )

    def solve_transposed(self, rhs: Array) -> Array:
        if not self.products:
            return _direct(self.separable.mT, rhs)
        if self._is_dense:
            flat = rhs.reshape(self._size, -1)
            return scipy.linalg.lu_solve(self._dense, flat, trans=1).reshape(rhs.shape)
        terms = [[m.T for m in term] for term in self._terms]
        return self._iterate(lambda x: _sum(terms, x), lambda r: _direct(self.separable.mT, r), rhs)

    def logabsdet(self) -> float:
        """Log of the absolute determinant, without what products add to a large system."""
        if self._is_dense:
            return float(np.log(np.abs(np.diag(self._dense[0]))).sum())
        return float(self.separable.logdet())

    @cached_property
    def _terms(self) -> list[list[Array]]:
        """The whole operator as a list of products."""
        separable = [
            [a if j == i else b for j, (a, b) in enumerate(self.pencils)]
            for i in range(len(self.pencils))
        ]
        return separable + self.products

    @property
    def _shape(self) -> tuple[int, ...]:
        return tuple(a.shape[0] for a, _ in self.pencils)

    @property
    def _size(self) -> int:
        return math.prod(self._shape)

    @cached_property
    def _dense(self) -> tuple[Array, NDArray[np.int32]]:
        return scipy.linalg.lu_factor(reduce(np.add, (reduce(np.kron, t) for t in self._terms)))

    def _iterate(
        self, matmul: Callable[[Array], Array], precondition: Callable[[Array], Array], rhs: Array
    ) -> Array:
        """Full GMRES, preconditioned from the left, one right-hand side after another."""
        shape = self._shape
        columns = rhs.reshape(self._size, -1)
        preconditioned = scipy.sparse.linalg.LinearOperator(
            (self._size, self._size),
            matvec=lambda v: precondition(matmul(v.reshape(shape))).ravel(),
            dtype=np.float64,
        )
        solution, unsolved = np.empty_like(columns), 0.0
        for j in range(columns.shape[1]):
            start = precondition(columns[:, j].reshape(shape)).ravel()
            if not start.any():
                solution[:, j] = 0
                continue
            solution[:, j], _ = scipy.sparse.linalg.gmres(
                preconditioned, start, rtol=_RTOL, restart=_MAX_ITERATIONS, maxiter=1
            )
            error = np.linalg.norm(start - preconditioned @ solution[:, j])
            unsolved = max(unsolved, float(error / np.linalg.norm(start)))
        if unsolved > 1e3 * _RTOL:
            warnings.warn(
                f"mixed derivatives: relative residual {unsolved:.1e} (asked: {_RTOL:.1e}) after "
                f"{_MAX_ITERATIONS} iterations; the separable part of the equation is too far "
                "from the whole of it: give a coarser grid, whose system is solved densely.",
                ConvergenceWarning,
                stacklevel=2,
            )
        return solution.reshape(rhs.shape)


def _sum(terms: Sequence[Sequence[Array]], tensor: Array) -> Array:
    return reduce(np.add, (along_all(term, tensor) for term in terms))


def _direct(operator: KroneckerSumOperator, rhs: Array) -> Array:
    return operator.solve_tensor(torch.from_numpy(np.ascontiguousarray(rhs))).numpy()
