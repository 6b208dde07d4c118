"""Whitened features against the kernel they stand for, on one axis and on products."""

import numpy as np
import pytest

from solvers.axis_basis import AxisBasis, Component
from solvers.feature_basis import FeatureBasis
from solvers.fourier_basis import FourierBasis


def squared_exponential(x, t, lengthscale):
    return np.exp(-((x[:, None] - t[None]) ** 2) / (2 * lengthscale**2))


def plane():
    first = AxisBasis(0.0, 1.0, [Component(0.0, 0.4), Component(5.0, 1.5)])
    second = AxisBasis(-1.0, 2.0, [Component(0.0, 1.2)])
    return FeatureBasis([first, second])


def points(n=12, seed=0):
    return np.random.default_rng(seed).uniform([0, -1], [1, 2], size=(n, 2))


def test_features_reproduce_the_product_kernel_though_half_are_left_out():
    basis, x = plane(), points()
    features = basis.at_points(x, (0, 0))
    d = x[:, None, 0] - x[None, :, 0]
    first = squared_exponential(x[:, 0], x[:, 0], 0.4)
    first = first + squared_exponential(x[:, 0], x[:, 0], 1.5) * np.cos(2 * np.pi * 5 * d)
    kernel = first * squared_exponential(x[:, 1], x[:, 1], 1.2)
    np.testing.assert_allclose(features @ features.T, kernel, atol=1e-13)
    assert basis.size < 0.85 * basis.full_size


@pytest.mark.parametrize("orders", [(0, 0), (1, 0), (2, 1)])
def test_derivatives_are_those_of_finite_differences(orders):
    basis, x = plane(), points(5)
    lower = tuple(o - (k == np.argmax(orders)) if any(orders) else 0 for k, o in enumerate(orders))
    if lower == orders:
        return
    step = 1e-6 * (np.array(orders) - lower)
    slope = (basis.at_points(x + step, lower) - basis.at_points(x - step, lower)) / 2e-6
    found = basis.at_points(x, orders)
    np.testing.assert_allclose(found, slope, atol=1e-7 * np.abs(found).max())


def test_products_of_axes_are_points_in_their_order():
    basis = plane()
    x, y = np.linspace(0, 1, 4), np.linspace(-1, 2, 3)
    mesh = np.stack([c.ravel() for c in np.meshgrid(x, y, indexing="ij")], axis=1)
    rows = [basis.along(0, x, 1), basis.along(1, y, 2)]
    at_points = basis.at_points(mesh, (1, 2))
    np.testing.assert_array_equal(basis.on_axes(rows), at_points)
    coefficients = np.random.default_rng(1).normal(size=(basis.size, 2))
    combined = basis.combine_on_axes(rows, coefficients).reshape(-1, 2)
    expected = at_points @ coefficients
    np.testing.assert_allclose(combined, expected, atol=1e-12 * np.abs(expected).max())


def test_a_coarser_cut_keeps_fewer_features_and_as_many_digits():
    axis = AxisBasis(0.0, 1.0, [Component(0.0, 0.3)])
    coarse, x = FeatureBasis([axis, axis], negligible=1e-6), np.random.default_rng(0).random((9, 2))
    features = coarse.at_points(x, (0, 0))
    kernel = squared_exponential(x[:, 0], x[:, 0], 0.3) * squared_exponential(x[:, 1], x[:, 1], 0.3)
    error = np.abs(features @ features.T - kernel).max()
    assert 1e-16 < error < 1e-9
    assert coarse.size < FeatureBasis([axis, axis]).size / 2


def test_a_periodic_axis_is_one_of_the_factors():
    line, circle = AxisBasis(0.0, 1.0, [Component(0.0, 0.5)]), FourierBasis.up_to(3, 0.0, 2.0)
    basis = FeatureBasis([line, circle])
    ends = basis.at_points(np.array([[0.3, 0.0], [0.3, 2.0]]), (0, 1))
    np.testing.assert_allclose(ends[0], ends[1], atol=1e-13)
    again = FeatureBasis.from_arrays(basis.arrays("u"), "u")
    x = np.random.default_rng(0).uniform(size=(4, 2))
    np.testing.assert_array_equal(again.at_points(x, (1, 2)), basis.at_points(x, (1, 2)))
