"""The problems of the gallery, fewer points than Chebyshev can use, and a chirp: the worst case."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from experiments.harness import Method, Options, Task
from experiments.pde.references import reference_tasks
from solvers import Box, ChebyshevSolver, GPSolver, Problem, Solution, gallery

__all__ = ["CHIRP", "CURVES", "OURS", "PEER", "SURFACES", "Case", "tasks"]

OURS, PEER = "kernelgp", "Chebyshev"
CHIRP = "chirp sin(200 x²)"

# Wavelengths of the fastest tone that fit into the domain.
CURVES = {
    "poisson-1d-sin100": 100.0,
    "poisson-1d-sin6cos100": 106.0,
    "poisson-1d-sin500": 250 / math.pi,
}

# Problems in 2-D that are solved on one grid after another.
SURFACES = {
    "poisson-2d-sin100cos100": (40, 50, 60, 80, 120, 160),
    "poisson-2d-sin6cos20": (60, 70, 80, 100, 120, 160),
    "allen-cahn-2d": (40, 50, 60, 80, 120, 160),
}


@dataclass(frozen=True, slots=True)
class Case:
    """One problem on one grid, as every method gets it."""

    problem: Problem
    grid: tuple[int, ...]
    points: np.ndarray
    """Where deviations are compared with errors, shape (m, d)."""


def tasks(options: Options) -> list[Task]:
    """One default configuration of either method on everything."""
    found = list(_gallery(quick=options.quick))
    waves = (2.2, 3.0, 4.5) if options.quick else (2.1, 2.2, 2.5, 3.0, 3.25, 3.5, 4.0, 5.0)
    for name, across in CURVES.items():
        for per_wave in waves:
            grid = (round(per_wave * across),)
            params = {"grid": list(grid), "per_wave": per_wave}
            found.append(_task(name, lambda name=name: gallery[name].problem, grid, params))
    for name, sizes in () if options.quick else SURFACES.items():
        found += [_surface(name, n) for n in sizes]
    for n in (200,) if options.quick else (200, 300, 400):
        found.append(_task(CHIRP, _chirp, (n,), {"grid": [n]}))
        sampled = {"grid": [n], "source": "array"}
        found.append(_task(CHIRP, lambda n=n: _sampled_chirp(n), (n,), sampled, peer=False))
    return [*found, *reference_tasks(options)]


def _gallery(*, quick: bool) -> Iterator[Task]:
    for name in gallery:
        entry = gallery[name]
        needs, dimension = entry.problem.needs, entry.problem.dimension
        if needs <= GPSolver.supported and not (quick and dimension > 1):
            params = {"grid": list(entry.grid)}
            peer = needs <= ChebyshevSolver.supported and dimension <= 2
            yield _task(name, lambda entry=entry: entry.problem, entry.grid, params, peer=peer)


def _surface(name: str, n: int) -> Task:
    problem = gallery[name].problem
    peer = problem.needs <= ChebyshevSolver.supported
    return _task(name, lambda: problem, (n, n), {"grid": [n, n], "per_side": n}, peer=peer)


def _chirp() -> Problem:
    return Problem.from_exact("u_xx = f", Box(x=(0, 1)), "sin(200*x**2)")


def _sampled_chirp(n: int) -> Problem:
    """The same where the source is known on the grid only: nothing but tones can be tried."""
    made = _chirp()
    source = made.source_on_grid([np.linspace(0, 1, n)])
    return Problem.with_exact(
        "u_xx = f", made.domain, made.conditions, {"f": source}, made.exact_formulas
    )


def _task(
    name: str,
    make_problem: Callable[[], Problem],
    grid: Sequence[int],
    params: Mapping[str, Any],
    *,
    peer: bool = True,
) -> Task:
    def make(seed: int) -> Case:
        problem = make_problem()
        low, high = np.transpose(problem.domain.bounds)
        # A deviation in 2-D costs milliseconds a point.
        count = 1000 if problem.dimension == 1 else 200
        points = np.random.default_rng(seed).uniform(low, high, size=(count, problem.dimension))
        return Case(problem, tuple(grid), points)

    methods = [Method(OURS, _solve_by_gp)]
    if peer:
        methods.append(Method(PEER, _solve_by_collocation))
    return Task(name, make, _score, tuple(methods), params, repeats=3)


def _solve_by_gp(case: Case) -> Callable[[], tuple[Solution, bool]]:
    return lambda: (GPSolver().solve(case.problem, grid=case.grid), True)


def _solve_by_collocation(case: Case) -> Callable[[], tuple[Solution, bool]]:
    return lambda: (ChebyshevSolver().solve(case.problem, grid=case.grid), False)


def _score(case: Case, output: tuple[Solution, bool]) -> dict[str, float]:
    solution, has_std = output
    figures = {"error": float(solution.error())}
    if has_std:
        error = np.abs(solution.mean(case.points) - case.problem.exact(case.points))
        std = solution.std(case.points)
        scale = np.sqrt(np.mean(np.square(case.problem.exact(case.points))))
        figures["covered"] = float(np.mean(error <= 2 * std))
        figures["std"] = float(np.mean(std) / scale)
        figures["std_over_error"] = float(np.mean(std) / np.sqrt(np.mean(np.square(error))))
    return figures
