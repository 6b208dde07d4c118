"""Frequencies as functions of random numbers and hyperparameters."""

import math

import pytest
import torch
from scipy import stats

from kernelgp.kernels import RBF, Matern, Periodic, RationalQuadratic, SpectralMixture
from kernelgp.kernels.waves import gamma_quantile, student_radius, term_frequencies


def uniforms(n, k, seed=0):
    return torch.rand(n, k, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("shape", [0.3, 1.0, 7.5])
def test_quantiles_of_gamma_numbers_have_their_gradient_by_the_shape(shape):
    u = uniforms(20, 1)
    alpha = torch.tensor(shape, dtype=torch.float64, requires_grad=True)
    expected = stats.gamma.ppf(u.numpy(), shape)
    torch.testing.assert_close(gamma_quantile(alpha, u).detach().numpy(), expected)
    # gradcheck's steps are too short for a function that scipy finds by iteration.
    (slope,) = torch.autograd.grad(gamma_quantile(alpha, u).log().sum(), alpha)
    step = 1e-4
    ends = [torch.from_numpy(stats.gamma.ppf(u.numpy(), shape + h)) for h in (step, -step)]
    by_steps = (ends[0].log() - ends[1].log()).sum() / (2 * step)
    torch.testing.assert_close(slope, by_steps, rtol=1e-4, atol=0)


def test_the_ends_of_the_interval_give_finite_numbers():
    ends = torch.tensor([0.0, 1.0], dtype=torch.float64)
    assert student_radius(1.0, ends).isfinite().all()
    assert gamma_quantile(torch.tensor(0.001, dtype=torch.float64), ends).isfinite().all()


@pytest.mark.parametrize(
    "make",
    [
        lambda v: v[2] * RBF(v[:2].reshape(1, 2)),
        lambda v: Matern(1.5, v[:2].reshape(1, 2)) * RBF(v[2].reshape(1, 1), active_dims=[1]),
        lambda v: RBF(v[:1].reshape(1, 1)) + v[2] * Matern(2.5, v[1:2].reshape(1, 1)),
        lambda v: Periodic(v[:2].reshape(1, 2)) * RBF(v[2].reshape(1, 1)),
        lambda v: SpectralMixture("student", v[None, :2], v[2], nu=1.5),
    ],
)
def test_frequencies_are_smooth_in_the_hyperparameters(make):
    u, z = uniforms(5, 8), torch.randn(5, 2, dtype=torch.float64)
    choice = torch.tensor([0, 0, 0, 0, 0])

    def found(values):
        terms = make(values).spectrum()
        frequencies = term_frequencies(terms, choice, u, z)
        return (frequencies, *(term.variance for term in terms))

    values = torch.tensor([0.7, 1.3, 0.4], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(found, (values,))


def test_a_radial_spectrum_says_so():
    def waves(kernel):
        (term,) = kernel.spectrum()
        return term.waves(uniforms(4, term.n_uniforms(2)), 2)

    assert waves(RBF([0.3, 2.0])).is_radial
    assert waves(RationalQuadratic(1.5)).is_radial
    assert not waves(RBF() * Matern(1.5)).is_radial
    assert not waves(SpectralMixture(frequencies=[[1.0, 2.0]])).is_radial
    both = waves(RBF(0.5) * RBF(0.5))
    assert math.isclose(both.radii[0, 0].item(), math.sqrt(2) / (2 * math.pi * 0.5))
