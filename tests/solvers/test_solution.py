"""A solution over an exact posterior: values, verdict, tables and pictures."""

from dataclasses import dataclass, field

import matplotlib.image
import numpy as np
import pytest
import torch
import xarray

from kernelgp.errors import ArgumentError
from solvers import Box, ChebyshevSolver, Dirichlet, GPSolver, Problem, Solution
from solvers.interpolant import ChebyshevInterpolant, chebyshev_nodes
from solvers.table import deviation_on_grid
from solvers.verdict import Check, Verdict

SQUARE, LINE = Box(x=(0, 1), y=(-1, 1)), Box(x=(0, 2))


@dataclass(frozen=True)
class Report:
    frequencies: dict = field(default_factory=dict)


class Exact(ChebyshevInterpolant):
    """A posterior whose mean is a polynomial and whose deviation is ``scale (1 + x²)``."""

    has_deviation = True

    def __init__(self, values, bounds, report, scale=0.1):
        super().__init__(values, bounds, report)
        self.scale = scale

    def std(self, points, orders):
        return self.scale * (1 + points[:, 0] ** 2) * 10.0 ** sum(orders)

    def sample(self, points, n_samples, generator):
        noise = torch.randn(n_samples, 1, generator=generator, dtype=torch.float64).numpy()
        orders = (0,) * points.shape[1]
        return self.mean(points, orders) + noise * self.std(points, orders)


def solution_of(problem, function, *, frequencies=None, scale=0.1, grid=None):
    box = problem.domain
    nodes = [chebyshev_nodes(8, *pair) for pair in box.bounds]
    values = function(*np.meshgrid(*nodes, indexing="ij"))
    posterior = Exact(values, box.bounds, Report(frequencies or {}), scale)
    return Solution(problem, posterior, grid or (6, 7)[: box.dimension])


@pytest.fixture
def square():
    problem = Problem.from_exact("u_xx + 2*u_xy = f", SQUARE, "x**3*y**2")
    return solution_of(problem, lambda x, y: x**3 * y**2)


@pytest.fixture
def points():
    return np.random.default_rng(0).uniform([0, -1], [1, 1], size=(11, 2))


def test_mean_derivative_and_residual_are_those_of_the_function(square, points):
    x, y = points.T
    np.testing.assert_allclose(square.mean(points), x**3 * y**2, atol=1e-13)
    np.testing.assert_allclose(square.derivative("u_xx", points), 6 * x * y**2, atol=1e-12)
    np.testing.assert_allclose(square.derivative("u_xy", points), 6 * x**2 * y, atol=1e-12)
    np.testing.assert_allclose(square.derivative("u", points), x**3 * y**2, atol=1e-13)
    np.testing.assert_allclose(square.residual(points), 0, atol=1e-11)


def test_residual_is_left_side_minus_right_side():
    problem = Problem("2*u_xx + 3*u = 5 + f", LINE, [Dirichlet(0)], f="x")
    solution = solution_of(problem, lambda x: x**2)
    x = np.array([0.3, 1.7])
    np.testing.assert_allclose(solution.residual(x), 4 + 3 * x**2 - 5 - x, atol=1e-12)


def test_deviation_goes_to_the_posterior_with_the_orders(square, points):
    expected = 0.1 * (1 + points[:, 0] ** 2)
    np.testing.assert_allclose(square.std(points), expected)
    mean, std = square.derivative("u_x", points, return_std=True)
    np.testing.assert_allclose(std, 10 * expected)
    np.testing.assert_allclose(mean, square.derivative("u_x", points))


def test_samples_are_fixed_by_their_seed(square, points):
    one = square.sample(points, n_samples=3, random_state=0)
    assert one.shape == (3, 11)
    np.testing.assert_array_equal(one, square.sample(points, n_samples=3, random_state=0))
    assert not np.array_equal(one, square.sample(points, n_samples=3, random_state=1))


def test_torch_points_give_torch_results(square, points):
    tensor = torch.as_tensor(points)
    for method in (square.mean, square.std, square.residual, square.sample):
        assert isinstance(method(tensor), torch.Tensor)
        assert method(tensor).dtype == torch.float64
    np.testing.assert_array_equal(square.mean(tensor).numpy(), square.mean(points))


def test_error_is_the_relative_l2_norm():
    problem = Problem.from_exact("u_xx = f", LINE, "x**2 + 1")
    solution = solution_of(problem, lambda x: 1.01 * (x**2 + 1))
    assert solution.error() == pytest.approx(0.01)
    assert solution.error([0.5, 1.5]) == pytest.approx(0.01)
    assert solution.error() == solution.error()


def test_every_method_checks_its_points(square):
    methods = [square.mean, square.std, square.sample, square.residual, square.error]
    for method in [*methods, lambda x: square.derivative("u_x", x)]:
        with pytest.raises(ArgumentError, match=r"points: got .* outside"):
            method([[3.0, 0.0]])
        with pytest.raises(ArgumentError, match=r"points: got shape \(1, 3\)"):
            method([[3.0, 0.0, 1.0]])


def test_bad_arguments_are_named(square, points):
    with pytest.raises(ArgumentError, match=r"derivative: got 'v_x'; give 'u' with subscripts"):
        square.derivative("v_x", points)
    with pytest.raises(ArgumentError, match=r"n_samples: got 0; give a positive whole number"):
        square.sample(points, n_samples=0)
    with pytest.raises(ArgumentError, match=r"n_samples: got 2\.5; give a positive whole"):
        square.sample(points, n_samples=2.5)
    with pytest.raises(ArgumentError, match=r"random_state: got 'a'"):
        square.sample(points, random_state="a")
    with pytest.raises(ArgumentError, match=r"grid: got \(3,\); give \(n, n\)"):
        square.to_xarray(grid=(3,))
    with pytest.raises(ArgumentError, match=r"path: got .*u\.nosuch'; end it in one of"):
        square.plot("u.nosuch")


def test_what_needs_a_source_function_says_so():
    problem = Problem("u_xx = f", LINE, [Dirichlet(0)], f=np.zeros(6))
    solution = solution_of(problem, lambda x: x)
    with pytest.raises(ArgumentError, match=r"f: got an array of shape \(6,\); give a formula"):
        solution.residual([0.5])
    with pytest.raises(ArgumentError, match=r"problem: got one without an exact solution"):
        solution.error()


def test_repr_tells_what_was_solved(square):
    assert repr(square) == (
        "Solution of 'u_xx + 2*u_xy = f' on Box(x=(0, 1), y=(-1, 1)), grid 6 x 7"
    )


# The verdict


def test_an_exact_solution_is_trusted(square):
    verdict = square.check()
    assert bool(verdict) is True
    assert str(verdict).startswith("trustworthy\n  ok     relative residual at random points")
    assert len(verdict.checks) == 4


def failed(solution, **options):
    verdict = solution.check(**options)
    assert not verdict
    assert str(verdict).startswith("not trustworthy: ")
    return [check.what for check in verdict.failed]


def test_a_residual_between_the_points_is_found():
    # The sine vanishes, with its second derivative, at all six points of the grid.
    problem = Problem("u_xx = 0", LINE, [Dirichlet(on=None, value=0)])
    solution = solution_of(problem, lambda x: 0 * x)
    assert solution.check()
    nodes = chebyshev_nodes(40, 0, 2)[:, None]
    wave = Exact(np.sin(2.5 * np.pi * nodes[:, 0]), LINE.bounds, Report())
    names = failed(Solution(problem, wave, (6,)))
    assert names == ["relative residual at random points between the grid's"]


def test_an_array_source_is_held_at_its_own_points():
    problem = Problem("u_xx = f", LINE, [Dirichlet("x**2")], f=np.full(6, 2.0))
    verdict = solution_of(problem, lambda x: x**2).check()
    assert verdict
    assert "at the grid's points, where the source is known" in str(verdict)
    names = failed(solution_of(problem, lambda x: 1.1 * x**2))
    assert names[0] == "relative residual at the grid's points, where the source is known"


def test_a_wrong_boundary_is_found_with_its_face():
    conditions = [Dirichlet("x*y", on=["x-", "y-", "y+"]), Dirichlet("x*y + 1/10", on="x+")]
    problem = Problem("u_xx + u_yy = 0", SQUARE, conditions)
    names = failed(solution_of(problem, lambda x, y: x * y))
    assert names == ["boundary error relative to the solution, worst on x+"]


def test_a_boundary_array_is_held_at_its_own_points():
    values = np.linspace(-1, 1, 7)
    conditions = [Dirichlet(values, on="x+"), Dirichlet("x*y", on=["x-", "y-", "y+"])]
    problem = Problem("u_xx + u_yy = 0", SQUARE, conditions)
    assert solution_of(problem, lambda x, y: x * y).check()
    assert failed(solution_of(problem, lambda x, y: 1.01 * x * y))


def test_a_grid_too_coarse_for_the_frequencies_is_found(square):
    problem = square.problem
    fine = solution_of(problem, lambda x, y: x**3 * y**2, frequencies={"x": [2.4], "y": [0.0]})
    assert fine.check()
    coarse = solution_of(problem, lambda x, y: x**3 * y**2, frequencies={"x": [2.6], "y": [1.0]})
    assert failed(coarse) == ["points per wavelength along x"]


def test_overconfidence_is_found_where_the_truth_is_known():
    problem = Problem.from_exact("u_xx = f", LINE, "x**2 + 1")
    small = 1e-6
    sure = solution_of(problem, lambda x: (1 + small) * (x**2 + 1), scale=small / 10)
    assert failed(sure) == ["share of errors within two deviations"]
    assert solution_of(problem, lambda x: (1 + small) * (x**2 + 1), scale=small).check()


def test_an_error_against_the_truth_is_found():
    problem = Problem.from_exact("u_x = f", LINE, "x + 3", conditions=[])
    names = failed(solution_of(problem, lambda x: x + 3.01, scale=1.0))
    assert names == ["relative error against the exact solution"]
    assert solution_of(problem, lambda x: x + 3.01, scale=1.0).check(rtol=1e-2)


def test_nan_fails_every_check():
    assert not Check("a", float("nan"), 1.0).passed
    assert not Check("a", float("nan"), 1.0, at_least=True).passed
    assert not Verdict((Check("a", float("nan"), 1.0),))


def test_a_solver_without_deviation_is_not_asked_for_calibration():
    problem = Problem.from_exact("u_xx = f", LINE, "sin(3*x)")
    verdict = ChebyshevSolver().solve(problem, (30,)).check()
    assert verdict
    assert "deviations" not in str(verdict)


def test_a_collocation_below_its_resolution_is_not_trusted():
    problem = Problem("u_xx = f", LINE, [Dirichlet("sin(60*x)")], f="-3600*sin(60*x)")
    assert failed(ChebyshevSolver().solve(problem, (45,)))[0].startswith("relative residual")
    assert ChebyshevSolver().solve(problem, (90,)).check()


# Tables


def test_data_set_holds_the_grid_with_its_names(square, tmp_path):
    data = square.to_xarray()
    assert dict(data.sizes) == {"x": 6, "y": 7}
    x, y = np.meshgrid(np.linspace(0, 1, 6), np.linspace(-1, 1, 7), indexing="ij")
    np.testing.assert_allclose(data["mean"], x**3 * y**2, atol=1e-13)
    np.testing.assert_allclose(data["std"], 0.1 * (1 + x**2))
    np.testing.assert_allclose(data["source"], 6 * x * y**2 + 12 * x**2 * y, atol=1e-13)
    np.testing.assert_allclose(data["exact"], x**3 * y**2, atol=1e-13)
    assert data.attrs["equation"] == "u_xx + 2*u_xy = f"
    assert all(v.attrs["units"] == "1" and v.attrs["long_name"] for v in data.variables.values())


def test_netcdf_comes_back(square, tmp_path):
    data = square.to_xarray(grid=(4, 5))
    data.to_netcdf(tmp_path / "u.nc")
    with xarray.open_dataset(tmp_path / "u.nc") as back:
        xarray.testing.assert_identical(back.load(), data)


def test_source_known_on_another_grid_is_left_out():
    problem = Problem("u_xx = f", LINE, [Dirichlet(0)], f=np.zeros(6))
    solution = solution_of(problem, lambda x: x)
    assert "source" in solution.to_xarray()
    assert "source" not in solution.to_xarray(grid=(5,))


def test_deviation_on_many_points_comes_from_samples():
    problem = Problem.from_exact("u_xx + u_yy = f", SQUARE, "sin(25*x)*y + x")
    posterior = GPSolver().solve(problem, (40, 40)).posterior
    axes = SQUARE.uniform_axes((20, 20))
    std = deviation_on_grid(posterior, axes)
    few = [x[::3] for x in axes]
    exact = deviation_on_grid(posterior, few)
    # A root mean square of 64: a standard error of 1 / sqrt(128), and 49 of them to hold.
    inside = (slice(1, -1), slice(1, -1))
    ratio = std[::3, ::3][inside] / exact[inside]
    assert np.median(ratio) == pytest.approx(1, abs=0.3)
    assert 0.5 < ratio.min() < ratio.max() < 2


# Pictures


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("box", [LINE, SQUARE])
@pytest.mark.parametrize("solver", [True, False])
def test_pictures_are_drawn(box, known, solver, tmp_path):
    equation = "u_xx = f" if box is LINE else "u_xx + u_yy = f"
    exact = "sin(3*x)" if box is LINE else "sin(3*x)*y"
    problem = Problem.from_exact(equation, box, exact)
    if not known:
        problem = Problem(equation, box, [Dirichlet(exact)], f=problem.data["f"])
    solution = ChebyshevSolver().solve(problem, (12, 13)[: box.dimension])
    if not solver:
        posterior = Exact(solution.posterior.values, box.bounds, Report({"x": [60.0]}), 1e-3)
        solution = Solution(problem, posterior, solution.grid)
    path = solution.plot(tmp_path / "made" / "u.png")
    image = matplotlib.image.imread(path)
    assert image.shape[0] > 200
    # Something was drawn: more than a frame on white.
    assert (image[..., :3] < 0.9).mean() > 0.01


def test_three_dimensions_are_drawn(tmp_path):
    box = Box(x=(0, 1), y=(0, 1), z=(0, 1))
    problem = Problem.from_exact("u_xx + u_yy + u_zz = f", box, "x*y*z")
    nodes = [chebyshev_nodes(3, *pair) for pair in box.bounds]
    values = np.prod(np.meshgrid(*nodes, indexing="ij"), axis=0)
    solution = Solution(problem, ChebyshevInterpolant(values, box.bounds, Report()), (4, 4, 4))
    assert solution.check()
    assert solution.plot(tmp_path / "u.png").exists()
