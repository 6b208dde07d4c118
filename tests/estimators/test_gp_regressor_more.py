"""`GPRegressor` on outliers, on correlated outputs and on gradients."""

import gpytorch
import numpy as np
import pytest

from kernelgp import GPRegressor
from kernelgp.errors import ArgumentError
from kernelgp.kernels import RBF, Matern

QUIET = pytest.mark.filterwarnings("ignore:the optimiser ended with:UserWarning")


@QUIET
def test_student_noise_sees_through_outliers():
    rng = np.random.default_rng(0)
    X, new = rng.uniform(0, 10, size=(80, 1)), np.linspace(0, 10, 50)[:, None]
    y = 1e3 * (np.sin(X[:, 0]) + 0.1 * rng.normal(size=80))
    y[::8] += 5e3 * rng.normal(size=10)
    error = {}
    for likelihood in ("gaussian", "student_t"):
        gp = GPRegressor(likelihood=likelihood, random_state=0).fit(X, y)
        error[likelihood] = np.sqrt(np.mean((gp.predict(new) / 1e3 - np.sin(new[:, 0])) ** 2))
    assert error["student_t"] < 0.1 < error["gaussian"]
    assert 2 < gp.degrees_of_freedom_ < 4
    mean, quantiles = gp.predict(new, return_quantiles=[0.25, 0.5])
    np.testing.assert_allclose(quantiles[:, 1], mean, atol=1e-6 * 1e3)
    # A quarter of the noise lies beyond, whatever its variance is.
    assert (mean - quantiles[:, 0]).mean() < gp.noise_**0.5
    value, gradient = gp.log_marginal_likelihood(gp.theta_, eval_gradient=True)
    assert value == pytest.approx(gp.log_marginal_likelihood_value_, rel=1e-6)
    assert len(gradient) == 4


def test_correlated_outputs_help_each_other_where_targets_are_missing():
    rng = np.random.default_rng(0)
    X, new = rng.uniform(0, 10, size=(60, 1)), np.linspace(0, 10, 30)[:, None]

    def truth(X):
        return np.stack([np.sin(X[:, 0]), 100 * np.sin(X[:, 0]) + 7], axis=-1)

    Y = truth(X) + rng.normal(size=(60, 2)) * [0.05, 5]
    Y[X[:, 0] > 5, 1] = np.nan
    error = {}
    for outputs in ("independent", "correlated"):
        gp = GPRegressor(outputs=outputs, random_state=0).fit(X, Y)
        error[outputs] = abs(gp.predict(new) - truth(new))[:, 1].max()
    assert error["correlated"] < 10 < error["independent"]
    correlation = gp.output_covariance_[0, 1] / np.sqrt(np.prod(np.diag(gp.output_covariance_)))
    assert correlation > 0.95
    assert gp.noise_.shape == (2,)
    mean, std = gp.predict(new, return_std=True)
    assert mean.shape == std.shape == (30, 2)
    assert gp.sample_y(new, 3).shape == (30, 2, 3)
    assert gp.partial_fit(X[:3] + 0.01, Y[:3]).report_.n_rows == 63


@QUIET
def test_gradients_beside_values_are_worth_more_rows():
    rng = np.random.default_rng(0)
    X, new = (rng.uniform(0, 3, size=(n, 2)) * [1, 100] for n in (12, 100))

    def f(X):
        return np.sin(2 * X[:, 0]) * X[:, 1] / 100

    slopes = np.stack([2 * np.cos(2 * X[:, 0]) * X[:, 1] / 100, np.sin(2 * X[:, 0]) / 100], -1)
    y = f(X)
    y[5], slopes[3] = np.nan, np.nan
    plain = GPRegressor(1.0 * RBF([1.0, 1.0]), random_state=0).fit(X, y)
    informed = GPRegressor(1.0 * RBF([1.0, 1.0]), random_state=0).fit(X, y, gradients=slopes)
    error, less = (np.sqrt(np.mean((gp.predict(new) - f(new)) ** 2)) for gp in (plain, informed))
    assert less < 0.3 * error
    assert "gradient_noise" in informed.theta_names_
    assert np.isnan(informed.leave_one_out().mean).sum() == 1
    h = np.array([0.0, 1e-2])
    slope = (informed.predict(X + h) - informed.predict(X - h)) / 2e-2
    np.testing.assert_allclose(slope[[0, 1, 2]], slopes[[0, 1, 2], 1], atol=2e-3)
    value, _ = informed.log_marginal_likelihood(informed.theta_, eval_gradient=True)
    assert value == pytest.approx(informed.log_marginal_likelihood_value_, rel=1e-8)


def test_combinations_that_make_no_sense_are_refused():
    rng = np.random.default_rng(0)
    X, Y = rng.normal(size=(20, 2)), rng.normal(size=(20, 2))
    cases = [
        ({"likelihood": "student_t"}, {}, Y, "likelihood: got student_t with several outputs"),
        ({}, {"gradients": X}, Y, "gradients: got given with several outputs"),
        ({}, {"gradients": X[:3]}, Y[:, 0], r"gradients: got shape \(3, 2\); give \(20, 2\)"),
        ({}, {"gradients": X, "gradient_noise": -1}, Y[:, 0], "gradient_noise: got -1"),
        ({"noise": np.ones(20)}, {"gradients": X}, Y[:, 0], "noise: got one per row"),
        ({"outputs": "correlated"}, {"sample_weight": np.ones(20)}, Y, "sample_weight: got"),
        ({"outputs": "both"}, {}, Y, "outputs: got 'both'"),
        ({"likelihood": "student_t", "method": "iterative"}, {}, Y[:, 0], "method: got"),
    ]  # fmt: skip
    for options, given, y, message in cases:
        with pytest.raises(ArgumentError, match=message):
            GPRegressor(**options).fit(X, y, **given)


@pytest.mark.parametrize("own", [False, True])
def test_draws_vary_as_the_posterior_does_where_it_is_far_narrower_than_the_prior(own):
    rng = np.random.default_rng(0)
    X, new = rng.uniform(size=(300, 2)), rng.uniform(size=(20, 2))
    y = np.sin(6 * X[:, 0]) + X[:, 1]
    kernel = 1.0 * Matern(2.5, 0.5)
    if own:
        prior = gpytorch.priors.GammaPrior(3.0, 6.0)
        kernel = gpytorch.kernels.MaternKernel(2.5, lengthscale_prior=prior).double()
        kernel.lengthscale = 0.5
    model = GPRegressor(kernel, noise=1e-4, optimizer=None).fit(X, y)
    mean, std = model.predict(new, return_std=True, latent=True)
    draws = model.sample_y(new, 1000, random_state=1)
    assert std.max() < 0.05
    # Some 2 % of 1 000 draws; plain random features gave 0.56 to 0.98.
    np.testing.assert_allclose(draws.std(axis=1) / std, 1, atol=0.12)
    np.testing.assert_allclose((draws.mean(axis=1) - mean) / std, 0, atol=0.25)


def test_students_noise_for_many_rows_names_who_takes_them():
    X = np.random.default_rng(0).normal(size=(6001, 2))
    model = GPRegressor(likelihood="student_t", random_state=0)
    with pytest.raises(ArgumentError, match=r'DKLGPRegressor\(likelihood="student_t"\)'):
        model.fit(X, X[:, 0])
