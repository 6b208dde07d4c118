"""From checked data to a posterior: what `GPRegressor.fit` does, step by step."""

import math
import time
from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from typing import Any

import gpytorch
import torch
from torch import Tensor

from kernelgp.errors import ArgumentError, ArgumentTypeError
from kernelgp.estimators.base import (
    Training,
    as_kernel,
    check_choice,
    rescaled_start,
    without_white,
)
from kernelgp.estimators.fitted import FitReport, Fitted
from kernelgp.estimators.regression_problem import Noise, Problem, Settings
from kernelgp.gp.choose import LARGEST_DENSE, structure_of
from kernelgp.gp.coregional import Coregional, OutputNoise
from kernelgp.gp.dense import LARGEST_EXACT_GRADIENT, DenseFactor
from kernelgp.gp.fitting import best_start, maximise_evidence
from kernelgp.gp.gradients import GradientNoise
from kernelgp.gp.hyperparameters import Hyperparameters, relative_bounds
from kernelgp.gp.optimize import OptimizeReport
from kernelgp.gp.regression import NoiseVariance, Posterior, Regression
from kernelgp.gp.structured import separable_default
from kernelgp.gp.student_t import StudentNoise
from kernelgp.gp.vecchia_start import can_start, start_by_vecchia

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
# In log units: of an exact evidence, of one that starts where little is left to find, and of one
# that random probes estimate.
_TOLERANCE, _STARTED_TOLERANCE, _ESTIMATED_TOLERANCE = 1e-5, 1e-3, 1e-1
# For each row, where only the slopes are estimated and an evaluation takes some ten seconds: five
# log units at 10 000 rows, which no prediction feels.
_DEAR_TOLERANCE = 5e-4
# Below this an exact evidence is as cheap as one by Vecchia's approximation.
_SMALLEST_STARTED = 1000
# Neighbors of one fit after another; where an exact evidence is dear, more of them spare some.
_FEW_NEIGHBORS, _MANY_NEIGHBORS = (60,), (30, 60)
_TRIAL_ROWS = 400
# Of the variance of the targets: less noise than this is searched for on a linear scale.
_NOISE_SHIFT = 1e-3


def fit_regression(settings: Settings, data: Training, gradients: Tensor | None = None) -> Fitted:
    """Choose a structure, find hyperparameters, condition on the data."""
    begun = time.perf_counter()
    problem = Problem.of(data, settings, gradients)
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
            begin = _begin(models, kernel, noise, parameters, settings, seed)
            found = maximise_evidence(
                parameters,
                lambda rows: evidence(kernel, rows),
                n,
                n_restarts=settings.n_restarts,
                max_iterations=settings.max_iterations,
                generator=settings.generator,
                visible=settings.visible,
                begin=begin,
                tolerance=_tolerance(models, started=begin is not None),
                judge=_is_dear(models[0]),
            )
            if irrelevant := parameters.irrelevant():
                notes.append(f"inputs that hardly matter: {', '.join(irrelevant)}")
    return condition(settings, problem, kernel, noise, seed, found, tuple(notes), begun)


def _tolerance(models: list[Regression], *, started: bool) -> float:
    """What a step of the search must gain, by how well the evidence and its slopes are known."""
    if any(model.covariance.method in ("iterative", "vecchia") for model in models):
        return _ESTIMATED_TOLERANCE
    if any(_is_dear(model) for model in models):
        return _DEAR_TOLERANCE * max(len(model.y) for model in models)
    return _STARTED_TOLERANCE if started else _TOLERANCE


def _is_dear(model: Regression) -> bool:
    """Whether an evidence is exact, but its slopes are estimated."""
    return model.covariance.method == "cholesky" and len(model.y) > LARGEST_EXACT_GRADIENT


def _begin(
    models: list[Regression],
    kernel: Any,
    noise: Noise,
    parameters: Hyperparameters,
    settings: Settings,
    seed: int,
) -> Callable[[], Tensor | None] | None:
    """How Vecchia's approximation gives the start; None where it does not."""
    (model, *others) = models
    plain = type(model) is Regression and not others and model.y.shape[-1] == 1
    known = noise.module is None or isinstance(noise.module, NoiseVariance)
    if not (plain and known and len(model.y) >= _SMALLEST_STARTED and can_start(kernel)):
        return None
    if model.covariance.method not in ("cholesky", "iterative", "vecchia"):
        return None
    dear = _is_dear(model)
    return lambda: start_by_vecchia(
        model,
        kernel,
        model.own(noise.value().detach()),
        noise.module,
        parameters,
        n_neighbors=_MANY_NEIGHBORS if dear else _FEW_NEIGHBORS,
        n_restarts=settings.n_restarts,
        least_gain=1.0 if dear else 0.1,
        seed=seed,
        visible=settings.visible,
    )


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
    posteriors = [model.posterior(kernel, model.own(noise.value())) for model in models]
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
        # Half the determinant of every output that shares it.
        errors = [p.factor.logdet_error * p.regression.y.shape[-1] / 2 for p in posteriors]
        error = math.hypot(*errors)
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
        notes=(*notes, *_approximations(models[0], found)),
    )
    return Fitted(kernel, noise, problem, posteriors, report, seed)


def _approximations(model: Regression, found: OptimizeReport | None) -> list[str]:
    """What is not exact about an answer, in words."""
    if model.covariance.method == "vecchia":
        return [
            "the likelihood is Vecchia's: rows are given rows near them, and so are predictions"
        ]
    if found is not None and _is_dear(model):
        least = f"{found.tolerance:.2g} log units"
        return [f"the search ended where a step promised less than {least}; the posterior is exact"]
    return []


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
    posteriors = [model.posterior(kernel, model.own(noise.value())) for model in models]
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
        base, white = without_white(base)
    noise = _starting_noise(settings, white, problem)
    candidates = [base]
    if settings.learns:
        candidates = [rescaled_start(base, torch.ones_like(x_scale), amplitude)]
        if kernel is not None:
            candidates = [rescaled_start(base, x_scale, amplitude), *candidates, base]
    if noise.per_output:
        candidates = [Coregional(each, problem.y.shape[-1]) for each in candidates]
    return candidates, noise


def _starting_noise(settings: Settings, white: Any, problem: Problem) -> Noise:
    unit, k = problem.unit, problem.y.shape[-1]
    share = _STARTING_NOISE if white is None else white.noise.item()
    if settings.noise is None and not settings.learns and settings.likelihood is None:
        if white is None:
            remedy = "give its variance, or add White(noise) to the kernel"
            raise ArgumentError("noise", '"learn" without an optimizer', remedy)
        settings = replace(settings, noise=white.noise.detach().double().cpu())
    given = settings.noise
    if settings.outputs == "correlated" and k > 1:
        _refuse("outputs", "correlated", settings, problem)
        if given is not None:
            return Noise(None, (given / problem.scales.y_scale.square().cpu()), per_output=True)
        start = torch.full((k,), share, dtype=torch.float64)
        return Noise(OutputNoise(start), None, per_output=True)
    if problem.gradients is not None:
        _refuse("gradients", "given", settings, problem)
        module = GradientNoise(
            share * unit if given is None else given.item(),
            _gradient_start(settings, problem, share * unit),
        )
        learned = {"raw_noise": given, "raw_gradient_noise": settings.gradient_noise}
        for name, raw in module.named_parameters():
            raw.requires_grad = learned[name] is None
        return Noise(module, None)
    if isinstance(settings.likelihood, float):
        _refuse("likelihood", "student_t", settings, problem)
        variance = share * unit if given is None else given.item()
        nu = settings.likelihood
        module = StudentNoise(variance * (nu - 2) / nu, nu)
        for raw in module.parameters():
            raw.requires_grad = given is None
        return Noise(module, None)
    if settings.likelihood is not None:
        return Noise(settings.likelihood, None)
    if given is not None:
        return Noise(None, given)
    return Noise(NoiseVariance(share * unit), None)


def _gradient_start(settings: Settings, problem: Problem, default: float) -> float:
    """Per standard deviation of the inputs; a variance given is that of the first column."""
    if settings.gradient_noise is None:
        return default
    typical = problem.scales.x_scale.double().log().mean().exp().item()
    return max(settings.gradient_noise.item() * typical**2, 1e-300)


def _refuse(name: str, what: str, settings: Settings, problem: Problem) -> None:
    """What cannot be combined with observations that are no plain rows."""
    if name != "outputs" and problem.y.shape[-1] > 1:
        raise ArgumentError(name, f"{what} with several outputs", "fit one output at a time")
    if settings.noise is not None and settings.noise.dim():
        raise ArgumentError("noise", f"one per row with {name} {what}", "give one variance")
    if problem.data.weights is not None and name != "likelihood":
        raise ArgumentError("sample_weight", f"weights with {name} {what}", "leave them out")
    if settings.method not in ("auto", "cholesky") and name != "outputs":
        remedy = 'give "auto" or "cholesky"'
        raise ArgumentError("method", f'"{settings.method}" with {name} {what}', remedy)


def read_likelihood(likelihood: Any) -> tuple[Any, Tensor | None]:
    """What to learn of a likelihood, and its fixed variances.

    The first is None for "gaussian", a gpytorch likelihood, or the degrees of freedom from which
    those of Student's t are learned.

    Raises
    ------
    ArgumentError, ArgumentTypeError
        If it is another likelihood.
    """
    if isinstance(likelihood, str):
        check_choice("likelihood", likelihood, ["gaussian", "student_t"])
        return (None if likelihood == "gaussian" else 4.0), None
    given = gpytorch.likelihoods
    if isinstance(likelihood, given.FixedNoiseGaussianLikelihood):
        return None, likelihood.noise.detach().double().cpu()
    if type(likelihood) is given.GaussianLikelihood:
        return deepcopy(likelihood).double(), None
    if type(likelihood) is given.StudentTLikelihood:
        return max(float(likelihood.deg_free.detach().mean()), 2.1), None
    remedy = 'give "gaussian", "student_t", or a Gaussian or Student-t likelihood of gpytorch'
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
    dense = type(fitted.posteriors[0]) is Posterior
    dense = dense and isinstance(fitted.posteriors[0].factor, DenseFactor)
    complete = len(problem.groups) == 1 and len(fitted.problem.groups) == 1
    return dense and complete and len(problem.data.x) <= LARGEST_DENSE
