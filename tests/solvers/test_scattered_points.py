"""Equations held at points in no order."""

import numpy as np
import pytest
import torch

from kernelgp.errors import ArgumentError, ArgumentTypeError
from solvers import Box, Dirichlet, GPSolver, Initial, Observations, Problem, Solution

TWO_PI = 2 * np.pi
LINE, SQUARE = Box(x=(0, TWO_PI)), Box(x=(0, 1), y=(0, 1))


def scattered(box, n, seed=0):
    return box.random_points(n, np.random.default_rng(seed))


@pytest.mark.parametrize("seed", range(3))
def test_p1_from_600_random_points(seed):
    problem = Problem.from_exact("u_xx = f", LINE, "sin(100*x)")
    solution = GPSolver().solve(problem, points=scattered(LINE, 600, seed))
    assert solution.error() < 1e-9  # 4e-7 with the features of an eigendecomposition
    assert solution.check()


def test_a_source_that_is_known_at_the_points_only():
    x = scattered(LINE, 600)
    problem = Problem("u_xx = f", LINE, [Dirichlet("sin(100*x)")], f=-1e4 * np.sin(100 * x[:, 0]))
    solution = GPSolver().solve(problem, points=x)
    fine = np.linspace(0, TWO_PI, 2001)
    error = solution.mean(fine) - np.sin(100 * fine)
    assert np.linalg.norm(error) < 1e-9 * np.linalg.norm(np.sin(100 * fine))
    assert solution.check()


def test_points_may_be_a_tensor_or_a_list_and_their_order_does_not_matter():
    problem = Problem.from_exact("u_xx + 3*u = f", LINE, "sin(5*x)")
    x = scattered(LINE, 60)
    at = np.linspace(0, 6, 50)
    kinds = [x, torch.from_numpy(x), x[::-1], x[:, 0].tolist()]
    means = [GPSolver().solve(problem, points=points).mean(at) for points in kinds]
    assert np.allclose(means, np.sin(5 * at), atol=1e-11)


@pytest.mark.parametrize(
    ("equation", "exact", "n"),
    [
        ("u_xx + u_yy = f", "sin(50*x)*cos(40*y)", 1200),
        ("(1 + x*y)*u_xx + u_yy + 10*u_x = f", "exp(x)*cos(3*y)", 400),
        ("u_xx + u_yy + u**3 = f", "sin(3*x)*cos(2*y)", 300),
    ],
)
def test_equations_in_two_dimensions(equation, exact, n):
    problem = Problem.from_exact(equation, SQUARE, exact)
    assert GPSolver().solve(problem, points=scattered(SQUARE, n)).error() < 1e-10


def test_an_initial_value_problem():
    box = Box(x=(0, 1), t=(0, 1))
    conditions = [Initial(), Dirichlet(on=["x-", "x+"])]
    heat = Problem.from_exact("u_t = 0.1*u_xx", box, "exp(-0.1*9*t)*sin(3*x)", conditions)
    assert GPSolver().solve(heat, points=scattered(box, 400)).error() < 1e-10


def test_coefficients_that_are_known_at_the_points_only():
    x = scattered(SQUARE, 900)
    a = 2 + np.sin(3 * x[:, 0]) * x[:, 1]
    f = -a * 9 * np.sin(3 * x[:, 0])
    problem = Problem("a*u_xx + u_yy = f", SQUARE, [Dirichlet("sin(3*x)")], a=a, f=f)
    solution = GPSolver().solve(problem, points=x)
    at = scattered(SQUARE, 100, seed=1)
    assert np.abs(solution.mean(at) - np.sin(3 * at[:, 0])).max() < 1e-10
    with pytest.raises(ArgumentError, match="values at 900 points; give a formula or a callable"):
        solution.residual(at)
    assert solution.check()


def test_what_is_found_survives_a_file(tmp_path):
    x = scattered(LINE, 100)
    problem = Problem("u_xx = f", LINE, [Dirichlet("sin(5*x)")], f=-25 * np.sin(5 * x[:, 0]))
    solution = GPSolver().solve(problem, points=x)
    loaded = Solution.load(solution.save(tmp_path / "u.gp"))
    at = np.linspace(0, 6, 50)
    assert np.array_equal(loaded.mean(at), solution.mean(at))
    assert np.array_equal(loaded.std(at), solution.std(at))
    assert loaded.to_xarray().sizes == {"x": 100}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {},
            r"grid: got neither a grid nor points; give grid=\(n, n\), or points of shape \(n, 2\)",
        ),
        ({"grid": (9, 9), "points": np.ones((40, 2))}, r"grid: got a grid and points"),
        ({"points": np.ones(40)}, r"points: got shape \(40,\)"),
        ({"points": np.ones((40, 3))}, r"points: got shape \(40, 3\); give \(m, 2\)"),
        ({"points": np.full((40, 2), np.nan)}, r"points: got 40 of 40 points not finite"),
        ({"points": np.full((40, 2), 1.5)}, r"points: got 40 of 40 points outside"),
        (
            {"points": np.ones((40, 2))},
            r"points: got 39 of 40 points twice, .* at row 0; give each",
        ),
        ({"points": scattered(SQUARE, 9)}, r"points: got 9 points; give at least 16"),
    ],
)
def test_bad_points_are_named(arguments, message):
    problem = Problem.from_exact("u_xx + u_yy = f", SQUARE, "x*y")
    with pytest.raises(ArgumentError, match=message):
        GPSolver().solve(problem, **arguments)


def test_words_are_no_points():
    problem = Problem.from_exact("u_xx = f", LINE, "x")
    with pytest.raises(ArgumentTypeError, match="points: got"):
        GPSolver().solve(problem, points=["a", "b"])


def test_arrays_have_one_value_for_each_point():
    problem = Problem("u_xx = f", LINE, [Dirichlet(0)], f=np.ones(50))
    with pytest.raises(
        ArgumentError, match=r"f: got an array of shape \(50,\); give shape \(60,\)"
    ):
        GPSolver().solve(problem, points=scattered(LINE, 60))


def test_rough_kernels_and_the_old_search_do_not_take_points():
    problem = Problem.from_exact("u_xx = f", LINE, "sin(x)")
    for solver in (GPSolver("student"), GPSolver(method="map")):
        with pytest.raises(ArgumentError, match="points: got 60 scattered points"):
            solver.solve(problem, points=scattered(LINE, 60))


def test_a_tone_that_only_sensors_know_is_found():
    rng = np.random.default_rng(0)
    box = Box(x=(0, 1), t=(0, 1))
    where = scattered(box, 300)
    truth = np.sin(60 * (where[:, 0] - 0.5 * where[:, 1]))
    seen = Observations(where, truth + 0.01 * rng.normal(size=300), noise=1e-4)
    solution = GPSolver().solve(Problem("u_t + 0.5*u_x = 0", box, [seen]), grid=(60, 40))
    assert np.allclose(solution.report.frequencies["x"][0] * 2 * np.pi, 60, atol=2)
    at = scattered(box, 300, seed=1)
    error = solution.mean(at) - np.sin(60 * (at[:, 0] - 0.5 * at[:, 1]))
    assert np.sqrt(np.mean(error**2)) < 0.01
