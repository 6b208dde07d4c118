import numpy as np
import pytest
from scipy.optimize import minimize

from kernelgp.vecchia.blocks import GAUSSIAN, MATERN32, RATIONAL_QUADRATIC
from kernelgp.vecchia.fit import first_guess, fit_vecchia
from kernelgp.vecchia.likelihood import Parameters, Responses, evaluate, predict
from kernelgp.vecchia.neighbors import nearest, nearest_previous
from tests.vecchia.dense import covariance


def data(n, d=2, noise=0.05, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.uniform(size=(n, d))
    K = 2.0 * covariance(MATERN32, 1.0, x / 0.4) + noise * np.eye(n)
    return x, 3.0 + np.linalg.cholesky(K) @ rng.normal(size=n)


def rows(x, y, H):
    return Responses(x, y, H, np.ones(len(y)))


def dense_profile(parameters, x, y, H):
    """The exact log-likelihood with scale and mean at their best."""
    n = len(y)
    R = covariance(parameters.kind, parameters.alpha, x / parameters.lengthscale)
    R = R + parameters.ratio * np.eye(n)
    inverse = np.linalg.inv(R)
    b = np.linalg.solve(H.T @ inverse @ H, H.T @ inverse @ y)
    r = y - H @ b
    scale = r @ inverse @ r / n
    value = -0.5 * (n * np.log(2 * np.pi * scale) + np.linalg.slogdet(R)[1] + n)
    return value, scale, b


@pytest.mark.parametrize("kind", [MATERN32, GAUSSIAN, RATIONAL_QUADRATIC])
def test_with_all_points_before_it_the_profile_is_the_exact_one(kind):
    x, y = data(60)
    H = np.column_stack([np.ones(60), x])
    parameters = Parameters(kind, np.array([0.3, 0.5]), 0.1, 1.4)
    near = nearest_previous(x, 59)
    value, scale, b = dense_profile(parameters, x, y, H)
    found = evaluate(rows(x, y, H), near, parameters, np.zeros(3))
    np.testing.assert_allclose(found.log_likelihood, value, rtol=1e-10)
    np.testing.assert_allclose(found.scale, scale, rtol=1e-9)
    np.testing.assert_allclose(found.mean, b, rtol=1e-8)


@pytest.mark.parametrize("kind", [MATERN32, RATIONAL_QUADRATIC])
@pytest.mark.parametrize("groups", [None, [0, 1, 0]])
@pytest.mark.parametrize("lengthscale", [[0.3, 0.5], [0.4]])
def test_the_gradient_is_that_of_the_profile(kind, lengthscale, groups):
    x, y = data(80)
    H = np.ones((80, 1))
    if groups is not None:
        x = np.column_stack([x, x[:, 0] ** 2])
        groups = np.minimum(groups, len(lengthscale) - 1)
    near = nearest_previous(x, 9)
    parameters = Parameters(kind, np.array(lengthscale), 0.1, 1.4, groups=groups)
    at = parameters.free()
    b = evaluate(rows(x, y, H), near, parameters, np.zeros(1)).mean
    found = evaluate(rows(x, y, H), near, parameters, b)
    for j in range(len(at)):
        h = 1e-5 * np.eye(len(at))[j]
        up, down = (
            evaluate(rows(x, y, H), near, parameters.at(at + s * h), b).log_likelihood
            for s in (1, -1)
        )
        np.testing.assert_allclose(found.gradient[j], (up - down) / 2e-5, rtol=1e-5, atol=1e-6)


def test_free_parameters_come_back():
    parameters = Parameters(RATIONAL_QUADRATIC, np.array([0.3, 2.0]), 0.02, 0.7)
    again = parameters.at(parameters.free())
    np.testing.assert_allclose(again.lengthscale, parameters.lengthscale)
    np.testing.assert_allclose([again.ratio, again.alpha], [0.02, 0.7])


def test_the_fit_ends_where_an_exact_optimizer_ends():
    x, y = data(150)
    H = np.ones((150, 1))
    rng = np.random.default_rng(0)
    fit = fit_vecchia(rows(x, y, H), first_guess(x, MATERN32), n_neighbors=149, rng=rng)
    assert fit.converged
    like = fit.parameters

    def negative(free):
        return -dense_profile(like.at(free), x, y, H)[0]

    best = minimize(negative, like.free(), method="Nelder-Mead", options={"xatol": 1e-4}).fun
    assert fit.evaluation.log_likelihood >= -best - 0.2
    assert fit.evaluations <= 25


def test_predictions_from_all_points_are_the_exact_ones():
    x, y = data(70)
    queries = np.random.default_rng(1).uniform(size=(20, 2))
    parameters = Parameters(MATERN32, np.array([0.4, 0.6]), 0.1)
    near = nearest(x, queries, 70)
    mean, variance = predict(rows(x, y, np.ones((70, 1))), y, queries, near, parameters, 1.5)
    scaled, at = x / parameters.lengthscale, queries / parameters.lengthscale
    R = covariance(MATERN32, 1.0, scaled) + 0.1 * np.eye(70)
    cross = covariance(MATERN32, 1.0, at, scaled)
    weights = np.linalg.solve(R, cross.T).T
    np.testing.assert_allclose(mean, weights @ y, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(variance, 1.5 * (1 + 1e-7 - (weights * cross).sum(axis=1)))


def test_the_same_generator_gives_the_same_fit_and_steps_are_told():
    x, y = data(300)
    H = np.ones((300, 1))
    seen = []
    one, two = (
        fit_vecchia(
            rows(x, y, H),
            first_guess(x, MATERN32),
            rng=np.random.default_rng(3),
            on_step=seen.append,
        )
        for _ in range(2)
    )
    np.testing.assert_array_equal(one.parameters.free(), two.parameters.free())
    values = [e.log_likelihood for e in seen]
    assert len(values) >= 4
    assert values[0] < values[len(values) // 2 - 1]


def test_noiseless_data_end_at_the_floor_and_that_is_told():
    rng = np.random.default_rng(0)
    x = rng.uniform(size=(200, 1))
    y = np.sin(6 * x[:, 0])
    fit = fit_vecchia(
        rows(x, y, np.ones((200, 1))), first_guess(x, MATERN32), least_ratio=1e-6, rng=rng
    )
    assert fit.parameters.ratio == pytest.approx(1e-6, rel=1e-6)
    assert 1 in fit.at_bound


@pytest.mark.parametrize("noise", [None, 0.08])
def test_merged_rows_have_the_likelihood_of_the_rows_themselves(noise):
    x, _ = data(25)
    counts = np.random.default_rng(0).integers(1, 5, 25)
    every = np.repeat(np.arange(25), counts)
    y = np.sin(5 * x[every, 0]) + 0.3 * np.random.default_rng(1).normal(size=len(every))
    means = np.array([y[every == i].mean() for i in range(25)])
    within = sum(((y[every == i] - means[i]) ** 2).sum() for i in range(25))
    merged = Responses(
        x, means, np.ones((25, 1)), 1 / counts, len(y) - 25, within, np.log(counts).sum()
    )
    parameters = Parameters(MATERN32, np.array([0.5, 0.8]), 0.07, noise=noise)
    near = nearest_previous(x, 24)
    H = np.ones((len(y), 1))
    found = evaluate(merged, near, parameters, np.zeros(1))
    if noise is None:
        value, scale, b = dense_profile(parameters, x[every], y, H)
        np.testing.assert_allclose([found.scale, found.mean[0]], [scale, b[0]], rtol=1e-8)
    else:
        R = covariance(MATERN32, 1.0, x[every] / parameters.lengthscale)
        S = noise / 0.07 * R + noise * np.eye(len(y))
        inverse = np.linalg.inv(S)
        b = (H.T @ inverse @ y) / (H.T @ inverse @ H)
        r = y - b[0, 0] if b.ndim == 2 else y - b[0]
        value = -0.5 * (r @ inverse @ r + np.linalg.slogdet(S)[1] + len(y) * np.log(2 * np.pi))
    np.testing.assert_allclose(found.log_likelihood, value, rtol=1e-9)
    at, b = parameters.free(), found.mean
    found = evaluate(merged, near, parameters, b)
    for j in range(len(at)):
        h = 1e-5 * np.eye(len(at))[j]
        up, down = (
            evaluate(merged, near, parameters.at(at + s * h), b).log_likelihood for s in (1, -1)
        )
        np.testing.assert_allclose(found.gradient[j], (up - down) / 2e-5, rtol=1e-5, atol=1e-6)


def test_a_known_noise_is_kept_and_the_scale_found():
    x, y = data(400, noise=0.05)
    start = first_guess(x, MATERN32, noise=0.05)
    fit = fit_vecchia(rows(x, y, np.ones((400, 1))), start, rng=np.random.default_rng(0))
    assert fit.converged
    assert fit.noise == pytest.approx(0.05)
    truth = Parameters(MATERN32, np.array([0.4, 0.4]), 0.05 / 2.0, noise=0.05)
    ordered = rows(x, y, np.ones((400, 1))).ordered(fit.order)
    at_truth = evaluate(ordered, fit.neighbors, truth, fit.evaluation.mean)
    assert at_truth.scale == pytest.approx(2.0)
    assert fit.evaluation.log_likelihood > at_truth.log_likelihood
    assert np.abs(fit.evaluation.gradient).max() < 5
