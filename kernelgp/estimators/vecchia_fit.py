"""Hyperparameters of a Gaussian response by Vecchia's likelihood, for any kernel."""

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from kernelgp.errors import ArgumentError, ConvergenceWarning, JitterWarning
from kernelgp.estimators.base import rescaled_start
from kernelgp.gp.fitting import best_start, maximise_evidence
from kernelgp.gp.hyperparameters import Hyperparameters, relative_bounds
from kernelgp.gp.regression import NoiseVariance
from kernelgp.progress import progress_bar
from kernelgp.vecchia.fit import first_guess, fit_vecchia
from kernelgp.vecchia.likelihood import Evaluation, Parameters, Responses, evaluate
from kernelgp.vecchia.merging import merge_rows
from kernelgp.vecchia.neighbors import nearest_previous
from kernelgp.vecchia.response_evidence import ResponseEvidence, metric_of
from kernelgp.vecchia.stationary import Stationary, read_stationary

__all__ = ["Found", "Search", "VecchiaReport", "find_responses"]

Array = NDArray[np.float64]

# Of the variance of the targets: where the search starts, and what a noise of none becomes.
_STARTING_NOISE, _NO_NOISE = 0.1, 1e-10
# Rows and neighbors on which starts are compared.
_TRIAL_ROWS, _TRIAL_NEIGHBORS = 1500, 15
_NOISE_SHIFT, _TOLERANCE, _MOST_ITERATIONS = 1e-3, 1e-2, 100
# Log units that a search may leave without a word: a slow drift of scales that hardly matter.
_WORTH_A_WARNING = 1.0
# Neighbors of a kernel of another kind are looked for again where its metric moved by this factor.
_MOVED = 1.3


@dataclass(frozen=True, slots=True, eq=False)
class VecchiaReport:
    """What a fit did.

    Attributes
    ----------
    level
        "response" or "latent": what was approximated.
    n_rows, n_merged, n_missing
        Rows that were used, those of them merged into others at the same place, and those left
        out since their target was missing.
    n_neighbors, n_neighbors_predict
    seconds
    evaluations
        Of the likelihood on all rows.
    converged
    at_bound : tuple of str
        Hyperparameters that ended at a bound.
    log_marginal_likelihood
        Of the targets as given.
    notes : tuple of str
        What is worth knowing besides.
    """

    level: str
    n_rows: int
    n_merged: int
    n_missing: int
    n_neighbors: int
    n_neighbors_predict: int
    seconds: float
    evaluations: int
    converged: bool
    at_bound: tuple[str, ...]
    log_marginal_likelihood: float
    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        lines = [
            f"vecchia, {self.level}: {self.n_rows} rows ({self.n_merged} merged), "
            f"{self.n_neighbors} neighbors, {self.seconds:.2f} s, {self.evaluations} evaluations, "
            f"log marginal likelihood {self.log_marginal_likelihood:.6g}",
            *([f"at a bound: {', '.join(self.at_bound)}"] if self.at_bound else []),
            *self.notes,
        ]
        return "\n".join(lines)


@dataclass(frozen=True, slots=True, eq=False)
class Search:
    """What hyperparameters are looked for with.

    Attributes
    ----------
    kernel
        Where it starts, in the user's units.
    is_default
        Whether the user gave none.
    white : float or None
        The variance of white noise that was part of the kernel given.
    x_scale : (d,)
        What a kernel given as for standardised data is stretched by.
    y_scale
    noise : float or None
        Where it is known.
    groups : (d,) int64 or None
    learns
    n_neighbors
    seed
    visible
    """

    kernel: Any
    is_default: bool
    white: float | None
    x_scale: Array
    y_scale: float
    noise: float | None
    groups: NDArray[np.int64] | None
    learns: bool
    n_neighbors: int
    seed: int
    visible: bool | None


@dataclass(frozen=True, slots=True, eq=False)
class Found:
    """Hyperparameters, and how they were found.

    Attributes
    ----------
    kernel, noise, coefficients
        Of the targets given, and of the mean's functions.
    metric : (d,)
        What columns are divided by where neighbors are looked for.
    rows : Responses
        Distinct.
    """

    kernel: Any
    noise: float
    coefficients: Array
    metric: Array
    rows: Responses
    log_likelihood: float
    evaluations: int = 0
    converged: bool = True
    at_bound: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def find_responses(
    search: Search, X: Array, y: Array, H: Array, counts: Array, relative: Array
) -> Found:
    """Hyperparameters of most likelihood, or those given.

    Parameters
    ----------
    X : (n, d), y : (n,), H : (n, q), counts : (n,), relative : (n,)
        As for `merge_rows`.
    """
    standard = read_stationary(search.kernel)
    seen = X
    if standard is not None and standard.columns is not None and H.shape[1] <= 1:
        # Rows that differ in no column that is looked at are one.
        seen = np.zeros_like(X)
        seen[:, list(standard.columns)] = X[:, list(standard.columns)]
    rows = merge_rows(seen, y, H, counts, relative)
    if search.noise is not None:
        search = replace(search, noise=max(search.noise, _NO_NOISE * search.y_scale**2))
    learned = all(p.requires_grad for p in search.kernel.parameters())
    priors = any(True for _ in search.kernel.named_priors())
    if standard is not None and (not search.learns or (learned and not priors)):
        return _find_standard(search, standard, rows)
    return _find_any(search, rows)


def _find_standard(search: Search, standard: Stationary, rows: Responses) -> Found:
    """With a kernel that runs compiled, on standardised targets."""
    d, unit = rows.X.shape[1], search.y_scale
    columns = np.arange(d) if standard.columns is None else np.array(standard.columns)
    inner = replace(
        rows,
        X=np.ascontiguousarray(rows.X[:, columns]),
        y=rows.y / unit,
        within=rows.within / unit**2,
    )
    rng = np.random.default_rng(search.seed)
    told: dict[str, Any]
    if search.learns and np.ptp(rows.y) > 0:
        groups = None if search.groups is None else _dense(search.groups[columns])
        now, told = _climb(search, standard, inner, groups, columns, rng)
    else:
        now, told = _evaluate_given(search, standard, inner, rng)
    parameters, lengthscale = now.parameters, now.parameters.lengthscale
    if parameters.groups is not None:
        lengthscale = lengthscale[parameters.groups]
    found = replace(
        standard,
        lengthscale=lengthscale,
        outputscale=now.scale * unit**2,
        alpha=parameters.alpha,
    )
    noise = now.scale * parameters.ratio * unit**2
    value = now.log_likelihood - (len(rows.y) + rows.repeats) * math.log(unit)
    return Found(found.kernel(), noise, now.mean * unit, found.metric(d), rows, value, **told)


def _climb(
    search: Search,
    standard: Stationary,
    rows: Responses,
    groups: NDArray[np.int64] | None,
    columns: NDArray[np.int64],
    rng: np.random.Generator,
) -> tuple[Evaluation, dict[str, Any]]:
    starts = _starts(search, standard, rows, groups)
    start = starts[0] if len(starts) == 1 else _best(starts, rows, rng)
    with progress_bar("fit", visible=search.visible) as bar:
        fit = fit_vecchia(
            rows,
            start,
            n_neighbors=search.n_neighbors,
            rng=rng,
            on_step=lambda now: bar.advance(log_likelihood=now.log_likelihood),
        )
    left = 0.0 if fit.converged else _gain(fit.evaluation)
    if left > _WORTH_A_WARNING:
        warnings.warn(
            f"the fit stopped after {fit.evaluations} evaluations with {left:.2g} log units left "
            "to gain; give the noise, or another kernel.",
            ConvergenceWarning,
            stacklevel=6,
        )
    names = _names(fit.parameters, columns)
    return fit.evaluation, {
        "evaluations": fit.evaluations,
        "converged": left <= _WORTH_A_WARNING,
        "at_bound": tuple(names[i] for i in fit.at_bound),
    }


def _gain(now: Evaluation) -> float:
    """What a step of Fisher scoring promises."""
    ridge = 1e-6 * np.trace(now.information) * np.eye(len(now.gradient))
    step = np.linalg.lstsq(now.information + ridge, now.gradient)[0]
    return float(now.gradient @ step) / 2


def _dense(groups: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.unique(groups, return_inverse=True)[1].astype(np.int64)


def _starts(
    search: Search, standard: Stationary, rows: Responses, groups: NDArray[np.int64] | None
) -> list[Parameters]:
    noise = None if search.noise is None else search.noise / search.y_scale**2
    isotropic = len(standard.lengthscale) == 1 and not search.is_default and groups is None
    guess = first_guess(rows.X, standard.kind, isotropic=isotropic, groups=groups, noise=noise)
    if search.is_default:
        return [guess]
    guess = replace(guess, alpha=standard.alpha)
    if search.white is not None:
        guess = replace(guess, ratio=search.white / standard.outputscale)
    columns = slice(None) if standard.columns is None else list(standard.columns)
    given, scale = standard.lengthscale, search.x_scale[columns]
    given, scale = (_together(a, len(scale), guess) for a in (given, scale))
    return [
        replace(guess, lengthscale=given * scale),
        guess,
        replace(guess, lengthscale=given),
    ]


def _together(values: Array, d: int, like: Parameters) -> Array:
    """One number for each lengthscale, from one or d of them."""
    groups = like.grouped(d)
    logs = np.log(np.broadcast_to(values, (d,)))
    return np.exp(np.bincount(groups, logs) / np.bincount(groups))


def _best(starts: list[Parameters], rows: Responses, rng: np.random.Generator) -> Parameters:
    """The likeliest, on some of the rows."""
    n = len(rows.y)
    sample = rows.ordered(rng.permutation(n)[: min(n, _TRIAL_ROWS)])
    values = []
    for start in starts:
        near = nearest_previous(start.scaled(sample.X), min(_TRIAL_NEIGHBORS, max(n - 1, 1)))
        value = evaluate(sample, near, start, np.zeros(sample.H.shape[1])).log_likelihood
        values.append(value if np.isfinite(value) else -np.inf)
    return starts[int(np.argmax(values))]


def _evaluate_given(
    search: Search, standard: Stationary, rows: Responses, rng: np.random.Generator
) -> tuple[Evaluation, dict[str, Any]]:
    """At the hyperparameters given, with more noise where it takes that."""
    ordered = rows.ordered(rng.permutation(len(rows.y)))
    unit = search.y_scale**2
    scale = standard.outputscale / unit
    noise = search.noise if search.noise is not None else search.white
    noise = _STARTING_NOISE if noise is None else noise / unit
    mean = np.zeros(rows.H.shape[1])
    if len(mean):
        mean = np.linalg.lstsq(rows.H, rows.y)[0].astype(np.float64)
    near = nearest_previous(
        ordered.X / standard.lengthscale, min(search.n_neighbors, max(len(rows.y) - 1, 1))
    )
    for raised in (0.0, 1e-8, 1e-6, 1e-4):
        value = max(noise, _NO_NOISE * scale) + raised * scale
        kind, lengthscale, alpha = standard.kind, standard.lengthscale, standard.alpha
        given = Parameters(kind, lengthscale, value / scale, alpha, value)
        found = evaluate(ordered, near, given, mean)
        if np.isfinite(found.log_likelihood):
            break
    else:
        remedy = "give more noise, or leave out near-duplicate rows"
        raise ArgumentError("noise", f"{noise * unit:.3g}, with which rows are singular", remedy)
    if raised:
        warnings.warn(
            f"the covariance is singular: {raised:.0e} of its variance was added to the noise.",
            JitterWarning,
            stacklevel=6,
        )
    notes = ("the targets are constant: hyperparameters are those it started from",)
    return found, {"notes": notes if search.learns else ()}


def _names(parameters: Parameters, columns: NDArray[np.int64]) -> list[str]:
    count = len(parameters.lengthscale)
    own = ["lengthscale"] if count == 1 else [f"lengthscale of group {i}" for i in range(count)]
    if parameters.groups is None and count > 1:
        own = [f"lengthscale of column {c}" for c in columns]
    return [*own, "noise" if parameters.noise is None else "outputscale", "alpha"]


def _find_any(search: Search, rows: Responses) -> Found:
    """With any kernel, by automatic differentiation."""
    rng, unit = np.random.default_rng(search.seed), search.y_scale**2
    rows = rows.ordered(rng.permutation(len(rows.y)))
    kernel, n = search.kernel, len(rows.y)
    share = _STARTING_NOISE * unit if search.white is None else search.white
    module = NoiseVariance(share)
    fixed = None if search.noise is None else torch.tensor(search.noise, dtype=torch.float64)

    def noise() -> Tensor:
        return module.noise.double().reshape(()) if fixed is None else fixed

    def evidence(kernel: Any, part: Tensor | None, metric: Array) -> Callable[[], Tensor]:
        some = rows if part is None else rows.ordered(part.numpy())
        found = ResponseEvidence.of(some, metric, search.n_neighbors)
        return lambda: found(kernel, noise())

    told: dict[str, Any] = {}
    if search.learns and np.ptp(rows.y) > 0:
        scale = torch.from_numpy(search.x_scale)
        stretches = (scale, torch.ones_like(scale))
        candidates = [rescaled_start(kernel, one, search.y_scale) for one in stretches]
        trial = torch.arange(min(n, _TRIAL_ROWS))
        kernel = best_start(
            candidates, lambda k: evidence(k, trial, metric_of(k, rows.X, rng))().item()
        )
        modules = {"": kernel} if fixed is not None else {"": kernel, "likelihood": module}
        spread = rows.X.std(axis=0)
        bounds = relative_bounds(
            torch.from_numpy(np.where(spread > 0, spread, 1.0)), search.y_scale
        )
        parameters = Hyperparameters(modules, bounds, noise_shift=_NOISE_SHIFT * unit)
        for _ in range(2 if len(parameters) else 0):
            metric = metric_of(kernel, rows.X, rng)
            report = maximise_evidence(
                parameters,
                lambda part, metric=metric: evidence(kernel, part, metric),
                n,
                n_restarts=0,
                max_iterations=_MOST_ITERATIONS,
                generator=torch.Generator().manual_seed(search.seed),
                visible=search.visible,
                tolerance=_TOLERANCE,
            )
            told = {
                "evaluations": report.evaluations,
                "converged": report.converged,
                "at_bound": tuple(report.at_bounds),
            }
            moved = np.abs(np.log(metric_of(kernel, rows.X, rng) / metric)).max()
            if moved < math.log(_MOVED):
                break
    metric = metric_of(kernel, rows.X, rng)
    final = ResponseEvidence.of(rows, metric, search.n_neighbors)
    with torch.no_grad():
        value = final(kernel, noise()).item()
        coefficients = final.coefficients(kernel, noise())
    return Found(kernel, noise().item(), coefficients, metric, rows, value, **told)
