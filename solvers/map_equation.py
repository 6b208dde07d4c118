"""A linear equation on a uniform grid, with the derivatives that a product prior gives it.

Along an axis the prior K, jitter included, has the Cholesky factor R, and ``∂ᵃU`` is
``K⁽ᵃ⁾ K⁻¹ U``. In whitened values V, ``U = R1 V R2ᵀ``, every term of the equation is
``M1 V M2ᵀ`` with ``M = K⁽ᵃ⁾ R⁻ᵀ``, or R itself for a = 0.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from kernelgp.errors import ArgumentError
from solvers.problem import Problem

__all__ = [
    "BOUNDARY_WEIGHT",
    "JITTER",
    "AxisFactors",
    "AxisKernel",
    "GridEquation",
    "apply_all",
    "data_rows",
    "data_sizes",
    "discretize",
    "pick",
]

Orders = tuple[int, ...]

#: How often a condition counts (the reference code; λ_b in the paper).
BOUNDARY_WEIGHT = 200.0
#: The reference code's jitter. With weights that sum to one it is relative too; it must not
#: shrink with them, or the density grows without bound as all weights go to zero.
JITTER = 1e-6


class AxisKernel(Protocol):
    """What is asked of the kernel of one axis."""

    def derivative_lags(self, lags: Tensor, order: int) -> Tensor: ...

    def parameters(self) -> Iterable[Tensor]: ...


@dataclass(frozen=True, slots=True, eq=False)
class GridEquation:
    """A linear equation and its conditions on a uniform grid.

    Attributes
    ----------
    axes : tuple of Tensors, shape (nk,)
    terms : tuple of (orders, coefficient)
    source : Tensor, shape (n1, ..., nd)
    mask : boolean Tensor, shape (n1, ..., nd)
        Where a condition holds.
    values : Tensor, shape (n1, ..., nd)
        The values there; anything elsewhere.
    """

    axes: tuple[Tensor, ...]
    terms: tuple[tuple[Orders, float], ...]
    source: Tensor
    mask: Tensor
    values: Tensor

    def orders(self, axis: int) -> set[int]:
        return {orders[axis] for orders, _ in self.terms}

    def factors(self, kernels: Sequence[AxisKernel]) -> "list[AxisFactors]":
        """Of every axis, with their graph to the kernels; cost O(Σ nk³).

        Raises
        ------
        torch.linalg.LinAlgError
            If a covariance is not positive definite, jitter included.
        """
        return [
            axis_factors(kernel, x, self.orders(k))
            for k, (kernel, x) in enumerate(zip(kernels, self.axes, strict=True))
        ]


@dataclass(frozen=True, slots=True, eq=False)
class AxisFactors:
    """One axis: the Cholesky factor R, and ``K⁽ᵃ⁾ R⁻ᵀ`` for every order a that is needed."""

    root: Tensor
    derivatives: dict[int, Tensor]

    @property
    def logdet(self) -> Tensor:
        """Half the log-determinant of K."""
        return self.root.diagonal().log().sum()


def discretize(problem: Problem, grid: Sequence[int], device: torch.device) -> GridEquation:
    """`problem` on a uniform grid, with every face that has a condition.

    Raises
    ------
    ArgumentError
        If a condition is not on the values alone, or data are not finite.
    """
    axes = problem.domain.uniform_axes(grid)
    mask, values = np.zeros(tuple(grid), dtype=bool), np.zeros(tuple(grid))
    for face in problem.faces:
        if face.beta != 0:
            remedy = "use method='direct', or Dirichlet conditions"
            raise ArgumentError("method", f"'map' with a derivative on {face.name}", remedy)
        index: list[slice | int] = [slice(None)] * len(axes)
        index[face.axis] = -face.end
        others = axes[: face.axis] + axes[face.axis + 1 :]
        # Where two faces meet, the one written last wins.
        values[tuple(index)] = face.value_on_grid(others) / face.alpha
        mask[tuple(index)] = True
    return GridEquation(
        tuple(torch.as_tensor(x, device=device) for x in axes),
        tuple((term.orders, float(term.coefficient)) for term in problem.operator.terms),
        torch.tensor(problem.source_on_grid(axes), dtype=torch.float64, device=device),
        torch.as_tensor(mask, device=device),
        torch.as_tensor(values, device=device),
    )


def axis_factors(kernel: AxisKernel, x: Tensor, orders: set[int]) -> AxisFactors:
    """Cholesky factor and derivative matrices on a uniform axis, from 2n - 1 lags an order."""
    n = len(x)
    steps = torch.arange(1 - n, n, dtype=x.dtype, device=x.device)
    lags = (x[-1] - x[0]) / (n - 1) * steps
    # Row i of a matrix reads the lags i - 0, i - 1, ..., i - (n - 1).
    index = torch.arange(n, device=x.device)
    index = index.unsqueeze(-1) - index + n - 1
    covariance = kernel.derivative_lags(lags, 0)[index]
    eye = torch.eye(n, dtype=x.dtype, device=x.device)
    root = torch.linalg.cholesky(covariance + JITTER * eye)
    derivatives = {0: root}
    for order in sorted(orders - {0}):
        matrix = kernel.derivative_lags(lags, order)[index]
        derivatives[order] = torch.linalg.solve_triangular(root, matrix.mT, upper=False).mT
    return AxisFactors(root, derivatives)


@torch.no_grad()
def data_rows(
    equation: GridEquation, factors: Sequence[AxisFactors], log_precisions: Tensor
) -> Tensor:
    """Source and conditions as rows in V, over their deviations: shape (N + Nb, N), dense.

    With G these rows the Hessian of the density in V is ``I + Gᵀ G``.
    """
    source, boundary = torch.zeros(()), _dense([f.root for f in factors])
    for orders, c in equation.terms:
        source = source + c * _dense(pick(factors, orders))
    tau1, tau2 = log_precisions.exp().tolist()
    conditions = math.sqrt(BOUNDARY_WEIGHT * tau1) * boundary[equation.mask.flatten()]
    return torch.cat([math.sqrt(tau2) * source, conditions])


@torch.no_grad()
def data_sizes(equation: GridEquation, kernels: Sequence[AxisKernel]) -> Tensor:
    """The sizes of conditions and source that misfits are measured by, shape (2,).

    Root mean squares of the data, joined through the deviation that the operator has under
    the prior, so that neither is zero where its data are: sin(100 x) is 1e-14 at both ends of
    [0, 2 pi], and nobody wants the conditions met to 1e-18.
    """
    origin = equation.source.new_zeros(1)
    variance = torch.zeros_like(origin)
    for orders1, c1 in equation.terms:
        for orders2, c2 in equation.terms:
            product = c1 * c2 * (-1) ** sum(orders2)
            for kernel, a, b in zip(kernels, orders1, orders2, strict=True):
                product = product * kernel.derivative_lags(origin, a + b)
            variance = variance + product
    deviation = variance.sqrt()
    g, f = (equation.values[equation.mask] ** 2).mean(), (equation.source**2).mean()
    solution = (g + f / variance).sqrt()
    # Zero data have the solution zero; its size is then of no consequence.
    solution = torch.where(solution > 0, solution, 1.0)
    return torch.cat([solution, deviation * solution])


def apply_all(matrices: Sequence[Tensor], tensor: Tensor) -> Tensor:
    """One matrix for each axis of the tensor."""
    for axis, matrix in enumerate(matrices):
        moved = tensor.movedim(axis, 0)
        product = matrix @ moved.reshape(len(moved), -1)
        tensor = product.reshape(-1, *moved.shape[1:]).movedim(0, axis)
    return tensor


def _dense(matrices: Sequence[Tensor]) -> Tensor:
    product = matrices[0].contiguous()
    for matrix in matrices[1:]:
        product = torch.kron(product, matrix.contiguous())
    return product


def pick(factors: Sequence[AxisFactors], orders: Orders) -> list[Tensor]:
    return [factor.derivatives[order] for factor, order in zip(factors, orders, strict=True)]
