"""Which structure the covariance of some rows has, and which algorithm suits its size."""

from typing import Any, Literal

import torch
from torch import Tensor

from kernelgp.errors import ArgumentError
from kernelgp.gp.covariance import TrainingCovariance
from kernelgp.gp.dense import DenseCovariance
from kernelgp.gp.iterative import IterativeCovariance
from kernelgp.gp.structured import (
    KroneckerCovariance,
    ToeplitzCovariance,
    find_grid,
    is_uniform,
    separate,
)
from kernelgp.gp.vecchia import VecchiaCovariance, is_compiled

__all__ = ["LARGEST_DENSE", "LARGEST_STARTED", "Method", "choose_covariance", "structure_of"]

Method = Literal["auto", "cholesky", "iterative", "vecchia", "kronecker", "toeplitz"]

# Up to here the exact evidence of a Cholesky factor in float64 (3 s an evaluation on two quiet
# cores) is worth more than the seconds that iterating in float32 saves.
LARGEST_DENSE = 6000
# Up to here where Vecchia's approximation leaves little to search for: then a few factors are
# enough, and they bear noise so small that iterating would not end (kin40k).
LARGEST_STARTED = 12_000
# Below this structure saves less than it takes to explain.
_SMALLEST_STRUCTURED = 2000
# With fewer cells observed, conjugate gradients on the whole grid do too much for nothing.
_SMALLEST_SHARE = 0.5


def structure_of(x: Tensor, method: Method) -> Literal["none", "kronecker", "toeplitz"]:
    """The structure that rows have and `method` wants.

    Raises
    ------
    ArgumentError
        If the method asks for a structure that is not there.
    """
    if method == "kronecker":
        if find_grid(x) is None:
            remedy = 'give rows that lie on a grid, each in a cell of its own, or method="auto"'
            raise ArgumentError("method", '"kronecker" for rows off a grid', remedy)
        return "kronecker"
    if method == "toeplitz":
        if not is_uniform(x):
            remedy = 'give one column of evenly spaced points, or method="auto"'
            raise ArgumentError("method", '"toeplitz" for uneven rows', remedy)
        return "toeplitz"
    if method != "auto" or len(x) <= _SMALLEST_STRUCTURED:
        return "none"
    if is_uniform(x):
        return "toeplitz"
    grid = find_grid(x, largest=1 / _SMALLEST_SHARE) if x.shape[-1] > 1 else None
    return "none" if grid is None else "kronecker"


def choose_covariance(
    x: Tensor,
    kernel: Any,
    *,
    method: Method,
    unit: float,
    one_noise: bool,
    dtype: torch.dtype | None,
    seed: int,
    distributed: bool = False,
) -> TrainingCovariance:
    """The covariance of the rows of `x` under a kernel, by the method asked for.

    Parameters
    ----------
    one_noise
        Whether all rows have the same variance of noise.
    dtype
        Of the tiles where it iterates; None is float32.
    distributed
        Whether the processes of the default group share the products where it iterates.

    Raises
    ------
    ArgumentError
        If the method asked for does not suit the rows or the kernel.
    """
    structure = structure_of(x, method)
    asked = method != "auto"
    if structure == "kronecker" and (asked or separate(kernel, x.shape[-1]) is not None):
        grid = find_grid(x)
        assert grid is not None
        if asked or one_noise:
            return KroneckerCovariance(grid, unit)
    if structure == "toeplitz" and (
        asked or (getattr(kernel, "is_stationary", False) and one_noise)
    ):
        if not one_noise:
            remedy = 'give one variance, or method="cholesky"'
            raise ArgumentError("noise", "one per row on a uniform axis", remedy)
        return ToeplitzCovariance(x, unit)
    compiled = is_compiled(kernel)
    if method == "vecchia" and not compiled:
        remedy = "give a scaled RBF, Matern or RationalQuadratic kernel, or another method"
        raise ArgumentError("kernel", f'{kernel} with method="vecchia"', remedy)
    by_neighbors = compiled and not distributed
    largest = LARGEST_STARTED if by_neighbors else LARGEST_DENSE
    if method == "cholesky" or (method == "auto" and len(x) <= largest):
        return DenseCovariance(x, unit, seed)
    if method == "vecchia" or (method == "auto" and by_neighbors):
        return VecchiaCovariance(x, unit, seed)
    return IterativeCovariance(_narrow(x, kernel, dtype), unit, seed, distributed=distributed)


def _narrow(x: Tensor, kernel: Any, dtype: torch.dtype | None) -> Tensor:
    """The points in the dtype of the tiles, moved to their centre where that changes nothing."""
    if dtype == torch.float64:
        return x.double()
    centred = x.double()
    if getattr(kernel, "is_stationary", False):
        centred = centred - centred.mean(dim=0)
    return centred.float()
