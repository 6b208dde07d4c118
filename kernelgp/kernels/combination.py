"""Scaled kernels, sums, products and powers: kernels made of kernels."""

import math
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor
from torch.nn import ModuleList
from typing_extensions import override

from kernelgp.errors import ArgumentError
from kernelgp.kernels.kernel import Kernel, show
from kernelgp.kernels.ladder import Orders, splits
from kernelgp.kernels.positive import Hyperparameter
from kernelgp.kernels.waves import SpectralTerm
from kernelgp.operators import expression as nodes

__all__ = ["PowerKernel", "ProductKernel", "ScaledKernel", "SumKernel"]


class ScaledKernel(Kernel):
    """``outputscale * kernel``, written ``2.0 * kernel``.

    Parameters
    ----------
    outputscale : float or Tensor of shape (*batch,)
        The variance, positive.

    Examples
    --------
    >>> from kernelgp.kernels import RBF
    >>> 2.0 * RBF(lengthscale=0.3)
    2.0 * RBF(lengthscale=0.3)
    """

    outputscale: Hyperparameter = Hyperparameter()

    def __init__(self, outputscale: float | Tensor, base_kernel: Kernel) -> None:
        super().__init__(batch_shape=outputscale.shape if isinstance(outputscale, Tensor) else None)
        self.base_kernel = base_kernel
        self.outputscale = outputscale

    @override
    def expression(self) -> nodes.Node:
        return nodes.Scaled(self.outputscale, self.base_kernel.expression())

    @override
    def depends_on(self, columns: Orders) -> frozenset[int]:
        return self.base_kernel.depends_on(columns)

    @property
    @override
    def variance(self) -> Tensor:
        return self.outputscale * self.base_kernel.variance

    @property
    @override
    def is_stationary(self) -> bool:
        return self.base_kernel.is_stationary

    @override
    def partial(self, x1: Tensor, x2: Tensor, orders1: Orders, orders2: Orders) -> Tensor:
        scale = self.outputscale.to(x1)[..., None, None]
        return scale * self.base_kernel.partial(x1, x2, orders1, orders2)

    @override
    def density(self, frequencies: Tensor, columns: Orders) -> Tensor:
        scale = self.outputscale.to(frequencies).unsqueeze(-1)
        return scale * self.base_kernel.density(frequencies, columns)

    @override
    def spectrum(self) -> list[SpectralTerm]:
        scale = SpectralTerm(self.outputscale)
        return [scale * term for term in self.base_kernel.spectrum()]

    @override
    def __repr__(self) -> str:
        return f"{show(self.outputscale)} * {_bracketed(self.base_kernel)}"


class _Combination(Kernel):
    """Several kernels taken together."""

    def __init__(self, kernels: Iterable[Kernel]) -> None:
        super().__init__()
        self.kernels = ModuleList(kernels)

    @property
    def parts(self) -> list[Kernel]:
        return list(self.kernels)  # pyright: ignore[reportReturnType] # torch: any Module

    @override
    def depends_on(self, columns: Orders) -> frozenset[int]:
        return frozenset().union(*(kernel.depends_on(columns) for kernel in self.parts))

    @property
    @override
    def is_stationary(self) -> bool:
        return all(kernel.is_stationary for kernel in self.parts)


class SumKernel(_Combination):
    """The sum of kernels, written ``kernel + other``; one tile holds it, whatever their number.

    Examples
    --------
    >>> from kernelgp.kernels import RBF, White
    >>> RBF(lengthscale=0.3) + White(noise=0.1)
    RBF(lengthscale=0.3) + White(noise=0.1)
    """

    def __init__(self, *kernels: Kernel) -> None:
        super().__init__(_flatten(SumKernel, kernels))

    @override
    def expression(self) -> nodes.Node:
        return nodes.Sum(tuple(kernel.expression() for kernel in self.parts))

    @property
    @override
    def variance(self) -> Tensor:
        return sum((kernel.variance for kernel in self.parts), start=torch.zeros(()))

    @override
    def partial(self, x1: Tensor, x2: Tensor, orders1: Orders, orders2: Orders) -> Tensor:
        terms = (kernel.partial(x1, x2, orders1, orders2) for kernel in self.parts)
        return sum(terms, start=x1.new_zeros(()))

    @override
    def density(self, frequencies: Tensor, columns: Orders) -> Tensor:
        terms = (kernel.density(frequencies, columns) for kernel in self.parts)
        return sum(terms, start=frequencies.new_zeros(()))

    @override
    def spectrum(self) -> list[SpectralTerm]:
        return [term for kernel in self.parts for term in kernel.spectrum()]

    @override
    def __repr__(self) -> str:
        return " + ".join(map(repr, self.parts))


class ProductKernel(_Combination):
    """The elementwise product of kernels, written ``kernel * other``.

    Examples
    --------
    >>> from kernelgp.kernels import RBF, Periodic
    >>> RBF(lengthscale=3.0) * Periodic(period=0.5)
    RBF(lengthscale=3.0) * Periodic(period=0.5, lengthscale=1.0)
    """

    def __init__(self, *kernels: Kernel) -> None:
        super().__init__(_flatten(ProductKernel, kernels))

    @override
    def expression(self) -> nodes.Node:
        return nodes.Product(tuple(kernel.expression() for kernel in self.parts))

    @property
    @override
    def variance(self) -> Tensor:
        return math.prod((kernel.variance for kernel in self.parts), start=torch.ones(()))

    @override
    def partial(self, x1: Tensor, x2: Tensor, orders1: Orders, orders2: Orders) -> Tensor:
        return _leibniz(self.parts, x1, x2, orders1, orders2)

    @override
    def density(self, frequencies: Tensor, columns: Orders) -> Tensor:
        seen = [tuple(sorted(kernel.depends_on(columns))) for kernel in self.parts]
        if sorted(column for part in seen for column in part) != sorted(columns):
            remedy = "multiply kernels of different columns, or constants: others have none closed"
            raise ArgumentError("kernel", f"the product {self}", remedy)
        result = frequencies.new_ones(())
        for kernel, part in zip(self.parts, seen, strict=True):
            own = frequencies[..., [columns.index(column) for column in part]]
            factor = kernel.density(own, part) if part else kernel.variance.to(own).unsqueeze(-1)
            result = result * factor
        return result

    @override
    def spectrum(self) -> list[SpectralTerm]:
        first, *others = (kernel.spectrum() for kernel in self.parts)
        for other in others:
            first = [left * right for left in first for right in other]
        return first

    @override
    def __repr__(self) -> str:
        return " * ".join(map(_bracketed, self.parts))


class PowerKernel(ProductKernel):
    """A kernel times itself, written ``kernel**3``: its hyperparameters count once.

    Parameters
    ----------
    exponent
        A positive whole number; other powers of a kernel need not be kernels.
    """

    def __init__(self, base_kernel: Kernel, exponent: int) -> None:
        if isinstance(exponent, bool) or not isinstance(exponent, int) or exponent < 1:
            raise ArgumentError("exponent", repr(exponent), "give a positive whole number")
        super(ProductKernel, self).__init__([base_kernel])
        self.exponent = exponent

    @property
    @override
    def parts(self) -> list[Kernel]:
        return super().parts * self.exponent

    @override
    def __repr__(self) -> str:
        base = self.parts[0]
        inner = f"({base})" if isinstance(base, ScaledKernel | _Combination) else repr(base)
        return f"{inner}**{self.exponent}"


def _leibniz(
    kernels: Sequence[Kernel], x1: Tensor, x2: Tensor, orders1: Orders, orders2: Orders
) -> Tensor:
    first, *others = kernels
    if not others:
        return first.partial(x1, x2, orders1, orders2)
    result = x1.new_zeros(())
    for count1, part1, rest1 in splits(orders1):
        for count2, part2, rest2 in splits(orders2):
            rest = _leibniz(others, x1, x2, rest1, rest2)
            result = result + count1 * count2 * first.partial(x1, x2, part1, part2) * rest
    return result


def _flatten(kind: type[_Combination], kernels: Sequence[Kernel]) -> list[Kernel]:
    """Sums of sums are sums, products of products products."""
    return [part for k in kernels for part in (k.parts if type(k) is kind else [k])]


def _bracketed(kernel: Kernel) -> str:
    return f"({kernel})" if isinstance(kernel, SumKernel) else repr(kernel)
