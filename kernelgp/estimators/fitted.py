"""What a fit of a regression leaves behind, and what can be asked of it, in the user's units."""

import math
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import gpytorch
import torch
from torch import Tensor

from kernelgp.errors import ArgumentError
from kernelgp.estimators.regression_problem import Noise, Problem
from kernelgp.gp.optimize import OptimizeReport
from kernelgp.gp.regression import LeaveOneOut, Posterior
from kernelgp.gp.student_t import StudentNoise, response_quantiles

__all__ = ["FitReport", "Fitted"]


@dataclass(frozen=True, slots=True, eq=False)
class FitReport:
    """What a fit did.

    Attributes
    ----------
    method
        "cholesky", "iterative", "vecchia", "kronecker" or "toeplitz".
    n_rows, n_outputs, n_missing
        Rows that were used, outputs, and targets that are missing in these rows.
    seconds
        Of the whole fit.
    optimizer : OptimizeReport or None
        Of the search for hyperparameters; None where there was none.
    log_marginal_likelihood, standard_error
        In the user's units; the error is 0 where it is exact.
    jitter
        What had to be added to the diagonal, relative to the variance of the targets.
    iterations, residual
        Of the solve for the mean, where it iterates.
    notes : tuple of str
        What is worth knowing besides.
    """

    method: str
    n_rows: int
    n_outputs: int
    n_missing: int
    seconds: float
    optimizer: OptimizeReport | None
    log_marginal_likelihood: float
    standard_error: float
    jitter: float
    iterations: int
    residual: float
    notes: tuple[str, ...]

    def __str__(self) -> str:
        error = f" ± {self.standard_error:.1g}" if self.standard_error else ""
        lines = [
            f"{self.method}: {self.n_rows} rows, {self.seconds:.2f} s, "
            f"log marginal likelihood {self.log_marginal_likelihood:.6g}{error}",
            *([str(self.optimizer)] if self.optimizer else []),
            *self.notes,
        ]
        return "\n".join(lines)


@dataclass(frozen=True, slots=True, eq=False)
class Fitted:
    """A posterior for each group of outputs; everything below is in the user's units.

    Shapes are (m, k): one column for each output, also where there is one.
    """

    kernel: Any
    noise: Noise
    problem: Problem
    posteriors: list[Posterior]
    report: FitReport
    seed: int

    def noise_in_units(self) -> Any:
        """A number, one for each row, or one for each output of a scale of its own."""
        value, scales = self.noise.response().detach().cpu(), self.problem.scales
        if self.noise.per_output:
            return (value * scales.y_scale.cpu().square()).numpy()
        if value.dim():
            return value.numpy()
        if self.problem.unit == 1.0 and len(scales.y_scale) > 1:
            return (value * scales.y_scale.cpu().square()).numpy()
        return value.item()

    def mean_in_units(self) -> Any:
        """Constant and slopes, (p,) or (p, k)."""
        scales, k = self.problem.scales, len(self.problem.scales.y_scale)
        columns: list[Any] = [None] * k
        for posterior, (outputs, _) in self._each():
            plain = self.problem.mean.plain(posterior.coefficients)
            for i, output in enumerate(outputs.tolist()):
                columns[output] = plain[:, i] * scales.y_scale[output]
                if len(plain):
                    columns[output][0] += scales.y_shift[output]
                elif bool(scales.y_shift[output] != 0):
                    columns[output] = scales.y_shift[output : output + 1]
        found = torch.stack(columns, dim=-1).cpu().numpy()
        return found[:, 0] if self.problem.data.y.dim() == 1 else found

    def _each(self) -> Any:
        return zip(self.posteriors, self.problem.groups, strict=True)

    def _place(self, parts: list[Tensor]) -> Tensor:
        """Columns of the groups in the order of the outputs."""
        order = torch.cat([outputs for outputs, _ in self.problem.groups])
        return torch.cat(parts, dim=-1)[..., torch.argsort(order)]

    def mean(self, x: Tensor) -> Tensor:
        """Of the response as of the function, (m, k)."""
        found = self._place([posterior.mean(x) for posterior in self.posteriors])
        return found * self.problem.scales.y_scale + self.problem.scales.y_shift

    def variance(self, x: Tensor, *, latent: bool) -> Tensor:
        """Shape (m, k)."""
        parts = [
            _for_each_output(posterior.variance(x), 1, len(outputs))
            for posterior, (outputs, _) in self._each()
        ]
        found = self._place(parts)
        if not latent:
            found = found + self._response_noise().to(found)
        return found * self.problem.scales.y_scale.square()

    def covariance(self, x: Tensor, *, latent: bool) -> Tensor:
        """Shape (m, m, k)."""
        parts = [
            _for_each_output(posterior.covariance(x), 2, len(outputs))
            for posterior, (outputs, _) in self._each()
        ]
        found = self._place(parts)
        if not latent:
            eye = torch.eye(len(x), dtype=found.dtype, device=found.device).unsqueeze(-1)
            found = found + eye * self._response_noise().to(found)
        return found * self.problem.scales.y_scale.square()

    def _response_noise(self) -> Tensor:
        """Of a standardised target that is yet to be seen, () or (k,)."""
        value = self.noise.response().detach() / self.problem.unit
        return value if self.noise.per_output else value.mean()

    def quantiles(self, x: Tensor, levels: Tensor, *, latent: bool) -> Tensor:
        """Shape (m, k, q)."""
        module = self.noise.module
        if isinstance(module, StudentNoise) and not latent:
            deviation = self.variance(x, latent=True).sqrt()
            return response_quantiles(self.mean(x), deviation, module, levels)
        deviates = torch.special.ndtri(levels).to(x.device)
        deviation = self.variance(x, latent=latent).sqrt()
        return self.mean(x).unsqueeze(-1) + deviation.unsqueeze(-1) * deviates

    @torch.no_grad()
    def sample(
        self,
        x: Tensor,
        n_samples: int,
        n_features: int,
        generator: torch.Generator,
        *,
        latent: bool,
    ) -> Tensor:
        """Shape (m, k, n_samples), by Matheron's rule."""
        parts = [
            posterior.sample(x, n_samples, n_features, generator).movedim(1, -1)
            for posterior in self.posteriors
        ]
        found = self._place(parts)
        if not latent:
            noise = torch.randn(found.shape, generator=generator, dtype=torch.float64)
            found = found + self._response_noise().sqrt() * noise.to(found)
        found = found * self.problem.scales.y_scale + self.problem.scales.y_shift
        return found.movedim(-1, 1)

    @torch.no_grad()
    def leave_one_out(self, *, squeeze: bool) -> LeaveOneOut:
        """Shapes (n, k), or (n,) if `squeeze`; NaN where a target was missing."""
        scales, y = self.problem.scales, self.problem.data.y.double()
        y = y.reshape(len(y), -1)
        mean, deviation = torch.full_like(y, torch.nan), torch.full_like(y, torch.nan)
        for posterior, (outputs, rows) in self._each():
            means, variances = posterior.leave_one_out()
            where = rows.unsqueeze(-1), outputs
            mean[where] = means * scales.y_scale[outputs] + scales.y_shift[outputs]
            each = _for_each_output(variances, 1, len(outputs))
            deviation[where] = each.sqrt() * scales.y_scale[outputs]
        residual = (y - mean) / deviation
        density = -0.5 * residual.square() - deviation.log() - 0.5 * math.log(2 * math.pi)
        found = (t.squeeze(-1) if squeeze else t for t in (mean, deviation, residual, density))
        return LeaveOneOut(*(t.cpu().numpy() for t in found))

    def output_covariance(self) -> Any:
        """Of correlated outputs, (k, k), over the variance of the kernel."""
        with torch.no_grad():
            scale = self.problem.scales.y_scale.cpu()
            return (self.kernel.covariance() * torch.outer(scale, scale)).numpy()

    def gpytorch_model(self) -> Any:
        """An `ExactGP` of one output."""
        if self.problem.y.shape[-1] > 1:
            given = f"{self.problem.y.shape[-1]} outputs"
            raise ArgumentError("y", given, "fit one output at a time for a gpytorch model")
        if self.report.method == "vecchia":
            remedy = 'fit with method="cholesky", whose posterior gpytorch has'
            raise ArgumentError("method", '"vecchia"', remedy)
        if type(self.posteriors[0]) is not Posterior:
            remedy = "ask for a model of plain values with Gaussian noise"
            raise ArgumentError("likelihood", "observations of another kind", remedy)
        data, noise = self.problem.data, self.noise.value().detach()
        if data.weights is not None:
            noise = noise / data.weights.cpu()
        kernel = deepcopy(self.kernel)
        likelihood: Any
        if noise.dim():
            likelihood = gpytorch.likelihoods.FixedNoiseGaussianLikelihood(noise.to(data.x.device))
        else:
            floor = gpytorch.constraints.Positive()
            likelihood = gpytorch.likelihoods.GaussianLikelihood(noise_constraint=floor).double()
            likelihood.noise = noise.clamp(min=1e-12)
        model = _ExactModel(
            data.x.double(),
            data.y.double(),
            likelihood,
            kernel,
            torch.as_tensor(self.mean_in_units()),
        )
        return model.to(data.x.device).eval()


def _for_each_output(found: Tensor, dims: int, k: int) -> Tensor:
    """With a last dimension for the outputs, if it has none: then all share it."""
    return found if found.dim() > dims else found.unsqueeze(-1).expand(*found.shape, k)


class _ExactModel(gpytorch.models.ExactGP):
    """The mean is given as its constant and slopes; without any it is zero."""

    def __init__(
        self, x: Tensor, y: Tensor, likelihood: Any, kernel: Any, coefficients: Tensor
    ) -> None:
        super().__init__(x, y, likelihood)
        self.covar_module = kernel
        if len(coefficients) == 0:
            self.mean_module: Any = gpytorch.means.ZeroMean()
        elif len(coefficients) == 1:
            self.mean_module = gpytorch.means.ConstantMean().double()
            self.mean_module.constant.data.fill_(coefficients[0].item())
        else:
            self.mean_module = gpytorch.means.LinearMean(x.shape[-1]).double()
            self.mean_module.weights.data.copy_(coefficients[1:, None])
            self.mean_module.bias.data.fill_(coefficients[0].item())
        likelihood.eval()

    def forward(self, x: Tensor) -> Any:
        return gpytorch.distributions.MultivariateNormal(self.mean_module(x), self.covar_module(x))
