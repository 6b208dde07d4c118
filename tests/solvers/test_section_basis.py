"""The functions of a rough prior against the kernel, which kernelgp.kernels has in closed form."""

import numpy as np
import pytest
import torch

from kernelgp.kernels import SpectralMixture
from solvers.axis_basis import Component
from solvers.section_basis import SectionBasis

COMPONENTS = [Component(0.0, 0.4), Component(6.0, 1.5, 0.5)]


def kernel_values(x1, x2, order=0):
    kernel = SpectralMixture("matern52", [0.0, 6.0], [0.4, 1.5], [1.0, 0.5])
    points = [torch.from_numpy(x)[:, None] for x in (x1, x2)]
    return kernel.derivative(*points, (order,), (order,)).detach().numpy()


@pytest.fixture(scope="module")
def basis():
    return SectionBasis(-1.0, 1.0, COMPONENTS, 80)


def test_functions_are_orthonormal(basis):
    values = basis.evaluate(basis.nodes)[0]
    gram = (values * basis.node_weights[:, None]).T @ values
    np.testing.assert_allclose(gram, np.eye(basis.rank), atol=1e-8)


@pytest.mark.parametrize("order", [0, 1, 2])
def test_what_they_hold_and_what_they_miss_make_the_prior(basis, order):
    x = np.linspace(-1, 1, 17)
    features = basis.evaluate(x, order)[order] @ basis.prior_factor
    variance = np.square(features).sum(axis=1) + basis.missing(x, order)
    np.testing.assert_allclose(variance, np.diag(kernel_values(x, x, order)), rtol=1e-10)
    assert (basis.missing(x, 0) < 1e-5).all()


def test_the_prior_is_the_kernel_but_for_what_is_missing(basis):
    x = np.linspace(-1, 1, 17)
    features = basis.evaluate(x)[0] @ basis.prior_factor
    error = np.abs(features @ features.T - kernel_values(x, x))
    missing = np.sqrt(basis.missing(x, 0))
    assert (error <= 1e-12 + 1.0001 * np.outer(missing, missing)).all()


def test_interpolation_carries_waves_to_the_nodes(basis):
    expected = np.cos(2 * np.pi * 6 * basis.nodes + 1)
    errors = []
    for points in (30, 60, 120):
        grid = np.linspace(-1, 1, points)
        carried = basis.interpolation(grid) @ np.cos(2 * np.pi * 6 * grid + 1)
        errors.append(np.abs(carried - expected).max())
    assert errors[0] < 0.1  # 2.5 points a wave
    assert errors[2] < errors[1] / 4 < errors[0] / 16


def test_weights_scale_what_is_held_and_what_is_missing(basis):
    x, other = np.linspace(-1, 1, 5), basis.reweighted([4.0])
    np.testing.assert_allclose(other.prior_factor, 2 * basis.prior_factor)
    np.testing.assert_allclose(other.missing(x, 2), 4 * basis.missing(x, 2), rtol=1e-9)


def test_a_basis_is_made_again_from_its_factor(basis):
    again = SectionBasis(-1.0, 1.0, COMPONENTS, 80, factor=basis.factor)
    x = np.linspace(-1, 1, 5)
    np.testing.assert_array_equal(basis.evaluate(x, 2), again.evaluate(x, 2))
