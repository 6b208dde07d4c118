"""A covariance whose inverse has a sparse Cholesky factor: Vecchia's approximation.

References
----------
F. Schäfer, M. Katzfuss and H. Owhadi, *Sparse Cholesky factorization by Kullback-Leibler
minimization*, SIAM Journal on Scientific Computing 43, 2021.
"""

import warnings
from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, cached_property, partial
from importlib import import_module
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from typing_extensions import override

from kernelgp.errors import ArgumentError, ArgumentTypeError
from kernelgp.operators.direct import DirectOperator
from kernelgp.operators.door import check_columns
from kernelgp.random import RandomState, as_generator
from kernelgp.validation import check_finite, check_floating

__all__ = ["SparseInverseCholeskyOperator", "SparsePrecisionOperator"]

# Unit vectors multiplied at once for entries and diagonals.
_CHUNK = 256


@dataclass(frozen=True, eq=False)
class Pattern:
    """Where an upper triangular factor has entries, by columns, each column's diagonal last.

    Attributes
    ----------
    starts : (n + 1,) int64, where each column begins
    rows, columns : (nnz,) int64
    """

    starts: Tensor
    rows: Tensor
    columns: Tensor

    @property
    def n(self) -> int:
        return len(self.starts) - 1

    @property
    def diagonal(self) -> Tensor:
        """The places of the diagonal among the entries."""
        return self.starts[1:] - 1

    @cached_property
    def by_rows(self) -> tuple[Tensor, Tensor, Tensor]:
        """Where each row begins, the columns of its entries, and the entries' places."""
        places = torch.argsort(self.rows, stable=True)
        counts = torch.bincount(self.rows, minlength=self.n)
        starts = torch.cat([counts.new_zeros(1), counts.cumsum(0)])
        return starts, self.columns[places], places

    @cached_property
    def arrays(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """`starts` and `rows` for compiled code."""
        return self.starts.cpu().numpy(), self.rows.cpu().numpy()


class _SparseFactored(DirectOperator):
    """What covariance and precision share: the factor, and how it multiplies and solves."""

    def __init__(self, factor: Tensor, pattern: Pattern | None = None) -> None:
        values = factor
        if pattern is None:
            values, pattern = _read(factor)
        self.values, self.pattern = values, pattern
        # A tensor that operators know how to map, and what stays as it is.
        super().__init__(values, pattern=pattern)

    @property
    def factor(self) -> Tensor:
        """U, a sparse tensor of shape (n, n); of an unbatched operator."""
        index = torch.stack([self.pattern.rows, self.pattern.columns])
        return torch.sparse_coo_tensor(index, self.values, self.shape, check_invariants=False)

    def _size(self) -> torch.Size:
        n = self.pattern.n
        return torch.Size([*self.values.shape[:-1], n, n])

    def _transpose_nonbatch(self) -> "_SparseFactored":
        return self

    def _expand_batch(self, batch_shape: Sequence[int]) -> "_SparseFactored":
        return type(self)(self.values.expand(*batch_shape, -1), self.pattern)

    @override
    def _matmul(self, rhs: Tensor) -> Tensor:
        if rhs.dim() == 1:
            return self._matmul(rhs.unsqueeze(-1)).squeeze(-1)
        if torch.is_grad_enabled() and (rhs.requires_grad or self.values.requires_grad):
            # Asked by an operator that differentiates through its parts.
            return cast(Tensor, self.matmul(rhs))
        return self._product(rhs)

    @abstractmethod
    def _product(self, rhs: Tensor) -> Tensor:
        """``A rhs`` for (..., n, k), without a graph."""

    def _times(self, x: Tensor) -> Tensor:
        """``U x`` for (..., n, k), without a graph, as all below."""
        starts, columns, places = self.pattern.by_rows
        return self._each(lambda u, one: _csr(starts, columns, u[places]) @ one, x)

    def _times_transposed(self, x: Tensor) -> Tensor:
        """``Uᵀ x``."""
        starts, rows = self.pattern.starts, self.pattern.rows
        return self._each(lambda u, one: _csr(starts, rows, u) @ one, x)

    def _divide(self, x: Tensor) -> Tensor:
        """``U⁻¹ x``."""
        return self._each(partial(self._substitute, "solve_upper"), x)

    def _divide_transposed(self, x: Tensor) -> Tensor:
        """``U⁻ᵀ x``."""
        return self._each(partial(self._substitute, "solve_lower"), x)

    def _each(self, function: Callable[[Tensor, Tensor], Tensor], x: Tensor) -> Tensor:
        """A function of one factor's values (nnz,) and x (n, k), over the batch."""
        values, x = self.values.detach(), x.detach()
        if values.dim() == 1:
            # One factor takes whatever batch there is as further columns.
            columns = x.movedim(-2, 0)
            out = function(values, columns.reshape(len(columns), -1))
            return out.reshape(columns.shape).movedim(0, -2)
        batch = torch.broadcast_shapes(values.shape[:-1], x.shape[:-2])
        each = values.expand(*batch, -1).flatten(0, -2), x.expand(*batch, *x.shape[-2:])
        pairs = zip(each[0], each[1].flatten(0, -3), strict=True)
        return torch.stack([function(*pair) for pair in pairs]).reshape(*batch, *x.shape[-2:])

    def _substitute(self, name: str, values: Tensor, x: Tensor) -> Tensor:
        # Substitution is serial: it runs on the CPU wherever the operator lives.
        out = np.array(x.cpu().numpy(), order="C")
        getattr(_triangular(), name)(*self.pattern.arrays, values.cpu().numpy(), out)
        return torch.from_numpy(out).to(x.device)

    @abstractmethod
    def _outer(self, left: Tensor, right: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """``(p, q, s, t)`` with ``∂(Σ leftᵀ A right)/∂U_ij = Σ p_i q_j + s_i t_j``."""

    def _bilinear_derivative(
        self, left_vecs: Tensor, right_vecs: Tensor
    ) -> tuple[Tensor | None, ...]:
        columns = [v.unsqueeze(-1) if v.dim() == 1 else v for v in (left_vecs, right_vecs)]
        factors = torch.broadcast_tensors(*self._outer(*torch.broadcast_tensors(*columns)))
        i, j = self.pattern.rows, self.pattern.columns
        batch = torch.broadcast_shapes(factors[0].shape[:-2], self.values.shape[:-1])
        gradient = self.values.new_zeros(*batch, len(i))
        # One right-hand side at a time: all at once would be k copies of the factor.
        for p, q, s, t in zip(*(f.unbind(-1) for f in factors), strict=True):
            gradient += p[..., i] * q[..., j] + s[..., i] * t[..., j]
        return (gradient.sum_to_size(self.values.shape),)

    def _diagonal(self) -> Tensor:
        index = torch.arange(self.pattern.n, device=self.device)
        blocks = [
            self._columns(part).gather(-2, part.expand(*self.batch_shape, 1, -1))
            for part in index.split(_CHUNK)
        ]
        return torch.cat(blocks, dim=-1).squeeze(-2)

    def _get_indices(self, row_index: Tensor, col_index: Tensor, *batch_indices: Tensor) -> Tensor:
        needed, where = torch.unique(col_index, return_inverse=True)
        columns = torch.cat([self._columns(part) for part in needed.split(_CHUNK)], dim=-1)
        return columns[(*batch_indices, row_index, where)]

    def _columns(self, index: Tensor) -> Tensor:
        """Columns of the operator, with a graph, shape (..., n, len(index))."""
        return cast(Tensor, self.matmul(self._units(index)))

    def _units(self, index: Tensor) -> Tensor:
        units = torch.zeros(self.pattern.n, len(index), dtype=self.dtype, device=self.device)
        units[index, torch.arange(len(index), device=self.device)] = 1
        return units

    def rows(self, index: Tensor) -> Tensor:
        """Rows of an unbatched operator, shape (len(index), n), without a graph."""
        return self._matmul(self._units(index)).mT

    def direct_solve(self, rhs: Tensor) -> Tensor:
        """``A⁻¹ rhs`` for (n,) or (..., n, k), without a graph."""
        if rhs.dim() == 1:
            return self._solve(rhs.unsqueeze(-1)).squeeze(-1)
        check_columns("rhs", rhs, self)
        return self._solve(rhs)

    def direct_logdet(self) -> Tensor:
        """``log|A|``, without a graph."""
        return self._logabsdet()

    def _log_diagonal(self) -> Tensor:
        """``Σ log U_ii``."""
        return self.values.detach()[..., self.pattern.diagonal].log().sum(dim=-1)

    def _on_diagonal(self, grad: Tensor) -> tuple[Tensor | None, ...]:
        """``grad / U_ii`` on the diagonal, zero elsewhere."""
        gradient = torch.zeros_like(self.values)
        place = self.pattern.diagonal
        gradient[..., place] = grad.unsqueeze(-1) / self.values.detach()[..., place]
        return (gradient,)


class SparseInverseCholeskyOperator(_SparseFactored):
    """The covariance ``K = (U Uᵀ)⁻¹`` of a sparse upper triangular factor U.

    Products are two triangular solves and solves two sparse products, O(nnz) each; the
    determinant is read off the diagonal. Triangular solves run on the CPU wherever it lives.

    Parameters
    ----------
    factor : sparse Tensor, shape (n, n)
        Upper triangular with a positive diagonal, as `kernelgp.vecchia.inverse_cholesky` gives
        it; COO, CSR or CSC.

    Attributes
    ----------
    factor : sparse Tensor, shape (n, n)
    precision : SparsePrecisionOperator
        ``U Uᵀ``.

    Raises
    ------
    ArgumentError, ArgumentTypeError
        If `factor` is not sparse, square, floating, finite and upper triangular with a positive
        diagonal.

    Examples
    --------
    >>> factor = torch.tensor([[1.0, -0.5], [0.0, 2.0]]).to_sparse()
    >>> covariance = SparseInverseCholeskyOperator(factor)
    >>> covariance.solve(torch.ones(2)), covariance.logdet()
    (tensor([0.2500, 3.0000]), tensor(-1.3863))
    >>> covariance @ covariance.solve(torch.ones(2))
    tensor([1., 1.])
    """

    @property
    def precision(self) -> "SparsePrecisionOperator":
        return SparsePrecisionOperator(self.values, self.pattern)

    def marginal_variances(self) -> Tensor:
        """The diagonal, exact and without a graph, shape (..., n).

        Of every point one substitution over its ancestors alone: O(n m) times their number,
        which in few dimensions does not grow with n, and in many comes near to n.

        Examples
        --------
        >>> factor = torch.tensor([[1.0, -0.5], [0.0, 2.0]]).to_sparse()
        >>> SparseInverseCholeskyOperator(factor).marginal_variances()
        tensor([1.0000, 0.3125])
        """
        n = self.pattern.n
        index = np.arange(n)[:, None]
        ones, out = np.ones((n, 1)), []
        for values in self.values.detach().reshape(-1, self.values.shape[-1]):
            found = np.empty(n)
            numbers = values.double().cpu().numpy()
            fill = _triangular().fill_variances
            fill(*self.pattern.arrays, numbers, index, ones, 0, n, found)
            out.append(torch.from_numpy(found).to(values))
        return torch.stack(out).reshape(*self.batch_shape, n)

    @override
    def _diagonal(self) -> Tensor:
        if torch.is_grad_enabled() and self.values.requires_grad:
            return super()._diagonal()
        return self.marginal_variances()

    @override
    def _product(self, rhs: Tensor) -> Tensor:
        return self._divide_transposed(self._divide(rhs))

    @override
    def _solve(self, rhs: Tensor, *_: Any, **__: Any) -> Tensor:
        return self._times(self._times_transposed(rhs))

    @override
    def _logabsdet(self) -> Tensor:
        return -2 * self._log_diagonal()

    @override
    def _logabsdet_derivative(self, grad: Tensor) -> tuple[Tensor | None, ...]:
        return self._on_diagonal(-2 * grad)

    @override
    def _outer(self, left: Tensor, right: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        a, b = self._divide(left), self._divide(right)
        return -self._divide_transposed(a), b, -self._divide_transposed(b), a

    @override
    def zero_mean_mvn_samples(self, num_samples: int, random_state: RandomState = None) -> Tensor:
        """Exact draws ``U⁻ᵀ ε``, shape (num_samples, ..., n), O(nnz) each.

        Parameters
        ----------
        num_samples : int
        random_state : int, numpy or torch generator, or None
        """
        shape = *self.batch_shape, self.pattern.n, num_samples
        noise = torch.randn(shape, dtype=self.dtype, generator=as_generator(random_state))
        return self._divide_transposed(noise.to(self.device)).movedim(-1, 0)


class SparsePrecisionOperator(_SparseFactored):
    """The precision ``U Uᵀ``: `SparseInverseCholeskyOperator.precision`.

    Parameters
    ----------
    factor : sparse Tensor, shape (n, n)
        Upper triangular with a positive diagonal.
    """

    @override
    def _diagonal(self) -> Tensor:
        zero = self.values.new_zeros(*self.batch_shape, self.pattern.n)
        return zero.index_add(-1, self.pattern.rows, self.values.square())

    @override
    def _product(self, rhs: Tensor) -> Tensor:
        return self._times(self._times_transposed(rhs))

    @override
    def _solve(self, rhs: Tensor, *_: Any, **__: Any) -> Tensor:
        return self._divide_transposed(self._divide(rhs))

    @override
    def _logabsdet(self) -> Tensor:
        return 2 * self._log_diagonal()

    @override
    def _logabsdet_derivative(self, grad: Tensor) -> tuple[Tensor | None, ...]:
        return self._on_diagonal(2 * grad)

    @override
    def _outer(self, left: Tensor, right: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        return left, self._times_transposed(right), right, self._times_transposed(left)


def _read(factor: Tensor) -> tuple[Tensor, Pattern]:
    if not isinstance(factor, Tensor) or factor.layout not in (
        torch.sparse_coo,
        torch.sparse_csr,
        torch.sparse_csc,
    ):
        given = f"layout {factor.layout}" if isinstance(factor, Tensor) else type(factor).__name__
        raise ArgumentTypeError("factor", given, "give a sparse tensor: U.to_sparse()")
    if factor.dim() != 2 or factor.shape[0] != factor.shape[1] or not len(factor):
        raise ArgumentError("factor", f"shape {tuple(factor.shape)}", "give (n, n), n at least 1")
    entries = factor.to_sparse_coo().coalesce()
    check_finite("factor", check_floating("factor", entries.values()))
    rows, columns = entries.indices()
    places = torch.argsort(columns, stable=True)
    rows, columns, values = rows[places], columns[places], entries.values()[places]
    n = len(factor)
    if bool((rows > columns).any()):
        at = int((rows > columns).nonzero()[0])
        given = f"an entry in row {int(rows[at])}, column {int(columns[at])}"
        raise ArgumentError("factor", given, "give an upper triangular matrix")
    counts = torch.bincount(columns, minlength=n)
    starts = torch.cat([counts.new_zeros(1), counts.cumsum(0)])
    last = (starts[1:] - 1).clamp(min=0)
    on_diagonal = (
        (counts > 0)
        & (rows[last] == columns[last])
        & (columns[last] == torch.arange(n, device=columns.device))
    )
    positive = on_diagonal & (values[last] > 0)
    if not bool(positive.all()):
        at = int((~positive).nonzero()[0])
        given = f"a diagonal that is not positive in column {at}"
        raise ArgumentError("factor", given, "give a factor with a positive diagonal")
    return values, Pattern(starts, rows, columns)


def _csr(starts: Tensor, columns: Tensor, values: Tensor) -> Tensor:
    n = len(starts) - 1
    with warnings.catch_warnings():
        # That support is in beta, which is torch's affair.
        warnings.filterwarnings("ignore", message="Sparse CSR", category=UserWarning)
        return torch.sparse_csr_tensor(starts, columns, values, (n, n), check_invariants=False)


@cache
def _triangular() -> Any:
    # numba takes a second or two to import, which users of other operators should not wait.
    return import_module("kernelgp.operators.triangular")
