"""Polynomials as a basis and as a prior, and the problems that nothing else resolves."""

import warnings

import numpy as np
import pytest
from numpy.polynomial import chebyshev

from solvers import Box, ChebyshevSolver, Dirichlet, GPSolver, Initial, Problem, Solution
from solvers.axis_basis import Component
from solvers.polynomial_basis import PolynomialBasis
from solvers.samples import sample_at_chebyshev

# Equation, box, exact solution, conditions, grid: no tone explains them.
CASES = {
    "a bump": ("u_xx = f", Box(x=(-1, 1)), "exp(-50*x**2)", None, (80,)),
    "a layer": ("u_xx = f", Box(x=(-1, 1)), "tanh(15*x)", None, (200,)),
    "a chirp": ("u_xx = f", Box(x=(0, 1)), "sin(200*x**2)", None, (250,)),
    "a pole nearby": ("u_xx = f", Box(x=(-1, 1)), "1/(1 + 25*x**2)", None, (200,)),
    "twenty tones": ("u_xx = f", Box(x=(0, 1)),
                     " + ".join(f"sin({8 * k + k % 3}*x + {k})/{k}" for k in range(1, 21)), None,
                     (250,)),
    "a polynomial": ("u_xx = f", Box(x=(-1, 2)), "x**5 - 3*x**2 + 1", None, (30,)),
    "a bump 2-D": ("u_xx + u_yy = f", Box(x=(-1, 1), y=(-1, 1)), "exp(-20*(x**2 + y**2))", None,
                   (60, 60)),
    "rings": ("u_xx + u_yy = f", Box(x=(0, 1), y=(0, 1)), "sin(40*(x**2 + y**2))", None, (80, 80)),
    "decay": ("u_t = u_xx/100", Box(x=(0, 1), t=(0, 1)), "sin(10*pi*x)*exp(-pi**2*t)",
              [Initial(), Dirichlet(on=["x-", "x+"])], (60, 60)),
}  # fmt: skip


def basis_of(degree, seed=0, lower=-0.5, upper=2.5):
    weights = np.random.default_rng(seed).uniform(0.1, 2.0, size=degree)
    frequencies = np.arange(degree) / (2 * (upper - lower))
    components = [Component(f, np.inf, w) for f, w in zip(frequencies, weights, strict=True)]
    return PolynomialBasis(lower, upper, components)


@pytest.mark.parametrize("order", [0, 1, 2, 3, 4])
def test_prior_is_the_weighted_chebyshev_series_and_so_are_its_derivatives(order):
    basis = basis_of(12)
    x = np.linspace(-0.5, 2.5, 9)
    features = basis.evaluate(x, order)[order] @ basis.prior_factor
    expected = np.zeros((9, 9))
    for j, component in enumerate(basis.components):
        series = chebyshev.Chebyshev.basis(j, domain=[-0.5, 2.5]).deriv(order)
        expected += component.weight * np.outer(series(x), series(x))
    np.testing.assert_allclose(features @ features.T, expected, atol=1e-11 * expected.max())


def test_its_functions_are_orthonormal_and_its_factors_add_up():
    basis = basis_of(40)
    values = basis.evaluate(basis.nodes)[0]
    np.testing.assert_allclose((values.T * basis.node_weights) @ values, np.eye(40), atol=1e-12)
    stacked = np.hstack(
        [
            np.sqrt(c.weight) * t
            for c, t in zip(basis.components, basis.component_factors, strict=True)
        ]
    )
    prior = basis.prior_factor @ basis.prior_factor.T
    np.testing.assert_allclose(stacked @ stacked.T, prior, atol=1e-12 * prior.max())


@pytest.mark.parametrize("name", CASES)
def test_what_no_tone_explains_is_solved_as_by_collocation(name):
    equation, box, exact, conditions, grid = CASES[name]
    problem = Problem.from_exact(equation, box, exact, conditions)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        solution = GPSolver().solve(problem, grid=grid)
    # The baseline takes values at the end of time for a start, as it has no other use for them.
    baseline = Problem.from_exact(equation, box, exact)
    if conditions is None:
        assert solution.error() <= 10 * ChebyshevSolver().solve(baseline, grid=grid).error()
    else:
        assert solution.error() <= 1e-13
    lower, upper = np.array(box.bounds).T
    x = np.random.default_rng(3).uniform(lower, upper, size=(100, box.dimension))
    error = np.abs(solution.mean(x) - problem.exact(x))
    assert np.mean(error <= 2 * solution.std(x)) >= 0.9
    assert solution.check()


def test_a_file_holds_polynomials_too(tmp_path):
    equation, box, exact, conditions, grid = CASES["a bump"]
    solution = GPSolver().solve(Problem.from_exact(equation, box, exact, conditions), grid=grid)
    loaded = Solution.load(solution.save(tmp_path / "u.gp"))
    x = np.random.default_rng(0).uniform(-1, 1, size=30)
    np.testing.assert_array_equal(loaded.mean(x), solution.mean(x))
    np.testing.assert_array_equal(loaded.std(x), solution.std(x))


def test_arrays_are_not_asked_for_values_elsewhere():
    """A source that is known on a uniform grid alone cannot be had at Chebyshev points."""
    x = np.linspace(-1, 1, 120)
    source = (10000 * x**2 - 100) * np.exp(-50 * x**2)
    problem = Problem("u_xx = f", Box(x=(-1, 1)), [Dirichlet(0)], f=source)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        solution = GPSolver().solve(problem, grid=(120,))
    np.testing.assert_allclose(solution.mean(x[:, None]), np.exp(-50 * x**2), atol=1e-3)


def test_chebyshev_points_stand_in_for_the_grid_but_on_periodic_axes():
    equation, box, exact, conditions, grid = CASES["decay"]
    problem = Problem.from_exact(equation, box, exact, conditions)
    samples = sample_at_chebyshev(problem, grid)
    angles = np.arccos(np.clip(1 - 2 * samples.axes[0], -1, 1))
    np.testing.assert_allclose(np.diff(angles), np.pi / 59, rtol=1e-8)
    assert samples.shape == (60, 60)
