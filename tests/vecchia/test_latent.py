import gpytorch
import numpy as np
import pytest
from scipy import stats
from scipy.integrate import quad

from kernelgp.errors import ArgumentError, ArgumentTypeError
from kernelgp.vecchia.blocks import MATERN32
from kernelgp.vecchia.latent import Observed, Prior, find_mode
from kernelgp.vecchia.likelihoods import (
    Bernoulli,
    Beta,
    Gamma,
    Gaussian,
    NegativeBinomial,
    Poisson,
    Probit,
    StudentT,
)
from kernelgp.vecchia.neighbors import nearest_previous
from kernelgp.vecchia.ordering import maximin_order
from kernelgp.vecchia.passes import fill_columns
from kernelgp.vecchia.read_likelihood import Wrapped, read_likelihood
from tests.vecchia.dense import covariance

CASES = [
    (Gaussian(np.log([0.3])), 0.7),
    (StudentT(np.log([0.4, 3.0])), 0.7),
    (Bernoulli(), 1.0),
    (Bernoulli(), 0.0),
    (Probit(), 1.0),
    (Probit(), 0.0),
    (Poisson(), 3.0),
    (NegativeBinomial(np.log([2.0])), 4.0),
    (Gamma(np.log([3.0])), 0.8),
    (Beta(np.log([5.0])), 0.3),
    (Wrapped(gpytorch.likelihoods.BernoulliLikelihood()), 1.0),
]


def distribution(likelihood, f):
    """What scipy calls it."""
    p = likelihood.parameters
    match likelihood:
        case Gaussian():
            return stats.norm(f, np.sqrt(p["noise"]))
        case StudentT():
            return stats.t(p["df"], f, p["scale"])
        case Probit():
            return stats.bernoulli(stats.norm.cdf(f))
        case Bernoulli():
            return stats.bernoulli(1 / (1 + np.exp(-f)))
        case Poisson():
            return stats.poisson(np.exp(f))
        case NegativeBinomial():
            return stats.nbinom(p["size"], p["size"] / (p["size"] + np.exp(f)))
        case Gamma():
            return stats.gamma(p["shape"], scale=np.exp(f) / p["shape"])
        case Beta():
            mean = 1 / (1 + np.exp(-f))
            return stats.beta(mean * p["precision"], (1 - mean) * p["precision"])
        case _:
            return stats.bernoulli(stats.norm.cdf(f))


@pytest.mark.parametrize(("likelihood", "y"), CASES, ids=lambda v: repr(v))
def test_densities_are_scipys_and_derivatives_those_of_differences(likelihood, y):
    f = np.linspace(-2, 2, 9)
    targets = np.full(9, y)
    known = distribution(likelihood, f)
    log = known.logpmf if hasattr(known.dist, "pmf") else known.logpdf
    np.testing.assert_allclose(likelihood.log_density(targets, f), log(targets), rtol=1e-9)
    h = 1e-4
    up, here, down = (likelihood.log_density(targets, f + s * h) for s in (1, 0, -1))
    slope, curvature = likelihood.derivatives(targets, f)
    np.testing.assert_allclose(slope, (up - down) / (2 * h), rtol=1e-5, atol=1e-6)
    assert (curvature > 0).all()
    if not likelihood.expected:
        second = -(up - 2 * here + down) / h**2
        np.testing.assert_allclose(curvature, second, rtol=1e-4, atol=1e-5)
    mean, variance = likelihood.moments(f)
    np.testing.assert_allclose(mean, known.mean() + 0 * f, rtol=1e-9)
    np.testing.assert_allclose(variance, known.var() + 0 * f, rtol=1e-9)


@pytest.mark.parametrize("likelihood", [StudentT(np.log([0.4, 3.0])), Beta(np.log([5.0]))])
def test_expected_curvatures_are_the_variance_of_the_slope(likelihood):
    f = np.array([0.4])
    known = distribution(likelihood, f[0])

    def integrand(y):
        slope = likelihood.derivatives(np.array([y]), f)[0][0]
        return slope**2 * known.pdf(y)

    low, high = known.ppf([1e-9, 1 - 1e-9])
    total = quad(integrand, low, high, limit=200, points=[known.median()])[0]
    at = np.array([known.median()])
    np.testing.assert_allclose(likelihood.derivatives(at, f)[1][0], total, rtol=1e-4)


def test_expectations_are_integrals_over_the_latent():
    mean, variance, offset = np.array([0.3]), np.array([0.5]), np.array([0.2])
    for likelihood, y in CASES:
        inner = stats.norm(0.3, np.sqrt(0.5))

        def density(f, likelihood=likelihood, y=y, inner=inner):
            at = likelihood.log_density(np.array([y]), np.array([f + 0.2]))[0]
            return np.exp(at) * inner.pdf(f)

        total = np.log(quad(density, -6, 6)[0])
        found = likelihood.log_predictive(np.array([y]), mean, variance, offset)
        np.testing.assert_allclose(found, total, atol=1e-4)
        first = quad(
            lambda f, k=likelihood, inner=inner: (
                k.moments(np.array([f + 0.2]))[0][0] * inner.pdf(f)
            ),
            -6,
            6,
        )[0]
        np.testing.assert_allclose(likelihood.expect(mean, variance, offset)[0], first, rtol=1e-6)


def prior(n, m, mean=0.0, seed=0):
    x = np.random.default_rng(seed).uniform(size=(n, 2))
    x = x[maximin_order(x)[0]] / 0.4
    near = nearest_previous(x, m)
    values = np.empty((n, near.shape[1] + 1))
    fill_columns(x, x, np.ones(n), np.ones(n), near, MATERN32, 1.0, 1e-8, 0, n, values)
    K = covariance(MATERN32, 1.0, x) + 1e-8 * np.eye(n)
    return Prior.of(near, values, np.full(n, mean)), K


def test_for_gaussian_data_the_mode_is_the_mean_and_the_evidence_the_likelihood():
    p, K = prior(60, 59, mean=0.5)
    rng = np.random.default_rng(1)
    y = rng.normal(size=60)
    weights = rng.uniform(0.5, 2, 60)
    weights[:5] = 0
    seen = weights > 0
    some = Observed(y[seen], np.zeros(55), weights[seen], np.flatnonzero(seen))
    found = find_mode(p, Gaussian(np.log([0.2])), some)
    noise = np.diag(0.2 / weights[seen])
    S = K[seen][:, seen] + noise
    mean = 0.5 + K[:, seen] @ np.linalg.solve(S, y[seen] - 0.5)
    np.testing.assert_allclose(found.mode, mean, atol=1e-6)
    assert found.steps <= 2
    W = np.where(seen, weights / 0.2, 0.0)
    exact = np.linalg.inv(np.linalg.inv(K) + np.diag(W))
    drawn = found.draw(np.eye(60))
    np.testing.assert_allclose(drawn @ drawn.T, exact, atol=1e-6)


@pytest.mark.parametrize(("likelihood", "y"), CASES, ids=lambda v: repr(v))
def test_the_mode_has_no_slope_left_and_the_evidence_is_laplaces(likelihood, y):
    p, K = prior(50, 49)
    rng = np.random.default_rng(2)
    f = np.linalg.cholesky(K) @ rng.normal(size=50)
    sampled = distribution(likelihood, f).rvs(random_state=rng).astype(float)
    if isinstance(likelihood, Beta):
        sampled = np.clip(sampled, 1e-6, 1 - 1e-6)
    if isinstance(likelihood, Gamma):
        sampled = np.maximum(sampled, 1e-6)
    likelihood.check(sampled)
    offset = np.full(50, 0.1)
    found = find_mode(p, likelihood, Observed(sampled, offset, np.ones(50), np.arange(50)))
    slope, W = likelihood.derivatives(sampled, found.mode + offset)
    inverse = np.linalg.inv(K)
    left = slope - inverse @ found.mode
    assert np.abs(K @ left).max() < 1e-2
    value = likelihood.log_density(sampled, found.mode + offset).sum()
    value -= 0.5 * found.mode @ inverse @ found.mode
    value -= 0.5 * np.linalg.slogdet(np.eye(50) + K * W)[1]
    np.testing.assert_allclose(found.log_evidence, value, rtol=1e-5, atol=1e-3)


@pytest.mark.parametrize(
    ("name", "y", "message"),
    [
        ("bernoulli", 2.0, "values such as 2; give 0 or 1"),
        ("poisson", 1.5, "values such as 1.5; give whole numbers"),
        ("negative_binomial", -1.0, "values such as -1"),
        ("gamma", 0.0, "a smallest value of 0; give positive"),
        ("beta", 1.0, "values from 0.5 to 1; give numbers between"),
    ],
)
def test_targets_without_a_density_are_refused(name, y, message):
    good = {"beta": 0.5, "gamma": 1.0}.get(name, 1.0)
    likelihood = read_likelihood(name)
    likelihood.check(np.array([good]))
    with pytest.raises(ArgumentError, match=message):
        likelihood.check(np.array([good, y]))


def test_unknown_likelihoods_are_refused():
    with pytest.raises(ArgumentError, match="'posson'; give one of 'gaussian'"):
        read_likelihood("posson")
    with pytest.raises(ArgumentTypeError, match="likelihood: got int"):
        read_likelihood(3)
