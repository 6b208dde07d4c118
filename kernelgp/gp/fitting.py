"""How hyperparameters are found: from small subsamples to all rows, with what was learned.

A half of the rows costs an eighth of an evaluation. Its optimum starts the search on all rows, and
its Hessian, scaled by the number of rows, makes the first step there one of Newton's; then a
handful of evaluations is enough (kin40k, n = 2 000: 9 where L-BFGS from scratch needs 28).
"""

import math
import time
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
# In log units, of a part that only gives a start.
_START_TOLERANCE = 0.5
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
    begin: Callable[[], Tensor | None] | None = None,
    judge: bool = False,
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
    begin : callable, optional
        Takes the place of subsamples and restarts: leaves a good start in the modules and gives
        the inverse Hessian there, or gives None and leaves all as it was.
    judge
        Whether that start has to be likelier than the optimum of a subsample.

    Returns
    -------
    OptimizeReport
        Of all rows; seconds are those of the whole search, evaluations those of all rows.
    """
    begun, start = time.perf_counter(), parameters.vector()
    try:
        found = _search(
            parameters, evidence, n, n_restarts, max_iterations, generator,
            visible=visible, tolerance=tolerance, begin=begin, judge=judge,
        )  # fmt: skip
    except KeyboardInterrupt:
        vector = parameters.vector()
        if torch.equal(vector, start):
            raise  # there is nothing to keep
        parameters.clear_gradient()
        found = OptimizeReport(
            vector, math.nan, math.nan, 0, 0, 0.0, tolerance, math.inf, interrupted=True,
            at_bounds=parameters.at_bounds(),
        )  # fmt: skip
    found = replace(found, seconds=time.perf_counter() - begun)
    tell(found, stacklevel=_TO_USER)
    return found


def _search(
    parameters: Hyperparameters,
    evidence: Callable[[Tensor | None], Callable[[], Tensor]],
    n: int,
    n_restarts: int,
    max_iterations: int,
    generator: torch.Generator,
    *,
    visible: bool | None,
    tolerance: float,
    begin: Callable[[], Tensor | None] | None,
    judge: bool,
) -> OptimizeReport:
    """What `maximise_evidence` does; an interruption leaves a start found so far in the modules."""
    known, starts, interrupted = None if begin is None else begin(), [], None
    if known is None:
        known, starts, interrupted = _from_subsamples(
            parameters, evidence, n, n_restarts, max_iterations, generator, visible=visible
        )
    elif judge:
        known, interrupted = _likelier(
            parameters, evidence, n, known, max_iterations, generator, visible=visible
        )
    if interrupted is not None:
        return interrupted
    return learn(
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


def _likelier(
    parameters: Hyperparameters,
    evidence: Callable[[Tensor | None], Callable[[], Tensor]],
    n: int,
    inverse_hessian: Tensor,
    max_iterations: int,
    generator: torch.Generator,
    *,
    visible: bool | None,
) -> tuple[Tensor, OptimizeReport | None]:
    """The start there is, or the optimum of a subsample that it leads to.

    An approximation may be far from the truth where the data are nearly linear (elevators).
    """
    start = parameters.vector()
    rows = torch.randperm(n, generator=generator)[:_LARGEST_PART].sort().values
    known = inverse_hessian * (n / len(rows))
    found, hessian = _on_part(
        parameters, evidence(rows), known, [], max_iterations, f"fit {len(rows)} of {n}",
        tolerance=_START_TOLERANCE, visible=visible,
    )  # fmt: skip
    if found.interrupted:
        return known, found
    values = []
    for vector in (found.vector, start):
        parameters.assign(vector)
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore", JitterWarning)
            values.append((evidence(None)() + parameters.log_prior()).item())
    if values[1] >= values[0]:
        return inverse_hessian, None
    parameters.assign(found.vector)
    return torch.linalg.inv(hessian) * (len(rows) / n), None


def _on_part(
    parameters: Hyperparameters,
    log_evidence: Callable[[], Tensor],
    known: Tensor | None,
    starts: Sequence[Tensor],
    max_iterations: int,
    description: str,
    *,
    tolerance: float = 1e-2,
    visible: bool | None,
) -> tuple[OptimizeReport, Tensor]:
    """The optimum of some rows, left in the modules, and the Hessian there."""
    loss = _negative(log_evidence)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", JitterWarning)
        found = learn(
            parameters,
            loss,
            starts=starts,
            max_iterations=max_iterations,
            tolerance=tolerance,
            inverse_hessian=known,
            in_rounds=True,
            description=description,
            visible=visible,
            warn=False,
        )
        if found.interrupted:
            return found, torch.eye(len(found.vector), dtype=torch.float64)
        try:
            hessian = curvature(as_objective(parameters, loss), found.vector)
        finally:
            parameters.assign(found.vector)
    return found, hessian


def _from_subsamples(
    parameters: Hyperparameters,
    evidence: Callable[[Tensor | None], Callable[[], Tensor]],
    n: int,
    n_restarts: int,
    max_iterations: int,
    generator: torch.Generator,
    *,
    visible: bool | None,
) -> tuple[Tensor | None, list[Tensor], OptimizeReport | None]:
    """Inverse Hessian for all rows, starts not tried yet, and the report if it was interrupted."""
    start = parameters.vector()
    starts = [
        start + _PERTURBATION * torch.randn(len(start), generator=generator, dtype=torch.float64)
        for _ in range(n_restarts)
    ]
    inverse_hessian, previous = None, 0
    order = torch.randperm(n, generator=generator)
    for size in levels(n):
        known = None if inverse_hessian is None else inverse_hessian * (previous / size)
        found, hessian = _on_part(
            parameters, evidence(order[:size].sort().values), known, starts,
            max_iterations, f"fit {size} of {n}", visible=visible,
        )  # fmt: skip
        if found.interrupted:
            return None, [], found
        inverse_hessian, previous, starts = torch.linalg.inv(hessian), size, []
    known = None if inverse_hessian is None else inverse_hessian * (previous / n)
    return known, starts, None


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
