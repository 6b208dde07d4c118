"""Problems on a part of a box: what is cut away has no say, and edges hold their conditions."""

import numpy as np
import pytest

from kernelgp.errors import ArgumentError, ConvergenceWarning
from solvers import (
    Box,
    ChebyshevSolver,
    Dirichlet,
    GPSolver,
    Initial,
    Neumann,
    Problem,
    Robin,
    Solution,
)

L_SHAPE = "x < 0 or y < 0"
DISK = "x**2 + y**2 < 1"
RING = {"rim": DISK, "hole": "x**2 + y**2 > 0.1"}
HOLES = f"{DISK} and (x - 0.4)**2 + y**2 > 0.05 and (x + 0.4)**2 + y**2 > 0.05"


def box(inside):
    return Box(x=(-1, 1), y=(-1, 1), inside=inside)


@pytest.mark.parametrize("inside", [L_SHAPE, DISK, RING, HOLES])
def test_poisson_on_shapes(inside):
    problem = Problem.from_exact("u_xx + u_yy = f", box(inside), "sin(3*x)*exp(y)")
    solution = GPSolver().solve(problem, grid=(40, 40))
    assert solution.error() < 1e-11
    verdict = solution.check()
    assert verdict, str(verdict)


def test_tones_on_an_l_shape():
    problem = Problem.from_exact("u_xx + u_yy = f", box(L_SHAPE), "sin(30*x)*cos(20*y)")
    solution = GPSolver().solve(problem, grid=(60, 60))
    assert solution.error() < 1e-11
    assert np.allclose(solution.report.frequencies["x"] * 2 * np.pi, 30, atol=1)


@pytest.mark.parametrize(
    "conditions",
    [
        [Dirichlet(on="rim"), Neumann(on="hole")],
        [Robin(2, 0.5, on="rim"), Dirichlet(on="hole")],
        [Dirichlet("sin(3*x)*exp(y)", on="rim"), Dirichlet(lambda x, y: np.sin(3 * x) * np.exp(y))],
    ],
)
def test_conditions_on_a_ring(conditions):
    if conditions[1].on is None:
        conditions[1] = Dirichlet(conditions[1].value, on="hole")
    problem = Problem.from_exact("u_xx + u_yy = f", box(RING), "sin(3*x)*exp(y)", conditions)
    assert GPSolver().solve(problem, grid=(40, 40)).error() < 1e-11


@pytest.mark.parametrize(
    "equation",
    ["(2 + x*y)*u_xx + u_yy + 3*u_x = f", "u_xx + u_yy + 40*u = f"],
)
def test_other_equations_on_a_disk(equation):
    problem = Problem.from_exact(equation, box(DISK), "sin(3*x)*exp(y)")
    assert GPSolver().solve(problem, grid=(32, 32)).error() < 1e-10


def test_a_callable_and_its_numerical_normals():
    def inside(x, y):
        return x**2 + 2 * y**2 < 0.7

    conditions = [Robin(1, 1)]
    problem = Problem.from_exact("u_xx + u_yy = f", box(inside), "sin(3*x)*exp(y)", conditions)
    assert GPSolver().solve(problem, grid=(40, 40)).error() < 1e-10


def test_an_array_cuts_its_cells_out_and_the_source_may_be_one_too():
    x = np.linspace(-1, 1, 40)
    X, Y = np.meshgrid(x, x, indexing="ij")
    mask = X**2 + Y**2 < 0.8
    exact = np.sin(3 * X) * np.exp(Y)
    given = Dirichlet("sin(3*x)*exp(y)", on="edge")
    problem = Problem("u_xx + u_yy = f", box(mask), [given], f=-8 * exact)
    solution = GPSolver().solve(problem, grid=(40, 40))
    points = np.stack([X[mask], Y[mask]], axis=1)
    assert np.abs(solution.mean(points) - exact[mask]).max() < 1e-11
    assert solution.check()
    with pytest.raises(ArgumentError, match=r"inside: got a boolean array of shape \(40, 40\)"):
        GPSolver().solve(problem, grid=(41, 41))


def test_scattered_points_on_a_disk():
    domain = box(DISK)
    problem = Problem.from_exact("u_xx + u_yy = f", domain, "sin(3*x)*exp(y)")
    points = domain.random_points(800, np.random.default_rng(0))
    assert GPSolver().solve(problem, points=points).error() < 1e-11
    with pytest.raises(
        ArgumentError, match=r"1 of 801 points, the first \(1, 1\) at row 800, outs"
    ):
        GPSolver().solve(problem, points=np.vstack([points, [1.0, 1.0]]))


def test_heat_on_part_of_a_line_in_space_time():
    domain = Box(x=(-1, 1), t=(0, 1), inside="abs(x) < 0.7")
    conditions = [Initial(), Dirichlet(on="edge")]
    exact = "exp(-0.4*t)*sin(2*x)"
    problem = Problem.from_exact("u_t = 0.1*u_xx", domain, exact, conditions)
    assert GPSolver().solve(problem, grid=(30, 30)).error() < 1e-10


def test_slopes_alone_give_the_mean_zero():
    exact = "cos(3*x)*cos(2*y)"
    problem = Problem.from_exact("u_xx + u_yy = f", box(DISK), exact, [Neumann()])
    with pytest.warns(UserWarning, match="mean zero"):
        solution = GPSolver().solve(problem, grid=(40, 40))
    points = problem.domain.random_points(500, np.random.default_rng(0))
    difference = solution.mean(points) - problem.exact(points)
    assert np.ptp(difference) < 1e-10


def test_nothing_outside_is_ever_evaluated():
    exact = "log(x + y)*sqrt(x + y - 0.5)"  # not real beyond the edge
    problem = Problem.from_exact(
        "u_xx + u_yy = f", Box(x=(0, 2), y=(0, 2), inside="x + y > 1"), exact
    )
    solution = GPSolver().solve(problem, grid=(40, 40))
    assert solution.error() < 1e-6
    data = solution.to_xarray()
    inside = data["inside"].values
    for name in ("mean", "std", "source", "exact"):
        assert np.array_equal(np.isfinite(data[name].values), inside)


def test_everything_else_knows_the_region(tmp_path):
    problem = Problem.from_exact("u_xx + u_yy = f", box(RING), "sin(3*x)*exp(y)")
    solution = GPSolver().solve(problem, grid=(32, 32))
    points = problem.domain.random_points(200, np.random.default_rng(1))
    assert np.abs(solution.residual(points)).max() < 1e-6  # of a source of size 20
    assert (solution.std(points) > 0).all()
    assert solution.sample(points, 2, random_state=0).shape == (2, 200)
    with pytest.raises(ArgumentError, match="outside the region"):
        solution.mean([[0.0, 0.0]])
    assert solution.plot(tmp_path / "u.png").stat().st_size > 10_000
    loaded = Solution.load(solution.save(tmp_path / "u.gp"))
    assert loaded.problem.domain == problem.domain
    assert np.array_equal(loaded.mean(points), solution.mean(points))
    assert loaded.error() == solution.error()


def test_a_callable_comes_back_from_a_file_as_cells(tmp_path):
    problem = Problem.from_exact("u_xx + u_yy = f", box(lambda x, y: x < y), "x**2*y")
    solution = GPSolver().solve(problem, grid=(20, 20))
    loaded = Solution.load(solution.save(tmp_path / "u.gp"))
    axes = problem.domain.uniform_axes((20, 20))
    same = loaded.problem.domain.contains_on_grid(axes) == problem.domain.contains_on_grid(axes)
    assert same.all()


def test_a_corner_that_the_prior_does_not_fit_is_said_plainly():
    angle = "atan2(x - y, -(x + y)) + 3*pi/4"
    exact = f"(x**2 + y**2)**(1/3)*sin(2/3*({angle}))"
    domain = Box(x=(-1, 1), y=(-1, 1), inside="not (x > 0 and y > 0)")
    problem = Problem.from_exact("u_xx + u_yy = 0", domain, exact)
    with pytest.warns(ConvergenceWarning, match="the prior does not fit, as at a corner"):
        solution = GPSolver().solve(problem, grid=(24, 24))
    verdict = solution.check()
    assert not verdict
    assert "the prior does not fit the solution" in str(verdict)
    assert solution.error() < 0.05


def test_a_pole_in_a_hole_is_met_less_exactly_and_better():
    problem = Problem.from_exact("u_xx + u_yy = 0", box(RING), "log(x**2 + y**2)")
    with pytest.warns(ConvergenceWarning, match="near a pole"):
        solution = GPSolver().solve(problem, grid=(40, 40))
    assert solution.error() < 1e-4
    assert solution.report.nugget > 1e-10


def test_a_system_on_a_disk():
    problem = Problem.from_exact(
        ["u_x + v_y = 0", "u_y - v_x = f"],
        Box(x=(-1, 1), y=(-1, 1), inside="x**2 + y**2 < 0.9"),
        {"u": "sin(3*x)*cosh(2*y)", "v": "-3/2*cos(3*x)*sinh(2*y)"},
        functions=["u", "v"],
        conditions=[Dirichlet(of="u"), Dirichlet(of="v")],
    )
    solution = GPSolver().solve(problem, grid=(30, 30))
    assert solution.error() < 1e-10
    assert solution.check()


def test_solvers_that_fill_the_box_say_so():
    problem = Problem.from_exact("u_xx + u_yy = f", box(DISK), "x*y")
    for solver in (ChebyshevSolver(), GPSolver("student"), GPSolver(method="map")):
        with pytest.raises(ArgumentError, match="a region inside the box"):
            solver.solve(problem, grid=(20, 20))


def test_an_empty_region_is_an_error():
    problem = Problem("u_xx + u_yy = 0", box("x > 2"), [Dirichlet(0)])
    with pytest.raises(ArgumentError, match="inside: got a region"):
        GPSolver().solve(problem, grid=(20, 20))
