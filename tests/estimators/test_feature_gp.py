"""Regression on features: against dense matrices, scikit-learn's checks, files."""

import numpy as np
import pytest
import torch
from sklearn.utils.estimator_checks import parametrize_with_checks

from kernelgp import FeatureGPRegressor
from kernelgp.errors import ArgumentError
from kernelgp.features.fourier_map import FourierMap
from kernelgp.gp.feature_regression import feature_loss
from kernelgp.gp.sgpr import SparseRows
from kernelgp.kernels import RBF, Linear, Matern, RationalQuadratic, White

rng = np.random.default_rng(0)
X = rng.uniform(size=(200, 2))
y = np.sin(6 * X[:, 0]) + X[:, 1] + 0.1 * rng.normal(size=200)
X_new = rng.uniform(size=(30, 2))


@parametrize_with_checks(
    [FeatureGPRegressor(n_components=20, noise=0.1, max_iterations=3, random_state=0)]
)
@pytest.mark.filterwarnings("ignore::kernelgp.errors.ConvergenceWarning")
def test_scikit_learn_checks(estimator, check):
    check(estimator)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("k", [1, 2])
def test_evidence_and_its_gradient_are_those_of_dense_matrices(k, weighted):
    kernel = 1.5 * RBF([0.4, 0.7]) + 0.5 * Matern(1.5, 0.6) * RationalQuadratic(0.8)
    mapping = FourierMap(
        kernel, 2, 15, "orthogonal", "haar", "sincos", torch.Generator().manual_seed(0)
    )
    x = torch.from_numpy(X[:60])
    targets = torch.from_numpy(np.stack([y, y**2], axis=1)[:60, :k])
    counts = torch.randint(1, 3, (60,)) if weighted else torch.ones(60, dtype=torch.int64)
    noise = torch.tensor(0.05, dtype=torch.float64, requires_grad=True)
    loss = feature_loss(mapping, SparseRows(x, targets, counts.double()), noise)
    found = [p.grad.clone() for p in (*mapping.parameters(), noise)]

    phi = mapping(x.repeat_interleave(counts, 0))
    covariance = phi @ phi.mT + noise * torch.eye(len(phi), dtype=torch.float64)
    normal = torch.distributions.MultivariateNormal(torch.zeros(len(phi)).double(), covariance)
    expected = -sum(normal.log_prob(t) for t in targets.repeat_interleave(counts, 0).mT)
    torch.testing.assert_close(loss.detach(), expected.detach())
    slopes = torch.autograd.grad(expected, [*mapping.parameters(), noise])
    for mine, other in zip(found, slopes, strict=True):
        torch.testing.assert_close(mine, other)


def test_predictions_are_those_of_the_dense_posterior():
    kernel = 2.0 * RBF(0.5)
    model = FeatureGPRegressor(kernel, 30, noise=0.01, optimizer=None, random_state=0).fit(X, y)
    mapping = model._rebuild_map()
    with torch.no_grad():
        phi, new = (mapping(torch.from_numpy(a)).numpy() for a in (X, X_new))
    gain = np.linalg.solve(phi @ phi.T + 0.01 * np.eye(200), phi @ new.T).T
    mean, covariance = model.predict(X_new, return_cov=True, latent=True)
    np.testing.assert_allclose(mean, gain @ y, rtol=1e-6, atol=1e-8)
    np.testing.assert_allclose(covariance, new @ new.T - gain @ phi @ new.T, atol=1e-8)
    _, std = model.predict(X_new, return_std=True)
    np.testing.assert_allclose(std**2, covariance.diagonal() + 0.01, atol=1e-8)
    draws = model.sample_y(X_new, 4000, random_state=1)
    assert draws.shape == (30, 4000)
    error = abs(draws.mean(axis=1) - mean)
    assert (error < 4.5 * draws.std(axis=1) / 4000**0.5).all()
    np.testing.assert_allclose(np.cov(draws), covariance, atol=0.1 * covariance.max())


def test_it_learns_lengthscales_noise_and_intervals():
    model = FeatureGPRegressor(n_components=200, random_state=0).fit(X, y)
    truth = np.sin(6 * X_new[:, 0]) + X_new[:, 1]
    mean, std = model.predict(X_new, return_std=True)
    assert np.sqrt(np.mean((mean - truth) ** 2)) < 0.06
    assert 0.005 < model.noise_ < 0.02
    assert (abs(mean - truth) < 3 * std).mean() > 0.95
    assert model.report_.converged
    several = FeatureGPRegressor(n_components=50, random_state=0).fit(X, np.stack([y, -y], 1))
    both, deviations = several.predict(X_new, return_std=True)
    assert both.shape == deviations.shape == (30, 2)
    np.testing.assert_allclose(both[:, 0], -both[:, 1], atol=1e-6)
    assert several.sample_y(X_new, 3).shape == (30, 2, 3)


def test_a_start_in_other_units_finds_the_same_optimum():
    far = FeatureGPRegressor(RBF(), n_components=100, random_state=0).fit(1e4 * X, 1e3 * y)
    near = FeatureGPRegressor(n_components=100, random_state=0).fit(X, y)
    found = far.predict(1e4 * X_new) / 1e3
    np.testing.assert_allclose(found, near.predict(X_new), atol=0.1)


@pytest.mark.parametrize("rotation", ["haar", "hadamard"])
def test_a_file_gives_the_same_predictions(tmp_path, rotation):
    kernel = Matern(1.5, [0.5, 0.6]) + 0.3 * RBF()
    model = FeatureGPRegressor(
        kernel, 21, rotation=rotation, noise=0.01, optimizer=None, random_state=0
    ).fit(X, y)
    path = model.save(tmp_path / "model.gp")
    again = FeatureGPRegressor.load(path)
    np.testing.assert_array_equal(again.predict(X_new), model.predict(X_new))
    np.testing.assert_array_equal(again.frequencies_, model.frequencies_)


def test_float32_stays_and_tensors_come_back():
    model = FeatureGPRegressor(RBF(0.5), 64, noise=0.01, optimizer=None, random_state=0)
    found = model.fit(X.astype(np.float32), y.astype(np.float32)).predict(X_new)
    assert found.dtype == np.float32
    precise = model.fit(X, y).predict(torch.from_numpy(X_new))
    assert isinstance(precise, torch.Tensor)
    np.testing.assert_allclose(found, precise.numpy(), atol=1e-3)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"n_components": 0}, "n_components: got 0; give a positive whole number"),
        ({"noise": 0.0}, "noise: got 0; give a positive variance"),
        ({"optimizer": None}, "noise: got 'learn' without an optimizer"),
        ({"optimizer": "adam"}, "optimizer: got 'adam'"),
        ({"kernel": RBF() + Linear()}, r"kernel: got Linear\(\), which has no spectrum"),
        ({"kernel": RBF() + White()}, r"kernel: got White\(.*, which has no spectrum"),
        ({"coupling": "x"}, "coupling: got 'x'"),
    ],
)
def test_bad_arguments_are_named(arguments, message):
    with pytest.raises(ArgumentError, match=message):
        FeatureGPRegressor(**arguments).fit(X, y)


def test_constant_targets_are_given_back_without_a_search():
    model = FeatureGPRegressor(n_components=50, random_state=0).fit(X, np.full(200, 5.0))
    np.testing.assert_allclose(model.predict(X), 5.0)
    assert model.report_ is None
