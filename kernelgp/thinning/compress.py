"""Compression: halving of ever larger parts, near-linear where halving all is quadratic.

References
----------
A. Shetty, R. Dwivedi and L. Mackey, *Distribution compression in near-linear time*, ICLR 2022.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from kernelgp.thinning.halving import KernelMeans, halve

__all__ = ["compress"]


def compress(
    index: Tensor, means: Callable[[Tensor], KernelMeans], generator: torch.Generator, levels: int
) -> Tensor:
    """``n / 2^levels`` of n points, for each of several sets.

    The set is cut into ``4^levels`` parts. Four parts are joined and halved, so that each level
    leaves a fourth of the parts, twice as large, until there is one. Costs ``4 levels s²``
    values of the kernel for s points that are left.

    Parameters
    ----------
    index : Tensor, shape (b, n), int64
        The points of each set, n a multiple of ``4^levels``.
    means
        For groups of points, (b g, m) of such indices in the order of the sets, their kernel.
    generator
    levels
        How often the number is halved.

    Returns
    -------
    Tensor, shape (b, n / 2^levels), int64

    Examples
    --------
    >>> from kernelgp.kernels import RBF
    >>> from kernelgp.thinning.halving import PointKernel
    >>> x = torch.linspace(0, 1, 256, dtype=torch.float64)[:, None]
    >>> def means(index):
    ...     return PointKernel(RBF(lengthscale=0.3), x[index])
    >>> kept = compress(torch.arange(256)[None], means, torch.Generator().manual_seed(0), 3)
    >>> kept.shape, bool((x[kept].mean() - x.mean()).abs() < 0.02)
    (torch.Size([1, 32]), True)
    """
    b = index.shape[0]
    groups = index.reshape(b * 4**levels, -1)
    for _ in range(levels):
        groups = groups.reshape(-1, 4 * groups.shape[-1])
        kept, _ = halve(means(groups), groups.shape[-1], generator=generator)
        groups = groups.gather(-1, kept)
    return groups
