"""Student-t noise: outliers lose their weight.

Every row has a precision ``λ / scale²`` with ``λ ~ Gamma(ν/2, ν/2)``, so the noise has ν degrees
of freedom. With ``q(f) q(λ)`` for the posterior, q(f) is that of Gaussian noise ``scale² / E λ``
row by row, and q(λ) a gamma distribution that knows how far f is from each target: a few rounds
of the one and the other. What is maximised is a lower bound of the evidence.

References
----------
M. E. Tipping and N. D. Lawrence, *Variational inference for Student-t models: robust Bayesian
interpolation and generalised component analysis*, Neurocomputing 2005; M. Kuss, *Gaussian process
models for robust regression, classification, and reinforcement learning*, 2006, section 5.4.
"""

from dataclasses import dataclass, field
from typing import Any

import gpytorch
import numpy as np
import scipy.stats
import torch
from torch import Tensor
from typing_extensions import override

from kernelgp.gp.dense import DenseCovariance
from kernelgp.gp.regression import Posterior, Regression
from kernelgp.kernels.positive import Hyperparameter

__all__ = ["StudentNoise", "StudentRegression", "response_quantiles"]

_ROUNDS = 200
_CHANGE = 1e-8


class StudentNoise(gpytorch.Module):
    """The squared scale of the noise, and how many degrees of freedom it has beyond two.

    Parameters
    ----------
    noise
        The squared scale, in squared units of the targets.
    degrees_of_freedom
        More than two, for there is no variance below; fixed if not `learns`.
    """

    noise: Hyperparameter = Hyperparameter()
    excess_degrees_of_freedom: Hyperparameter = Hyperparameter()

    def __init__(self, noise: float, degrees_of_freedom: float = 4.0) -> None:
        super().__init__()
        self.noise = noise
        self.excess_degrees_of_freedom = degrees_of_freedom - 2

    def degrees_of_freedom(self) -> Tensor:
        """With a graph."""
        return 2 + self.excess_degrees_of_freedom

    def response_variance(self) -> Tensor:
        """Of the noise: ``scale² ν / (ν - 2)``."""
        return (self.noise * self.degrees_of_freedom() / self.excess_degrees_of_freedom).reshape(())


@dataclass(frozen=True, slots=True, eq=False)
class StudentRegression(Regression):
    """One output with Student-t noise; `noise` is its module throughout."""

    noise_module: Any = None
    _last: dict[str, Tensor] = field(default_factory=dict)

    @override
    def own(self, noise: Tensor) -> Tensor:
        return noise

    @override
    def log_evidence(self, kernel: Any, noise: Tensor) -> Tensor:
        """The lower bound, with a graph; the gradient by q(λ) is zero where q(λ) is best."""
        with torch.no_grad():
            mean, rate = self._settle(kernel)
        module = self.noise_module
        nu = module.degrees_of_freedom().to(self.y)
        shape = (nu.detach() + 1) / 2
        gaussian = super(StudentRegression, self).log_evidence(kernel, noise / mean)
        log_mean = torch.digamma(shape) - rate.log()
        weight = 1.0 if self.weights is None else self.weights
        half = nu / 2
        divergence = (
            (shape - half) * torch.digamma(shape)
            - torch.lgamma(shape)
            + torch.lgamma(half)
            + half * (rate.log() - half.log())
            + shape * (half - rate) / rate
        )
        return gaussian + (weight * (0.5 * (log_mean - mean.log()) - divergence)).sum()

    def _settle(self, kernel: Any) -> tuple[Tensor, Tensor]:
        """Mean and rate of every λ, by rounds that start where the last ones ended."""
        scale = self.noise_module.noise.detach().reshape(()).to(self.y)
        nu = self.noise_module.degrees_of_freedom().detach().reshape(()).to(self.y)
        mean = self._last.get("mean")
        mean = torch.ones(len(self.y)).to(self.y) if mean is None else mean
        rate = (nu + 1) / 2 / mean
        matrix = self.covariance
        assert isinstance(matrix, DenseCovariance)
        for _ in range(_ROUNDS):
            posterior = Posterior(self, kernel, scale / mean)
            noise = self.row_noise(scale / mean)
            # f at the rows: y - noise α, and noise - noise² diag(A⁻¹).
            away = noise * posterior.alpha[:, 0]
            spread = (noise - noise.square() * posterior.factor.inverse_diagonal()).clamp(min=0.0)
            distance = (away.square() + spread) * self.unit / scale
            rate = (nu + distance) / 2
            before, mean = mean, (nu + 1) / 2 / rate
            if bool((mean - before).abs().max() <= _CHANGE * mean.max()):
                break
        self._last["mean"] = mean
        return mean, rate

    @override
    def posterior(self, kernel: Any, noise: Tensor) -> "StudentPosterior":
        with torch.no_grad():
            mean, _ = self._settle(kernel)
        return StudentPosterior(self, kernel, noise.detach().to(mean) / mean)


class StudentPosterior(Posterior):
    """That of the Gaussian noise which every row has been given."""

    @override
    def log_evidence(self) -> float:
        model = self.regression
        assert isinstance(model, StudentRegression)
        with torch.no_grad():
            scale = model.noise_module.noise.reshape(())
            return model.log_evidence(self.kernel, scale).item()


def response_quantiles(mean: Tensor, std: Tensor, noise: StudentNoise, levels: Tensor) -> Tensor:
    """Quantiles of a normal variable plus Student-t noise, shape (*mean.shape, q), by bisection.

    The distribution function is a mean over 40 nodes of the normal variable (Gauss-Hermite).
    """
    nodes, weights = np.polynomial.hermite_e.hermegauss(40)
    weights = weights / weights.sum()
    scale = noise.noise.item() ** 0.5
    nu = noise.degrees_of_freedom().item()
    centre, width, level = (t.cpu().numpy()[..., None] for t in (mean, std, torch.zeros_like(mean)))
    wanted = level + levels.numpy()
    # No quantile lies beyond the sum of those of the two.
    reach = (
        width * 40 + scale * scipy.stats.t.ppf(1 - wanted.clip(1e-12, 0.5) / 2, nu) * 40 + 1e-300
    )
    low, high = centre - reach, centre + reach + 0 * wanted
    low = low + 0 * wanted
    for _ in range(80):
        middle = (low + high) / 2
        away = middle[..., None] - centre[..., None] - width[..., None] * nodes
        below = (scipy.stats.t.cdf(away / scale, nu) * weights).sum(-1) < wanted
        low, high = np.where(below, middle, low), np.where(below, high, middle)
    return torch.from_numpy((low + high) / 2).to(mean)
