"""L-BFGS in rounds, between which the Hessian is measured: for objectives that are cheap.

A composite kernel has a period whose logarithm is known to 1e-4 beside a variance whose logarithm
nobody can tell within 1: L-BFGS crawls, and ends where two steps in turn gain nothing (CO2 at
Mauna Loa, 401 rows: 1.4 nats too early, or 350 iterations). As many gradients as there are
parameters give the Hessian; with it steps are Newton's again, and an end is one.
"""

import time
from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from kernelgp.gp.lbfgs import Objective, OptimizeReport, Step, curvature, minimize

__all__ = ["minimize_in_rounds"]

# A search that ends sooner has met nothing stiff; of one that takes longer the Hessian pays
# (0.5 to 1.8 times the evaluations on tables of 300 to 500 rows, a quarter of them for CO2).
_ROUND = 25
# One that ends so soon after the Hessian was measured has ended at a minimum.
_CONFIRMED = 5


def minimize_in_rounds(
    objective: Objective,
    start: Tensor,
    *,
    lower: Tensor,
    upper: Tensor,
    max_iterations: int,
    tolerance: float,
    callback: Callable[[Step], None] | None = None,
) -> OptimizeReport:
    """Minimise as `minimize` does; every round but the first begins with a measured Hessian.

    The counts of the report are those of all rounds, gradients of the Hessians included.
    """
    begun = time.perf_counter()
    history: list[Step] = []
    evaluations, inverse_hessian, before = 0, None, float("inf")

    def keep(step: Step) -> None:
        seconds = time.perf_counter() - begun
        history.append(replace(step, iteration=len(history) + 1, seconds=seconds))
        if callback is not None:
            callback(history[-1])

    while True:
        found = minimize(
            objective,
            start,
            lower=lower,
            upper=upper,
            max_iterations=min(_ROUND, max_iterations - len(history)),
            tolerance=tolerance,
            inverse_hessian=inverse_hessian,
            callback=keep,
        )
        soon = found.iterations <= _CONFIRMED or (not evaluations and found.iterations < _ROUND)
        ended = (found.converged and soon) or before - found.objective <= tolerance
        evaluations += found.evaluations
        if ended or found.interrupted or len(history) >= max_iterations:
            break
        before = found.objective
        start = found.vector
        try:
            inverse_hessian = torch.linalg.inv(curvature(objective, start))
        except KeyboardInterrupt:
            found = replace(found, interrupted=True)
            break
        evaluations += len(start) + 1
    return replace(
        found,
        iterations=len(history),
        evaluations=evaluations,
        seconds=time.perf_counter() - begun,
        history=tuple(history),
    )
