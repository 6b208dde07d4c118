"""``method="map"``: its density written out densely, its search, and what the search leaves."""

from functools import cache

import numpy as np
import pytest
import torch

from kernelgp.errors import ArgumentError, ArgumentTypeError, ConvergenceWarning
from kernelgp.kernels import SpectralMixture
from solvers import Box, Problem
from solvers.axis_basis import Component
from solvers.map_equation import GridEquation, data_rows, data_sizes, discretize
from solvers.map_objective import MapObjective
from solvers.map_posterior import MapPosterior
from solvers.map_report import MapOptions
from solvers.map_solver import solve_map

LINE = Box(x=(0, 1))
SQUARE = Box(x=(0, 1), y=(0, 1))


def components(frequency, length=1.0):
    lengthscale = length / (2 * np.sqrt(2))
    return [Component(0.0, lengthscale), Component(frequency, lengthscale)]


def tone(**options):
    problem = Problem.from_exact("u_xx = f", LINE, "sin(20*x)")
    return problem, solve_map(problem, (60,), [components(3.2)], options=MapOptions(**options))


@cache
def any_report():
    return tone()[1].report


def relative_error(problem, posterior):
    points = np.random.default_rng(1).uniform(size=(500, problem.dimension))
    exact = problem.exact(points)
    return np.linalg.norm(posterior.mean(points) - exact) / np.linalg.norm(exact)


def small_objective(seed=0):
    """A 5 by 4 grid, random data, and random values of everything that is searched for."""
    g = torch.Generator().manual_seed(seed)
    axes = tuple(torch.linspace(0, 1, n, dtype=torch.float64) for n in (5, 4))
    mask = torch.zeros(5, 4, dtype=torch.bool)
    mask[[0, -1]] = True
    mask[:, 0] = True
    source, values = torch.randn(2, 5, 4, generator=g, dtype=torch.float64)
    terms = (((2, 0), 1.0), ((1, 1), 0.3), ((0, 1), -2.0), ((0, 0), 4.0))
    equation = GridEquation(axes, terms, source, mask, values)
    kernels = [SpectralMixture("gaussian", [0.0, f], 0.4, [0.3, 0.7]) for f in (0.7, 1.1)]
    objective = MapObjective(equation, kernels)
    with torch.no_grad():
        v = torch.randn(5, 4, generator=g, dtype=torch.float64)
        objective.latent.copy_(objective.coordinates.latent(v))
        objective.log_precisions.copy_(torch.tensor([1.3, -0.4], dtype=torch.float64))
    return objective


def normal(misfit, precision):
    """Log density of independent normal numbers, but for the constant."""
    return misfit.numel() / 2 * np.log(precision) - precision / 2 * float((misfit**2).sum())


def test_density_equals_the_paper_s_written_out_densely():
    objective = small_objective()
    equation, (x, y) = objective.equation, objective.equation.axes
    covariances = [
        k.derivative(t[:, None], t[:, None]).detach()
        + 1e-6 * torch.eye(len(t), dtype=torch.float64)
        for k, t in zip(objective.kernels, (x, y), strict=True)
    ]
    roots = [torch.linalg.cholesky(k) for k in covariances]
    u = roots[0] @ objective.whitened().detach() @ roots[1].mT

    def derivative(orders):
        one, two = (
            k.derivative(t[:, None], t[:, None], (a,), (0,)).detach() @ torch.linalg.inv(c)
            if a else torch.eye(len(t), dtype=torch.float64)
            for k, t, c, a in zip(objective.kernels, (x, y), covariances, orders, strict=True)
        )  # fmt: skip
        return one @ u @ two.mT

    left = sum(c * derivative(orders) for orders, c in equation.terms)
    dense = torch.kron(*covariances)
    prior = -0.5 * torch.logdet(dense) - 0.5 * u.flatten() @ torch.linalg.solve(dense, u.flatten())
    boundary = normal((u - equation.values)[equation.mask], np.exp(1.3))
    expected = prior.item() + 200 * boundary + normal(left - equation.source, np.exp(-0.4))
    # Both invert K, whose condition number with its jitter is about 1e6.
    assert objective.evaluate().log_density.item() == pytest.approx(expected, rel=1e-8)


def test_gradient_reaches_everything_that_moves():
    objective = small_objective()
    moving = [objective.latent, *objective.hyperparameters]
    gradient = torch.autograd.grad(objective.evaluate().log_density, moving)
    g = torch.Generator().manual_seed(1)
    for tensor, slope in zip(moving, gradient, strict=True):
        direction = torch.randn(tensor.shape, generator=g, dtype=torch.float64)
        values, step = [], 1e-5
        for sign in (1, -1):
            with torch.no_grad():
                tensor += sign * step * direction
                values.append(objective.evaluate().log_density.item())
                tensor -= sign * step * direction
        expected = (values[0] - values[1]) / (2 * step)
        assert (slope * direction).sum().item() == pytest.approx(expected, rel=1e-5, abs=1e-4)
        assert slope.abs().max() > 0


def test_hessian_in_the_search_s_coordinates_is_the_identity_in_one_dimension():
    problem = Problem.from_exact("u_xx + 3*u = f", LINE, "sin(20*x)")
    kernel = SpectralMixture("gaussian", [0.0, 3.2], 0.35)
    equation = discretize(problem, (40,), torch.device("cpu"))
    objective = MapObjective(equation, [kernel])
    rows = data_rows(equation, objective.factors(), objective.log_precisions)
    scaled = objective.coordinates.bases[0] * objective.coordinates.scale
    hessian = scaled.mT @ (torch.eye(40, dtype=torch.float64) + rows.mT @ rows) @ scaled
    # The Hessian in V ranges over 1e10.
    torch.testing.assert_close(hessian, torch.eye(40, dtype=torch.float64), rtol=0, atol=1e-5)


def test_new_coordinates_leave_the_values_where_they_are():
    objective = small_objective()
    before, density = objective.whitened().detach(), objective.evaluate().log_density
    objective.refresh_coordinates()
    torch.testing.assert_close(objective.whitened().detach(), before)
    torch.testing.assert_close(objective.evaluate().log_density, density)


def test_boundary_data_that_are_almost_zero_do_not_set_the_scale():
    problem = Problem.from_exact("u_xx = f", Box(x=(0, 2 * np.pi)), "sin(100*x)")
    equation = discretize(problem, (400,), torch.device("cpu"))
    sizes = data_sizes(equation, [SpectralMixture("gaussian", [0.0, 15.9], 2.0)])
    assert 0.1 < sizes[0] < 10


def test_solves_a_tone_in_one_dimension():
    problem, posterior = tone()
    assert posterior.search.converged
    assert relative_error(problem, posterior) < 1e-3


def test_report_says_what_was_learned():
    _, posterior = tone()
    report = posterior.report
    assert (report.method, report.grid) == ("map", (60,))
    assert report.frequencies["x"] == pytest.approx([20 / (2 * np.pi)], rel=0.05)
    assert np.isnan(report.log_marginal_likelihood)


def test_solves_the_paper_s_start_of_thirty_frequencies():
    problem = Problem.from_exact("u_xx = f", LINE, "sin(20*x)")
    start = [Component(f, 0.35) for f in np.linspace(0, 10, 30)]
    posterior = solve_map(problem, (60,), [start], options=MapOptions(max_iterations=60))
    assert relative_error(problem, posterior) < 5e-3


def test_solves_a_tone_in_two_dimensions():
    problem = Problem.from_exact("u_xx + u_yy = f", SQUARE, "sin(12*x)*cos(12*y)")
    posterior = solve_map(problem, (24, 24), [components(1.9)] * 2)
    assert posterior.search.converged
    assert relative_error(problem, posterior) < 2e-3


def test_adam_finds_the_same_solution():
    problem = Problem.from_exact("u_xx = f", LINE, "1 + x**2")
    start = [[Component(0.0, 0.35)]]
    options = MapOptions(optimizer="Adam", max_iterations=2500, rtol=5e-3)
    posterior = solve_map(problem, (12,), start, options=options)
    assert posterior.search.converged
    assert relative_error(problem, posterior) < 2e-2


@pytest.mark.parametrize("scale", [1e-6, 1e6])
def test_units_do_not_matter(scale):
    problem = Problem.from_exact("u_xx = f", LINE, f"{scale}*sin(20*x)")
    posterior = solve_map(problem, (60,), [components(3.2)])
    assert relative_error(problem, posterior) < 1e-3


def test_zero_data_have_the_solution_zero():
    problem = Problem.from_exact("u_xx = f", LINE, "0")
    posterior = solve_map(problem, (20,), [components(3.2)])
    np.testing.assert_allclose(posterior.mean(np.array([[0.3], [0.7]])), 0, atol=1e-9)


def test_is_deterministic():
    one, other = (tone()[1] for _ in range(2))
    np.testing.assert_array_equal(one.whitened, other.whitened)


def test_density_never_falls_and_the_report_is_of_the_best():
    seen = []
    _, posterior = tone(callback=seen.append)
    assert [report.iterations for report in seen] == list(range(1, len(seen) + 1))
    assert posterior.search.log_density == max(report.log_density for report in seen)


def test_reported_residual_is_the_one_of_the_mean_on_the_grid():
    problem, posterior = tone()
    (x,) = axes = problem.domain.uniform_axes((60,))
    misfit = posterior.mean_on_grid(axes, (2,)) - problem.source(x)
    equation = discretize(problem, (60,), torch.device("cpu"))
    kernel = SpectralMixture("gaussian", [0.0, 3.2], 1 / np.sqrt(8))
    size = data_sizes(equation, [kernel])[1].item()
    # Derivatives of order two divide the rounding of values by the jitter: 1e-16 / 1e-6 * 400.
    expected = np.sqrt(np.mean(misfit**2)) / size
    assert posterior.search.residual == pytest.approx(expected, rel=1e-2, abs=1e-6)


@pytest.mark.parametrize("optimizer", ["L-BFGS", "Adam"])
def test_interrupt_keeps_the_best_so_far(optimizer):
    seen = []

    def interrupt(report):
        seen.append(report)
        if len(seen) == 3:
            raise KeyboardInterrupt

    with pytest.warns(ConvergenceWarning, match="interrupted.*after 3 iterations.*best so far"):
        _, posterior = tone(callback=interrupt, optimizer=optimizer)
    assert posterior.search.interrupted
    assert posterior.search.log_density == max(report.log_density for report in seen)
    assert np.isfinite(posterior.mean(np.array([[0.5]]))).all()


def test_other_exceptions_of_the_callback_come_through():
    def fail(report):
        raise RuntimeError("mine")

    with pytest.raises(RuntimeError, match="mine"):
        tone(callback=fail)


def test_no_convergence_warns_with_figures():
    with pytest.warns(ConvergenceWarning, match=r"residual .* after 2 iterations.*more iterations"):
        _, posterior = tone(max_iterations=2, rtol=1e-12)
    assert not posterior.search.converged


def test_a_grid_too_coarse_for_the_tone_does_not_pretend():
    problem = Problem.from_exact("u_xx = f", LINE, "sin(200*x)")
    with pytest.warns(ConvergenceWarning, match="a finer grid"):
        solve_map(problem, (60,), [components(3.2)], options=MapOptions(max_iterations=100))


def weak_posterior():
    """Few points and weak precisions, so that textbook formulas keep their digits."""
    problem = Problem.from_exact("u_xx = f", LINE, "sin(3*x)")
    equation = discretize(problem, (7,), torch.device("cpu"))
    kernel = SpectralMixture("gaussian", [0.0, 0.5], 0.5)
    precisions = torch.tensor([-4.0, -3.0], dtype=torch.float64)
    whitened = torch.linspace(-1, 1, 7, dtype=torch.float64)
    return MapPosterior(equation, [kernel], whitened, precisions, 2.0, any_report())


def textbook_covariance(posterior, points):
    """Condition the joint normal of values anywhere on noisy rows of the grid values."""
    (kernel,), (x,) = posterior.kernels, posterior.equation.axes
    x, t = x[:, None], torch.tensor(points)
    k = (kernel.derivative(x, x) + 1e-6 * torch.eye(7, dtype=torch.float64)).detach().numpy()
    cross, prior = (
        kernel.derivative(t, x).detach().numpy(),
        kernel.derivative(t, t).detach().numpy(),
    )
    second = kernel.derivative(x, x, (2,), (0,)).detach().numpy() @ np.linalg.inv(k)
    rows = np.vstack([second, np.eye(7)[[0, -1]]])
    tau1, tau2 = np.exp(posterior.log_precisions.numpy())
    noise = np.diag([1 / tau2] * 7 + [1 / (200 * tau1)] * 2)
    gain = cross @ np.linalg.inv(k) @ k @ rows.T
    return 4 * (prior - gain @ np.linalg.solve(rows @ k @ rows.T + noise, gain.T))


def test_deviation_equals_the_textbook_s():
    posterior, points = weak_posterior(), np.array([[0.05], [0.4], [0.5], [0.93]])
    expected = np.sqrt(np.diag(textbook_covariance(posterior, points)))
    np.testing.assert_allclose(posterior.std(points), expected, rtol=1e-5)


def test_deviation_of_a_derivative_is_that_of_differences():
    posterior, step = weak_posterior(), 1e-3
    points = np.array([[0.4 - step], [0.4 + step]])
    covariance = textbook_covariance(posterior, points)
    difference = np.array([-1, 1]) / (2 * step)
    expected = np.sqrt(difference @ covariance @ difference)
    np.testing.assert_allclose(posterior.std(np.array([[0.4]]), (1,)), expected, rtol=1e-4)


def test_samples_have_the_posterior_s_moments(generator):
    posterior, points = weak_posterior(), np.array([[0.1], [0.15], [0.6]])
    draws = posterior.sample(points, 4000, generator)
    covariance = textbook_covariance(posterior, points)
    # Four standard errors of a mean, and of a covariance.
    np.testing.assert_allclose(
        draws.mean(axis=0), posterior.mean(points), atol=4 * np.sqrt(covariance.max() / 4000)
    )
    np.testing.assert_allclose(
        np.cov(draws.T), covariance, atol=4 * np.sqrt(2 / 4000) * covariance.max()
    )


@pytest.mark.parametrize("orders", [(0, 0), (2, 0), (1, 1)])
def test_mean_at_points_is_that_on_the_grid(orders):
    posterior = two_dimensional()
    axes = [np.linspace(0, 1, 4), np.linspace(0.1, 0.8, 3)]
    points = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 2)
    on_grid = posterior.mean_on_grid(axes, orders)
    np.testing.assert_allclose(
        posterior.mean(points, orders), on_grid.ravel(), rtol=1e-9, atol=1e-8
    )


def two_dimensional():
    objective = small_objective()
    whitened, precisions = objective.whitened().detach(), objective.log_precisions.detach()
    return MapPosterior(
        objective.equation, objective.kernels, whitened, precisions, 3.0, any_report()
    )


def test_derivative_of_the_mean_is_that_of_differences():
    posterior, step = two_dimensional(), 1e-4
    here = np.array([[0.3, 0.6]])
    ahead, behind = (posterior.mean(here + np.array([0, s])) for s in (step, -step))
    expected = (ahead - behind) / (2 * step)
    np.testing.assert_allclose(posterior.mean(here, (0, 1)), expected, rtol=1e-5)


def test_comes_back_from_its_arrays(generator):
    posterior, points = two_dimensional(), np.random.default_rng(0).uniform(size=(5, 2))
    again = MapPosterior.from_arrays(posterior.arrays(), posterior.meta())
    np.testing.assert_array_equal(again.mean(points), posterior.mean(points))
    np.testing.assert_array_equal(again.std(points), posterior.std(points))
    np.testing.assert_array_equal(again.mean(points, (1, 1)), posterior.mean(points, (1, 1)))
    assert str(again.report) == str(posterior.report)


def test_deviation_on_a_large_grid_names_the_direct_method():
    problem = Problem.from_exact("u_xx + u_yy = f", SQUARE, "x*y")
    options = MapOptions(max_iterations=2, rtol=0.99)
    posterior = solve_map(problem, (51, 51), [components(1.0)] * 2, options=options)
    assert not posterior.has_deviation
    with pytest.raises(ArgumentError, match=r"over 2601 grid values; use method='direct'"):
        posterior.std(np.array([[0.5, 0.5]]))


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"optimizer": "SGD"}, ArgumentError, "optimizer: got 'SGD'; give 'L-BFGS' or 'Adam'"),
        ({"max_iterations": 0}, ArgumentError, "max_iterations: got 0; give a whole number"),
        ({"max_iterations": 1.5}, ArgumentError, "max_iterations: got 1.5"),
        ({"rtol": 0.0}, ArgumentError, "rtol: got 0.0; give a number between 0 and 1"),
        ({"rtol": float("nan")}, ArgumentError, "rtol: got nan"),
        ({"callback": 3}, ArgumentTypeError, "callback: got 3; give a function or None"),
    ],
)
def test_bad_options_are_named(options, error, message):
    with pytest.raises(error, match=message):
        MapOptions(**options)


def test_an_envelope_too_rough_for_the_equation_is_named():
    problem = Problem.from_exact("u_xx = f", LINE, "sin(x)")
    with pytest.raises(ArgumentError, match=r"kernel: got 'student'.* 2 derivatives.* order 2"):
        solve_map(problem, (20,), [components(1.0)], envelope="student", nu=1.5)


def test_a_face_without_a_condition_is_named():
    problem = Problem("u_xx = f", LINE, conditions=[], f="1")
    with pytest.raises(ArgumentError, match=r"conditions: got none on faces x-, x\+"):
        solve_map(problem, (20,), [components(1.0)])
