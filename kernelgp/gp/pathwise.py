"""Posterior functions, drawn whole: a random prior function, moved to meet the data.

By Matheron's rule ``f + K(·, X) A⁻¹ (y - f(X) - ε)`` is a draw of the posterior if f is one of
the prior and ε one of the noise. f is a sum of waves whose frequencies come from the kernel's
spectral density; parts that are no such sum (linear, polynomial, constant, white) have exact or
dense draws of their own. What is drawn is a function: the same at any points.

References
----------
J. T. Wilson, V. Borovitskiy, A. Terenin, P. Mostowsky and M. P. Deisenroth, *Efficiently sampling
functions from Gaussian process posteriors*, ICML 2020; A. Rahimi and B. Recht, *Random features
for large-scale kernel machines*, 2007.
"""

import math
from collections.abc import Callable
from itertools import combinations_with_replacement
from typing import Any

import torch
from torch import Tensor

from kernelgp.errors import ArgumentError
from kernelgp.kernels import (
    Constant,
    Linear,
    Polynomial,
    PowerKernel,
    ProductKernel,
    ScaledKernel,
    SumKernel,
    White,
)

__all__ = ["has_functions", "prior_functions"]

Functions = Callable[[Tensor], Tensor]
_BLOCK_ENTRIES = 2**24
_MOST_MONOMIALS = 20_000
# Of the frequencies; with n = 300, d = 2, Matérn-5/2 and noise of 1e-4 of the variance, deviations
# of draws between the data were 18 % too small without, 1 % with (medians).
_STRETCHES = (1.0, 2.0, 1.0, 4.0, 1.0, 8.0)


@torch.no_grad()
def prior_functions(
    kernel: Any, d: int, n_samples: int, n_features: int, generator: torch.Generator
) -> Functions:
    """Draws of a Gaussian process with mean zero, as functions.

    Parameters
    ----------
    kernel
        A kernel of ours; sums are drawn part by part.
    d
        Number of inputs.
    n_samples, n_features

    Returns
    -------
    callable
        From points (m, d) to values (m, n_samples), float64.

    Raises
    ------
    ArgumentError
        If a part has neither a spectrum nor finitely many features.

    Examples
    --------
    >>> from kernelgp.kernels import RBF
    >>> f = prior_functions(RBF(), 1, 2, 64, torch.Generator().manual_seed(0))
    >>> x = torch.linspace(0, 1, 5, dtype=torch.float64)[:, None]
    >>> torch.equal(f(x)[:2], f(x[:2]))
    True
    """
    if isinstance(kernel, SumKernel):
        parts = [
            prior_functions(part, d, n_samples, n_features, generator) for part in kernel.parts
        ]
        return lambda x: torch.stack([part(x) for part in parts]).sum(dim=0)
    if isinstance(kernel, ScaledKernel):
        inner = prior_functions(kernel.base_kernel, d, n_samples, n_features, generator)
        root = kernel.outputscale.detach().sqrt()
        return lambda x: root.to(x) * inner(x)
    if isinstance(kernel, White):
        # Of the function itself at a point that is no training row: seen by no other point.
        raise _refused(kernel, "take the white noise out of the kernel")
    features = _features(kernel, d, n_features, generator)
    weights: Tensor | None = None

    def functions(x: Tensor) -> Tensor:
        nonlocal weights
        parts = []
        for block in x.double().split(max(1, _BLOCK_ENTRIES // n_features)):
            phi = features(block)
            if weights is None:
                weights = torch.randn(
                    phi.shape[-1], n_samples, generator=generator, dtype=torch.float64
                ).to(phi)
            parts.append(phi @ weights)
        return torch.cat(parts)

    functions(torch.zeros(1, d, dtype=torch.float64))  # draws the weights now, in this order
    return functions


def has_functions(kernel: Any) -> bool:
    """Whether every part is a kernel of ours; one that is gpytorch's own has no spectrum here."""
    if isinstance(kernel, SumKernel | ProductKernel | PowerKernel):
        return all(has_functions(part) for part in kernel.parts)
    if isinstance(kernel, ScaledKernel):
        return has_functions(kernel.base_kernel)
    return hasattr(kernel, "sample_frequencies")


def _features(kernel: Any, d: int, n_features: int, generator: torch.Generator) -> Functions:
    """Columns whose inner products are the covariance, exactly or in expectation."""
    if isinstance(kernel, Constant):
        return lambda x: torch.ones(len(x), 1, dtype=torch.float64, device=x.device)
    if isinstance(kernel, Linear):
        return lambda x: kernel.select(x)
    if isinstance(kernel, Polynomial):
        return _monomials(kernel)
    if isinstance(kernel, ProductKernel | PowerKernel) and not kernel.is_stationary:
        return _product(kernel, d, n_features, generator)
    frequencies, weights = _frequencies(kernel, d, max(1, n_features // 2), generator)
    scale = (kernel.variance.detach().double() * weights).sqrt()

    def waves(x: Tensor) -> Tensor:
        phase = 2 * math.pi * x @ frequencies.to(x).mT
        return torch.cat([scale.to(x) * phase.cos(), scale.to(x) * phase.sin()], dim=-1)

    return waves


def _frequencies(kernel: Any, d: int, n: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Frequencies (n, d), and the share of the variance that each stands for.

    Some are stretched, and weighted by the spectral density over that of the mixture: between
    data that are close, a function moves by its highest frequencies alone, of which there are few.
    """
    found = kernel.sample_frequencies(n, d, generator).double()
    even = torch.full((len(found),), 1 / len(found), dtype=torch.float64)
    if len(found) < len(_STRETCHES) or len(kernel.depends_on(tuple(range(d)))) < d:
        return found, even
    stretch = torch.tensor(_STRETCHES, dtype=torch.float64)
    stretch = stretch.repeat(-(-len(found) // len(stretch)))[: len(found)]
    stretched = found * stretch.unsqueeze(-1)
    try:
        density = kernel.spectral_density(stretched).double()
        mixture = torch.zeros_like(even)
        for each in sorted(set(_STRETCHES)):
            share = (stretch == each).double().mean()
            mixture += share * kernel.spectral_density(stretched / each).double() / each**d
    except ArgumentError:  # a spectrum of lines, or one without a closed form
        return found, even
    weights = density / mixture
    return stretched, weights / weights.sum()


def _monomials(kernel: Any) -> Functions:
    """``(x·x' + c)^p`` as the inner product of all weighted monomials of [x, sqrt(c)]."""
    offset = kernel.offset.detach().double().sqrt()

    def features(x: Tensor) -> Tensor:
        selected = kernel.select(x)
        extended = torch.cat([selected, offset.to(x).expand(len(x), 1)], dim=-1)
        width = extended.shape[-1]
        chosen = list(combinations_with_replacement(range(width), kernel.degree))
        if len(chosen) > _MOST_MONOMIALS:
            raise _refused(kernel, "use fewer columns or a lower degree")
        columns = []
        for powers in chosen:
            ways = math.factorial(kernel.degree)
            for i in set(powers):
                ways //= math.factorial(powers.count(i))
            columns.append(math.sqrt(ways) * extended[:, list(powers)].prod(dim=-1))
        return torch.stack(columns, dim=-1)

    return features


def _product(kernel: Any, d: int, n_features: int, generator: torch.Generator) -> Functions:
    """All products of the columns of the parts: few of the polynomial ones, waves of the others."""
    exact = [part for part in kernel.parts if not part.is_stationary]
    waves = [part for part in kernel.parts if part.is_stationary]
    sides = [_scaled_features(part, d, n_features, generator) for part in exact]
    if waves:
        joint = ProductKernel(*waves) if len(waves) > 1 else waves[0]
        sides.append(_scaled_features(joint, d, n_features, generator))

    def features(x: Tensor) -> Tensor:
        first, *others = (side(x) for side in sides)
        for other in others:
            first = (first.unsqueeze(-1) * other.unsqueeze(-2)).flatten(1)
        return first

    return features


def _scaled_features(kernel: Any, d: int, n_features: int, generator: torch.Generator) -> Functions:
    if isinstance(kernel, SumKernel):
        parts = [_scaled_features(part, d, n_features, generator) for part in kernel.parts]
        return lambda x: torch.cat([part(x) for part in parts], dim=-1)
    if not isinstance(kernel, ScaledKernel):
        return _features(kernel, d, n_features, generator)
    inner = _scaled_features(kernel.base_kernel, d, n_features, generator)
    root = kernel.outputscale.detach().sqrt()
    return lambda x: root.to(x) * inner(x)


def _refused(kernel: Any, remedy: str) -> ArgumentError:
    return ArgumentError("kernel", f"{kernel}, of which no function can be drawn", remedy)
