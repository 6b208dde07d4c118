"""`GPRegressor` against scikit-learn's, gpytorch's, and its own promises."""

import pickle
from importlib import import_module

import gpytorch
import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process import kernels as sk
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from kernelgp import GPRegressor
from kernelgp.errors import ArgumentError, ConvergenceWarning, JitterWarning
from kernelgp.gp.regression import Regression
from kernelgp.kernels import RBF, Linear, Matern, Periodic, White

# Targets of few levels, or of none at all, push the noise to its bound.
QUIET = pytest.mark.filterwarnings("ignore:the optimiser ended with:UserWarning")


@parametrize_with_checks([GPRegressor()])
@QUIET
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.SkipTestWarning")
@pytest.mark.filterwarnings("ignore:lbfgs. objective:UserWarning")
def test_scikit_learn_conventions(estimator, check):
    check(estimator)


def problem(n=60, d=2, seed=0, noise=0.1):
    rng = np.random.default_rng(seed)
    X = rng.uniform(size=(n, d))
    y = np.sin(6 * X[:, 0]) + X[:, -1] + noise * rng.normal(size=n)
    return X, y, rng.uniform(size=(15, d))


SKLEARN_KERNELS = [
    2.0 * sk.RBF([0.3, 0.7]),
    1.5 * sk.Matern([0.5, 0.9], nu=2.5) + sk.RationalQuadratic(0.7, 0.4),
    sk.ConstantKernel(0.5) * sk.DotProduct(0.3) + sk.Matern(0.6, nu=1.5),
    sk.RBF(0.5) + sk.WhiteKernel(0.2),
]


@pytest.mark.parametrize("kernel", SKLEARN_KERNELS, ids=str)
@pytest.mark.parametrize("targets", [1, 3])
def test_numbers_without_an_optimizer_are_those_of_scikit_learn(kernel, targets):
    X, y, new = problem()
    y = y if targets == 1 else np.stack([y, np.cos(y), 3 + y], axis=-1)
    peer = GaussianProcessRegressor(kernel, alpha=0.01, optimizer=None).fit(X, y)
    ours = GPRegressor(kernel, noise=0.01, optimizer=None).fit(X, y)
    for options in ({"return_std": True}, {"return_cov": True}):
        for a, b in zip(
            peer.predict(new, **options), ours.predict(new, latent=True, **options), strict=True
        ):
            np.testing.assert_allclose(b, a, rtol=1e-8, atol=1e-8)
    assert ours.log_marginal_likelihood_value_ == pytest.approx(
        peer.log_marginal_likelihood_value_, rel=1e-10
    )
    if "DotProduct" in str(kernel):  # whose sigma_0 is the root of our offset
        return
    for theta in (kernel.theta, kernel.theta + 0.3):
        value, gradient = peer.log_marginal_likelihood(theta, eval_gradient=True)
        found, slope = ours.log_marginal_likelihood(theta, eval_gradient=True)
        assert found == pytest.approx(value, rel=1e-10)
        np.testing.assert_allclose(slope, gradient, rtol=1e-8, atol=1e-8)


def test_the_optimum_is_at_least_that_of_scikit_learn():
    X, y, _ = problem(n=120)
    kernel = 1.0 * sk.Matern([1.0, 1.0], nu=2.5) + sk.WhiteKernel(0.1)
    peer = GaussianProcessRegressor(kernel, alpha=0.0).fit(X, y - y.mean())
    ours = GPRegressor(kernel, random_state=0).fit(X, y)
    assert ours.log_marginal_likelihood_value_ >= peer.log_marginal_likelihood_value_ - 1e-4
    assert ours.report_.optimizer.converged
    assert abs(ours.log_marginal_likelihood(ours.theta_, eval_gradient=True)[1]).max() < 0.1


@pytest.mark.parametrize("scale", [1e-20, 1.0, 1e20])
def test_units_of_the_targets_change_nothing_but_units(scale):
    X, y, new = problem()
    one = GPRegressor(random_state=0).fit(X, y)
    other = GPRegressor(random_state=0).fit(X, scale * y)
    for a, b in zip(
        one.predict(new, return_std=True), other.predict(new, return_std=True), strict=True
    ):
        np.testing.assert_allclose(b / scale, a, rtol=1e-4, atol=1e-6)
    assert other.noise_ / scale**2 == pytest.approx(one.noise_, rel=1e-2)
    expected = one.log_marginal_likelihood_value_ - len(y) * np.log(scale)
    assert other.log_marginal_likelihood_value_ == pytest.approx(expected, abs=1e-2)


def test_units_and_offsets_of_the_inputs_change_nothing_but_units():
    X, y, new = problem()
    stretch, shift = np.array([1e3, 1e-4]), np.array([1e8, 0.0])
    one = GPRegressor(random_state=0).fit(X, y)
    other = GPRegressor(random_state=0).fit(X * stretch + shift, y + 1e8)
    found = other.predict(new * stretch + shift) - 1e8
    np.testing.assert_allclose(found, one.predict(new), atol=1e-3)
    np.testing.assert_allclose(
        other.kernel_.base_kernel.lengthscale.detach().numpy()[0] / stretch,
        one.kernel_.base_kernel.lengthscale.detach().numpy()[0],
        rtol=2e-2,
    )


def test_a_composite_kernel_given_in_any_units_is_fitted():
    X, y, new = problem(n=100)
    truth = np.sin(6 * new[:, 0]) + new[:, 1]
    for factor in (1.0, 1e4):
        kernel = 2.0 * Matern(nu=2.5) + Periodic()
        gp = GPRegressor(kernel, random_state=0).fit(factor * X, factor * y)
        assert np.sqrt(np.mean((gp.predict(factor * new) / factor - truth) ** 2)) < 0.07


def test_response_has_the_noise_and_latent_has_not():
    X, y, new = problem()
    gp = GPRegressor(random_state=0).fit(X, y)
    _, latent = gp.predict(new, return_std=True, latent=True)
    mean, response = gp.predict(new, return_std=True)
    np.testing.assert_allclose(response**2 - latent**2, gp.noise_)
    _, covariance = gp.predict(new, return_cov=True)
    np.testing.assert_allclose(np.diag(covariance), response**2)
    _, quantiles = gp.predict(new, return_quantiles=[0.025, 0.5, 0.975])
    np.testing.assert_allclose(quantiles[:, 1], mean)
    np.testing.assert_allclose(quantiles[:, 2] - mean, 1.959964 * response, rtol=1e-6)


def test_samples_are_consistent_functions_with_the_moments_of_the_posterior():
    X, y, new = problem()
    gp = GPRegressor(random_state=0).fit(X, y)
    draws = gp.sample_y(new, n_samples=4000, random_state=0)
    mean, std = gp.predict(new, return_std=True, latent=True)
    assert draws.shape == (15, 4000)
    assert (abs(draws.mean(1) - mean) / std).max() < 4 / 4000**0.5 + 0.05
    np.testing.assert_allclose(draws.std(1), std, rtol=0.12)
    np.testing.assert_allclose(gp.sample_y(new[:3], 5), gp.sample_y(new, 5)[:3], atol=1e-10)
    noisy = gp.sample_y(new, 4000, latent=False)
    np.testing.assert_allclose(noisy.var(1) - draws.var(1), gp.noise_, rtol=0.3)


def test_several_outputs_are_those_of_one_at_a_time_at_the_same_kernel():
    X, y, new = problem()
    both = np.stack([y, 100 * np.cos(6 * y) + 5], axis=-1)
    gp = GPRegressor(random_state=0).fit(X, both)
    mean, std = gp.predict(new, return_std=True)
    assert mean.shape == std.shape == (15, 2)
    assert gp.sample_y(new, 3).shape == (15, 2, 3)
    assert gp.predict(new, return_quantiles=[0.5])[1].shape == (15, 2, 1)
    for j in range(2):
        scale = both[:, j].std()
        alone = GPRegressor(scale**2 * gp.kernel_, noise=gp.noise_[j], optimizer=None)
        alone.fit(X, both[:, j] - gp.mean_[0, j])
        found, deviation = alone.predict(new, return_std=True)
        np.testing.assert_allclose(found + gp.mean_[0, j], mean[:, j], rtol=1e-6)
        np.testing.assert_allclose(deviation, std[:, j], rtol=1e-6)


def test_missing_targets_are_left_out_output_by_output():
    X, y, new = problem()
    both = np.stack([y, y**2], axis=-1)
    both[:10, 0], both[5:20, 1] = np.nan, np.nan
    kernel = 2.0 * RBF(0.4)
    gp = GPRegressor(kernel, noise=0.01, optimizer=None).fit(X, both)
    assert gp.report_.n_missing == 15  # rows 5 to 9 have no target at all and are gone
    mean, std = gp.predict(new, return_std=True)
    for j, rows in enumerate([slice(10, None), np.r_[0:5, 20:60]]):
        alone = GPRegressor(kernel, noise=0.01, optimizer=None).fit(X[rows], both[rows, j])
        for a, b in zip(alone.predict(new, return_std=True), (mean[:, j], std[:, j]), strict=True):
            np.testing.assert_allclose(b, a)
    loo = gp.leave_one_out()
    assert np.isnan(loo.mean).sum() == 15
    with pytest.raises(ArgumentError, match="y: got an output of NaN only"):
        GPRegressor().fit(X, np.full(60, np.nan))


def test_one_variance_per_row_and_weights():
    X, y, new = problem()
    variances = np.linspace(0.01, 0.5, 60)
    kernel = 2.0 * sk.RBF(0.4)
    peer = GaussianProcessRegressor(kernel, alpha=variances, optimizer=None).fit(X, y)
    ours = GPRegressor(kernel, noise=variances, optimizer=None).fit(X, y)
    for a, b in zip(
        peer.predict(new, return_std=True),
        ours.predict(new, return_std=True, latent=True),
        strict=True,
    ):
        np.testing.assert_allclose(b, a, atol=1e-10)
    weights = 1 / variances
    weighted = GPRegressor(kernel, noise=1.0, optimizer=None).fit(X, y, sample_weight=weights)
    np.testing.assert_allclose(weighted.predict(new), ours.predict(new), atol=1e-10)


def test_more_rows_give_what_all_rows_give():
    X, y, new = problem()
    gp = GPRegressor(random_state=0).fit(X[:40], y[:40])
    kernel, theta = gp.kernel_, gp.theta_
    gp.partial_fit(X[40:55], y[40:55]).partial_fit(X[55:], y[55:])
    assert gp.kernel_ is kernel
    whole = GPRegressor(random_state=0).fit(X[:40], y[:40])
    value = whole.log_marginal_likelihood(theta)
    assert gp.report_.n_rows == 60
    assert gp.log_marginal_likelihood_value_ != value
    alone = GPRegressor(kernel, noise=gp.noise_, optimizer=None).fit(X, y - gp.mean_[0])
    np.testing.assert_allclose(gp.predict(new), alone.predict(new) + gp.mean_[0], atol=1e-8)
    found = gp.log_marginal_likelihood(theta)
    assert gp.log_marginal_likelihood_value_ == pytest.approx(found, rel=1e-10)
    with pytest.raises(ValueError, match="features"):
        gp.partial_fit(X[:, :1], y)


@QUIET
def test_the_gpytorch_model_has_the_same_posterior():
    X, y, new = problem()
    for mean in ("zero", "constant", "linear"):
        gp = GPRegressor(mean=mean, random_state=0).fit(X, y)
        model = gp.gpytorch_model()
        assert isinstance(model, gpytorch.models.ExactGP)
        latent = model(torch.tensor(new))
        expected, std = gp.predict(new, return_std=True, latent=True)
        np.testing.assert_allclose(latent.mean.detach().numpy(), expected, atol=1e-8)
        np.testing.assert_allclose(latent.stddev.detach().numpy(), std, atol=1e-8)
        response = model.likelihood(latent).stddev.detach().numpy()
        np.testing.assert_allclose(response, gp.predict(new, return_std=True)[1], atol=1e-8)


def test_a_linear_mean_finds_the_plane():
    rng = np.random.default_rng(0)
    X = rng.uniform(-1, 1, size=(80, 2))
    y = 3 + X @ [2.0, -5.0] + 0.1 * rng.normal(size=80)
    gp = GPRegressor(0.01 * RBF(), mean="linear", random_state=0)
    with pytest.warns(ConvergenceWarning, match="bound"):
        gp.fit(X, y)
    np.testing.assert_allclose(gp.mean_, [3, 2, -5], atol=0.1)
    assert gp.predict([[10.0, 10.0]])[0] == pytest.approx(-27, abs=2)


def test_priors_of_gpytorch_pull_the_hyperparameters():
    X, y, _ = problem()
    kernel = 1.0 * RBF(0.5)
    prior = gpytorch.priors.NormalPrior(5.0, 0.001)
    kernel.base_kernel.register_prior("lengthscale_prior", prior, "lengthscale")
    gp = GPRegressor(kernel, random_state=0).fit(X, y)
    assert gp.kernel_.base_kernel.lengthscale.item() == pytest.approx(5.0, abs=0.01)
    theirs = gpytorch.kernels.ScaleKernel(gpytorch.kernels.RBFKernel(lengthscale_prior=prior))
    gp = GPRegressor(theirs, random_state=0).fit(X, y)
    assert gp.kernel_.base_kernel.lengthscale.item() == pytest.approx(5.0, abs=0.01)


def test_what_the_user_fixed_stays_fixed():
    X, y, _ = problem()
    kernel = 1.0 * RBF(0.37)
    kernel.base_kernel.raw_lengthscale.requires_grad = False
    gp = GPRegressor(kernel, random_state=0).fit(X, y)
    assert gp.kernel_.base_kernel.lengthscale.item() == pytest.approx(0.37)
    assert gp.theta_names_ == ("outputscale", "noise")


def test_white_noise_in_the_kernel_is_the_noise_that_is_learned():
    X, y, _ = problem()
    one = GPRegressor(1.0 * RBF(0.5) + White(0.1), random_state=0).fit(X, y)
    other = GPRegressor(1.0 * RBF(0.5), random_state=0).fit(X, y)
    assert one.noise_ == pytest.approx(other.noise_, rel=1e-2)
    assert one.theta_names_ == other.theta_names_


def test_a_likelihood_of_gpytorch_brings_its_noise_and_prior():
    X, y, _ = problem()
    likelihood = gpytorch.likelihoods.GaussianLikelihood(
        noise_prior=gpytorch.priors.NormalPrior(0.5, 0.001)
    )
    gp = GPRegressor(likelihood=likelihood, random_state=0).fit(X, y)
    assert gp.noise_ == pytest.approx(0.5, abs=0.01)
    fixed = gpytorch.likelihoods.FixedNoiseGaussianLikelihood(torch.full((60,), 0.3))
    gp = GPRegressor(likelihood=fixed, random_state=0).fit(X, y)
    np.testing.assert_allclose(gp.noise_, 0.3, rtol=1e-6)


def test_a_grid_with_missing_cells_equals_dense():
    axes = np.linspace(0, 1, 30), np.linspace(0, 2, 30)
    X = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 2)
    rng = np.random.default_rng(0)
    X = X[rng.permutation(900)[:720]]
    y = np.sin(6 * X[:, 0]) * np.cos(3 * X[:, 1]) + 0.1 * rng.normal(size=720)
    kernel = 1.0 * RBF([0.3, 0.6])
    one = GPRegressor(kernel, noise=0.01, method="kronecker", optimizer=None).fit(X, y)
    other = GPRegressor(kernel, noise=0.01, method="cholesky", optimizer=None).fit(X, y)
    assert (one.report_.method, other.report_.method) == ("kronecker", "cholesky")
    for a, b in zip(
        one.predict(X[:9] + 0.01, return_std=True),
        other.predict(X[:9] + 0.01, return_std=True),
        strict=True,
    ):
        np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-6)
    for a, b in zip(
        one.log_marginal_likelihood(one.theta_, True),
        other.log_marginal_likelihood(one.theta_, True),
        strict=True,
    ):
        np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-6)
    default = GPRegressor(method="kronecker", random_state=0).fit(X, y)
    truth = np.sin(6 * X[:9, 0]) * np.cos(3 * X[:9, 1])
    np.testing.assert_allclose(default.predict(X[:9]), truth, atol=0.1)


def test_an_evidence_that_is_estimated_on_a_grid_says_how_well(monkeypatch):
    axis = np.linspace(0, 1, 16)
    X = np.stack(np.meshgrid(axis, axis), axis=-1).reshape(-1, 2)
    X = X[np.random.default_rng(0).uniform(size=len(X)) > 0.2]
    y = np.sin(5 * X).sum(axis=-1)
    settings = {"noise": 0.05, "method": "kronecker", "optimizer": None}
    exact = GPRegressor(RBF(0.1), **settings).fit(X, y)
    monkeypatch.setattr("kernelgp.operators.partial._CHOLESKY_CELLS", 0)
    monkeypatch.setattr("kernelgp.operators.noisy_kronecker._MISSING_CELLS", 0)
    module = import_module("kernelgp.linalg.inv_quad_logdet")
    monkeypatch.setattr(module, "fits", lambda _: False)
    estimated = GPRegressor(RBF(0.1), **settings).fit(X, y)
    error = estimated.report_.standard_error
    assert exact.report_.standard_error == 0
    assert 0 < error < 5
    off = estimated.log_marginal_likelihood_value_ - exact.log_marginal_likelihood_value_
    assert abs(off) < 4 * error
    assert f"± {error:.1g}" in str(estimated.report_)


@QUIET
@pytest.mark.parametrize(
    ("X", "y"),
    [
        (np.ones((5, 1)), np.ones(5)),
        (np.arange(5.0)[:, None], np.ones(5)),
        (np.array([[1.0, 2.0]]), np.array([3.0])),
        (np.repeat(np.arange(8.0)[:, None], 2, axis=1), np.arange(8.0) ** 2),
        (np.c_[np.arange(8.0), np.full(8, 3.0)], np.sin(np.arange(8.0))),
        (np.random.default_rng(0).normal(size=(6, 20)), np.arange(6.0)),
        (np.arange(12)[:, None], (np.arange(12) % 3)),
        (np.arange(12)[:, None] % 2 == 0, np.arange(12.0)),
        (1e8 + np.arange(12.0)[:, None], 1e8 + np.sin(np.arange(12.0))),
        (np.arange(12.0)[:, None], np.r_[np.zeros(11), 1e12]),
    ],
    ids=["all constant", "constant y", "one row", "same columns", "constant column", "wide",
         "integers", "booleans", "offsets", "outlier"],
)  # fmt: skip
def test_awkward_data_are_fitted(X, y):
    gp = GPRegressor(random_state=0).fit(X, y)
    mean, std = gp.predict(X, return_std=True)
    assert np.isfinite(mean).all()
    assert (np.isfinite(std) & (std > 0)).all()
    assert gp.sample_y(X, 2).shape == (len(X), 2)


def test_duplicate_rows_without_noise_warn_of_their_jitter():
    X = np.repeat(np.linspace(0, 1, 6), 2)[:, None]
    gp = GPRegressor(RBF(0.3), noise=0.0, optimizer=None)
    with pytest.warns(JitterWarning, match="jitter"):
        gp.fit(X, np.sin(X[:, 0]))
    np.testing.assert_allclose(gp.predict(X), np.sin(X[:, 0]), atol=1e-4)
    assert gp.report_.jitter > 0


def test_noise_at_its_bound_is_named():
    X = np.linspace(0, 1, 30)[:, None]
    with pytest.warns(ConvergenceWarning, match="noise at its lower bound"):
        GPRegressor(random_state=0).fit(X, np.sin(5 * X[:, 0]))


def test_an_interrupted_fit_keeps_the_best_and_goes_on(monkeypatch):
    X, y, new = problem()
    whole = GPRegressor(random_state=0).fit(X, y)
    gp = GPRegressor(random_state=0, warm_start=True)
    calls = []

    original = Regression.log_evidence

    def interrupted(self, *given):
        calls.append(1)
        if len(calls) == 6:
            raise KeyboardInterrupt
        return original(self, *given)

    monkeypatch.setattr(Regression, "log_evidence", interrupted)
    with pytest.warns(ConvergenceWarning, match="interrupted; the best so far is kept"):
        gp.fit(X, y)
    assert gp.report_.optimizer.interrupted
    assert gp.predict(new).shape == (15,)
    gp.fit(X, y)
    assert gp.report_.optimizer.converged
    np.testing.assert_allclose(gp.theta_, whole.theta_, atol=0.05)


def test_the_same_random_state_gives_the_same_fit():
    X, y, new = problem(n=810)
    kernel = 1.0 * RBF(0.5)
    one, other = (GPRegressor(kernel, random_state=3).fit(X, y) for _ in range(2))
    np.testing.assert_array_equal(one.predict(new), other.predict(new))


def test_tensors_come_back_as_tensors_and_float32_stays():
    X, y, new = problem()
    X32, y32, new32 = (torch.tensor(a, dtype=torch.float32) for a in (X, y, new))
    gp = GPRegressor(random_state=0).fit(X32, y32)
    mean, std = gp.predict(new32, return_std=True)
    assert isinstance(mean, torch.Tensor)
    assert mean.dtype == std.dtype == torch.float32
    reference = GPRegressor(random_state=0).fit(X, y).predict(new)
    np.testing.assert_allclose(mean.numpy(), reference, atol=1e-2)


def test_pickle_clone_pipeline_and_grid_search():
    X, y, new = problem()
    gp = GPRegressor(1.0 * RBF(0.5), random_state=0).fit(X, y)
    again = pickle.loads(pickle.dumps(gp))
    np.testing.assert_array_equal(again.predict(new), gp.predict(new))
    assert again.partial_fit(X[:2] + 0.1, y[:2]).report_.n_rows == 62
    assert not hasattr(clone(gp), "kernel_")
    pipeline = make_pipeline(StandardScaler(), GPRegressor(random_state=0))
    search = GridSearchCV(
        pipeline, {"gpregressor__kernel": [1.0 * RBF(), 1.0 * Matern(1.5)]}, cv=3, n_jobs=1
    )
    assert search.fit(X, y).best_score_ > 0.9


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"method": "lu"}, "method: got 'lu'; give \"auto\""),
        ({"mean": "quadratic"}, "mean: got 'quadratic'"),
        ({"optimizer": "adam"}, "optimizer: got 'adam'"),
        ({"noise": -0.1}, "noise: got"),
        ({"noise": "guess"}, "noise: got 'guess'"),
        ({"kernel": "rbf"}, "kernel: got str"),
        ({"likelihood": "poisson"}, "likelihood: got 'poisson'"),
        ({"n_restarts": -1}, "n_restarts: got -1"),
        ({"max_iterations": 0}, "max_iterations: got 0"),
        ({"dtype": "int8"}, "dtype: got 'int8'"),
        ({"optimizer": None}, "noise: got \"learn\" without an optimizer"),
        ({"method": "kronecker"}, "method: got \"kronecker\" for rows off a grid"),
        ({"random_state": "x"}, "random_state: got 'x'"),
    ],
)  # fmt: skip
def test_bad_arguments_are_named(options, message):
    X, y, _ = problem(n=10)
    with pytest.raises(ArgumentError, match=message):
        GPRegressor(**options).fit(X, y)


def test_bad_questions_are_named():
    X, y, new = problem(n=20)
    with pytest.raises(NotFittedError):
        GPRegressor().predict(X)
    gp = GPRegressor(1.0 * RBF(0.5) + 0.1 * Linear(), noise=0.1, optimizer=None).fit(X, y)
    with pytest.raises(ArgumentError, match="return_std: got True beside another"):
        gp.predict(new, return_std=True, return_cov=True)
    with pytest.raises(ArgumentError, match=r"return_quantiles: got \[1.5\]"):
        gp.predict(new, return_quantiles=[1.5])
    with pytest.raises(ArgumentError, match=r"theta: got shape \(2,\); give 3 finite numbers"):
        gp.log_marginal_likelihood([0.0, 1.0])
    with pytest.raises(ArgumentError, match="n_samples: got 0"):
        gp.sample_y(new, 0)
    with pytest.raises(ValueError, match="NaN"):
        gp.predict(np.full((2, 2), np.nan))


def test_an_input_that_does_not_matter_is_no_trouble_and_warnings_point_at_the_caller():
    X, y, _ = problem(n=80)
    X = np.c_[X, np.random.default_rng(1).normal(size=80)]
    gp = GPRegressor(random_state=0).fit(X, y)
    assert gp.kernel_.base_kernel.lengthscale[0, 2] > 10
    with pytest.warns(ConvergenceWarning) as seen:
        GPRegressor(random_state=0).fit(X[:, :1], np.sin(X[:, 0]))
    assert seen[0].filename == __file__


def test_an_input_that_does_not_matter_is_noted_without_a_warning():
    rng = np.random.default_rng(0)
    X = rng.uniform(size=(80, 2))
    gp = GPRegressor(random_state=0).fit(X, np.sin(6 * X[:, 0]) + 0.05 * rng.normal(size=80))
    name = next(n for n in gp.theta_names_ if n.endswith("lengthscale[1]"))
    assert gp.report_.notes == (f"inputs that hardly matter: {name}",)
    assert gp.report_.notes[0] in str(gp.report_)
    y = np.sin(6 * X[:, 0]) + np.cos(4 * X[:, 1]) + 0.05 * rng.normal(size=80)
    both = GPRegressor(random_state=0).fit(X, y)
    assert not both.report_.notes
