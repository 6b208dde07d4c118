"""Rows of a matrix, dense or sparse, with what a sketch asks of them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse
from torch import Tensor

from kernelgp.errors import ArgumentError, ArgumentTypeError
from kernelgp.validation import check_finite, check_floating

__all__ = ["RowTable", "as_rows"]

# Gaussian weights are drawn for so many rows at a time.
_BLOCK = 4096


@dataclass(frozen=True, slots=True, eq=False)
class RowTable:
    """A dense tensor, or a scipy CSR array and the device its products go to.

    Attributes
    ----------
    rows : Tensor or csr_array, shape (n_rows, n_columns)
    """

    rows: Any
    device: torch.device

    @property
    def is_sparse(self) -> bool:
        """Whether the rows are stored by their entries that are not zero."""
        return not isinstance(self.rows, Tensor)

    @property
    def n_rows(self) -> int:
        return self.rows.shape[0]

    @property
    def n_columns(self) -> int:
        return self.rows.shape[1]

    @property
    def dtype(self) -> torch.dtype:
        if isinstance(self.rows, Tensor):
            return self.rows.dtype
        return torch.float32 if self.rows.dtype == np.float32 else torch.float64

    @property
    def nbytes(self) -> int:
        if isinstance(self.rows, Tensor):
            return self.rows.numel() * self.rows.element_size()
        return self.rows.data.nbytes + self.rows.indices.nbytes + self.rows.indptr.nbytes

    def at(self, index: Tensor | slice) -> "RowTable":
        """Some of the rows."""
        if self.is_sparse and isinstance(index, Tensor):
            return RowTable(self.rows[index.cpu().numpy()], self.device)
        return RowTable(self.rows[index], self.device)

    def largest(self) -> float:
        """The largest entry in size."""
        if isinstance(self.rows, Tensor):
            return self.rows.detach().abs().max().item()
        return float(np.abs(self.rows.data).max(initial=0.0))

    def squares_by_row(self, unit: float) -> Tensor:
        """Squared norm of every row in units of `unit`, (n_rows,) float64."""
        if isinstance(self.rows, Tensor):
            return (self.rows.detach().double() / unit).square().sum(dim=-1)
        square = (self.rows.astype(np.float64) / unit).power(2).sum(axis=1)
        return torch.from_numpy(np.asarray(square).ravel()).to(self.device)

    def squared(self, unit: float) -> "RowTable":
        """Every entry squared in units of `unit`, in float64."""
        if isinstance(self.rows, Tensor):
            return RowTable((self.rows.detach().double() / unit).square(), self.device)
        return RowTable((self.rows.astype(np.float64) / unit).power(2), self.device)

    def weighted_product(self, other: "RowTable", weights: Tensor) -> Tensor:
        """``Σ_i weights_i self_iᵀ other_i``, (n_columns, other's), summed in float64."""
        if self.is_sparse and not other.is_sparse:
            return other.weighted_product(self, weights).mT
        if not self.is_sparse:
            weighted = self.rows.double() * weights.unsqueeze(-1)
            # A sparse factor stands on the left, as torch wants it.
            product = other._transposed() @ weighted
            return product.mT.to(self.dtype)
        scaled = sparse.dia_array((weights.cpu().numpy()[None], [0]), shape=(self.n_rows,) * 2)
        product = (scaled @ self._in_double()).T @ other._in_double()
        return torch.from_numpy(product.toarray()).to(self.device, self.dtype)

    def _transposed(self) -> Tensor:
        if isinstance(self.rows, Tensor):
            return self.rows.double().mT
        return _to_torch(self._in_double().T.tocoo(), self.device)

    def _in_double(self) -> Any:
        return self.rows.astype(np.float64)

    def mixed_by_sparse(self, mixing: Any) -> "RowTable":
        """``mixing @ rows`` for a scipy array; dense, as sums of many rows have few zeros."""
        if self.is_sparse:
            return self._dense((mixing @ self._in_double()).toarray())
        matrix = _to_torch(mixing.tocoo(), self.device).to(self.dtype)
        return RowTable(torch.sparse.mm(matrix, self.rows), self.device)

    def mixed_by_gaussian(self, size: int, generator: torch.Generator) -> "RowTable":
        """`size` sums of all rows with independent Gaussian weights of variance ``1 / size``."""
        total: Any = 0
        for start in range(0, self.n_rows, _BLOCK):
            block = self.at(slice(start, start + _BLOCK))
            shape = (size, block.n_rows)
            weights = torch.randn(shape, generator=generator, dtype=torch.float64) * size**-0.5
            if self.is_sparse:
                total = total + weights.numpy() @ block._in_double()
            else:
                total = total + weights.to(self.device, self.dtype) @ block.rows
        return RowTable(total, self.device) if not self.is_sparse else self._dense(total)

    def _dense(self, rows: NDArray[np.float64]) -> "RowTable":
        return RowTable(torch.from_numpy(rows).to(self.device, self.dtype), self.device)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """What a file holds."""
        if isinstance(self.rows, Tensor):
            return {"rows": self.rows.detach().cpu().numpy()}
        return {
            "values": self.rows.data,
            "columns": self.rows.indices,
            "starts": self.rows.indptr,
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]], n_columns: int) -> "RowTable":
        device = torch.device("cpu")
        if "rows" in arrays:
            return cls(torch.as_tensor(arrays["rows"]), device)
        parts = (arrays["values"], arrays["columns"], arrays["starts"])
        shape = (len(arrays["starts"]) - 1, n_columns)
        return cls(sparse.csr_array(parts, shape=shape), device)


def as_rows(name: str, a: Any) -> RowTable:
    """A dense or sparse matrix of float32 or float64, checked."""
    device = a.device if isinstance(a, Tensor) else torch.device("cpu")
    if isinstance(a, Tensor) and a.layout != torch.strided:
        a = _to_scipy(name, a)
    if isinstance(a, np.ndarray):
        if a.dtype not in (np.float32, np.float64):
            raise ArgumentError(name, f"dtype {a.dtype}", "convert it to float32 or float64")
        a = torch.from_numpy(np.ascontiguousarray(a))
    if isinstance(a, Tensor):
        rows: Any = check_floating(name, a)
    elif sparse.issparse(a):
        if a.dtype not in (np.float32, np.float64):
            raise ArgumentError(name, f"dtype {a.dtype}", "convert it to float32 or float64")
        rows = sparse.csr_array(a)
        rows = rows if rows.has_canonical_format else _summed(rows)
    else:
        remedy = "give a torch tensor, a numpy array or a scipy sparse matrix"
        raise ArgumentTypeError(name, type(a).__name__, remedy)
    if rows.ndim != 2 or 0 in rows.shape:
        remedy = "give a matrix, (n, d), with rows and columns"
        raise ArgumentError(name, f"shape {tuple(rows.shape)}", remedy)
    check_finite(name, rows if isinstance(rows, Tensor) else torch.from_numpy(rows.data))
    return RowTable(rows, device)


def _to_scipy(name: str, a: Tensor) -> Any:
    if a.requires_grad:
        given = "a sparse tensor that requires gradients"
        raise ArgumentError(name, given, "detach it, or give a dense one")
    coo = a.to_sparse_coo().coalesce().cpu()
    check_floating(name, coo.values())
    if coo.dim() != 2 or coo.dense_dim():
        remedy = "give a matrix, (n, d), with rows and columns"
        raise ArgumentError(name, f"shape {tuple(a.shape)}", remedy)
    rows, columns = coo.indices().numpy()
    return sparse.coo_array((coo.values().numpy(), (rows, columns)), shape=tuple(a.shape))


def _to_torch(coo: Any, device: torch.device) -> Tensor:
    at = torch.from_numpy(np.stack([coo.row, coo.col]).astype(np.int64))
    return torch.sparse_coo_tensor(at, torch.from_numpy(coo.data), coo.shape).to(device)


def _summed(rows: Any) -> Any:
    rows = rows.copy()
    rows.sum_duplicates()
    return rows
