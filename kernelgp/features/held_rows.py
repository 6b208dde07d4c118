"""Features held by something that is no tensor, such as bits or a sparse array, as an operator."""

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import torch
from linear_operator import LinearOperator
from torch import Tensor
from typing_extensions import override

__all__ = ["HeldRows", "Holder"]


class Holder(Protocol):
    """What multiplies a numpy array from the left, and its transpose too."""

    @property
    def shape(self) -> tuple[int, int]: ...

    def __matmul__(self, other: Any, /) -> Any: ...

    def rmatmul(self, other: Any, /) -> Any:
        """``Φᵀ other``."""
        ...


class HeldRows(LinearOperator):
    """Φ, (n, D), by products of what holds it; for `FeatureOperator`. On the CPU, no gradients.

    Parameters
    ----------
    like : Tensor
        Its dtype is that of the products.
    holder : Holder
    transposed
        Whether this is Φᵀ.
    """

    def __init__(self, like: Tensor, holder: Holder, *, transposed: bool = False) -> None:
        super().__init__(like, holder=holder, transposed=transposed)
        self.like, self.holder, self.transposed = like, holder, transposed

    def _size(self) -> torch.Size:
        n, D = self.holder.shape
        return torch.Size([D, n] if self.transposed else [n, D])

    def _transpose_nonbatch(self) -> "HeldRows":
        return HeldRows(self.like, self.holder, transposed=not self.transposed)

    @override
    def _matmul(self, rhs: Tensor) -> Tensor:
        columns = rhs.detach().cpu().numpy()
        made = self.holder.rmatmul(columns) if self.transposed else self.holder @ columns
        return torch.from_numpy(np.ascontiguousarray(made)).to(rhs)

    @override
    def _bilinear_derivative(
        self, left_vecs: Tensor, right_vecs: Tensor
    ) -> tuple[Tensor | None, ...]:
        return (None,)

    def _expand_batch(self, batch_shape: Sequence[int]) -> LinearOperator:
        return self.repeat(*batch_shape, 1, 1)

    @override
    def _get_indices(self, row_index: Tensor, col_index: Tensor, *batch_indices: Tensor) -> Tensor:
        return self.to_dense()[row_index, col_index]
