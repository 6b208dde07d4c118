"""Student-t noise, correlated outputs and gradients, each against a dense or numeric oracle."""

import math

import numpy as np
import pytest
import scipy.stats
import torch

from kernelgp.errors import ArgumentError
from kernelgp.gp.coregional import Coregional, CoregionalCovariance, CoregionalRegression
from kernelgp.gp.dense import DenseCovariance
from kernelgp.gp.gradients import GradientCovariance, GradientRegression, Observations
from kernelgp.gp.regression import Mean, Regression
from kernelgp.gp.student_t import StudentNoise, StudentRegression, response_quantiles
from kernelgp.kernels import RBF, Matern, Periodic


def points(n, d=1, seed=0):
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def mean_of(x, kind="constant"):
    return Mean(kind, x.mean(dim=0), x.std(dim=0))


def student(n=20, nu=4.0):
    x = points(n)
    y = torch.sin(2 * x)
    y[min(3, n - 1)] += 10
    noise = StudentNoise(0.05, nu)
    model = StudentRegression(
        x, y, mean_of(x, "zero"), DenseCovariance(x), torch.ones(1).double(), 1.0,
        noise_module=noise,
    )  # fmt: skip
    return model, noise


def test_bound_of_student_noise_lies_below_the_evidence_and_near_it():
    model, noise = student(n=3)
    kernel = 1.0 * RBF(0.5)
    with torch.no_grad():
        bound = model.log_evidence(kernel, noise.noise.reshape(())).item()
        root = torch.linalg.cholesky(kernel(model.x).to_dense())
    f = root.numpy() @ np.random.default_rng(0).normal(size=(3, 400_000))
    density = scipy.stats.t.logpdf(model.y.numpy() - f, 4.0, scale=0.05**0.5).sum(0)
    truth = scipy.special.logsumexp(density) - math.log(f.shape[1])
    assert truth - 0.5 < bound < truth + 0.02


def test_gradient_of_the_bound_is_that_of_its_differences():
    model, noise = student()
    kernel = 1.2 * RBF(0.6)
    inputs = [*kernel.parameters(), *noise.parameters()]
    value = model.log_evidence(kernel, noise.noise.reshape(()))
    gradients = torch.autograd.grad(value, inputs)
    for raw, gradient in zip(inputs, gradients, strict=True):
        found = []
        for step in (1e-4, -1e-4):
            with torch.no_grad():
                raw += step
                found.append(model.log_evidence(kernel, noise.noise.reshape(())).item())
                raw -= step
        assert gradient.sum().item() == pytest.approx((found[0] - found[1]) / 2e-4, rel=1e-4)


def test_an_outlier_loses_its_weight():
    model, noise = student()
    posterior = model.posterior(1.0 * RBF(0.8), noise.noise.reshape(()))
    assert posterior.noise[3] > 20 * posterior.noise.median()
    assert abs(posterior.mean(model.x)[3] - torch.sin(2 * model.x[3])) < 0.2


def test_quantiles_of_a_student_response_are_those_of_draws():
    noise = StudentNoise(0.3, 3.0)
    levels = torch.tensor([0.01, 0.5, 0.9], dtype=torch.float64)
    mean, std = torch.tensor([[1.0]]).double(), torch.tensor([[0.7]]).double()
    found = response_quantiles(mean, std, noise, levels)[0, 0]
    rng = np.random.default_rng(0)
    draws = 1 + 0.7 * rng.normal(size=10**6) + 0.3**0.5 * rng.standard_t(3.0, size=10**6)
    np.testing.assert_allclose(found.numpy(), np.quantile(draws, levels.numpy()), atol=0.03)


def coregional(missing):
    x = points(12, 2)
    y = torch.randn(12, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    if missing:
        y[2:5, 0], y[7, 1:] = torch.nan, torch.nan
    model = CoregionalRegression(
        x, y, mean_of(x), CoregionalCovariance(x, ~y.isnan().mT), torch.tensor([1.0, 2.0, 0.5])
    )
    kernel = Coregional(1.3 * Matern(2.5, 0.8), 3)
    return model, kernel, torch.tensor([0.1, 0.2, 0.3], dtype=torch.float64, requires_grad=True)


def stacked(model, kernel, noise):
    """Covariance, targets and functions of the mean of all observations, output by output."""
    observed = model.covariance.observed.flatten()
    k, n = model.covariance.observed.shape
    inputs = kernel.kernel(model.x).to_dense()
    whole = torch.kron(kernel.covariance(), inputs) + torch.diag(noise.repeat_interleave(n))
    basis = torch.kron(torch.eye(k).double(), torch.ones(n, 1).double())
    y = model.y.mT.flatten()
    return whole[observed][:, observed], y[observed], basis[observed], observed


@pytest.mark.parametrize("missing", [False, True])
def test_correlated_outputs_equal_the_dense_covariance_of_all_targets(missing):
    model, kernel, noise = coregional(missing)
    value = model.log_evidence(kernel, noise)
    whole, y, basis, observed = stacked(model, kernel, noise)
    inverse = torch.linalg.inv(whole)
    beta = torch.linalg.solve(basis.mT @ inverse @ basis, basis.mT @ inverse @ y)
    residual = y - basis @ beta
    normal = torch.distributions.MultivariateNormal(torch.zeros(len(y)).double(), whole)
    counts = model.covariance.observed.sum(dim=-1)
    expected = normal.log_prob(residual) - (counts * model.y_scale.log()).sum()
    torch.testing.assert_close(value, expected)
    inputs = [noise, *kernel.parameters()]
    torch.testing.assert_close(
        torch.autograd.grad(value, inputs),
        torch.autograd.grad(expected, inputs),
        rtol=1e-6,
        atol=1e-8,
    )

    posterior = model.posterior(kernel, noise)
    new = points(4, 2, seed=5)
    cross = torch.kron(kernel.covariance(), kernel.kernel(new, model.x).to_dense())[:, observed]
    mean = beta.repeat_interleave(4) + cross @ inverse @ residual
    prior = torch.kron(kernel.covariance(), kernel.kernel(new).to_dense())
    covariance = prior - cross @ inverse @ cross.mT
    torch.testing.assert_close(posterior.mean(new), mean.reshape(3, 4).mT.detach())
    torch.testing.assert_close(
        posterior.variance(new), covariance.diagonal().reshape(3, 4).mT.detach()
    )
    torch.testing.assert_close(
        posterior.covariance(new)[..., 1], covariance[4:8, 4:8].detach(), rtol=1e-6, atol=1e-9
    )
    loo, variance = posterior.leave_one_out()
    first = inverse.diagonal()[0]
    torch.testing.assert_close(variance[0, 0], 1 / first.detach())
    expected_mean = y[0] - (inverse @ residual)[0] / first
    torch.testing.assert_close(loo[0, 0], expected_mean.detach())


def test_draws_of_correlated_outputs_have_their_moments():
    model, kernel, noise = coregional(missing=True)
    posterior = model.posterior(kernel, noise)
    new = points(4, 2, seed=5)
    draws = posterior.sample(new, 4000, 2048, torch.Generator().manual_seed(0))
    std = posterior.variance(new).sqrt()
    assert draws.shape == (4, 3, 4000)
    assert ((draws.mean(-1) - posterior.mean(new)) / std).abs().max() < 4 / 4000**0.5 + 0.05
    torch.testing.assert_close(draws.std(-1), std, rtol=0.12, atol=0)


def with_gradients(kind="constant", unit=1.0):
    x = points(6, 2)
    scale = torch.tensor([1.0, 3.0], dtype=torch.float64)
    blocks = [(None, torch.tensor([0, 1, 3, 5])), (0, torch.arange(6)), (1, torch.tensor([2, 4]))]
    observations = Observations(blocks, scale)
    y = torch.randn(12, 1, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    covariance = GradientCovariance(x, observations, unit)
    y_scale = torch.full((1,), math.sqrt(unit), dtype=torch.float64)
    return GradientRegression(
        x, y, mean_of(x, kind), covariance, y_scale, unit, observations=observations
    )


@pytest.mark.parametrize(
    "kernel", [1.3 * RBF([0.7, 2.0]), Matern(2.5, 1.0) + Periodic(2.0)], ids=repr
)
def test_covariances_of_gradients_are_differences_of_the_kernel(kernel):
    model, h = with_gradients(), 1e-4
    found = model.covariance._matrix(kernel).detach()
    values = []
    for column, rows in model.observations.blocks:
        for row in rows:
            moved = torch.zeros(2).double()
            if column is not None:
                moved[column] = h
            values.append((model.x[row], moved))

    def difference(one, other):
        (a, da), (b, db) = one, other
        total = 0.0
        for s in (1, -1) if bool(da.any()) else (0,):
            for t in (1, -1) if bool(db.any()) else (0,):
                sign = (s or 1) * (t or 1)
                total += sign * kernel((a + s * da)[None], (b + t * db)[None]).to_dense().item()
        scale = 1.0
        for step in (da, db):
            if bool(step.any()):
                scale *= model.observations.x_scale[step.argmax()].item() / (2 * h)
        return total * scale

    expected = torch.tensor([[difference(a, b) for b in values] for a in values]).double()
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", ["constant", "linear"])
def test_evidence_of_values_and_gradients_is_a_normal_density(kind):
    model, kernel = with_gradients(kind, unit=4.0), 1.3 * RBF([0.7, 2.0])
    noise = torch.tensor([0.1, 0.2], dtype=torch.float64, requires_grad=True)
    value = model.log_evidence(kernel, noise)
    whole = model.covariance._matrix(kernel) * 4 + torch.diag(model.row_noise(noise) * 4)
    inverse, basis, y = torch.linalg.inv(whole), model.training_basis(), 2 * model.y
    beta = torch.linalg.solve(basis.mT @ inverse @ basis, basis.mT @ inverse @ y)
    normal = torch.distributions.MultivariateNormal(torch.zeros(12).double(), whole)
    expected = normal.log_prob((y - basis @ beta)[:, 0]) + 2 * math.log(3.0)
    torch.testing.assert_close(value, expected)
    inputs = [noise, *kernel.parameters()]
    torch.testing.assert_close(
        torch.autograd.grad(value, inputs),
        torch.autograd.grad(expected, inputs),
        rtol=1e-6,
        atol=1e-8,
    )


def test_draws_given_gradients_have_their_moments():
    model, kernel = with_gradients(), 1.3 * RBF([0.7, 2.0])
    posterior = model.posterior(kernel, torch.tensor([0.1, 0.2]).double())
    new = points(4, 2, seed=5)
    draws = posterior.sample(new, 2000, 2048, torch.Generator().manual_seed(0))
    std = posterior.variance(new).sqrt()
    assert ((draws.mean(-1)[:, 0] - posterior.mean(new)[:, 0]) / std).abs().max() < 0.15
    torch.testing.assert_close(draws.std(-1)[:, 0], std, rtol=0.12, atol=0)


def test_a_kernel_that_is_too_rough_for_gradients_is_refused():
    with pytest.raises(ArgumentError, match="Matern"):
        with_gradients().covariance._matrix(Matern(0.5))


def test_without_outliers_many_degrees_of_freedom_are_gaussian_noise():
    x = points(15)
    y = torch.cos(x)
    kernel, noise = 1.0 * RBF(0.7), StudentNoise(0.1, 1e6)
    parts = (x, y, mean_of(x), DenseCovariance(x), torch.ones(1).double(), 1.0)
    robust = StudentRegression(*parts, noise_module=noise)
    plain = Regression(*parts)
    value = torch.tensor(0.1).double()
    torch.testing.assert_close(
        robust.log_evidence(kernel, value), plain.log_evidence(kernel, value), rtol=1e-4, atol=1e-4
    )
