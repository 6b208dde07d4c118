"""From checked data to a posterior: what `GPRegressor.fit` does, step by step."""

import time
from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from typing import Any

import gpytorch
import torch
from torch import Tensor

from kernelgp.errors import ArgumentError, ArgumentTypeError
from kernelgp.estimators.base import Training, as_kernel, check_choice, rescaled_start
from kernelgp.estimators.fitted import FitReport, Fitted
from kernelgp.estimators.regression_problem import Noise, Problem, Settings
from kernelgp.gp.choose import LARGEST_DENSE, structure_of
from kernelgp.gp.dense import DenseFactor
from kernelgp.gp.fitting import best_start, maximise_evidence
from kernelgp.gp.hyperparameters import Hyperparameters, relative_bounds
from kernelgp.gp.optimize import OptimizeReport
from kernelgp.gp.regression import NoiseVariance, Posterior, Regression
from kernelgp.gp.structured import separable_default
from kernelgp.kernels import SumKernel, White

__all__ = [
    "add_rows",
    "condition_again",
    "fit_regression",
    "hyperparameters",
    "read_likelihood",
    "total_evidence",
]

# Where the search starts, as a share of the variance of the targets.
_STARTING_NOISE = 0.1
# In log units: of an exact evidence, and of one that random probes estimate.
_TOLERANCE, _ESTIMATED_TOLERANCE = 1e-5, 1e-1
_TRIAL_ROWS = 400
# Of the variance of the targets: less noise than this is searched for on a linear scale.
_NOISE_SHIFT = 1e-3


def fit_regression(settings: Settings, data: Training) -> Fitted:
    """Choose a structure, find hyperparameters, condition on the data."""
    begun = time.perf_counter()
    problem = Problem.of(data, settings)
    candidates, noise = starting_points(settings, problem)
    seed = int(torch.randint(2**31, (1,), generator=settings.generator).item())

    def evidence(kernel: Any, rows: Tensor | None) -> Callable[[], Tensor]:
        models = problem.regressions(kernel, noise, settings, seed, rows)
        return lambda: total_evidence(models, kernel, noise)

    kernel, notes, found = candidates[0], [], None
    if settings.learns:
        n = len(data.x)
        rows = torch.randperm(n, generator=settings.generator)[:_TRIAL_ROWS].sort().values
        kernel = best_start(candidates, lambda k: evidence(k, rows)().item())
        parameters = hyperparameters(kernel, noise, problem)
        if bool(problem.scales.constant.all()):
            notes.append("the targets are constant: hyperparameters are those it started from")
        elif len(parameters):
            models = problem.regressions(kernel, noise, settings, seed)
            estimated = any(model.covariance.method == "iterative" for model in models)
            found = maximise_evidence(
                parameters,
                lambda rows: evidence(kernel, rows),
                n,
                n_restarts=settings.n_restarts,
                max_iterations=settings.max_iterations,
                generator=settings.generator,
                visible=settings.visible,
                tolerance=_ESTIMATED_TOLERANCE if estimated else _TOLERANCE,
            )
    return condition(settings, problem, kernel, noise, seed, found, tuple(notes), begun)


def condition(
    settings: Settings,
    problem: Problem,
    kernel: Any,
    noise: Noise,
    seed: int,
    found: OptimizeReport | None,
    notes: tuple[str, ...],
    begun: float,
) -> Fitted:
    """The posterior at hyperparameters that are settled, and the report."""
    models = problem.regressions(kernel, noise, settings, seed)
    posteriors = [Posterior(model, kernel, model.own(noise.value())) for model in models]
    for posterior in posteriors:
        if isinstance(posterior.factor, DenseFactor):
            posterior.factor.found.warn(", relative to the variance of y", stacklevel=5)
    error = 0.0
    if any(model.covariance.method == "iterative" for model in models):
        with torch.no_grad():
            value = total_evidence(models, kernel, noise).item()
        error = max(model.covariance.standard_error for model in models)
    else:
        value = sum(posterior.log_evidence() for posterior in posteriors)
    factors = [posterior.factor for posterior in posteriors]
    report = FitReport(
        method=models[0].covariance.method,
        n_rows=len(problem.data.x),
        n_outputs=problem.y.shape[-1],
        n_missing=int(problem.y.isnan().sum()),
        seconds=time.perf_counter() - begun,
        optimizer=found,
        log_marginal_likelihood=value,
        standard_error=error,
        jitter=max(factor.jitter for factor in factors),
        iterations=max(factor.iterations for factor in factors),
        residual=max(factor.residual for factor in factors),
        notes=notes,
    )
    return Fitted(kernel, noise, problem, posteriors, report, seed)


def condition_again(
    settings: Settings,
    kernel: Any,
    noise: Noise,
    problem: Problem,
    report: FitReport,
    seed: int,
) -> Fitted:
    """The posterior of a fit whose report is known: the same numbers again."""
    models = problem.regressions(kernel, noise, settings, seed)
    posteriors = [Posterior(model, kernel, model.own(noise.value())) for model in models]
    return Fitted(kernel, noise, problem, posteriors, report, seed)


def total_evidence(models: list[Regression], kernel: Any, noise: Noise) -> Tensor:
    """The log evidence of all groups, with a graph."""
    value = noise.value()
    return torch.stack([model.log_evidence(kernel, model.own(value)) for model in models]).sum()


def hyperparameters(kernel: Any, noise: Noise, problem: Problem) -> Hyperparameters:
    """Those of kernel and noise, bounded relative to the data."""
    modules = {"": kernel} if noise.module is None else {"": kernel, "likelihood": noise.module}
    bounds = relative_bounds(problem.scales.x_scale.cpu(), problem.unit**0.5)
    return Hyperparameters(modules, bounds, noise_shift=_NOISE_SHIFT * problem.unit)


def starting_points(settings: Settings, problem: Problem) -> tuple[list[Any], Noise]:
    """Kernels to start from, the likeliest first, and the noise."""
    x_scale, amplitude = problem.scales.x_scale.cpu(), problem.unit**0.5
    kernel = settings.kernel
    if kernel is None and structure_of(problem.data.x, settings.method) == "kronecker":
        base = separable_default(x_scale)
    else:
        base = as_kernel(kernel, x_scale)
    white = None
    if settings.noise is None and settings.likelihood is None:
        base, white = _without_white(base)
    noise = _starting_noise(settings, white, amplitude)
    if not settings.learns:
        return [base], noise
    if kernel is None:
        return [rescaled_start(base, torch.ones_like(x_scale), amplitude)], noise
    scaled = rescaled_start(base, x_scale, amplitude)
    partly = rescaled_start(base, torch.ones_like(x_scale), amplitude)
    return [scaled, partly, base], noise


def _without_white(kernel: Any) -> tuple[Any, Any]:
    """A kernel whose white noise is taken for the noise, and that noise; None if it has none."""
    if not isinstance(kernel, SumKernel):
        return kernel, None
    white = [part for part in kernel.parts if isinstance(part, White)]
    rest = [part for part in kernel.parts if not isinstance(part, White)]
    if len(white) != 1 or not rest:
        return kernel, None
    return (SumKernel(*rest) if len(rest) > 1 else rest[0]), white[0]


def _starting_noise(settings: Settings, white: Any, amplitude: float) -> Noise:
    if settings.likelihood is not None:
        return Noise(settings.likelihood, None)
    if settings.noise is not None:
        return Noise(None, settings.noise)
    if settings.learns:
        share = _STARTING_NOISE if white is None else white.noise.item()
        return Noise(NoiseVariance(share * amplitude**2), None)
    if white is None:
        remedy = "give its variance, or add White(noise) to the kernel"
        raise ArgumentError("noise", '"learn" without an optimizer', remedy)
    return Noise(None, white.noise.detach().double().cpu())


def read_likelihood(likelihood: Any) -> tuple[Any, Tensor | None]:
    """A gpytorch likelihood to learn the noise of, or fixed variances; (None, None) for "gaussian".

    Raises
    ------
    ArgumentError, ArgumentTypeError
        If it is another likelihood.
    """
    if isinstance(likelihood, str):
        check_choice("likelihood", likelihood, ["gaussian"])
        return None, None
    given = gpytorch.likelihoods
    if isinstance(likelihood, given.FixedNoiseGaussianLikelihood):
        return None, likelihood.noise.detach().double().cpu()
    if type(likelihood) is given.GaussianLikelihood:
        return deepcopy(likelihood).double(), None
    remedy = 'give "gaussian" or one of gpytorch\'s Gaussian likelihoods'
    raise ArgumentTypeError("likelihood", type(likelihood).__name__, remedy)


def add_rows(fitted: Fitted, new: Training, settings: Settings) -> Fitted:
    """The posterior of more rows, at the same hyperparameters and scales."""
    begun, old = time.perf_counter(), fitted.problem
    weights = None
    if old.data.weights is not None or new.weights is not None:
        one, two = (
            torch.ones(len(d.x)).to(old.y) if d.weights is None else d.weights
            for d in (old.data, new)
        )
        weights = torch.cat([one, two.to(one)])
    data = Training(
        torch.cat([old.data.x, new.x]), torch.cat([old.data.y, new.y]), weights, new.kept
    )
    problem = old.extended(data)
    if not _can_extend(fitted, problem):
        return condition(
            settings, problem, fitted.kernel, fitted.noise, fitted.seed, None, (), begun
        )
    (model,) = problem.regressions(fitted.kernel, fitted.noise, settings, fitted.seed)
    noise = fitted.noise.value().detach()
    row_noise = model.row_noise(noise)
    fresh = row_noise if row_noise.dim() == 0 else row_noise[len(old.data.x) :]
    posterior = fitted.posteriors[0].extended(model, fresh)
    report = replace(
        fitted.report,
        n_rows=len(data.x),
        seconds=time.perf_counter() - begun,
        log_marginal_likelihood=posterior.log_evidence(),
        jitter=posterior.factor.jitter,
    )
    return Fitted(fitted.kernel, fitted.noise, problem, [posterior], report, fitted.seed)


def _can_extend(fitted: Fitted, problem: Problem) -> bool:
    dense = isinstance(fitted.posteriors[0].factor, DenseFactor)
    complete = len(problem.groups) == 1 and len(fitted.problem.groups) == 1
    return dense and complete and len(problem.data.x) <= LARGEST_DENSE
