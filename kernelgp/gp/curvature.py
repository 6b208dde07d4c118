"""The curvature W of a log-likelihood at a mode, beside the prior covariance K.

W is diagonal for two classes, and for more a diagonal less a matrix of rank n. Both answer the
same questions: Newton's solve, the log-determinant ``log|I + K W|``, products with
``S = (K + W⁻¹)⁻¹`` (W may be singular, S exists), its sum over latent functions, and the
derivative of the evidence by the mode.

References
----------
Rasmussen and Williams, *Gaussian Processes for Machine Learning*, 2006: (3.27), (3.44) to
(3.47), algorithms 3.1, 3.3 and 5.1.
"""

from typing import Protocol

import torch
from torch import Tensor

from kernelgp.errors import NotPositiveDefiniteError

__all__ = ["Curvature", "DiagonalCurvature", "SoftmaxCurvature"]


class Curvature(Protocol):
    """What Laplace's method asks; columns are latent functions."""

    def __init__(self, covariance: Tensor, latent: Tensor, weights: Tensor) -> None: ...

    def solve(self, rhs: Tensor) -> Tensor:
        """``(I + W K)⁻¹ rhs``, shape (n, c)."""
        ...

    def logdet(self) -> Tensor:
        """``log|I + K W|``."""
        ...

    def apply(self, vectors: Tensor) -> Tensor:
        """``S v`` for v of shape (n, c): one column for each latent function."""
        ...

    def inverse_and_slope(self) -> tuple[Tensor, Tensor]:
        """The diagonal blocks of S summed, (n, n), and the evidence by the mode, (n, c)."""
        ...

    def roots(self) -> tuple[Tensor, Tensor | None]:
        """G (c, n, n) and H (c, n, n) or None, with ``S_cd = δ_cd G_c G_cᵀ - H_c H_dᵀ``.

        They are what predictions need.
        """
        ...


class DiagonalCurvature:
    """One latent function: ``S = W^½ B⁻¹ W^½`` with ``B = I + W^½ K W^½``."""

    def __init__(self, covariance: Tensor, latent: Tensor, weights: Tensor) -> None:
        self._success = latent.squeeze(-1).sigmoid()
        # σ(-f), not 1 - σ(f): far out the difference would be 0.
        self._diagonal = weights * self._success * (-latent.squeeze(-1)).sigmoid()
        # Where W underflows a row of W^½ B⁻¹ W^-½ would be lost, not only small.
        self._root = self._diagonal.sqrt().clamp(min=torch.finfo(latent.dtype).tiny ** 0.45)
        self._factor = _factorise(covariance, self._root)

    def solve(self, rhs: Tensor) -> Tensor:
        # W^½ B⁻¹ W^-½: without the difference of rhs - S K rhs, which may cancel.
        root = self._root.unsqueeze(-1)
        return root * torch.cholesky_solve(rhs / root, self._factor)

    def logdet(self) -> Tensor:
        return 2 * self._factor.diagonal().log().sum()

    def apply(self, vectors: Tensor) -> Tensor:
        root = self._root.unsqueeze(-1)
        return root * torch.cholesky_solve(root * vectors, self._factor)

    def inverse_and_slope(self) -> tuple[Tensor, Tensor]:
        inverse = torch.cholesky_inverse(self._factor)
        # ½ tr(Σ dW) with Σ = (1 - B⁻¹) / W and dW = W (1 - 2 σ): W, which may vanish, cancels.
        slope = -0.5 * (1 - inverse.diagonal()) * (1 - 2 * self._success)
        return inverse.mul_(self._root).mul_(self._root.unsqueeze(-1)), slope.unsqueeze(-1)

    def roots(self) -> tuple[Tensor, Tensor | None]:
        scaled = torch.diag(self._root)
        half = torch.linalg.solve_triangular(self._factor, scaled, upper=False)
        return half.mT.unsqueeze(0), None


class SoftmaxCurvature:
    """A latent function for each class: ``S_cd = δ_cd E_c - E_c (Σ E)⁻¹ E_d``.

    ``E_c = D_c^½ (I + D_c^½ K D_c^½)⁻¹ D_c^½`` with D_c the weighted probabilities of class c.
    """

    def __init__(self, covariance: Tensor, latent: Tensor, weights: Tensor) -> None:
        self._covariance, self._weights = covariance, weights
        self._shares = latent.softmax(dim=-1)
        self._blocks, total, half = [], torch.zeros_like(covariance), latent.new_zeros(())
        for share in self._shares.unbind(dim=-1):
            root = (weights * share).sqrt()
            factor = _factorise(covariance, root)
            half = half + factor.diagonal().log().sum()
            block = torch.cholesky_inverse(factor).mul_(root).mul_(root.unsqueeze(-1))
            self._blocks.append(block)
            total += block
        self._total = _cholesky(total)
        half = half + self._total.diagonal().log().sum() - 0.5 * weights.log().sum()
        self._logdet = 2 * half

    def solve(self, rhs: Tensor) -> Tensor:
        return rhs - self.apply(self._covariance @ rhs)

    def logdet(self) -> Tensor:
        return self._logdet

    def apply(self, vectors: Tensor) -> Tensor:
        first = torch.stack(
            [block @ v for block, v in zip(self._blocks, vectors.unbind(dim=-1), strict=True)],
            dim=-1,
        )
        common = torch.cholesky_solve(first.sum(dim=-1, keepdim=True), self._total)
        second = torch.cat([block @ common for block in self._blocks], dim=-1)
        return first - second

    def inverse_and_slope(self) -> tuple[Tensor, Tensor]:
        inverse = torch.zeros_like(self._covariance)
        n, c = self._shares.shape
        halves, spread = [], inverse.new_zeros(n, c)
        for i, block in enumerate(self._blocks):
            half = self._half(block)
            inverse += block - half @ half.mT
            spread[:, i] = ((self._covariance @ block) * self._covariance).sum(dim=-1)
            halves.append(self._covariance @ half)
        # The posterior covariance of the latent functions at each point, (n, c, c).
        posterior = inverse.new_empty(n, c, c)
        for i in range(c):
            for j in range(i, c):
                posterior[:, i, j] = posterior[:, j, i] = (halves[i] * halves[j]).sum(dim=-1)
        posterior.diagonal(dim1=-2, dim2=-1).add_(
            self._covariance.diagonal().unsqueeze(-1) - spread
        )
        along = (posterior @ self._shares.unsqueeze(-1)).squeeze(-1)
        values = posterior.diagonal(dim1=-2, dim2=-1) - 2 * along
        mean = (self._shares * values).sum(dim=-1, keepdim=True)
        slope = -0.5 * self._weights.unsqueeze(-1) * self._shares * (values - mean)
        return inverse, slope

    def _half(self, block: Tensor) -> Tensor:
        """``E_c M^-ᵀ`` with ``Σ E = M Mᵀ``."""
        return torch.linalg.solve_triangular(self._total, block, upper=False).mT

    def roots(self) -> tuple[Tensor, Tensor | None]:
        blocks = []
        for share in self._shares.unbind(dim=-1):
            root = (self._weights * share).sqrt()
            factor = _factorise(self._covariance, root)
            half = torch.linalg.solve_triangular(factor, torch.diag(root), upper=False)
            blocks.append(half.mT)
        return torch.stack(blocks), torch.stack([self._half(block) for block in self._blocks])


def _factorise(covariance: Tensor, root: Tensor) -> Tensor:
    """The Cholesky factor of ``I + W^½ K W^½``."""
    matrix = covariance * root
    matrix.mul_(root.unsqueeze(-1)).diagonal().add_(1.0)
    return _cholesky(matrix)


def _cholesky(matrix: Tensor) -> Tensor:
    factor, failed = torch.linalg.cholesky_ex(matrix)
    if failed:
        given = f"a covariance with entries up to {matrix.abs().max().item():.1e} times a curvature"
        raise NotPositiveDefiniteError("kernel", given, "give it a smaller scale")
    return factor
