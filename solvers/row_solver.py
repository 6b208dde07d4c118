"""From a problem to its posterior by rows: what `GPSolver` does where no axis-wise solve exists."""

import time
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from solvers.collocation_posterior import CollocationPosterior
from solvers.journal import SILENT, Journal
from solvers.least_squares import observed_evidence
from solvers.left_sides import held_out_surprise
from solvers.needs import Need
from solvers.problem import Problem
from solvers.report import SolutionReport
from solvers.row_search import RowAttempt, search_rows
from solvers.setting import read_setting

__all__ = ["ROW_NEEDS", "solve_by_rows"]

#: What only rows can take.
ROW_NEEDS = frozenset({Need.OBSERVATIONS, Need.SYSTEM, Need.UNKNOWN, Need.REGION})

Array = NDArray[np.float64]

# Where equations hold to this, what is left is rounding, of which the nugget knows.
_ROUNDING = 1e-11
# Where data are noisy, widths and amplitude are the most likely ones, as if nothing else could be.
# Measured on 48 Poisson problems with two faces known and 200 sensors: two deviations cover 0.91 of
# the errors on average without this factor, 0.96 with it.
_UNKNOWN_WIDTHS = 1.3


def solve_by_rows(
    problem: Problem,
    grid: Sequence[int],
    given: Mapping[str, Sequence[float]],
    *,
    points: Array | None = None,
    seed: int = 0,
    journal: Journal = SILENT,
) -> CollocationPosterior:
    """The posterior of all unknowns of a problem.

    Parameters
    ----------
    problem
    grid
        Sizes along the axes.
    given
        Frequencies of some axes.
    points : ndarray, shape (n, d), optional
        Where equations are held, if not on the grid.
    seed
    journal
        Where steps are recorded.

    Raises
    ------
    ArgumentError
        If a nonlinear problem is not solved.

    Warns
    -----
    ConvergenceWarning, NumericalWarning
    """
    started = time.perf_counter()
    setting = read_setting(problem, grid, given, points)
    best = search_rows(
        setting.problem,
        setting.axes,
        setting.tones,
        places=setting.places,
        held=setting.held,
        seed=seed,
        journal=journal,
    )
    return _posterior(problem, grid, setting.tones, best, seed, started)


def _posterior(
    problem: Problem,
    grid: Sequence[int],
    tones: tuple[list[float], ...],
    best: RowAttempt,
    seed: int,
    started: float,
) -> CollocationPosterior:
    found, collocation = best.found, best.collocation
    fit, space = found.fit, collocation.space
    triangle, floor, surprise = fit.triangle, 0.0, 1.0
    if not problem.observations and best.resolution.worst > _ROUNDING and collocation.on_functions:
        # A solution outside the prior is not found out by its rows: what it leaves between them
        # is held against the deviation claimed for it.
        surprise = held_out_surprise(collocation, found, seed)
        triangle, floor = triangle / surprise, best.resolution.misfit
    if problem.observations:
        triangle = triangle / _UNKNOWN_WIDTHS
    functions = list(problem.functions)
    noise = zip(fit.blocks, fit.noise, strict=True)
    report = SolutionReport(
        method="direct",
        kernel="gaussian",
        grid=tuple(grid),
        rank=tuple(axis.rank for axis in space.bases[functions[0]].axes),
        frequencies={a: np.sort(f) for a, f in zip(problem.axes, tones, strict=True)},
        band=dict(zip(problem.axes, best.band, strict=True)),
        residual=best.resolution.residual,
        boundary_error=best.resolution.boundary_error,
        log_marginal_likelihood=(
            observed_evidence(fit, best.nugget)
            if problem.observations
            else fit.log_marginal_likelihood
        ),
        amplitude=surprise * float(fit.scales[space.slices[functions[0]].start]),
        nugget=best.nugget,
        prior=best.number,
        seconds=time.perf_counter() - started,
        newton_steps=found.steps,
        noise=tuple(sd**2 for block, sd in noise if block.noise is not None),
        unknowns=space.size,
    )
    return CollocationPosterior(
        space,
        functions,
        collocation.intervals,
        found.state,
        fit.scales,
        triangle,
        report,
        floor=floor,
    )
