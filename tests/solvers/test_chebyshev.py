"""The baseline against manufactured solutions, structured and dense, and its refusals."""

import numpy as np
import pytest

from kernelgp.errors import ArgumentError, NotPositiveDefiniteError, NumericalWarning
from solvers import Box, ChebyshevSolver, Dirichlet, Problem

LINE, SQUARE = Box(x=(0, 1)), Box(x=(0, 1), y=(-1, 1))


def error_of(equation, exact, grid, box=SQUARE, conditions=None):
    return (
        ChebyshevSolver().solve(Problem.from_exact(equation, box, exact, conditions), grid).error()
    )


@pytest.mark.parametrize(
    ("equation", "exact"),
    [
        ("u_xx = f", "sin(20*x)"),
        ("3*u_xx - 5*u_x + 7*u = f", "exp(x)*cos(9*x)"),
        ("-u_xx - 900*u = f", "sin(28*x) + x"),
    ],
)
def test_line(equation, exact):
    # Measured 1e-13 to 2e-12: the condition of the second derivative times epsilon.
    assert error_of(equation, exact, (50,), LINE) < 1e-10


@pytest.mark.parametrize(
    "equation",
    [
        "u_xx + u_yy = f",
        "2*u_xx + 3*u_x - u_y + 5*u_yy - 7*u = f",
        "u_xx + u_xy + 2*u_yy - u_x + 3*u = f",
        "u_xx - u_y + u_xy = f",
    ],
)
def test_square(equation):
    assert error_of(equation, "sin(5*x)*exp(y) + y*cos(6*y)", (24, 26)) < 1e-11


def test_structured_equals_dense():
    structured = Problem.from_exact("u_xx + u_yy + 4*u_x = f", SQUARE, "sin(5*x + 2*y)")
    dense = Problem.from_exact(
        "u_xx + u_yy + 4*u_x + e*u_xy = f", SQUARE, "sin(5*x + 2*y)", e=1e-14
    )
    one, other = (ChebyshevSolver().solve(p, (12, 15)) for p in (structured, dense))
    assert (one.report.method, other.report.method) == ("sylvester", "dense")
    np.testing.assert_allclose(one.posterior.values, other.posterior.values, atol=1e-12)


def test_first_order_needs_one_condition_along_its_axis():
    box = Box(x=(0, 1), t=(0, 1))
    conditions = [Dirichlet(on=["x-", "t-"])]
    assert error_of("20*u_x + u_t = 0", "sin(x - 20*t)", (20, 40), box, conditions) < 1e-12


def test_diffusion_in_time_from_its_initial_value():
    box = Box(x=(0, 3), t=(0, 1))
    conditions = [Dirichlet(on=["x-", "x+", "t-"])]
    assert error_of("u_t = u_xx", "exp(-4*t)*sin(2*x)", (20, 20), box, conditions) < 1e-12


def test_sources_of_callables_are_taken_at_its_own_points():
    problem = Problem("u_xx = f", LINE, [Dirichlet(lambda x: x**3)], f=lambda x: 6 * x)
    solution = ChebyshevSolver().solve(problem, (7,))
    assert solution.mean([0.3])[0] == pytest.approx(0.027, abs=1e-14)


def test_below_pi_points_to_a_wavelength_it_has_nothing():
    assert error_of("u_xx = f", "sin(100*x)", (36,), LINE) > 0.5


@pytest.mark.parametrize(
    ("problem", "grid", "message"),
    [
        (
            Problem("u_xx = f", LINE, [Dirichlet(0)], f=np.ones(9)),
            (9,),
            r"problem: got the source of 'u_xx = f' as an array; give a formula or a callable",
        ),
        (
            Problem("u_xx + u_yy = 0", SQUARE, [Dirichlet(np.ones(9), on="x-"),
                    Dirichlet(1, on=["x+", "y-", "y+"])]),
            (9, 9),
            r"problem: got the condition on x- of .* as an array; give a formula or a callable",
        ),
        (
            Problem("u_xx = f", LINE, [Dirichlet(0)], f=1),
            (2,),
            r"grid: got \(2,\); give \(n,\), .*, each at least 3",
        ),
        (
            Problem("u_xy + u_xx + u_yy = f", SQUARE, [Dirichlet(0)], f=1),
            (80, 80),
            r"grid: got \(80, 80\), which are 6084 unknowns in one dense matrix; give a smaller",
        ),
        (
            Problem("u_xx + u_yy + u_zz = 0", Box(x=(0, 1), y=(0, 1), z=(0, 1)), [Dirichlet(0)]),
            (9, 9, 9),
            r"problem: got 3 dimensions; give one or two",
        ),
        (
            Problem("u_xx = f", LINE, [Dirichlet(0, on="x-")], f=1),
            (9,),
            r"conditions: got none on face x\+",
        ),
        ("u_xx = f", (9,), r"problem: got str; give a solvers\.Problem"),
    ],
)  # fmt: skip
def test_what_it_cannot_solve_is_named(problem, grid, message):
    with pytest.raises(ArgumentError, match=message):
        ChebyshevSolver().solve(problem, grid)


def test_corners_that_disagree_are_warned_of_at_the_callers_line():
    problem = Problem("u_xx + u_yy = 0", SQUARE, [Dirichlet(1, on="x-"),
                      Dirichlet(0, on=["x+", "y-", "y+"])])  # fmt: skip
    with pytest.warns(NumericalWarning, match=r"x- and y- differ by 1\.0e\+00") as caught:
        ChebyshevSolver().solve(problem, (9, 9))
    assert caught[0].filename == __file__


def test_a_solution_that_is_not_finite_is_named():
    problem = Problem("u_xx + u_yy = f", SQUARE, [Dirichlet(0)], f=1e308)
    with pytest.raises(NotPositiveDefiniteError, match=r"equation: got 'u_xx \+ u_yy = f', which"):
        ChebyshevSolver().solve(problem, (9, 9))
