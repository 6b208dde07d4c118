"""Exact inference on a grid or a uniform axis: the operators solve themselves.

A kernel that is a product over the columns of X has a Kronecker covariance on a grid, missing
cells or not; a stationary kernel of one column a Toeplitz one on a uniform axis.

References
----------
Y. Saatçi, *Scalable Inference for Structured Gaussian Process Models*, 2011, chapter 5.
"""

from abc import abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor
from typing_extensions import override

from kernelgp.errors import ArgumentError
from kernelgp.gp.covariance import (
    Evidence,
    Factor,
    TrainingCovariance,
    generalised_least_squares,
    operator,
)
from kernelgp.kernels import (
    RBF,
    Constant,
    Kernel,
    Matern,
    Periodic,
    PowerKernel,
    ProductKernel,
    ScaledKernel,
)
from kernelgp.operators import KernelOperator, KroneckerOperator, ToeplitzOperator

__all__ = [
    "Grid",
    "KroneckerCovariance",
    "ToeplitzCovariance",
    "find_grid",
    "is_uniform",
    "separate",
]


class StructuredFactor(Factor):
    """An operator that solves itself, rows in the order of the training data."""

    def __init__(self, op: Any, order: Tensor) -> None:
        self.op, self.order = op, order
        self.back = torch.argsort(order)
        self.rows, self.device = len(order), order.device

    @override
    def solve(self, rhs: Tensor) -> Tensor:
        return self.op.solve(rhs[self.order])[self.back]

    @override
    def logdet(self) -> Tensor:
        value = self.op.logdet()
        self.logdet_error = getattr(self.op, "logdet_standard_error", 0.0)
        return value


class StructuredCovariance(TrainingCovariance):
    """Everything but the operator, which the structure makes."""

    order: Tensor

    @abstractmethod
    def noisy_operator(self, kernel: Any, noise: Tensor) -> Any:
        """``K + diag(noise)``, in the operator's own order of rows."""

    @override
    def evidence(self, kernel: Any, noise: Tensor, y: Tensor, basis: Tensor) -> Evidence:
        noise = noise if noise.dim() == 0 else noise[self.order]
        op = self.noisy_operator(kernel, noise)
        y, basis = y[self.order], basis[self.order]
        k = y.shape[-1]
        coefficients = y.new_zeros(0, k)
        if basis.shape[-1]:
            with torch.no_grad():
                solved = op.solve(torch.cat([y, basis], dim=-1))
                coefficients = generalised_least_squares(solved[:, :k], solved[:, k:], y, basis)
        residual = y - basis @ coefficients
        quad, logdet = op.inv_quad_logdet(residual, logdet=True, reduce_inv_quad=False)
        return Evidence(quad, logdet, coefficients)

    @override
    def factor(self, kernel: Any, noise: Tensor) -> StructuredFactor:
        with torch.no_grad():
            noise = noise if noise.dim() == 0 else noise[self.order]
            return StructuredFactor(self.noisy_operator(kernel, noise), self.order)


@dataclass(frozen=True, slots=True, eq=False)
class Grid:
    """Where rows lie on a grid.

    Attributes
    ----------
    axes : tuple of Tensor (ni,)
        The distinct values of every column, in order.
    mask : Tensor of bool, shape (n1, ..., nd)
        The cells that a row has.
    order : Tensor, shape (n,)
        The rows in the order of the observed cells.
    """

    axes: tuple[Tensor, ...]
    mask: Tensor
    order: Tensor

    @property
    def share(self) -> float:
        """Of the cells, how many are observed."""
        return len(self.order) / self.mask.numel()


def find_grid(x: Tensor, *, largest: float = 4.0) -> Grid | None:
    """The grid that the rows of `x` lie on, if each has a cell of its own.

    Parameters
    ----------
    x : Tensor, shape (n, d)
    largest
        Cells there may be, as a multiple of the rows.

    Examples
    --------
    >>> x = torch.cartesian_prod(torch.arange(3.0), torch.arange(2.0))[:5]
    >>> find_grid(x).mask
    tensor([[ True,  True],
            [ True,  True],
            [ True, False]])
    """
    axes, places = [], []
    for column in x.unbind(dim=-1):
        values, place = torch.unique(column, return_inverse=True)
        axes.append(values)
        places.append(place)
    cells = 1
    for axis in axes:
        cells *= len(axis)
        if cells > largest * len(x):
            return None
    index = torch.zeros(len(x), dtype=torch.int64, device=x.device)
    for axis, place in zip(axes, places, strict=True):
        index = index * len(axis) + place
    order = torch.argsort(index)
    if bool((index[order].diff() == 0).any()):
        return None
    mask = torch.zeros(cells, dtype=torch.bool, device=x.device)
    mask[index] = True
    return Grid(tuple(axes), mask.reshape([len(axis) for axis in axes]), order)


def separate(kernel: Any, d: int) -> list[list[Any]] | None:
    """For every column the kernels whose product it sees; None if the kernel is no such product.

    Every part stands in the list of each column it depends on, whole: a stationary part is the
    product of its values at one column each, the others held. Scales are no part of it.
    """
    columns: list[list[Any]] = [[] for _ in range(d)]
    for part in _parts(kernel):
        if not isinstance(part, Kernel):
            return None
        seen = sorted(part.depends_on(tuple(range(d))))
        splits = len(seen) <= 1 or isinstance(part, RBF) or type(part) is Periodic
        if not splits or type(part).__name__ == "White":
            return None
        for column in seen:
            columns[column].append(part)
    return columns


def _parts(kernel: Any) -> list[Any]:
    if isinstance(kernel, ScaledKernel):
        return _parts(kernel.base_kernel)
    if isinstance(kernel, ProductKernel | PowerKernel):
        return [part for inner in kernel.parts for part in _parts(inner)]
    return [] if isinstance(kernel, Constant) else [kernel]


def _scale(kernel: Any) -> Tensor:
    """The product of the scales, with a graph."""
    if isinstance(kernel, ScaledKernel):
        return kernel.outputscale * _scale(kernel.base_kernel)
    total = torch.ones((), dtype=torch.float64)
    if isinstance(kernel, ProductKernel | PowerKernel):
        for part in kernel.parts:
            total = total * _scale(part)
    return total


def separable_default(x_scale: Tensor) -> Any:
    """The product of a Matérn-5/2 kernel for every column, times a variance."""
    start = 0.5 * len(x_scale) ** 0.5 * x_scale.double()
    parts = [Matern(2.5, scale.item(), active_dims=[i]) for i, scale in enumerate(start)]
    return 1.0 * (ProductKernel(*parts) if len(parts) > 1 else parts[0])


class KroneckerCovariance(StructuredCovariance):
    """The covariance on a grid, missing cells or not.

    Raises
    ------
    ArgumentError
        If the kernel is not a product over the columns.
    """

    method: ClassVar[str] = "kronecker"

    def __init__(self, grid: Grid, unit: float = 1.0) -> None:
        self.grid, self.unit, self.order = grid, unit, grid.order
        self._points = []
        for i, axis in enumerate(grid.axes):
            points = axis.new_zeros(len(axis), len(grid.axes), dtype=torch.float64)
            points[:, i] = axis
            self._points.append(points)

    @override
    def noisy_operator(self, kernel: Any, noise: Tensor) -> Any:
        separated = separate(kernel, len(self.grid.axes))
        if separated is None:
            remedy = "give a product over the columns: RBF, or kernels with one active dim each"
            raise ArgumentError("kernel", f"{kernel} for a grid", remedy)
        factors = []
        for points, parts in zip(self._points, separated, strict=True):
            factor = points.new_ones(len(points), len(points))
            for part in parts:
                factor = factor * KernelOperator(part, points).to_dense()
            factors.append(factor)
        factors[0] = factors[0] * (_scale(kernel).to(factors[0]) / self.unit)
        mask = None if bool(self.grid.mask.all()) else self.grid.mask
        return KroneckerOperator(*factors, mask=mask).add_diagonal(noise.to(factors[0]))


class ToeplitzCovariance(StructuredCovariance):
    """The covariance of a stationary kernel on a uniform axis.

    Parameters
    ----------
    x : Tensor, shape (n, 1)
        Evenly spaced, in any order.
    """

    method: ClassVar[str] = "toeplitz"

    def __init__(self, x: Tensor, unit: float = 1.0) -> None:
        self.unit, self.order = unit, torch.argsort(x[:, 0])
        axis = x.double()[self.order]
        # At the lags of an exact axis: rounding of the points would not be Toeplitz.
        step = (axis[-1] - axis[0]) / max(len(axis) - 1, 1)
        self._lags = step * torch.arange(len(axis), dtype=torch.float64, device=x.device)[:, None]

    @override
    def noisy_operator(self, kernel: Any, noise: Tensor) -> Any:
        if not getattr(kernel, "is_stationary", False):
            remedy = 'give a stationary kernel, or method="cholesky"'
            raise ArgumentError("kernel", f"{kernel} for a uniform axis", remedy)
        row = operator(kernel, self._lags[:1], self._lags, 1 / self.unit).to_dense()
        return ToeplitzOperator(row[0]).add_diagonal(noise.to(row))


def is_uniform(x: Tensor) -> bool:
    """Whether the rows are evenly spaced points of one column, in any order."""
    if x.shape[-1] != 1 or len(x) < 3:
        return False
    axis = x.double()[:, 0].sort().values
    even = torch.linspace(0, 1, len(x), dtype=torch.float64, device=x.device)
    error = (axis - (axis[0] + (axis[-1] - axis[0]) * even)).abs().max()
    step = (axis[-1] - axis[0]) / (len(axis) - 1)
    rounding = 8 * torch.finfo(x.dtype).eps * axis.abs().max()
    return bool(step > 0) and bool(error <= rounding) and bool(rounding < 1e-3 * step)
