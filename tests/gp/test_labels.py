"""Likelihoods of labels against quadrature and autograd."""

import numpy as np
import pytest
import torch
from scipy.integrate import quad

from kernelgp.gp.labels import Bernoulli, Softmax, label_likelihood, logistic_normal


@pytest.mark.parametrize("deviation", [0.0, 0.3, 0.999, 1.0, 3.0, 20.0])
@pytest.mark.parametrize("mean", [-6.0, 0.0, 0.7, 15.0])
def test_averaged_logistic_is_the_integral(mean, deviation):
    def integrand(z):
        f = mean + deviation * z
        return np.exp(-z * z / 2) / np.sqrt(2 * np.pi) / (1 + np.exp(-f))

    kink = -mean / deviation if deviation else 0.0
    points = sorted({0.0, min(max(kink, -9.0), 9.0)})
    expected = quad(integrand, -10, 10, points=points, limit=400, epsabs=1e-13)[0]
    found = logistic_normal(
        torch.tensor([mean]).double(), torch.tensor([deviation]).double()
    ).item()
    assert found == pytest.approx(expected, abs=1e-8)


@pytest.mark.parametrize("likelihood", [Bernoulli(), Softmax(2), Softmax(4)])
def test_gradient_is_that_of_the_log_probability(likelihood, generator):
    latent = torch.randn(7, likelihood.n_latents, generator=generator, dtype=torch.float64)
    latent.requires_grad_()
    labels = torch.randint(likelihood.n_classes, (7,), generator=generator)
    (expected,) = torch.autograd.grad(likelihood.log_probability(latent, labels).sum(), latent)
    assert torch.allclose(likelihood.gradient(latent, labels), expected)


def test_two_softmax_classes_are_bernoulli_of_the_difference(generator):
    latent = torch.randn(6, 2, generator=generator, dtype=torch.float64)
    labels = torch.tensor([0, 1, 0, 1, 1, 0])
    both = Softmax(2).log_probability(latent, labels)
    difference = latent[:, 1:] - latent[:, :1]
    assert torch.allclose(both, Bernoulli().log_probability(difference, labels))


@pytest.mark.parametrize("likelihood", [Bernoulli(), Softmax(3)])
def test_expected_slopes_are_those_of_the_expected_value(likelihood, generator):
    shape = (5, likelihood.n_latents)
    mean = torch.randn(shape, generator=generator, dtype=torch.float64).requires_grad_()
    variance = 0.1 + torch.rand(shape, generator=generator, dtype=torch.float64)
    variance.requires_grad_()
    labels = torch.randint(likelihood.n_classes, (5,), generator=generator)
    found = likelihood.expectations(mean, variance, labels)
    by_mean, by_variance = torch.autograd.grad(found.value.sum(), (mean, variance))
    # Exact for the quadrature of two classes; the quasi-random rule of more is not normal.
    tolerance = 1e-7 if likelihood.n_latents == 1 else 0.03
    assert torch.allclose(found.gradient, by_mean, atol=1e-12)
    assert torch.allclose(-0.5 * found.curvature, by_variance, atol=tolerance)


@pytest.mark.parametrize("likelihood", [Bernoulli(), Softmax(5)])
def test_without_variance_expectations_are_values(likelihood, generator):
    mean = torch.randn(5, likelihood.n_latents, generator=generator, dtype=torch.float64)
    labels = torch.tensor([0, 1, 1, 0, 1])
    found = likelihood.expectations(mean, torch.zeros_like(mean), labels)
    assert torch.allclose(found.value, likelihood.log_probability(mean, labels))
    assert torch.allclose(found.gradient, likelihood.gradient(mean, labels))


def test_softmax_probabilities_are_those_of_many_draws(generator):
    mean = torch.randn(3, 3, generator=generator, dtype=torch.float64)
    root = torch.randn(3, 3, 3, generator=generator, dtype=torch.float64)
    normals = torch.randn(200_000, 1, 3, 1, generator=generator, dtype=torch.float64)
    drawn = (mean + (root @ normals).squeeze(-1)).softmax(dim=-1).mean(dim=0)
    found = Softmax(3).probabilities(mean, root)
    # Four standard errors of 200 000 draws, and the 1e-3 of the rule itself.
    assert torch.allclose(found, drawn, atol=4 * 0.5 / 200_000**0.5 + 1e-3)
    assert torch.allclose(found.sum(dim=-1), torch.ones(3).double())


def test_likelihood_follows_the_number_of_classes():
    assert isinstance(label_likelihood(2), Bernoulli)
    assert label_likelihood(3) == Softmax(3)
