"""Inducing points: features ``A = L⁻¹ K(Z, x)`` in which a sparse process is Bayesian regression.

``L Lᵀ = K(Z, Z) + jitter``, so ``AᵀA`` is the Nyström approximation of ``K(x, x)``. Everything
sparse here streams over blocks of rows: statistics forwards, and backwards the derivative by A
of a block, from which this module finds that by the kernel's hyperparameters and by Z.

References
----------
Titsias, *Variational learning of inducing variables in sparse Gaussian processes*, 2009; the
derivative of a Cholesky factor: Murray, *Differentiation of the Cholesky decomposition*, 2016,
(8).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from kernelgp.errors import ArgumentError, ArgumentTypeError
from kernelgp.linalg import pivoted_cholesky
from kernelgp.operators import KernelOperator
from kernelgp.validation import check_finite

__all__ = [
    "FeatureBlock",
    "InducingFeatures",
    "choose_inducing_points",
    "read_inducing",
    "row_blocks",
]

# Relative to the mean variance: what a float64 factor of a smooth kernel needs, and what keeps
# the features of float32 to three digits.
_JITTER = {torch.float64: 1e-8, torch.float32: 1e-6}
# Entries of a block of features: 32 MB in float64.
_BLOCK = 2**22
_METHODS = 'give "rpcholesky", "kmeans", "random" or points of shape (m, d)'


@dataclass(frozen=True, slots=True, eq=False)
class FeatureBlock:
    """Features of some rows.

    Attributes
    ----------
    features : Tensor, shape (m, b)
        A, without a graph.
    variances : Tensor, shape (b,)
        ``k(x, x)``, without a graph.
    """

    features: Tensor
    variances: Tensor
    cross: Tensor
    diagonal: Tensor


class InducingFeatures:
    """The features of one kernel and one set of inducing points.

    Parameters
    ----------
    kernel : Kernel
    points : Tensor, shape (m, d)
        Z. Where it requires a gradient, `backward` finds it.
    dtype
        Of the features; the factor is float64.
    """

    def __init__(self, kernel: Any, points: Tensor, dtype: torch.dtype) -> None:
        self._kernel, self._points, self._dtype = kernel, points, dtype
        self._gram = KernelOperator(kernel, points.double()).to_dense()
        matrix = self._gram.detach().clone()
        self.jitter = _JITTER[dtype] * matrix.diagonal().mean().item()
        matrix.diagonal().add_(self.jitter)
        self.factor = torch.linalg.cholesky(matrix)
        self._typed_factor = self.factor.to(dtype)
        self._by_factor = torch.zeros_like(self.factor)

    @property
    def size(self) -> int:
        """How many there are for a row."""
        return len(self._points)

    def block(self, x: Tensor) -> FeatureBlock:
        """Features of the rows `x`, with what `backward` needs if gradients are enabled."""
        cross = KernelOperator(self._kernel, self._points.to(x), x).to_dense()
        diagonal = KernelOperator(self._kernel, x).diagonal()
        features = torch.linalg.solve_triangular(self._typed_factor, cross.detach(), upper=False)
        return FeatureBlock(features, diagonal.detach().to(x), cross, diagonal)

    def backward(self, block: FeatureBlock, by_features: Tensor, by_variances: Tensor) -> None:
        """Accumulate the derivative through one block into ``.grad`` of the leaves."""
        by_cross = torch.linalg.solve_triangular(self._typed_factor.mT, by_features, upper=True)
        self._by_factor -= (by_cross @ block.features.mT).double()
        tensors = [t for t in (block.cross, block.diagonal) if t.requires_grad]
        if tensors:
            both = ((block.cross, by_cross), (block.diagonal, by_variances.to(block.diagonal)))
            torch.autograd.backward(tensors, [g for t, g in both if t.requires_grad])

    def finish(self) -> None:
        """Accumulate the derivative through the factor, once all blocks have been."""
        if not self._gram.requires_grad:
            return
        inner = (self.factor.mT @ self._by_factor.tril()).tril()
        inner.diagonal().mul_(0.5)
        half = torch.linalg.solve_triangular(self.factor.mT, inner, upper=True)
        whole = torch.linalg.solve_triangular(self.factor, half, upper=False, left=False)
        self._gram.backward(0.5 * (whole + whole.mT))


def read_inducing(inducing: Any, d: int) -> str | Tensor:
    """The name of a method, or points as a float64 tensor of shape (m, d)."""
    if isinstance(inducing, str):
        return inducing
    try:
        points = torch.as_tensor(inducing).detach().double()
    except (TypeError, ValueError, RuntimeError) as error:
        raise ArgumentTypeError("inducing", type(inducing).__name__, _METHODS) from error
    if points.dim() != 2 or 0 in points.shape or points.shape[-1] != d:
        given = f"shape {tuple(points.shape)}"
        raise ArgumentError("inducing", given, f"give points of shape (m, {d})")
    return check_finite("inducing", points)


def row_blocks(n: int, width: int) -> Iterator[slice]:
    """Slices of rows that keep a block of `width` numbers a row small."""
    step = max(256, _BLOCK // max(width, 1))
    for start in range(0, n, step):
        yield slice(start, min(start + step, n))


@torch.no_grad()
def choose_inducing_points(
    kernel: Any, x: Tensor, count: int, method: str, generator: torch.Generator
) -> Tensor:
    """Rows of `x`, or means of clusters of them, that stand for all: shape (m, d), float64.

    Parameters
    ----------
    count
        m, at least 1; fewer come back where `x` has fewer distinct rows that matter.
    method
        "rpcholesky": rows that a randomly pivoted Cholesky factor of the kernel matrix picks.
        "kmeans": centres after a few rounds of k-means from a k-means++ start, in units of the
        spread of the columns. "random": rows.
    """
    if method not in ("rpcholesky", "kmeans", "random"):
        raise ArgumentError("inducing", repr(method), _METHODS)
    # Distinct rows, in their own order: rows that repeat choose nothing else than weights do.
    pool = _subset(x, 40 * count, generator).unique(dim=0)
    if len(pool) <= count:
        return pool.double()
    match method:
        case "rpcholesky":
            found = pivoted_cholesky(KernelOperator(kernel, pool), count, generator=generator)
            return pool[found.pivots].double()
        case "kmeans":
            return _cluster(pool.double(), count, generator)
        case _:
            return _subset(pool, count, generator).double()


def _subset(x: Tensor, count: int, generator: torch.Generator) -> Tensor:
    if len(x) <= count:
        return x
    return x[torch.randperm(len(x), generator=generator)[:count].to(x.device)]


def _cluster(x: Tensor, count: int, generator: torch.Generator) -> Tensor:
    spread = x.std(dim=0, correction=0)
    scale = spread.where(spread > 0, 1.0)
    centre = x.mean(dim=0)
    points = (x - centre) / scale
    centres = _spread_out(points, count, generator)
    for _ in range(5):
        nearest = torch.cdist(points, centres).argmin(dim=1)
        sums = torch.zeros_like(centres).index_add_(0, nearest, points)
        sizes = torch.bincount(nearest, minlength=len(centres)).unsqueeze(-1)
        centres = torch.where(sizes > 0, sums / sizes.clamp(min=1), centres)
    return centres * scale + centre


def _spread_out(points: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """k-means++: each next centre with probability as its squared distance to those so far."""
    first = int(torch.randint(len(points), (1,), generator=generator))
    chosen, left = [first], (points - points[first]).square().sum(dim=-1)
    while len(chosen) < count and bool((left > 0).any()):
        following = int(torch.multinomial(left.cpu(), 1, generator=generator))
        chosen.append(following)
        left = torch.minimum(left, (points - points[following]).square().sum(dim=-1))
    return points[chosen]
