"""The derivative ladder: partial derivatives of kernels in closed form, exact at zero distance.

A function of the squared distance alone, ``φ(s)`` with ``s = Σj zj²``, is differentiated along
one axis by Faà di Bruno's formula, in which only two derivatives of s are not zero:
``∂ⁿ φ = Σi n! / (i! (n - 2i)!) (2z)ⁿ⁻²ⁱ φ⁽ⁿ⁻ⁱ⁾(s)``, and along several by repeating it. So a
stationary kernel needs the derivatives of one function of one number; products follow by
Leibniz' rule.
"""

import math
from collections.abc import Callable, Iterator
from itertools import product

import torch
from torch import Tensor

from kernelgp.errors import ArgumentError

__all__ = ["Orders", "check_smoothness", "cosine_derivative", "radial_derivative", "splits"]

Orders = tuple[int, ...]


def radial_derivative(phi: Callable[[int], Tensor], z: Tensor, orders: Orders) -> Tensor:
    """Partial derivative, in z, of ``φ(|z|²)``.

    Parameters
    ----------
    phi
        ``phi(k)`` is the k-th derivative of φ at ``|z|²``, of shape z.shape[:-1]; where it is
        infinite at zero any finite number, as the limit of the whole is then 0.
    z : Tensor, shape (..., d)
    orders
        How often to differentiate in each of the d coordinates.
    """
    coordinates, total = z.unbind(-1), sum(orders)
    known: dict[int, Tensor] = {}
    result = torch.zeros_like(coordinates[0])
    for pairs in product(*(range(n // 2 + 1) for n in orders)):
        count, power = 1, torch.ones_like(result)
        for n, i, t in zip(orders, pairs, coordinates, strict=True):
            count *= math.factorial(n) // (math.factorial(i) * math.factorial(n - 2 * i))
            power = power * (2 * t) ** (n - 2 * i) if n > 2 * i else power
        k = total - sum(pairs)
        if k not in known:
            known[k] = phi(k)
        result = result + count * power * known[k]
    return result


def cosine_derivative(frequency: Tensor, lag: Tensor, order: int) -> Tensor:
    """Derivative of ``cos(2π f t)`` in the lag t."""
    w = 2 * math.pi * frequency
    # cos, -sin, -cos, sin, without a rounded quarter of a turn in the argument.
    wave = torch.sin(w * lag) if order % 2 else torch.cos(w * lag)
    sign = -1 if order % 4 in (1, 2) else 1
    return sign * w**order * wave


def splits(orders: Orders) -> Iterator[tuple[int, Orders, Orders]]:
    """Leibniz' rule: the terms ``(count, part, rest)`` of the derivative of a product.

    Examples
    --------
    >>> list(splits((2,)))
    [(1, (0,), (2,)), (2, (1,), (1,)), (1, (2,), (0,))]
    """
    for part in product(*(range(n + 1) for n in orders)):
        count = math.prod(math.comb(n, k) for n, k in zip(orders, part, strict=True))
        yield count, part, tuple(n - k for n, k in zip(orders, part, strict=True))


def check_smoothness(kernel: object, orders: Orders, limit: int) -> None:
    """Refuse derivatives that the kernel does not have, or not in closed form here."""
    total = sum(orders)
    if total > limit:
        remedy = (
            f"ask for at most {limit} in all, or use a smoother kernel: an RBF or a Gaussian "
            "SpectralMixture has derivatives to total order 8"
        )
        raise ArgumentError("orders", f"total order {total} for {kernel}", remedy)
