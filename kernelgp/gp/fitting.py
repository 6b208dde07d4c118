"""How hyperparameters are found: from small subsamples to all rows, with what was learned.

A half of the rows costs an eighth of an evaluation. Its optimum starts the search on all rows, and
its Hessian, scaled by the number of rows, makes the first step there one of Newton's; then a
handful of evaluations is enough (kin40k, n = 2 000: 9 where L-BFGS from scratch needs 28).
"""

import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from kernelgp.errors import ArgumentError, JitterWarning
from kernelgp.gp.hyperparameters import Hyperparameters
from kernelgp.gp.optimize import OptimizeReport, as_objective, curvature, learn, tell

__all__ = ["best_start", "levels", "maximise_evidence"]

# Below this the whole is cheap enough, and a part says little.
_SMALLEST_WHOLE = 800
_LARGEST_PART = 2000
# From a warning through this file, the fit and the estimator to the line that called it.
_TO_USER = 5
_PERTURBATION = 1.5  # of the logarithms, in restarts


def levels(n: int) -> list[int]:
    """Sizes of the subsamples, increasing, without n itself."""
    sizes: list[int] = []
    share = 2
    while n > _SMALLEST_WHOLE:
        n = min(math.ceil(n / share), _LARGEST_PART)
        sizes.insert(0, n)
        share = 4
    return sizes


def maximise_evidence(
    parameters: Hyperparameters,
    evidence: Callable[[Tensor | None], Callable[[], Tensor]],
    n: int,
    *,
    n_restarts: int,
    max_iterations: int,
    generator: torch.Generator,
    visible: bool | None,
    tolerance: float,
) -> OptimizeReport:
    """Leave in the modules what maximises the log evidence plus the log priors.

    Parameters
    ----------
    parameters
    evidence
        From the index of some rows, or None for all, to a function of the modules as they are.
    n
        Number of rows.
    n_restarts
        Random starts besides the present one, on the smallest subsample if there is one.
    tolerance
        In log units; of all rows.

    Returns
    -------
    OptimizeReport
        Of all rows; seconds are those of the whole search, evaluations those of all rows.
    """
    start = parameters.vector()
    starts = [
        start + _PERTURBATION * torch.randn(len(start), generator=generator, dtype=torch.float64)
        for _ in range(n_restarts)
    ]
    inverse_hessian, previous, seconds = None, 0, 0.0
    order = torch.randperm(n, generator=generator)
    for size in levels(n):
        log_evidence = evidence(order[:size].sort().values)
        loss = _negative(log_evidence)
        known = None if inverse_hessian is None else inverse_hessian * (previous / size)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", JitterWarning)
            found = learn(
                parameters,
                loss,
                starts=starts,
                max_iterations=max_iterations,
                tolerance=1e-2,
                inverse_hessian=known,
                in_rounds=True,
                description=f"fit {size} of {n}",
                visible=visible,
                warn=False,
            )
        seconds += found.seconds
        if found.interrupted:
            tell(found, stacklevel=_TO_USER)
            return found
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", JitterWarning)
            hessian = curvature(as_objective(parameters, loss), found.vector)
        parameters.assign(found.vector)
        inverse_hessian, previous, starts = torch.linalg.inv(hessian), size, []
    known = None if inverse_hessian is None else inverse_hessian * (previous / n)
    found = learn(
        parameters,
        _negative(evidence(None)),
        starts=starts,
        max_iterations=max_iterations,
        tolerance=tolerance,
        inverse_hessian=known,
        in_rounds=True,
        description="fit",
        visible=visible,
        warn=False,
    )
    tell(found, stacklevel=_TO_USER)
    return replace(found, seconds=found.seconds + seconds)


def _negative(log_evidence: Callable[[], Tensor]) -> Callable[[], Tensor]:
    return lambda: -log_evidence()


def best_start(candidates: Sequence[Any], log_evidence: Callable[[Any], float]) -> Any:
    """The candidate of the highest evidence; the first where none can be evaluated."""
    best, highest = candidates[0], -math.inf
    for candidate in candidates:
        try:
            with torch.no_grad():
                value = log_evidence(candidate)
        except ArgumentError:
            continue
        if value > highest:
            best, highest = candidate, value
    return best
