"""Gradients observed beside values: their covariances are derivatives of the kernel.

``cov(∂f/∂xj, f') = ∂k/∂xj`` and ``cov(∂f/∂xj, ∂f'/∂x'l) = ∂²k/∂xj∂x'l``: one dense matrix of
n + n d rows. Derivatives are taken per standard deviation of the input, so that their rows are of
the size of the values'.

References
----------
E. Solak, R. Murray-Smith, W. E. Leithead, D. J. Leith and C. E. Rasmussen, *Derivative
observations in Gaussian process models of dynamic systems*, NeurIPS 2003.
"""

from dataclasses import dataclass
from typing import Any, ClassVar

import gpytorch
import torch
from linear_operator import to_linear_operator
from torch import Tensor
from typing_extensions import override

from kernelgp.errors import ArgumentError
from kernelgp.gp.covariance import Evidence, TrainingCovariance
from kernelgp.gp.dense import DenseFactor, dense_evidence
from kernelgp.gp.pathwise import prior_functions
from kernelgp.gp.regression import Posterior, Regression
from kernelgp.kernels.positive import Hyperparameter
from kernelgp.linalg.cholesky import factorise

__all__ = ["GradientNoise", "GradientRegression", "Observations"]


class GradientNoise(gpytorch.Module):
    """Two variances: of values, and of gradients per standard deviation of the input."""

    noise: Hyperparameter = Hyperparameter()
    gradient_noise: Hyperparameter = Hyperparameter()

    def __init__(self, noise: float, gradient_noise: float) -> None:
        super().__init__()
        self.noise = noise
        self.gradient_noise = gradient_noise

    def both(self) -> Tensor:
        """(2,), with a graph."""
        return torch.stack([self.noise.reshape(()), self.gradient_noise.reshape(())]).double()

    def response_variance(self) -> Tensor:
        """Of values."""
        return self.noise.reshape(())


@dataclass(frozen=True, slots=True, eq=False)
class Observations:
    """Which rows have a value, and which the derivative by which column.

    Attributes
    ----------
    blocks : list of pairs
        The column differentiated by (None for values) and the rows, one pair after another.
    x_scale : Tensor, shape (d,)
    """

    blocks: list[tuple[int | None, Tensor]]
    x_scale: Tensor

    def orders(self, column: int | None) -> list[int]:
        return [int(j == column) for j in range(len(self.x_scale))]

    def factor(self, column: int | None) -> Tensor | float:
        return 1.0 if column is None else self.x_scale[column]

    @property
    def is_gradient(self) -> Tensor:
        """Of every observation, whether it is one of a gradient."""
        kinds = [torch.full_like(rows, int(c is not None)) for c, rows in self.blocks]
        return torch.cat(kinds)

    def matrix(self, kernel: Any, x: Tensor) -> Tensor:
        """The covariance of the observations, with a graph."""
        lines: list[list[Tensor]] = []
        for i, (one, rows) in enumerate(self.blocks):
            line = [lines[j][i].mT for j in range(i)]
            for other, columns in self.blocks[i:]:
                block = kernel.derivative(x[rows], x[columns], self.orders(one), self.orders(other))
                line.append(block * self.factor(one) * self.factor(other))
            lines.append(line)
        whole = torch.cat([torch.cat(line, dim=-1) for line in lines])
        return (whole + whole.mT) / 2

    def cross(self, kernel: Any, points: Tensor, x: Tensor) -> Tensor:
        """The covariance of values at points with the observations, (m, N)."""
        zero = self.orders(None)
        return torch.cat(
            [
                kernel.derivative(points, x[rows], zero, self.orders(column)) * self.factor(column)
                for column, rows in self.blocks
            ],
            dim=-1,
        )


class GradientCovariance(TrainingCovariance):
    """The covariance of values and gradients, formed."""

    method: ClassVar[str] = "cholesky"

    def __init__(self, x: Tensor, observations: Observations, unit: float) -> None:
        self.x, self.observations, self.unit = x.double(), observations, unit

    def _matrix(self, kernel: Any) -> Tensor:
        if not hasattr(kernel, "derivative"):
            remedy = "build it from kernelgp.kernels"
            raise ArgumentError("kernel", f"{type(kernel).__name__} for gradients", remedy)
        return self.observations.matrix(kernel, self.x) / self.unit

    @override
    def evidence(self, kernel: Any, noise: Tensor, y: Tensor, basis: Tensor) -> Evidence:
        # Added to zero: the evidence overwrites what it is given, and autograd keeps this one.
        return dense_evidence(self._matrix(kernel) + 0.0, noise, y, basis)

    @override
    def factor(self, kernel: Any, noise: Tensor) -> DenseFactor:
        with torch.no_grad():
            matrix = self._matrix(kernel)
            matrix.diagonal().add_(noise)
            return DenseFactor(factorise(matrix, torch.float64))


@dataclass(frozen=True, slots=True, eq=False)
class GradientRegression(Regression):
    """Values and gradients of one output; `y` holds all observations, standardised, (N, 1)."""

    observations: Any = None

    @override
    def _log_density(self, quad: Tensor, logdet: Tensor) -> Tensor:
        # Derivatives as given are smaller than those per standard deviation by its size.
        spread = self.observations.x_scale.log()
        stretch = sum(
            len(rows) * spread[c] for c, rows in self.observations.blocks if c is not None
        )
        return super(GradientRegression, self)._log_density(quad, logdet) + stretch

    @override
    def own(self, noise: Tensor) -> Tensor:
        return noise

    @override
    def row_noise(self, noise: Tensor) -> Tensor:
        return noise.to(self.y)[self.observations.is_gradient] / self.unit

    @override
    def training_basis(self) -> Tensor:
        whole = self.mean.basis(self.x)
        parts = []
        for column, rows in self.observations.blocks:
            if column is None:
                parts.append(whole[rows])
                continue
            # Per standard deviation: a constant has no slope, a plane its own in each column.
            slope = torch.zeros_like(whole[rows])
            if self.mean.kind == "linear":
                slope[:, 1 + column] = self.observations.x_scale[column] / self.mean.scale[column]
            parts.append(slope)
        return torch.cat(parts)

    @override
    def cross(self, kernel: Any, x: Tensor) -> Any:
        found = self.observations.cross(kernel, x.double(), self.x.double())
        return to_linear_operator(found / self.unit)

    @override
    def posterior(self, kernel: Any, noise: Tensor) -> "GradientPosterior":
        return GradientPosterior(self, kernel, noise)


class GradientPosterior(Posterior):
    """Of values, given values and gradients."""

    regression: Any

    @override
    def mean(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            level = self.regression.mean.basis(x) @ self.coefficients
            moved = [self.cross(block).matmul(self.alpha) for block in self._blocks(x)]
            return level + torch.cat(moved)

    @override
    def leave_one_out(self) -> tuple[Tensor, Tensor]:
        """Of the values; NaN where there is none."""
        with torch.no_grad():
            diagonal = self.factor.inverse_diagonal().unsqueeze(-1)
            mean, variance = (torch.full((len(self.regression.x), 1), torch.nan) for _ in range(2))
            mean, variance = mean.to(diagonal), variance.to(diagonal)
            start = 0
            for column, rows in self.regression.observations.blocks:
                part = slice(start, start + len(rows))
                start += len(rows)
                if column is None:
                    mean[rows] = self.regression.y[part] - self.alpha[part] / diagonal[part]
                    variance[rows] = 1 / diagonal[part]
            return mean, variance[:, 0]

    @override
    def sample(
        self, x: Tensor, n_samples: int, n_features: int, generator: torch.Generator
    ) -> Tensor:
        with torch.no_grad():
            model, shrink = self.regression, self.regression.unit**-0.5
            prior = prior_functions(self.kernel, x.shape[-1], n_samples, n_features, generator)
            noise = torch.randn(len(model.y), n_samples, generator=generator, dtype=torch.float64)
            rows = model.row_noise(self.noise).sqrt().unsqueeze(-1)
            seen = model.y - model.training_basis() @ self.coefficients
            missed = seen - shrink * self._observe(prior) - rows * noise.to(rows)
            update = self.cross(x.double()).matmul(self.factor.solve(missed))
            level = model.mean.basis(x) @ self.coefficients
            return (level + shrink * prior(x) + update).unsqueeze(1)

    def _observe(self, prior: Any) -> Tensor:
        """Values and derivatives of the drawn functions, (N, n_samples)."""
        model = self.regression
        x, parts = model.x.double(), []
        for column, rows in model.observations.blocks:
            if column is None:
                parts.append(prior(x[rows]))
                continue
            along = torch.zeros_like(x[rows])
            along[:, column] = model.observations.x_scale[column]
            with torch.enable_grad():
                slope = torch.func.jvp(prior, (x[rows],), (along,))[1]
            parts.append(slope.detach())
        return torch.cat(parts)
