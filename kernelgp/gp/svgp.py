"""Sparse variational classification: a normal posterior at inducing points, in closed steps.

The posterior of the whitened inducing values is held by its natural parameters, a precision and
a shift, in which a natural-gradient step is an average of what they are and what the rows ask
for. Its rate is 1 where all rows are asked: Newton's method.

References
----------
Hensman, Matthews and Ghahramani, *Scalable variational Gaussian process classification*, 2015
(the bound); Khan and Lin, *Conjugate-computation variational inference*, 2017 (the averaged
natural parameters).
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from kernelgp.gp.inducing import FeatureBlock, InducingFeatures, row_blocks
from kernelgp.gp.labels import Expectations, LabeledRows

__all__ = ["Moments", "SparseLatent", "SparsePosterior", "fit_posterior", "natural_gradient"]

Pair = tuple[Tensor, Tensor]

# Features of all rows are kept between passes up to this many numbers: 400 MB in float32.
_KEPT = 10**8


class SparsePosterior:
    """Independent normals for the whitened inducing values of every latent function.

    Parameters
    ----------
    precision : Tensor, shape (c, m, m), float64
    shift : Tensor, shape (m, c), float64
        Precision times mean.
    """

    def __init__(self, precision: Tensor, shift: Tensor) -> None:
        self.precision, self.shift = precision, shift
        self._factor = torch.linalg.cholesky(precision)
        self.covariance = torch.cholesky_inverse(self._factor)
        self.mean = (self.covariance @ shift.mT.unsqueeze(-1)).squeeze(-1).mT

    @classmethod
    def prior(cls, m: int, c: int, device: torch.device) -> "SparsePosterior":
        eye = torch.eye(m, dtype=torch.float64, device=device).repeat(c, 1, 1)
        return cls(eye, torch.zeros(m, c, dtype=torch.float64, device=device))

    def towards(self, other: Pair, rate: float) -> "SparsePosterior":
        """The natural parameters a part of the way to others."""
        return SparsePosterior(
            torch.lerp(self.precision, other[0], rate), torch.lerp(self.shift, other[1], rate)
        )

    def divergence(self) -> Tensor:
        """From the standard normal prior: ``½ Σ (tr S + |m|² - M + log|S⁻¹|)``."""
        m, c = self.mean.shape
        trace = self.covariance.diagonal(dim1=-2, dim2=-1).sum()
        logdet = 2 * self._factor.diagonal(dim1=-2, dim2=-1).log().sum()
        return 0.5 * (trace + self.mean.square().sum() - m * c + logdet)


@dataclass(frozen=True, slots=True, eq=False)
class Moments:
    """Of the latent functions at a block of rows, under a posterior.

    Attributes
    ----------
    projected : Tensor, shape (c, m, b)
        ``S A`` for every latent function.
    mean, variance : Tensor, shape (b, c)
        Without the offset.
    """

    projected: Tensor
    mean: Tensor
    variance: Tensor

    @classmethod
    def of(cls, block: FeatureBlock, posterior: SparsePosterior) -> "Moments":
        """Those at the rows of a block."""
        features = block.features
        projected = posterior.covariance.to(features) @ features
        mean = features.mT @ posterior.mean.to(features)
        left = block.variances - features.square().sum(dim=0)
        variance = left + (features * projected).sum(dim=-2)
        # Rounding may leave less than nothing of a variance that the inducing points explain.
        return cls(projected, mean, variance.clamp(min=0.0).mT)

    def expectations(self, data: LabeledRows, offset: Tensor) -> Expectations:
        """Of the log-likelihood, weighted."""
        mean = self.mean + offset.to(self.mean)
        found = data.likelihood.expectations(mean, self.variance, data.labels)
        weights = data.weights.unsqueeze(-1)
        return Expectations(
            data.weights * found.value, weights * found.gradient, weights * found.curvature
        )


def natural_gradient(block: FeatureBlock, moments: Moments, expected: Expectations) -> Pair:
    """What a block adds to the prior's precision (c, m, m) and shift (m, c), in float64."""
    features, curvature = block.features, expected.curvature
    precision = torch.stack([(features * column) @ features.mT for column in curvature.mT])
    shift = features @ (expected.gradient + curvature * moments.mean)
    return precision.double(), shift.double()


@torch.no_grad()
def fit_posterior(
    features: InducingFeatures,
    data: LabeledRows,
    offset: Tensor,
    start: SparsePosterior,
    *,
    max_iterations: int,
    tolerance: float,
) -> tuple[SparsePosterior, float, int]:
    """Full natural-gradient steps until the bound's rise is below `tolerance` of it.

    Returns
    -------
    posterior, bound, iterations
        With all of `max_iterations` taken, the bound was still rising.
    """
    n, m, c = len(data), len(features.factor), data.likelihood.n_latents
    kept: dict[int, FeatureBlock] = {}
    eye = torch.eye(m, dtype=torch.float64, device=data.x.device)
    posterior = previous = start
    target, best = (start.precision, start.shift), -float("inf")
    full = rate = data.likelihood.full_step
    for iteration in range(1, max_iterations + 1):
        value = -posterior.divergence().item()
        asked = (torch.zeros_like(start.precision), torch.zeros_like(start.shift))
        for rows in row_blocks(n, m * (c + 1)):
            block = kept.get(rows.start) or features.block(data.x[rows])
            if n * m <= _KEPT:
                kept[rows.start] = block
            moments = Moments.of(block, posterior)
            expected = moments.expectations(data.take(rows), offset)
            value += expected.value.double().sum().item()
            for total, part in zip(asked, natural_gradient(block, moments, expected), strict=True):
                total += part
        if not value >= best:  # too far: half the way instead
            rate *= 0.5
            if rate < 1e-3:  # rounding: nothing higher is to be found
                return previous, best, iteration
        else:
            gained, previous, best = value - best, posterior, value
            if gained <= tolerance * abs(value):
                return posterior, value, iteration
            target, rate = (asked[0] + eye, asked[1]), min(full, 2 * rate)
        posterior = previous.towards(target, rate)
    return previous, best, max_iterations


class SparseLatent:
    """Latent functions at new points: the sparse counterpart of `LaplacePosterior`.

    Parameters
    ----------
    kernel : Kernel
    points : Tensor, shape (m, d), float64
    posterior
    offset : Tensor, shape (c,)
    """

    def __init__(
        self, kernel: Any, points: Tensor, posterior: SparsePosterior, offset: Tensor
    ) -> None:
        with torch.no_grad():
            self._features = InducingFeatures(kernel, points, torch.float64)
        self._posterior, self._offset = posterior, offset

    def mean(self, x: Tensor) -> Tensor:
        """Latent means, shape (m, c), at `x` of shape (m, d)."""
        return self.moments(x)[0]

    @torch.no_grad()
    def moments(self, x: Tensor) -> Pair:
        """Means (m, c) and the covariance of the latent functions at each point, (m, c, c)."""
        means, covariances = [], []
        for rows in row_blocks(len(x), self._posterior.shift.numel()):
            found = Moments.of(self._features.block(x[rows]), self._posterior)
            means.append(found.mean + self._offset)
            covariances.append(found.variance.diag_embed())
        return torch.cat(means), torch.cat(covariances)
