"""What a user gets wrong, through the front door: one clear message with argument and remedy.

Parts check their own arguments in their own tests; here whole calls are made, for both methods
where both apply.
"""

import numpy as np
import pytest
import torch

from kernelgp.errors import ArgumentError, ArgumentTypeError, ConvergenceWarning
from solvers import Box, ChebyshevSolver, Dirichlet, GPSolver, Problem

LINE = Box(x=(0, 1))
SQUARE = Box(x=(0, 1), y=(0, 1))
METHODS = pytest.mark.parametrize("method", ["direct", "map"])


def tone(omega=20):
    return Problem.from_exact("u_xx = f", LINE, f"sin({omega}*x)")


def solve(problem, grid=(40,), **options):
    return GPSolver(**options).solve(problem, grid=grid)


@pytest.fixture(scope="module")
def solution():
    return solve(tone())


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_source_that_is_not_finite(value):
    source = np.ones(40)
    source[3] = value
    with pytest.raises(ArgumentError, match=r"f: got 1 of 40 values not finite.*index \(3,\)"):
        Problem("u_xx = f", LINE, conditions=[Dirichlet(0)], f=source)


@METHODS
def test_callable_source_that_is_not_finite(method):
    def f(x):
        return np.where(x > 0.5, np.nan, x)

    problem = Problem("u_xx = f", LINE, conditions=[Dirichlet(0)], f=f)
    with pytest.raises(ArgumentError, match=r"f: got .*not finite"):
        solve(problem, method=method)


@METHODS
def test_expression_that_is_singular_on_the_grid(method):
    problem = Problem("u_xx = f", LINE, conditions=[Dirichlet(0)], f="1/x")
    with pytest.raises(ArgumentError, match=r"f: got .*not finite"):
        solve(problem, method=method)


def test_boundary_value_that_is_not_finite():
    with pytest.raises(ArgumentError, match=r"Dirichlet value on x-, x\+: got nan; give a finite"):
        Problem("u_xx = f", LINE, conditions=[Dirichlet(np.nan)], f="1")


def test_source_that_is_complex():
    with pytest.raises(ArgumentError, match=r"f: got complex128 values; give real numbers"):
        Problem("u_xx = f", LINE, conditions=[Dirichlet(0)], f=np.ones(40, dtype=complex))


@METHODS
@pytest.mark.parametrize("grid", [(), (0,), (1,), (-5,), (40, 40), (2.5,), 40, "40", (np.nan,)])
def test_grid_that_is_none(method, grid):
    with pytest.raises(ArgumentError, match=r"grid: got .*; give \(n,\), the numbers of points"):
        solve(tone(), grid, method=method)


@METHODS
def test_source_array_of_another_shape_than_the_grid(method):
    problem = Problem("u_xx = f", LINE, conditions=[Dirichlet(0)], f=np.ones(30))
    with pytest.raises(ArgumentError, match=r"f: got .*\(30,\).*\(40,\)"):
        solve(problem, method=method)


@METHODS
def test_face_without_a_condition(method):
    problem = Problem(
        "u_xx + u_yy = f", SQUARE, conditions=[Dirichlet(0, on=["x-", "x+", "y-"])], f="1"
    )
    with pytest.raises(ArgumentError, match=r"conditions: got none on face y\+; give one"):
        solve(problem, (20, 20), method=method)


@pytest.mark.parametrize(
    ("equation", "message"),
    [
        ("u_xx = f + q", r"q"),
        ("u = f", r"deriv"),
        ("u_xx + u", r"="),
        ("u_xx = f = 1", r"="),
        ("u_zz = f", r"z"),
        ("u_xx = f +", r"equation: got"),
        ("", r"equation: got"),
    ],
)
def test_equation_that_cannot_be_read(equation, message):
    with pytest.raises(ArgumentError, match=message):
        Problem(equation, LINE, conditions=[Dirichlet(0)], f="1")


@pytest.mark.parametrize("order", [5, 9])
def test_equation_of_too_high_an_order(order):
    with pytest.raises(ArgumentError, match=f"order {order}"):
        solve(Problem(f"u_{'x' * order} = f", LINE, conditions=[Dirichlet(0)], f="1"))


def test_system_that_is_too_high_for_its_conditions():
    both = ["u_xxxxx = v", "v_x = u"]
    start = [Dirichlet(0, on="x-", of=name) for name in ("u", "v")]
    problem = Problem(both, LINE, start, functions=["u", "v"])
    with pytest.raises(ArgumentError, match="got 2 along x, where the equation is of order 6"):
        solve(problem)


def test_nonlinear_equation_that_is_not_finite():
    problem = Problem("u_xx + log(u - 9) = 0", LINE, [Dirichlet(0)])
    with pytest.raises(ArgumentError, match="not finite at a first guess"):
        solve(problem)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kernel": "rbf"}, r"kernel: got 'rbf'; give 'gaussian', 'student' or 'matern52'"),
        ({"method": "magic"}, r"method: got 'magic'; give 'direct' or 'map'"),
        ({"dtype": torch.float16}, r"dtype: got torch\.float16; give torch\.float32 or"),
        ({"dtype": torch.complex64}, r"dtype: got torch\.complex64"),
        ({"frequencies": {"z": [1.0]}}, r"frequencies\['z'\]: got no axis.*give x"),
        ({"frequencies": {"x": [np.nan]}}, r"frequencies\['x'\]: got .*finite"),
        ({"frequencies": {"x": [-1.0]}}, r"frequencies\['x'\]: got .*from 0"),
        ({"frequencies": {"x": ["a"]}}, r"frequencies\['x'\]: got .*numbers"),
        ({"frequencies": {"x": [1e3]}}, r"grid: got 40 points along x for 1000 cycles"),
    ],
)
def test_solver_option_that_cannot_be_used(options, message):
    with pytest.raises(ArgumentError, match=message):
        solve(tone(), **options)


def test_something_else_than_a_problem():
    with pytest.raises(ArgumentTypeError, match=r"problem: got dict; give a solvers\.Problem"):
        solve({"equation": "u_xx = f"})


@METHODS
@pytest.mark.parametrize("points", [12, 30])
def test_grid_too_coarse_for_the_solution(method, points):
    """64 waves: on such a grid the source passes for another tone, so only a residual tells."""
    direct = rf"grid: got {points} points along x .*give at least"
    # The search may find on its own that it gets nowhere, and warn.
    with pytest.raises((ArgumentError, ConvergenceWarning), match=f"{direct}|a finer grid"):
        solve(tone(400), (points,), method=method)


@pytest.mark.parametrize(
    ("points", "message"),
    [
        (np.array([[0.5, 0.5]]), r"points: got .*\(1, 2\)"),
        (np.array([[np.nan]]), r"points: got .*finite"),
        (np.array([[1.5]]), r"points: got .*outside"),
        (np.array([["a"]]), r"points: got "),
        (np.array([[0.5 + 1j]]), r"points: got "),
    ],
)
@pytest.mark.parametrize("what", ["mean", "std", "residual"])
def test_points_that_cannot_be_used(solution, what, points, message):
    with pytest.raises(ArgumentError, match=message):
        getattr(solution, what)(points)


def test_no_points(solution):
    with pytest.raises(ArgumentError, match=r"points: got shape \(0, 1\); give at least one"):
        solution.mean(np.zeros((0, 1)))


def test_one_point_and_points_given_twice(solution):
    mean, std = (np.asarray(f(np.full((3, 1), 0.3))) for f in (solution.mean, solution.std))
    np.testing.assert_allclose(mean, mean[0])
    np.testing.assert_allclose(std, std[0])


@pytest.mark.parametrize("count", [0, -1, 1.5])
def test_number_of_samples_that_is_none(solution, count):
    with pytest.raises(ArgumentError, match=r"n_samples: got "):
        solution.sample(np.array([[0.3]]), n_samples=count)


@pytest.mark.parametrize("name", ["v_x", "u_z", "u_", "x"])
def test_derivative_that_is_none(solution, name):
    with pytest.raises(ArgumentError, match=rf": got .*{name}"):
        solution.derivative(name, np.array([[0.3]]))


def test_interrupting_the_search_keeps_what_is_done(monkeypatch):
    """Ctrl-C in the middle of `method="map"`, as the terminal would send it."""
    from solvers import map_objective  # noqa: PLC0415 - only this test reaches inside

    original, calls = map_objective.MapObjective.evaluate, []

    def interrupted(self, *arguments):
        calls.append(1)
        if len(calls) == 6:
            raise KeyboardInterrupt
        return original(self, *arguments)

    monkeypatch.setattr(map_objective.MapObjective, "evaluate", interrupted)
    with pytest.warns(
        ConvergenceWarning, match=r"interrupted; .*the best so far is kept"
    ) as caught:
        found = solve(tone(), method="map")
    assert np.isfinite(found.mean(np.array([[0.3]]))).all()
    assert caught[0].filename == __file__


def test_baseline_refuses_the_same():
    solver = ChebyshevSolver()
    with pytest.raises(ArgumentError, match=r"grid: got "):
        solver.solve(tone(), grid=(0,))
    missing = Problem("u_xx = f", LINE, conditions=[Dirichlet(0, on="x-")], f="1")
    with pytest.raises(ArgumentError, match=r"conditions: got none on face x\+"):
        solver.solve(missing, grid=(20,))
