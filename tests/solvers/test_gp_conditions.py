"""Conditions on slopes, mixtures and starts, and equations of up to fourth order, to accuracy."""

import warnings

import numpy as np
import pytest

from kernelgp.errors import NumericalWarning
from solvers import Box, Dirichlet, GPSolver, Initial, Neumann, Problem, Robin

LINE, UNIT = Box(x=(0, 1)), Box(x=(0, 1), t=(0, 1))
PLANE, CUBE = Box(x=(0, 1), y=(0, 1)), Box(x=(0, 1), y=(0, 1), z=(0, 1))
SLOW_AND_FAST = "sin(40*x)*cos(30*y) + x*y"
START = [Initial(), Dirichlet(on=["x-", "x+"])]
POISSON_2D, POISSON_3D = "u_xx + u_yy = f", "u_xx + u_yy + u_zz = f"
WAVE_3D = "sin(20*x)*cos(15*y) + z*sin(25*z)"

# Equation, box, exact solution, conditions, grid and a bound on the relative L2 error.
CASES = {
    "Neumann": ("u_xx = f", LINE, "sin(40*x) + x**2",
                [Neumann(on="x-"), Dirichlet(on="x+")], (120,), 1e-11),
    "Robin": ("u_xx + u_x = f", LINE, "sin(40*x) + x**2",
              [Robin(2, 1, on="x-"), Robin(1, 0.5, on="x+")], (120,), 1e-10),
    "value and velocity": ("u_tt = f", Box(t=(0, 2)), "cos(60*t) + t", [Initial()], (120,), 1e-11),
    "Neumann 2-D": (POISSON_2D, PLANE, SLOW_AND_FAST,
                    [Neumann(on=["x-", "y+"]), Dirichlet(on=["x+", "y-"])], (100, 100), 1e-11),
    "Robin 2-D": ("u_xx + u_yy - u = f", PLANE, SLOW_AND_FAST,
                  [Robin(2, 1, on=["x-", "x+"]), Robin(1, 0.1, on=["y-", "y+"])], (100, 100),
                  1e-11),
    "Neumann everywhere": ("u_xx + u_yy - u = f", PLANE, SLOW_AND_FAST, [Neumann()], (100, 100),
                           1e-10),
    "wave": ("u_tt = 4*u_xx", UNIT, "sin(10*pi*x)*cos(20*pi*t)", START, (60, 100), 1e-12),
    "forced wave": ("u_tt = 4*u_xx + f", UNIT, "sin(10*pi*x)*cos(25*t) + x*t**2", START, (60, 100),
                    1e-12),
    "wave between slopes": ("u_tt = u_xx + f", UNIT, "cos(30*x)*sin(25*t)",
                            [Initial(), Neumann(on="x-"), Robin(1, 1, on="x+")], (80, 80), 1e-11),
    "heat": ("u_t = u_xx/100", UNIT, "sin(10*pi*x)*exp(-pi**2*t)", START, (60, 60), 1e-10),
    "insulated heat": ("u_t = u_xx/10 + f", UNIT, "cos(30*x)*cos(20*t)",
                       [Initial(), Neumann(on=["x-", "x+"])], (60, 60), 1e-12),
    "advection": ("200*u_x + u_t = 0", UNIT, "sin(x - 200*t)",
                  [Initial(), Dirichlet(on="x-")], (200, 200), 1e-12),
    "Dirichlet 3-D": (POISSON_3D, CUBE, WAVE_3D, [Dirichlet()], (40, 40, 40), 1e-11),
    "Neumann 3-D": (POISSON_3D, CUBE, WAVE_3D,
                    [Neumann(on=["x-", "y+"]), Dirichlet(on=["x+", "y-", "z-", "z+"])],
                    (40, 40, 40), 1e-11),
    "heat 2+1": ("u_t = u_xx + u_yy + f", Box(x=(0, 1), y=(0, 1), t=(0, 1)),
                 "sin(20*x)*cos(15*y)*sin(10*t) + x*y*t",
                 [Initial(), Dirichlet(on=["x-", "x+", "y-", "y+"])], (40, 40, 40), 1e-11),
    "third order": ("u_xxx = f", LINE, "sin(40*x) + exp(-x)",
                    [Dirichlet(), Neumann(on="x+")], (120,), 1e-10),
    "biharmonic": ("u_xxxx = f", Box(x=(0, 2)), "sin(40*x) + x**2", [Dirichlet(), Neumann()],
                   (120,), 1e-10),
    "stretched beam": ("u_xxxx - 100*u_xx + 3*u = f", LINE, "sin(40*x) + exp(-x)",
                       [Dirichlet(), Neumann()], (120,), 1e-10),
    "dispersion": ("u_t + u_xxx/100 = f", UNIT, "cos(30*x - 20*t)",
                   [*START, Neumann(on="x+")], (80, 80), 1e-10),
    "vibrating beam": ("u_tt + u_xxxx/100 = f", UNIT, "cos(30*x - 20*t)",
                       [*START, Neumann(on=["x-", "x+"])], (80, 80), 1e-11),
    "plate": ("u_xxxx + 2*u_xxyy + u_yyyy = f", PLANE, "cos(30*x - 20*y)",
              [Dirichlet(), Neumann()], (60, 60), 1e-11),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_made_solutions_come_back_without_a_warning(name):
    equation, box, exact, conditions, grid, bound = CASES[name]
    problem = Problem.from_exact(equation, box, exact, conditions)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        solution = GPSolver().solve(problem, grid=grid)
    assert solution.error() <= bound
    assert solution.report.boundary_error <= 1e-10


@pytest.mark.parametrize(
    "name", ["Neumann", "Robin", "value and velocity", "wave", "heat", "biharmonic", "Neumann 2-D"]
)
def test_deviations_cover_the_errors(name):
    equation, box, exact, conditions, grid, _ = CASES[name]
    problem = Problem.from_exact(equation, box, exact, conditions)
    solution = GPSolver().solve(problem, grid=grid)
    lower, upper = np.array(box.bounds).T
    x = np.random.default_rng(3).uniform(lower, upper, size=(200, box.dimension))
    error = np.abs(solution.mean(x) - problem.exact(x))
    assert np.mean(error <= 2 * solution.std(x)) >= 0.9
    assert solution.check()


def test_slopes_given_are_slopes_taken():
    """An outward slope of 3 at the lower end is a derivative of -3 there."""
    problem = Problem("u_xx = 0", LINE, [Neumann(3, on="x-"), Dirichlet(1, on="x+")])
    solution = GPSolver().solve(problem, grid=(30,))
    x = np.linspace(0, 1, 7)
    np.testing.assert_allclose(solution.mean(x), 4 - 3 * x, atol=1e-10)
    np.testing.assert_allclose(solution.derivative("u_x", x), -3, atol=1e-10)


@pytest.mark.parametrize(
    ("equation", "box", "exact", "grid", "bound"),
    [
        ("u_xx = f", LINE, "cos(12*pi*x) + x**2/2 - 1/6", (120,), 1e-9),
        ("u_xx + u_yy = f", PLANE, "cos(12*pi*x)*cos(30*y) + y*(x - 1/2)", (80, 80), 1e-10),
        ("3*u_xx = f", Box(x=(0, 2)), "cos(10*pi*x) + exp(-x) - (1 - exp(-2))/2", (120,), 1e-9),
        ("u_xx + u_yy + u_zz = f", CUBE, "cos(8*pi*x)*cos(10*pi*y) + z - 1/2", (40, 40, 40), 1e-10),
    ],
)
def test_a_free_constant_is_fixed_by_the_mean_and_said(equation, box, exact, grid, bound):
    """Each exact solution has the mean zero over its box."""
    problem = Problem.from_exact(equation, box, exact, [Neumann()])
    with pytest.warns(NumericalWarning, match="mean zero"):
        solution = GPSolver().solve(problem, grid=grid)
    assert solution.error() <= bound
    x = np.random.default_rng(3).uniform(size=(100, box.dimension))
    error = np.abs(solution.mean(x) - problem.exact(x))
    deviation = solution.std(x)
    assert np.mean(error <= 2 * deviation) >= 0.9
    assert deviation.max() <= 1e-6
    draws = solution.sample(x, n_samples=4) - solution.mean(x)
    assert np.abs(draws).max() <= 10 * deviation.max()
