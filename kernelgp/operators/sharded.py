"""An operator whose products are shared out over the processes of a `torch.distributed` group."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any, cast

import torch
import torch.distributed as dist
from linear_operator import LinearOperator, to_linear_operator
from torch import Tensor
from typing_extensions import override

from kernelgp.errors import ArgumentTypeError
from kernelgp.linalg.protocol import own_columns
from kernelgp.operators.kernel_operator import KernelOperator
from kernelgp.operators.noisy import NoisyKernelOperator, diagonal_values
from kernelgp.operators.positive_definite import PositiveDefinite
from kernelgp.operators.products import ProductOperator
from kernelgp.operators.ranks import Ranks
from kernelgp.operators.shares import Share, share_of

__all__ = ["ShardedOperator", "share_out"]


class ShardedOperator(ProductOperator):
    """The same matrix as `op`, each product computed in shares by several processes.

    Every process runs the same program: it holds the same points, hyperparameters and vectors,
    computes its share of a product or of a derivative, and receives the whole. So everything
    that multiplies, all of `kernelgp.linalg` and gpytorch included, runs over the group
    unchanged, gives the same numbers in every process, and the numbers of one process to
    rounding. The factor of a preconditioner is kept in shares of rows too.

    A kernel matrix is shared out by rows; a symmetric one by parts of its upper triangle, so
    that each entry is still computed once. Of other operators the columns of the right-hand
    side are shared out, and what solves itself does so in every process. What is small enough
    for a Cholesky factor is factorised in every process.

    Parameters
    ----------
    op : LinearOperator or Tensor, shape (..., n, m)
        Equal in all processes.
    process_group
        None for the default group. Gloo on a CPU, NCCL on CUDA, one process for each device.

    Raises
    ------
    ArgumentError
        If there is no process group.
    LostRankError
        By whatever multiplies, when another process has died or does not answer; the message
        names its rank.

    Examples
    --------
    A group of one; ``torchrun --nproc-per-node 2`` starts a script in two processes.

    >>> import tempfile
    >>> import torch.distributed as dist
    >>> from kernelgp.kernels import RBF
    >>> folder = tempfile.TemporaryDirectory()
    >>> dist.init_process_group("gloo", f"file://{folder.name}/run", rank=0, world_size=1)
    >>> K = ShardedOperator(KernelOperator(RBF(), torch.tensor([[0.0], [1.0]])))
    >>> (K @ torch.ones(2)).detach()
    tensor([1.6065, 1.6065])
    >>> dist.destroy_process_group()
    >>> folder.cleanup()
    """

    def __init__(self, op: LinearOperator | Tensor, process_group: Any = None) -> None:
        if not isinstance(op, LinearOperator | Tensor):
            raise ArgumentTypeError("op", type(op).__name__, "give a LinearOperator or a tensor")
        self._set(to_linear_operator(op), Ranks(process_group))

    def _set(self, op: LinearOperator, team: Ranks) -> None:
        LinearOperator.__init__(self, op)
        self.op, self.team = op, team
        # What linalg looks for by name is here if it is there, on the instance: a property of
        # the class would promise it for every operator.
        if isinstance(op, NoisyKernelOperator):
            self.base, self.noise = self._of(op.base), op.noise
        for name in ("direct_solve", "direct_logdet", "preconditioner"):
            if hasattr(op, name):
                setattr(self, name, getattr(op, name))

    def _of(self, op: LinearOperator) -> "ShardedOperator":
        new = ShardedOperator.__new__(ShardedOperator)
        new._set(op, self.team)
        return new

    @property
    def process_group(self) -> Any:
        """The group, or None for the default one."""
        return self.team.process_group

    @cached_property
    def _share(self) -> Share:
        return share_of(self.op, self.team)

    @property
    def is_symmetric(self) -> bool:
        """Whether `op` says that it is."""
        return bool(getattr(self.op, "is_symmetric", False))

    @override
    def representation_tree(self) -> "_Tree":
        return _Tree(self.op.representation_tree(), self.team)

    @override
    def type(self, dtype: torch.dtype) -> "ShardedOperator":
        return self._of(self.op.type(dtype))

    @override
    def _size(self) -> torch.Size:
        return self.op.shape

    @override
    def _transpose_nonbatch(self) -> "ShardedOperator":
        return self._of(self.op._transpose_nonbatch())

    @override
    def _plain_product(self, rhs: Tensor, *, transpose: bool) -> Tensor:
        with torch.no_grad():
            return self._share.product(rhs, transpose=transpose)

    @override
    def _derivative(self, left: Tensor, right: Tensor) -> tuple[Tensor | None, ...]:
        return self._total(self._share.derivative(left, right))

    @override
    def _weighted_derivative(self, weights: Tensor) -> tuple[Tensor | None, ...]:
        eye = torch.eye(self.shape[-1], dtype=self.dtype, device=self.device)
        return self._total(self._share.derivative(weights, eye.expand_as(weights)))

    def _total(self, parts: tuple[Tensor | None, ...]) -> tuple[Tensor | None, ...]:
        """The sums over all processes of the derivatives by the tensors that need them."""
        return tuple(
            self.team.sum(torch.zeros_like(tensor) if part is None else part)
            if tensor.requires_grad
            else None
            for part, tensor in zip(parts, self.representation(), strict=True)
        )

    @override
    def to_dense(self) -> Tensor:
        """The matrix, (..., n, m), with a graph; computed in every process."""
        return self.op.to_dense()

    @override
    def _diagonal(self) -> Tensor:
        return self.op._diagonal()

    @override
    def _get_indices(self, row_index: Tensor, col_index: Tensor, *batch_indices: Tensor) -> Tensor:
        return cast(Any, self.op)._get_indices(row_index, col_index, *batch_indices)

    @override
    def _getitem(self, row_index: Any, col_index: Any, *batch_indices: Any) -> LinearOperator:
        return self._of(self.op._getitem(row_index, col_index, *batch_indices))

    @override
    def _expand_batch(self, batch_shape: torch.Size | list[int]) -> "ShardedOperator":
        return self._of(self.op._expand_batch(batch_shape))

    @override
    def _unsqueeze_batch(self, dim: int) -> "ShardedOperator":
        return self._of(self.op._unsqueeze_batch(dim))

    @override
    def _permute_batch(self, *dims: int) -> "ShardedOperator":
        return self._of(self.op._permute_batch(*dims))

    @override
    def _mul_constant(self, other: Any) -> LinearOperator:
        return self._of(self.op._mul_constant(other))

    @override
    def add_diagonal(self, diag: Tensor) -> LinearOperator:
        """``A + diag(diag)``, with `diag` of shape (), (..., 1) or (..., n), not negative."""
        if isinstance(self.op, PositiveDefinite):
            return NoisyKernelOperator(self, diag)
        return self._of(self.op.add_diagonal(diag))

    @override
    def __add__(self, other: Any) -> Any:
        values = diagonal_values(other)
        if values is not None and isinstance(self.op, PositiveDefinite) and (values >= 0).all():
            return NoisyKernelOperator(self, values)
        return super().__add__(other)

    def rows(self, index: Tensor) -> Tensor:
        """Rows of the matrix, shape (len(index), m)."""
        mine = self.team.rows(self.shape[-1])
        return self.team.join(self.own_columns(index, mine).mT, self.shape[-1]).mT

    def own_columns(self, index: Tensor, columns: slice) -> Tensor:
        """The part in `columns` of rows of the matrix, computed in this process."""
        if isinstance(self.op, KernelOperator):
            if columns.start == columns.stop:
                return self.op.x1.new_empty(len(index), 0)
            return self.op._getitem(index, columns).to_dense()
        return own_columns(cast(Any, self.op), index, columns)

    # Operators that are no kernel matrices have solves of their own.

    @override
    def solve(self, right_tensor: Tensor, left_tensor: Tensor | None = None) -> Tensor:
        """``A⁻¹ R``, or ``L A⁻¹ R`` where `left_tensor` is given."""
        if isinstance(self.op, PositiveDefinite):
            return super().solve(right_tensor, left_tensor)
        return self.op.solve(right_tensor, left_tensor)

    @override
    def inv_quad_logdet(
        self,
        inv_quad_rhs: Tensor | None = None,
        logdet: bool | None = False,
        reduce_inv_quad: bool | None = True,
    ) -> tuple[Tensor, Tensor]:
        if isinstance(self.op, PositiveDefinite):
            return super().inv_quad_logdet(inv_quad_rhs, logdet, reduce_inv_quad)
        return cast(Any, self.op).inv_quad_logdet(inv_quad_rhs, logdet, reduce_inv_quad)

    def __repr__(self) -> str:
        return f"ShardedOperator({self.op!r}, rank {self.team.rank} of {self.team.size})"


def share_out(op: LinearOperator) -> LinearOperator:
    """`op` over the processes of the default group; `op` itself where there is only this one."""
    if not dist.is_available() or not dist.is_initialized() or dist.get_world_size() == 1:
        return op
    return ShardedOperator(op)


@dataclass(frozen=True, slots=True, eq=False)
class _Tree:
    """Builds the operator again from other tensors (linear_operator's representation tree)."""

    op: Any
    team: Ranks

    def __call__(self, *tensors: Tensor) -> ShardedOperator:
        new = ShardedOperator.__new__(ShardedOperator)
        new._set(self.op(*tensors), self.team)
        return new
