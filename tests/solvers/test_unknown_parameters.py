"""Unknown constants and fields, and systems that are nonlinear, through the public interface."""

import math

import numpy as np
import pytest

from kernelgp.errors import ConvergenceWarning
from solvers import Box, Dirichlet, GPSolver, Initial, Observations, Problem, Solution

LINE, SQUARE = Box(x=(0, 1)), Box(x=(0, 1), y=(0, 1))
SPACETIME = Box(x=(0, 1), t=(0, 1))
DECAY = "exp(-0.3*pi**2*t)*sin(pi*x) + exp(-1.2*pi**2*t)*sin(2*pi*x)/2"


def observed(equation, box, exact, unknown, *, n, sd, conditions=(), seed=0, noise=None, **options):
    """A problem with n sensors on its first function, from its exact solution."""
    rng = np.random.default_rng(seed)
    where = rng.uniform(*np.array(box.bounds).T, size=(n, box.dimension))
    made = Problem.from_exact(equation, box, exact, unknown=unknown, **options)
    values = made.exact(where, of=made.functions[0]) + sd * rng.normal(size=n)
    seen = Observations(where, values, noise=noise or sd**2)
    conditions = [*conditions, seen]
    return Problem.from_exact(equation, box, exact, conditions, unknown=unknown, **options)


def is_found(estimate, truth, *, within):
    """Within a relative distance of the truth, and that within two deviations."""
    error = abs(estimate.mean - truth)
    return error <= within * truth and error <= 2 * estimate.std


def coverage(posterior, exact, points):
    return np.mean(np.abs(posterior.mean(points) - exact) <= 2 * posterior.std(points))


@pytest.mark.parametrize("interval", [(0.1, 5.0), (0.001, 1000.0), (-10, 1)])
def test_the_speed_of_a_wave_is_found_from_sensors_alone(interval):
    rng = np.random.default_rng(0)
    where = rng.uniform(size=(150, 2))
    seen = np.sin(6 * (where[:, 0] - 0.7 * where[:, 1])) + 0.01 * rng.normal(size=150)
    problem = Problem(
        "u_t + c*u_x = 0",
        SPACETIME,
        conditions=[Observations(where, seen, noise=1e-4)],
        unknown={"c": interval},
    )
    found = GPSolver().solve(problem, grid=(20, 20)).parameters["c"]
    assert is_found(found, 0.7, within=0.01)
    assert found.interval == interval


@pytest.mark.parametrize("seed", [0, 1])
def test_a_diffusion_coefficient_is_found_without_bias(seed):
    """Its most likely value together with a function is 3 % below, 6 deviations."""
    sides = [Dirichlet(0, on=["x-", "x+"])]
    exact, unknown = {"u": DECAY, "D": 0.3}, {"D": (0.01, 10)}
    problem = observed(
        "u_t = D*u_xx", SPACETIME, exact, unknown, n=200, sd=0.01, conditions=sides, seed=seed
    )
    solution = GPSolver().solve(problem, grid=(24, 24))
    assert is_found(solution.parameters["D"], 0.3, within=0.015)
    assert solution.error() < 0.02


def test_the_deviation_of_a_constant_is_not_that_of_steps_in_its_evidence():
    """Scales that are learned to a loose tolerance only once made it a tenth as large."""
    rng = np.random.default_rng(2)
    x, t = where = rng.uniform(size=(150, 2)).T
    exact = np.sin(np.pi * x) * np.exp(-0.1 * np.pi**2 * t)
    exact += np.sin(3 * np.pi * x) * np.exp(-0.9 * np.pi**2 * t) / 2
    seen = Observations(where.T, exact + 0.01 * rng.normal(size=150), noise=1e-4)
    problem = Problem("u_t = d*u_xx", SPACETIME, seen, unknown={"d": (0.001, 1.0)})
    found = GPSolver().solve(problem, grid=(30, 30)).parameters["d"]
    assert abs(found.mean - 0.1) < 2 * found.std
    # Sampled over eight draws of the noise, its estimates spread by 0.0012.
    assert 0.0006 < found.std < 0.0025


def test_an_amplitude_of_a_source_is_found():
    equation = "u_xx = s*exp(-20*(x - 1/3)**2) + f"
    exact, unknown = {"u": "sin(3*x)", "s": 30}, {"s": (0, 100)}
    problem = observed(equation, LINE, exact, unknown, n=50, sd=0.01, conditions=[Dirichlet()])
    found = GPSolver().solve(problem, grid=(50,)).parameters["s"]
    assert is_found(found, 30, within=0.02)


def test_two_constants_and_unknown_noise_are_found_at_once():
    equation = "u_xx + b*u_x + k*u = f"
    exact, unknown = {"u": "sin(9*x) + x**2", "b": 2, "k": 60}, {"b": (0, 10), "k": (1, 200)}
    problem = observed(equation, LINE, exact, unknown, n=300, sd=0.02, noise="learn")
    solution = GPSolver().solve(problem, grid=(60,))
    for name, truth in (("b", 2), ("k", 60)):
        estimate = solution.parameters[name]
        assert abs(estimate.mean - truth) < 3 * estimate.std
        assert estimate.std < 0.1 * truth
    assert math.isclose(math.sqrt(solution.report.noise[0]), 0.02, rel_tol=0.15)


def test_what_the_data_do_not_determine_keeps_its_interval():
    """A wave that stands still tells nothing of its speed."""
    rng = np.random.default_rng(0)
    where = rng.uniform(size=(40, 2))
    seen = Observations(where, 1 + 0.01 * rng.normal(size=40), noise=1e-4)
    problem = Problem("u_t + c*u_x = 0", SPACETIME, [seen], unknown={"c": (0, 6)})
    found = GPSolver().solve(problem, grid=(12, 12)).parameters["c"]
    assert found.std > 0.5 * 6 / math.sqrt(12)


def test_an_interval_without_the_truth_is_noticed():
    exact, unknown = {"u": "sin(20*x)", "k": 20}, {"k": (2.0, 10.0)}
    equation = "u_xx + k**2*u = f"
    made = Problem.from_exact(equation, LINE, exact, unknown=unknown)
    x = np.linspace(0, 1, 80)[:, None]
    seen = Observations(x, made.exact(x, of="u"), noise=1e-4)
    problem = Problem(equation, LINE, [Dirichlet(0, on="x-"), seen], unknown=unknown, f=0)
    with pytest.warns(
        ConvergenceWarning, match="check the equation, the noise given and the intervals"
    ):
        found = GPSolver().solve(problem, grid=(80,)).parameters["k"]
    assert 2.0 < found.mean < 10.0


@pytest.mark.parametrize(
    ("equation", "exact"),
    [
        ("a*u_xx + a_x*u_x = f", {"u": "sin(9*x) + x", "a": "2 + sin(3*x)"}),
        ("u_xx - a*u = f", {"u": "sin(9*x) + 3", "a": "20 + 10*sin(3*x)"}),
    ],
)
def test_a_field_on_a_line_is_found_and_knows_its_error(equation, exact, tmp_path):
    problem = observed(
        equation, LINE, exact, {"a": "field"}, n=400, sd=0.01, conditions=[Dirichlet()]
    )
    solution = GPSolver().solve(problem, grid=(60,))
    field, x = solution.parameters["a"], np.linspace(0, 1, 101)[:, None]
    truth = problem.exact(x, of="a")
    assert np.linalg.norm(field.mean(x) - truth) < 0.02 * np.linalg.norm(truth)
    assert coverage(field, truth, x) > 0.9
    # The equation holds with the field as it was found.
    assert np.abs(solution.residual(x)).max() < 1e-3
    again = Solution.load(solution.save(tmp_path / "s.gp"))
    np.testing.assert_array_equal(again.parameters["a"].std(x), field.std(x))


def test_a_nonlinear_system_is_solved_to_rounding():
    problem = Problem.from_exact(
        ["u_t = u*(1 - v) + f", "v_t = v*(u - 1) + g"],
        Box(t=(0, 3)),
        {"u": "1 + sin(2*t)/2", "v": "1 + cos(3*t)/2"},
        functions=["u", "v"],
        conditions=[Initial()],
    )
    solution = GPSolver().solve(problem, grid=(80,))
    assert solution.error() < 1e-11
    t = np.random.default_rng(0).uniform(0, 3, size=(100, 1))
    for name in ("u", "v"):
        assert coverage(solution[name], problem.exact(t, of=name), t) > 0.9


def test_constants_come_back_from_a_file(tmp_path):
    exact, unknown = {"u": "sin(9*x)", "k": 60}, {"k": (1, 200)}
    problem = observed("u_xx + k*u = f", LINE, exact, unknown, n=50, sd=0.01)
    solution = GPSolver().solve(problem, grid=(40,))
    again = Solution.load(solution.save(tmp_path / "s.gp"))
    assert again.parameters == solution.parameters
    x = np.linspace(0, 1, 9)[:, None]
    np.testing.assert_array_equal(again.residual(x), solution.residual(x))


def test_parameters_are_judged_drawn_and_tabled(tmp_path):
    equation = "u_xx + k*u = f"
    problem = observed(equation, LINE, {"u": "sin(9*x)", "k": 60}, {"k": (1, 200)}, n=60, sd=0.01)
    solution = GPSolver().solve(problem, grid=(40,))
    verdict = solution.check()
    assert verdict, str(verdict)
    assert "error of k, in deviations" in str(verdict)
    table = solution.to_xarray()
    assert {"u_mean", "u_std", "u_exact", "k", "k_std"} <= set(table)
    assert solution.plot(tmp_path / "k.png").stat().st_size > 1000
    exact, unknown = {"u": "sin(9*x) + x", "a": "2 + x"}, {"a": "field"}
    problem = observed(
        "a*u_xx + a_x*u_x = f", LINE, exact, unknown, n=200, sd=0.01, conditions=[Dirichlet()]
    )
    solution = GPSolver().solve(problem, grid=(40,))
    assert "share of errors of a within two deviations" in str(solution.check())
    assert "a_std" in solution.to_xarray()
    assert solution.plot(tmp_path / "a.png").exists()
