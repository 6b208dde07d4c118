"""The basis of a periodic axis against its kernel and against derivatives in closed form."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from solvers.axis_basis import Component
from solvers.fourier_basis import FourierBasis, highest_line, strongest_lines
from solvers.periodic_axis import PeriodicAxis
from solvers.separation import separate


def random_basis(seed, lower, length, highest):
    weights = np.random.default_rng(seed).uniform(0.1, 2.0, size=highest + 1)
    lines = np.arange(highest + 1) / length
    components = [Component(f, math.inf, w) for f, w in zip(lines, weights, strict=True)]
    return FourierBasis(lower, lower + length, components)


@given(
    seed=st.integers(0, 99),
    lower=st.sampled_from([0.0, -3.0, 1000.0]),
    length=st.sampled_from([0.5, 1.0, 2 * math.pi, 1e4]),
    highest=st.integers(0, 20),
)
def test_prior_is_the_sum_of_cosines_and_repeats_itself(seed, lower, length, highest):
    basis = random_basis(seed, lower, length, highest)
    x = lower + length * np.linspace(0, 1, 17)
    features = basis.evaluate(x)[0] @ basis.prior_factor
    distance = x[:, None] - x
    expected = sum(c.weight * np.cos(2 * np.pi * c.frequency * distance) for c in basis.components)
    np.testing.assert_allclose(features @ features.T, expected, atol=1e-10 * expected.max())
    np.testing.assert_allclose(features[-1], features[0], atol=1e-12 * features.max())
    pairs = zip(basis.components, basis.component_factors, strict=True)
    stacked = np.hstack([math.sqrt(c.weight) * t for c, t in pairs])
    prior = basis.prior_factor @ basis.prior_factor.T
    np.testing.assert_allclose(stacked @ stacked.T, prior, atol=1e-12 * prior.max())


@pytest.mark.parametrize("order", [0, 1, 2, 3, 4])
def test_derivatives_are_those_of_sines_and_cosines(order):
    basis = FourierBasis.up_to(3, 1.0, 3.0)
    x = np.linspace(1, 3, 11)
    for k in range(1, 4):
        angular, phase = math.pi * k, order * math.pi / 2
        cosine = angular**order * np.cos(angular * (x - 1) + phase)
        sine = angular**order * np.sin(angular * (x - 1) + phase)
        found = basis.evaluate(x, order)[order]
        np.testing.assert_allclose(found[:, 2 * k - 1], cosine, atol=1e-12 * angular**order)
        np.testing.assert_allclose(found[:, 2 * k], sine, atol=1e-12 * angular**order)


def test_its_rule_finds_it_orthonormal_and_applies_operators():
    basis = FourierBasis.up_to(6, -1.0, 2.0)
    values = basis.evaluate(basis.nodes, 2)
    weighted = values[0].T * basis.node_weights
    np.testing.assert_allclose(weighted @ values[0], np.eye(13), atol=1e-13)
    expected = weighted @ (3 * values[2] - 0.5 * values[1] + 2 * values[0])
    np.testing.assert_allclose(basis.apply({2: 3.0, 1: -0.5, 0: 2.0}), expected, atol=1e-10)


def test_an_axis_compresses_what_it_lifts_and_counts_both_ends_once():
    grid = np.linspace(0, 2, 21)
    axis = PeriodicAxis(FourierBasis.up_to(7, 0.0, 2.0), grid, separate([((2,), 1.0)], 1))
    np.testing.assert_allclose(axis.rows.T @ axis.lift, np.eye(15), atol=1e-13)
    values = np.cos(3 * np.pi * grid)
    np.testing.assert_allclose(axis.lift @ (axis.rows.T @ values), values, atol=1e-13)
    # A wave between the highest line and the grid's limit leaves nothing on the lines.
    np.testing.assert_allclose(axis.rows.T @ np.sin(8 * np.pi * grid), 0, atol=1e-13)
    ends = np.zeros(21)
    ends[[0, -1]] = 1.0, -1.0
    np.testing.assert_allclose(axis.rows.T @ ends, 0, atol=1e-15)


def test_lines_are_read_from_signals_of_one_period():
    x = np.linspace(0, 1, 41)
    signal = np.stack([3 * np.cos(2 * np.pi * 5 * x), 1e-3 * np.sin(2 * np.pi * 12 * x) + 1])
    assert highest_line([signal]) == 12
    assert strongest_lines([signal], limit=4) == [5, 12]
    assert strongest_lines([signal], limit=1) == [5]
    assert highest_line([np.zeros((1, 41))]) == 0
    assert strongest_lines([np.zeros((1, 41))], limit=3) == []


def test_lines_that_are_near_share_a_weight():
    basis = FourierBasis.up_to(9, 0.0, 1.0)
    assert basis.groups.tolist() == [0, 1, 2, 3, 4, 5, 6, 7, 8, 8]
    lighter = basis.reweighted(0.25 ** np.arange(10))
    assert lighter.prior_factor[-1, -1] == pytest.approx(0.5**9 * basis.prior_factor[-1, -1])
    assert basis.components[9].weight == 1.0
