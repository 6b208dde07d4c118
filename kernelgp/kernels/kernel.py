"""A kernel: how it describes itself to the operators, to gpytorch and to people.

Every kernel here is a `gpytorch.kernels.Kernel`, so gpytorch's models, priors and constraints
take it as it is. It describes itself once, by `Kernel.expression`, in float64; an operator
evaluates that in the dtype of the data.
"""

from abc import abstractmethod
from collections.abc import Callable, Sequence
from copy import deepcopy
from numbers import Real
from types import ModuleType
from typing import Any

import gpytorch
import torch
from torch import Tensor
from typing_extensions import override

from kernelgp.errors import ArgumentError
from kernelgp.kernels.analysis import Analysis
from kernelgp.kernels.ladder import Orders
from kernelgp.kernels.positive import ExactPositive
from kernelgp.operators import KernelOperator
from kernelgp.operators import expression as nodes
from kernelgp.validation import check_floating, check_positive

__all__ = ["Kernel", "show"]


class Kernel(Analysis, gpytorch.kernels.Kernel):
    """A covariance function that describes itself by a small tree of expressions.

    ``kernel(x1, x2)`` is a lazy `KernelOperator`. ``2.0 * kernel`` scales it, ``+`` and ``*``
    combine it with others, ``kernel**3`` is a power; all of it runs inside one tile.

    Parameters
    ----------
    active_dims : sequence of int, optional
        The columns of the points that the kernel looks at; all of them by default.
    batch_shape
        Shape of the batch of hyperparameters.

    Raises
    ------
    ArgumentError
        If `active_dims` is empty, negative or repeats a column.

    Notes
    -----
    gpytorch's buffer of the name `active_dims` stays empty, and `columns` holds them: gpytorch
    would select the columns before `forward`, and the expression selects them again.
    """

    def __init__(
        self, active_dims: Sequence[int] | None = None, batch_shape: torch.Size | None = None
    ) -> None:
        super().__init__(batch_shape=batch_shape)
        self.columns = None if active_dims is None else _check_columns(active_dims)

    @abstractmethod
    def expression(self) -> nodes.Node:
        """The kernel for the operators, with a graph to the raw parameters."""

    def depends_on(self, columns: Orders) -> frozenset[int]:
        """Those of the columns that the kernel looks at."""
        return frozenset(columns if self.columns is None else self.columns)

    @property
    def variance(self) -> Tensor:
        """``k(x, x)`` of a stationary kernel, of shape (*batch,)."""
        return torch.ones((), dtype=torch.float64)

    def arguments(self) -> dict[str, Any]:
        """What the constructor was told, at its present values, for `repr`."""
        return {}

    @property
    @override
    def is_stationary(self) -> bool:
        return False

    @override
    def __call__(
        self,
        x1: Tensor,
        x2: Tensor | None = None,
        diag: bool = False,
        last_dim_is_batch: bool = False,
        **_: Any,
    ) -> Any:
        # gpytorch's own would wrap the operator, lazy already, into a lazy tensor.
        if last_dim_is_batch:
            remedy = "sum kernels with active_dims instead"
            raise ArgumentError("last_dim_is_batch", "True", remedy)
        x1 = x1.unsqueeze(-1) if x1.dim() == 1 else x1
        if x2 is not None and x2.dim() == 1:
            x2 = x2.unsqueeze(-1)
        return self.forward(x1, x1 if x2 is None else x2, diag=diag)

    @override
    def forward(self, x1: Tensor, x2: Tensor, diag: bool = False, **_: Any) -> Any:
        covariance = KernelOperator(self, x1, None if x2 is x1 else x2)
        return covariance.diagonal() if diag else covariance

    @override
    def check_columns(self, x: Tensor) -> None:
        """Refuse points whose number of columns the kernel cannot take.

        Raises
        ------
        ArgumentError
            Naming `active_dims`, or the hyperparameter with another number of entries.
        """
        d = check_floating("x1", x).shape[-1]
        for leaf in nodes.leaves(self.expression()):
            columns = range(d) if leaf.active_dims is None else leaf.active_dims
            if max(columns) >= d:
                remedy = f"the points have {d} columns: name those from 0 to {d - 1}"
                raise ArgumentError("active_dims", str(leaf.active_dims), remedy)
            # Embedding one point raises what embedding all of them would, much later.
            device = leaf.tensors[0].device if leaf.tensors else x.device
            point = torch.zeros(1, len(columns), dtype=torch.float64, device=device)
            leaf.profile.embed(point, *leaf.tensors)

    def register_scalar(self, name: str, value: Any) -> None:
        """Set the `Hyperparameter` of that name: one number for each kernel of the batch."""
        values = check_positive(name, value, zero=getattr(type(self), name).zero)
        self._batch_shape = self._batch_shape or values.shape
        if values.dim() and values.shape != self._batch_shape:
            remedy = f"give one number or shape {tuple(self._batch_shape)}, that of the batch"
            raise ArgumentError(name, f"shape {tuple(values.shape)}", remedy)
        setattr(self, name, values.expand(self._batch_shape))

    def select(self, points: Tensor) -> Tensor:
        """The active columns."""
        return points if self.columns is None else points[..., list(self.columns)]

    def select_orders(self, orders1: Orders, orders2: Orders) -> tuple[Orders, Orders] | None:
        """Those of the active columns; None where another order is not 0, so all vanishes."""
        if self.columns is None:
            return orders1, orders2
        for column, (i, j) in enumerate(zip(orders1, orders2, strict=True)):
            if i + j > 0 and column not in self.columns:
                return None
        return tuple(orders1[c] for c in self.columns), tuple(orders2[c] for c in self.columns)

    def select_frequencies(self, frequencies: Tensor, columns: Orders) -> Tensor:
        """Frequencies along the columns named, in the order of `active_dims`."""
        if self.columns is None:
            return frequencies
        if set(self.columns) != set(columns):
            remedy = "its density is a point mass along the other columns: leave them out"
            raise ArgumentError("active_dims", f"{self.columns} of {len(columns)}", remedy)
        return frequencies[..., [columns.index(column) for column in self.columns]]

    @override
    def __add__(self, other: Any) -> gpytorch.kernels.Kernel:
        if isinstance(other, Kernel):
            return _combination().SumKernel(self, other)
        is_foreign = isinstance(other, gpytorch.kernels.Kernel)
        return super().__add__(other) if is_foreign else NotImplemented

    @override
    def __mul__(self, other: Any) -> gpytorch.kernels.Kernel:
        if isinstance(other, Kernel):
            return _combination().ProductKernel(self, other)
        if isinstance(other, Real | Tensor):
            return _combination().ScaledKernel(other, self)
        is_foreign = isinstance(other, gpytorch.kernels.Kernel)
        return super().__mul__(other) if is_foreign else NotImplemented

    def __rmul__(self, other: Any) -> "Kernel":
        is_number = isinstance(other, Real | Tensor)
        return _combination().ScaledKernel(other, self) if is_number else NotImplemented

    def __pow__(self, exponent: int) -> "Kernel":
        return _combination().PowerKernel(self, exponent)

    @override
    def expand_batch(self, *sizes: Any) -> "Kernel":
        size = torch.Size(sizes if isinstance(sizes[0], int) else sizes[0])
        return _map_batch(self, lambda t, batch_dims: t.expand(*size, *t.shape[batch_dims:]))

    @override
    def __getitem__(self, index: Any) -> "Kernel":
        if not self.batch_shape:
            return self
        index = index if isinstance(index, tuple) else (index,)
        return _map_batch(self.expand_batch(self.batch_shape), lambda t, _: t[index])

    @override
    def __repr__(self) -> str:
        shown = self.arguments()
        if self.columns is not None:
            shown = {**shown, "active_dims": self.columns}
        return f"{type(self).__name__}({', '.join(f'{k}={show(v)}' for k, v in shown.items())})"


def _check_columns(active_dims: Sequence[int]) -> Orders:
    columns = tuple(int(column) for column in active_dims)
    if not columns or min(columns) < 0 or len(set(columns)) < len(columns):
        remedy = "name at least one column, each once, counted from 0"
        raise ArgumentError("active_dims", str(active_dims), remedy)
    return columns


def _map_batch(kernel: Kernel, function: Callable[[Tensor, int], Tensor]) -> Kernel:
    """A copy in which every hyperparameter is ``function(it, its number of batch dimensions)``."""
    copy = deepcopy(kernel)
    for module in copy.modules():
        if not isinstance(module, Kernel):
            continue
        batch_dims = len(module._batch_shape)
        for name, parameter in module.named_parameters(recurse=False):
            parameter.data = function(parameter.data, batch_dims)
            constraint = module.constraint_for_parameter_name(name)
            if isinstance(constraint, ExactPositive):
                constraint.reference = function(constraint.reference, batch_dims)
        module._batch_shape = function(torch.empty(module._batch_shape), batch_dims).shape
    return copy


def show(value: Any) -> str:
    """A value as one would write it: six digits, a lengthscale of one entry as a number."""
    if isinstance(value, Tensor):
        value = value.item() if value.numel() == 1 else value.detach().squeeze().tolist()
    if isinstance(value, float):
        return repr(float(f"{value:.6g}"))
    if isinstance(value, list | tuple):
        inner = ", ".join(map(show, value))
        return f"[{inner}]" if isinstance(value, list) else str(value)
    return repr(value)


def _combination() -> ModuleType:
    # A circle by nature, cut here: kernels add up to sums, and sums are kernels.
    from kernelgp.kernels import combination  # noqa: PLC0415

    return combination
