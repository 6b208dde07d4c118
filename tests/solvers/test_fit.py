"""What `Solution.check` says in words: where a prior of a few tones does not fit."""

import warnings

import numpy as np
import pytest

from solvers import Box, Dirichlet, GPSolver, Initial, Observations, Problem

LINE, PLANE, UNIT = Box(x=(0, 1)), Box(x=(0, 1), y=(0, 1)), Box(x=(0, 1), t=(0, 1))
CUBE = Box(x=(0, 1), y=(0, 1), z=(0, 1))
START = [Initial(), Dirichlet(on=["x-", "x+"])]


def judged(problem, grid):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return GPSolver().solve(problem, grid=grid).check()


def test_a_chirp_is_said_to_be_one_for_a_spectral_method():
    verdict = judged(Problem.from_exact("u_xx = f", LINE, "sin(200*x**2)"), (200,))
    (note,) = verdict.notes
    assert "the prior does not fit" in note
    assert "spectral method such as ChebyshevSolver would do" in note
    assert note in str(verdict)


def test_a_shock_is_found_where_it_is():
    verdict = judged(Problem.from_exact("u_xx = f", LINE, "tanh(500*(x - 0.5))"), (200,))
    assert not verdict
    (note,) = verdict.notes
    assert "the prior does not fit: what the equation leaves is near x = 0.5" in note or (
        "near x = 0.49" in note
    )
    assert "spectral method in pieces" in note


def test_a_corner_singularity_is_said_to_be_one():
    verdict = judged(Problem("u_xx + u_yy = f", PLANE, [Dirichlet(0)], f=1), (30, 30))
    (note,) = verdict.notes
    assert "in the corners" in note
    assert "corner singularity" in note


CASES = {
    "tones": ("u_xx + u_yy = f", PLANE, "sin(30*x)*cos(20*y)", None, (60, 60)),
    "nonlinear in time": ("u_t = u_xx/10 - u**3 + f", UNIT, "sin(20*x)*cos(5*t)", START, (60, 60)),
    "three dimensions": ("u_xx + u_yy + u_zz = f", CUBE, "sin(9*x)*cos(8*y)*z", None,
                         (20, 20, 20)),
    "a line": ("u_xx = f", LINE, "sin(100*x) + x", None, (120,)),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_nothing_is_said_where_the_prior_fits(name):
    equation, box, exact, conditions, grid = CASES[name]
    verdict = judged(Problem.from_exact(equation, box, exact, conditions), grid)
    assert verdict
    assert verdict.notes == ()


def test_a_system_is_judged():
    system = Problem.from_exact(
        ["u_x = v", "v_x + 900*u = f"],
        LINE,
        {"u": "sin(50*x)", "v": "50*cos(50*x)"},
        functions=["u", "v"],
        conditions=[Dirichlet(on="x-")],
    )
    verdict = judged(system, (120,))
    assert verdict
    assert len(verdict.checks) >= 2


def seen_problem(shift):
    points = np.linspace(0.02, 0.98, 60)
    noise = 0.01 * np.random.default_rng(0).normal(size=60)
    values = np.sin(6 * points) + noise + shift * np.sign(points - 0.5)
    return Problem("c*u_xx + 36*u = 0", LINE, [Observations(points[:, None], values, noise=1e-4)],
                   unknown={"c": (0.3, 3.0)})  # fmt: skip


def test_sensors_are_held_against_their_noise():
    verdict = judged(seen_problem(0.0), (30,))
    assert verdict
    assert "misfit of u at sensors, in deviations" in str(verdict)
    assert "misfit of u at sensors" in str(judged(seen_problem(0.3), (30,))).splitlines()[0]


def test_noise_is_no_error_of_the_solver():
    points = np.random.default_rng(1).uniform(size=(120, 2))
    values = np.sin(6 * points[:, 0]) * np.cos(5 * points[:, 1])
    values += 0.01 * np.random.default_rng(2).normal(size=120)
    problem = Problem.from_exact(
        "u_xx + u_yy = f",
        PLANE,
        "sin(6*x)*cos(5*y)",
        [Dirichlet(on=["x-", "x+"]), Observations(points, values, noise=1e-4)],
    )
    assert judged(problem, (20, 20))
