"""The inverse of a symmetric positive definite Toeplitz matrix, from n numbers.

Durbin's recursion predicts each point of a stationary process from those before it. The last
predictor ``a`` and its error ``e`` are the first column of the inverse, ``T⁻¹ e1 = a / e``, and
that column is the whole inverse (Gohberg and Semencul): ``e T⁻¹ = L Lᵀ - M Mᵀ`` with lower
triangular Toeplitz matrices L of a and M of a reversed and moved down by one. The errors along the
way are the pivots of a Cholesky factor, hence the determinant.

References
----------
G. H. Golub, C. F. Van Loan, *Matrix Computations*, 4th ed., 2013, algorithm 4.7.1;
I. Gohberg, A. Semencul, *On the inversion of finite Toeplitz matrices and their continuous
analogues*, Matematicheskie Issledovaniya 7 (1972).
"""

from dataclasses import dataclass
from functools import cached_property
from typing import cast

import scipy.fft
import torch
from torch import Tensor

from kernelgp.errors import NotPositiveDefiniteError

__all__ = ["ToeplitzInverse", "fft_length"]


@dataclass(frozen=True, eq=False)
class ToeplitzInverse:
    """``T⁻¹`` as a predictor; O(n²) to make, O(n log n) for each product.

    Attributes
    ----------
    predictor : Tensor, shape (..., n), float64
        ``a`` with a[0] = 1.
    errors : Tensor, shape (..., n), float64
        Variance of each point given those before it.
    """

    predictor: Tensor
    errors: Tensor

    @classmethod
    def of(cls, column: Tensor) -> "ToeplitzInverse":
        """From the first column of T, shape (..., n).

        Raises
        ------
        NotPositiveDefiniteError
            If a leading minor is not positive.
        """
        # The loop runs on the CPU in any case: n steps of n operations each.
        t = column.detach().double().cpu()
        n = t.shape[-1]
        scale = t[..., :1]
        if not (scale > 0).all():
            given = f"{scale.min().item():.1e} as the first entry, the diagonal"
            raise NotPositiveDefiniteError("column", given, "give a covariance, positive there")
        r = t / scale
        a = torch.zeros_like(r)
        a[..., 0] = 1.0
        errors = torch.ones_like(r)
        error = torch.ones_like(r[..., 0])
        for k in range(1, n):
            # Reflection: what point k still has in common with the first, all between given.
            inner = torch.linalg.vecdot(a[..., :k], r[..., 1 : k + 1].flip(-1))
            reflection = -inner / error
            head = a[..., : k + 1]
            a[..., : k + 1] = head + reflection.unsqueeze(-1) * head.flip(-1)
            error = error * (1 - reflection.square())
            errors[..., k] = error
            if not (error > 0).all():
                given = f"a pivot of {error.min().item():.1e} of the diagonal at row {k}"
                raise NotPositiveDefiniteError("column", given, "add noise to its first entry")
        return cls(a.to(column.device), (errors * scale).to(column.device))

    def logdet(self) -> Tensor:
        """``log|T|``, shape (...)."""
        return self.errors.log().sum(dim=-1)

    def matmul(self, rhs: Tensor) -> Tensor:
        """``T⁻¹ R`` for (..., n, k), float64."""
        n, length = rhs.shape[-2], self._length
        columns = torch.fft.rfft(rhs.mT, length)
        forward, backward = (spectrum.unsqueeze(-2) for spectrum in self._spectra)

        def filtered(spectrum: Tensor) -> Tensor:
            """A triangular Toeplitz matrix times its transpose: filter back, cut, filter on."""
            inner = torch.fft.irfft(spectrum.conj() * columns, length)[..., :n]
            return torch.fft.irfft(spectrum * torch.fft.rfft(inner, length), length)[..., :n]

        difference = filtered(forward) - filtered(backward)
        return (difference / self.errors[..., -1, None, None]).mT

    def diagonal_sums(self) -> Tensor:
        """``Σ T⁻¹[i, j]`` over ``|i - j| = l`` for every lag l, shape (..., n).

        That is the derivative of ``log|T|`` in the column. On lag l of L Lᵀ the product
        ``a[p] a[p + l]`` stands n - l - p times, so that a sum is one correlation.
        """
        n, length = self.predictor.shape[-1], self._length
        remaining = torch.arange(n, 0, -1, dtype=torch.float64, device=self.predictor.device)
        total = torch.zeros_like(self.predictor)
        for sign, generator in ((1.0, self.predictor), (-1.0, self._reversed)):
            product = torch.fft.rfft(generator, length).conj() * torch.fft.rfft(
                remaining * generator, length
            )
            total = total + sign * torch.fft.irfft(product, length)[..., :n]
        total[..., 1:] *= 2  # the lags below the diagonal and above it
        return total / self.errors[..., -1:]

    @property
    def _length(self) -> int:
        return fft_length(self.predictor.shape[-1])

    @property
    def _reversed(self) -> Tensor:
        """The generator of M: a reversed, moved down by one."""
        moved = self.predictor.flip(-1).roll(1, dims=-1)
        moved[..., 0] = 0.0
        return moved

    @cached_property
    def _spectra(self) -> tuple[Tensor, Tensor]:
        forward = torch.fft.rfft(self.predictor, self._length)
        return forward, torch.fft.rfft(self._reversed, self._length)


def fft_length(n: int) -> int:
    """A quick length for convolutions of n points without wrapping round."""
    return cast(int, scipy.fft.next_fast_len(2 * n - 1, real=True))
