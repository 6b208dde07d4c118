"""Points in bandwidths: what density estimates and modes are given, checked, in float64."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from kernelgp.attention.radial import RADIAL_KERNELS, RadialKernel
from kernelgp.errors import ArgumentError
from kernelgp.validation import check_finite, check_floating, check_positive

__all__ = ["ScaledPoints", "Targets", "as_rows"]


@dataclass(frozen=True, slots=True, eq=False)
class ScaledPoints:
    """Points divided by the bandwidth, with their center at the origin.

    In float64 whatever was given: a log-density is a difference of large squares.

    Attributes
    ----------
    x : Tensor, shape (n, d)
    bandwidth : Tensor, shape () or (d,)
    center : Tensor, shape (d,)
    """

    x: Tensor
    kernel: RadialKernel
    bandwidth: Tensor
    center: Tensor

    @classmethod
    def of(cls, x: Any, kernel: Any, bandwidth: Any) -> "ScaledPoints":
        points = as_rows("x", x)
        if kernel not in RADIAL_KERNELS:
            known = ", ".join(map(repr, RADIAL_KERNELS))
            raise ArgumentError("kernel", repr(kernel), f"give one of {known}")
        width = check_positive("bandwidth", bandwidth).to(points.device)
        d = points.shape[1]
        if width.dim() > 1 or width.numel() not in (1, d):
            remedy = f"give a number, or one for each of {d} columns"
            raise ArgumentError("bandwidth", f"shape {tuple(width.shape)}", remedy)
        center = points.mean(dim=0)
        return cls((points - center).div_(width), RADIAL_KERNELS[kernel], width, center)

    def scaled(self, name: str, y: Any) -> Tensor:
        """Other points of the same columns and device, in the same units."""
        points, d = as_rows(name, y), self.x.shape[1]
        if points.shape[1] != d:
            remedy = f"give (m, {d}), the columns of x"
            raise ArgumentError(name, f"shape {tuple(points.shape)}", remedy)
        if points.device != self.x.device:
            remedy = f"move it to {self.x.device} to match x"
            raise ArgumentError(name, f"device {points.device}", remedy)
        return (points - self.center) / self.bandwidth

    def unscaled(self, y: Tensor) -> Tensor:
        """Back in the caller's units."""
        return y * self.bandwidth + self.center

    def log_constant(self) -> float:
        """Logarithm of the kernel's integral in the caller's units."""
        d = self.x.shape[1]
        return self.kernel.log_integral(d) + self.bandwidth.expand(d).log().sum().item()


class Targets:
    """Points (..., n, d) that distances are taken to, with their squared norms."""

    def __init__(self, x: Tensor) -> None:
        self.x, self.norms = x, x.square().sum(dim=-1).unsqueeze(-2)

    def __len__(self) -> int:
        return self.x.shape[-2]

    def sqdist(self, y: Tensor) -> Tensor:
        """Squared distances from y, (..., m, n)."""
        cross = y @ self.x.mT
        cross.mul_(-2).add_(self.norms).add_(y.square().sum(dim=-1, keepdim=True))
        return cross.clamp_(min=0)


def as_rows(name: str, x: Any) -> Tensor:
    """A finite matrix of float32 or float64, tensor or array, as float64 without a graph."""
    if isinstance(x, np.ndarray):
        if x.dtype not in (np.float32, np.float64):
            raise ArgumentError(name, f"dtype {x.dtype}", "convert it to float32 or float64")
        x = torch.from_numpy(np.ascontiguousarray(x))
    check_floating(name, x)
    if x.dim() != 2 or 0 in x.shape:
        remedy = "give (n, d), at least one row and column"
        raise ArgumentError(name, f"shape {tuple(x.shape)}", remedy)
    return check_finite(name, x.detach()).double()
