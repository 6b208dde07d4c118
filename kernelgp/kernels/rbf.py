"""The Gaussian kernel: infinitely smooth."""

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor
from typing_extensions import override

from kernelgp.kernels.stationary import StationaryKernel, StationaryProfile

__all__ = ["RBF", "GaussianProfile"]


@dataclass(frozen=True)
class GaussianProfile(StationaryProfile):
    """``exp2(-s)``: the constant of ``exp(-s / 2)`` is in the embedding, as exp2 is the faster."""

    negated: ClassVar[bool] = True

    @property
    @override
    def factor(self) -> float:
        return 0.5 / math.log(2)

    @override
    def value(self, s: Tensor, *parameters: Tensor) -> Tensor:
        return torch.exp2(-s)

    @override
    def slope(self, s: Tensor, *parameters: Tensor) -> Tensor:
        return -math.log(2) * torch.exp2(-s)

    @override
    def formula(self, s: Any, *parameters: Any) -> Any:
        return (-math.log(2) * s).exp()

    @override
    def value_(self, s: Tensor, scratch: Tensor, *parameters: Tensor) -> Tensor:
        return s.exp2_()

    @override
    def value_and_slope_(
        self, s: Tensor, value: Tensor, scratch: Tensor, *parameters: Tensor
    ) -> None:
        torch.exp2(s, out=value)
        torch.mul(value, -math.log(2), out=s)


class RBF(StationaryKernel):
    """``k = exp(-s / 2)``: infinitely smooth.

    Parameters
    ----------
    lengthscale, active_dims
        As for `StationaryKernel`.

    Examples
    --------
    >>> RBF(lengthscale=[0.5, 2.0])(torch.zeros(1, 2), torch.ones(1, 2)).to_dense().detach()
    tensor([[0.1194]])
    """

    profile = GaussianProfile()

    @property
    @override
    def max_order(self) -> int:
        return 8

    @override
    def derivative_from_sqdist(self, s: Tensor, order: int) -> Tensor:
        return (-0.5) ** order * torch.exp(-s / 2)

    @override
    def density_from_sqfreq(self, q: Tensor, d: int) -> Tensor:
        return (2 * math.pi) ** (d / 2) * torch.exp(-q / 2)

    @override
    def radii(self, uniforms: Tensor) -> Tensor:
        return uniforms.new_ones(len(uniforms), 1)
