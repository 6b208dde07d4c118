"""The square system inside the faces: direct where it separates, preconditioned where not.

Without mixed derivatives it is one `KroneckerSumOperator`, solved by QZ, and on one axis a
matrix. A mixed derivative
that does not fit into two products (``u_xx + u_xy + u_yy``) is added as further products;
small systems are then factored densely, larger ones iterated on with the separable part as
preconditioner.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, reduce
from typing import Any, ClassVar, cast

import numpy as np
import scipy.linalg
import torch
from numpy.typing import NDArray
from torch import Tensor

from kernelgp import linalg
from kernelgp.errors import ArgumentError
from kernelgp.operators import KroneckerSumOperator
from solvers.tensors import along_all

__all__ = ["InteriorSystem"]

Array = NDArray[np.float64]

# A step of refinement follows every solve, so that this is not the last digit.
_RTOL = 1e-12
_RESTART = 300
# Each step takes a shift out to as many digits as it is smaller than the least eigenvalue.
_UNSHIFTED = 2


class InteriorSystem:
    """``Σi A_i ⊗ Π B_k + Σ products``, each factor a square matrix on one axis.

    Parameters
    ----------
    pencils
        ``(A, B)`` of every axis.
    products
        Further terms, one matrix for each axis.
    shift
        Where the sum is singular, as that of pure slopes is, a small multiple of ``Π B_k`` that
        makes it regular. What it adds is taken out again, but for the null direction.
    dense
        Up to this many unknowns a system with such terms is factored densely, which takes
        less than a second; up to twice as many where there are several right-hand sides, each
        of which would need an iteration of its own.
    """

    def __init__(
        self,
        pencils: Sequence[tuple[Array, Array]],
        products: Sequence[Sequence[Array]] = (),
        *,
        shift: float = 0.0,
        dense: int = 2500,
    ) -> None:
        self.pencils, self.products = list(pencils), [list(p) for p in products]
        self._most_dense, self._shift = dense, shift
        (first, other), *rest = self.pencils
        pencils = self._shifted = [(first + shift * other, other), *rest]
        terms = [(torch.from_numpy(a.copy()), torch.from_numpy(b.copy())) for a, b in pencils]
        self.separable = KroneckerSumOperator(*terms)

    def solve(self, rhs: Array) -> Array:
        """Shape (s1, ..., sd) or (s1, ..., sd, k), as `rhs`."""
        return self._unshifted(self._solve, _products(self.pencils) + self.products, rhs)

    def solve_transposed(self, rhs: Array) -> Array:
        terms = [[m.T for m in term] for term in _products(self.pencils) + self.products]
        return self._unshifted(self._solve_transposed, terms, rhs)

    def logabsdet(self) -> float:
        """Log of the absolute determinant, without what products add to a large system."""
        if len(self.pencils) == 1 or (self.products and self._size <= self._most_dense):
            return float(np.log(np.abs(np.diag(self._dense[0]))).sum())
        return float(self.separable.logdet())

    def _unshifted(
        self, solve: Callable[[Array], Array], terms: Sequence[Sequence[Array]], rhs: Array
    ) -> Array:
        solution = solve(rhs)
        for _ in range(_UNSHIFTED if self._shift else 0):
            solution = solution + solve(rhs - _sum(terms, solution))
        return solution

    def _solve(self, rhs: Array) -> Array:
        if self._factors_densely(rhs):
            return scipy.linalg.lu_solve(self._dense, rhs.reshape(self._size, -1)).reshape(
                rhs.shape
            )
        if not self.products:
            return _direct(self.separable, rhs)
        return _Preconditioned(self._terms, lambda r: _direct(self.separable, r)).solve(rhs)

    def _solve_transposed(self, rhs: Array) -> Array:
        if self._factors_densely(rhs):
            flat = rhs.reshape(self._size, -1)
            return scipy.linalg.lu_solve(self._dense, flat, trans=1).reshape(rhs.shape)
        if not self.products:
            return _direct(self._transposed, rhs)
        terms = [[m.T for m in term] for term in self._terms]
        return _Preconditioned(terms, lambda r: _direct(self._transposed, r)).solve(rhs)

    def _factors_densely(self, rhs: Array) -> bool:
        if len(self.pencils) == 1 or not self.products:
            return len(self.pencils) == 1
        several = rhs.size > 4 * self._size
        return self._size <= (2 if several else 1) * self._most_dense

    @property
    def _transposed(self) -> KroneckerSumOperator:
        return cast(KroneckerSumOperator, self.separable.mT)

    @cached_property
    def _terms(self) -> list[list[Array]]:
        """The whole operator, shifted, as a list of products."""
        return _products(self._shifted) + self.products

    @property
    def _shape(self) -> tuple[int, ...]:
        return tuple(a.shape[0] for a, _ in self.pencils)

    @property
    def _size(self) -> int:
        return math.prod(self._shape)

    @cached_property
    def _dense(self) -> tuple[Array, NDArray[np.int32]]:
        matrix = reduce(np.add, (reduce(np.kron, term) for term in self._terms))
        lapack: Any = scipy.linalg.get_lapack_funcs(("getrf", "gecon"), (matrix,))
        triangles, pivots, failed = lapack[0](matrix)
        condition = 0.0 if failed else lapack[1](triangles, np.abs(matrix).sum(axis=0).max())[0]
        if condition < 4 * np.finfo(float).eps:
            given = f"a singular matrix, of reciprocal condition {condition:.0e}"
            raise ArgumentError("terms", given, "fix the free constant or leave the resonance")
        return triangles, pivots


@dataclass(frozen=True, slots=True)
class _Preconditioned:
    """``M⁻¹ K`` as linalg takes it.

    Preconditioned from the left, so that rows of very different size count alike.
    """

    terms: Sequence[Sequence[Array]]
    precondition: Callable[[Array], Array]

    dtype: ClassVar[torch.dtype] = torch.float64
    device: ClassVar[torch.device] = torch.device("cpu")

    @property
    def shape(self) -> torch.Size:
        n = math.prod(len(m) for m in self.terms[0])
        return torch.Size([n, n])

    def matmul(self, rhs: Tensor) -> Tensor:
        return torch.from_numpy(self._apply(rhs.numpy()))

    def double(self) -> "_Preconditioned":
        return self

    def diagonal(self) -> Tensor:
        return self.matmul(torch.eye(self.shape[0], dtype=self.dtype)).diagonal()

    def solve(self, rhs: Array) -> Array:
        sizes = [len(m) for m in self.terms[0]]
        start = self.precondition(rhs.reshape(*sizes, -1)).reshape(self.shape[0], -1)
        solution, _ = linalg.gmres(
            self, torch.from_numpy(start), rtol=_RTOL, restart=_RESTART, max_iterations=_RESTART
        )
        return solution.numpy().reshape(rhs.shape)

    def _apply(self, x: Array) -> Array:
        sizes = [len(m) for m in self.terms[0]]
        return self.precondition(_sum(self.terms, x.reshape(*sizes, -1))).reshape(x.shape)


def _products(pencils: Sequence[tuple[Array, Array]]) -> list[list[Array]]:
    return [[a if j == i else b for j, (a, b) in enumerate(pencils)] for i in range(len(pencils))]


def _sum(terms: Sequence[Sequence[Array]], tensor: Array) -> Array:
    return reduce(np.add, (along_all(term, tensor) for term in terms))


def _direct(operator: KroneckerSumOperator, rhs: Array) -> Array:
    return operator.solve_tensor(torch.from_numpy(np.ascontiguousarray(rhs))).numpy()
