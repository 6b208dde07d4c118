"""Outputs that are correlated: the intrinsic model of coregionalisation, by Kronecker algebra.

The covariance of output i at x and output j at x' is ``Bij k(x, x')``, and every output has noise
of its own. With D the diagonal of these variances, ``D^-½ B D^-½ ⊗ K + I`` is a Kronecker product
plus the identity: one eigendecomposition each, O(n³ + k³), with all of n k targets; those that
are missing are cells that a mask leaves out.

References
----------
E. V. Bonilla, K. M. A. Chai and C. K. I. Williams, *Multi-task Gaussian process prediction*,
NeurIPS 2008.
"""

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import gpytorch
import torch
from torch import Tensor
from torch.nn import Parameter
from typing_extensions import override

from kernelgp.gp.covariance import Evidence, TrainingCovariance, generalised_least_squares, operator
from kernelgp.gp.pathwise import prior_functions
from kernelgp.gp.regression import Mean
from kernelgp.gp.structured import StructuredFactor
from kernelgp.kernels.positive import Hyperparameter
from kernelgp.operators import KroneckerOperator

__all__ = ["Coregional", "CoregionalRegression", "OutputNoise"]


class OutputNoise(gpytorch.Module):
    """A variance of the noise for every standardised output, (k,)."""

    noise: Hyperparameter = Hyperparameter()

    def __init__(self, noise: Tensor) -> None:
        super().__init__()
        self.noise = noise


class Coregional(gpytorch.Module):
    """A kernel, and the covariance B between outputs, of mean diagonal 1.

    Parameters
    ----------
    kernel
    n_outputs
    """

    def __init__(self, kernel: Any, n_outputs: int) -> None:
        super().__init__()
        self.kernel = kernel
        # Not from zero correlation: there the gradient by it vanishes for symmetry's sake.
        start = torch.eye(n_outputs, dtype=torch.float64).add(0.3)
        self.output_factor = Parameter(start[*torch.tril_indices(n_outputs, n_outputs)])

    def covariance(self) -> Tensor:
        """B, (k, k), with a graph."""
        entries = self.output_factor
        k = math.isqrt(2 * len(entries))  # of k (k + 1) / 2 entries
        root = torch.zeros(k, k, dtype=entries.dtype, device=entries.device)
        rows, columns = torch.tril_indices(k, k, device=entries.device)
        root = root.index_put((rows, columns), entries)
        product = root @ root.mT
        # A little of its own for every output: B stays invertible while the factor is searched.
        own = 1e-6 * torch.eye(len(product), dtype=product.dtype)
        return (product + own) * (len(product) / product.diagonal().sum())


class CoregionalCovariance(TrainingCovariance):
    """``D^-½ B D^-½ ⊗ K + I`` at the targets observed, in the order (output, row).

    Attributes
    ----------
    observed : Tensor of bool, shape (k, n)
    """

    method: ClassVar[str] = "kronecker"

    def __init__(self, x: Tensor, observed: Tensor) -> None:
        self.x, self.observed = x.double(), observed
        self._mask = None if bool(observed.all()) else observed

    def noisy_operator(self, kernel: Any, noise: Tensor) -> Any:
        root = noise.rsqrt()
        outputs = root.unsqueeze(-1) * kernel.covariance().to(noise) * root
        inputs = operator(kernel.kernel, self.x, None, 1.0).to_dense()
        one = torch.ones((), dtype=inputs.dtype, device=inputs.device)
        return KroneckerOperator(outputs, inputs, mask=self._mask).add_diagonal(one)

    @override
    def evidence(self, kernel: Any, noise: Tensor, y: Tensor, basis: Tensor) -> Evidence:
        op = self.noisy_operator(kernel, noise)
        with torch.no_grad():
            solved = op.solve(torch.cat([y, basis], dim=-1))
            coefficients = generalised_least_squares(solved[:, :1], solved[:, 1:], y, basis)
        residual = y - basis @ coefficients
        quad, logdet = op.inv_quad_logdet(residual, logdet=True, reduce_inv_quad=False)
        return Evidence(quad, logdet, coefficients)

    @override
    def factor(self, kernel: Any, noise: Tensor) -> StructuredFactor:
        with torch.no_grad():
            order = torch.arange(int(self.observed.sum()), device=self.x.device)
            return StructuredFactor(self.noisy_operator(kernel, noise), order)


@dataclass(frozen=True, slots=True, eq=False)
class CoregionalRegression:
    """Correlated outputs; what `Regression` is for outputs that share a kernel only.

    Attributes
    ----------
    x : Tensor, shape (n, d)
    y : Tensor, shape (n, k), float64
        Standardised, NaN where a target is missing.
    """

    x: Tensor
    y: Tensor
    mean: Mean
    covariance: CoregionalCovariance
    y_scale: Tensor

    def own(self, noise: Tensor) -> Tensor:
        """One for each output, whichever rows."""
        return noise.to(self.y).expand(self.y.shape[-1])

    @property
    def _outputs(self) -> Tensor:
        """The output of every observation."""
        observed = self.covariance.observed
        return torch.arange(len(observed), device=observed.device).repeat_interleave(
            observed.sum(dim=-1)
        )

    def whitened(self, noise: Tensor, basis: Tensor) -> tuple[Tensor, Tensor]:
        """Targets (N, 1) and functions of the mean (N, k p), over the deviation of the noise."""
        observed, outputs = self.covariance.observed, self._outputs
        root = noise.detach().rsqrt()[outputs].unsqueeze(-1)
        k, p = self.y.shape[-1], basis.shape[-1]
        blocks = torch.zeros(len(outputs), k, p).to(basis)
        rows = observed.nonzero()[:, 1]
        blocks[torch.arange(len(outputs)), outputs] = basis[rows]
        return self.y.mT[observed].unsqueeze(-1) * root, blocks.flatten(1) * root

    def log_evidence(self, kernel: Coregional, noise: Tensor) -> Tensor:
        """``log p(y)`` of the targets as given, with a graph."""
        # The targets are divided by the noise too: with a graph, as y' = y / sqrt(noise).
        y, basis = self.whitened(noise, self.mean.basis(self.x))
        scale = (noise.detach() / noise).sqrt()[self._outputs].unsqueeze(-1)
        found = self.covariance.evidence(kernel, noise, y * scale, basis * scale)
        count = self.covariance.observed.sum(dim=-1)
        constant = math.log(2 * math.pi) * count.sum()
        logs = (count * (noise.log() + 2 * self.y_scale.log())).sum()
        return -0.5 * (found.quad.sum() + found.logdet + logs + constant)

    def posterior(self, kernel: Coregional, noise: Tensor) -> "CoregionalPosterior":
        return CoregionalPosterior(self, kernel, noise)


class CoregionalPosterior:
    """The posterior of correlated outputs; in everything as `Posterior`, but of shape (m, k)."""

    @torch.no_grad()
    def __init__(self, regression: CoregionalRegression, kernel: Coregional, noise: Tensor) -> None:
        self.regression, self.kernel, self.noise = regression, kernel, noise.detach()
        self.factor = regression.covariance.factor(kernel, self.noise)
        self._b = kernel.covariance().to(regression.y)
        y, basis = regression.whitened(self.noise, regression.mean.basis(regression.x))
        solved = self.factor.solve(torch.cat([y, basis], dim=-1))
        flat = generalised_least_squares(solved[:, :1], solved[:, 1:], y, basis)
        k = regression.y.shape[-1]
        self.coefficients = flat.reshape(k, -1).mT
        self._root = self.noise.rsqrt()[regression._outputs].unsqueeze(-1)
        self._whitened = solved[:, :1] - solved[:, 1:] @ flat
        self.alpha = self._spread(self._whitened)

    def _spread(self, whitened: Tensor) -> Tensor:
        """From observations (N, s) to ``Σj Bij αj`` of every row, (n, k, s)."""
        observed = self.regression.covariance.observed
        values = torch.zeros(*observed.shape, whitened.shape[-1]).to(whitened)
        values[observed] = whitened * self._root
        return torch.einsum("ij,jns->nis", self._b, values)

    def log_evidence(self) -> float:
        with torch.no_grad():
            return self.regression.log_evidence(self.kernel, self.noise).item()

    def _cross(self, x: Tensor) -> Tensor:
        return operator(self.kernel.kernel, x.double(), self.regression.x.double(), 1.0).to_dense()

    @torch.no_grad()
    def mean(self, x: Tensor) -> Tensor:
        level = self.regression.mean.basis(x) @ self.coefficients
        return level + self._cross(x) @ self.alpha[..., 0]

    def _columns(self, cross: Tensor, output: int) -> Tensor:
        """Covariances of the whitened observations with an output at m points, (N, m)."""
        observed = self.regression.covariance.observed
        rows = observed.nonzero()
        return self._root * self._b[rows[:, 0], output].unsqueeze(-1) * cross.mT[rows[:, 1]]

    @torch.no_grad()
    def variance(self, x: Tensor) -> Tensor:
        found = []
        step = max(1, 2**22 // len(self._root))
        for block in x.double().split(step):
            prior = operator(self.kernel.kernel, block, None, 1.0).diagonal()
            cross = self._cross(block)
            columns = [
                b * prior - self.factor.reduction(self._columns(cross, i))
                for i, b in enumerate(self._b.diagonal())
            ]
            found.append(torch.stack(columns, dim=-1).clamp(min=0.0))
        return torch.cat(found)

    @torch.no_grad()
    def covariance(self, x: Tensor) -> Tensor:
        prior, cross = (
            operator(self.kernel.kernel, x.double(), None, 1.0).to_dense(),
            self._cross(x),
        )
        return torch.stack(
            [
                b * prior - self.factor.joint_reduction(self._columns(cross, i))
                for i, b in enumerate(self._b.diagonal())
            ],
            dim=-1,
        )

    @torch.no_grad()
    def leave_one_out(self) -> tuple[Tensor, Tensor]:
        model, observed = self.regression, self.regression.covariance.observed
        diagonal = self.factor.inverse_diagonal()
        mean, variance = (torch.full_like(model.y.mT, torch.nan) for _ in range(2))
        spread = 1 / self._root[:, 0]
        mean[observed] = model.y.mT[observed] - spread * self._whitened[:, 0] / diagonal
        variance[observed] = spread.square() / diagonal
        return mean.mT, variance.mT

    @torch.no_grad()
    def sample(
        self, x: Tensor, n_samples: int, n_features: int, generator: torch.Generator
    ) -> Tensor:
        model, k = self.regression, len(self._b)
        prior = prior_functions(
            self.kernel.kernel, x.shape[-1], k * n_samples, n_features, generator
        )
        root = torch.linalg.cholesky(self._b)

        def functions(points: Tensor) -> Tensor:
            return torch.einsum("ij,mjs->mis", root, prior(points).unflatten(-1, (k, n_samples)))

        noise = torch.randn(len(self._root), n_samples, generator=generator, dtype=torch.float64)
        seen = model.y - model.mean.basis(model.x) @ self.coefficients
        missed = seen.unsqueeze(-1) - functions(model.x)
        observed = model.covariance.observed
        whitened = missed.movedim(1, 0)[observed] * self._root - noise.to(missed)
        update = self._spread(self.factor.solve(whitened))
        level = (model.mean.basis(x) @ self.coefficients).unsqueeze(-1)
        moved = torch.einsum("mn,nis->mis", self._cross(x), update)
        return level + functions(x) + moved
