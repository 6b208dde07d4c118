"""Chebyshev interpolation against polynomials, for which it is exact."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.polynomial import Polynomial

from kernelgp.errors import ArgumentError
from solvers.interpolant import (
    ChebyshevInterpolant,
    ChebyshevReport,
    chebyshev_nodes,
    differentiation_matrix,
)

BOUNDS = (-0.5, 1.5)
REPORT = ChebyshevReport(0.1, "dense", 3)


def interpolant(function, *sizes):
    nodes = [chebyshev_nodes(n, *BOUNDS) for n in sizes]
    values = function(*np.meshgrid(*nodes, indexing="ij"))
    return ChebyshevInterpolant(values, [BOUNDS] * len(sizes), REPORT)


@given(n=st.integers(3, 20), order=st.integers(0, 3), seed=st.integers(0, 99))
def test_polynomials_and_their_derivatives_are_exact(n, order, seed):
    rng = np.random.default_rng(seed)
    p = Polynomial(rng.normal(size=n))
    x = rng.uniform(*BOUNDS, size=7)
    found = interpolant(p, n).mean(x[:, None], (order,))
    expected = p.deriv(order)(x) if order else p(x)
    # Each derivative loses some n² of the digits.
    scale = np.abs(p.coef).sum() * 1.5**n * float(n) ** (2 * order)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-14 * scale)


@pytest.mark.parametrize("d", [1, 2, 3])
def test_points_and_grid_agree_with_the_function(d):
    def function(*x):
        return sum((k + 1) * c**2 for k, c in enumerate(x)) + np.prod(x, axis=0)

    axes = [np.linspace(*BOUNDS, n) for n in (4, 3, 5)[:d]]
    f = interpolant(function, *(6, 5, 4)[:d])
    expected = function(*np.meshgrid(*axes, indexing="ij"))
    np.testing.assert_allclose(f.mean_on_grid(axes, (0,) * d), expected, atol=1e-13)
    points = np.stack([c.ravel() for c in np.meshgrid(*axes, indexing="ij")], axis=1)
    np.testing.assert_allclose(f.mean(points, (0,) * d), expected.ravel(), atol=1e-13)


def test_mixed_derivative():
    f = interpolant(lambda x, y: x**3 * y**2, 5, 4)
    points = np.array([[0.3, 1.1], [1.5, -0.5]])
    np.testing.assert_allclose(f.mean(points, (2, 1)), 12 * points.prod(axis=1), atol=1e-12)


def test_nodes_are_hit_exactly():
    f = interpolant(np.exp, 9)
    np.testing.assert_array_equal(f.mean(chebyshev_nodes(9, *BOUNDS)[:, None], (0,)), f.values)


def test_a_constant_has_no_derivative_to_the_last_bit():
    assert np.abs(differentiation_matrix(400, 1.0).sum(axis=1)).max() < 1e-9
    f = interpolant(lambda x: 0 * x + 3.7, 400)
    assert np.abs(f.mean(np.array([[0.1]]), (1,)))[0] < 1e-8


def test_many_points_are_taken_in_chunks():
    f = interpolant(lambda x: x**2, 4)
    x = np.linspace(*BOUNDS, 10_001)
    np.testing.assert_allclose(f.mean(x[:, None], (0,)), x**2, atol=1e-13)


def test_arrays_and_meta_make_it_again():
    f = interpolant(np.sin, 12)
    again = ChebyshevInterpolant.from_arrays(f.arrays(), f.meta())
    assert again.report == f.report
    x = np.array([[0.7]])
    np.testing.assert_array_equal(again.mean(x, (1,)), f.mean(x, (1,)))


def test_it_has_no_deviation_and_no_samples():
    f, x = interpolant(np.sin, 12), np.array([[0.7]])
    with pytest.raises(ArgumentError, match=r"got std of a Chebyshev solution.*; use GPSolver"):
        f.std(x, (0,))
    with pytest.raises(ArgumentError, match=r"got sample of a Chebyshev solution.*; use GPSolver"):
        f.sample(x, 2, torch.Generator())
