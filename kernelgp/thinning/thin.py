"""Kernel thinning: repeated halving, the best of its results, and a refinement by exchanges.

References
----------
R. Dwivedi and L. Mackey, *Kernel thinning*, Journal of Machine Learning Research 25, 2024,
algorithms 1 (KT-SPLIT) and 2 (KT-SWAP); with the target kernel in both, as in their
*Generalized kernel thinning*, ICLR 2022.
"""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from kernelgp.errors import ArgumentError, ArgumentTypeError
from kernelgp.operators import KernelOperator
from kernelgp.random import RandomState, as_generator
from kernelgp.thinning.halving import PointKernel, as_kernel, as_points, halve

__all__ = ["kernel_thin", "maximum_mean_discrepancy"]

# Rows of the kernel that are formed at a time while points are exchanged.
_ROWS = 64


def kernel_thin(
    x: Any, kernel: Any, size: int, *, refine: bool = True, random_state: RandomState = None
) -> Tensor:
    """`size` of n points, whose mean embedding is close to that of all.

    Halves ``size 2^m`` points, spread evenly over the n, m times, both halves of each; takes
    whichever of the ``2^m`` results, or of evenly spread points, is nearest to all n; then
    exchanges each of its points for the best of all n. Costs about 3 n² values of the kernel,
    in O(n) memory.

    Parameters
    ----------
    x : Tensor or array, shape (n, d)
        float32 or float64.
    kernel : kernelgp or gpytorch Kernel
    size
        1 to n.
    refine
        Whether points are exchanged.
    random_state : int, numpy or torch generator, or None

    Returns
    -------
    Tensor, shape (size,), int64
        Which points stand for all; after exchanges one may stand twice.

    Raises
    ------
    ArgumentError, ArgumentTypeError
        If x is no finite array of that shape and kind, `kernel` no kernel or `size` out of
        range.

    Examples
    --------
    >>> from kernelgp.kernels import RBF
    >>> x = torch.randn(1000, 2, generator=torch.Generator().manual_seed(0)).double()
    >>> kept = kernel_thin(x, RBF(), 30, random_state=0)
    >>> thinned, first = (
    ...     maximum_mean_discrepancy(x, x[i], RBF()) for i in (kept, torch.arange(30))
    ... )
    >>> thinned < first / 3
    True
    """
    points, kernel = as_points(x, least=1), as_kernel(kernel)
    _check_size(size, len(points))
    generator = as_generator(random_state)
    rounds = int(np.log2(len(points) / size))
    groups = _evenly(len(points), size * 2**rounds).to(points.device).unsqueeze(0)
    for _ in range(rounds):
        parts = halve(PointKernel(kernel, points[groups]), groups.shape[-1], generator=generator)
        groups = torch.cat([groups.gather(-1, part) for part in parts])
    candidates = torch.cat([_evenly(len(points), size).to(points.device).unsqueeze(0), groups])
    target = _mean_of(kernel, points, points)
    best = _distances(kernel, points, candidates, target).argmin()
    kept = candidates[best].clone()
    return _exchanged(kernel, points, kept, target) if refine else kept


def maximum_mean_discrepancy(x: Any, y: Any, kernel: Any) -> float:
    """The distance between the mean embeddings of two sets of points.

    Parameters
    ----------
    x, y : Tensor or array, shapes (n, d) and (m, d)
    kernel : kernelgp or gpytorch Kernel

    Returns
    -------
    float
        ``sqrt(mean k(x, x') - 2 mean k(x, y) + mean k(y, y'))``, the largest difference of
        means over functions of norm 1.

    Examples
    --------
    >>> from kernelgp.kernels import RBF
    >>> maximum_mean_discrepancy(torch.zeros(3, 1), torch.zeros(1, 1), RBF())
    0.0
    """
    first, second, kernel = as_points(x, least=1), as_points(y, least=1), as_kernel(kernel)
    # In float64: near 0 the three means all but cancel.
    first, second = first.double(), second.double()
    own, cross, other = (
        _mean_of(kernel, *pair).mean()
        for pair in ((first, first), (first, second), (second, second))
    )
    return (own - 2 * cross + other).clamp_min(0).sqrt().item()


def _check_size(size: Any, n: int) -> None:
    if isinstance(size, bool) or not isinstance(size, int | np.integer):
        raise ArgumentTypeError("size", repr(size), f"give an integer, 1 to {n}")
    if not 1 <= size <= n:
        raise ArgumentError("size", str(size), f"give an integer, 1 to {n}, the number of points")


def _evenly(n: int, size: int) -> Tensor:
    """`size` places spread over 0 to n - 1."""
    return torch.arange(size) * n // size


def _mean_of(kernel: Any, at: Tensor, points: Tensor) -> Tensor:
    """``mean_i k(at, points_i)``, (..., len(at))."""
    ones = points.new_full((points.shape[-2], 1), 1 / points.shape[-2])
    return KernelOperator(kernel, at, points).matmul(ones).squeeze(-1).detach()


def _distances(kernel: Any, points: Tensor, candidates: Tensor, target: Tensor) -> Tensor:
    """Squared discrepancies from all points, but for a constant, (len(candidates),)."""
    chosen = points[candidates]
    own = torch.stack([_mean_of(kernel, group, group).double().mean() for group in chosen])
    return own - 2 * target[candidates].double().mean(dim=-1)


def _exchanged(kernel: Any, points: Tensor, kept: Tensor, target: Tensor) -> Tensor:
    size = len(kept)
    diagonal = KernelOperator(kernel, points).diagonal().detach()
    total = size * _mean_of(kernel, points, points[kept])
    # With S the points kept and z one of them, putting x for z changes the squared distance
    # by 1/size^2 of 2 (Σ_S k(x, ·) - k(x, z)) + k(x, x) - 2 size target(x), up to a constant.
    gain = diagonal - 2 * size * target
    for start in range(0, size, _ROWS):
        old = KernelOperator(kernel, points[kept[start : start + _ROWS]], points)
        for offset, row in enumerate(old.to_dense().detach()):
            rest = total - row
            new = int((2 * rest + gain).argmin())
            if new != kept[start + offset]:
                kept[start + offset] = new
                row = KernelOperator(kernel, points[new : new + 1], points).to_dense().detach()[0]
            total = rest + row
    return kept
