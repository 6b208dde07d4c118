"""Likelihoods of class labels: the logistic one for two classes, softmax for more.

Both say the same things of a latent function with `c` columns, one for two classes and one for
each class of several: pointwise derivatives for Laplace's method, expectations under a normal
for variational inference, and probabilities of the classes.

References
----------
Rasmussen and Williams, *Gaussian Processes for Machine Learning*, 2006: (3.5), (3.25), (3.39).
Expected derivatives: Opper and Archambeau, *The variational Gaussian approximation revisited*,
2009, (12): those by mean and variance are expectations of the first and half the second.
"""

import math
from dataclasses import dataclass
from functools import cache
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.quasirandom import SobolEngine

__all__ = [
    "Bernoulli",
    "Expectations",
    "LabelLikelihood",
    "LabeledRows",
    "Softmax",
    "label_likelihood",
    "logistic_normal",
]

# Hermite quadrature of an expected log-sigmoid: 1e-9 at a standard deviation of 1, 2e-5 at 10.
_NODES = 32
# Draws of a quasi-random rule, each with its mirror image; probabilities to about 1e-3.
_DRAWS = 64
_PREDICTION_DRAWS = 512


@dataclass(frozen=True, slots=True)
class Expectations:
    """Under independent normals: the mean log-likelihood, and its slopes.

    Attributes
    ----------
    value : Tensor, shape (n,)
    gradient : Tensor, shape (n, c)
        By the means.
    curvature : Tensor, shape (n, c)
        Minus twice the slope by the variances; not negative.
    """

    value: Tensor
    gradient: Tensor
    curvature: Tensor


class LabelLikelihood(Protocol):
    """What inference asks of labels, numbered from 0."""

    @property
    def n_classes(self) -> int: ...
    @property
    def n_latents(self) -> int: ...
    @property
    def full_step(self) -> float:
        """The rate at which natural gradients of independent latent functions converge.

        Each is Newton's for itself. With softmax they answer one another: the curvature of all
        is up to twice that of each, so that only half the way is safe.
        """
        ...

    def log_probability(self, latent: Tensor, labels: Tensor) -> Tensor:
        """``log p(y | f)``, shape (n,), for a latent of shape (n, c)."""
        ...

    def gradient(self, latent: Tensor, labels: Tensor) -> Tensor:
        """Of `log_probability` by the latent, shape (n, c)."""
        ...

    def expectations(self, mean: Tensor, variance: Tensor, labels: Tensor) -> Expectations:
        """Of ``log p(y | f)`` under N(mean, variance), both of shape (n, c)."""
        ...

    def probabilities(self, mean: Tensor, root: Tensor) -> Tensor:
        """Of every class, shape (n, n_classes).

        Averaged over a latent N(mean, root rootᵀ) of shapes (n, c) and (n, c, c).
        """
        ...


@dataclass(frozen=True, slots=True)
class Bernoulli:
    """Two classes: ``p(y = 1 | f) = 1 / (1 + exp(-f))``.

    Examples
    --------
    >>> zero, one = torch.zeros(1, 1), torch.ones(1, 1, 1)
    >>> Bernoulli().probabilities(zero, one)
    tensor([[0.5000, 0.5000]])
    """

    n_classes: int = 2
    n_latents: int = 1
    full_step: float = 1.0

    def log_probability(self, latent: Tensor, labels: Tensor) -> Tensor:
        sign = 2 * labels.to(latent) - 1
        return torch.nn.functional.logsigmoid(sign * latent.squeeze(-1))

    def gradient(self, latent: Tensor, labels: Tensor) -> Tensor:
        return labels.to(latent).unsqueeze(-1) - latent.sigmoid()

    def expectations(self, mean: Tensor, variance: Tensor, labels: Tensor) -> Expectations:
        nodes, weights = _hermite(mean)
        latent = mean + variance.sqrt() * nodes
        success = latent.sigmoid()
        target = labels.to(mean).unsqueeze(-1)
        # log σ(±f) = f [y = 1] - softplus(f), of which only the latter needs a rule.
        softplus = torch.nn.functional.softplus(latent) @ weights
        return Expectations(
            (target * mean).squeeze(-1) - softplus,
            target - (success @ weights).unsqueeze(-1),
            ((success * (1 - success)) @ weights).unsqueeze(-1),
        )

    def probabilities(self, mean: Tensor, root: Tensor) -> Tensor:
        success = logistic_normal(mean.squeeze(-1), root.reshape(len(mean)).abs())
        return torch.stack([1 - success, success], dim=-1)


@dataclass(frozen=True, slots=True)
class Softmax:
    """Several classes: ``p(y = c | f) = exp(f_c) / Σ exp(f)``."""

    n_classes: int
    full_step: float = 0.5

    @property
    def n_latents(self) -> int:
        return self.n_classes

    def log_probability(self, latent: Tensor, labels: Tensor) -> Tensor:
        chosen = latent.gather(-1, labels.unsqueeze(-1)).squeeze(-1)
        return chosen - latent.logsumexp(dim=-1)

    def gradient(self, latent: Tensor, labels: Tensor) -> Tensor:
        return self._one_hot(latent, labels) - latent.softmax(dim=-1)

    def expectations(self, mean: Tensor, variance: Tensor, labels: Tensor) -> Expectations:
        normals = _quasi_normals(self.n_classes, _DRAWS, mean)
        deviation = variance.sqrt()
        value = mean.gather(-1, labels.unsqueeze(-1)).squeeze(-1)
        average, spread = torch.zeros_like(mean), torch.zeros_like(mean)
        for z in normals:  # a pass for each draw: (n, draws, c) would not fit a cache
            latent = mean + deviation * z
            top = latent.logsumexp(dim=-1, keepdim=True)
            value = value - top.squeeze(-1) / len(normals)
            share = (latent - top).exp_()
            average += share
            spread += share * (1 - share)
        one_hot = self._one_hot(mean, labels)
        return Expectations(value, one_hot - average / len(normals), spread / len(normals))

    def probabilities(self, mean: Tensor, root: Tensor) -> Tensor:
        normals = _quasi_normals(self.n_classes, _PREDICTION_DRAWS, mean)
        total = torch.zeros_like(mean)
        for z in normals:
            total += (mean + root @ z).softmax(dim=-1)
        return total / total.sum(dim=-1, keepdim=True)

    def _one_hot(self, like: Tensor, labels: Tensor) -> Tensor:
        return torch.nn.functional.one_hot(labels, self.n_classes).to(like)


@dataclass(frozen=True, slots=True, eq=False)
class LabeledRows:
    """Data to learn from.

    Attributes
    ----------
    x : Tensor, shape (n, d)
    labels : Tensor, shape (n,), int64
        Classes, numbered from 0.
    weights : Tensor, shape (n,), dtype of `x`, positive
        How often each row counts.
    """

    x: Tensor
    labels: Tensor
    weights: Tensor
    likelihood: LabelLikelihood

    def __len__(self) -> int:
        return len(self.x)

    def take(self, rows: Any) -> "LabeledRows":
        """Some of them."""
        return LabeledRows(self.x[rows], self.labels[rows], self.weights[rows], self.likelihood)

    def to(self, dtype: torch.dtype) -> "LabeledRows":
        """In another precision."""
        weights = self.weights.to(dtype)
        return LabeledRows(self.x.to(dtype), self.labels, weights, self.likelihood)

    def double(self) -> "LabeledRows":
        """In float64."""
        return self.to(torch.float64)

    def sample(self, count: int, generator: torch.Generator) -> "LabeledRows":
        """So many of them, drawn without replacement; all, if there are no more."""
        if len(self) <= count:
            return self
        drawn = torch.randperm(len(self), generator=generator)[:count]
        return self.take(drawn.to(self.x.device))


def label_likelihood(n_classes: int) -> LabelLikelihood:
    """`Bernoulli` for two classes, `Softmax` for more."""
    return Bernoulli() if n_classes == 2 else Softmax(n_classes)


def logistic_normal(mean: Tensor, deviation: Tensor) -> Tensor:
    """``E[1 / (1 + exp(-f))]`` for f ~ N(mean, deviation²), to 1e-8.

    The trapezoidal rule converges exponentially where the integrand is analytic in a wide
    strip. That of the normal's density has poles at a distance of π / deviation; that of the
    logistic density, against which ``Φ((mean - l) / deviation)`` is integrated, at π whatever
    the deviation, but grows along it where the deviation is small. So each has its half.
    """
    shape, dtype, device = mean.shape, mean.dtype, mean.device
    mean, deviation = mean.double().unsqueeze(-1), deviation.double().unsqueeze(-1)
    step = 0.5
    z = torch.arange(-18, 19, device=device, dtype=torch.float64) * step
    density = (-0.5 * z.square()).exp() * (step / math.sqrt(2 * math.pi))
    narrow = ((mean + deviation.clamp(max=1.0) * z).sigmoid() * density).sum(dim=-1)
    step = 0.75
    logit = torch.arange(-40, 41, device=device, dtype=torch.float64) * step
    density = logit.sigmoid() * (-logit).sigmoid() * step
    arguments = (mean - logit) / deviation.clamp(min=1.0)
    wide = (torch.special.ndtr(arguments) * density).sum(dim=-1)
    result = torch.where(deviation.squeeze(-1) < 1.0, narrow, wide)
    return result.clamp(0.0, 1.0).reshape(shape).to(dtype)


def _hermite(like: Tensor) -> tuple[Tensor, Tensor]:
    nodes, weights = np.polynomial.hermite_e.hermegauss(_NODES)
    weights = weights / weights.sum()
    return torch.as_tensor(nodes).to(like), torch.as_tensor(weights).to(like)


def _quasi_normals(dimension: int, draws: int, like: Tensor) -> Tensor:
    """Points of a scrambled Sobol sequence as normals, and their mirror images."""
    return _normals_on_cpu(dimension, draws).to(like)


@cache
def _normals_on_cpu(dimension: int, draws: int) -> Tensor:
    uniform = SobolEngine(dimension, scramble=True, seed=0).draw(draws // 2, dtype=torch.float64)
    normals = torch.special.ndtri(uniform.clamp(1e-10, 1 - 1e-10))
    return torch.cat([normals, -normals])
