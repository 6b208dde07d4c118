"""Laplace's approximation against dense formulas, differences and scikit-learn."""

import numpy as np
import pytest
import torch
from sklearn.gaussian_process import GaussianProcessClassifier
from sklearn.gaussian_process import kernels as sk

from kernelgp.errors import ConvergenceWarning, NotPositiveDefiniteError
from kernelgp.gp.curvature import DiagonalCurvature, SoftmaxCurvature
from kernelgp.gp.labels import LabeledRows, label_likelihood
from kernelgp.gp.laplace import LaplacePosterior, find_mode, laplace_evidence
from kernelgp.kernels import RBF
from kernelgp.operators import KernelOperator


def make(n_classes, *, n=40, seed=0, weighted=False):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n, 2, generator=generator, dtype=torch.float64)
    score = x[:, 0] + x[:, 1] ** 2 + 0.3 * torch.randn(n, generator=generator).double()
    labels = (score.argsort().argsort() * n_classes) // n
    weights = torch.ones(n).double()
    if weighted:
        weights = 0.5 + 2 * torch.rand(n, generator=generator, dtype=torch.float64)
    return LabeledRows(x, labels, weights, label_likelihood(n_classes))


def covariance_of(x, scale=4.0, lengthscale=0.8):
    return (scale * RBF(lengthscale=lengthscale))(x).to_dense()


def dense_curvature(data, latent):
    """W as a matrix of (c n, c n)."""
    if data.likelihood.n_latents == 1:
        success = latent.squeeze(-1).sigmoid()
        return torch.diag(data.weights * success * (1 - success))
    shares = latent.softmax(dim=-1)
    c = shares.shape[-1]
    rows = []
    for i in range(c):
        row = [
            torch.diag(data.weights * shares[:, i] * ((i == j) * 1.0 - shares[:, j]))
            for j in range(c)
        ]
        rows.append(torch.cat(row, dim=1))
    return torch.cat(rows)


def dense_evidence(data, covariance, offset, fit):
    """The log-likelihood at the mode less half of ``aᵀ K a + log|I + K W|``."""
    c = data.likelihood.n_latents
    whole = torch.block_diag(*[covariance] * c)
    fitted = (data.weights * data.likelihood.log_probability(fit.latent, data.labels)).sum()
    eye = torch.eye(len(whole)).double()
    logdet = torch.linalg.slogdet(eye + whole @ dense_curvature(data, fit.latent))[1]
    return fitted - 0.5 * (fit.dual * (fit.latent - offset)).sum() - 0.5 * logdet


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("n_classes", [2, 3, 4])
def test_evidence_is_that_of_dense_matrices_at_the_mode(n_classes, weighted):
    data = make(n_classes, weighted=weighted)
    covariance = covariance_of(data.x).detach()
    offset = torch.linspace(-0.5, 1.0, data.likelihood.n_latents).double()
    fit = find_mode(covariance, data, offset)
    gradient = data.weights.unsqueeze(-1) * data.likelihood.gradient(fit.latent, data.labels)
    assert torch.allclose(fit.dual, gradient, atol=1e-10)
    assert torch.allclose(fit.latent, covariance @ fit.dual + offset)
    assert fit.evidence.item() == pytest.approx(
        dense_evidence(data, covariance, offset, fit).item(), rel=1e-10
    )


@pytest.mark.parametrize("n_classes", [2, 3])
def test_gradient_is_that_of_differences(n_classes):
    data = make(n_classes, weighted=True)
    offset = torch.linspace(-0.5, 1.0, data.likelihood.n_latents).double().requires_grad_()
    kernel = 4.0 * RBF(lengthscale=[0.8, 1.1])
    value, _ = laplace_evidence(kernel(data.x).to_dense(), data, offset)
    value.backward()

    def at(scale=0.0, first=0.0, shift=0.0):
        changed = 4.0 * np.exp(scale) * RBF(lengthscale=[0.8 * np.exp(first), 1.1])
        moved = offset.detach().clone()
        moved[0] += shift
        return find_mode(changed(data.x).to_dense().detach(), data, moved).evidence.item()

    step = 1e-4
    for name, found in (
        ("scale", kernel.raw_outputscale.grad),
        ("first", kernel.base_kernel.raw_lengthscale.grad[0, 0]),
        ("shift", offset.grad[0]),
    ):
        difference = (at(**{name: step}) - at(**{name: -step})) / (2 * step)
        assert found.item() == pytest.approx(difference, rel=1e-5, abs=1e-6)


def test_evidence_and_gradient_are_those_of_scikit_learn():
    data = make(2, n=60)
    peer = GaussianProcessClassifier(sk.ConstantKernel(4.0) * sk.RBF(0.8), optimizer=None)
    peer.fit(data.x.numpy(), data.labels.numpy())
    expected, slopes = peer.log_marginal_likelihood(
        peer.kernel_.theta, eval_gradient=True, clone_kernel=False
    )
    kernel = 4.0 * RBF(lengthscale=0.8)
    value, _ = laplace_evidence(kernel(data.x).to_dense(), data, torch.zeros(1).double())
    value.backward()
    found = [kernel.raw_outputscale.grad.item(), kernel.base_kernel.raw_lengthscale.grad.item()]
    assert value.item() == pytest.approx(expected, abs=1e-6)
    assert np.allclose(found, slopes, rtol=1e-6)


@pytest.mark.parametrize("n_classes", [2, 3])
def test_whole_weights_are_repeated_rows(n_classes):
    data = make(n_classes)
    counts = torch.arange(len(data)) % 3 + 1
    weighted = LabeledRows(data.x, data.labels, counts.double(), data.likelihood)
    repeated = data.take(torch.arange(len(data)).repeat_interleave(counts))
    offset = torch.zeros(data.likelihood.n_latents).double()
    one = find_mode(covariance_of(weighted.x).detach(), weighted, offset)
    other = find_mode(covariance_of(repeated.x).detach(), repeated, offset)
    assert one.evidence.item() == pytest.approx(other.evidence.item(), rel=1e-9)


@pytest.mark.parametrize("n_classes", [2, 3])
def test_predictions_condition_on_the_curvature(n_classes):
    data = make(n_classes, weighted=True)
    kernel = 4.0 * RBF(lengthscale=0.8)
    offset = torch.linspace(-0.5, 1.0, data.likelihood.n_latents).double()
    fit = find_mode(kernel(data.x).to_dense().detach(), data, offset)
    new = torch.linspace(-2, 2, 10).reshape(5, 2).double()
    posterior = LaplacePosterior(kernel, data.x, fit.dual, offset, data.weights)
    mean, covariance = posterior.moments(new)
    with torch.no_grad():
        everything = kernel(torch.cat([data.x, new])).to_dense()
    n, c = len(data), data.likelihood.n_latents
    whole = torch.block_diag(*[everything[:n, :n]] * c)
    weight = dense_curvature(data, fit.latent)
    inverse = torch.linalg.solve(torch.eye(n * c).double() + weight @ whole, weight)
    for i in range(len(new)):
        cross = torch.block_diag(*[everything[:n, n + i : n + i + 1]] * c)
        expected = torch.eye(c).double() * everything[n + i, n + i] - cross.mT @ inverse @ cross
        assert torch.allclose(covariance[i], expected, atol=1e-8)
    assert torch.allclose(mean, everything[n:, :n] @ fit.dual + offset)
    assert torch.allclose(posterior.mean(new), mean)


@pytest.mark.parametrize("curvature_of", [DiagonalCurvature, SoftmaxCurvature])
def test_curvature_solves_with_vanishing_weights(curvature_of, generator):
    c = 1 if curvature_of is DiagonalCurvature else 3
    x = torch.randn(12, 2, generator=generator, dtype=torch.float64)
    latent = torch.zeros(12, c).double()
    latent[0, 0] = 800.0  # where the curvature underflows to 0
    data = LabeledRows(x, torch.zeros(12).long(), torch.ones(12).double(), label_likelihood(c + 1))
    if c > 1:
        data = LabeledRows(x, data.labels, data.weights, label_likelihood(c))
    covariance = covariance_of(x).detach()
    rhs = torch.randn(12, c, generator=generator, dtype=torch.float64)
    found = curvature_of(covariance, latent, data.weights).solve(rhs)
    system = torch.eye(12 * c).double() + dense_curvature(data, latent) @ torch.block_diag(
        *[covariance] * c
    )
    expected = torch.linalg.solve(system, rhs.mT.reshape(-1)).reshape(c, 12).mT
    assert torch.allclose(found, expected, atol=1e-9)


def test_a_start_from_elsewhere_ends_at_the_same_mode():
    data = make(2)
    covariance = covariance_of(data.x, scale=100.0).detach()
    offset = torch.zeros(1).double()
    cold = find_mode(covariance, data, offset)
    warm = find_mode(covariance, data, offset, 1.1 * cold.dual)
    assert torch.allclose(cold.dual, warm.dual, atol=1e-9)
    assert warm.iterations <= cold.iterations


@pytest.mark.parametrize("scale", [1e-8, 1e6])
def test_extreme_scales_still_find_the_mode(scale):
    data = make(3)
    offset = torch.zeros(3).double()
    fit = find_mode(covariance_of(data.x, scale=scale).detach(), data, offset)
    residual = data.likelihood.gradient(fit.latent, data.labels) - fit.dual
    assert residual.abs().max() < 1e-6


def test_a_covariance_that_is_none_is_refused():
    data = make(2)
    with pytest.raises(NotPositiveDefiniteError, match="kernel: got a covariance"):
        find_mode(-1e3 * covariance_of(data.x).detach(), data, torch.zeros(1).double())


def test_operator_of_kernel_gives_the_covariance():
    data = make(2)
    assert torch.equal(
        covariance_of(data.x), KernelOperator(4.0 * RBF(lengthscale=0.8), data.x).to_dense()
    )


def test_warning_says_how_far_newton_got(monkeypatch):
    monkeypatch.setattr("kernelgp.gp.laplace._MAX_ITERATIONS", 1)
    data = make(2)
    with pytest.warns(ConvergenceWarning, match="is left after 1 steps"):
        find_mode(covariance_of(data.x).detach(), data, torch.zeros(1).double())
