"""Stationary kernels: functions of one number, the scaled squared distance.

A new one is two short classes. A profile says how a squared distance becomes a covariance, and
how steeply; operators run it. The kernel adds its spectral density and, where it is smooth, its
higher derivatives. Lengthscales, checks, gradients that are exact at zero distance, derivatives
along any axes and spectral densities at any lengthscale are written once, here.

References
----------
Rasmussen and Williams, *Gaussian Processes for Machine Learning*, 2006: (4.14), (4.15).
"""

import math
from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from typing_extensions import override

from kernelgp.errors import ArgumentError
from kernelgp.kernels.kernel import Kernel
from kernelgp.kernels.ladder import Orders, check_smoothness, radial_derivative
from kernelgp.kernels.positive import Hyperparameter
from kernelgp.kernels.waves import SpectralTerm, Waves, place
from kernelgp.operators.expression import Leaf, Node, Profile
from kernelgp.validation import check_positive

__all__ = ["StationaryKernel", "StationaryProfile", "as_batch", "scale_columns"]


class StationaryProfile(Profile):
    """A profile of ``factor * s``, ``s = Σj ((xj - x'j) / lengthscalej)²``.

    The factor goes into the embedding, where it costs nothing.
    """

    @property
    def factor(self) -> float:
        return 1.0

    @override
    def embed(self, x: Tensor, *tensors: Tensor) -> Tensor:
        return scale_columns(x, math.sqrt(self.factor) / tensors[0])

    @override
    def parameters(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        return tensors[1:]


class StationaryKernel(Kernel):
    """A covariance that depends on ``s = Σj ((xj - x'j) / lengthscalej)²`` alone.

    Parameters
    ----------
    lengthscale : float, sequence of d floats, or Tensor of shape (*batch, 1, d)
        In the units of the inputs: one number for all of them, or one for each.
    active_dims : sequence of int, optional
        The columns that the kernel looks at; all of them by default.

    Raises
    ------
    ArgumentError
        If a lengthscale is not a positive, finite number, or their number is not that of the
        columns.
    """

    # gpytorch has a property of this name.
    lengthscale: Hyperparameter = Hyperparameter()  # pyright: ignore[reportAssignmentType, reportIncompatibleVariableOverride]
    profile: StationaryProfile

    def __init__(
        self,
        lengthscale: float | Sequence[float] | Tensor = 1.0,
        active_dims: Sequence[int] | None = None,
    ) -> None:
        values = as_batch("lengthscale", lengthscale)
        super().__init__(active_dims, batch_shape=values.shape[:-2])
        # Only now: gpytorch's constructor would register a float32 lengthscale of its own.
        self.has_lengthscale = True
        self.ard_num_dims = values.shape[-1] if values.shape[-1] > 1 else None
        self.lengthscale = values

    @property
    def max_order(self) -> int:
        """The highest total order of the derivatives it has in closed form."""
        return 1

    def scalars(self) -> tuple[Tensor, ...]:
        """The hyperparameters beside the lengthscale, each of shape (*batch,)."""
        return ()

    def covariance_from_sqdist(self, s: Tensor) -> Tensor:
        """Covariance at the scaled squared distances `s`, of any shape; 1 at zero."""
        return self.profile.value(self.profile.factor * s, *self.scalars_like(s))

    def slope_from_sqdist(self, s: Tensor) -> Tensor:
        """Its derivative in `s`; where that is infinite at zero, the symmetric limit 0."""
        factor = self.profile.factor
        return factor * self.profile.slope(factor * s, *self.scalars_like(s))

    def derivative_from_sqdist(self, s: Tensor, order: int) -> Tensor:
        """The derivative of that order in `s`, up to `max_order`; 0 where infinite at zero."""
        return self.slope_from_sqdist(s) if order else self.covariance_from_sqdist(s)

    @abstractmethod
    def density_from_sqfreq(self, q: Tensor, d: int) -> Tensor:
        """Spectral density in d dimensions at ``q = Σj (2π lengthscalej fj)²``."""

    @abstractmethod
    def radii(self, uniforms: Tensor) -> Tensor:
        """Factors (n, 1) that make of normals points with the density of ``2π f`` at unit scale.

        They may use `uniforms`, of shape (n, n_uniforms(d)).
        """

    @override
    def expression(self) -> Node:
        return Leaf(self.profile, (self.lengthscale, *self.scalars()), self.columns)

    @property
    @override
    def is_stationary(self) -> bool:
        return True

    @override
    def arguments(self) -> dict[str, Any]:
        return {"lengthscale": self.lengthscale}

    @override
    def partial(self, x1: Tensor, x2: Tensor, orders1: Orders, orders2: Orders) -> Tensor:
        selected = self.select_orders(orders1, orders2)
        if selected is None:
            return x1.new_zeros(len(x1), len(x2))
        orders = tuple(map(sum, zip(*selected, strict=True)))
        check_smoothness(self, orders, self.max_order)
        difference = self.select(x1).unsqueeze(-2) - self.select(x2).unsqueeze(-3)
        scale = self.lengthscale.to(x1).unsqueeze(-2).expand(*self.batch_shape, 1, 1, len(orders))
        z = difference / scale
        s = z.square().sum(dim=-1)
        value = radial_derivative(lambda k: self.derivative_from_sqdist(s, k), z, orders)
        exponents = torch.tensor(orders, dtype=x1.dtype, device=x1.device)
        return (-1) ** sum(selected[1]) * value / scale.pow(exponents).prod(dim=-1)

    @override
    def density(self, frequencies: Tensor, columns: Orders) -> Tensor:
        frequencies = self.select_frequencies(frequencies, columns)
        d = frequencies.shape[-1]
        lengthscale = self.lengthscale.to(frequencies)
        volume = lengthscale.expand(*lengthscale.shape[:-1], d).prod(dim=-1)
        q = (2 * math.pi * frequencies * lengthscale).square().sum(dim=-1)
        return volume * self.density_from_sqfreq(q, d)

    @override
    def spectrum(self) -> list[SpectralTerm]:
        return [SpectralTerm(self.variance, (self,))]

    def n_uniforms(self, d: int) -> int:
        """How many uniform numbers `radii` takes for a frequency."""
        del d
        return 0

    def waves(self, uniforms: Tensor, d: int) -> Waves:
        """Centres and widths of the frequencies of d inputs (`kernelgp.kernels.waves`)."""
        rates = 1 / (2 * math.pi * self.lengthscale.to(uniforms))
        return Waves(None, self.radii(uniforms), place(rates, self.columns, d))

    def scalars_like(self, s: Tensor) -> tuple[Tensor, ...]:
        """`scalars` in the dtype of `s`, and with dimensions of 1 behind those of a batch."""
        scalars = (scalar.to(s) for scalar in self.scalars())
        return tuple(t.reshape(*t.shape, *[1] * (s.dim() - t.dim())) for t in scalars)


def as_batch(name: str, value: Any) -> Tensor:
    """Numbers as (*batch, 1, d): one, a sequence of d, or a tensor of that shape already."""
    tensor = check_positive(name, value)
    if tensor.dim() < 2:
        return tensor.reshape(1, -1)
    if tensor.shape[-2] != 1:
        remedy = "give a number, a sequence of d numbers, or a tensor of shape (*batch, 1, d)"
        raise ArgumentError(name, f"shape {tuple(tensor.shape)}", remedy)
    return tensor


def scale_columns(x: Tensor, rates: Tensor, name: str = "lengthscale") -> Tensor:
    """``x * rates``, for as many rates as columns, or one."""
    d, given = x.shape[-1], rates.shape[-1]
    if given not in (1, d):
        remedy = f"give one number, or {d}: one for each column of the points"
        raise ArgumentError(name, f"{given} numbers", remedy)
    return x * rates
