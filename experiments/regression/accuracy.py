"""One marginal likelihood with its gradient, and variances, against Cholesky in float64.

RBF of lengthscale 0.35 in four dimensions, noise 0.01: the default of gpytorch is off there by
0.1 nats a row and by a factor in the variances, without a word.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import gpytorch
import numpy as np
import torch
from linear_operator import settings
from torch import Tensor

from experiments.harness import Method, Options, Task
from experiments.regression.tables import OURS
from kernelgp import GPRegressor
from kernelgp.kernels import RBF

__all__ = ["accuracy_tasks"]

LENGTHSCALE, NOISE, D = 0.35, 0.01, 4


@dataclass(frozen=True, slots=True)
class Problem:
    """Rows, and what is exact where it was computed."""

    x: Tensor
    y: Tensor
    x_new: Tensor
    evidence: float
    gradient: np.ndarray
    variance: np.ndarray


def accuracy_tasks(options: Options) -> list[Task]:
    """Evidence with gradient, then prediction of 1 000 variances."""
    tasks = []
    for n in (1_000,) if options.quick else (5_000, 10_000):
        make = partial(_make, n=n)
        for name, ours, theirs, score in (
            ("evidence and gradient", _ours_evidence, _their_evidence, _score_evidence),
            ("predictive variances", _ours_variance, _their_variance, _score_variance),
        ):
            methods = [
                Method(OURS, ours),
                Method("gpytorch by Cholesky, float32", partial(theirs, by_cholesky=True)),
                Method("gpytorch, float32", partial(theirs, by_cholesky=False)),
            ]
            if n > 5_000 and name == "predictive variances":
                continue
            tasks.append(Task(f"RBF d = 4, {name}", make, score, methods, {"n": n}, repeats=1))
    return tasks


def _make(seed: int, n: int) -> Problem:
    generator = torch.Generator().manual_seed(seed)
    x = torch.rand(n + 1000, D, generator=generator, dtype=torch.float64)
    y = torch.sin(6 * x).sum(dim=-1) / 2
    y = y + NOISE**0.5 * torch.randn(len(y), generator=generator, dtype=torch.float64)
    return Problem(x[:n], y[:n], x[n:], *_exact(x[:n], y[:n], x[n:]))


def _exact(x: Tensor, y: Tensor, x_new: Tensor) -> tuple[float, np.ndarray, np.ndarray]:
    s = (torch.cdist(x, x) / LENGTHSCALE).square()
    kernel = torch.exp(-s / 2)
    root = torch.linalg.cholesky(kernel + NOISE * torch.eye(len(x), dtype=x.dtype))
    solved = torch.cholesky_solve(y.unsqueeze(-1), root).squeeze(-1)
    evidence = -(y @ solved) / 2 - root.diagonal().log().sum() - len(x) * math.log(2 * math.pi) / 2
    weights = solved.outer(solved) - torch.cholesky_inverse(root)
    by = [(weights * kernel).sum(), (weights * s * kernel).sum(), NOISE * weights.trace()]
    cross = torch.exp(-(torch.cdist(x, x_new) / LENGTHSCALE).square() / 2)
    white = torch.linalg.solve_triangular(root, cross, upper=False)
    variance = 1 - white.square().sum(dim=0)
    return (evidence / len(x)).item(), torch.stack(by).numpy() / 2 / len(x), variance.numpy()


def _ours(problem: Problem) -> GPRegressor:
    model = GPRegressor(
        1.0 * RBF(LENGTHSCALE), noise=NOISE, method="iterative", optimizer=None, random_state=0
    )
    return model.fit(problem.x.numpy().astype(np.float32), problem.y.numpy())


def _ours_evidence(problem: Problem) -> Callable[[], Any]:
    model = _ours(problem)
    return lambda: model.log_marginal_likelihood(model.theta_, eval_gradient=True)


def _ours_variance(problem: Problem) -> Callable[[], Any]:
    model = _ours(problem)
    return lambda: model.predict(problem.x_new.numpy(), return_std=True, latent=True)[1] ** 2


class _Model(gpytorch.models.ExactGP):
    def __init__(self, problem: Problem, likelihood: Any) -> None:
        super().__init__(problem.x.float(), problem.y.float(), likelihood)
        self.mean_module = gpytorch.means.ZeroMean()
        self.covar_module: Any = gpytorch.kernels.ScaleKernel(gpytorch.kernels.RBFKernel())
        self.covar_module.outputscale = 1.0
        self.covar_module.base_kernel.lengthscale = LENGTHSCALE

    def forward(self, x: Tensor) -> Any:
        mean: Any = self.mean_module(x)
        return gpytorch.distributions.MultivariateNormal(mean, self.covar_module(x))


def _theirs(problem: Problem) -> Any:
    likelihood: Any = gpytorch.likelihoods.GaussianLikelihood()
    likelihood.noise = NOISE
    return _Model(problem, likelihood)


def _size(*, by_cholesky: bool) -> int:
    return 10**9 if by_cholesky else int(settings.max_cholesky_size.value() or 0)


def _their_evidence(problem: Problem, *, by_cholesky: bool) -> Callable[[], Any]:
    def run() -> Any:
        model = _theirs(problem)
        kernel, noise = model.covar_module, model.likelihood.raw_noise
        with settings.max_cholesky_size(_size(by_cholesky=by_cholesky)):
            mll = gpytorch.mlls.ExactMarginalLogLikelihood(model.likelihood, model)
            value: Any = mll(model(model.train_inputs[0]), model.train_targets)
            raws = [kernel.raw_outputscale, kernel.base_kernel.raw_lengthscale, noise]
            grads = torch.autograd.grad(value, raws)
        # By logarithms of the values: d/dlog v = v / sigmoid(raw) d/draw.
        values = (1.0, LENGTHSCALE, NOISE)
        by_log = [
            (v / torch.sigmoid(raw.detach().sum()) * grad.sum()).item()
            for v, raw, grad in zip(values, raws, grads, strict=True)
        ]
        n = len(problem.x)
        return value.item() * n, np.array(by_log) * n

    return run


def _their_variance(problem: Problem, *, by_cholesky: bool) -> Callable[[], Any]:
    def run() -> Any:
        model = _theirs(problem).eval()
        with torch.no_grad(), settings.max_cholesky_size(_size(by_cholesky=by_cholesky)):
            return model(problem.x_new.float()).variance.double().numpy()

    return run


def _score_evidence(problem: Problem, output: Any) -> dict[str, float]:
    value, gradient = output
    n = len(problem.x)
    worst = np.abs(gradient[:2] / n - problem.gradient[:2]).max()
    return {
        "MLL/n off by": abs(value / n - problem.evidence),
        "gradient off by": float(worst),
        "largest of it": float(np.abs(problem.gradient[:2]).max()),
    }


def _score_variance(problem: Problem, variance: np.ndarray) -> dict[str, float]:
    error = np.linalg.norm(variance - problem.variance) / np.linalg.norm(problem.variance)
    return {"variance off by": float(error), "smallest": float(variance.min())}
