"""The entries of a kernel matrix for any gpytorch kernel, a tile at a time.

The kernel is asked for small dense matrices. The derivative asks again, tile by tile, and
lets autograd differentiate each before the next is begun: memory stays O(n + tile).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import gpytorch
import torch
from torch import Tensor
from torch.nn import Module

from kernelgp.operators.substitute import substitute

__all__ = ["ForeignEntries"]

# Entries of a tile over the whole batch. A kernel's own temporaries are several times this,
# (rows, columns, d) for some.
_ENTRIES = 2**20
_ROWS = 1024


@dataclass(frozen=True, slots=True, eq=False)
class ForeignEntries:
    """The entries of ``K(x1, x2)`` for a kernel that is a gpytorch kernel and no more.

    Parameters
    ----------
    x1, x2 : Tensor, shapes (..., n, d) and (..., m, d)
        `x2` is None where it is `x1`.
    batch
        Batch shape of the matrix.
    """

    kernel: Module
    x1: Tensor
    x2: Tensor | None
    batch: torch.Size

    @property
    def _columns(self) -> Tensor:
        return self.x1 if self.x2 is None else self.x2

    @torch.no_grad()
    def matmul(self, rhs: Tensor, *, transpose: bool) -> Tensor:
        """``K @ rhs`` or ``Kᵀ @ rhs``; rhs of shape (..., m, k) or (..., n, k)."""
        evaluate, x1, x2 = self._prepared()
        batch = torch.broadcast_shapes(self.batch, rhs.shape[:-2])
        n, m = x1.shape[-2], x2.shape[-2]
        out = rhs.new_zeros(*batch, m if transpose else n, rhs.shape[-1])
        for rows, columns in self._tiles():
            tile = evaluate(x1[..., rows, :], x2[..., columns, :])
            if transpose:
                out[..., columns, :] += tile.mT @ rhs[..., rows, :]
            else:
                out[..., rows, :] += tile @ rhs[..., columns, :]
        return out

    @torch.no_grad()
    def dense(self) -> Tensor:
        """The matrix, (..., n, m), without a graph."""
        evaluate, x1, x2 = self._prepared()
        out = x1.new_empty(*self.batch, x1.shape[-2], x2.shape[-2])
        for rows, columns in self._tiles():
            out[..., rows, columns] = evaluate(x1[..., rows, :], x2[..., columns, :])
        return out

    def derivative(self, adjoint: Tensor | tuple[Tensor, Tensor]) -> tuple[Tensor | None, ...]:
        """The derivative of ``Σ A ∘ K`` by `x1`, `x2` (unless it is None), and the parameters.

        Parameters
        ----------
        adjoint : Tensor (..., n, m), or a pair of Tensors (..., n, k) and (..., m, k)
            The weights A, or U and V whose product U Vᵀ they are.
        """
        points = [x for x in (self.x1, self.x2) if x is not None]
        inputs = [
            t.detach().requires_grad_(t.requires_grad) for t in (*points, *self.kernel.parameters())
        ]
        wanted = [t for t in inputs if t.requires_grad]
        if not wanted:
            return (None,) * len(inputs)
        copy = ForeignEntries(
            substitute(self.kernel, inputs[len(points) :]),
            inputs[0],
            None if self.x2 is None else inputs[1],
            self.batch,
        )
        totals = [torch.zeros_like(t) for t in wanted]
        for rows, columns in self._tiles():
            weights = _weights(adjoint, rows, columns)
            with torch.enable_grad():
                evaluate, x1, x2 = copy._prepared()
                tile = evaluate(x1[..., rows, :], x2[..., columns, :])
                tile = tile.expand(torch.broadcast_shapes(tile.shape, weights.shape))
            if not tile.requires_grad:
                continue
            found = torch.autograd.grad(tile, wanted, weights.expand_as(tile), allow_unused=True)
            for total, part in zip(totals, found, strict=True):
                if part is not None:
                    total += part
        found = iter(totals)
        return tuple(next(found) if t.requires_grad else None for t in inputs)

    def pairs(self, rows: Tensor, columns: Tensor, batch: tuple[Tensor, ...]) -> Tensor:
        """Entries at the indices given, which broadcast together; differentiable."""
        kernel, x1, x2 = self._cast()
        x1 = x1.expand(*self.batch, *x1.shape[-2:])[(*batch, rows)]
        x2 = x2.expand(*self.batch, *x2.shape[-2:])[(*batch, columns)]
        if not kernel.batch_shape:
            # Every pair is a batch of one row and one column: no kernel mixes batches.
            return _call(kernel, x1.unsqueeze(-2), x2.unsqueeze(-2)).squeeze(-1).squeeze(-1)
        return self._dense_pairs(rows, columns, batch)

    def _dense_pairs(self, rows: Tensor, columns: Tensor, batch: tuple[Tensor, ...]) -> Tensor:
        kernel, x1, x2 = self._cast()
        matrix = _call(kernel, x1, x2)
        return matrix.expand(*self.batch, *matrix.shape[-2:])[(*batch, rows, columns)]

    def _cast(self) -> tuple[Any, Tensor, Tensor]:
        """The kernel in the dtype of the points; parameters keep their graph."""
        parameters = [p.to(self.x1.dtype) for p in self.kernel.parameters()]
        return substitute(self.kernel, parameters), self.x1, self._columns

    def _prepared(self) -> tuple[Any, Tensor, Tensor]:
        kernel, x1, x2 = self._cast()
        return (lambda a, b: _call(kernel, a, b)), x1, x2

    def _tiles(self) -> Iterator[tuple[slice, slice]]:
        n, m = self.x1.shape[-2], self._columns.shape[-2]
        rows = min(_ROWS, n)
        columns = max(1, min(_ENTRIES // rows // max(1, self.batch.numel()), m))
        for top in range(0, n, rows):
            for left in range(0, m, columns):
                yield slice(top, min(top + rows, n)), slice(left, min(left + columns, m))


def _call(kernel: Any, x1: Tensor, x2: Tensor) -> Tensor:
    with gpytorch.settings.lazily_evaluate_kernels(state=False):
        return kernel(x1, x2).to_dense()


def _weights(adjoint: Tensor | Sequence[Tensor], rows: slice, columns: slice) -> Tensor:
    if isinstance(adjoint, Tensor):
        return adjoint[..., rows, columns]
    left, right = adjoint
    return left[..., rows, :] @ right[..., columns, :].mT
