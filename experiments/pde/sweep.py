"""Two tones of random frequency at growing numbers of points: ours, spectral and differences."""

import math
from collections.abc import Callable, Sequence

import numpy as np
import scipy.linalg

from experiments.harness import Method, Options, Task
from experiments.pde.tasks import OURS, PEER
from solvers import Box, ChebyshevSolver, GPSolver, Problem

__all__ = ["sweep"]

Case = tuple[Problem, int]


def sweep(options: Options) -> Sequence[Task]:
    """Sizes below, at and above what Chebyshev polynomials need, pi points a wavelength."""
    sizes = (80, 120, 200) if options.quick else (80, 120, 200, 400)
    methods = (
        Method(OURS, lambda case: lambda: GPSolver().solve(case[0], grid=(case[1],)).error()),
        Method(
            PEER, lambda case: lambda: ChebyshevSolver().solve(case[0], grid=(case[1],)).error()
        ),
        Method("finite differences", _differences),
    )
    return [
        Task(
            "two tones at growing n",
            lambda seed, n=n: (_problem(seed), n),
            lambda _, error: {"error": float(error)},
            methods,
            {"n": n},
            repeats=1,
        )
        for n in sizes
    ]


def _problem(seed: int) -> Problem:
    """Between 20 and 40 wavelengths on the line."""
    low, high = np.sort(np.random.default_rng(seed).uniform(20, 40, size=2) * 2 * math.pi)
    exact = f"sin({low:.6f}*x) + cos({high:.6f}*x)"
    return Problem.from_exact("u_xx = f", Box(x=(0, 1)), exact)


def _differences(case: Case) -> Callable[[], float]:
    """Second order on n points; its error is at those points."""
    problem, n = case

    def run() -> float:
        x = np.linspace(0, 1, n)
        exact = problem.exact(x[:, None])
        source = problem.source_on_grid([x])[1:-1] * (x[1] - x[0]) ** 2
        source[[0, -1]] -= exact[[0, -1]]
        bands = np.ones((3, n - 2))
        bands[1] = -2
        found = scipy.linalg.solve_banded((1, 1), bands, source)
        return float(np.linalg.norm(found - exact[1:-1]) / np.linalg.norm(exact[1:-1]))

    return run
