"""Nonlinear equations and coefficients that vary: Newton's method on the neighbour's bases."""

import pickle
import warnings

import numpy as np
import pytest
import scipy.optimize

from kernelgp.errors import ArgumentError
from solvers import Box, Dirichlet, GPSolver, Initial, Neumann, Problem, Solution, gallery
from solvers.divergence import DivergenceError

LINE, PLANE, UNIT = Box(x=(0, 1)), Box(x=(0, 1), y=(0, 1)), Box(x=(0, 1), t=(0, 1))
CUBE = Box(x=(0, 1), y=(0, 1), z=(0, 1))
MIXED = [Neumann(on="x-"), Dirichlet(on=["x+", "y-", "y+"])]

# Bounds of the published problems: relative L2 error.
PUBLISHED = {
    "allen-cahn-1d-sin100": 4e-10,
    "allen-cahn-1d-sin6cos100": 4e-10,
    "allen-cahn-2d": 1e-11,
}

# Equation, box, exact solution, conditions, grid and a bound on the relative L2 error.
CASES = {
    "a cube": ("u_xx + u**3 = f", LINE, "sin(40*x) + x", None, (120,), 1e-9),
    "an exponential": ("u_xx + exp(u) = f", LINE, "sin(30*x)/2", None, (120,), 1e-9),
    "a slope squared": ("u_xx + u_x**2/100 = f", LINE, "cos(25*x)", None, (120,), 1e-9),
    "a sine": ("u_xx + u_yy - 50*sin(u) = f", PLANE, "sin(20*x)*cos(15*y)", None, (80, 80), 1e-10),
    "advected by itself": ("u_xx + u_yy + u*u_x = f", PLANE, "sin(20*x)*cos(15*y)", MIXED,
                           (80, 80), 1e-10),
    "reaction and diffusion": ("u_t = u_xx/10 - u**3 + f", UNIT, "sin(20*x)*cos(5*t)",
                               [Initial(), Dirichlet(on=["x-", "x+"])], (60, 60), 1e-10),
    "a cube 3-D": ("u_xx + u_yy + u_zz + u**3 = f", CUBE, "sin(20*x)*cos(22*y)*cos(20*z)", None,
                   (44, 44, 44), 1e-10),
    "Korteweg and de Vries": ("u_t + 6*u*u_x + u_xxx = f", UNIT, "cos(30*x - 20*t)",
                              [Initial(), Dirichlet(on=["x-", "x+"]), Neumann(on="x+")],
                              (60, 60), 1e-10),
    "varying 1-D": ("(1 + sin(3*x)/2)*u_xx + cos(x)*u_x = f", LINE, "sin(40*x) + x**2", None,
                    (120,), 1e-9),
    "varying with a slope": ("(2 + x)*u_xx + x*u = f", LINE, "cos(40*x)",
                             [Neumann(on="x-"), Dirichlet(on="x+")], (120,), 1e-9),
    "varying stiffness": ("(2 + x)*u_xxxx + u_xx = f", LINE, "cos(30*x)",
                          [Dirichlet(), Neumann()], (120,), 1e-9),
    "each axis its own": ("(2 + cos(5*x))*u_xx + (1 + y**2)*u_yy = f", PLANE,
                          "sin(40*x)*cos(30*y)", None, (100, 100), 1e-10),
    "across the axes": ("(1 + y**2)*u_xx + (2 + x)*u_yy + u = f", PLANE, "sin(40*x)*cos(30*y)",
                        MIXED, (100, 100), 1e-10),
    "both axes together": ("(2 + cos(5*x + 3*y))*u_xx + (1 + sin(4*x*y)/2)*u_yy + 30*x*u_x = f",
                           PLANE, "sin(40*x)*cos(30*y)", None, (100, 100), 1e-10),
    "varying 3-D": ("(2 + x)*u_xx + u_yy + (1 + y*z)*u_zz = f", CUBE,
                    "sin(20*x)*cos(22*y)*cos(20*z)", None, (36, 36, 36), 1e-10),
}  # fmt: skip


def coverage(problem, solution):
    lower, upper = np.array(problem.domain.bounds).T
    x = np.random.default_rng(3).uniform(lower, upper, size=(200, problem.dimension))
    error = np.abs(solution.mean(x) - problem.exact(x))
    return np.mean(error <= 2 * solution.std(x))


def ratio(problem, solution):
    """Mean deviation over root mean square error."""
    lower, upper = np.array(problem.domain.bounds).T
    x = np.random.default_rng(3).uniform(lower, upper, size=(200, problem.dimension))
    error = solution.mean(x) - problem.exact(x)
    return solution.std(x).mean() / np.sqrt(np.mean(error**2))


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_nonlinear_problems(name):
    entry = gallery[name]
    solution = GPSolver().solve(entry.problem, grid=entry.grid)
    assert solution.error() <= PUBLISHED[name]
    assert 2 <= solution.report.newton_steps <= 6
    assert coverage(entry.problem, solution) >= 0.9
    assert ratio(entry.problem, solution) <= 300


@pytest.mark.parametrize("name", CASES)
def test_made_solutions_come_back_without_a_warning(name):
    equation, box, exact, conditions, grid, bound = CASES[name]
    problem = Problem.from_exact(equation, box, exact, conditions)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        solution = GPSolver().solve(problem, grid=grid)
    assert solution.error() <= bound
    assert 1 <= solution.report.newton_steps <= 6


@pytest.mark.parametrize("name", ["a cube", "a sine", "varying 1-D", "both axes together"])
def test_deviations_cover_the_errors_and_are_of_their_size(name):
    equation, box, exact, conditions, grid, _ = CASES[name]
    problem = Problem.from_exact(equation, box, exact, conditions)
    solution = GPSolver().solve(problem, grid=grid)
    assert coverage(problem, solution) >= 0.9
    assert ratio(problem, solution) <= 300
    assert solution.check()


def test_deviations_of_derivatives_cover_their_errors():
    problem = Problem.from_exact("u_xx + u**3 = f", LINE, "sin(40*x) + x")
    solution = GPSolver().solve(problem, grid=(120,))
    x = np.random.default_rng(0).uniform(size=200)
    mean, std = solution.derivative("u_x", x, return_std=True)
    error = np.abs(mean - 40 * np.cos(40 * x) - 1)
    assert np.mean(error <= 2 * std) >= 0.9
    assert std.mean() <= 300 * np.sqrt(np.mean(error**2))


def test_few_points_and_many_have_about_the_same_deviation():
    equation, box, exact, conditions, grid, _ = CASES["a sine"]
    solution = GPSolver().solve(Problem.from_exact(equation, box, exact, conditions), grid=grid)
    x = np.random.default_rng(1).uniform(size=(300, 2))
    # One standard error of a root mean square of 64 draws is 9 %.
    np.testing.assert_allclose(solution.std(x)[:20], solution.std(x[:20]), rtol=0.4)


def test_samples_scatter_by_the_deviation():
    equation, box, exact, conditions, grid, _ = CASES["both axes together"]
    solution = GPSolver().solve(Problem.from_exact(equation, box, exact, conditions), grid=grid)
    x = np.random.default_rng(1).uniform(size=(10, 2))
    drawn = solution.sample(x, 400, random_state=0) - solution.mean(x)
    np.testing.assert_allclose(np.sqrt(np.mean(drawn**2, axis=0)), solution.std(x), rtol=0.2)


def test_it_is_the_same_after_loading(tmp_path):
    problem = Problem.from_exact("u_xx + x*u**3 = f", LINE, "sin(40*x)")
    solution = GPSolver().solve(problem, grid=(100,))
    again = Solution.load(solution.save(tmp_path / "u.gp"))
    x = np.linspace(0, 1, 17)
    np.testing.assert_array_equal(again.mean(x), solution.mean(x))
    np.testing.assert_array_equal(again.std(x), solution.std(x))
    np.testing.assert_array_equal(
        again.sample(x, 2, random_state=0), solution.sample(x, 2, random_state=0)
    )
    assert again.report.newton_steps == solution.report.newton_steps > 0


def test_a_linear_equation_with_constants_takes_no_step():
    problem = Problem.from_exact("u_xx = f", LINE, "sin(40*x)")
    assert GPSolver().solve(problem, grid=(100,)).report.newton_steps == 0


def test_a_free_constant_of_a_varying_equation_is_refused():
    problem = Problem("(2 + x)*u_xx = f", LINE, [Neumann(0)], f=0)
    with pytest.raises(ArgumentError, match=r"one with a free constant.*, which GPSolver does not"):
        GPSolver().solve(problem, grid=(50,))


def test_rough_kernels_refuse_what_needs_newton():
    problem = Problem.from_exact("u_xx + u**3 = f", LINE, "sin(40*x)")
    with pytest.raises(ArgumentError, match=r"nonlinear terms, which GPSolver\('matern52'"):
        GPSolver("matern52").solve(problem, grid=(100,))


def test_an_equation_without_a_solution_is_an_error_that_says_so():
    """Bratu's problem has none from a coefficient of 3.52 on."""
    problem = Problem("u_xx + 20*exp(u) = 0", LINE, [Dirichlet(0)])
    with pytest.raises(ArgumentError, match="Newton's method finds no solution"):
        GPSolver().solve(problem, grid=(40,))


def test_bratus_problem_has_the_solution_that_is_known():
    """``u = -2 log(cosh((x - 1/2) θ/2) / cosh(θ/4))`` with ``θ = √2 cosh(θ/4)``."""
    theta = scipy.optimize.brentq(lambda t: t - np.sqrt(2) * np.cosh(t / 4), 0, 4)
    solution = GPSolver().solve(Problem("u_xx + exp(u) = 0", LINE, [Dirichlet(0)]), grid=(40,))
    x = np.linspace(0, 1, 21)
    exact = -2 * np.log(np.cosh((x - 0.5) * theta / 2) / np.cosh(theta / 4))
    np.testing.assert_allclose(solution.mean(x), exact, atol=1e-11)


def test_a_divergence_keeps_its_history_and_the_last_good_iterate():
    # Above a factor of 3.51 there is no solution (Bratu's problem).
    problem = Problem("u_xx + 5*exp(u) = 0", LINE, [Dirichlet(0)])
    with pytest.raises(DivergenceError, match="Newton's method finds no solution") as raised:
        GPSolver().solve(problem, grid=(60,))
    error = raised.value
    assert len(error.history) > 1
    assert f"{error.history[-1]:.1e}" in str(error)
    points = np.array([[0.0], [0.4], [0.6], [1.0]])
    values = error.last.mean(points)
    assert np.allclose(values[[0, 3]], 0, atol=1e-9)
    assert values[1] == pytest.approx(values[2])
    assert np.allclose(error.last.mean_on_grid([points[:, 0]]), values)
    again = pickle.loads(pickle.dumps(error))
    assert (str(again), again.history) == (str(error), error.history)
