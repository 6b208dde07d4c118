"""The gallery: every entry solves, and none is built before it is asked for."""

import numpy as np
import pytest

from kernelgp.errors import ArgumentError
from solvers import ChebyshevSolver, GPSolver, gallery
from tests.solvers.test_nonlinear import left_sides, random_points


def test_the_papers_problems_are_there():
    labels = [entry.label for entry in gallery.values() if entry.published]
    lines = ["P1", "P2", "P2 [0, 1]", "P3", "P4", "P5"]
    assert labels == [*lines, "P6", "P7", "extra", "A1", "A2", "A3", "V"]
    assert all(name == entry.name for name, entry in gallery.items())


@pytest.mark.parametrize("name", list(gallery))
def test_the_exact_solution_leaves_no_residual_and_the_conditions_suffice(name):
    problem = gallery[name].problem
    problem.check_conditions()
    at = random_points(problem)
    (left,) = left_sides(problem, at)
    scale = max(1.0, np.abs(left).max()) if problem.equation.data_names else 1e4
    np.testing.assert_allclose(left, problem.source(*at), rtol=0, atol=1e-11 * scale)


@pytest.mark.parametrize(
    ("name", "bound"),
    [
        ("advection-200", 1e-12),
        ("helmholtz-2d-64pi", 1e-11),
        ("poisson-3d-sin32pi", 1e-11),
        ("wave-1d", 1e-11),
        ("heat-1d", 1e-11),
        ("heat-2d-multiscale", 1e-11),
    ],
)
def test_what_the_solver_supports_is_solved(name, bound):
    entry = gallery[name]
    assert GPSolver().solve(entry.problem, entry.grid).error() < bound


@pytest.mark.parametrize("name", [n for n in gallery if n.startswith("poisson")])
def test_source_is_the_laplacian_of_the_exact_solution(name):
    problem = gallery[name].problem
    lower, upper = np.array(problem.domain.bounds).T
    x = np.random.default_rng(0).uniform(lower + 0.1, upper - 0.1, size=(20, problem.dimension))
    # Fourth-order differences; their error is h⁴ times the sixth derivative, over 30.
    h, total = 1e-4, 0.0
    for axis in np.eye(problem.dimension) * h:
        near, far = ([problem.exact(x + k * axis) for k in (-s, s)] for s in (1, 2))
        total = total + (16 * sum(near) - sum(far) - 30 * problem.exact(x)) / (12 * h**2)
    source = problem.source(*x.T)
    np.testing.assert_allclose(total, source, rtol=0, atol=2e-4 * np.abs(source).max())


@pytest.mark.parametrize(
    ("name", "bound"),
    [
        ("poisson-1d-sin100", 4e-10),
        ("poisson-1d-multiscale-unit", 1e-11),
        ("poisson-1d-sin6cos100", 5e-10),
        ("poisson-2d-sin6cos20", 1e-11),
    ],
)
def test_the_baseline_is_as_accurate_as_measured(name, bound):
    entry = gallery[name]
    error = ChebyshevSolver().solve(entry.problem, entry.grid).error()
    assert error < bound < entry.published


def test_an_unknown_name_lists_the_known_ones():
    with pytest.raises(ArgumentError, match=r"name: got 'nosuch'; give one of poisson-1d-sin100, "):
        gallery["nosuch"]
    assert "nosuch" not in gallery
    assert gallery.get("nosuch") is None
