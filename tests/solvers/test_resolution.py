"""What is measured of a solution whose error is known."""

import numpy as np
import pytest

from solvers import Box, Problem
from solvers.resolution import Resolution, measure, signals_along, source_lines
from solvers.samples import sample_problem

PROBLEM = Problem.from_exact("u_xx + u_yy = f", Box(x=(0, 1), y=(0, 2)), "sin(3*x)*cos(2*y)")
SAMPLES = sample_problem(PROBLEM, (6, 9))


def exact(axes, orders, scale=1.0, offset=0.0):
    phases = [
        np.sin(3 * axes[0] + orders[0] * np.pi / 2),
        np.cos(2 * axes[1] + orders[1] * np.pi / 2),
    ]
    values = 3.0 ** orders[0] * 2.0 ** orders[1] * np.multiply.outer(*phases)
    return scale * values + offset * (sum(orders) == 0)


def test_the_exact_solution_leaves_rounding():
    resolution = measure(PROBLEM, SAMPLES, exact, np.random.default_rng(0))
    assert resolution.worst < 1e-14


def test_a_wrong_scale_shows_in_residual_and_boundary():
    resolution = measure(
        PROBLEM, SAMPLES, lambda x, o: exact(x, o, scale=1.01), np.random.default_rng(0)
    )
    assert resolution.residual == pytest.approx(0.01, rel=0.05)
    assert resolution.misfit == pytest.approx(0.01, rel=0.1)


def test_a_constant_that_the_equation_does_not_see_shows_on_the_faces():
    resolution = measure(
        PROBLEM, SAMPLES, lambda x, o: exact(x, o, offset=0.1), np.random.default_rng(0)
    )
    assert resolution.residual < 1e-14
    assert resolution.misfit == pytest.approx(0.1)


def test_a_solution_that_explodes_is_not_better():
    small = Resolution(left_over=1.0, scale=1.0, misfit=0.0, size=1.0)
    huge = Resolution(left_over=1e6, scale=1e7, misfit=0.0, size=1e3)
    assert huge.residual < small.residual
    assert small.is_better_than(huge)
    assert not huge.is_better_than(small)


@pytest.mark.parametrize("axis", [0, 1])
def test_signals_run_along_their_axis(axis):
    source, *faces = signals_along(SAMPLES, axis)
    n = SAMPLES.shape[axis]
    np.testing.assert_array_equal(source, np.moveaxis(SAMPLES.source, axis, -1))
    assert [f.shape for f in faces] == [(1, n)] * 2


def test_lines_are_finer_than_the_grid_and_hold_the_source():
    source, *faces = source_lines(PROBLEM, SAMPLES, 1, np.random.default_rng(0))
    assert source.shape == (8, 73)
    assert [f.shape for f in faces] == [(8, 73)] * 2
    # Every line of the source is a multiple of cos(2y), and so are the faces.
    shape = np.cos(2 * np.linspace(0, 2, 73))
    for line in [*source, faces[0][0]]:
        np.testing.assert_allclose(line, line[0] * shape, atol=1e-10)
