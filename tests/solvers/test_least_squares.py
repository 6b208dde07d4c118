"""The whitened posterior against the textbook's, written with dense kernel matrices."""

import mpmath
import numpy as np
import pytest
import torch

from kernelgp.kernels import RBF
from solvers.axis_basis import AxisBasis, Component
from solvers.feature_basis import FeatureBasis
from solvers.least_squares import fit, learn_scales
from solvers.rows import Block, Part, Space

LENGTHSCALE = 0.4


def line():
    return Space({"u": FeatureBasis([AxisBasis(0.0, 1.0, [Component(0.0, LENGTHSCALE)])])})


def covariance(x, order, t, other):
    """Of derivatives of a draw of the squared exponential kernel, from its closed form."""
    kernel = RBF(lengthscale=LENGTHSCALE)
    a, b = (torch.from_numpy(v)[:, None] for v in (x, t))
    with torch.no_grad():
        return kernel.derivative(a, b, (order,), (other,)).numpy()


def conditioned(x, scale, data):
    """Mean, deviation and evidence at x by formulas (2.25) and (2.30) of Rasmussen and Williams.

    `data` holds (points, order, values, noise deviation).
    """
    gram = scale**2 * np.block(
        [[covariance(p, o, q, r) for q, r, _, _ in data] for p, o, _, _ in data]
    )
    gram += np.diag(np.concatenate([np.full(len(p), sd**2) for p, _, _, sd in data]))
    cross = scale**2 * np.hstack([covariance(x, 0, p, o) for p, o, _, _ in data])
    values = np.concatenate([v for _, _, v, _ in data])
    mean = cross @ np.linalg.solve(gram, values)
    posterior = scale**2 * covariance(x, 0, x, 0) - cross @ np.linalg.solve(gram, cross.T)
    n = len(values)
    evidence = -0.5 * (
        values @ np.linalg.solve(gram, values) + np.linalg.slogdet(gram)[1] + n * np.log(2 * np.pi)
    )
    return mean, posterior, evidence


def case():
    """u'' = f with one end known, noisy sensors, and equation rows with a noise of their own."""
    rng = np.random.default_rng(0)
    inside, end, sensors = np.linspace(0, 1, 15), np.zeros(1), rng.uniform(size=9)
    return [
        (inside, 2, -9 * np.sin(3 * inside), 0.02),
        (end, 0, np.zeros(1), 1e-3),
        (sensors, 0, np.sin(3 * sensors) + 0.05 * rng.normal(size=9), 0.05),
    ]


def as_blocks(space, data):
    return [
        Block(str(i), space.at_points(x[:, None], [Part("u", (order,))]), values, noise)
        for i, (x, order, values, noise) in enumerate(data)
    ]


def test_mean_deviation_and_evidence_are_those_of_dense_conditioning():
    space, data, x = line(), case(), np.linspace(0, 1, 11)
    found = fit(as_blocks(space, data), np.full(space.size, 1.7))
    mean, posterior, evidence = conditioned(x, 1.7, data)
    rows = space.at_points(x[:, None], [Part("u", (0,))])
    np.testing.assert_allclose(rows @ found.coefficients, mean, atol=1e-9)
    np.testing.assert_allclose(found.deviation(rows), np.sqrt(np.diag(posterior)), rtol=1e-6)
    np.testing.assert_allclose(found.log_marginal_likelihood, evidence, rtol=1e-10)


def test_draws_have_the_covariance_of_dense_conditioning():
    space, data, x = line(), case(), np.linspace(0, 1, 4)
    found = fit(as_blocks(space, data), np.full(space.size, 1.7))
    mean, posterior, _ = conditioned(x, 1.7, data)
    rows = space.at_points(x[:, None], [Part("u", (0,))])
    n = 20_000
    drawn = rows @ found.draw(np.random.default_rng(0).normal(size=(space.size, n)))
    sd = np.sqrt(np.diag(posterior))
    # Four standard errors of a mean and of a covariance.
    np.testing.assert_array_less(np.abs(drawn.mean(axis=1) - mean), 4 * sd / np.sqrt(n))
    error = np.abs(np.cov(drawn) - posterior) / np.outer(sd, sd)
    assert error.max() < 4 * np.sqrt(2 / n)


def test_a_deviation_of_1e_13_keeps_its_digits():
    """Against 60 digits: a difference of squared norms would leave 1e-8 of the prior."""
    space, nugget = line(), 1e-13
    inside = np.linspace(0, 1, 25)
    blocks = [
        Block("u'' = 0", space.at_points(inside[:, None], [Part("u", (2,))]), np.zeros(25)),
        Block("ends", space.at_points(np.array([[0.0], [1.0]]), [Part("u", (0,))]), np.zeros(2)),
    ]
    found = fit(blocks, np.ones(space.size), nugget=nugget)
    row = space.at_points(np.array([[0.37]]), [Part("u", (0,))])
    with mpmath.workdps(60):
        stack = [mpmath.matrix(b.matrix) / s for b, s in zip(blocks, found.noise, strict=True)]
        precision = mpmath.eye(space.size)
        for a in stack:
            precision += a.T * a
        phi = mpmath.matrix(row)
        exact = mpmath.sqrt((phi * mpmath.lu_solve(precision, phi.T))[0])
    np.testing.assert_allclose(found.deviation(row), float(exact), rtol=0.05)
    assert 1e-15 < float(exact) < 1e-12


def test_damping_is_a_prior_about_the_center():
    rng = np.random.default_rng(0)
    block = Block("seen", rng.normal(size=(20, 6)), rng.normal(size=20), 0.5)
    center, scales = rng.normal(size=6), np.full(6, 2.0)
    found = fit([block], scales, damping=3.0, center=center)
    precision = block.matrix.T @ block.matrix / 0.25 + np.eye(6) * (1 + 3) / 4
    rhs = block.matrix.T @ block.values / 0.25 + 3 * center / 4
    np.testing.assert_allclose(found.coefficients, np.linalg.solve(precision, rhs), rtol=1e-10)


def test_learned_scale_and_noise_maximise_the_evidence():
    space, rng = line(), np.random.default_rng(3)
    x = rng.uniform(size=80)
    values = 5 * np.sin(4 * x) + 0.2 * rng.normal(size=80)
    rows = space.at_points(x[:, None], [Part("u", (0,))])
    found = learn_scales(
        [Block("seen", rows, values, 1.0)], space.groups, [1.0], learn_noise=["seen"]
    )
    scale, noise = found.scales[0], found.noise[0]
    assert 0.17 < noise < 0.24

    def evidence(scale, noise):
        return conditioned(x[:1], scale, [(x, 0, values, noise)])[2]

    best = evidence(scale, noise)
    np.testing.assert_allclose(found.log_marginal_likelihood, best, rtol=1e-8)
    for factor in (0.8, 1.25):
        assert evidence(scale * factor, noise) < best
        assert evidence(scale, noise * factor) < best


def test_a_scale_of_each_unknown_is_learned():
    basis = line().bases["u"]
    space = Space({"u": basis, "v": basis})
    x = np.linspace(0, 1, 40)[:, None]
    blocks = [
        Block("u", space.at_points(x, [Part("u", (0,))]), np.sin(3 * x[:, 0])),
        Block("v", space.at_points(x, [Part("v", (0,))]), 1e4 * np.cos(3 * x[:, 0])),
    ]
    found = learn_scales(blocks, space.groups, [1.0, 1.0])
    ratio = found.scales[-1] / found.scales[0]
    assert 1e3 < ratio < 1e5


@pytest.mark.parametrize("noise", [None, 0.1])
def test_data_that_are_all_zero_give_zero(noise):
    space, x = line(), np.linspace(0, 1, 9)[:, None]
    block = Block("seen", space.at_points(x, [Part("u", (0,))]), np.zeros(9), noise)
    found = learn_scales([block], space.groups, [1.0])
    np.testing.assert_array_equal(found.coefficients, np.zeros(space.size))
    assert np.isfinite(found.deviation(block.matrix)).all()
