"""The matrix of a kernel between two sets of points, never formed."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, Protocol, cast

import gpytorch
import torch
from linear_operator import LinearOperator
from linear_operator.utils.generic import _to_helper
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import Module
from typing_extensions import override

from kernelgp.errors import ArgumentError, ArgumentTypeError
from kernelgp.operators.backends.auto import choose_backend
from kernelgp.operators.backends.foreign import ForeignEntries
from kernelgp.operators.backends.fused import FusedEntries
from kernelgp.operators.door import check_fit, check_points, is_same
from kernelgp.operators.kernel_batch import index_kernel
from kernelgp.operators.noisy import NoisyKernelOperator, diagonal_values
from kernelgp.operators.products import ProductOperator
from kernelgp.operators.substitute import substitute

__all__ = ["KernelOperator"]

Backend = Literal["auto", "dense", "tiled", "keops"]
_EVERYTHING = slice(None, None, None)


class _Entries(Protocol):
    """What a backend does for an operator."""

    def matmul(self, rhs: Tensor, *, transpose: bool) -> Tensor: ...
    def dense(self) -> Tensor: ...
    def derivative(self, adjoint: Tensor | tuple[Tensor, Tensor]) -> tuple[Tensor | None, ...]: ...
    def pairs(self, rows: Tensor, columns: Tensor, batch: tuple[Tensor, ...]) -> Tensor: ...


class KernelOperator(ProductOperator):
    """``K(x1, x2)``: products and their gradients in O(n m) time and O(n + m) memory.

    Nothing is computed until it is asked for. Gradients reach `x1`, `x2` and every
    hyperparameter. Computed in the dtype of the points; distances between points are taken so
    that they keep their digits wherever the points lie.

    Parameters
    ----------
    kernel : kernelgp or gpytorch Kernel
        Any gpytorch kernel of one output; one of ours runs in fused tiles, others are asked
        for small dense matrices, one after another.
    x1 : Tensor, shape (..., n, d)
        float32 or float64.
    x2 : Tensor, shape (..., m, d), optional
        None for `x1`: the operator is then symmetric, and costs half.
    backend : {"auto", "dense", "tiled", "keops"}
        "tiled" is a walk over tiles that fit the cache, "dense" forms the matrix and keeps
        it, "keops" needs pykeops. "auto" chooses by device, dimension and size.

    Attributes
    ----------
    backend
        The one that is used.

    Raises
    ------
    ArgumentError
        If points are not floating, not finite, empty, not of shape (..., n, d), or differ in
        dtype, device or d; if the kernel has lengthscales for another d.

    Warns
    -----
    BackendWarning
        If "keops" cannot be used and "tiled" takes over.

    Examples
    --------
    >>> from kernelgp.kernels import RBF
    >>> x = torch.tensor([[0.0], [1.0], [2.0]])
    >>> K = KernelOperator(RBF(lengthscale=1.0), x)
    >>> K.shape, K.backend
    (torch.Size([3, 3]), 'dense')
    >>> (K @ torch.ones(3)).detach()
    tensor([1.7419, 2.2131, 1.7419])
    >>> K[0, 2].detach()  # exp(-2)
    tensor(0.1353)
    """

    def __init__(
        self, kernel: Module, x1: Tensor, x2: Tensor | None = None, *, backend: Backend = "auto"
    ) -> None:
        if not isinstance(kernel, gpytorch.kernels.Kernel):
            remedy = "give a kernel of kernelgp.kernels or of gpytorch"
            raise ArgumentTypeError("kernel", type(kernel).__name__, remedy)
        if backend not in ("auto", "dense", "tiled", "keops"):
            remedy = 'give "auto", "dense", "tiled" or "keops"'
            raise ArgumentError("backend", repr(backend), remedy)
        check_points(x1, x2)
        x2 = None if is_same(x1, x2) else x2
        check_fit(kernel, x1, x2)
        self._set(kernel, x1, x2, identity=None)
        self.backend = choose_backend(backend, kernel, self.shape, x1.shape[-1], x1.device)

    def _set(
        self,
        kernel: Module,
        x1: Tensor,
        x2: Tensor | None,
        identity: tuple[Tensor, Tensor] | None,
    ) -> None:
        LinearOperator.__init__(self, *((x1,) if x2 is None else (x1, x2)))
        self.kernel, self.x1 = kernel, x1
        self._x2, self._identity = x2, identity
        self._kept: dict[Any, Tensor] = {}

    @property
    def x2(self) -> Tensor:
        """Points of the columns, (..., m, d); `x1` itself where the operator is symmetric."""
        return self.x1 if self._x2 is None else self._x2

    @property
    def is_symmetric(self) -> bool:
        """Whether rows and columns are the same points."""
        return self._x2 is None

    @property
    def _entries(self) -> _Entries:
        if self.dtype not in (torch.float32, torch.float64):
            raise ArgumentError("operator", str(self.dtype), "convert it to float32 or float64")
        if not hasattr(self.kernel, "expression"):
            return ForeignEntries(self.kernel, self.x1, self._x2, self.batch_shape)
        backend = "keops" if self.backend == "keops" else "tiled"
        return FusedEntries(
            self.kernel, self.x1, self._x2, self._identity, self.batch_shape, backend
        )

    @override
    def representation(self) -> tuple[Tensor, ...]:
        """`x1`, `x2` unless it is `x1`, and every hyperparameter of the kernel."""
        points = (self.x1,) if self._x2 is None else (self.x1, self._x2)
        return *points, *self.kernel.parameters()

    @override
    def representation_tree(self) -> "_Tree":
        return _Tree(self.kernel, self.backend, self.is_symmetric, self._identity, self._kept)

    @override
    def evaluate_kernel(self) -> "KernelOperator":
        return self

    def _map(self, function: Callable[[Tensor], Tensor]) -> "KernelOperator":
        """The operator whose tensors are ``function(tensor)``."""
        tree = _Tree(self.kernel, self.backend, self.is_symmetric, self._identity, {})
        return tree(*map(function, self.representation()))

    @override
    def _size(self) -> torch.Size:
        batch = torch.broadcast_shapes(
            self.x1.shape[:-2], self.x2.shape[:-2], cast(Any, self.kernel).batch_shape
        )
        return torch.Size([*batch, self.x1.shape[-2], self.x2.shape[-2]])

    @override
    def _transpose_nonbatch(self) -> "KernelOperator":
        if self.is_symmetric:
            return self
        identity = None if self._identity is None else (self._identity[1], self._identity[0])
        return self._rebuild(self.kernel, self.x2, self.x1, identity)

    def _rebuild(
        self,
        kernel: Module,
        x1: Tensor,
        x2: Tensor | None,
        identity: tuple[Tensor, Tensor] | None,
    ) -> "KernelOperator":
        new = KernelOperator.__new__(KernelOperator)
        new._set(kernel, x1, x2, identity)
        new.backend = self.backend
        return new

    @override
    def _t_matmul(self, rhs: Tensor) -> Tensor:
        return self._product(rhs, transpose=not self.is_symmetric)

    @override
    def _plain_product(self, rhs: Tensor, *, transpose: bool) -> Tensor:
        if self.backend == "dense":
            matrix = self._matrix()
            return (matrix.mT if transpose else matrix) @ rhs
        return self._entries.matmul(rhs, transpose=transpose)

    def _matrix(self) -> Tensor:
        """The matrix without a graph; kept as long as none of its tensors changes."""
        key = tuple((t.data_ptr(), t._version, t.dtype) for t in self.representation())
        if key not in self._kept:
            self._kept.clear()
            self._kept[key] = self._entries.dense()
        return self._kept[key]

    @override
    def _derivative(self, left: Tensor, right: Tensor) -> tuple[Tensor | None, ...]:
        return self._entries.derivative((left, right))

    @override
    def _weighted_derivative(self, weights: Tensor) -> tuple[Tensor | None, ...]:
        return self._entries.derivative(weights)

    @override
    def to_dense(self) -> Tensor:
        """The matrix, (..., n, m), with a graph: 4 or 8 bytes an entry, and as many backwards."""
        return _Dense.apply(self, *self.representation())

    @override
    def _diagonal(self) -> Tensor:
        index = torch.arange(self.shape[-1], device=self.device)
        batch = torch.meshgrid(
            *(torch.arange(size, device=self.device) for size in (*self.batch_shape, len(index))),
            indexing="ij",
        )[:-1]
        return self._entries.pairs(index, index, batch)

    @override
    def _get_indices(self, row_index: Tensor, col_index: Tensor, *batch_indices: Tensor) -> Tensor:
        return self._entries.pairs(row_index, col_index, batch_indices)

    @override
    def _getitem(self, row_index: Any, col_index: Any, *batch_indices: Any) -> "KernelOperator":
        op = self
        if any(not _is_everything(index) for index in batch_indices):
            op = self._index_batch(batch_indices)
        if _is_everything(row_index) and _is_everything(col_index):
            return op
        x1 = op.x1[..., row_index, :]
        if op.is_symmetric and isinstance(row_index, slice) and row_index == col_index:
            return op._rebuild(op.kernel, x1, None, None)
        n, m = op.shape[-2:]
        everyone = torch.arange(max(n, m), device=op.device)
        rows, columns = op._identity or (everyone[:n], everyone[:m] + (not op.is_symmetric) * n)
        identity = rows[row_index], columns[col_index]
        return op._rebuild(op.kernel, x1, op.x2[..., col_index, :], identity)

    def _index_batch(self, index: tuple[Any, ...]) -> "KernelOperator":
        """The operator with an index applied to its batch dimensions."""
        batch = self.batch_shape
        kernel = index_kernel(self.kernel, batch, index)
        return self._move(lambda x: x.expand(*batch, *x.shape[-2:])[index], kernel)

    @override
    def _expand_batch(self, batch_shape: torch.Size | list[int]) -> "KernelOperator":
        if tuple(batch_shape) == self.batch_shape:
            return self
        return self._move(lambda x: x.expand(*batch_shape, *x.shape[-2:]), self.kernel)

    def _move(self, function: Callable[[Tensor], Tensor], kernel: Module) -> "KernelOperator":
        """The operator of `kernel` at ``function(points)``."""
        x2 = None if self._x2 is None else function(self._x2)
        return self._rebuild(kernel, function(self.x1), x2, self._identity)

    @override
    def _unsqueeze_batch(self, dim: int) -> "KernelOperator":
        return self._index_batch((_EVERYTHING,) * dim + (None,))

    @override
    def _permute_batch(self, *dims: int) -> "KernelOperator":
        grids = torch.meshgrid(
            *(torch.arange(size, device=self.device) for size in self.batch_shape), indexing="ij"
        )
        return self._index_batch(tuple(grid.permute(*dims) for grid in grids))

    @override
    def _mul_constant(self, other: Any) -> LinearOperator:
        factor = torch.as_tensor(other, device=self.device)
        if not (factor > 0).all() or factor.isinf().any():
            return super()._mul_constant(other)
        if hasattr(self.kernel, "expression"):
            kernel = cast(Any, self.kernel) * factor.double()
        else:
            kernel: Any = gpytorch.kernels.ScaleKernel(
                cast(Any, self.kernel), batch_shape=factor.shape
            )
            raw = kernel.raw_outputscale_constraint.inverse_transform(factor.double())
            # Not a leaf, so no `Parameter`: it carries the graph to the caller's tensor.
            kernel._parameters["raw_outputscale"] = raw
        return self._rebuild(kernel, self.x1, self._x2, self._identity)

    @override
    def add_diagonal(self, diag: Tensor) -> LinearOperator:
        """``K + diag(diag)``.

        Parameters
        ----------
        diag : Tensor, shape (), (..., 1) or (..., n)
            Not negative, for example the variance of the noise.
        """
        return NoisyKernelOperator(self, diag)

    @override
    def __add__(self, other: Any) -> Any:
        values = diagonal_values(other)
        if values is not None and self.is_symmetric and (values >= 0).all():
            return NoisyKernelOperator(self, values)
        return super().__add__(other)

    def rows(self, index: Tensor) -> Tensor:
        """Rows of the matrix, shape (..., len(index), m), with a graph."""
        return self._getitem(index, _EVERYTHING).to_dense()

    @override
    def clone(self) -> "KernelOperator":
        return self._map(torch.clone)

    @override
    def detach(self) -> "KernelOperator":
        return self._map(Tensor.detach)

    @override
    def detach_(self) -> "KernelOperator":
        for tensor in self.representation():
            tensor.detach_()
        return self

    @override
    def type(self, dtype: torch.dtype) -> "KernelOperator":
        """The same operator at points of another dtype; hyperparameters keep their own."""
        return self._move(lambda x: x.to(dtype), self.kernel)

    @override
    def to(self, *args: Any, **kwargs: Any) -> "KernelOperator":
        device, dtype = _to_helper(*args, **kwargs)
        moved = self if dtype is None else self.type(dtype)
        if device is None:
            return moved
        new = moved._map(lambda tensor: tensor.to(device))
        if new._identity is not None:
            new._identity = new._identity[0].to(device), new._identity[1].to(device)
        return new

    @override
    def cpu(self) -> "KernelOperator":
        return self.to("cpu")

    @override
    def cuda(self, device_id: Any = None) -> "KernelOperator":
        return self.to(torch.device("cuda", device_id))

    @property
    def requires_grad(self) -> bool:
        return any(tensor.requires_grad for tensor in self.representation())

    @requires_grad.setter
    def requires_grad(self, val: bool) -> None:
        self._set_requires_grad(val)

    @override
    def _set_requires_grad(self, val: bool) -> None:
        for tensor in self.representation():
            tensor.requires_grad_(val)

    def __repr__(self) -> str:
        ours = hasattr(self.kernel, "expression")
        kernel = repr(self.kernel) if ours else type(self.kernel).__name__
        size = " x ".join(map(str, self.shape))
        dtype = str(self.dtype).removeprefix("torch.")
        return f"KernelOperator({kernel}, {size}, {dtype}, backend={self.backend!r})"


@dataclass(frozen=True, slots=True, eq=False)
class _Tree:
    """Builds the operator again from other tensors (linear_operator's representation tree)."""

    kernel: Module
    backend: str
    symmetric: bool
    identity: tuple[Tensor, Tensor] | None
    kept: dict[Any, Tensor]

    def __call__(self, *tensors: Tensor) -> KernelOperator:
        x1, *rest = tensors
        x2 = None if self.symmetric else rest.pop(0)
        op = KernelOperator.__new__(KernelOperator)
        op._set(substitute(self.kernel, rest), x1, x2, self.identity)
        op.backend, op._kept = self.backend, self.kept
        return op


class _Dense(torch.autograd.Function):
    """The whole matrix; its derivative goes back tile by tile."""

    @staticmethod
    def forward(ctx: Any, op: KernelOperator, *representation: Tensor) -> Tensor:
        ctx.op = op
        ctx.save_for_backward(*representation)
        return op._entries.dense()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        _ = ctx.saved_tensors  # raises if one was overwritten
        return None, *ctx.op._weighted_derivative(grad)


def _is_everything(index: Any) -> bool:
    return isinstance(index, slice) and index == _EVERYTHING
