"""gpytorch's ExactGP at its default settings, on its own operators and on ours."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import gpytorch
import torch
from linear_operator import settings
from torch import Tensor

from experiments.harness import Method, Task
from kernelgp.kernels import RBF

__all__ = ["gaussian_process_tasks"]

LENGTHSCALE, NOISE, D = 0.35, 0.01, 4
OURS = "gpytorch on kernelgp, float32"


@dataclass(frozen=True, slots=True)
class Regression:
    """Smooth function and noise in four dimensions, with the exact answers in float64."""

    x: Tensor
    y: Tensor
    x_new: Tensor
    evidence: float
    gradient: Tensor
    variance: Tensor


def gaussian_process_tasks(*, quick: bool) -> list[Task]:
    n = 1500 if quick else 5000
    make = partial(_make, n=n)
    variants = {
        OURS: (torch.float32, _ours),
        "gpytorch, float32": (torch.float32, _theirs),
        "gpytorch by Cholesky, float32": (torch.float32, _theirs),
    }
    tasks = []
    for name, run, score in (
        ("evidence and gradient", _evidence, _score_evidence),
        ("predictive variances", _predict, _score_variance),
    ):
        methods = [
            Method(method, partial(_prepare, run, dtype, kernel, by_cholesky="Cholesky" in method))
            for method, (dtype, kernel) in variants.items()
        ]
        params = {"n": n, "d": D, "new points": 200}
        tasks.append(Task(f"ExactGP, {name}", make, score, methods, params, repeats=2))
    return tasks


def _make(seed: int, n: int) -> Regression:
    generator = torch.Generator().manual_seed(seed)
    x = torch.rand(n + 200, D, generator=generator, dtype=torch.float64)
    y = torch.sin(6 * x).sum(dim=-1) / 2
    y = y + NOISE**0.5 * torch.randn(len(y), generator=generator, dtype=torch.float64)
    return Regression(x[:n], y[:n], x[n:], *_exact(x[:n], y[:n], x[n:]))


def _exact(x: Tensor, y: Tensor, x_new: Tensor) -> tuple[float, Tensor, Tensor]:
    """Evidence per point, its gradient by the three logarithms, and variances, by Cholesky."""
    s = (torch.cdist(x, x) / LENGTHSCALE).square()
    kernel = torch.exp(-s / 2)
    root = torch.linalg.cholesky(kernel + NOISE * torch.eye(len(x), dtype=x.dtype))
    solved = torch.cholesky_solve(y.unsqueeze(-1), root).squeeze(-1)
    evidence = -(y @ solved) / 2 - root.diagonal().log().sum() - len(x) * math.log(2 * math.pi) / 2
    weights = solved.outer(solved) - torch.cholesky_inverse(root)
    by = [(weights * s * kernel).sum(), (weights * kernel).sum(), NOISE * weights.trace()]
    cross = torch.exp(-(torch.cdist(x, x_new) / LENGTHSCALE).square() / 2)
    white = torch.linalg.solve_triangular(root, cross, upper=False)
    gradient = torch.stack(by) / 2 / len(x)
    return (evidence / len(x)).item(), gradient, 1 - white.square().sum(dim=0)


class _Model(gpytorch.models.ExactGP):
    def __init__(self, x: Tensor, y: Tensor, likelihood: Any, kernel: Any) -> None:
        super().__init__(x, y, likelihood)
        self.mean_module, self.covar_module = gpytorch.means.ZeroMean(), kernel

    def forward(self, x: Tensor) -> Any:
        mean: Any = self.mean_module(x)
        return gpytorch.distributions.MultivariateNormal(mean, self.covar_module(x))


def _ours() -> Any:
    return 1.0 * RBF(lengthscale=LENGTHSCALE)


def _theirs() -> Any:
    kernel: Any = gpytorch.kernels.ScaleKernel(gpytorch.kernels.RBFKernel())
    kernel.outputscale, kernel.base_kernel.lengthscale = 1.0, LENGTHSCALE
    return kernel


def _prepare(
    run: Callable[[Any, Regression], Any],
    dtype: torch.dtype,
    kernel: Callable[[], Any],
    data: Regression,
    *,
    by_cholesky: bool,
) -> Callable[[], Any]:
    def once() -> Any:
        likelihood: Any = gpytorch.likelihoods.GaussianLikelihood().to(dtype)
        likelihood.noise = NOISE
        model = _Model(data.x.to(dtype), data.y.to(dtype), likelihood, kernel())
        size = 10**9 if by_cholesky else settings.max_cholesky_size.value()
        with settings.max_cholesky_size(size):
            return run(model, data)

    return once


def _evidence(model: Any, _data: Regression) -> tuple[float, Tensor]:
    model.train()
    mll = gpytorch.mlls.ExactMarginalLogLikelihood(model.likelihood, model)
    x, y = model.train_inputs[0], model.train_targets
    value: Any = mll(model(x), y)
    kernel, noise = model.covar_module, model.likelihood.raw_noise
    raws = [kernel.base_kernel.raw_lengthscale, kernel.raw_outputscale, noise]
    grads = [grad.sum().double() for grad in torch.autograd.grad(value, raws)]
    # Ours are held as logarithms, gpytorch's behind a softplus: d/dlog = value / sigmoid d/draw.
    values = [torch.as_tensor(LENGTHSCALE), torch.as_tensor(1.0), torch.as_tensor(NOISE)]
    softplus = [isinstance(kernel, gpytorch.kernels.ScaleKernel)] * 2 + [True]
    chain = [
        value / torch.sigmoid(raw.detach().sum()) if soft else 1.0
        for value, raw, soft in zip(values, raws, softplus, strict=True)
    ]
    return value.item(), torch.stack([g * c for g, c in zip(grads, chain, strict=True)]).double()


def _score_evidence(data: Regression, found: tuple[float, Tensor]) -> dict[str, float]:
    value, gradient = found
    return {
        "MLL/n off by": abs(value - data.evidence),
        "gradient off by": (gradient - data.gradient).abs().max().item(),
    }


def _predict(model: Any, data: Regression) -> Tensor:
    model.eval()
    with torch.no_grad():
        return model(data.x_new.to(model.train_inputs[0].dtype)).variance.double()


def _score_variance(data: Regression, variance: Tensor) -> dict[str, float]:
    error = (variance - data.variance) / data.variance
    return {"variance off by": error.abs().max().item(), "smallest": variance.min().item()}
