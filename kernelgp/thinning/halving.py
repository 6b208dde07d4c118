"""Kernel halving: of every two points one is kept, so that the sums of a kernel stay.

A self-balancing walk in the kernel's function space. Points are met in pairs; the function that
stands for what was dropped less what was kept says which of the two to keep, at random near
balance and surely far from it.

References
----------
R. Dwivedi and L. Mackey, *Kernel thinning*, Journal of Machine Learning Research 25, 2024,
algorithms 1 and 3 (KT-SPLIT of one round).
"""

import math
from dataclasses import dataclass
from typing import Any, Protocol, cast

import gpytorch
import numpy as np
import torch
from numba import njit
from torch import Tensor

from kernelgp.errors import ArgumentError, ArgumentTypeError
from kernelgp.operators import KernelOperator
from kernelgp.random import RandomState, as_generator
from kernelgp.validation import check_finite, check_floating

__all__ = ["KernelMeans", "PointKernel", "halve", "kernel_halve"]

# The matrix of so many points is formed at a time; of later points only its product is needed.
_BLOCK = 256
# δ of the paper: the walk stays within its bounds but for half that probability.
_FAILURE = 0.5
# Of the paper's bound, which is the proof's and wide. Measured, 2048 Gaussian points in 2 and 10
# dimensions: discrepancies of a half .0032 and .0100, at the full width .0058 and .0143.
_WIDTH = 0.25


def kernel_halve(x: Any, kernel: Any, *, random_state: RandomState = None) -> Tensor:
    """Half of the points, whose mean embedding is close to that of all.

    Costs n²/2 values of the kernel, in O(n) memory. Errors of kernel means fall as
    ``sqrt(log n) / n``, where those of a random half fall as ``1 / sqrt(n)``.

    Parameters
    ----------
    x : Tensor or array, shape (n, d)
        float32 or float64, at least two points. Met in pairs, in the order given.
    kernel : kernelgp or gpytorch Kernel
    random_state : int, numpy or torch generator, or None

    Returns
    -------
    Tensor, shape (n // 2,), int64
        Which points are kept. The last of an odd number is not.

    Raises
    ------
    ArgumentError, ArgumentTypeError
        If x is no finite array of that shape and kind, or `kernel` no kernel.

    Examples
    --------
    >>> from kernelgp.kernels import RBF
    >>> x = torch.linspace(0, 1, 100, dtype=torch.float64)[:, None]
    >>> kept = kernel_halve(x, RBF(lengthscale=0.3), random_state=0)
    >>> len(kept), bool((x[kept].mean() - x.mean()).abs() < 0.01)
    (50, True)
    """
    points = as_points(x, least=2)
    kernel = as_kernel(kernel)
    means = PointKernel(kernel, points.unsqueeze(0))
    kept, _ = halve(means, len(points), generator=as_generator(random_state))
    return kept.squeeze(0)


class KernelMeans(Protocol):
    """What halving asks of b groups of m points each and their kernel."""

    def gram(self, at: slice) -> Tensor:
        """The kernel among some points of each group, (b, len(at), len(at))."""
        ...

    def later(self, at: slice, signs: Tensor) -> Tensor:
        """``Σ_i signs_i k(x_i, ·)`` over `at`, at the points after it, (b, m - at.stop)."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class PointKernel:
    """A kernel at groups of points, (b, m, d), whose matrix is never formed whole."""

    kernel: Any
    x: Tensor

    def gram(self, at: slice) -> Tensor:
        return KernelOperator(self.kernel, self.x[:, at]).to_dense().detach()

    def later(self, at: slice, signs: Tensor) -> Tensor:
        op = KernelOperator(self.kernel, self.x[:, at.stop :], self.x[:, at])
        return op.matmul(signs.to(self.x.dtype).unsqueeze(-1)).squeeze(-1).detach()


def halve(means: KernelMeans, m: int, *, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Halve b groups of m points, each by itself.

    Returns
    -------
    kept, dropped : Tensor, shape (b, m // 2), int64
        Places within each group, in pairs.
    """
    block = _BLOCK
    first = means.gram(slice(0, min(block, m)))
    b, device = first.shape[0], first.device
    push = np.zeros((b, m))
    variance = np.zeros(b)
    kept = np.empty((b, m // 2), dtype=np.int64)
    uniform = torch.rand(b, m // 2, generator=generator, dtype=torch.float64).numpy()
    width = _WIDTH * math.sqrt(2 * math.log(2 * m / _FAILURE))
    for start in range(0, m - m % 2, block):
        at = slice(start, min(start + block, m))
        gram = first if start == 0 else means.gram(at)
        signs = np.zeros((b, at.stop - start))
        # Whole arrays and where to begin: slices of several kinds would each be compiled for.
        block_gram = gram.cpu().contiguous().numpy()
        _walk(block_gram, start, push, uniform, variance, width, kept, signs)
        if at.stop < m:
            push[:, at.stop :] += means.later(at, torch.from_numpy(signs).to(device)).cpu().numpy()
    chosen = torch.from_numpy(kept).to(device)
    # The other of each pair 2t, 2t + 1 differs in the last bit.
    return chosen, chosen ^ 1


@njit(nogil=True, cache=True)
def _walk(gram, start, push, uniform, variance, width, kept, signs):
    """Decide the pairs of the block at `start` of each group; push is what earlier ones left."""
    for g in range(gram.shape[0]):
        m = gram.shape[1]
        for t in range(m // 2):
            i, j = 2 * t, 2 * t + 1
            square = max(gram[g, i, i] + gram[g, j, j] - 2.0 * gram[g, i, j], 0.0)
            bound = max(np.sqrt(square * variance[g]) * width, square)
            swap = 0.5
            if bound > 0.0:
                lean = (push[g, start + i] - push[g, start + j]) / bound
                swap = 0.5 * (1.0 - lean)
                growth = 1.0 + (square - 2.0 * bound) * variance[g] / bound**2
                variance[g] += square * max(growth, 0.0)
            keep, drop = (j, i) if uniform[g, start // 2 + t] < swap else (i, j)
            kept[g, start // 2 + t] = start + keep
            signs[g, keep], signs[g, drop] = -1.0, 1.0
            for c in range(j + 1, m):
                push[g, start + c] += gram[g, drop, c] - gram[g, keep, c]


def as_points(x: Any, *, least: int) -> Tensor:
    """`x` as a finite floating tensor of shape (n, d), n at least `least`."""
    if isinstance(x, np.ndarray) and x.dtype in (np.float32, np.float64):
        x = torch.from_numpy(np.ascontiguousarray(x))
    elif isinstance(x, np.ndarray):
        raise ArgumentError("x", f"dtype {x.dtype}", "convert it to float32 or float64")
    check_floating("x", x)
    if x.dim() != 2 or x.shape[0] < least or x.shape[1] == 0:
        remedy = f"give (n, d), n at least {least} and d at least 1"
        raise ArgumentError("x", f"shape {tuple(x.shape)}", remedy)
    return check_finite("x", x.detach())


def as_kernel(kernel: Any) -> Any:
    """`kernel`, if it is one of one output."""
    if not isinstance(kernel, gpytorch.kernels.Kernel):
        remedy = "give a kernel of kernelgp.kernels or of gpytorch"
        raise ArgumentTypeError("kernel", type(kernel).__name__, remedy)
    return cast(Any, kernel)
