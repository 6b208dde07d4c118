"""Kernels of the inner product of two points: linear and polynomial."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any, ClassVar

import torch
from torch import Tensor
from typing_extensions import override

from kernelgp.errors import ArgumentError
from kernelgp.kernels.kernel import Kernel
from kernelgp.kernels.ladder import Orders
from kernelgp.kernels.positive import Hyperparameter
from kernelgp.operators.expression import Leaf, Node, Pair, Profile

__all__ = ["Linear", "Polynomial"]


@dataclass(frozen=True)
class LinearProfile(Profile):
    """The inner product itself."""

    pair: ClassVar[Pair] = "dot"
    shift_invariant: ClassVar[bool] = False

    @override
    def value(self, s: Tensor, *parameters: Tensor) -> Tensor:
        return s

    @override
    def slope(self, s: Tensor, *parameters: Tensor) -> Tensor:
        return torch.ones_like(s)

    @override
    def formula(self, s: Any, *parameters: Any) -> Any:
        return s

    @override
    def value_(self, s: Tensor, scratch: Tensor, *parameters: Tensor) -> Tensor:
        return s


@dataclass(frozen=True)
class PolynomialProfile(Profile):
    """``(s + offset)^degree``."""

    degree: int
    pair: ClassVar[Pair] = "dot"
    shift_invariant: ClassVar[bool] = False

    @override
    def parameters(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        return tensors

    @override
    def value(self, s: Tensor, *parameters: Tensor) -> Tensor:
        return (s + parameters[0]) ** self.degree

    @override
    def slope(self, s: Tensor, *parameters: Tensor) -> Tensor:
        return self.degree * (s + parameters[0]) ** (self.degree - 1)

    @override
    def parameter_slopes(self, s: Tensor, *parameters: Tensor) -> tuple[Tensor, ...]:
        return (self.slope(s, *parameters),)

    @override
    def formula(self, s: Any, *parameters: Any) -> Any:
        return (s + parameters[0]) ** self.degree

    @override
    def value_(self, s: Tensor, scratch: Tensor, *parameters: Tensor) -> Tensor:
        return s.add_(parameters[0]).pow_(self.degree)

    @override
    def value_and_slope_(
        self, s: Tensor, value: Tensor, scratch: Tensor, *parameters: Tensor
    ) -> None:
        s.add_(parameters[0])
        torch.pow(s, self.degree - 1, out=scratch)
        torch.mul(s, scratch, out=value)
        torch.mul(scratch, self.degree, out=s)


class Linear(Kernel):
    """``k = x · x'``: the covariance of ``w · x`` with w standard normal.

    Parameters
    ----------
    active_dims : sequence of int, optional
        The columns that the kernel looks at; all of them by default.
    """

    def __init__(self, active_dims: Sequence[int] | None = None) -> None:
        super().__init__(active_dims)

    @override
    def expression(self) -> Node:
        return Leaf(LinearProfile(), (), self.columns)

    @override
    def partial(self, x1: Tensor, x2: Tensor, orders1: Orders, orders2: Orders) -> Tensor:
        return _partial(self, 1, x1.new_zeros(()), x1, x2, orders1, orders2)


class Polynomial(Kernel):
    """``k = (x · x' + offset)^degree``.

    Parameters
    ----------
    degree
        A positive whole number.
    offset : float or Tensor of shape (*batch,)
        Not negative; 0 leaves only the monomials of full degree, and stays 0.
    active_dims : sequence of int, optional
        The columns that the kernel looks at; all of them by default.

    Raises
    ------
    ArgumentError
        If `degree` is no positive whole number, or `offset` is negative.
    """

    offset: Hyperparameter = Hyperparameter(zero=True)

    def __init__(
        self,
        degree: int = 2,
        offset: float | Tensor = 1.0,
        active_dims: Sequence[int] | None = None,
    ) -> None:
        if isinstance(degree, bool) or not isinstance(degree, int) or degree < 1:
            raise ArgumentError("degree", repr(degree), "give a positive whole number")
        super().__init__(active_dims)
        self.degree = degree
        self.register_scalar("offset", offset)

    @override
    def expression(self) -> Node:
        return Leaf(PolynomialProfile(self.degree), (self.offset,), self.columns)

    @override
    def partial(self, x1: Tensor, x2: Tensor, orders1: Orders, orders2: Orders) -> Tensor:
        offset = self.offset.to(x1)[..., None, None]
        return _partial(self, self.degree, offset, x1, x2, orders1, orders2)

    @override
    def arguments(self) -> dict[str, Any]:
        return {"degree": self.degree, "offset": self.offset}


def _partial(
    kernel: Kernel,
    degree: int,
    offset: Tensor,
    x1: Tensor,
    x2: Tensor,
    orders1: Orders,
    orders2: Orders,
) -> Tensor:
    """Derivatives of ``f(x · x')``, ``f(s) = (s + offset)^degree``.

    Each column gives ``∂a/∂x ∂b/∂x' = Σi i! C(a,i) C(b,i) x'^(a-i) x^(b-i) f^(a+b-i)(s)``.
    """
    x1, x2 = kernel.select(x1), kernel.select(x2)
    selected = kernel.select_orders(orders1, orders2)
    result = x1.new_zeros(len(x1), len(x2))
    if selected is None:
        return result
    s = x1 @ x2.mT + offset
    pairs = list(zip(*selected, strict=True))
    for common in product(*(range(min(a, b) + 1) for a, b in pairs)):
        order = sum(a + b - i for (a, b), i in zip(pairs, common, strict=True))
        if order > degree:
            continue
        term = math.perm(degree, order) * s ** (degree - order)
        for (a, b), i, u, v in zip(pairs, common, x1.unbind(-1), x2.unbind(-1), strict=True):
            count = math.factorial(i) * math.comb(a, i) * math.comb(b, i)
            term = count * term * v ** (a - i) * u.unsqueeze(-1) ** (b - i)
        result = result + term
    return result
