"""The basis of an axis against the kernel it stands for, in closed form."""

import math

import numpy as np
import pytest
import sympy
from hypothesis import given
from hypothesis import strategies as st

from solvers.axis_basis import AxisBasis, Component

SLOW_AND_TONE = [Component(0.0, 0.35), Component(12.0, 0.7, 0.5)]


def kernel(components, x1, x2, order=0):
    """The spectral mixture and its derivatives ``∂^order ∂'^order``, differentiated by sympy."""
    x, y = sympy.symbols("x y")
    total = 0
    for c in components:
        envelope = sympy.exp(-((x - y) ** 2) / (2 * sympy.Float(c.lengthscale, 30) ** 2))
        if math.isinf(c.lengthscale):
            envelope = sympy.Integer(1)
        total += c.weight * envelope * sympy.cos(2 * sympy.pi * c.frequency * (x - y))
    if order:
        total = sympy.diff(total, x, order, y, order)
    values = sympy.lambdify((x, y), total, "numpy")(x1[:, None], x2[None, :])
    return np.broadcast_to(values, (len(x1), len(x2)))


@pytest.mark.parametrize("order", [0, 1, 2, 3])
@pytest.mark.parametrize(
    "components",
    [
        SLOW_AND_TONE,
        [Component(0.0, 0.18)],
        [Component(0.0, 0.35), Component(3.5, math.inf), Component(4.0, math.inf)],
    ],
)
def test_prior_is_the_spectral_mixture_and_so_are_its_derivatives(components, order):
    basis = AxisBasis(0.0, 1.0, components)
    x = np.linspace(0, 1, 23)
    features = basis.evaluate(x, order)[order] @ basis.prior_factor
    expected = kernel(components, x, x, order)
    np.testing.assert_allclose(
        features @ features.T,
        expected,
        rtol=0,
        atol=3e-13 * 10 ** max(0, order - 2) * expected.max(),
    )


@given(
    frequency=st.floats(0.0, 60.0),
    lengthscale=st.floats(0.2, 4.0),
    lower=st.sampled_from([0.0, -3.0, 1000.0]),
    length=st.sampled_from([1e-6, 1.0, 2 * math.pi, 1e5]),
)
def test_orthonormal_in_boxes_of_any_place_and_size(frequency, lengthscale, lower, length):
    if lower and length < 1e-3:  # the box itself would be lost in rounding
        lower = 0.0
    components = [Component(0.0, 0.4 * length), Component(frequency / length, lengthscale * length)]
    basis = AxisBasis(lower, lower + length, components)
    values = basis.evaluate(basis.nodes)[0]
    gram = (values * basis.node_weights[:, None]).T @ values
    # A function that is nearly dependent on others keeps fewer digits; its prior deviation
    # is as much smaller.
    error = basis.prior_factor.T @ (gram - np.eye(basis.rank)) @ basis.prior_factor
    np.testing.assert_allclose(error, 0, atol=1e-12 * length)
    np.testing.assert_allclose(np.diag(gram), 1, rtol=0, atol=1e-2)


@pytest.mark.parametrize("order", [1, 2])
def test_derivatives_are_those_of_the_values(order):
    basis = AxisBasis(-1.0, 2.0, SLOW_AND_TONE)
    x, h = np.linspace(-0.9, 1.9, 7), 1e-4
    below, here, above = (basis.evaluate(x + k * h, order) for k in (-1, 0, 1))
    differences = (above[order - 1] - below[order - 1]) / (2 * h)
    scale = np.abs(here[order]).max()
    # The next derivatives, times h² / 6.
    np.testing.assert_allclose(here[order], differences, rtol=0, atol=1e-3 * scale)


def test_weights_scale_the_prior_and_leave_the_functions_alone():
    basis = AxisBasis(0.0, 1.0, [Component(0.0, 0.35), Component(12.0, 0.7)])
    other = basis.reweighted([4.0, 0.25])
    x = np.linspace(0, 1, 9)
    np.testing.assert_array_equal(basis.evaluate(x), other.evaluate(x))
    features = other.evaluate(x)[0] @ other.prior_factor
    components = [Component(0.0, 0.35, 4.0), Component(12.0, 0.7, 0.25)]
    np.testing.assert_allclose(features @ features.T, kernel(components, x, x), atol=1e-12)
    assert [c.weight for c in basis.components] == [1.0, 1.0]


def test_component_factors_add_up_to_the_prior():
    basis = AxisBasis(0.0, 1.0, SLOW_AND_TONE)
    total = sum(
        c.weight * t @ t.T for c, t in zip(basis.components, basis.component_factors, strict=True)
    )
    np.testing.assert_allclose(total, basis.prior_factor @ basis.prior_factor.T, atol=1e-13)


def test_a_basis_is_made_again_from_its_factor():
    basis = AxisBasis(0.0, 1.0, SLOW_AND_TONE)
    again = AxisBasis(0.0, 1.0, SLOW_AND_TONE, factor=basis.factor)
    x = np.linspace(0, 1, 5)
    np.testing.assert_array_equal(basis.evaluate(x, 2), again.evaluate(x, 2))
    np.testing.assert_array_equal(basis.prior_factor, again.prior_factor)


def test_nodes_integrate_products_of_functions_exactly():
    basis = AxisBasis(0.0, 2.0, [Component(30.0, 0.5)])
    fine = np.linspace(0, 2, 200_001)
    values, nodes = basis.evaluate(fine, 1)[1], basis.evaluate(basis.nodes, 1)[1]
    trapezoid = np.trapezoid(values[:, 3] ** 2, fine)
    gauss = basis.node_weights @ nodes[:, 3] ** 2
    assert gauss == pytest.approx(trapezoid, rel=1e-6)
