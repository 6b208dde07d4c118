"""The covariance of a product kernel on a grid: a Kronecker product, never formed.

References
----------
Y. Saatçi, *Scalable Inference for Structured Gaussian Process Models*, PhD thesis,
University of Cambridge 2011, chapter 5; for cells that are missing, A. G. Wilson, E. Gilboa,
A. Nehorai, J. P. Cunningham, *Fast kernel learning for multidimensional pattern
extrapolation*, NeurIPS 2014.
"""

import math
from collections.abc import Sequence
from functools import cached_property
from typing import Any, cast

import torch
from linear_operator import LinearOperator
from linear_operator.operators import (
    ConstantDiagLinearOperator,
    DiagLinearOperator,
    KroneckerProductTriangularLinearOperator,
    RootLinearOperator,
    TriangularLinearOperator,
)
from torch import Tensor
from typing_extensions import override

from kernelgp.errors import ArgumentError, ArgumentTypeError, NotPositiveDefiniteError
from kernelgp.operators.direct import check_square
from kernelgp.operators.kronecker_algebra import (
    factor_gradients,
    kronecker_matmul,
    kronecker_product,
    kronecker_vector,
)
from kernelgp.operators.noisy_kronecker import NoisyKroneckerOperator
from kernelgp.operators.partial import PartialOperator
from kernelgp.operators.spectrum import Spectrum
from kernelgp.validation import check_finite, check_floating, check_same

__all__ = ["KroneckerOperator"]


class KroneckerOperator(PartialOperator):
    """``K1 ⊗ … ⊗ Kd``: one small matrix for each axis of a grid of N = n1 ... nd points.

    Products, solves and log-determinants cost O(N Σ ni) and, once, O(Σ ni³); so do those of
    the sum with constant noise, which `add_diagonal` returns. Operators are immutable: build
    a new one after a factor has changed.

    Parameters
    ----------
    *factors : Tensor or LinearOperator, shape (..., mi, ni)
        One for each axis, the slowest axis first. Solves and log-determinants take them
        to be symmetric positive definite.
    mask : Tensor of bool, shape (n1, ..., nd)
        The cells observed. Rows and columns of the operator are these cells, in C order; its
        solves iterate, preconditioned by the inverse on the whole grid.

    Raises
    ------
    ArgumentError
        If there is no factor, one is no matrix, is not finite or is empty, their dtypes,
        devices or batches differ, or `mask` does not fit or keeps no cell.

    Examples
    --------
    >>> rows, columns = torch.diag(torch.tensor([1.0, 2.0])), torch.eye(3)
    >>> op = KroneckerOperator(rows, columns)
    >>> op.shape, op.logdet()
    (torch.Size([6, 6]), tensor(2.0794))
    >>> mask = torch.tensor([[True, True, False], [True, False, True]])
    >>> KroneckerOperator(rows, columns, mask=mask).diagonal()
    tensor([1., 1., 2., 2.])
    """

    def __init__(self, *factors: Tensor | LinearOperator, mask: Tensor | None = None) -> None:
        _check(factors, mask)
        batch = torch.broadcast_shapes(*(factor.shape[:-2] for factor in factors))
        # A view is no leaf: expanding where nothing changes would hide the caller's `.grad`.
        self.factors: tuple[Any, ...] = tuple(
            f if f.shape[:-2] == batch else f.expand(*batch, *f.shape[-2:]) for f in factors
        )
        self.mask = mask
        super().__init__(*self.factors, mask=mask)

    def _size(self) -> torch.Size:
        batch = self.factors[0].shape[:-2]
        if self._cells is not None:
            return torch.Size([*batch, len(self._cells), len(self._cells)])
        rows, columns = zip(*(factor.shape[-2:] for factor in self.factors), strict=True)
        return torch.Size([*batch, math.prod(rows), math.prod(columns)])

    @cached_property
    def _cells(self) -> Tensor | None:
        """Places of the observed cells in the whole grid; None where all are."""
        return None if self.mask is None else self.mask.flatten().nonzero().squeeze(-1)

    @property
    def _whole_grid(self) -> bool:
        return self.mask is None

    def _transpose_nonbatch(self) -> "KroneckerOperator":
        return KroneckerOperator(*(factor.mT for factor in self.factors), mask=self.mask)

    def _expand_batch(self, batch_shape: Sequence[int]) -> "KroneckerOperator":
        expanded = (f.expand(*batch_shape, *f.shape[-2:]) for f in self.factors)
        return KroneckerOperator(*expanded, mask=self.mask)

    def _mul_constant(self, other: Tensor) -> "KroneckerOperator":
        # Folded into one small factor, the product stays one that solves itself.
        first, *others = self.factors
        constant = other[..., None, None] if other.dim() else other
        return KroneckerOperator(first * constant, *others, mask=self.mask)

    @override
    def to(self, *args: Any, **kwargs: Any) -> "KroneckerOperator":
        factors = [factor.to(*args, **kwargs) for factor in self.factors]
        # A mask moves with its factors but stays boolean.
        mask = None if self.mask is None else self.mask.to(factors[0].device)
        return KroneckerOperator(*factors, mask=mask)

    @override
    def add_diagonal(self, diag: Tensor) -> NoisyKroneckerOperator:
        """``K + diag(noise)``: `diag` is (), (..., 1) or (..., N)."""
        check_square(self)
        return NoisyKroneckerOperator(self, diag)

    @override
    def __add__(self, other: Any) -> LinearOperator | Tensor:
        if isinstance(other, ConstantDiagLinearOperator):
            return self.add_diagonal(other.diag_values)
        if isinstance(other, DiagLinearOperator):
            return self.add_diagonal(other.diagonal())
        return super().__add__(other)

    @cached_property
    def matrices(self) -> tuple[Tensor, ...]:
        """Every factor in full, without a graph."""
        with torch.no_grad():
            return tuple(factor.detach() for factor in self._differentiable_matrices())

    def _differentiable_matrices(self) -> list[Tensor]:
        # linear_operator caches `to_dense` with its graph, which serves one backward only:
        # a fresh copy of the operator has a fresh one.
        return [
            f if isinstance(f, Tensor) else f.representation_tree()(*f.representation()).to_dense()
            for f in self.factors
        ]

    @override
    def _matmul(self, rhs: Tensor) -> Tensor:
        if rhs.dim() == 1:
            return self._matmul(rhs.unsqueeze(-1)).squeeze(-1)
        # linear_operator also differentiates through `_matmul`; our own calls have no graph.
        graph = torch.is_grad_enabled() and any(self.factors_wanted())
        matrices = self._differentiable_matrices() if graph else self.matrices
        return self._gather(kronecker_matmul(matrices, self._scatter(rhs)))

    def _scatter(self, x: Tensor) -> Tensor:
        """Values of the observed cells on the whole grid, zero elsewhere."""
        if self.mask is None or self._cells is None:
            return x
        whole = x.new_zeros(*x.shape[:-2], self.mask.numel(), x.shape[-1])
        return whole.index_copy(-2, self._cells, x)

    def _gather(self, x: Tensor) -> Tensor:
        return x if self._cells is None else x.index_select(-2, self._cells)

    def _diagonal(self) -> Tensor:
        whole = kronecker_vector([torch.diagonal(f, dim1=-2, dim2=-1) for f in self.factors])
        return whole if self._cells is None else whole[..., self._cells]

    def _get_indices(self, row_index: Tensor, col_index: Tensor, *batch_indices: Tensor) -> Tensor:
        if self._cells is not None:
            row_index, col_index = self._cells[row_index], self._cells[col_index]
        rows, columns = (
            torch.unravel_index(index, [factor.shape[side] for factor in self.factors])
            for index, side in ((row_index, -2), (col_index, -1))
        )
        entries = [
            factor[(*batch_indices, r, c)]
            for factor, r, c in zip(self.factors, rows, columns, strict=True)
        ]
        return torch.stack(entries).prod(dim=0)

    def rows(self, index: Tensor) -> Tensor:
        """Rows of an unbatched operator, shape (len(index), n), without a graph."""
        places = index if self._cells is None else self._cells[index]
        where = torch.unravel_index(places, [matrix.shape[-2] for matrix in self.matrices])
        whole = kronecker_vector([m[i] for m, i in zip(self.matrices, where, strict=True)])
        return whole if self._cells is None else whole[:, self._cells]

    @override
    def to_dense(self) -> Tensor:
        matrices = self._differentiable_matrices()
        if self._cells is None:
            return kronecker_product(matrices)
        where = torch.unravel_index(self._cells, [matrix.shape[-1] for matrix in matrices])
        blocks = [m[..., i[:, None], i] for m, i in zip(matrices, where, strict=True)]
        return torch.stack(blocks).prod(dim=0)

    def _bilinear_derivative(
        self, left_vecs: Tensor, right_vecs: Tensor
    ) -> tuple[Tensor | None, ...]:
        left, right = self._scatter(left_vecs), self._scatter(right_vecs)
        return self.pull_back(factor_gradients(self.matrices, left, right))

    def factors_wanted(self) -> list[bool]:
        """Whether each factor requires a gradient."""
        return [
            f.requires_grad
            if isinstance(f, Tensor)
            else any(tensor.requires_grad for tensor in f.representation())
            for f in self.factors
        ]

    def pull_back(
        self, gradients: Sequence[Tensor | None], shift: Tensor | None = None
    ) -> tuple[Tensor | None, ...]:
        """From gradients of the factors to those of the representation; no shift here."""
        _ = shift
        out: list[Tensor | None] = []
        for factor, gradient, want in zip(
            self.factors, gradients, self.factors_wanted(), strict=True
        ):
            if gradient is not None:
                gradient = gradient.sum_to_size(factor.shape)
            if isinstance(factor, Tensor):
                out.append(gradient if want else None)
            elif gradient is None or not want:
                out.extend(None for _ in factor.representation())
            else:
                # tr(Gᵀ dK) = Σk G[:, k]ᵀ dK I[:, k]
                identity = torch.eye(factor.shape[-1], dtype=self.dtype, device=self.device)
                identity = identity.expand(*factor.shape[:-2], *identity.shape)
                out.extend(factor._bilinear_derivative(gradient, identity))
        return (*out, *(() if self.mask is None else (None,)))

    @cached_property
    def spectrum(self) -> Spectrum:
        """Of the whole grid; every solve and determinant shares it."""
        return Spectrum.of(self.matrices)

    @override
    def _symeig(
        self, eigenvectors: bool = False, return_evals_as_lazy: bool | None = False
    ) -> tuple[Tensor, LinearOperator | None]:
        if self.mask is not None:
            return super()._symeig(eigenvectors, return_evals_as_lazy)
        pairs = [torch.linalg.eigh(matrix) for matrix in self._differentiable_matrices()]
        values, vectors = zip(*pairs, strict=True)
        return kronecker_vector(values), KroneckerOperator(*vectors) if eigenvectors else None

    @override
    def _svd(self) -> tuple[LinearOperator, Tensor, LinearOperator]:
        if self.mask is not None:
            return super()._svd()
        matrices = self._differentiable_matrices()
        triples = [torch.linalg.svd(matrix, full_matrices=False) for matrix in matrices]
        left, values, right = zip(*triples, strict=True)
        right = KroneckerOperator(*(vectors.mT for vectors in right))
        return KroneckerOperator(*left), kronecker_vector(values), right

    @override
    def diagonalization(self, method: str | None = None) -> tuple[Tensor, LinearOperator | None]:
        if method is None and self.mask is None:
            method = "symeig"
        return super().diagonalization(method=method)

    @override
    def _cholesky(self, upper: bool | None = False) -> LinearOperator:
        if self.mask is not None:
            return super()._cholesky(upper)
        roots = [torch.linalg.cholesky(matrix) for matrix in self._differentiable_matrices()]
        product = KroneckerProductTriangularLinearOperator(
            *(TriangularLinearOperator(root) for root in roots)
        )
        return product._transpose_nonbatch() if upper else product

    @override
    def root_decomposition(self, method: str | None = None) -> LinearOperator:
        if self.mask is not None or method is not None:
            return super().root_decomposition(method)
        roots = [_root(i, m) for i, m in enumerate(self._differentiable_matrices())]
        return RootLinearOperator(KroneckerOperator(*roots))

    @override
    def root_inv_decomposition(
        self,
        initial_vectors: Tensor | None = None,
        test_vectors: Tensor | None = None,
        method: str | None = None,
    ) -> LinearOperator | Tensor:
        if self.mask is not None or method is not None:
            return super().root_inv_decomposition(initial_vectors, test_vectors, method)
        _ = self.spectrum.diagonal  # raises where there is no inverse
        roots = [_root(i, m) for i, m in enumerate(self._differentiable_matrices())]
        return RootLinearOperator(KroneckerOperator(*(torch.linalg.inv(r).mT for r in roots)))


def _root(i: int, matrix: Tensor) -> Tensor:
    """R with R Rᵀ = K: triangular, or by eigenvalues where K is singular to rounding."""
    root, failed = torch.linalg.cholesky_ex(matrix)
    if not failed.any():
        return root
    values, vectors = torch.linalg.eigh(matrix.double())
    floor = -matrix.shape[-1] * torch.finfo(matrix.dtype).eps * values[..., -1:].abs()
    if (values < floor).any():
        given = f"a smallest eigenvalue of {values.min().item():.1e}"
        raise NotPositiveDefiniteError(f"factors[{i}]", given, "add jitter to this axis")
    # What is negative by rounding alone is zero.
    return (vectors * values.clamp(min=0.0).sqrt().unsqueeze(-2)).to(matrix.dtype)


def _check(factors: Sequence[Any], mask: Any) -> None:
    if not factors:
        raise ArgumentError("factors", "none", "give one matrix for each axis of the grid")
    for i, factor in enumerate(factors):
        name = f"factors[{i}]"
        if isinstance(factor, Tensor):
            check_floating(name, factor)
        elif not isinstance(factor, LinearOperator):
            raise ArgumentTypeError(name, type(factor).__name__, "give a tensor or an operator")
        if len(factor.shape) < 2 or 0 in factor.shape:
            shape = tuple(factor.shape)
            raise ArgumentError(name, f"shape {shape}", "give (..., m, n), at least one point")
        check_same(name, cast(Tensor, factor), "factors[0]", factors[0])
        if isinstance(factor, Tensor):
            check_finite(name, factor)
    try:
        torch.broadcast_shapes(*(factor.shape[:-2] for factor in factors))
    except RuntimeError:
        given = "batches " + ", ".join(str(tuple(factor.shape[:-2])) for factor in factors)
        raise ArgumentError("factors", given, "give batches that broadcast") from None
    if mask is not None:
        _check_mask(factors, mask)


def _check_mask(factors: Sequence[Any], mask: Any) -> None:
    if not isinstance(mask, Tensor):
        raise ArgumentTypeError("mask", type(mask).__name__, "give a boolean torch tensor")
    if mask.dtype != torch.bool:
        raise ArgumentError("mask", str(mask.dtype), "give torch.bool, True where observed")
    for i, factor in enumerate(factors):
        if factor.shape[-1] != factor.shape[-2]:
            shape = tuple(factor.shape)
            raise ArgumentError(f"factors[{i}]", f"shape {shape}", "a mask needs a square one")
    grid = tuple(factor.shape[-1] for factor in factors)
    if tuple(mask.shape) != grid:
        remedy = f"give {grid}, the shape of the grid"
        raise ArgumentError("mask", f"shape {tuple(mask.shape)}", remedy)
    if mask.device != factors[0].device:
        raise ArgumentError("mask", f"device {mask.device}", f"move it to {factors[0].device}")
    if not mask.any():
        raise ArgumentError("mask", "no cell that is observed", "keep at least one")
