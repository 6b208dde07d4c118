"""An axis stretched at layers, and where layers are found."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from solvers.axis_basis import AxisBasis, Component
from solvers.slabs.layers import find_layers
from solvers.slabs.warp import Layer, Warp, WarpedBasis

LAYERS = (Layer(0.3, 0.05, 0.3), Layer(-0.9, 0.2, 0.2))


@pytest.mark.parametrize("periodic", [False, True])
def test_derivatives_are_those_of_the_values(periodic):
    warp, x, h = Warp(-1.0, 2.0, LAYERS, periodic), np.linspace(-0.95, 1.9, 40), 1e-5
    below, above, exact = (warp.derivatives(x + step, 4) for step in (-h, h, 0.0))
    for k in range(4):
        differences = (above[k] - below[k]) / (2 * h)
        assert np.abs(differences - exact[k + 1]).max() < 1e-6 * np.abs(exact[k + 1]).max()


@given(
    st.floats(-0.99, 0.99),
    st.floats(1e-4, 1.0),
    st.floats(0.05, 0.9),
    st.booleans(),
    st.lists(st.floats(-1, 1), min_size=2, max_size=20),
)
@settings(max_examples=50, deadline=None)
def test_inverse_undoes_and_ends_stay(center, width, share, periodic, places):
    warp = Warp(-1.0, 1.0, (Layer(center, width, share),), periodic)
    s = np.sort(np.array(places))
    x = warp.inverse(s)
    # As exact as the steepest place lets s be.
    assert np.abs(warp(x) - s).max() < 1e-15 * (4 + warp.derivatives(x, 1)[1].max())
    assert np.allclose(warp(np.array([-1.0, 1.0])), [-1, 1], atol=1e-14)
    assert (np.diff(x) >= 0).all()


def test_periodic_slopes_meet_at_the_seam():
    warp = Warp(0.0, 2.0, (Layer(0.1, 0.05, 0.5),), periodic=True)
    slopes = warp.derivatives(np.array([0.0, 2.0]), 4)[1:]
    assert all(np.allclose(slope[0], slope[1], rtol=1e-9) for slope in slopes)


def test_warped_functions_have_the_derivatives_of_a_composition():
    inner = AxisBasis(-1.0, 1.0, [Component(0.0, 0.7), Component(2.0, np.inf)])
    basis = WarpedBasis(inner, Warp(-1.0, 1.0, (Layer(0.1, 0.1, 0.4),)))
    x, h = np.linspace(-0.9, 0.9, 15), 1e-5
    below, above, exact = (basis.evaluate(x + step, 4) for step in (-h, h, 0.0))
    for k in range(4):
        differences = (above[k] - below[k]) / (2 * h)
        assert np.abs(differences - exact[k + 1]).max() < 1e-5 * np.abs(exact[k + 1]).max()


@pytest.mark.parametrize("center", [-0.97, -0.2, 0.5])
def test_a_periodic_front_is_found_wherever_it_is(center):
    x = np.linspace(-1, 1, 4000, endpoint=False)
    # tanh(sin(π (x - c)) / 0.1): fronts at c and half a period from it.
    wave, inside = np.pi * (x - center), 0.1
    slope = np.pi * np.cos(wave) / inside / np.cosh(np.sin(wave) / inside) ** 2
    warp = find_layers(x, [slope], Warp(-1.0, 1.0, (), periodic=True))
    expected = sorted(((center + shift + 1) % 2) - 1 for shift in (0.0, 1.0))
    assert [layer.center for layer in warp.layers] == pytest.approx(expected, abs=1e-3)
    # Full width at half maximum of sech²: 1.76 times its length.
    widths = [layer.width for layer in warp.layers]
    assert widths == pytest.approx([1.1 * 1.763 * inside / np.pi] * 2, rel=0.02)


def test_what_is_smooth_needs_no_layers():
    x = np.linspace(0, 1, 500)
    assert not find_layers(x, [np.exp(x)], Warp(0.0, 1.0)).layers
    assert not find_layers(x, [np.zeros(500)], Warp(0.0, 1.0)).layers


def test_a_layer_at_an_end_counts_once():
    x = np.linspace(0, 1, 5000)
    (layer,) = find_layers(x, [np.exp(-x / 0.01)], Warp(0.0, 1.0)).layers
    assert layer.center == 0.0
    assert layer.width == pytest.approx(2.2 * 0.01 * np.log(2), rel=0.02)
