"""A rough line against the posterior of the textbook, inverted as it stands."""

import numpy as np
import pytest
import torch

from kernelgp.errors import NotPositiveDefiniteError
from kernelgp.kernels import SpectralMixture
from solvers.axis_basis import Component
from solvers.line_posterior import Functional, LinePosterior, _cholesky

COMPONENTS = [Component(0.0, 0.4), Component(3.0, 1.5, 0.5)]
DATA = [
    Functional(np.array([0.0, 1.0]), {0: 1.0}),
    Functional(np.linspace(0, 1, 12), {2: 0.5, 1: -1.0, 0: 3.0}),
]


def covariance(x1, operator1, x2, operator2):
    kernel = SpectralMixture("matern52", [0.0, 3.0], [0.4, 1.5], [1.0, 0.5])
    points = [torch.from_numpy(x)[:, None] for x in (x1, x2)]
    return sum(
        a * b * kernel.derivative(*points, (i,), (j,)).detach().numpy()
        for i, a in operator1.items()
        for j, b in operator2.items()
    )


@pytest.fixture(scope="module")
def case():
    rng = np.random.default_rng(0)
    values = rng.normal(size=14)
    gram = np.block(
        [[covariance(f.points, f.operator, g.points, g.operator) for g in DATA] for f in DATA]
    )
    return LinePosterior(COMPONENTS, DATA, values), gram, values


@pytest.mark.parametrize("order", [0, 1, 2])
def test_mean_and_deviation_equal_the_textbook(case, order):
    posterior, gram, values = case
    x, operator = np.linspace(0.05, 0.95, 7), {order: 1.0}
    cross = np.hstack([covariance(x, operator, f.points, f.operator) for f in DATA])
    mean = cross @ np.linalg.solve(gram, values)
    amplitude = np.sqrt(values @ np.linalg.solve(gram, values) / 14)
    prior = np.diag(covariance(x, operator, x, operator))
    variance = prior - np.sum(cross * np.linalg.solve(gram, cross.T).T, axis=1)
    np.testing.assert_allclose(posterior.mean(x[:, None], (order,)), mean, rtol=1e-7, atol=1e-7)
    expected = amplitude * np.sqrt(np.abs(variance))
    np.testing.assert_allclose(posterior.std(x[:, None], (order,)), expected, rtol=1e-3)
    assert posterior.amplitude == pytest.approx(amplitude)


def test_evidence_is_the_density_at_the_best_amplitude(case):
    posterior, gram, values = case
    scaled = posterior.amplitude**2 * gram
    quadratic = values @ np.linalg.solve(scaled, values)
    density = -0.5 * (quadratic + np.linalg.slogdet(2 * np.pi * scaled)[1])
    assert posterior.log_marginal_likelihood == pytest.approx(density, rel=1e-6)


def test_samples_scatter_by_the_deviation(case):
    posterior, *_ = case
    x = np.linspace(0.05, 0.95, 7)[:, None]
    drawn = posterior.sample(x, 4000, torch.Generator().manual_seed(0)) - posterior.mean(x)
    np.testing.assert_allclose(drawn.std(axis=0), posterior.std(x), rtol=5 / np.sqrt(8000))


def test_the_jitter_that_equal_data_need_is_known():
    once = LinePosterior([Component(0.0, 1.0)], [Functional(np.array([0.3]), {0: 1.0})], np.ones(1))
    assert once.jitter == 0
    equal = Functional(np.full(40, 0.3), {0: 1.0})
    often = LinePosterior([Component(0.0, 1.0)], [equal], np.ones(40))
    assert 0 < often.jitter <= 1e-12
    assert often.mean(np.array([[0.3]])) == pytest.approx([1.0])


def test_a_covariance_that_is_not_positive_is_refused():
    with pytest.raises(NotPositiveDefiniteError, match=r"grid: got a covariance .* singular"):
        _cholesky(np.array([[1.0, 1.1], [1.1, 1.0]]))
