"""Periodic axes: accuracy against made solutions, calibration, and what does not fit."""

import warnings

import numpy as np
import pytest

from kernelgp.errors import ArgumentError, ConvergenceWarning, NumericalWarning
from solvers import Box, Dirichlet, GPSolver, Initial, Periodic, Problem, Solution

LINE, PLANE = Box(x=(0, 1)), Box(x=(0, 1), y=(0, 1))
CUBE, UNIT = Box(x=(0, 1), y=(0, 1), z=(0, 1)), Box(x=(0, 1), t=(0, 1))
X, Y = Periodic("x"), Periodic("y")
START = [X, Initial()]

# Equation, box, exact solution, conditions, grid and a bound on the relative L2 error.
CASES = {
    "1-D": ("u_xx - u = f", LINE, "sin(24*pi*x) + cos(2*pi*x)/2", [X], (120,), 1e-11),
    "1-D, many lines": ("u_xx - u = f", Box(x=(0, 2 * np.pi)), "exp(sin(x))", [X], (60,), 1e-13),
    "1-D, first order": ("u_x + 3*u = f", LINE, "sin(24*pi*x) + 1", [X], (60,), 1e-13),
    "1-D, fourth order": ("u_xxxx + u_x + 1e5*u = f", LINE, "sin(24*pi*x) + 1", [X], (80,), 1e-11),
    "varying": ("(2 + sin(2*pi*x))*u_xx + cos(2*pi*x)*u_x - u = f", LINE,
                "sin(24*pi*x) + cos(2*pi*x)/2", [X], (120,), 1e-10),
    "Allen and Cahn, steady": ("u_xx + u*(u**2 - 1) = f", LINE, "sin(24*pi*x)", [X], (160,), 1e-10),
    "between walls": ("u_xx + u_yy = f", PLANE, "sin(24*pi*x)*cos(30*y) + y*cos(2*pi*x)",
                      [X, Dirichlet(on=["y-", "y+"])], (100, 80), 1e-12),
    "a torus": ("u_xx + u_yy + 1000*u = f", PLANE, "sin(24*pi*x)*cos(20*pi*y) + cos(2*pi*y)",
                [X, Y], (80, 80), 1e-12),
    "a torus, mixed": ("u_xx + u_xy + u_yy - u = f", PLANE, "sin(24*pi*x + 20*pi*y)", [X, Y],
                       (80, 80), 1e-11),
    "a torus, varying": ("(2 + cos(2*pi*x)*cos(2*pi*y))*u_xx + u_yy - u = f", PLANE,
                         "sin(24*pi*x)*cos(20*pi*y)", [X, Y], (80, 80), 1e-12),
    "advection": ("u_t + 3*u_x = 0", UNIT, "sin(24*pi*(x - 3*t))", START, (80, 120), 1e-11),
    "heat": ("u_t = u_xx/400", UNIT, "sin(20*pi*x)*exp(-pi**2*t)", START, (80, 60), 1e-10),
    "wave": ("u_tt = 4*u_xx", UNIT, "sin(20*pi*x)*cos(40*pi*t)", START, (80, 120), 1e-12),
    "Korteweg and de Vries": ("u_t + 6*u*u_x + u_xxx = f", UNIT, "cos(10*pi*x - 20*t)", START,
                              (60, 60), 1e-11),
    "Allen and Cahn": ("u_t = u_xx/100 + u - u**3 + f", UNIT, "cos(20*pi*x)*cos(20*t)", START,
                       (80, 80), 1e-12),
    "Burgers": ("u_t + u*u_x = u_xx/10 + f", UNIT, "1 + sin(20*pi*x - 30*t)/5", START, (60, 60),
                1e-10),
    "3-D": ("u_xx + u_yy + u_zz = f", CUBE, "sin(20*pi*x)*cos(20*pi*y)*sin(60*z)",
            [X, Y, Dirichlet(on=["z-", "z+"])], (40, 40, 50), 1e-11),
    "heat 2+1": ("u_t = u_xx/400 + u_yy/400 + f", Box(x=(0, 1), y=(0, 1), t=(0, 1)),
                 "sin(12*pi*x)*cos(10*pi*y)*sin(12*t)", [X, Y, Initial()], (40, 40, 40), 1e-11),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_made_solutions_come_back_without_a_warning(name):
    equation, box, exact, conditions, grid, bound = CASES[name]
    problem = Problem.from_exact(equation, box, exact, conditions)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        solution = GPSolver().solve(problem, grid=grid)
    assert solution.error() <= bound
    lower, upper = np.array(box.bounds).T
    x = np.random.default_rng(3).uniform(lower, upper, size=(100, box.dimension))
    error = np.abs(solution.mean(x) - problem.exact(x))
    assert np.mean(error <= 2 * solution.std(x)) >= 0.9


@pytest.mark.parametrize("derivative", ["u", "u_x", "u_xx", "u_y"])
def test_both_ends_are_one_point(derivative):
    equation, box, exact, conditions, grid, _ = CASES["between walls"]
    problem = Problem.from_exact(equation, box, exact, conditions)
    solution = GPSolver().solve(problem, grid=grid)
    y = np.linspace(0, 1, 9)
    ends = [np.column_stack([np.full(9, end), y]) for end in (0.0, 1.0)]
    if derivative == "u":
        values, deviations = [solution.mean(x) for x in ends], [solution.std(x) for x in ends]
    else:
        pairs = [solution.derivative(derivative, x, return_std=True) for x in ends]
        values, deviations = zip(*pairs, strict=True)
    size = 1 + np.abs(values[0]).max()
    np.testing.assert_allclose(values[0], values[1], atol=1e-11 * size)
    np.testing.assert_allclose(*deviations, rtol=1e-6)


@pytest.mark.parametrize(
    ("equation", "box", "exact", "conditions", "grid"),
    [
        ("u_xx = f", LINE, "sin(24*pi*x)", [X], (80,)),
        ("u_xx + u_yy = f", PLANE, "sin(24*pi*x)*cos(20*pi*y)", [X, Y], (80, 80)),
        ("u_xx + u_yy + u_zz = f", CUBE, "sin(20*pi*x)*cos(20*pi*y)*sin(22*pi*z)",
         [X, Y, Periodic("z")], (40, 40, 40)),
    ],
)  # fmt: skip
def test_a_free_constant_is_fixed_by_the_mean_and_said(equation, box, exact, conditions, grid):
    problem = Problem.from_exact(equation, box, exact, conditions)
    with pytest.warns(NumericalWarning, match="mean zero"):
        solution = GPSolver().solve(problem, grid=grid)
    assert solution.error() <= 1e-12


def test_a_source_that_no_periodic_solution_answers_is_said():
    problem = Problem("u_xx = f", LINE, [X], f="1 + cos(2*pi*x)")
    with (
        pytest.warns(ConvergenceWarning, match="on periodic axes to have the mean zero"),
        pytest.warns(NumericalWarning, match="given the mean zero"),
    ):
        GPSolver().solve(problem, grid=(40,))


def test_a_jump_where_the_ends_meet_is_said():
    problem = Problem("u_xx - u = f", LINE, [X], f=np.linspace(0, 1, 41))
    with (
        pytest.warns(NumericalWarning, match=r"the source differs by 1\.0e\+00 at the ends of x"),
        pytest.warns(ConvergenceWarning),
    ):
        GPSolver().solve(problem, grid=(41,))


def test_a_resonance_is_an_error():
    problem = Problem("u_xx + (2*pi)**2*u = f", LINE, [X], f="cos(6*pi*x)")
    with pytest.raises(ArgumentError, match="singular"):
        GPSolver().solve(problem, grid=(40,))


def test_without_a_source_a_nonlinear_equation_makes_its_own_harmonics():
    """The start holds one line; what comes of it holds many."""
    problem = Problem("u_t = u_xx/100 + u - u**3", UNIT, [X, Initial("cos(2*pi*x)/2")])
    solution = GPSolver().solve(problem, grid=(40, 40))
    assert solution.report.residual <= 1e-11
    assert solution.report.rank[0] > 21


def test_frequencies_given_are_lines_taken():
    problem = Problem.from_exact("u_xx - u = f", LINE, "sin(6*pi*x)", [X])
    solution = GPSolver(frequencies={"x": [9.0]}).solve(problem, grid=(60,))
    assert solution.report.rank == (19,)
    assert solution.error() <= 1e-13


@pytest.mark.parametrize("name", ["1-D", "between walls", "Burgers"])
def test_a_file_holds_everything(name, tmp_path):
    equation, box, exact, conditions, grid, _ = CASES[name]
    problem = Problem.from_exact(equation, box, exact, conditions)
    solution = GPSolver().solve(problem, grid=grid)
    loaded = Solution.load(solution.save(tmp_path / "u.gp"))
    x = np.random.default_rng(0).uniform(size=(30, box.dimension))
    np.testing.assert_array_equal(loaded.mean(x), solution.mean(x))
    np.testing.assert_array_equal(loaded.std(x), solution.std(x))
    np.testing.assert_array_equal(
        loaded.sample(x, 2, random_state=1), solution.sample(x, 2, random_state=1)
    )
    assert loaded.check()


def test_equations_of_fifth_and_sixth_order_are_solved():
    """Kawahara's equation, and one that has little but its sixth derivative."""
    box, start = Box(x=(0, 1), t=(0, 1)), [Periodic("x"), Initial()]
    equation = "u_t + u*u_x + u_xxx/100 - u_xxxxx/10000 = f"
    wave = Problem.from_exact(equation, box, "cos(2*pi*(3*x - t))", start)
    assert GPSolver().solve(wave, grid=(60, 40)).error() < 1e-11
    # Its condition is 60^6: twelve digits are lost.
    line = Problem.from_exact("u_xxxxxx - u = f", Box(x=(0, 1)), "sin(20*pi*x)", [Periodic("x")])
    assert GPSolver().solve(line, grid=(60,)).error() < 1e-4
