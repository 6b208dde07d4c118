"""Matérn kernels of half-integer smoothness: a polynomial times an exponential.

With ``u = sqrt(2 nu s)`` and ``M(nu)`` the kernel as a function of u,
``(1/u) dM(nu)/du = -M(nu - 1) / (2 (nu - 1))``: every derivative in s is again a Matérn
function, of lower order (Rasmussen and Williams 2006, 4.14 and 4.16; DLMF 10.29.4).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from typing_extensions import override

from kernelgp.errors import ArgumentError
from kernelgp.kernels.stationary import StationaryKernel, StationaryProfile
from kernelgp.kernels.waves import student_radius

__all__ = ["Matern", "MaternProfile", "matern_density", "matern_derivative"]

# Coefficients of the polynomials, the lowest power first.
_POLYNOMIALS = {
    0.5: (1.0,),
    1.5: (1.0, 1.0),
    2.5: (1.0, 1.0, 1 / 3),
    3.5: (1.0, 1.0, 2 / 5, 1 / 15),
}


@dataclass(frozen=True)
class MaternProfile(StationaryProfile):
    """``polynomial(u) exp(-u)`` of ``u = sqrt(s)``: the embedding holds the ``2 nu``."""

    nu: float

    @property
    @override
    def factor(self) -> float:
        return 2 * self.nu

    @override
    def value(self, s: Tensor, *parameters: Tensor) -> Tensor:
        u = s.sqrt()
        return _horner(_POLYNOMIALS[self.nu], u) * torch.exp2(-math.log2(math.e) * u)

    @override
    def slope(self, s: Tensor, *parameters: Tensor) -> Tensor:
        u = s.sqrt()
        decay = torch.exp2(-math.log2(math.e) * u)
        if self.nu == 0.5:
            return torch.where(s > 0, -0.5 * decay / u, 0.0)
        return -_horner(_POLYNOMIALS[self.nu - 1], u) * decay / (4 * self.nu - 4)

    @override
    def formula(self, s: Any, *parameters: Any) -> Any:
        u = s.sqrt()
        return _horner(_POLYNOMIALS[self.nu], u) * (-u).exp()

    @override
    def value_(self, s: Tensor, scratch: Tensor, *parameters: Tensor) -> Tensor:
        u = s.sqrt_()
        decay = torch.mul(u, -math.log2(math.e), out=scratch).exp2_()
        return _times_polynomial_(u, decay, _POLYNOMIALS[self.nu])

    @override
    def value_and_slope_(
        self, s: Tensor, value: Tensor, scratch: Tensor, *parameters: Tensor
    ) -> None:
        u = s.sqrt_()
        if self.nu == 0.5:
            torch.mul(u, -math.log2(math.e), out=value).exp2_()
            torch.div(value, u, out=s).mul_(-0.5).nan_to_num_(nan=math.nan, neginf=0.0)
            return
        decay = torch.mul(u, -math.log2(math.e), out=scratch).exp2_()
        _times_polynomial_(value.copy_(u), decay, _POLYNOMIALS[self.nu])
        _times_polynomial_(u, decay.div_(4 - 4 * self.nu), _POLYNOMIALS[self.nu - 1])


class Matern(StationaryKernel):
    """``k = polynomial(u) exp(-u)``, ``u = sqrt(2 nu s)``: 2 nu - 1 derivatives in all.

    Parameters
    ----------
    nu : 0.5, 1.5 or 2.5
        Smoothness.
    lengthscale, active_dims
        As for `StationaryKernel`.

    Raises
    ------
    ArgumentError
        If `nu` is another number.

    Examples
    --------
    >>> Matern(nu=2.5, lengthscale=[0.5, 0.2, 1.0])
    Matern(nu=2.5, lengthscale=[0.5, 0.2, 1.0])
    """

    def __init__(
        self,
        nu: float = 2.5,
        lengthscale: float | Sequence[float] | Tensor = 1.0,
        active_dims: Sequence[int] | None = None,
    ) -> None:
        if nu not in (0.5, 1.5, 2.5):
            raise ArgumentError("nu", str(nu), "give 0.5, 1.5 or 2.5")
        super().__init__(lengthscale, active_dims)
        self.nu = float(nu)
        self.profile = MaternProfile(self.nu)

    @property
    @override
    def max_order(self) -> int:
        return int(2 * self.nu) - 1

    @override
    def derivative_from_sqdist(self, s: Tensor, order: int) -> Tensor:
        return matern_derivative(self.nu, s, order)

    @override
    def density_from_sqfreq(self, q: Tensor, d: int) -> Tensor:
        return matern_density(self.nu, q, d)

    @override
    def n_uniforms(self, d: int) -> int:
        return 1

    @override
    def radii(self, uniforms: Tensor) -> Tensor:
        # The spectral density is a multivariate t distribution.
        return student_radius(2 * self.nu, uniforms)

    @override
    def arguments(self) -> dict[str, Any]:
        return {"nu": self.nu, **super().arguments()}


def matern_derivative(nu: float, s: Tensor, order: int) -> Tensor:
    """Derivative of the Matérn function in ``s``; 0 where it is infinite at zero.

    ``u^p K_p(u)`` with ``p = nu - order`` is, up to a constant, a polynomial times exp(-u)
    for p > 0, and ``u^2p`` times that of -p for p < 0.
    """
    p = nu - order
    # The side of `where` not taken is still differentiated: no root of zero there.
    positive = torch.where(s > 0, s, 1.0)
    u = torch.where(s > 0, (2 * nu * positive).sqrt(), 0.0)
    value = _horner(_POLYNOMIALS[abs(p)], u) * torch.exp(-u)
    # d/ds = nu (1/u) d/du, and each step down divides by -2 (nu - 1), -2 (nu - 2), ...; below
    # one half the normalised functions are exp(-u) / u, (1 + u) exp(-u) / u³, ...
    scale = 1.0
    for i in range(1, order + 1):
        scale *= -nu * _step(nu - i + 1)
    if p < 0:
        value = torch.where(s > 0, value * (2 * nu * positive) ** p, 0.0)
    return scale * value


def _step(p: float) -> float:
    """The factor of ``-(1/u) d/du`` from the normalised function of order p to that of p - 1.

    Functions of negative order -p are ``u^-2p`` times the polynomial of p:
    1/2 to -1/2 has factor 1; from -p to -(p + 1) it is 2p, as ``K`` is even in its order.
    """
    if p > 0.5:
        return 1 / (2 * (p - 1))
    return 1.0 if p == 0.5 else -2 * p


def matern_density(nu: float, q: Tensor, d: int) -> Tensor:
    """Spectral density of a Matérn function of d inputs at ``q = Σj (2π lengthscalej fj)²``."""
    power = nu + d / 2
    constant = (4 * math.pi) ** (d / 2) * math.gamma(power) / math.gamma(nu) * (2 * nu) ** nu
    return constant * (2 * nu + q) ** -power


def _horner(coefficients: Sequence[float], u: Any) -> Any:
    """The polynomial at u, a tensor or a pykeops LazyTensor."""
    result = coefficients[-1]
    for coefficient in reversed(coefficients[:-1]):
        result = result * u + coefficient
    return result


def _times_polynomial_(u: Tensor, decay: Tensor, coefficients: Sequence[float]) -> Tensor:
    """``polynomial(u) * decay`` written over u, in as few passes over the tile as there are."""
    if len(coefficients) == 1:
        return u.copy_(decay)
    if len(coefficients) > 3:
        return torch.mul(_horner(coefficients, u), decay, out=u)
    _, linear, *square = coefficients
    if square:
        u.addcmul_(u, u, value=square[0] / linear)
    return torch.addcmul(decay, u, decay, value=linear, out=u)
