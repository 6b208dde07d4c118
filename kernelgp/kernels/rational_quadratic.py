"""The rational quadratic kernel: a mixture of Gaussian kernels of many lengthscales."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy.special import gammaln, kve
from torch import Tensor
from typing_extensions import override

from kernelgp.kernels.positive import Hyperparameter
from kernelgp.kernels.stationary import StationaryKernel, StationaryProfile, as_batch
from kernelgp.kernels.waves import gamma_quantile

__all__ = ["RationalQuadratic", "RationalQuadraticProfile"]


@dataclass(frozen=True)
class RationalQuadraticProfile(StationaryProfile):
    """``(1 + s / alpha)^-alpha``, of half the squared distance."""

    @property
    @override
    def factor(self) -> float:
        return 0.5

    @override
    def value(self, s: Tensor, *parameters: Tensor) -> Tensor:
        (alpha,) = parameters
        return torch.exp(-alpha * torch.log1p(s / alpha))

    @override
    def slope(self, s: Tensor, *parameters: Tensor) -> Tensor:
        (alpha,) = parameters
        return -torch.exp(-(alpha + 1) * torch.log1p(s / alpha))

    @override
    def parameter_slopes(self, s: Tensor, *parameters: Tensor) -> tuple[Tensor, ...]:
        (alpha,) = parameters
        return (self.value(s, alpha) * (s / (alpha + s) - torch.log1p(s / alpha)),)

    @override
    def formula(self, s: Any, *parameters: Any) -> Any:
        (alpha,) = parameters
        return (-alpha * (1 + s / alpha).log()).exp()

    @override
    def value_(self, s: Tensor, scratch: Tensor, *parameters: Tensor) -> Tensor:
        (alpha,) = parameters
        return s.div_(alpha).log1p_().mul_(-alpha).exp_()

    @override
    def value_and_slope_(
        self, s: Tensor, value: Tensor, scratch: Tensor, *parameters: Tensor
    ) -> None:
        (alpha,) = parameters
        torch.log1p(s.div_(alpha), out=value).mul_(-alpha).exp_()
        torch.div(value, s.add_(1), out=s).neg_()


class RationalQuadratic(StationaryKernel):
    """``k = (1 + s / (2 alpha))^-alpha``: an `RBF` in the limit of large alpha.

    Parameters
    ----------
    alpha : float or Tensor of shape (*batch,)
        Positive; small values mix very different lengthscales.
    lengthscale, active_dims
        As for `StationaryKernel`.

    Notes
    -----
    The spectral density is a Bessel function, taken from scipy: no gradient flows through it.
    """

    alpha: Hyperparameter = Hyperparameter()
    profile = RationalQuadraticProfile()

    def __init__(
        self,
        alpha: float | Tensor = 1.0,
        lengthscale: float | Sequence[float] | Tensor = 1.0,
        active_dims: Sequence[int] | None = None,
    ) -> None:
        if isinstance(alpha, Tensor) and alpha.dim():
            values = as_batch("lengthscale", lengthscale)
            batch = torch.broadcast_shapes(alpha.shape, values.shape[:-2])
            lengthscale = values.expand(*batch, *values.shape[-2:])
        super().__init__(lengthscale, active_dims)
        self.register_scalar("alpha", alpha)

    @override
    def scalars(self) -> tuple[Tensor, ...]:
        return (self.alpha,)

    @property
    @override
    def max_order(self) -> int:
        return 8

    @override
    def derivative_from_sqdist(self, s: Tensor, order: int) -> Tensor:
        (alpha,) = self.scalars_like(s)
        rising = torch.ones_like(alpha)
        for i in range(order):
            rising = rising * (alpha + i) / alpha
        return (-0.5) ** order * rising * torch.exp(-(alpha + order) * torch.log1p(s / (2 * alpha)))

    @override
    def density_from_sqfreq(self, q: Tensor, d: int) -> Tensor:
        # ∫ (2π/t)^(d/2) exp(-q/(2t)) Gamma(t; alpha, alpha) dt: Gaussian densities of precision t.
        (alpha,) = (scalar.detach().cpu().double().numpy() for scalar in self.scalars_like(q))
        p, z = alpha - d / 2, np.sqrt(2 * alpha * q.detach().cpu().double().numpy())
        with np.errstate(divide="ignore", invalid="ignore"):
            log_bessel = np.log(kve(p, z)) - z + p * np.log(z / (2 * alpha))
        # z^p K_p(z) tends to 2^(p - 1) Γ(p) at zero, or to infinity where p is not positive.
        log_limit = np.where(p > 0, -math.log(2) + gammaln(np.maximum(p, 1e-300)), np.inf)
        log_limit = log_limit - p * np.log(alpha)
        log_density = np.where(z > 0, log_bessel, log_limit)
        log_density += math.log(2) + alpha * np.log(alpha) - gammaln(alpha)
        density = (2 * math.pi) ** (d / 2) * np.exp(log_density)
        return torch.from_numpy(np.asarray(density)).to(q)

    @override
    def n_uniforms(self, d: int) -> int:
        return 1

    @override
    def radii(self, uniforms: Tensor) -> Tensor:
        alpha = self.alpha.to(uniforms)
        return (gamma_quantile(alpha, uniforms) / alpha).sqrt()

    @override
    def arguments(self) -> dict[str, Any]:
        return {"alpha": self.alpha, **super().arguments()}
