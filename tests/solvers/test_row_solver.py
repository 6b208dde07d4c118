"""Systems, sensors and missing faces through the public interface."""

import numpy as np
import pytest

from kernelgp.errors import ArgumentError, ConvergenceWarning
from solvers import Box, Dirichlet, GPSolver, Initial, Observations, Periodic, Problem, Solution

LINE, SQUARE = Box(x=(0, 1)), Box(x=(0, 1), y=(0, 1))
SPACETIME = Box(x=(0, 1), t=(0, 1))


def first_order():
    return Problem.from_exact(
        ["u_x = v", "v_x + 900*u = f"],
        LINE,
        {"u": "sin(50*x)", "v": "50*cos(50*x)"},
        functions=["u", "v"],
        conditions=[Dirichlet(on="x-")],
    )


def fusion(noise, *, seed=0, sd=0.01):
    """Poisson with two of four faces known, and 200 sensors."""
    equation, exact = "u_xx + u_yy = f", "sin(6*x)*cos(5*y) + x*y/2"
    rng = np.random.default_rng(seed)
    where = rng.uniform(size=(200, 2))
    truth = Problem.from_exact(equation, SQUARE, exact).exact(where)
    seen = Observations(where, truth + sd * rng.normal(size=200), noise=noise)
    return Problem.from_exact(equation, SQUARE, exact, [Dirichlet(on=["x-", "y-"]), seen])


def coverage(posterior, exact, points):
    return np.mean(np.abs(posterior.mean(points) - exact) <= 2 * posterior.std(points))


def test_a_system_is_solved_to_rounding_and_knows_its_error():
    problem = first_order()
    solution = GPSolver().solve(problem, grid=(200,))
    assert solution.error() < 1e-12
    x = np.random.default_rng(0).uniform(size=(200, 1))
    for name in ("u", "v"):
        assert solution[name].error() < 1e-12
        assert coverage(solution[name], problem.exact(x, of=name), x) > 0.9
    assert np.abs(solution.residual(x)).max() < 1e-8
    assert solution.residual(x).shape == (200, 2)
    slope, deviation = solution["u"].derivative("u_x", x, return_std=True)
    error = np.abs(slope - problem.exact(x, of="v"))
    assert error.max() < 1e-10
    assert np.mean(error <= 2 * deviation) > 0.9


def test_functions_of_a_system_are_drawn_together():
    solution = GPSolver().solve(first_order(), grid=(60,))
    step, x = 1e-4, np.array([[0.4]])
    u = [solution["u"].sample(x + h, 5, random_state=0) for h in (-step, step)]
    v = solution["v"].sample(x, 5, random_state=0)
    np.testing.assert_allclose((u[1] - u[0]) / (2 * step), v, rtol=1e-4)


def test_what_is_of_one_function_says_how_to_ask_for_it():
    solution = GPSolver().solve(first_order(), grid=(60,))
    with pytest.raises(ArgumentError, match=r"use solution\['u'\] or solution\['v'\]"):
        solution.mean([[0.5]])
    with pytest.raises(ArgumentError, match="function: got 'w'; give 'u' or 'v'"):
        solution["w"]


def test_a_solution_by_rows_comes_back_from_a_file(tmp_path):
    solution = GPSolver().solve(first_order(), grid=(60,))
    again = Solution.load(solution.save(tmp_path / "s.gp"))
    x = np.random.default_rng(0).uniform(size=(9, 1))
    for name in ("u", "v"):
        np.testing.assert_array_equal(again[name].mean(x), solution[name].mean(x))
        np.testing.assert_array_equal(again[name].std(x), solution[name].std(x))
        drawn = [s[name].sample(x, 2, random_state=1) for s in (again, solution)]
        np.testing.assert_array_equal(*drawn)
    assert str(again.report) == str(solution.report)


def test_a_wave_as_two_equations_of_first_order():
    problem = Problem.from_exact(
        ["u_t = v_x", "v_t = u_x"],
        SPACETIME,
        {"u": "sin(12*x)*cos(12*t)", "v": "cos(12*x)*sin(12*t)"},
        functions=["u", "v"],
        conditions=[Initial(), Dirichlet(of="u", on=["x-", "x+"])],
    )
    assert GPSolver().solve(problem, grid=(40, 40)).error() < 1e-10


def test_a_system_on_a_periodic_axis():
    problem = Problem.from_exact(
        ["u_t = v_x", "v_t = u_x"],
        SPACETIME,
        {"u": "sin(2*pi*x)*cos(2*pi*t)", "v": "cos(2*pi*x)*sin(2*pi*t)"},
        functions=["u", "v"],
        conditions=[Initial(), Periodic("x")],
    )
    assert GPSolver().solve(problem, grid=(30, 30)).error() < 1e-10


@pytest.mark.parametrize("noise", [1e-4, "learn"])
def test_sensors_stand_in_for_half_of_the_boundary(noise):
    problem = fusion(noise)
    solution = GPSolver().solve(problem, grid=(40, 40))
    assert solution.error() < 0.01
    x = np.random.default_rng(1).uniform(size=(400, 2))
    assert coverage(solution, problem.exact(x), x) > 0.9
    assert 0.7e-4 < solution.report.noise[0] < 1.4e-4


def test_sensors_without_noise_are_met_and_more_digits_follow():
    problem = fusion(1e-16, sd=0.0)
    assert GPSolver().solve(problem, grid=(40, 40)).error() < 1e-6


def test_noise_of_each_block_is_its_own():
    rng = np.random.default_rng(0)
    x, y = rng.uniform(size=(60, 1)), rng.uniform(size=(60, 1))
    exact = Problem.from_exact("u_xx = f", LINE, "sin(7*x)").exact
    blocks = [
        Observations(x, exact(x) + 0.1 * rng.normal(size=60), noise="learn"),
        Observations(y, exact(y) + 0.01 * rng.normal(size=60), noise="learn"),
    ]
    problem = Problem.from_exact("u_xx = f", LINE, "sin(7*x)", blocks)
    solution = GPSolver().solve(problem, grid=(60,))
    coarse, fine = np.sqrt(solution.report.noise)
    assert 0.07 < coarse < 0.14
    assert 0.007 < fine < 0.014


def test_one_function_of_a_system_is_seen():
    rng = np.random.default_rng(0)
    where = rng.uniform(size=(80, 1))
    seen = np.sin(9 * where[:, 0]) + 1e-3 * rng.normal(size=80)
    problem = Problem.from_exact(
        ["u_x = v", "v_x + 81*u = 0"],
        LINE,
        {"u": "sin(9*x)", "v": "9*cos(9*x)"},
        functions=["u", "v"],
        conditions=[Observations(where, seen, noise=1e-6, of="u")],
    )
    solution = GPSolver().solve(problem, grid=(50,))
    assert solution["u"].error() < 1e-3
    assert solution["v"].error() < 1e-3
    x = rng.uniform(size=(200, 1))
    assert coverage(solution["v"], problem.exact(x, of="v"), x) > 0.9


def test_a_system_is_judged_drawn_and_tabled(tmp_path):
    problem = Problem.from_exact(
        ["u_t = v_x", "v_t = u_x"],
        SPACETIME,
        {"u": "sin(4*x)*cos(4*t)", "v": "cos(4*x)*sin(4*t)"},
        functions=["u", "v"],
        conditions=[Initial(), Dirichlet(of="u", on=["x-", "x+"])],
    )
    solution = GPSolver().solve(problem, grid=(20, 20))
    verdict = solution.check()
    assert verdict, str(verdict)
    assert "relative residual of equation 2" in str(verdict)
    table = solution.to_xarray((7, 9))
    assert table["v_std"].shape == (7, 9)
    np.testing.assert_allclose(table["v_mean"], table["v_exact"], atol=1e-9)
    assert solution.plot(tmp_path / "s.png").stat().st_size > 1000


def test_a_wrong_noise_is_noticed():
    with pytest.warns(ConvergenceWarning, match="deviations of their noise off"):
        solution = GPSolver().solve(fusion(1e-6), grid=(20, 20))
    assert not solution.check()


def test_frequencies_are_read_from_what_was_observed():
    """Twelve waves, no face and no source: only the sensors know of them."""
    rng = np.random.default_rng(0)
    where = rng.uniform(size=(300, 1))
    exact = "sin(75*x) + x"
    truth = Problem.from_exact("u_xx + 5625*u = f", LINE, exact)
    seen = truth.exact(where) + 0.01 * rng.normal(size=300)
    problem = Problem.from_exact("u_xxx + 5625*u_x = 5625", LINE, exact, Observations(where, seen))
    solution = GPSolver().solve(problem, grid=(100,))
    assert solution.error() < 0.01
    assert np.abs(solution.report.frequencies["x"] - 75 / (2 * np.pi)).min() < 0.5
