"""Gaussian processes on random features: Bayesian linear regression, streamed.

The weights of D features have independent standard normal priors, so the process is that of the
kernel ``φ(x)·φ(x')``. Two passes over the rows give the log marginal likelihood and its gradient
by every hyperparameter, lengthscales of all columns included, in O(n D²) time and O(D²) memory.
"""

import torch
from torch import Tensor

from kernelgp.features.map import FeatureMap
from kernelgp.gp.inducing import FeatureBlock
from kernelgp.gp.sgpr import SparseRegression, SparseRows

__all__ = ["MappedRows", "feature_loss", "product_dtype"]


class MappedRows:
    """Rows seen through a map, with the derivative by its parameters.

    Parameters
    ----------
    mapping
    """

    def __init__(self, mapping: FeatureMap) -> None:
        self._map = mapping

    @property
    def size(self) -> int:
        return self._map.n_components

    def block(self, x: Tensor) -> FeatureBlock:
        """Features (D, b) of rows (b, d), with a graph if gradients are enabled."""
        features = self._map(x)
        kept = features.detach()
        lengths = kept.double().square().sum(dim=-1)
        return FeatureBlock(kept.mT, lengths, features.mT, lengths)

    def backward(self, block: FeatureBlock, by_features: Tensor, by_variances: Tensor) -> None:
        if block.cross.requires_grad:
            # The variance is the square of the features, of which nothing is left out.
            block.cross.backward(by_features + 2 * by_variances * block.features)

    def finish(self) -> None:
        """Blocks share nothing."""


def feature_loss(mapping: FeatureMap, rows: SparseRows, noise: Tensor) -> Tensor:
    """Minus the log marginal likelihood; its gradient is in the leaves when it comes back.

    Parameters
    ----------
    mapping
    rows
    noise : Tensor, shape () or (n,), float64
        With a graph where it is learned.
    """
    products = product_dtype(rows, noise, mapping.n_components)
    fit = SparseRegression(MappedRows(mapping), rows, noise.detach(), products=products)
    by_noise = fit.backward(rows, -1.0)
    if noise.requires_grad:
        noise.backward(by_noise.sum() if noise.dim() == 0 else by_noise)
    # The gradient is in place already; this only lets the optimizer call `backward`.
    return -fit.bound(rows).detach().requires_grad_()


def product_dtype(rows: SparseRows, noise: Tensor, size: int) -> torch.dtype:
    """float32 for data of float32, where its rounding stays small beside the prior precision.

    The rounding of ``Φᵀ Φ / noise`` is a matrix of independent entries of about
    ``eps k(x, x) n / (D noise)``, of norm the root of D times that.
    """
    if rows.x.dtype != torch.float32:
        return torch.float64
    signal = float(rows.y.double().square().mean())
    level = float(noise.detach().double().min()) / max(float(rows.weights.max()), 1e-30)
    rounding = torch.finfo(torch.float32).eps * signal * len(rows.x) / (size**0.5 * level)
    return torch.float32 if rounding < _ROUNDING else torch.float64


_ROUNDING = 0.05
