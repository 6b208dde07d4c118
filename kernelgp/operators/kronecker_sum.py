"""A separable differential operator on a tensor basis: a sum of Kronecker products.

References
----------
R. E. Lynch, J. R. Rice, D. H. Thomas, *Direct solution of partial difference equations by
tensor product methods*, Numerische Mathematik 6 (1964), with QZ in place of eigenvectors.
"""

import math
from collections.abc import Sequence
from functools import cached_property
from typing import Any

import torch
from torch import Tensor
from typing_extensions import override

from kernelgp.errors import ArgumentError
from kernelgp.operators.direct import DirectOperator
from kernelgp.operators.door import check_columns
from kernelgp.operators.kronecker_algebra import (
    factor_gradients,
    kronecker_matmul,
    kronecker_product,
    kronecker_vector,
)
from kernelgp.operators.separable import SeparableSolver
from kernelgp.validation import check_finite, check_floating, check_same

__all__ = ["KroneckerSumOperator"]

# The gradient of a log-determinant needs the whole inverse.
_INVERSE_ROWS = 5000


class KroneckerSumOperator(DirectOperator):
    """``Σi A_i ⊗ ⊗_{k≠i} B_k``: one pencil (A_k, B_k) of small matrices for each axis.

    On compressed bases of r functions an axis it is the operator of a separable PDE, such as
    ``A ⊗ B + B ⊗ A`` with stiffness A and mass B. Solves run by QZ, cached, in O(r³) on one or
    two axes and O(r⁴) on three, in float64 whatever the dtype, and end with one step of
    refinement. The operator need not be symmetric; where every matrix equals its transpose,
    gradients are those of symmetric changes, as everywhere in linear_operator.

    Parameters
    ----------
    *terms : (A, B), Tensors of shape (..., r_k, r_k)
        One pair for each axis, the slowest axis first; None in place of B is the identity.
        The matrices in a row, A1, B1, A2, ..., do as well.

    Raises
    ------
    ArgumentError
        If there is no term, a matrix is not square or not finite, or sizes, dtypes or devices
        differ. On a solve, if a pencil or the whole operator is singular.

    Examples
    --------
    >>> A = torch.tensor([[2.0, -1.0], [-1.0, 2.0]])
    >>> op = KroneckerSumOperator((A, None), (A, None))
    >>> op.solve_tensor(torch.ones(2, 2))
    tensor([[0.5000, 0.5000],
            [0.5000, 0.5000]])
    """

    def __init__(self, *terms: Tensor | Sequence[Tensor | None]) -> None:
        matrices = _check(_pairs(terms))
        batch = torch.broadcast_shapes(*(matrix.shape[:-2] for matrix in matrices))
        matrices = [
            m if m.shape[:-2] == batch else m.expand(*batch, *m.shape[-2:]) for m in matrices
        ]
        self.terms = tuple(zip(matrices[::2], matrices[1::2], strict=True))
        super().__init__(*matrices)

    @property
    def grid_shape(self) -> tuple[int, ...]:
        """(r1, ..., rd)."""
        return tuple(a.shape[-1] for a, _ in self.terms)

    def _size(self) -> torch.Size:
        n = math.prod(self.grid_shape)
        return torch.Size([*self.terms[0][0].shape[:-2], n, n])

    def _transpose_nonbatch(self) -> "KroneckerSumOperator":
        transposed = KroneckerSumOperator(*((a.mT, b.mT) for a, b in self.terms))
        # It solves with our factorisation, flipped.
        transposed.__dict__["_solvers"] = [solver.transposed for solver in self._solvers]
        return transposed

    def _expand_batch(self, batch_shape: Sequence[int]) -> "KroneckerSumOperator":
        return KroneckerSumOperator(
            *([m.expand(*batch_shape, *m.shape[-2:]) for m in term] for term in self.terms)
        )

    def _products(self) -> list[list[Tensor]]:
        """The factors of every term: A_i on axis i, B_k elsewhere."""
        return [
            [a if k == i else b for k, (a, b) in enumerate(self.terms)]
            for i in range(len(self.terms))
        ]

    def _matmul(self, rhs: Tensor) -> Tensor:
        if rhs.dim() == 1:
            return self._matmul(rhs.unsqueeze(-1)).squeeze(-1)
        return sum_of(kronecker_matmul(factors, rhs) for factors in self._products())

    def _diagonal(self) -> Tensor:
        return sum_of(
            kronecker_vector([factor.diagonal(dim1=-2, dim2=-1) for factor in factors])
            for factors in self._products()
        )

    def _get_indices(self, row_index: Tensor, col_index: Tensor, *batch_indices: Tensor) -> Tensor:
        rows = torch.unravel_index(row_index, self.grid_shape)
        columns = torch.unravel_index(col_index, self.grid_shape)
        entries = [
            [factor[(*batch_indices, r, c)] for factor, r, c in zip(f, rows, columns, strict=True)]
            for f in self._products()
        ]
        return sum_of(torch.stack(values).prod(dim=0) for values in entries)

    @override
    def to_dense(self) -> Tensor:
        return sum_of(kronecker_product(factors) for factors in self._products())

    def _bilinear_derivative(
        self, left_vecs: Tensor, right_vecs: Tensor
    ) -> tuple[Tensor | None, ...]:
        gradients: list[Any] = [0.0] * len(self._args)
        for i, factors in enumerate(self._products()):
            for k, gradient in enumerate(factor_gradients(factors, left_vecs, right_vecs)):
                place = 2 * k + (k != i)
                gradients[place] = gradients[place] + gradient
        return tuple(
            g.sum_to_size(m.shape) if m.requires_grad else None
            for g, m in zip(gradients, self.representation(), strict=True)
        )

    @cached_property
    def _solvers(self) -> list[SeparableSolver]:
        """One for each element of the batch; each factorises on first use."""
        flat = [
            m.detach().double().cpu().reshape(-1, *m.shape[-2:]).numpy()
            for term in self.terms
            for m in term
        ]
        pairs = list(zip(flat[::2], flat[1::2], strict=True))
        return [SeparableSolver([(a[e], b[e]) for a, b in pairs]) for e in range(len(flat[0]))]

    @cached_property
    def _is_symmetric(self) -> bool:
        return all(torch.equal(m, m.mT) for term in self.terms for m in term)

    def direct_solve(self, rhs: Tensor) -> Tensor:
        """``A⁻¹ R`` for R of shape (N,) or (..., N, k), without a graph."""
        if rhs.dim() == 1:
            return self.direct_solve(rhs.unsqueeze(-1)).squeeze(-1)
        check_columns("rhs", rhs, self)
        return self._solve(rhs)

    def direct_logdet(self) -> Tensor:
        """``log|det A|``, shape (...), without a graph."""
        return self._logabsdet()

    @override
    def _solve(self, rhs: Tensor, *_: Any, **__: Any) -> Tensor:
        return self._solve_with(self._solvers, rhs)

    def _solve_transposed(self, rhs: Tensor) -> Tensor:
        return self._solve_with([solver.transposed for solver in self._solvers], rhs)

    def _solve_with(self, solvers: Sequence[SeparableSolver], rhs: Tensor) -> Tensor:
        batch = torch.broadcast_shapes(self.batch_shape, rhs.shape[:-2])
        columns = rhs.detach().double().cpu().expand(*batch, *rhs.shape[-2:])
        grids = columns.reshape(-1, *self.grid_shape, rhs.shape[-1]).numpy()
        which = torch.arange(len(solvers)).reshape(self.batch_shape).expand(batch).flatten()
        solved = [solvers[e].solve(grid) for e, grid in zip(which.tolist(), grids, strict=True)]
        out = torch.stack([torch.from_numpy(x.reshape(-1, rhs.shape[-1])) for x in solved])
        return out.reshape(*batch, *rhs.shape[-2:]).to(rhs)

    def solve_tensor(self, rhs: Tensor) -> Tensor:
        """`solve` for a right-hand side on the grid, differentiable.

        Parameters
        ----------
        rhs : Tensor, shape (r1, ..., rd) or (r1, ..., rd, k)
        """
        shape, d = self.grid_shape, len(self.terms)
        if tuple(rhs.shape[:d]) != shape or rhs.dim() > d + 1:
            given, remedy = f"shape {tuple(rhs.shape)}", f"give {shape} or {(*shape, 'k')}"
            raise ArgumentError("rhs", given, remedy.replace("'", ""))
        return self.solve(rhs.reshape(self.shape[-1], -1)).reshape(rhs.shape)

    def _logabsdet(self) -> Tensor:
        values = torch.tensor([s.logabsdet() for s in self._solvers], dtype=torch.float64)
        return values.reshape(self.batch_shape).to(dtype=self.dtype, device=self.device)

    @override
    def logdet(self) -> Tensor:
        """``log|det A|``, shape (...); its gradient needs the inverse, up to 5000 rows."""
        if self.requires_grad and torch.is_grad_enabled() and self.shape[-1] > _INVERSE_ROWS:
            given = f"{self.shape[-1]} rows and matrices that require a gradient"
            raise ArgumentError("op", given, f"detach it, or stay below {_INVERSE_ROWS} rows")
        return super().logdet()

    def _logabsdet_derivative(self, grad: Tensor) -> tuple[Tensor | None, ...]:
        identity = torch.eye(self.shape[-1], dtype=self.dtype, device=self.device)
        inverse = self._solve_transposed(identity)
        return self._bilinear_derivative(grad[..., None, None] * inverse, identity)


def sum_of(terms: Any) -> Tensor:
    first, *others = terms
    for term in others:
        first = first + term
    return first


def _pairs(terms: Sequence[Any]) -> list[tuple[Any, Any]]:
    if terms and all(isinstance(term, Tensor) for term in terms):
        if len(terms) % 2:
            remedy = "give pairs (A, B), one for each axis"
            raise ArgumentError("terms", f"{len(terms)} matrices in a row", remedy)
        return list(zip(terms[::2], terms[1::2], strict=True))
    for i, term in enumerate(terms):
        if not isinstance(term, Sequence) or len(term) != 2:
            raise ArgumentError(f"terms[{i}]", repr(term)[:60], "give a pair (A, B) of matrices")
    return [tuple(term) for term in terms]


def _check(pairs: Sequence[tuple[Any, Any]]) -> list[Tensor]:
    """The matrices in a row, A1, B1, A2, ..., an identity where there was None."""
    if not pairs:
        raise ArgumentError("terms", "none", "give one pair (A, B) for each axis")
    first = check_floating("terms[0][0]", pairs[0][0])
    matrices = []
    for i, (a, b) in enumerate(pairs):
        size = a.shape[-1] if isinstance(a, Tensor) and a.dim() else 0
        if b is None:
            b = torch.eye(size, dtype=first.dtype, device=first.device)
        for j, matrix in enumerate((a, b)):
            name = f"terms[{i}][{j}]"
            check_floating(name, matrix)
            if matrix.dim() < 2 or matrix.shape[-2:] != (size, size) or size == 0:
                remedy = f"give (..., {size or 'r'}, {size or 'r'}), the size of this axis"
                raise ArgumentError(name, f"shape {tuple(matrix.shape)}", remedy)
            check_same(name, matrix, "terms[0][0]", first)
            matrices.append(check_finite(name, matrix))
    return matrices
