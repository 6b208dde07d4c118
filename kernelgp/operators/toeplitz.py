"""The covariance of a stationary kernel on a uniform axis.

References
----------
R. H. Chan, M. K. Ng, *Conjugate gradient methods for Toeplitz systems*, SIAM Review 38 (1996).
"""

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any

import torch
from linear_operator import LinearOperator
from linear_operator.operators import ConstantDiagLinearOperator
from torch import Tensor
from typing_extensions import override

from kernelgp import linalg
from kernelgp.errors import ArgumentError
from kernelgp.operators.direct import DirectOperator
from kernelgp.operators.door import check_columns
from kernelgp.operators.durbin import ToeplitzInverse, fft_length
from kernelgp.validation import check_finite, check_floating

__all__ = ["ToeplitzOperator"]

# Up to here the O(n²) recursion takes about a second; beyond it solves iterate.
_RECURSION_ROWS = 16_384
_RTOL = {torch.float32: 1e-6, torch.float64: 1e-12}


class ToeplitzOperator(DirectOperator):
    """``T[i, j] = column[|i - j|]``, symmetric; a stationary kernel on a uniform axis.

    Products cost O(n log n) by FFT. The first solve or log-determinant runs Durbin's recursion,
    O(n²) in time and O(n) in memory; the solves after it cost O(n log n). Beyond 16 384 points
    solves are by conjugate gradients with a circulant preconditioner; determinants stay exact.

    Parameters
    ----------
    column : Tensor, shape (..., n)
        The first column: the covariance at lags 0, 1, ..., n - 1.

    Raises
    ------
    ArgumentError
        If `column` is empty, not finite or not of a floating dtype.

    Examples
    --------
    >>> op = ToeplitzOperator(torch.tensor([2.0, 1.0, 0.0]))
    >>> (op @ torch.ones(3)).round(decimals=4), op.logdet()
    (tensor([3., 4., 3.]), tensor(1.3863))
    """

    def __init__(self, column: Tensor) -> None:
        check_floating("column", column)
        if column.dim() == 0 or 0 in column.shape:
            raise ArgumentError("column", f"shape {tuple(column.shape)}", "give (..., n), n >= 1")
        self.column = check_finite("column", column)
        super().__init__(column)

    def _size(self) -> torch.Size:
        n = self.column.shape[-1]
        return torch.Size([*self.column.shape[:-1], n, n])

    def _transpose_nonbatch(self) -> "ToeplitzOperator":
        return self

    def _expand_batch(self, batch_shape: Sequence[int]) -> "ToeplitzOperator":
        return ToeplitzOperator(self.column.expand(*batch_shape, self.column.shape[-1]))

    def _mul_constant(self, other: Tensor) -> "ToeplitzOperator":
        return ToeplitzOperator(self.column * other.unsqueeze(-1))

    @override
    def add_diagonal(self, diag: Tensor) -> LinearOperator:
        """``T + diag(noise)``; with one variance, () or (..., 1), it is Toeplitz again."""
        check_floating("diag", diag)
        if diag.dim() and diag.shape[-1] not in (1, self.shape[-1]):
            remedy = f"give one variance, or {self.shape[-1]}"
            raise ArgumentError("diag", f"shape {tuple(diag.shape)}", remedy)
        if diag.dim() and diag.shape[-1] > 1:
            return super().add_diagonal(diag)
        diag = diag if diag.dim() else diag.unsqueeze(-1)
        batch = torch.broadcast_shapes(self.batch_shape, diag.shape[:-1])
        first = self.column[..., :1] + diag
        rest = self.column[..., 1:].expand(*batch, self.shape[-1] - 1)
        return ToeplitzOperator(torch.cat([first, rest], dim=-1))

    @override
    def __add__(self, other: Any) -> LinearOperator | Tensor:
        if isinstance(other, ConstantDiagLinearOperator):
            return self.add_diagonal(other.diag_values)
        if isinstance(other, ToeplitzOperator):
            return ToeplitzOperator(self.column + other.column)
        return super().__add__(other)

    @cached_property
    def _spectrum(self) -> Tensor:
        """Eigenvalues of the circulant matrix that T is a corner of, real."""
        return _circulant_spectrum(self.column.detach())

    @override
    def _matmul(self, rhs: Tensor) -> Tensor:
        if rhs.dim() == 1:
            return self._matmul(rhs.unsqueeze(-1)).squeeze(-1)
        # linear_operator also differentiates through `_matmul`; our own calls have no graph.
        graph = torch.is_grad_enabled() and self.column.requires_grad
        spectrum = _circulant_spectrum(self.column) if graph else self._spectrum
        n, length = rhs.shape[-2], fft_length(self.shape[-1])
        product = spectrum.unsqueeze(-2) * torch.fft.rfft(rhs.mT, length)
        return torch.fft.irfft(product, length)[..., :n].mT.contiguous()

    def _diagonal(self) -> Tensor:
        return self.column[..., :1].expand(self.shape[:-1])

    def _get_indices(self, row_index: Tensor, col_index: Tensor, *batch_indices: Tensor) -> Tensor:
        return self.column[(*batch_indices, (row_index - col_index).abs())]

    def rows(self, index: Tensor) -> Tensor:
        """Rows of an unbatched operator, shape (len(index), n), without a graph."""
        return self.column.detach()[(index.unsqueeze(-1) - self._lags).abs()]

    @property
    def _lags(self) -> Tensor:
        return torch.arange(self.shape[-1], device=self.device)

    @override
    def to_dense(self) -> Tensor:
        return self.column[..., (self._lags.unsqueeze(-1) - self._lags).abs()]

    def _bilinear_derivative(
        self, left_vecs: Tensor, right_vecs: Tensor
    ) -> tuple[Tensor | None, ...]:
        """``Σ u_i v_j`` over ``|i - j| = l`` for every lag l: one correlation."""
        n, length = self.shape[-1], fft_length(self.shape[-1])
        left, right = (torch.fft.rfft(v.mT, length) for v in (left_vecs, right_vecs))
        lags = torch.fft.irfft((left.conj() * right).sum(dim=-2), length)
        # Lag -l stands at the end, at length - l; lag 0 counts once.
        backward = lags.flip(-1)[..., : n - 1]
        gradient = lags[..., :n] + torch.nn.functional.pad(backward, (1, 0))
        return (gradient.sum_to_size(self.column.shape),)

    @cached_property
    def _inverse(self) -> ToeplitzInverse:
        return ToeplitzInverse.of(self.column)

    @property
    def direct_solve(self) -> Callable[[Tensor], Tensor]:
        """Solves (n,) or (..., n, k) without a graph; up to 16 384 points there is one."""
        if self.shape[-1] > _RECURSION_ROWS:
            # `linalg` asks by hasattr, and what iterates must not be taken for direct.
            raise AttributeError("beyond 16 384 points solves are by conjugate gradients")
        return self._checked_solve

    def _checked_solve(self, rhs: Tensor) -> Tensor:
        if rhs.dim() == 1:
            return self._checked_solve(rhs.unsqueeze(-1)).squeeze(-1)
        check_columns("rhs", rhs, self)
        return self._solve(rhs)

    def direct_logdet(self) -> Tensor:
        """``log|T|``, shape (...), without a graph."""
        return self._logabsdet()

    @override
    def _solve(self, rhs: Tensor, *_: Any, **__: Any) -> Tensor:
        if self.shape[-1] > _RECURSION_ROWS:
            precondition = self.preconditioner()
            found, _report = linalg.pcg(
                self.detach(), rhs, preconditioner=precondition, rtol=_RTOL[rhs.dtype]
            )
            return found.to(rhs.dtype)
        exact = self if self.dtype == torch.float64 else self.detach().double()
        target = rhs.double()
        solution = self._inverse.matmul(target)
        correction = self._inverse.matmul(target - exact._matmul(solution))
        return (solution + correction).to(rhs.dtype)

    def preconditioner(self) -> linalg.Map:
        """T. Chan's circulant: the nearest to T, and as positive definite as T is."""
        column, n = self.column.detach().double(), self.shape[-1]
        share = self._lags.double() / n
        nearest = (1 - share) * column + share * column.flip(-1).roll(1, dims=-1)
        spectrum = torch.fft.rfft(nearest).real.unsqueeze(-2)
        return lambda rhs: torch.fft.irfft(torch.fft.rfft(rhs.mT) / spectrum, n).mT

    @override
    def _logabsdet(self) -> Tensor:
        return self._inverse.logdet().to(self.dtype)

    @override
    def _logabsdet_derivative(self, grad: Tensor) -> tuple[Tensor | None, ...]:
        return ((grad.unsqueeze(-1) * self._inverse.diagonal_sums()).to(self.dtype),)


def _circulant_spectrum(column: Tensor) -> Tensor:
    n = column.shape[-1]
    length = fft_length(n)
    gap = column.new_zeros(*column.shape[:-1], length - (2 * n - 1))
    return torch.fft.rfft(torch.cat([column, gap, column[..., 1:].flip(-1)], dim=-1)).real
