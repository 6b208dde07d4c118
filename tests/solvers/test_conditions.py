"""Conditions: what they mean on a face, what is derived for them, and how many there have to be."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from kernelgp.errors import ArgumentError, ArgumentTypeError
from solvers import (
    Box,
    ChebyshevSolver,
    Dirichlet,
    GPSolver,
    Initial,
    Neumann,
    Observations,
    Periodic,
    Problem,
    Robin,
    Solution,
)
from solvers.interpolant import ChebyshevInterpolant, ChebyshevReport
from solvers.needs import Need

LINE, SQUARE = Box(x=(0, 2)), Box(x=(0, 1), y=(0, 2))
SPACETIME = Box(x=(0, 1), t=(0, 1))
POISSON = "u_xx + u_yy = f"
EXACT = "sin(3*x + y) + x*y**2"
ENDS = ["x-", "x+"]


def difference(problem, face, step=1e-4):
    """``alpha u + beta ∂u/∂n`` of the exact solution on a face, by differences."""
    rng = np.random.default_rng(0)
    at = np.stack([rng.uniform(lo, hi, 30) for lo, hi in problem.domain.bounds], axis=1)
    at[:, face.axis] = face.coordinate
    out = np.zeros(problem.dimension)
    out[face.axis] = step if face.end else -step
    slope = (problem.exact(at + out) - problem.exact(at - out)) / (2 * step)
    return at, face.alpha * problem.exact(at) + face.beta * slope


@given(alpha=st.floats(-3, 3), beta=st.floats(0.1, 3))
def test_values_derived_from_the_exact_solution_are_along_the_outward_normal(alpha, beta):
    for conditions in ([Neumann()], [Robin(alpha, beta)]):
        problem = Problem.from_exact(POISSON, SQUARE, EXACT, conditions)
        assert {face.name for face in problem.faces} == {"x-", "x+", "y-", "y+"}
        for face in problem.faces:
            at, expected = difference(problem, face)
            np.testing.assert_allclose(face.value(*at.T), expected, rtol=1e-6, atol=1e-6)


def test_a_velocity_is_along_time_and_not_along_the_normal():
    problem = Problem.from_exact(
        "u_tt = 4*u_xx", SPACETIME, "sin(3*x)*sin(6*t)", [Initial(), Dirichlet(on=ENDS)]
    )
    value, velocity = problem.faces[:2]
    assert (value.name, value.weights, value.end) == ("t-", (1.0,), 0)
    assert (velocity.name, velocity.weights, velocity.beta) == ("t-", (0.0, 1.0), -1.0)
    x = np.linspace(0, 1, 5)
    np.testing.assert_allclose(velocity.value_on_grid([x]), 6 * np.sin(3 * x), rtol=1e-14)


def test_an_equation_of_first_order_in_time_starts_from_values_alone():
    problem = Problem.from_exact(
        "u_t = u_xx + f", SPACETIME, "sin(3*x)*exp(-t)", [Initial(), Dirichlet(on=ENDS)]
    )
    assert [face.name for face in problem.faces] == ["t-", "x-", "x+"]
    problem.check_conditions()


@pytest.mark.parametrize(
    ("equation", "box", "exact", "conditions", "grid"),
    [
        ("u_xx = f", LINE, "sin(30*x)", [Neumann(on="x+"), Dirichlet(on="x-")], (90,)),
        (
            POISSON,
            SQUARE,
            "sin(20*x)*cos(15*y)",
            [Robin(2, 3, on="x+"), Neumann(on="y-"), Dirichlet(on=["x-", "y+"])],
            (50, 60),
        ),
        (
            "u_tt = 4*u_xx",
            SPACETIME,
            "sin(10*pi*x)*cos(20*pi*t)",
            [Initial(), Dirichlet(on=ENDS)],
            (60, 100),
        ),
    ],
)
def test_slopes_mixtures_and_velocities_are_solved_for(equation, box, exact, conditions, grid):
    problem = Problem.from_exact(equation, box, exact, conditions)
    assert problem.needs == {Need.SLOPES}
    assert GPSolver().solve(problem, grid).error() < 1e-11


@pytest.mark.parametrize(
    ("equation", "conditions", "free"),
    [
        (POISSON, [Neumann(0)], True),
        (POISSON, [Neumann(0, on=["x-", "x+", "y-"]), Dirichlet(0, on="y+")], False),
        (POISSON, [Robin(1, 1, 0)], False),
        (POISSON, [Periodic("x"), Neumann(0)], True),
        (POISSON, [Periodic("x"), Periodic("y")], True),
        (POISSON, [Neumann(0), Observations([[0.5, 0.5]], [1.0])], False),
        ("u_xx + u_yy + u = f", [Neumann(0)], False),
        ("u_xx + u_yy + u_x = f", [Neumann(0)], True),
    ],
)
def test_a_free_constant_is_seen(equation, conditions, free):
    problem = Problem(equation, SQUARE, conditions, f=0)
    assert problem.constant_is_free is free
    assert (Need.FREE_CONSTANT in problem.needs) is free


@pytest.mark.parametrize(
    ("equation", "box", "conditions"),
    [
        ("u_xxxx = f", LINE, [Dirichlet(0), Neumann(0)]),
        ("u_xxxx = f", LINE, [Dirichlet(0, on="x-"), Neumann(0)]),
        ("u_xxx = f", LINE, [Dirichlet(0), Neumann(0, on="x+")]),
        ("u_xx = f", LINE, [Dirichlet(0, on="x-"), Neumann(0, on="x-")]),
        (POISSON, SQUARE, [Periodic("x"), Dirichlet(0)]),
        (POISSON, SQUARE, [Periodic("y"), Robin(1, 2, 0, on="x-"), Dirichlet(0, on="x+")]),
        ("u_t = u_xx + f", SPACETIME, [Initial(0), Periodic("x")]),
        ("u_tt = u_xx + f", SPACETIME, [Initial(0, 0), Neumann(0, on=ENDS)]),
        (POISSON, SQUARE, [Observations([[0.1, 0.1]], [1.0], noise="learn")]),
    ],
)
def test_as_many_conditions_as_the_equation_needs_pass(equation, box, conditions):
    # The third-order one has too few.
    problem = Problem(equation, box, conditions, f=0)
    if equation == "u_xxxx = f" and len(problem.faces) < 4:
        with pytest.raises(ArgumentError, match=r"got 3 along x, .* of order 4; give 4 over x-"):
            problem.check_conditions()
        return
    problem.check_conditions()


@pytest.mark.parametrize(
    ("equation", "box", "conditions", "message"),
    [
        ("u_xxxx = f", LINE, [Dirichlet(0)], r"2 along x, where .* order 4; give 4 over x- and"),
        ("u_xx = f", LINE, [Dirichlet(0), Neumann(0)], r"4 along x, .* of order 2; give 2"),
        ("u_t = u_xx + f", SPACETIME, [Initial(0)], r"none on faces x-, x\+; give one on each"),
        ("u_tt = u_xx + f", SPACETIME, [Dirichlet(0, on=[*ENDS, "t-"])], r"none on face t\+"),
        (
            POISSON,
            SQUARE,
            [Dirichlet(0, on=["x-", "y-", "y+"]), Neumann(0, on="x-")],
            r"two on x-, where the equation is elliptic; give one on each of x- and x\+",
        ),
        ("u_x = f", LINE, [Neumann(0, on="x-")], r"slopes on x-, .* of order 1 in x; give the v"),
        ("u_x = f", LINE, [Robin(1, 1, 0, on="x-")], r"a mixture on x-, where .* order 1 in x"),
    ],
)
def test_too_few_or_too_many_conditions_are_counted(equation, box, conditions, message):
    problem = Problem(equation, box, conditions, f=0)
    with pytest.raises(ArgumentError, match=f"conditions: got {message}"):
        problem.check_conditions()


@pytest.mark.parametrize(
    ("conditions", "message"),
    [
        ([Neumann(0), Neumann(1, on="x+")], r"conditions: got more than one on x\+; give one"),
        ([Robin(2, 0, 1), Dirichlet(0)], r"conditions: got more than one on t\+, t-, x\+, x-"),
        (
            [Dirichlet(0, on="x-"), Neumann(0, on="x-"), Robin(1, 1, 0, on="x-")],
            r"more than one on x-",
        ),
        ([Periodic("z")], r"axis: got 'z'; give one of 'x', 't', each once"),
        ([Periodic("x"), Periodic("x")], r"axis: got 'x'; give one of"),
        ([Periodic("x"), Neumann(0, on="x-")], r"one on x- and Periodic\('x'\); give one of the"),
        ([Neumann(on="x-")], r"conditions: got Neumann\(on='x-'\) without a value; give its value"),
        ([Initial(0)], r"conditions: got Initial\(0\) without a velocity; give its velocity"),
        ([Neumann(np.ones(3), on=ENDS)], r"one array for 2 faces; .* Neumann\(array, on=...\)"),
        ([Neumann("q", on="x-")], r"Neumann value on x-: got the unknown name 'q'"),
        ([Initial("q", 0)], r"Initial value on t-: got the unknown name 'q'"),
        ([Initial(0, velocity=np.nan)], r"Initial velocity on t-: got nan; give a finite number"),
        ([Initial(0, 0, of="v")], r"of: got 'v'; give 'u', the unknown function"),
        ([Observations([[0.5, 3.0]], [1.0])], r"points: got 1 of 1 points outside, .*\(0\.5, 3\)"),
        ([Observations([0.5], [1.0])], r"points: got shape \(1,\); give \(m, 2\)"),
        ([Observations([[0.5, np.nan]], [1.0])], r"points: got 1 of 1 points not finite"),
        ([Observations([[0.5, 0.5]], [1.0], of="w")], r"of: got 'w'; give 'u'"),
    ],
)
def test_conditions_that_do_not_fit_are_named(conditions, message):
    with pytest.raises(ArgumentError, match=message):
        Problem("u_tt = u_xx + f", SPACETIME, conditions, f=0)


@pytest.mark.parametrize(
    ("equation", "box", "condition", "message"),
    [
        ("u_t = u_xx + f", SPACETIME, Initial(0, 1), r"velocity: got .* first order in t; leave"),
        (POISSON, SQUARE, Initial(0), r"Initial\(0\) on Box.*; name the axis of time 't'"),
    ],
)
def test_a_start_that_has_no_place_is_named(equation, box, condition, message):
    with pytest.raises(ArgumentError, match=message):
        Problem(equation, box, [condition], f=0)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Robin(0, 0, 1), r"alpha: got 0, and beta 0 too; give a weight that is not zero"),
        (lambda: Robin(np.inf, 0, 1), r"alpha: got inf; give a finite number"),
        (lambda: Robin(1, "x", 1), r"beta: got 'x'; give a number"),
        (lambda: Robin(True, 1, 1), r"alpha: got True; give a number"),
        (lambda: Observations([[0.1]], [1.0, 2.0]), r"values: got shape \(2,\); give one for each"),
        (lambda: Observations([[0.1]], [[1.0]]), r"values: got shape \(1, 1\); give one for each"),
        (lambda: Observations([[0.1], [0.2]], [1, np.nan]), r"1 of 2 values missing, .* row 1"),
        (lambda: Observations([[0.1]], ["a"]), r"values: got <U1 values; give real numbers"),
        (lambda: Observations([[0.1]], [1j]), r"values: got complex128 values; give real"),
        (lambda: Observations([[0.1], [1, 2]], [1, 2]), r"points: got list; give an array of"),
        (lambda: Observations([[0.1]], [1], noise=0), r"noise: got 0; give a positive variance"),
        (lambda: Observations([[0.1]], [1], noise=-1.0), r"noise: got -1\.0; give a positive"),
        (lambda: Observations([[0.1]], [1], noise="guess"), r"noise: got 'guess'; .* or 'learn'"),
        (lambda: Observations([[0.1]], [1], noise=None), r"noise: got None; give a positive"),
    ],
)
def test_conditions_that_mean_nothing_are_refused(make, message):
    with pytest.raises(ArgumentError, match=message):
        make()


def test_a_robin_weight_of_another_type_is_a_type_error():
    with pytest.raises(ArgumentTypeError):
        Robin(None, 1)


def test_observations_are_copied_and_keep_their_noise():
    points, values = torch.tensor([[0.5, 0.25]]), np.array([2])
    first = Observations(points, values)
    problem = Problem(POISSON, SQUARE, [first, Observations(points, values, noise="learn")], f=0)
    points[:], values[:] = 0.0, 9
    known, learned = problem.observations
    np.testing.assert_array_equal(known.points, [[0.5, 0.25]])
    np.testing.assert_array_equal(known.values, [2.0])
    assert (known.noise, learned.noise, known.function) == (1e-4, "learn", "u")
    assert known.points.dtype == known.values.dtype == np.float64


def test_repr_of_conditions_reads_as_the_call():
    shown = [
        Neumann("x", on="x-"),
        Robin(1.5, 2, on=["y-"]),
        Initial(velocity="sin(x)"),
        Observations([[0.0]], [1.0], noise="learn", of="u"),
    ]
    assert list(map(repr, shown)) == [
        "Neumann('x', on='x-')",
        "Robin(1.5, 2, on=['y-'])",
        "Initial(velocity='sin(x)')",
        "Observations(array of shape (1, 1), array of shape (1,), noise='learn', of='u')",
    ]


def test_conditions_come_back_from_a_file(tmp_path):
    conditions = [
        Initial("sin(x)", velocity=2.5),
        Robin(2, 0.5, np.arange(5.0), on="x-"),
        Neumann(1, on=["x+"]),
        Observations([[0.5, 0.25]], [3.0], noise="learn", of="u"),
    ]
    problem = Problem("u_tt = u_xx", SPACETIME, conditions)
    report = ChebyshevReport(0.1, "dense", 3)
    posterior = ChebyshevInterpolant(np.ones((5, 5)), SPACETIME.bounds, report)
    path = Solution(problem, posterior, (5, 5)).save(tmp_path / "u.gp")
    again = Solution.load(path).problem
    for one, other in zip(again.faces, problem.faces, strict=True):
        assert (one.name, one.weights) == (other.name, other.weights)
        x = np.linspace(0, 1, 5)
        np.testing.assert_array_equal(one.value_on_grid([x]), other.value_on_grid([x]))
    (sensors,) = again.observations
    assert (sensors.values.tolist(), sensors.noise, sensors.function) == ([3.0], "learn", "u")

    periodic = Problem("u_xx = f", LINE, [Periodic("x")], f=0)
    posterior = ChebyshevInterpolant(np.ones(5), LINE.bounds, report)
    path = Solution(periodic, posterior, (5,)).save(tmp_path / "p.gp")
    assert Solution.load(path).problem.periodic == (0,)


def test_rough_kernels_refuse_observations():
    problem = Problem(POISSON, SQUARE, [Dirichlet(0), Observations([[0.1, 0.1]], [1.0])], f=0)
    with pytest.raises(ArgumentError, match=r"one with observations, which GPSolver\('matern52'"):
        GPSolver("matern52").solve(problem, (20, 20))


def test_rough_kernels_refuse_periodic_axes():
    problem = Problem(POISSON, SQUARE, [Periodic("x"), Dirichlet(0, on=["y-", "y+"])], f=0)
    with pytest.raises(ArgumentError, match=r"periodic axes, which GPSolver\('matern52'"):
        GPSolver("matern52").solve(problem, (20, 20))


def test_the_baseline_refuses_slopes():
    problem = Problem(POISSON, SQUARE, [Robin(1, 1, 0)], f=0)
    with pytest.raises(ArgumentError, match=r"conditions on slopes, which ChebyshevSolver does"):
        ChebyshevSolver().solve(problem, (20, 20))


def test_an_exact_solution_has_to_be_as_periodic_as_it_is_said_to_be():
    conditions = [Periodic("x"), Dirichlet(on=["y-", "y+"])]
    made = Problem.from_exact(POISSON, SQUARE, "sin(2*pi*x)*y", conditions)
    assert {face.name for face in made.faces} == {"y-", "y+"}
    with pytest.raises(ArgumentError, match=r"exact: got a value that differs by .* ends of x; "):
        Problem.from_exact(POISSON, SQUARE, "sin(2*x)*y", conditions)
    with pytest.raises(ArgumentError, match=r"exact: got a derivative 1 that differs by"):
        Problem.from_exact(POISSON, SQUARE, "x*(1 - x)*y", conditions)
