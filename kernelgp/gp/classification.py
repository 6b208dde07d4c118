"""Hyperparameters of a latent process behind labels, by Laplace's evidence."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from kernelgp.gp.hyperparameters import Bounds, Hyperparameters, relative_bounds
from kernelgp.gp.labels import LabeledRows
from kernelgp.gp.laplace import LaplaceFit, find_mode, laplace_evidence
from kernelgp.gp.offset import Offset
from kernelgp.gp.optimize import OptimizeReport, as_objective, curvature, learn
from kernelgp.operators import KernelOperator

__all__ = ["LatentPrior", "latent_bounds", "learn_by_laplace", "mode_of"]

# Rows on which hyperparameters are found first where there are more: an evaluation there costs
# a hundredth of one on 2 500, and its Hessian makes the first full step a Newton step.
_SUBSAMPLE = 500
_TOLERANCE = 1e-4  # nats


@dataclass(frozen=True, slots=True, eq=False)
class LatentPrior:
    """Independent processes with one kernel, and a constant mean for each of them.

    Attributes
    ----------
    kernel : Kernel
    offset : Offset
    """

    kernel: Any
    offset: Offset

    def hyperparameters(self, x_scale: Tensor) -> Hyperparameters:
        """Everything that is learned."""
        modules = {"": self.kernel, "mean": self.offset}
        return Hyperparameters(modules, latent_bounds(x_scale))

    def covariance(self, x: Tensor) -> Tensor:
        """Of one latent function at `x`, dense, with a graph."""
        return KernelOperator(self.kernel, x).to_dense()


class LaplaceLoss:
    """Minus the evidence as a function of the hyperparameters; begins where it last ended."""

    def __init__(self, prior: LatentPrior, data: LabeledRows) -> None:
        self._prior, self._data = prior, data.double()
        self._dual: Tensor | None = None

    def __call__(self) -> Tensor:
        covariance = self._prior.covariance(self._data.x)
        offset = self._prior.offset.constant
        value, fit = laplace_evidence(covariance, self._data, offset, self._dual)
        self._dual = fit.dual
        return -value


def learn_by_laplace(
    prior: LatentPrior,
    data: LabeledRows,
    *,
    x_scale: Tensor,
    starts: int,
    max_iterations: int,
    generator: torch.Generator,
    visible: bool | None,
    warn: bool = True,
) -> OptimizeReport:
    """Maximise Laplace's evidence, first on a subsample where there are many rows.

    Parameters
    ----------
    starts
        Random ones, besides where the prior is now.
    """
    hyper = prior.hyperparameters(x_scale)
    inverse_hessian = None
    count = 1 if data.likelihood.n_latents == 1 else 2
    few = data.sample(_SUBSAMPLE * count, generator)
    if len(few) < len(data) / 2:
        loss = LaplaceLoss(prior, few)
        options = {"starts": _starts(hyper, starts, generator), "max_iterations": max_iterations}
        learn(hyper, loss, tolerance=1e-2, visible=visible, warn=False, **options)
        hessian = curvature(as_objective(hyper, loss), hyper.vector())
        inverse_hessian = torch.linalg.inv(hessian) * len(few) / len(data)
        starts = 0
    return learn(
        hyper,
        LaplaceLoss(prior, data),
        starts=_starts(hyper, starts, generator),
        max_iterations=max_iterations,
        tolerance=_TOLERANCE,
        inverse_hessian=inverse_hessian,
        visible=visible,
        warn=warn,
    )


def mode_of(prior: LatentPrior, data: LabeledRows) -> LaplaceFit:
    """Laplace's approximation at the hyperparameters as they are."""
    exact = data.double()
    with torch.no_grad():
        return find_mode(prior.covariance(exact.x), exact, prior.offset.constant.detach())


def _starts(hyper: Hyperparameters, count: int, generator: torch.Generator) -> list[Tensor]:
    """Within a factor of seven of where they are, each number by itself."""
    here = hyper.vector()
    draws = torch.rand(count, len(here), generator=generator, dtype=torch.float64)
    return list(here + 4 * (draws - 0.5))


def latent_bounds(x_scale: Tensor) -> Bounds:
    """Those of regression, but latent functions have no units: log-odds from 0.01 to 1000."""
    usual = relative_bounds(x_scale, 1.0)

    def bounds(name: str, value: Tensor) -> tuple[Tensor, Tensor]:
        if name.rsplit(".", 1)[-1] == "outputscale":
            return torch.full_like(value, 1e-4), torch.full_like(value, 1e6)
        return usual(name, value)

    return bounds
