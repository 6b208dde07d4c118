"""Periodic kernels: a Gaussian kernel of the points wound around a circle.

Reference: D. J. C. MacKay, *Introduction to Gaussian Processes*, 1998, equation (47).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from typing_extensions import override

from kernelgp.errors import ArgumentError
from kernelgp.kernels.kernel import Kernel
from kernelgp.kernels.ladder import Orders, check_smoothness, cosine_derivative
from kernelgp.kernels.positive import Hyperparameter
from kernelgp.kernels.rbf import GaussianProfile
from kernelgp.kernels.stationary import as_batch, scale_columns
from kernelgp.kernels.waves import SpectralTerm, Waves, place, poisson_quantile
from kernelgp.operators.expression import Leaf, Node, Profile

__all__ = ["Periodic", "RadialPeriodic"]


@dataclass(frozen=True)
class PeriodicProfile(GaussianProfile):
    """The Gaussian profile of ``(cos, sin)(2π x / period) / lengthscale``."""

    @override
    def embed(self, x: Tensor, *tensors: Tensor) -> Tensor:
        period, lengthscale = tensors
        angle = scale_columns(x, 2 * math.pi / period, "period")
        radius = scale_columns(torch.ones_like(x), math.sqrt(self.factor) / lengthscale)
        return torch.cat([radius * angle.cos(), radius * angle.sin()], dim=-1)

    @override
    def parameters(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        return ()


@dataclass(frozen=True)
class RadialPeriodicProfile(Profile):
    """``exp(-2 sin²(π sqrt(s)) / lengthscale²)``, of the distance in periods."""

    @override
    def embed(self, x: Tensor, *tensors: Tensor) -> Tensor:
        return scale_columns(x, 1 / tensors[0], "period")

    @override
    def parameters(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        return (tensors[1],)

    @override
    def value(self, s: Tensor, *parameters: Tensor) -> Tensor:
        return torch.exp(-2 * (torch.sin(math.pi * s.sqrt()) / parameters[0]).square())

    @override
    def slope(self, s: Tensor, *parameters: Tensor) -> Tensor:
        r = s.sqrt()
        return (
            -2 * (math.pi / parameters[0]).square() * torch.sinc(2 * r) * self.value(s, *parameters)
        )

    @override
    def parameter_slopes(self, s: Tensor, *parameters: Tensor) -> tuple[Tensor, ...]:
        (lengthscale,) = parameters
        height = torch.sin(math.pi * s.sqrt()).square()
        return (4 * height / lengthscale**3 * self.value(s, lengthscale),)

    @override
    def formula(self, s: Any, *parameters: Any) -> Any:
        wave = (math.pi * s.sqrt()).sin() / parameters[0]
        return (-2 * wave * wave).exp()


class Periodic(Kernel):
    """``k = exp(-2 Σj sin²(π (xj - x'j) / periodj) / lengthscalej²)``.

    Parameters
    ----------
    period : float, sequence of d floats, or Tensor of shape (*batch, 1, d)
        In the units of the inputs.
    lengthscale : the same
        In units of the circle's radius, not of the inputs.
    active_dims : sequence of int, optional
        The columns that the kernel looks at; all of them by default.

    Notes
    -----
    gpytorch's `PeriodicKernel` does not square its lengthscale; `from_gpytorch` takes the root.
    """

    period: Hyperparameter = Hyperparameter()
    # gpytorch has a property of this name.
    lengthscale: Hyperparameter = Hyperparameter()  # pyright: ignore[reportAssignmentType, reportIncompatibleVariableOverride]

    def __init__(
        self,
        period: float | Sequence[float] | Tensor = 1.0,
        lengthscale: float | Sequence[float] | Tensor = 1.0,
        active_dims: Sequence[int] | None = None,
    ) -> None:
        periods, lengthscales = as_batch("period", period), as_batch("lengthscale", lengthscale)
        batch = torch.broadcast_shapes(periods.shape[:-2], lengthscales.shape[:-2])
        super().__init__(active_dims, batch_shape=batch)
        self.period = periods.expand(*batch, *periods.shape[-2:])
        self.lengthscale = lengthscales.expand(*batch, *lengthscales.shape[-2:])

    @override
    def expression(self) -> Node:
        return Leaf(PeriodicProfile(), (self.period, self.lengthscale), self.columns)

    @property
    @override
    def is_stationary(self) -> bool:
        return True

    @override
    def partial(self, x1: Tensor, x2: Tensor, orders1: Orders, orders2: Orders) -> Tensor:
        selected = self.select_orders(orders1, orders2)
        if selected is None:
            return x1.new_zeros(len(x1), len(x2))
        orders = tuple(map(sum, zip(*selected, strict=True)))
        check_smoothness(self, orders, 8)
        lags = self.select(x1).unsqueeze(-2) - self.select(x2).unsqueeze(-3)
        size = (*self.batch_shape, 1, 1, len(orders))
        rates = (1 / self.period.to(x1).unsqueeze(-2)).expand(size)
        heights = self.lengthscale.to(x1).unsqueeze(-2).expand(size).square().reciprocal()
        axes = (t.unbind(-1) for t in (heights, rates, lags))
        factors = map(_wave_derivative, *axes, orders)
        return (-1) ** sum(selected[1]) * math.prod(factors, start=x1.new_ones(()))

    @override
    def spectrum(self) -> list[SpectralTerm]:
        return [SpectralTerm(self.variance, (self,))]

    def n_uniforms(self, d: int) -> int:
        """Two for each column: a frequency is the difference of two whole numbers."""
        return 2 * len(self.depends_on(tuple(range(d))))

    def waves(self, uniforms: Tensor, d: int) -> Waves:
        """Frequencies without spread; no gradient flows to the lengthscale."""
        # exp(a (cos t - 1)) is the characteristic function of the difference of two Poisson
        # numbers of mean a/2: that many periods to a unit.
        means = 0.5 / self.lengthscale.detach().to(uniforms).square()
        halves = uniforms.chunk(2, dim=-1)
        first, second = (poisson_quantile(means, half) for half in halves)
        centres = place((first - second) / self.period.to(uniforms), self.columns, d)
        return Waves(centres, uniforms.new_ones(len(uniforms), 1), uniforms.new_zeros(1, d))

    @override
    def arguments(self) -> dict[str, Any]:
        return {"period": self.period, "lengthscale": self.lengthscale}


class RadialPeriodic(Periodic):
    """``k = exp(-2 sin²(π |x - x'| / period) / lengthscale²)``: scikit-learn's ExpSineSquared.

    Of one input it is `Periodic`. Of several it is periodic in the distance and not positive
    definite for all lengthscales; prefer `Periodic`.

    Parameters
    ----------
    period, lengthscale : float or Tensor of shape (*batch,)
    active_dims : sequence of int, optional
        The columns that the kernel looks at; all of them by default.
    """

    @override
    def expression(self) -> Node:
        scalar = self.lengthscale[..., 0, 0]
        return Leaf(RadialPeriodicProfile(), (self.period, scalar), self.columns)

    @override
    def partial(self, x1: Tensor, x2: Tensor, orders1: Orders, orders2: Orders) -> Tensor:
        lags = self.select(x1).unsqueeze(-2) - self.select(x2).unsqueeze(-3)
        if lags.shape[-1] == 1:
            return super().partial(x1, x2, orders1, orders2)
        if sum(orders1) + sum(orders2) > 0:
            remedy = "use Periodic, or a RadialPeriodic of one column"
            raise ArgumentError("orders", f"a derivative of {self} in several columns", remedy)
        s = (lags / self.period.to(x1).unsqueeze(-2)).square().sum(dim=-1)
        return RadialPeriodicProfile().value(s, self.lengthscale.to(x1))

    @override
    def n_uniforms(self, d: int) -> int:
        if len(self.depends_on(tuple(range(d)))) > 1:
            remedy = "use Periodic, which is positive definite"
            raise ArgumentError("kernel", f"{self}, of {d} inputs", remedy)
        return super().n_uniforms(d)


def _wave_derivative(height: Tensor, rate: Tensor, lag: Tensor, order: int) -> Tensor:
    """Derivative of ``g = exp(height (cos(2π rate t) - 1))`` in t, from ``g' = h g``."""
    steepness = [height * cosine_derivative(rate, lag, k + 1) for k in range(order)]
    known = [torch.exp(-2 * height * torch.sin(math.pi * rate * lag).square())]
    for n in range(order):
        terms = (math.comb(n, k) * steepness[k] * known[n - k] for k in range(n + 1))
        known.append(torch.stack(torch.broadcast_tensors(*terms)).sum(dim=0))
    return known[order]
