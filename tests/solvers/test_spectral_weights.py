"""Weights read from a solution, against the power it has."""

import numpy as np
import pytest

from solvers.axis_basis import AxisBasis, Component
from solvers.discretisation import AxisDiscretisation
from solvers.discretisation import Condition as End
from solvers.fourier_basis import FourierBasis
from solvers.periodic_axis import PeriodicAxis
from solvers.separation import separate
from solvers.spectral_weights import reweight, spectral_weights

LAPLACE = separate([((2, 0), 1.0), ((0, 2), 1.0)], 2)
GRID = np.linspace(0, 1, 61)


def periodic(lines, axis):
    return PeriodicAxis(FourierBasis.up_to(lines, 0.0, 1.0), GRID, LAPLACE, axis)


def test_lines_get_the_power_that_a_draw_has_in_them():
    rng, lines = np.random.default_rng(0), 20
    axes = [periodic(lines, 0), periodic(lines, 1)]
    true = 1 / (1 + np.arange(lines + 1.0)) ** 2
    factor = axes[0].basis.reweighted(true).prior_factor
    drawn = factor @ rng.normal(size=(2 * lines + 1, 400))
    found = np.array(spectral_weights(axes[0], drawn, 0))
    found *= true[1] / found[1]
    # Neighbours share one, and it is a mean over 400 draws.
    np.testing.assert_allclose(found[1:8], true[1:8], rtol=0.25)


def test_what_a_solution_does_not_hold_keeps_a_little():
    axis = periodic(12, 0)
    coefficients = np.zeros((25, 25))
    coefficients[7, 3] = 2.0  # a cosine of 4 waves
    weights = np.array(spectral_weights(axis, coefficients, 0))
    assert weights.argmax() == 4
    assert weights.min() > 0
    assert weights[12] < 1e-3 * weights[4]
    assert np.isfinite(weights).all()


def test_a_tone_outweighs_a_trend_that_is_not_there():
    basis = AxisBasis(0.0, 1.0, [Component(0.0, 0.35), Component(9.0, 2.0)])
    axis = AxisDiscretisation(basis, GRID, [End(0), End(1)], LAPLACE, 0)
    tone = np.sin(2 * np.pi * 9 * basis.nodes) * basis.node_weights
    coefficients = (basis.evaluate(basis.nodes)[0].T @ tone)[:, None]
    slow, fast = spectral_weights(axis, coefficients, 0)
    assert slow < 1e-2 * fast


def test_reweighting_changes_the_prior_alone():
    axes = [periodic(6, 0), periodic(6, 1)]
    before = axes[0].basis
    coefficients = np.random.default_rng(0).normal(size=(13, 13))
    reweight(axes, coefficients)
    assert axes[0].basis is not before
    assert axes[0].basis.rank == before.rank
    assert axes[0].basis.prior_factor[0, 0] != pytest.approx(before.prior_factor[0, 0], rel=1e-6)
