"""Hyperparameters of modules, found by L-BFGS: what is learned, shown and told."""

import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor

from kernelgp.errors import ArgumentError, ConvergenceWarning, NotPositiveDefiniteError
from kernelgp.gp.hyperparameters import Hyperparameters
from kernelgp.gp.lbfgs import Objective, OptimizeReport, Step, curvature, minimize
from kernelgp.gp.rounds import minimize_in_rounds
from kernelgp.progress import progress_bar

__all__ = ["OptimizeReport", "Step", "as_objective", "curvature", "learn", "minimize", "tell"]


def learn(
    parameters: Hyperparameters,
    loss: Callable[[], Tensor],
    *,
    starts: Sequence[Tensor] = (),
    max_iterations: int = 200,
    tolerance: float = 1e-6,
    inverse_hessian: Tensor | None = None,
    in_rounds: bool = False,
    description: str = "fit",
    visible: bool | None = None,
    warn: bool = True,
) -> OptimizeReport:
    """Minimise a loss by the hyperparameters of modules, and leave the best in them.

    Parameters
    ----------
    parameters
    loss
        Without arguments, from the modules as they are; gives a scalar with a graph, for
        example minus the log marginal likelihood. Log priors of gpytorch are subtracted here.
    starts : sequence of Tensor (p,)
        Raw vectors to start from besides the present one; the best end is kept.
    max_iterations, tolerance, inverse_hessian
        As for `minimize`; the Hessian serves the present start only.
    in_rounds
        Whether evaluations are so cheap that the Hessian is measured on the way, where none is
        known.
    description, visible
        Of the bar that shows iteration, objective, gradient norm and seconds; None shows it on a
        terminal only.
    warn
        Whether to tell of bounds, of an interruption and of a missing convergence.

    Returns
    -------
    OptimizeReport
        Of the best start; seconds and evaluations are those of all.

    Warns
    -----
    ConvergenceWarning
        If it ended before it converged, was interrupted, or a parameter is at a bound.

    Examples
    --------
    >>> from kernelgp.kernels import RBF
    >>> kernel = RBF(lengthscale=1.0)
    >>> report = learn(
    ...     Hyperparameters({"": kernel}), lambda: (kernel.lengthscale - 3).square().sum()
    ... )
    >>> round(kernel.lengthscale.item(), 3), report.converged
    (3.0, True)
    """
    begun = time.perf_counter()
    objective = as_objective(parameters, loss)
    lower, upper = parameters.limits()
    best: OptimizeReport | None = None
    evaluations = 0
    with progress_bar(description, visible=visible) as bar:

        def show(step: Step) -> None:
            bar.advance(objective=step.objective, gradient=step.gradient_norm)

        for i, start in enumerate((parameters.vector(), *starts)):
            known = inverse_hessian if i == 0 else None
            search = partial(minimize, inverse_hessian=known)
            if in_rounds and known is None:
                search = minimize_in_rounds
            try:
                found = search(
                    objective,
                    start,
                    lower=lower,
                    upper=upper,
                    max_iterations=max_iterations,
                    tolerance=tolerance,
                    callback=show,
                )
            except ArgumentError:
                # Of several starts some may be impossible; the first is the user's own.
                if i == 0:
                    raise
                continue
            evaluations += found.evaluations
            if best is None or found.objective < best.objective:
                best = replace(found, interrupted=False, history=found.history)
            if found.interrupted:
                best = replace(best, interrupted=True)
                break
    assert best is not None
    parameters.assign(best.vector)
    parameters.clear_gradient()
    seconds = time.perf_counter() - begun
    best = replace(best, seconds=seconds, evaluations=evaluations, at_bounds=parameters.at_bounds())
    if warn:
        tell(best, stacklevel=3)
    return best


def as_objective(parameters: Hyperparameters, loss: Callable[[], Tensor]) -> Objective:
    """`loss` minus the log priors as a function of the raw vector, infinite where impossible."""
    has_priors = parameters.has_priors()

    def objective(vector: Tensor) -> tuple[float, Tensor]:
        parameters.assign(vector)
        parameters.clear_gradient()
        try:
            with torch.enable_grad():
                value = loss()
                if has_priors:
                    value = value.double().cpu() - parameters.log_prior()
                value.backward()
        except NotPositiveDefiniteError:
            return float("inf"), torch.zeros_like(vector)
        return value.item(), parameters.gradient()

    return objective


def tell(report: OptimizeReport, *, stacklevel: int) -> None:
    """Warn of what the user should know of: an interruption, no convergence, bounds."""
    if report.interrupted:
        text = f"{report}; the best so far is kept, and a fit with warm_start goes on from it."
        warnings.warn(text, ConvergenceWarning, stacklevel=stacklevel)
    elif not report.converged:
        text = f"{report}; raise max_iterations, or start from other hyperparameters."
        warnings.warn(text, ConvergenceWarning, stacklevel=stacklevel)
    if report.at_bounds:
        text = (
            f"the optimiser ended with {', '.join(report.at_bounds)}; "
            "fix that parameter, or check whether the kernel suits the data."
        )
        warnings.warn(text, ConvergenceWarning, stacklevel=stacklevel)
