"""What exact inference asks of the covariance of the training rows, whatever its structure.

`evidence` has a graph and serves the search for hyperparameters; `factor` has none and serves
predictions. One class for each structure: `dense.py`, `iterative.py`, `grid.py`, `uniform.py`.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from kernelgp.operators import KernelOperator

__all__ = ["Evidence", "Factor", "TrainingCovariance", "generalised_least_squares", "operator"]


@dataclass(frozen=True, slots=True, eq=False)
class Evidence:
    """``(y - H β)ᵀ A⁻¹ (y - H β)`` of every output, ``log|A|`` and the β that minimises.

    Attributes
    ----------
    quad : Tensor, shape (k,), float64, with a graph
    logdet : Tensor, shape (), float64, with a graph
    coefficients : Tensor, shape (p, k), float64, without one: the gradient by β is zero
    """

    quad: Tensor
    logdet: Tensor
    coefficients: Tensor


class Factor(ABC):
    """``A = K + noise`` at fixed hyperparameters, ready to be solved with; no graph, float64.

    Attributes
    ----------
    jitter
        What had to be added to the diagonal.
    logdet_error
        Standard error of `logdet`; 0 where it is exact.
    iterations, residual
        Of the last solve, where it iterates; else 0.
    """

    jitter: float = 0.0
    logdet_error: float = 0.0
    iterations: int = 0
    residual: float = 0.0

    @abstractmethod
    def solve(self, rhs: Tensor) -> Tensor:
        """``A⁻¹ R`` for (n, m)."""

    @abstractmethod
    def logdet(self) -> Tensor:
        """``log|A|``, shape ()."""

    def reduction(self, cross: Tensor) -> Tensor:
        """``diag(Cᵀ A⁻¹ C)`` for (n, m), shape (m,); never more than the truth."""
        return (cross * self.solve(cross)).sum(dim=0)

    def joint_reduction(self, cross: Tensor) -> Tensor:
        """``Cᵀ A⁻¹ C`` for (n, m), shape (m, m)."""
        return cross.mT @ self.solve(cross)

    def inverse_diagonal(self) -> Tensor:
        """``diag(A⁻¹)``, shape (n,)."""
        n = self.rows
        step = max(1, min(n, 2**22 // n))
        parts = []
        for start in range(0, n, step):
            chosen = torch.arange(start, min(start + step, n))
            unit = torch.zeros(n, len(chosen), dtype=torch.float64)
            unit[chosen, torch.arange(len(chosen))] = 1.0
            parts.append(self.solve(unit.to(self.device))[chosen, torch.arange(len(chosen))])
        return torch.cat(parts)

    rows: int
    device: torch.device


class TrainingCovariance(ABC):
    """The covariance of the training rows as a function of kernel and noise.

    Parameters of its methods: `kernel` in the units of y as used here; `noise` a Tensor of shape
    () or (n,); `y` of shape (n, k) and `basis` of shape (n, p), both float64, rows as given.
    """

    method: ClassVar[str]
    standard_error: float = 0.0  # of the last evidence, where it is an estimate

    @abstractmethod
    def evidence(self, kernel: Any, noise: Tensor, y: Tensor, basis: Tensor) -> Evidence: ...

    @abstractmethod
    def factor(self, kernel: Any, noise: Tensor) -> Factor: ...


def operator(kernel: Any, x1: Tensor, x2: Tensor | None, factor: float) -> Any:
    """``factor * K(x1, x2)``, lazily."""
    found = KernelOperator(kernel, x1, x2)
    return (
        found if factor == 1.0 else found._mul_constant(torch.tensor(factor, dtype=torch.float64))
    )


def generalised_least_squares(
    solved_y: Tensor, solved_basis: Tensor, y: Tensor, basis: Tensor
) -> Tensor:
    """β with ``Hᵀ A⁻¹ H β = Hᵀ A⁻¹ y``, shape (p, k), from ``A⁻¹ y`` and ``A⁻¹ H``.

    Where columns of the basis depend on each other it is the shortest one.
    """
    if basis.shape[-1] == 0:
        return y.new_zeros(0, y.shape[-1])
    gram, moment = basis.mT @ solved_basis, basis.mT @ solved_y
    scale = gram.diagonal().clamp(min=0).sqrt().where(gram.diagonal() > 0, 1.0)
    whitened = gram / torch.outer(scale, scale)
    inverse = torch.linalg.pinv((whitened + whitened.mT) / 2, rtol=1e-10, hermitian=True)
    return (inverse @ (moment / scale.unsqueeze(-1))) / scale.unsqueeze(-1)
