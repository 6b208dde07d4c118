"""How the work on an operator is shared out over the processes of a team.

Every process has the whole operator and whole vectors, and is given the whole answer.
"""

from dataclasses import dataclass, replace
from typing import Protocol, cast

import torch
from linear_operator import LinearOperator
from linear_operator.operators import DenseLinearOperator
from torch import Tensor

from kernelgp.operators.backends.fused import FusedEntries
from kernelgp.operators.kernel_operator import KernelOperator
from kernelgp.operators.noisy import NoisyKernelOperator
from kernelgp.operators.ranks import Ranks

__all__ = ["Share", "share_of"]

_EVERYTHING = slice(None)


class Share(Protocol):
    """How an operator is shared out."""

    def product(self, rhs: Tensor, *, transpose: bool) -> Tensor:
        """The whole product with (..., m, k), the same in every process."""
        ...

    def derivative(self, left: Tensor, right: Tensor) -> tuple[Tensor | None, ...]:
        """What this process computes of the derivative of ``Σ A ∘ (left rightᵀ)``."""
        ...


def share_of(op: LinearOperator, team: Ranks) -> Share:
    """The way that costs least for an operator of this kind."""
    match op:
        case KernelOperator(backend="tiled", is_symmetric=True) if hasattr(op.kernel, "expression"):
            return Strip(op, team)
        case NoisyKernelOperator():
            return Noisy(op, share_of(op.base, team), team)
        case KernelOperator() | DenseLinearOperator():
            return RowBlock(op, team)
        case _:
            return ColumnBlock(op, team)


@dataclass(frozen=True, slots=True, eq=False)
class Strip:
    """A part of the upper triangle of a symmetric kernel matrix, each tile of which serves twice.

    By even rows every entry off the diagonal would be computed in two processes, and two would
    be hardly faster than one.
    """

    op: KernelOperator
    team: Ranks

    @property
    def _entries(self) -> FusedEntries:
        strip = self.team.triangle(self.op.shape[-1])
        return replace(cast(FusedEntries, self.op._entries), strip=strip)

    def product(self, rhs: Tensor, *, transpose: bool) -> Tensor:
        del transpose
        return self.team.sum(self._entries.matmul(rhs, transpose=False))

    def derivative(self, left: Tensor, right: Tensor) -> tuple[Tensor | None, ...]:
        return self._entries.derivative((left, right))


@dataclass(frozen=True, slots=True, eq=False)
class Noisy:
    """A shared matrix and noise, which costs nothing."""

    op: NoisyKernelOperator
    base: Share
    team: Ranks

    def product(self, rhs: Tensor, *, transpose: bool) -> Tensor:
        noise = self.op._diag.unsqueeze(-1)
        return self.base.product(rhs, transpose=transpose) + noise * rhs

    def derivative(self, left: Tensor, right: Tensor) -> tuple[Tensor | None, ...]:
        rows = self.team.rows(left.shape[-2])
        by_diagonal = torch.zeros_like(left[..., 0])
        by_diagonal[..., rows] = (left * right).sum(dim=-1)[..., rows]
        return *self.base.derivative(left, right), self.op._by_noise(by_diagonal)


class RowBlock:
    """A block of rows."""

    def __init__(self, op: LinearOperator, team: Ranks) -> None:
        self._op, self._team, self._rows = op, team, team.rows(op.shape[-2])
        self._empty = self._rows.start == self._rows.stop
        # Kept: the block of a small kernel matrix is formed once.
        self._block = op if self._empty else op._getitem(self._rows, _EVERYTHING)

    def product(self, rhs: Tensor, *, transpose: bool) -> Tensor:
        n, m = self._op.shape[-2:]
        batch = torch.broadcast_shapes(self._op.batch_shape, rhs.shape[:-2])
        if transpose:
            if self._empty:
                return self._team.sum(rhs.new_zeros(*batch, m, rhs.shape[-1]))
            return self._team.sum(cast(Tensor, self._block._t_matmul(rhs[..., self._rows, :])))
        if self._empty:
            return self._team.join(rhs.new_empty(*batch, 0, rhs.shape[-1]), n)
        return self._team.join(cast(Tensor, self._block._matmul(rhs)), n)

    def derivative(self, left: Tensor, right: Tensor) -> tuple[Tensor | None, ...]:
        tensors = self._op.representation()
        if self._empty:
            return (None,) * len(tensors)
        with torch.enable_grad():
            inputs = [t.detach().requires_grad_(t.requires_grad) for t in tensors]
            block = self._op.representation_tree()(*inputs)._getitem(self._rows, _EVERYTHING)
            outputs = block.representation()
        found = block._bilinear_derivative(left[..., self._rows, :], right)
        pairs = [(t, g) for t, g in zip(outputs, found, strict=True) if g is not None]
        pairs = [(t, g) for t, g in pairs if t.requires_grad]
        wanted = [t for t in inputs if t.requires_grad]
        if not pairs:
            return (None,) * len(tensors)
        grads = torch.autograd.grad(
            [t for t, _ in pairs], wanted, [g for _, g in pairs], allow_unused=True
        )
        each = iter(grads)
        return tuple(next(each) if t.requires_grad else None for t in inputs)


@dataclass(frozen=True, slots=True, eq=False)
class ColumnBlock:
    """Some columns of the right-hand side, for operators without cheap rows."""

    op: LinearOperator
    team: Ranks

    def product(self, rhs: Tensor, *, transpose: bool) -> Tensor:
        k = rhs.shape[-1]
        mine = rhs[..., self.team.rows(k)]
        n = self.op.shape[-1 if transpose else -2]
        batch = torch.broadcast_shapes(self.op.batch_shape, rhs.shape[:-2])
        if mine.shape[-1] == 0:
            own = rhs.new_empty(*batch, n, 0)
        else:
            own = self.op._t_matmul(mine) if transpose else self.op._matmul(mine)
        return self.team.join(cast(Tensor, own).mT, k).mT

    def derivative(self, left: Tensor, right: Tensor) -> tuple[Tensor | None, ...]:
        mine = self.team.rows(left.shape[-1])
        if mine.start == mine.stop:
            return (None,) * len(self.op.representation())
        return self.op._bilinear_derivative(left[..., mine], right[..., mine])
