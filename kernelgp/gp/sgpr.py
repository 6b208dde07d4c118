"""Bayesian regression on features in streams of rows, and Titsias' collapsed bound.

With features ``A`` (m, n) and noise D, ``B = I + A D⁻¹ Aᵀ`` and ``w = B⁻¹ A D⁻¹ y``, the bound is
``log N(y | 0, AᵀA + D) - ½ Σ (k(x, x) - |a|²) / d``. One pass over blocks of rows adds up B and
``A D⁻¹ y``; a second finds the derivative by every block of A. Neither holds more than a block.
Of random features, whose inner products are the whole of k, nothing is left to bound, and this is
the log marginal likelihood.

References
----------
Titsias, *Variational learning of inducing variables in sparse Gaussian processes*, 2009, (9).
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import torch
from torch import Tensor

from kernelgp.gp.inducing import FeatureBlock, InducingFeatures, row_blocks

__all__ = [
    "RowFeatures",
    "SparseRegression",
    "SparseRows",
    "collapsed_bound",
    "predict_sparse",
]


class RowFeatures(Protocol):
    """Features of blocks of rows, differentiated block by block."""

    @property
    def size(self) -> int:
        """How many there are for a row, m."""
        ...

    def block(self, x: Tensor) -> FeatureBlock:
        """Those of rows (b, d), with what `backward` needs if gradients are enabled."""
        ...

    def backward(self, block: FeatureBlock, by_features: Tensor, by_variances: Tensor) -> None:
        """Accumulate the derivative through one block into ``.grad`` of the leaves."""
        ...

    def finish(self) -> None:
        """Accumulate what all blocks share, once all have been."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class SparseRows:
    """The data.

    Attributes
    ----------
    x : Tensor, shape (n, d)
    y : Tensor, shape (n, k), dtype of `x`
        Centred; the outputs are independent and share everything else.
    weights : Tensor, shape (n,), dtype of `x`
        A row of weight w counts as w rows.
    """

    x: Tensor
    y: Tensor
    weights: Tensor


class SparseRegression:
    """The posterior of the weights of features, and predictions by it.

    Parameters
    ----------
    features
    data
    noise : Tensor, shape () or (n,), float64
        Variance of the noise; a row's is divided by its weight.
    products : torch.dtype
        In which blocks are multiplied; what they sum to is float64.
    """

    def __init__(
        self,
        features: RowFeatures,
        data: SparseRows,
        noise: Tensor,
        *,
        products: torch.dtype = torch.float64,
    ) -> None:
        self.features, self._products = features, products
        m, k = features.size, data.y.shape[1]
        self.noise = (noise / data.weights.double()).expand(len(data.x))
        precision = torch.eye(m, dtype=torch.float64, device=data.x.device)
        shift = precision.new_zeros(m, k)
        self._quadratic = precision.new_zeros(())
        self._left = precision.new_zeros(())
        with torch.no_grad():
            for rows in row_blocks(len(data.x), m):
                block = self.features.block(data.x[rows])
                a, y, d = block.features.to(products), data.y[rows].double(), self.noise[rows]
                precision += (a / d.to(products)) @ a.mT
                shift += a @ (y / d.unsqueeze(-1)).to(products)
                self._quadratic += (y.square() / d.unsqueeze(-1)).sum()
                self._left += ((block.variances.double() - _lengths(a)) / d).sum()
        self._root = torch.linalg.cholesky(precision)
        self.mean = torch.cholesky_solve(shift, self._root)
        self._explained = (shift * self.mean).sum()

    @cached_property
    def covariance(self) -> Tensor:
        """Of the weights, (m, m), float64."""
        return torch.cholesky_inverse(self._root)

    def bound(self, data: SparseRows) -> Tensor:
        """On the log marginal likelihood, of all outputs."""
        n, k = data.y.shape
        logdet = 2 * self._root.diagonal().log().sum() + self.noise.log().sum()
        # A row of weight w stands for w rows: what those have beyond one of noise / w.
        weights = data.weights.double()
        own = self.noise * weights
        repeats = ((weights - 1) * (2 * math.pi * own).log() + weights.log()).sum()
        each = n * math.log(2 * math.pi) + logdet + self._left + repeats
        return -0.5 * (k * each + self._quadratic - self._explained)

    def backward(self, data: SparseRows, scale: float) -> Tensor:
        """Accumulate `scale` times the derivative into the leaves; return that by noise, (n,)."""
        k = data.y.shape[1]
        by_noise = torch.empty_like(self.noise)
        covariance = self.covariance.to(self._products)
        for rows in row_blocks(len(data.x), len(self.mean)):
            with torch.enable_grad():
                block = self.features.block(data.x[rows])
            a, d = block.features.to(self._products), self.noise[rows]
            error = data.y[rows].double() - a.mT.double() @ self.mean
            projected = covariance @ a
            by_features = (self.mean @ error.mT + k * (a - projected)) / d
            by_variances = -0.5 * k / d
            spread = (a * projected).sum(dim=0) + block.variances - _lengths(a)
            squares = error.square().sum(dim=-1) + k * spread
            weights = data.weights[rows].double()
            # By the noise of one row: that of the block is divided by the weight.
            by_noise[rows] = 0.5 * (squares / d.square() - k / d) / weights
            by_noise[rows] -= 0.5 * k * (weights - 1) / (d * weights)
            self.features.backward(
                block, (scale * by_features).to(data.x), (scale * by_variances).to(data.x)
            )
        self.features.finish()
        return scale * by_noise


def collapsed_bound(
    kernel: Any,
    points: Tensor,
    data: SparseRows,
    noise: Tensor,
    *,
    after: Callable[[], None] = lambda: None,
) -> Tensor:
    """The bound; its gradient is in the leaves when it comes back.

    Parameters
    ----------
    noise : Tensor, shape () or (n,), float64
        With a graph where it is learned.
    after
        Called when the gradient by the points is there.
    """
    features = InducingFeatures(kernel, points, data.x.dtype)
    fit = SparseRegression(features, data, noise.detach())
    by_noise = fit.backward(data, 1.0)
    if noise.requires_grad:
        noise.backward(by_noise.sum() if noise.dim() == 0 else by_noise)
    after()
    return fit.bound(data)


@torch.no_grad()
def predict_sparse(
    features: RowFeatures, mean: Tensor, covariance: Tensor, x: Tensor
) -> tuple[Tensor, Tensor]:
    """Means (b, k) and latent variances (b,) at the rows of `x`."""
    means, variances = [], []
    for rows in row_blocks(len(x), len(mean)):
        block = features.block(x[rows])
        a = block.features.double()
        means.append(a.mT @ mean)
        left = block.variances.double() - a.square().sum(dim=0)
        variances.append((left + (a * (covariance @ a)).sum(dim=0)).clamp(min=0.0))
    return torch.cat(means), torch.cat(variances)


def _lengths(a: Tensor) -> Tensor:
    """Squared lengths of the columns, float64."""
    return a.double().square().sum(dim=0)
