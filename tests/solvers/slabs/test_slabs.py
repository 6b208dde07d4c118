"""Initial-value problems slab by slab: accuracy, deviations, files, interruption, bad input."""

import warnings

import numpy as np
import pytest

from kernelgp.errors import ArgumentError, ConvergenceWarning
from solvers import Box, Dirichlet, GPSolver, Initial, Neumann, Periodic, Problem, Robin, Solution
from solvers.divergence import DivergenceError
from solvers.slabs import SlabsPosterior, solve_in_slabs

UNIT = Box(x=(0, 1), t=(0, 1))
SIDES = Dirichlet(on=["x-", "x+"])
START = (Initial(), SIDES)

# Equation, box, exact solution, conditions, grid, slabs and a bound on the relative L2 error.
CASES = {
    "heat": ("u_t = u_xx/100", UNIT, "sin(10*pi*x)*exp(-pi**2*t)", START, (80, 60), 5, 1e-10),
    "wave": ("u_tt = 4*u_xx", UNIT, "sin(4*pi*x)*cos(8*pi*t)", START, (80, 100), 10, 1e-7),
    "damped, nonlinear wave": ("u_tt + u_t/2 = u_xx - sin(u) + f", Box(x=(0, 3), t=(0, 4)),
                               "cos(7*x - 5*t)", START, (100, 120), 10, 1e-8),
    "strong advection": ("u_t + u*u_x = u_xx/100 + f", UNIT, "1 + sin(40*x - 30*t)/2", START,
                         (100, 100), 10, 1e-8),
    "turned axes, coefficients of both": (
        "u_t = (1 + x**2/2 + sin(3*t)/4)*u_xx/50 - cos(x + t)*u_x + u + f",
        Box(t=(0, 2), x=(-1, 1)), "exp(-t/3)*sin(9*x + 3*t)",
        (Initial(), Robin(2, 1, on="x-"), Neumann(on="x+")), (60, 80), 6, 1e-8),
    "fourth order": ("u_t = -u_xxxx/1000 + f", UNIT, "sin(9*x - 3*t)",
                     (*START, Neumann(on=["x-", "x+"])), (60, 60), 5, 1e-8),
    "inflow only": ("u_t + 3*u_x = f", UNIT, "sin(20*x - 3*t)", (Initial(), Dirichlet(on="x-")),
                    (80, 60), 6, 1e-8),
    "third order, periodic": ("u_t + u*u_x + u_xxx/100 = f", UNIT, "cos(6*pi*x - 4*t) + sin(t)",
                              (Initial(), Periodic("x")), (60, 60), 6, 1e-8),
}  # fmt: skip


def make(name):
    equation, box, exact, conditions, grid, slabs, bound = CASES[name]
    problem = Problem.from_exact(equation, box, exact, conditions)
    return problem, grid, slabs, bound


@pytest.mark.parametrize("name", CASES)
def test_error_and_deviation(name):
    problem, grid, slabs, bound = make(name)
    solution = GPSolver().solve(problem, grid=grid, slabs=slabs)
    assert solution.error() < bound
    assert solution.check()
    lower, upper = np.transpose(problem.domain.bounds)
    points = np.random.default_rng(0).uniform(lower, upper, size=(300, 2))
    error, std = np.abs(solution.mean(points) - problem.exact(points)), solution.std(points)
    assert np.mean(error <= 2 * std) >= 0.9


def burgers(viscosity="0.01/pi"):
    equation = f"u_t + u*u_x = {viscosity}*u_xx"
    sides = Dirichlet(0, on=["x-", "x+"])
    return Problem(equation, Box(x=(-1, 1), t=(0, 1)), [Initial("-sin(pi*x)"), sides])


def burgers_exactly(x, t, viscosity=0.01 / np.pi):
    """Cole and Hopf: two integrals over a Gaussian, by quadrature in logarithms."""
    # What counts has travelled with a speed of up to one, and diffused.
    reach = t + 8 * np.sqrt(2 * viscosity * t)
    y = np.linspace(-reach, reach, 8001)
    exponent = -(y**2) / (4 * viscosity * t) - np.cos(np.pi * (x[:, None] - y)) / (
        2 * np.pi * viscosity
    )
    weights = np.exp(exponent - exponent.max(axis=1, keepdims=True))
    return -(np.sin(np.pi * (x[:, None] - y)) * weights).sum(axis=1) / weights.sum(axis=1)


@pytest.fixture(scope="module")
def shock():
    return GPSolver().solve(burgers(), grid=(200, 120), slabs=12)


def test_a_shock_is_found_and_resolved(shock):
    x = np.linspace(-1, 1, 200)
    for t in (0.3, 0.6, 1.0):
        points = np.stack([x, np.full(200, t)], axis=1)
        exact = burgers_exactly(x, t)
        assert np.linalg.norm(shock.mean(points) - exact) < 1e-7 * np.linalg.norm(exact)
    ((center, width),) = shock.report.layers
    assert abs(center) < 1e-6
    assert width < 0.1
    assert shock.report.residual < 1e-5


def test_deviation_covers_the_error_at_the_shock(shock):
    rng = np.random.default_rng(0)
    x = np.concatenate([rng.uniform(-1, 1, 100), rng.normal(scale=0.01, size=100)])
    for t in (0.4, 0.9):
        points = np.stack([x, np.full(200, t)], axis=1)
        error = np.abs(shock.mean(points) - burgers_exactly(x, t))
        assert np.mean(error <= 2 * shock.std(points)) >= 0.9


def test_a_file_gives_back_the_same_numbers(shock, tmp_path):
    read = Solution.load(shock.save(tmp_path / "u.gp"))
    points = np.random.default_rng(0).uniform([-1, 0], [1, 1], size=(40, 2))
    assert np.array_equal(read.mean(points), shock.mean(points))
    assert np.array_equal(read.std(points), shock.std(points))
    assert np.array_equal(read.sample(points, 2, 0), shock.sample(points, 2, 0))
    assert str(read.report) == str(shock.report)


def test_samples_have_mean_and_deviation_and_are_one_function(shock):
    points = np.array([[0.01, 0.25], [0.01, 0.95], [-0.5, 0.95], [-0.5, 0.95 + 1e-9]])
    draws = shock.sample(points, 4000, random_state=0)
    std = shock.std(points)
    assert np.allclose(draws.std(axis=0), std, rtol=0.1)
    assert np.abs(draws.mean(axis=0) - shock.mean(points)).max() < 0.1 * std.max()
    assert np.allclose(draws[:, 2], draws[:, 3], atol=1e-4 * std[2])


def test_neighbouring_slabs_meet(shock):
    x = np.linspace(-0.99, 0.99, 50)
    for t in shock.report.times[1:-1]:
        before, after = (
            shock.mean(np.stack([x, np.full(50, t + step)], axis=1)) for step in (-1e-13, 1e-13)
        )
        assert np.abs(before - after).max() < 1e-8


def test_derivatives_and_grids_agree_with_points(shock):
    x, t = np.linspace(-0.9, 0.9, 7), np.array([0.1, 0.5, 0.77])
    points = np.stack([c.ravel() for c in np.meshgrid(x, t, indexing="ij")], axis=1)
    for derivative, orders in (("u_x", (1, 0)), ("u_t", (0, 1)), ("u_xx", (2, 0))):
        there, std = shock.derivative(derivative, points, return_std=True)
        on_grid = shock.posterior.mean_on_grid([x, t], orders).ravel()
        assert np.allclose(there, on_grid, atol=1e-9 * np.abs(there).max())
        assert (std > 0).all()


def test_an_interrupted_run_goes_on_to_the_same_numbers():
    problem, states = burgers("0.03"), []
    whole = solve_in_slabs(problem, (60, 60), 6, on_slab=states.append)
    assert len(states) == 6
    read = SlabsPosterior.from_arrays(states[2].arrays(), states[2].meta())
    later = []
    rest = solve_in_slabs(problem, (60, 60), 6, done=read, on_slab=later.append)
    assert len(later) == 3
    points = np.random.default_rng(0).uniform([-1, 0], [1, 1], size=(30, 2))
    assert np.allclose(rest.mean(points), whole.mean(points), rtol=0, atol=1e-14)
    assert np.allclose(rest.std(points), whole.std(points), rtol=1e-6)


def test_slabs_are_cut_where_they_are_too_long():
    solution = GPSolver().solve(burgers("0.03"), grid=(80, 12), slabs=1)
    assert len(solution.report.times) > 2
    assert "1 of them asked for" in str(solution.report)
    x = np.linspace(-1, 1, 50)
    exact = burgers_exactly(x, 1.0, 0.03)
    found = solution.mean(np.stack([x, np.ones(50)], axis=1))
    assert np.linalg.norm(found - exact) < 1e-6 * np.linalg.norm(exact)


def test_a_kink_at_the_start_is_said_and_covered():
    problem = Problem("u_t = u_xx/100", UNIT, [Initial("Abs(x - 0.3)"), Neumann(0, ["x-", "x+"])])
    with pytest.warns(ConvergenceWarning, match=r"residual .* from t = 0 "):
        solution = GPSolver().solve(problem, grid=(80, 40), slabs=4)
    assert not solution.check()


def test_a_solution_that_explodes_ends_in_an_error_with_what_there_is():
    conditions = [Initial("1 + cos(2*pi*x)/4"), Periodic("x")]
    problem = Problem("u_t = u_xx/100 + u**2", Box(x=(0, 1), t=(0, 2)), conditions)
    with pytest.raises(DivergenceError, match=r"finds no solution after t = 0\.\d+") as raised:
        GPSolver().solve(problem, grid=(30, 60), slabs=5)
    error = raised.value
    assert error.history
    last = error.last
    x, t = np.linspace(0, 1, 9), last.report.times[-1]
    assert 0.5 < t < 1.2
    # At the maximum u grows like 1/(1.25⁻¹ - t) but for diffusion.
    found = last.mean(np.stack([x, np.full(9, 0.2)], axis=1))
    assert found.max() == pytest.approx(1 / (0.8 - 0.2), rel=0.1)


@pytest.mark.parametrize(
    ("slabs", "grid", "message"),
    [
        (0, (40, 40), r"slabs: got 0; give a positive whole number"),
        (True, (40, 40), r"slabs: got True"),
        ("many", (40, 40), r"slabs: got 'many'.*'auto'"),
        (20, (40, 40), r"grid: got 40 points in t for 20 slabs; give at least 80"),
    ],
)
def test_bad_numbers_of_slabs(slabs, grid, message):
    with pytest.raises(ArgumentError, match=message):
        GPSolver().solve(burgers(), grid=grid, slabs=slabs)


PLANE = Box(x=(0, 1), y=(0, 1))


@pytest.mark.parametrize(
    ("problem", "message"),
    [
        (Problem("u_xx + u_yy = 1", PLANE, [Dirichlet(0)]), "not in one space dimension and time"),
        (Problem("u_xx + u_tt = 1", UNIT, [Dirichlet(0)]), "without 2 conditions on u at t-"),
        (Problem("u_t = u_xx + f", UNIT, [Initial(0), Dirichlet(0, ["x-", "x+"])],
                 f=np.zeros((40, 40))), "whose f is an array"),
    ],
)  # fmt: skip
def test_problems_that_do_not_march(problem, message):
    with pytest.raises(ArgumentError, match=f"slabs: got a problem.*{message}"):
        GPSolver().solve(problem, grid=(40, 40), slabs=2)


def test_only_the_default_solver_marches():
    with pytest.raises(ArgumentError, match="slabs: got 3 for GPSolver"):
        GPSolver("matern52").solve(burgers(), grid=(40, 40), slabs=3)


def test_auto_gives_a_slab_a_dozen_points():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        solution = GPSolver().solve(burgers("0.1"), grid=(40, 48), slabs="auto")
    assert solution.report.slabs == 4


def test_slabs_take_over_where_one_solve_finds_nothing():
    solution = GPSolver().solve(burgers("0.02"), grid=(60, 30))
    assert isinstance(solution.posterior, SlabsPosterior)
    x = np.linspace(-1, 1, 50)
    exact = burgers_exactly(x, 0.8, 0.02)
    found = solution.mean(np.stack([x, np.full(50, 0.8)], axis=1))
    assert np.linalg.norm(found - exact) < 1e-3 * np.linalg.norm(exact)
