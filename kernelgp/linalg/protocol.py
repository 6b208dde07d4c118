"""What the algorithms ask of a matrix: that it knows its shape and multiplies.

`linalg` never imports `kernelgp.operators`. A lazy operator of ours, one of linear_operator's,
or a class written in a notebook is good enough if it looks like `Matrix`; the structure that
makes a solve quick is looked up by name, here and nowhere else.
"""

from collections.abc import Callable
from typing import Any, Protocol, cast, runtime_checkable

import torch
from linear_operator import LinearOperator, to_linear_operator
from torch import Tensor

from kernelgp.errors import ArgumentError, ArgumentTypeError
from kernelgp.validation import check_finite, check_floating, check_same

__all__ = ["Direct", "Map", "Matrix", "Preconditioned", "Shifted"]

Map = Callable[[Tensor], Tensor]


class Matrix(Protocol):
    """A real matrix or a batch of them, shape (..., m, n), that need not be stored.

    It may also have ``rows(index) -> Tensor``, shape (len(index), n); where it has not, rows
    are read by indexing or, at the cost of a product, with columns of the identity.
    """

    @property
    def shape(self) -> torch.Size: ...
    @property
    def dtype(self) -> torch.dtype: ...
    @property
    def device(self) -> torch.device: ...

    def matmul(self, rhs: Tensor, /) -> Tensor:
        """The product with a tensor of shape (..., n, k)."""
        ...

    def diagonal(self) -> Tensor:
        """The diagonal, shape (..., n)."""
        ...

    def double(self) -> "Matrix":
        """The same matrix, computed in float64."""
        ...


@runtime_checkable
class Shifted(Protocol):
    """A matrix that is ``base + diag(noise)`` and says so: `base` can be made low-rank.

    `noise` expands to shape (..., n).
    """

    @property
    def base(self) -> Matrix: ...
    @property
    def noise(self) -> Tensor: ...


@runtime_checkable
class Direct(Protocol):
    """A matrix whose structure solves exactly, such as a Kronecker product."""

    def direct_solve(self, rhs: Tensor, /) -> Tensor:
        """``A⁻¹ rhs`` for a tensor of shape (..., n, k), to the accuracy of its dtype."""
        ...


@runtime_checkable
class Preconditioned(Protocol):
    """A matrix that knows what is nearly its inverse, such as a grid with missing cells."""

    def preconditioner(self) -> Map:
        """A function that applies it to float64 columns, shape (..., n, k)."""
        ...


def as_matrix(name: str, op: Any) -> Matrix:
    """`op` as a `Matrix`: a tensor is wrapped, anything that multiplies is passed on."""
    if isinstance(op, Tensor):
        check_floating(name, op)
        if op.dim() < 2:
            raise ArgumentError(name, f"shape {tuple(op.shape)}", "give a matrix, (..., n, n)")
        return cast(Matrix, to_linear_operator(check_finite(name, op.detach())))
    missing = [
        attribute
        for attribute in ("shape", "dtype", "device", "matmul", "diagonal", "double")
        if not hasattr(op, attribute)
    ]
    if missing:
        given = f"{type(op).__name__} without {', '.join(missing)}"
        raise ArgumentTypeError(name, given, "give a tensor or an operator that multiplies")
    if op.dtype not in (torch.float32, torch.float64):
        raise ArgumentError(name, str(op.dtype), "convert it to float32 or float64")
    return op


def as_square(name: str, op: Any) -> Matrix:
    """`as_matrix`, and as many rows as columns."""
    matrix = as_matrix(name, op)
    if matrix.shape[-1] != matrix.shape[-2] or 0 in matrix.shape:
        given = f"shape {tuple(matrix.shape)}"
        raise ArgumentError(name, given, "give a square one, or use linalg.lsmr")
    return matrix


def as_columns(op: Matrix, rhs: Any, *, batched: bool = True) -> Tensor:
    """`rhs` as columns of shape (..., m, k) that match the m rows of `op`.

    One dimension is one column; the caller squeezes it again.
    """
    name = "rhs"
    check_floating(name, rhs)
    if not batched and max(len(op.shape), rhs.dim()) > 2:
        given = f"shape {tuple(rhs.shape)} for op of shape {tuple(op.shape)}"
        raise ArgumentError(name, given, "give one matrix at a time, without batch dimensions")
    rows = op.shape[-2]
    columns = rhs.unsqueeze(-1) if rhs.dim() == 1 else rhs
    if columns.dim() < 2 or columns.shape[-2] != rows or columns.shape[-1] == 0:
        remedy = f"give ({rows},) or (..., {rows}, k) to match op, k at least 1"
        raise ArgumentError(name, f"shape {tuple(rhs.shape)}", remedy)
    try:
        torch.broadcast_shapes(op.shape[:-2], columns.shape[:-2])
    except RuntimeError:
        remedy = f"give batch dimensions that broadcast with {tuple(op.shape[:-2])} of op"
        raise ArgumentError(name, f"shape {tuple(rhs.shape)}", remedy) from None
    check_same(name, columns, "op", op)
    return check_finite(name, columns.detach())


def in_double(op: Matrix) -> Matrix:
    """The float64 version; `op` itself, with whatever it has cached, if it is that already."""
    return op if op.dtype == torch.float64 else op.double()


def product(op: Matrix) -> Map:
    """``v -> op @ v`` with the vectors in float64 and the product in the operator's dtype."""
    return lambda vectors: op.matmul(vectors.to(op.dtype)).double()


def rows(op: Matrix, index: Tensor) -> Tensor:
    """Rows of an unbatched matrix, shape (len(index), n)."""
    if hasattr(op, "rows"):
        return cast(Any, op).rows(index)
    if isinstance(op, LinearOperator):
        selected = cast(Any, op)[index, :]
        return selected if isinstance(selected, Tensor) else selected.to_dense()
    n = op.shape[-1]
    identity = torch.zeros(n, len(index), dtype=op.dtype, device=op.device)
    identity[index, torch.arange(len(index), device=op.device)] = 1.0
    return op.matmul(identity).mT  # a row is a column: the callers' matrices are symmetric


def own_columns(op: Matrix, index: Tensor, columns: slice) -> Tensor:
    """The part in `columns` of some rows of an unbatched symmetric matrix.

    An operator whose work is shared by several processes has a method of this name; of others
    whole rows are computed.
    """
    if hasattr(op, "own_columns"):
        return cast(Any, op).own_columns(index, columns)
    return rows(op, index)[:, columns]


def dense(op: Matrix) -> Tensor:
    """All entries, in the operator's dtype, shape (..., n, n)."""
    if isinstance(op, LinearOperator):
        return op.to_dense()
    return op.matmul(torch.eye(op.shape[-1], dtype=op.dtype, device=op.device))


def split(op: Matrix) -> tuple[Matrix, Tensor] | None:
    """Base and noise, (..., n) in float64, of ``base + diag(noise)``; None without structure."""
    if isinstance(op, Shifted):
        base, noise = op.base, op.noise
    elif hasattr(op, "_linear_op") and hasattr(op, "_diag_tensor"):
        added = cast(Any, op)  # linear_operator's AddedDiagLinearOperator has no public names
        base, noise = added._linear_op, added._diag_tensor.diagonal()
    else:
        return None
    noise = noise.detach().double().expand(op.shape[:-1])
    # Without noise there is nothing to scale by: the matrix is as good as its base.
    return (base, noise) if bool((noise > 0).all()) else None


def check_symmetric(op: Matrix) -> None:
    """Raise if some entries, read in float64 from random rows, differ from their mirror."""
    exact, n = in_double(op), op.shape[-1]
    generator = torch.Generator().manual_seed(0)
    if len(op.shape) == 2 and (hasattr(op, "rows") or isinstance(op, LinearOperator)):
        index = torch.randperm(n, generator=generator)[:64].to(op.device)
        block = rows(exact, index)[:, index]
        difference, scale = (block - block.mT).abs().max().item(), block.abs().max().item()
    else:
        pair = torch.randn(n, 2, generator=generator, dtype=torch.float64).to(op.device)
        block = pair.mT @ exact.matmul(pair)
        difference = (block - block.mT).abs().max().item()
        scale = block.diagonal(dim1=-2, dim2=-1).abs().max().item()
    # Float32 inputs of a kernel are exact in float64; only entries stored in float32 differ.
    if difference > 1e-5 * scale:
        given = f"an operator with |A - Aᵀ| up to {difference:.1e} beside |A| of {scale:.1e}"
        raise ArgumentError("op", given, "give a symmetric one, or use linalg.gmres or lsmr")
