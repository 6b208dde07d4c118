"""gpytorch's ExactGP on our operators, at gpytorch's default settings, against dense Cholesky."""

import math

import gpytorch
import pytest
import torch

from kernelgp.kernels import RBF, Matern
from kernelgp.linalg.cholesky import _LIMIT
from kernelgp.operators import NoisyKernelOperator

N, M = 900, 50  # above the 800 rows from which gpytorch iterates


class Model(gpytorch.models.ExactGP):
    def __init__(self, x, y, likelihood, kernel):
        super().__init__(x, y, likelihood)
        self.mean_module, self.covar_module = gpytorch.means.ZeroMean(), kernel

    def forward(self, x):
        return gpytorch.distributions.MultivariateNormal(self.mean_module(x), self.covar_module(x))


def data(dtype):
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(N + M, 4, generator=generator, dtype=torch.float64)
    y = torch.sin(6 * x).sum(dim=-1)
    y = y + 0.1 * torch.randn(N + M, generator=generator, dtype=torch.float64)
    return x[:N].to(dtype), y[:N].to(dtype), x[N:].to(dtype)


def model(x, y, kernel):
    likelihood = gpytorch.likelihoods.GaussianLikelihood().to(x)
    likelihood.noise = 0.01
    return Model(x, y, likelihood, kernel)


def ours():
    return 1.0 * RBF(lengthscale=0.35)


def dense_reference(x, y, x_new):
    """The oracle in float64: evidence per point, its gradient, predictive mean and variance."""
    x, y, x_new = x.double(), y.double(), x_new.double()
    raw = torch.tensor([0.35, 1.0, 0.01], dtype=torch.float64).log().requires_grad_()
    lengthscale, scale, noise = raw.exp()

    def k(a, b):
        difference = (a.unsqueeze(-2) - b) / lengthscale
        return scale * torch.exp(-difference.square().sum(dim=-1) / 2)

    covariance = k(x, x) + noise * torch.eye(N, dtype=torch.float64)
    root = torch.linalg.cholesky(covariance)
    white = torch.linalg.solve_triangular(root, y.unsqueeze(-1), upper=False)
    evidence = -white.square().sum() / 2 - root.diagonal().log().sum()
    evidence = evidence / N - math.log(2 * math.pi) / 2
    (gradient,) = torch.autograd.grad(evidence, raw, retain_graph=True)
    cross = torch.linalg.solve_triangular(root, k(x, x_new), upper=False)
    mean = (cross.mT @ white).squeeze(-1)
    variance = scale - cross.square().sum(dim=0)
    return evidence.detach(), gradient, mean.detach(), variance.detach()


def evidence_and_gradient(gp, x, y):
    """The same by gpytorch, with respect to the logarithms of the hyperparameters."""
    gp.train()
    mll = gpytorch.mlls.ExactMarginalLogLikelihood(gp.likelihood, gp)
    value = mll(gp(x), y)
    kernel, noise = gp.covar_module, gp.likelihood.raw_noise
    raws = [kernel.base_kernel.raw_lengthscale, kernel.raw_outputscale, noise]
    grads = torch.autograd.grad(value, raws)
    # Ours are held as logarithms; gpytorch's noise behind a softplus above 1e-4.
    by_noise = grads[2].sum() / torch.sigmoid(noise.detach()) * gp.likelihood.noise.detach()
    return value.detach(), torch.stack([grads[0].sum(), grads[1].sum(), by_noise.sum()])


@pytest.fixture(params=[torch.float32, torch.float64], ids=str, name="problem")
def _problem(request):
    return data(request.param)


def check_evidence(problem, tolerance):
    x, y, x_new = problem
    evidence, gradient, _, _ = dense_reference(x, y, x_new)
    value, found = evidence_and_gradient(model(x, y, ours()), x, y)
    assert abs(value - evidence) <= tolerance
    allowed = torch.maximum(0.1 * gradient.abs(), torch.tensor(0.005))
    assert ((found - gradient).abs() <= allowed).all()


def check_prediction(problem):
    x, y, x_new = problem
    _, _, mean, variance = dense_reference(x, y, x_new)
    gp = model(x, y, ours()).eval()
    with torch.no_grad():
        found = gp(x_new)
    torch.testing.assert_close(found.mean.double(), mean, rtol=0, atol=1e-3)
    assert (found.variance > 0).all()
    torch.testing.assert_close(found.variance.double(), variance, rtol=1e-2, atol=0)


def test_evidence_and_gradient_are_those_of_dense_cholesky(problem):
    check_evidence(problem, tolerance=1e-4)


def test_prediction_is_that_of_dense_cholesky(problem):
    check_prediction(problem)


@pytest.fixture
def iterated(monkeypatch):
    """No matrix is small enough for Cholesky."""
    for dtype in (torch.float32, torch.float64):
        monkeypatch.setitem(_LIMIT, dtype, 0)


@pytest.mark.usefixtures("iterated")
def test_evidence_is_right_where_it_is_iterated(problem):
    # Four standard errors, as reported: the preconditioner of so small a matrix is weak.
    check_evidence(problem, tolerance=4 * 8.0 / 2 / N)


@pytest.mark.usefixtures("iterated")
def test_prediction_is_right_where_it_is_iterated(problem):
    check_prediction(problem)


def test_the_covariance_of_observations_is_ours():
    x, y, _ = data(torch.float32)
    gp = model(x, y, ours())
    assert isinstance(gp.likelihood(gp(x)).lazy_covariance_matrix, NoisyKernelOperator)


def test_fast_predictive_variances_are_exact_too(problem):
    x, y, x_new = problem
    _, _, _, variance = dense_reference(x, y, x_new)
    gp = model(x, y, ours()).eval()
    with torch.no_grad(), gpytorch.settings.fast_pred_var():
        found = gp(x_new).variance
    torch.testing.assert_close(found.double(), variance, rtol=1e-2, atol=0)


def test_our_kernel_inside_gpytorchs_trains():
    x, y, _ = data(torch.float64)
    kernel = gpytorch.kernels.ScaleKernel(Matern(nu=2.5, lengthscale=[0.5] * 4))
    gp = model(x, y, kernel)
    mll = gpytorch.mlls.ExactMarginalLogLikelihood(gp.likelihood, gp)
    optimizer = torch.optim.Adam(gp.parameters(), lr=0.1)
    losses = []
    for _ in range(8):
        optimizer.zero_grad()
        loss = -mll(gp(x), y)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] - 0.03


def test_samples_have_the_posterior_covariance():
    x, y, x_new = data(torch.float64)
    gp = model(x, y, ours()).eval()
    with torch.no_grad():
        posterior = gp(x_new[:3])
        torch.manual_seed(0)
        samples = posterior.sample(torch.Size([4000]))
    covariance = posterior.covariance_matrix
    spread = torch.cov(samples.mT)
    # Four standard errors of a variance from 4 000 draws.
    torch.testing.assert_close(spread, covariance, rtol=4 * (2 / 4000) ** 0.5, atol=1e-4)
