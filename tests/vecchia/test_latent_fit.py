import gpytorch
import numpy as np
import pytest

from kernelgp.errors import ArgumentError
from kernelgp.kernels import RBF, Matern, RationalQuadratic
from kernelgp.vecchia.blocks import MATERN32
from kernelgp.vecchia.latent_fit import LatentFit, fit_latent
from kernelgp.vecchia.likelihoods import Gaussian
from kernelgp.vecchia.observations import Observations
from tests.vecchia.dense import covariance


def table(n, d=2, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.uniform(size=(n, d))
    K = covariance(MATERN32, 1.0, x / 0.4) + 1e-8 * np.eye(n)
    return x, 0.5 + np.linalg.cholesky(K) @ rng.normal(size=n), rng


def kernel(outputscale=1.3, lengthscale=0.35):
    return outputscale * Matern(nu=1.5, lengthscale=lengthscale)


def exact(x, y, noise, at, outputscale=1.3, lengthscale=0.35, mean=0.0):
    """A Gaussian process by dense algebra: log marginal, mean and covariance of the latent."""
    # With the jitter that the latent values have.
    K = outputscale * (covariance(MATERN32, 1.0, x / lengthscale) + 1e-8 * np.eye(len(x)))
    cross = outputscale * covariance(MATERN32, 1.0, at / lengthscale, x / lengthscale)
    own = outputscale * covariance(MATERN32, 1.0, at / lengthscale)
    S, r = K + np.diag(noise), y - mean
    value = r @ np.linalg.solve(S, r) + np.linalg.slogdet(S)[1] + len(y) * np.log(2 * np.pi)
    mean = mean + cross @ np.linalg.solve(S, r)
    return -0.5 * value, mean, own - cross @ np.linalg.solve(S, cross.T)


def test_with_all_neighbors_it_is_the_exact_process():
    x, f, rng = table(80)
    weights = rng.uniform(0.5, 2.0, 80)
    y = f + np.sqrt(0.1 / weights) * rng.normal(size=80)
    at = rng.uniform(size=(12, 2))
    seen = Observations.of(x, y, weights=weights, mean="zero")
    fit = fit_latent(seen, Gaussian(np.log([0.1])), kernel(), n_neighbors=79, optimizer=None)
    # What the weights are to the noise, they are to the constant of its log density.
    value, mean, own = exact(x, y, 0.1 / weights, at)
    shift = 0.5 * np.sum((weights - 1) * np.log(2 * np.pi * 0.1) + np.log(weights))
    np.testing.assert_allclose(fit.log_evidence + shift, value, atol=1e-6)
    found, variance = fit.predict(at)
    np.testing.assert_allclose(found, mean, atol=1e-6)
    np.testing.assert_allclose(variance, own.diagonal(), atol=1e-6)
    found, joint = fit.predict(at, full_cov=True, n_neighbors=200)
    np.testing.assert_allclose(found, mean, atol=1e-6)
    np.testing.assert_allclose(joint, own, atol=1e-6)
    at_training = exact(x, y, 0.1 / weights, x)[2].diagonal()
    order = np.array([np.flatnonzero((x == p).all(axis=1))[0] for p in fit.points])
    for variances in (fit.training_variance(), fit.training_variance(exact=True)):
        np.testing.assert_allclose(variances, at_training[order], atol=1e-6)


def test_draws_have_the_mean_and_covariance_of_the_predictions():
    x, f, rng = table(150)
    fit = fit_latent(
        Observations.of(x, rng.poisson(np.exp(f))), "poisson", kernel(), optimizer=None
    )
    at = rng.uniform(size=(7, 2))
    mean, joint = fit.predict(at, 60, full_cov=True)
    draws = fit.draw(at, 20_000, random_state=0, n_neighbors=60)
    error = 4 * np.sqrt(joint.diagonal().max() / 20_000)
    np.testing.assert_allclose(draws.mean(axis=0), mean, atol=error)
    np.testing.assert_allclose(np.cov(draws.T), joint, atol=6 * joint.max() / np.sqrt(20_000))
    alone, variance = fit.predict(at, 60)
    np.testing.assert_allclose(alone, mean, atol=0.03)
    np.testing.assert_allclose(variance, joint.diagonal(), rtol=0.05)


def test_a_fit_finds_kernel_likelihood_and_mean():
    x, f, rng = table(1500)
    y = rng.negative_binomial(4, 4 / (4 + np.exp(f + 2.0))).astype(float)
    steps = []
    fit = fit_latent(
        Observations.of(x, y),
        "negative_binomial",
        1.0 * Matern(nu=1.5, lengthscale=[1.0, 1.0]),
        on_step=steps.append,
    )
    assert fit.report.converged
    assert steps[-1].log_evidence > steps[0].log_evidence
    assert list(steps[-1].free) == [
        "lengthscale[0]",
        "lengthscale[1]",
        "outputscale",
        "size",
        "mean",
    ]
    np.testing.assert_allclose(steps[-1].log_evidence, fit.log_evidence, atol=1)
    assert fit.report.history == tuple(steps)
    assert 2.5 < fit.likelihood.parameters["size"] < 7
    lengthscale = fit.kernel.base_kernel.lengthscale.detach().numpy()
    assert ((lengthscale > 0.2) & (lengthscale < 0.8)).all()
    mean, _ = fit.predict(x)
    assert np.sqrt(np.mean((mean - f - 2.0) ** 2)) < 0.2
    assert "converged" in str(fit.report)


def test_an_irrelevant_column_gets_a_long_lengthscale():
    x, f, rng = table(600, d=1)
    x = np.column_stack([x, rng.uniform(size=600)])
    y = (rng.uniform(size=600) < 1 / (1 + np.exp(-4 * f))).astype(float)
    start = 1.0 * Matern(nu=1.5, lengthscale=[0.5, 0.5])
    fit = fit_latent(Observations.of(x, y), "bernoulli", start)
    lengthscale = fit.kernel.base_kernel.lengthscale.detach().numpy().ravel()
    assert lengthscale[1] > 3 * lengthscale[0]
    np.testing.assert_allclose(start.base_kernel.lengthscale.detach().numpy().ravel(), 0.5)


def test_repeats_weights_and_offsets_are_one_model():
    """Every count twice is every count at weight two; an offset moves the mean."""
    x, f, rng = table(120)
    y = rng.poisson(np.exp(f)).astype(float)
    twice = Observations.of(np.vstack([x, x]), np.concatenate([y, y]))
    weighted = Observations.of(x, y, weights=np.full(120, 2.0))
    shifted = Observations.of(x, y, weights=np.full(120, 2.0), offset=np.full(120, 0.7))
    one, two, three = (fit_latent(seen, "poisson", kernel()) for seen in (twice, weighted, shifted))
    np.testing.assert_allclose(one.log_evidence, two.log_evidence, rtol=1e-6)
    np.testing.assert_allclose(one.latent.mode, two.latent.mode, atol=1e-4)
    np.testing.assert_allclose(three.log_evidence, two.log_evidence, atol=0.05)
    np.testing.assert_allclose(three.coefficients, two.coefficients - 0.7, atol=0.05)


def test_missing_targets_change_nothing_but_are_predicted():
    x, f, rng = table(120)
    y = rng.poisson(np.exp(f)).astype(float)
    y[:20] = np.nan
    all_rows = fit_latent(Observations.of(x, y), "poisson", kernel())
    fewer = fit_latent(Observations.of(x[20:], y[20:]), "poisson", kernel())
    np.testing.assert_array_equal(all_rows.predict(x)[0], fewer.predict(x)[0])


def test_a_linear_mean_is_found_in_the_units_of_the_inputs():
    rng = np.random.default_rng(0)
    x = rng.uniform(size=(700, 2)) * [1.0, 1000.0] + [5.0, -300.0]
    y = rng.poisson(np.exp(1 + 0.5 * (x[:, 0] - 5) + 0.001 * x[:, 1])).astype(float)
    start = 0.1 * Matern(nu=1.5, lengthscale=[1.0, 1000.0])
    fit = fit_latent(Observations.of(x, y, mean="linear"), "poisson", start)
    np.testing.assert_allclose(fit.coefficients, [1 - 2.5, 0.5, 0.001], rtol=0.4)


@pytest.mark.parametrize(
    "likelihood",
    [
        gpytorch.likelihoods.StudentTLikelihood(),
        gpytorch.likelihoods.GaussianLikelihood(),
    ],
    ids=lambda v: type(v).__name__,
)
def test_likelihoods_of_gpytorch_are_learned(likelihood):
    x, f, rng = table(250)
    y = f + 0.2 * rng.normal(size=250)
    fit = fit_latent(Observations.of(x, y), likelihood, kernel())
    mean, variance = fit.predict(x)
    assert np.sqrt(np.mean((mean - f) ** 2)) < 0.15
    first, second = fit.likelihood.expect(mean, variance, np.zeros(250))
    np.testing.assert_allclose(first, mean, atol=1e-6)
    assert (second > variance).all()
    names = [n for n, _ in likelihood.named_parameters()]
    assert len(fit.likelihood.free) == len(names)
    assert not np.allclose(fit.likelihood.free, 0)


def test_a_fit_comes_back_from_its_arrays():
    x, f, rng = table(120)
    fit = fit_latent(Observations.of(x, rng.poisson(np.exp(f))), "poisson", kernel())
    again = LatentFit.from_arrays(fit.arrays(), fit.kernel, fit.likelihood)
    at = rng.uniform(size=(5, 2))
    for one, two in zip(fit.predict(at), again.predict(at), strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-9)


def test_what_cannot_be_used_is_refused():
    x = np.random.default_rng(0).uniform(size=(10, 2))
    with pytest.raises(ArgumentError, match="values such as -1; give whole numbers"):
        fit_latent(Observations.of(x, -np.ones(10)), "poisson", kernel())
    seen = Observations.of(x, np.ones(10))
    with pytest.raises(ArgumentError, match="optimizer: got 'adam'; give 'lbfgs' or None"):
        fit_latent(seen, "poisson", kernel(), optimizer="adam")
    with pytest.raises(ArgumentError, match="n_neighbors: got 0"):
        fit_latent(seen, "poisson", kernel(), n_neighbors=0)
    with pytest.raises(ArgumentError, match="3 lengthscales; give one, or one for each of 2"):
        fit_latent(seen, "poisson", RBF(lengthscale=[1.0, 1.0, 1.0]))
    with pytest.raises(ArgumentError, match="10 rows, all missing"):
        Observations.of(x, np.full(10, np.nan))
    with pytest.raises(ArgumentError, match="weights: got -1"):
        Observations.of(x, np.ones(10), weights=-np.ones(10))
    with pytest.raises(ArgumentError, match=r"offset: got shape \(3,\)"):
        Observations.of(x, np.ones(10), offset=np.ones(3))
    fit = fit_latent(seen, "poisson", kernel(), optimizer=None)
    with pytest.raises(ArgumentError, match="X: got 3 columns; give 2"):
        fit.predict(np.ones((2, 3)))


@pytest.mark.parametrize("n", [1, 2, 5])
def test_a_few_points_are_fitted(n):
    x = np.arange(float(n))[:, None]
    fit = fit_latent(Observations.of(x, np.ones(n)), "poisson", kernel())
    mean, variance = fit.predict(np.array([[0.5]]))
    assert np.isfinite(mean).all()
    assert (variance > 0).all()


@pytest.mark.parametrize(
    "smooth", [RBF(lengthscale=[0.3, 0.3]), RationalQuadratic(lengthscale=[0.3, 0.3])], ids=repr
)
def test_smooth_kernels_are_fitted_where_the_incomplete_factor_is_sound(smooth):
    rng = np.random.default_rng(0)
    x = rng.uniform(size=(400, 2))
    y = rng.poisson(np.exp(np.sin(6 * x[:, 0])))
    fit = fit_latent(Observations.of(x, y), "poisson", 1.0 * smooth)
    assert fit.report.converged
    assert fit.latent.raised == 0
    mean, _ = fit.predict(x)
    assert np.sqrt(np.mean((mean - np.sin(6 * x[:, 0])) ** 2)) < 0.2
