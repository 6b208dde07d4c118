import gpytorch
import numpy as np
import pytest

from kernelgp.kernels import RBF, Matern, Periodic, RationalQuadratic
from kernelgp.vecchia.covariances import as_covariance
from kernelgp.vecchia.evidence import Model, Pattern, evaluate_evidence
from kernelgp.vecchia.likelihoods import (
    Bernoulli,
    Beta,
    Gamma,
    Gaussian,
    NegativeBinomial,
    Poisson,
    StudentT,
)
from kernelgp.vecchia.neighbors import nearest_previous
from kernelgp.vecchia.observations import Observations
from kernelgp.vecchia.ordering import maximin_order
from kernelgp.vecchia.read_likelihood import Wrapped

N = 70
LIKELIHOODS = [
    Gaussian(np.log([0.3])),
    StudentT(np.log([0.4, 3.0])),
    Bernoulli(),
    Poisson(),
    NegativeBinomial(np.log([2.0])),
    Gamma(np.log([3.0])),
    Beta(np.log([5.0])),
    Wrapped(gpytorch.likelihoods.BernoulliLikelihood()),
]
KERNELS = [
    1.5 * Matern(nu=1.5, lengthscale=[0.4, 0.7]),
    0.8 * RBF(lengthscale=0.5),
    1.2 * RationalQuadratic(alpha=1.4, lengthscale=0.5),
    1.5 * Matern(nu=2.5, lengthscale=0.6) * Periodic(period=2.0) + 0.1 * RBF(lengthscale=0.3),
]


def problem(likelihood, m, mean="constant"):
    rng = np.random.default_rng(3)
    x = rng.uniform(size=(N, 2))
    f = 1.5 * np.sin(4 * x[:, 0]) + x[:, 1]
    every = np.concatenate([np.arange(N), np.arange(9)])
    if isinstance(likelihood, Wrapped):
        y = (f[every] + rng.normal(size=len(every)) > 0).astype(float)
    else:
        y = likelihood.sample(f[every] + 0.2, rng)
    y[-1] = np.nan
    weights = rng.uniform(0.5, 2, len(every))
    seen = Observations.of(x[every], y, offset=np.full(len(every), 0.2), weights=weights, mean=mean)
    order, _ = maximin_order(seen.points / 0.5)
    seen = seen.ordered(order)
    near = nearest_previous(seen.points / 0.5, m)
    return Pattern.of(seen.points, near, seen.observed, seen.mean(seen.points))


def model(kernel, likelihood, q):
    return Model(as_covariance(kernel, 2), likelihood, np.linspace(0.3, -0.2, q), 1.7)


def check_gradient(pattern, at, rtol):
    found = evaluate_evidence(pattern, at)
    assert found.value == evaluate_evidence(pattern, at, slopes=False).value
    free = at.free
    assert len(free) == len(at.names) == len(found.gradient)
    for j in range(len(free)):
        h = 1e-3 * np.eye(len(free))[j]
        up, down = (
            evaluate_evidence(pattern, at.at(free + s * h), found.latent.mode, slopes=False).value
            for s in (1, -1)
        )
        expected = (up - down) / 2e-3
        np.testing.assert_allclose(found.gradient[j], expected, rtol=rtol, atol=rtol)
    assert (np.linalg.eigvalsh(found.information) > 0).all()


@pytest.mark.parametrize("likelihood", LIKELIHOODS, ids=repr)
def test_the_gradient_is_that_of_the_evidence_for_every_likelihood(likelihood):
    pattern = problem(likelihood, 7)
    check_gradient(pattern, model(KERNELS[0], likelihood, 1), 2e-3)


@pytest.mark.parametrize("kernel", KERNELS[1:], ids=repr)
def test_the_gradient_is_that_of_the_evidence_for_every_kernel(kernel):
    pattern = problem(Poisson(), 7, mean="linear")
    check_gradient(pattern, model(kernel, Poisson(), 3), 2e-3)


def test_columns_may_share_lengthscales():
    groups = np.array([0, 0])
    kernel = 1.5 * Matern(nu=1.5, lengthscale=[0.4, 0.4])
    pattern = problem(Poisson(), 7)
    at = Model(as_covariance(kernel, 2, groups), Poisson(), np.zeros(1), 1.0)
    assert at.names == ("lengthscale", "outputscale", "mean")
    check_gradient(pattern, at, 2e-3)
    moved = at.at(at.free + 0.1).covariance.kernel
    np.testing.assert_allclose(moved.base_kernel.lengthscale.detach(), 0.4 * np.exp(0.1))
    np.testing.assert_allclose(moved.outputscale.detach(), 1.5 * np.exp(0.1))


def test_compiled_and_torch_covariances_agree():
    pattern, kernel = problem(Poisson(), 7), KERNELS[0]
    compiled = evaluate_evidence(pattern, model(kernel, Poisson(), 1))
    sum_of_one = model(kernel + 1e-12 * RBF(), Poisson(), 1)
    found = evaluate_evidence(pattern, sum_of_one)
    # But for the jitter, which is 1e-6 where nothing is known of a kernel.
    np.testing.assert_allclose(found.value, compiled.value, rtol=1e-4)
    np.testing.assert_allclose(found.latent.mode, compiled.latent.mode, atol=1e-3)
