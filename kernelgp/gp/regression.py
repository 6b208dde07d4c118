"""Gaussian process regression on any covariance structure: evidence and posterior.

Targets are standardised, ``(y - shift) / scale``; kernel and noise are in the user's units and
are divided by `unit`, the square of that scale, so that float32 sees numbers near one.

References
----------
C. E. Rasmussen and C. K. I. Williams, *Gaussian Processes for Machine Learning*, 2006: (2.25),
(2.26), (2.30), (5.9), (5.12).
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import gpytorch
import torch
from torch import Tensor

from kernelgp.errors import ArgumentError
from kernelgp.gp.covariance import (
    Factor,
    TrainingCovariance,
    generalised_least_squares,
    operator,
)
from kernelgp.gp.pathwise import has_functions, prior_functions
from kernelgp.kernels.positive import Hyperparameter

__all__ = ["LeaveOneOut", "Mean", "NoiseVariance", "Posterior", "Regression"]

# Entries of a block of cross covariances: 128 MiB in float64.
_BLOCK_ENTRIES = 2**24


class NoiseVariance(gpytorch.Module):
    """The variance of the noise, learned; in squared units of the targets."""

    noise: Hyperparameter = Hyperparameter()

    def __init__(self, noise: float) -> None:
        super().__init__()
        self.noise = noise


@dataclass(frozen=True, slots=True, eq=False)
class Mean:
    """The functions whose combination is the mean: none, a constant, or a plane.

    Attributes
    ----------
    kind : "zero", "constant" or "linear"
    shift, scale : Tensor, shape (d,), float64
        Of the columns of X, for the plane's sake.
    """

    kind: str
    shift: Tensor
    scale: Tensor

    def basis(self, x: Tensor) -> Tensor:
        """Shape (n, p), float64: p is 0, 1 or d + 1."""
        one = torch.ones(len(x), 1, dtype=torch.float64, device=x.device)
        match self.kind:
            case "zero":
                return one[:, :0]
            case "constant":
                return one
            case _:
                return torch.cat([one, (x.double() - self.shift) / self.scale], dim=-1)

    def plain(self, coefficients: Tensor) -> Tensor:
        """Coefficients of 1 and of the columns as given, from those of the basis; (p, k)."""
        if self.kind != "linear":
            return coefficients
        slopes = coefficients[1:] / self.scale.unsqueeze(-1)
        return torch.cat([coefficients[:1] - self.shift @ slopes, slopes])


@dataclass(frozen=True, slots=True, eq=False)
class Regression:
    """Outputs that share a kernel, seen at the same rows.

    Attributes
    ----------
    x : Tensor, shape (n, d)
    y : Tensor, shape (n, k), float64
        Standardised.
    mean : Mean
    covariance : TrainingCovariance
    y_scale : Tensor, shape (k,)
        What the targets were divided by.
    unit
        What kernel and noise are divided by.
    weights : Tensor, shape (n,), or None
        Rows as good as so many: their noise is divided by it.
    rows : Tensor, shape (n,), or None
        Which of all rows these are; None for all.
    """

    x: Tensor
    y: Tensor
    mean: Mean
    covariance: TrainingCovariance
    y_scale: Tensor
    unit: float
    weights: Tensor | None = None
    rows: Tensor | None = None

    def own(self, noise: Tensor) -> Tensor:
        """Of variances for all rows those of these; one for all stays what it is."""
        return noise if noise.dim() == 0 or self.rows is None else noise[self.rows]

    def training_basis(self) -> Tensor:
        """The functions of the mean at the observations, shape (n, p)."""
        return self.mean.basis(self.x)

    def cross(self, kernel: Any, x: Tensor) -> Any:
        """``K(x, X)`` between points and observations, lazily, shape (m, n)."""
        return operator(kernel, x, self.x.double(), 1 / self.unit)

    def posterior(self, kernel: Any, noise: Tensor) -> "Posterior":
        """At these hyperparameters."""
        return Posterior(self, kernel, noise)

    def row_noise(self, noise: Tensor) -> Tensor:
        """Variances of the standardised rows, () or (n,), from those in the user's units."""
        scaled = noise.double().to(self.y) / self.unit
        return scaled if self.weights is None else scaled / self.weights

    def log_evidence(self, kernel: Any, noise: Tensor) -> Tensor:
        """``log p(y)`` of the targets as given, all outputs together, with a graph (2.30).

        The mean's coefficients are those that maximise it.
        """
        basis = self.training_basis()
        found = self.covariance.evidence(kernel, self.row_noise(noise), self.y, basis)
        return self._log_density(found.quad.sum(), found.logdet) + self._weight_terms(noise)

    def _log_density(self, quad: Tensor, logdet: Tensor) -> Tensor:
        n, k = self.y.shape
        constant = n * k * math.log(2 * math.pi) + 2 * n * self.y_scale.log().sum()
        return -0.5 * (quad + k * logdet + constant)

    def _weight_terms(self, noise: Tensor) -> Tensor | float:
        """What makes rows of weight w as likely as w rows (by more than their mean)."""
        if self.weights is None:
            return 0.0
        each = torch.log(
            2 * math.pi * noise.double().to(self.y).unsqueeze(-1) / self.unit * self.y_scale**2
        )
        extra = (self.weights - 1).unsqueeze(-1) * each + self.weights.log().unsqueeze(-1)
        return -0.5 * extra.sum()


@dataclass(frozen=True, slots=True, eq=False)
class LeaveOneOut:
    """Every target predicted from all the others, in the user's units.

    Attributes
    ----------
    mean, std : ndarray or Tensor, shape (n,) or (n, k)
        Of the target, noise included.
    residual
        ``(y - mean) / std``: standard normal where the model is right.
    log_density
        Of every target; their sum is the pseudo-likelihood of Rasmussen and Williams (5.11).
    """

    mean: Any
    std: Any
    residual: Any
    log_density: Any


class Posterior:
    """A regression at fixed hyperparameters.

    Parameters
    ----------
    regression : Regression
    kernel : Kernel, in the user's units
    noise : Tensor, shape () or (n,), in the user's units
    coefficients : Tensor, shape (p, k), optional
        Of the mean; those that maximise the evidence by default.
    factor : Factor, optional
        Where it is known already.
    """

    @torch.no_grad()
    def __init__(
        self,
        regression: Regression,
        kernel: Any,
        noise: Tensor,
        coefficients: Tensor | None = None,
        factor: Factor | None = None,
    ) -> None:
        self.regression, self.kernel, self.noise = regression, kernel, noise.detach()
        row_noise = regression.row_noise(self.noise)
        self.factor = factor or regression.covariance.factor(kernel, row_noise)
        y, basis = regression.y, regression.training_basis()
        if coefficients is not None:
            self.coefficients = coefficients
            self.alpha = self.factor.solve(y - basis @ coefficients)
            return
        k = y.shape[-1]
        solved = self.factor.solve(torch.cat([y, basis], dim=-1))
        self.coefficients = generalised_least_squares(solved[:, :k], solved[:, k:], y, basis)
        self.alpha = solved[:, :k] - solved[:, k:] @ self.coefficients

    @torch.no_grad()
    def log_evidence(self) -> float:
        """``log p(y)`` of the targets as given."""
        model = self.regression
        residual = model.y - model.training_basis() @ self.coefficients
        quad = (residual * self.alpha).sum()
        value = model._log_density(quad, self.factor.logdet()) + model._weight_terms(self.noise)
        return float(value)

    @torch.no_grad()
    def mean(self, x: Tensor) -> Tensor:
        """Of the standardised latent functions, shape (m, k), float64."""
        model = self.regression
        cross = self.cross(x.double())
        return model.mean.basis(x) @ self.coefficients + cross.matmul(self.alpha)

    def cross(self, x: Tensor) -> Any:
        """``K(x, X)``, lazily."""
        return self.regression.cross(self.kernel, x)

    def _blocks(self, x: Tensor) -> Iterator[Tensor]:
        return iter(x.double().split(max(1, _BLOCK_ENTRIES // len(self.regression.y))))

    @torch.no_grad()
    def variance(self, x: Tensor) -> Tensor:
        """Of the standardised latent functions, one for all outputs, shape (m,), float64."""
        parts = []
        for block in self._blocks(x):
            prior = operator(self.kernel, block, None, 1 / self.regression.unit).diagonal()
            reduction = self.factor.reduction(self.cross(block).to_dense().mT.contiguous())
            # Below zero by rounding alone: both are known to some digits of the prior only.
            parts.append((prior - reduction).clamp(min=0.0))
        return torch.cat(parts)

    @torch.no_grad()
    def covariance(self, x: Tensor) -> Tensor:
        """Of the standardised latent functions, shape (m, m), float64."""
        x = x.double()
        prior = operator(self.kernel, x, None, 1 / self.regression.unit).to_dense()
        found = prior - self.factor.joint_reduction(self.cross(x).to_dense().mT.contiguous())
        found.diagonal().clamp_(min=0.0)
        return found

    @torch.no_grad()
    def leave_one_out(self) -> tuple[Tensor, Tensor]:
        """Means (n, k) and variances (n,) of the standardised targets (5.12)."""
        diagonal = self.factor.inverse_diagonal()
        return self.regression.y - self.alpha / diagonal.unsqueeze(-1), 1 / diagonal

    @torch.no_grad()
    def sample(
        self, x: Tensor, n_samples: int, n_features: int, generator: torch.Generator
    ) -> Tensor:
        """Standardised latent functions drawn by Matheron's rule, shape (m, k, n_samples).

        At these points alone, from their joint covariance, where the kernel has no functions.
        """
        model, k = self.regression, self.regression.y.shape[-1]
        if not has_functions(self.kernel):
            normals = torch.randn(
                len(x), k, n_samples, generator=generator, dtype=torch.float64
            ).to(model.y)
            covariance = self.covariance(x)
            values, vectors = torch.linalg.eigh((covariance + covariance.mT) / 2)
            root = vectors * values.clamp(min=0.0).sqrt()  # below zero by rounding alone
            return self.mean(x).unsqueeze(-1) + torch.einsum("ab,bks->aks", root, normals)
        shrink = model.unit**-0.5
        prior = prior_functions(self.kernel, x.shape[-1], k * n_samples, n_features, generator)
        rows = model.row_noise(self.noise).sqrt().reshape(-1, 1)
        noise = torch.randn(
            len(model.y), k * n_samples, generator=generator, dtype=torch.float64
        ).to(model.y)
        seen = model.y - model.training_basis() @ self.coefficients
        missed = seen.repeat_interleave(n_samples, dim=-1)
        missed = missed - shrink * prior(model.x) - rows * noise
        update = self.cross(x.double()).matmul(self.factor.solve(missed))
        level = (model.mean.basis(x) @ self.coefficients).repeat_interleave(n_samples, dim=-1)
        return (level + shrink * prior(x) + update).unflatten(-1, (k, n_samples))

    @torch.no_grad()
    def extended(self, regression: Regression, row_noise: Tensor) -> "Posterior":
        """The posterior of more rows, which follow those that are known, by one block more.

        Raises
        ------
        ArgumentError
            If the covariance has no factor to extend.
        """
        grow = getattr(self.factor, "extended", None)
        if grow is None:
            raise ArgumentError("method", regression.covariance.method, "fit again from scratch")
        n = len(self.regression.x)
        new = regression.x[n:].double()
        corner = operator(self.kernel, new, None, 1 / regression.unit).to_dense()
        corner.diagonal().add_(row_noise)
        cross = self.cross(new).to_dense().mT.contiguous()
        return Posterior(regression, self.kernel, self.noise, factor=grow(cross, corner))
