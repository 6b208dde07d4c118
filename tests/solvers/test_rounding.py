"""How far rounding moves data, and deviations that know of it."""

import numpy as np
import pytest

from solvers import Box, Dirichlet, GPSolver, Problem
from solvers.rounding import data_rounding

PLANE = Box(x=(0, 1), y=(0, 1))


@pytest.mark.parametrize(("lower", "expected"), [(1.0, 2e-14), (1000.0, 6e-12), (1e6, 6e-9)])
def test_far_from_the_origin_a_wave_is_known_to_fewer_digits(lower, expected):
    box = Box(x=(lower, lower + 1))
    problem = Problem.from_exact("u_xx = f", box, "sin(100*x)")
    assert expected / 3 < data_rounding(problem, box.uniform_axes([200])) < 3 * expected


def test_data_that_are_zero_or_constant_are_exact():
    problem = Problem("u_xx = 0", Box(x=(0, 1)), [Dirichlet(1)])
    assert data_rounding(problem, problem.domain.uniform_axes([30])) == 0


@pytest.mark.parametrize("size", [60, 100])
def test_errors_of_a_source_in_single_precision_are_covered(size):
    x = np.linspace(0, 1, size)
    source = -1300 * np.outer(np.sin(30 * x), np.cos(20 * x))
    conditions = [Dirichlet("sin(30*x)*cos(20*y)")]
    problem = Problem("u_xx + u_yy = f", PLANE, conditions, f=source.astype(np.float32))
    assert data_rounding(problem, [x, x]) == pytest.approx(3.4e-8, rel=0.1)
    solution = GPSolver().solve(problem, grid=(size, size))
    points = np.random.default_rng(0).uniform(size=(200, 2))
    exact = np.sin(30 * points[:, 0]) * np.cos(20 * points[:, 1])
    error, deviation = np.abs(solution.mean(points) - exact), solution.std(points)
    assert error.max() < 1e-6
    assert np.mean(error <= 2 * deviation) >= 0.9
    assert deviation.mean() < 10 * error.mean()
