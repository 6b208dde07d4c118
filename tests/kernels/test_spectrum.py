"""Spectral densities by quadrature, frequencies by Monte Carlo."""

import math

import numpy as np
import pytest
import torch

from kernelgp.errors import ArgumentError, ArgumentTypeError
from kernelgp.kernels import (
    RBF,
    Constant,
    Linear,
    Matern,
    Periodic,
    Polynomial,
    RadialPeriodic,
    RationalQuadratic,
    SpectralMixture,
    White,
)

CLOSED = [
    RBF(0.5),
    Matern(0.5, 0.5),
    Matern(1.5, 0.5),
    Matern(2.5, 0.5),
    RationalQuadratic(0.8, 0.5),
    RationalQuadratic(20.0, 0.5),
    2.0 * RBF(0.5) + 0.3 * Matern(1.5),
    3.0 * Constant() * RBF(0.5),
    SpectralMixture("gaussian", [0.0, 7.0], [0.5, 0.3], [1.0, 2.0]),
    SpectralMixture("student", [0.0, 7.0], [0.5, 0.3], [1.0, 2.0], nu=1.5),
    SpectralMixture("matern52", [5.0], 0.2),
]
DRAWN = [
    *CLOSED,
    Periodic(0.7, 0.9),
    RadialPeriodic(0.7, 0.9),
    RBF(0.5) * Periodic(0.7),
    Matern(1.5) * Matern(2.5, 0.4),
    (RBF(0.5) + Constant()) ** 2,
    2.0 * (3.0 * RBF(0.5)) + 4.0 * (SpectralMixture(frequencies=[4.0], weights=2.0) * Constant()),
]


@pytest.mark.parametrize("kernel", CLOSED, ids=repr)
def test_density_transforms_back_to_the_kernel(kernel):
    f = torch.linspace(-640, 640, 400_001, dtype=torch.float64)
    lags = torch.tensor([[0.0], [0.3], [1.0]], dtype=torch.float64)
    density = kernel.spectral_density(f.unsqueeze(-1))
    back = torch.trapezoid(density * torch.cos(2 * math.pi * f * lags), f)
    expected = kernel.derivative_lags(lags.flatten(), 0)
    # Beyond the limits Matérn-1/2, the roughest, keeps 1 / (2 π² 640 lengthscale) of its mass.
    rough = "nu=0.5" in repr(kernel) or "alpha" in repr(kernel)
    torch.testing.assert_close(back, expected, rtol=0, atol=1e-3 if rough else 2e-7)


@pytest.mark.parametrize(
    "make",
    [RBF, lambda a: Matern(1.5, a), lambda a: Matern(2.5, a), lambda a: RationalQuadratic(2.5, a)],
)
@pytest.mark.parametrize("d", [2, 3])
def test_density_integrates_to_one_in_more_dimensions(make, d):
    # A lengthscale for each column: the substitution f -> f / lengthscale undoes them.
    lengthscales = torch.linspace(0.5, 2, d, dtype=torch.float64)
    r = torch.logspace(-6, 4, 100_001, dtype=torch.float64)
    ray = torch.zeros(len(r), d, dtype=torch.float64)
    ray[:, -1] = r / lengthscales[-1]
    density = make(lengthscales.tolist()).spectral_density(ray) / lengthscales.prod()
    sphere = 2 * math.pi ** (d / 2) / math.gamma(d / 2) * r ** (d - 1)
    total = torch.trapezoid(sphere * density, r)
    torch.testing.assert_close(total, torch.ones_like(total), rtol=1e-4, atol=0)


def test_rational_quadratic_density_at_zero_is_the_limit_or_infinite():
    origin, near = (torch.full((1, 2), f, dtype=torch.float64) for f in (0.0, 1e-7))
    kernel = RationalQuadratic(1.7, 0.4)
    limit = kernel.spectral_density(near)
    torch.testing.assert_close(kernel.spectral_density(origin), limit, rtol=1e-6, atol=0)
    assert RationalQuadratic(0.9, 0.4).spectral_density(origin).isinf().all()


def test_density_of_a_product_over_different_columns_is_a_product(generator):
    f = torch.randn(6, 3, generator=generator, dtype=torch.float64)
    first, second = RBF(0.5), Matern(1.5, [0.3, 0.6])
    kernel = 2.0 * RBF(0.5, active_dims=[1]) * Matern(1.5, [0.3, 0.6], active_dims=[2, 0])
    expected = first.spectral_density(f[:, [1]]) * second.spectral_density(f[:, [2, 0]])
    torch.testing.assert_close(kernel.spectral_density(f), 2 * expected)


def test_density_of_a_mixture_of_two_inputs_is_a_sum_of_products(generator):
    f = torch.randn(6, 2, generator=generator, dtype=torch.float64)
    kernel = SpectralMixture("student", [[1.0, -2.0], [0.0, 3.0]], 0.5, [0.4, 2.0], nu=2.5)
    expected = torch.zeros(6, dtype=torch.float64)
    for (a, b), w in [((1.0, 2.0), 0.4), ((0.0, 3.0), 2.0)]:
        along = [
            SpectralMixture("matern52", [t], 0.5).spectral_density(f[:, [j]])
            for j, t in ((0, a), (1, b))
        ]
        expected += w * along[0] * along[1]
    torch.testing.assert_close(kernel.spectral_density(f), expected)


@pytest.mark.parametrize("kernel", DRAWN, ids=repr)
def test_frequencies_reproduce_the_kernel_within_four_standard_errors(kernel):
    n = 20_000
    frequencies = kernel.sample_frequencies(n, 1, random_state=0)
    assert frequencies.shape == (n, 1)
    assert frequencies.dtype == torch.float64
    lags = torch.tensor([0.05, 0.1, 0.3, 0.7, 1.5], dtype=torch.float64)
    waves = torch.cos(2 * math.pi * frequencies * lags)
    expected = kernel.derivative_lags(lags, 0) / kernel.variance
    assert ((waves.mean(0) - expected).abs() <= 4 * waves.std(0) / math.sqrt(n)).all()


@pytest.mark.parametrize(
    "kernel",
    [
        RBF([0.5, 1.5]),
        Matern(1.5, [0.5, 1.5]),
        RationalQuadratic(1.5, 0.7),
        Periodic([0.7, 1.1], [0.9, 1.2]),
        SpectralMixture("gaussian", [[3.0, 1.0], [0.0, -2.0]], 0.7, [1.0, 3.0]),
        SpectralMixture("student", [[3.0, 1.0]], [[0.3, 0.9]], nu=1.5),
        RBF(0.5, active_dims=[1]) + Matern(2.5, active_dims=[0]),
        RBF(0.5, active_dims=[1]) * Periodic(0.7, active_dims=[0]),
        SpectralMixture("matern52", [3.0], 0.7, active_dims=[1]),
    ],
    ids=repr,
)
def test_frequencies_of_two_inputs_reproduce_the_kernel(kernel):
    n = 20_000
    lags = torch.tensor([[0.1, 0.2], [0.4, -0.3], [0.0, 0.5], [0.9, 0.0]], dtype=torch.float64)
    waves = torch.cos(2 * math.pi * kernel.sample_frequencies(n, 2, random_state=1) @ lags.mT)
    expected = kernel.derivative(lags, torch.zeros(1, 2).double())[:, 0] / kernel.variance
    error = (waves.mean(0) - expected).abs()
    # Along a column that the kernel does not see the cosine is 1 in every draw.
    assert (error <= 4 * waves.std(0) / math.sqrt(n) + 1e-15).all()


@pytest.mark.parametrize("kernel", [RBF(), Matern(2.5), Periodic(), SpectralMixture()], ids=repr)
def test_the_random_state_decides_the_draw(kernel):
    draws = [kernel.sample_frequencies(5, 1, random_state=s) for s in (3, 3, 4)]
    torch.testing.assert_close(draws[0], draws[1], rtol=0, atol=0)
    assert (draws[0] != draws[2]).any()
    from_numpy = kernel.sample_frequencies(5, 1, random_state=np.random.default_rng(3))
    assert from_numpy.shape == (5, 1)


@pytest.mark.parametrize(
    ("kernel", "message"),
    [
        (Linear(), r"kernel: got Linear\(\), which has no spectral density; ask a stationary"),
        (Periodic(), r"kernel: got Periodic\(.*, which has no spectral density"),
        (White(), r"kernel: got White\(.*, which has no spectral density"),
        (RBF() + Constant(), r"kernel: got Constant\(\), which has no spectral density"),
        (RBF() * Matern(), r"kernel: got the product RBF.*; multiply kernels of different columns"),
        (RBF(active_dims=[0]), r"active_dims: got \(0,\) of 2; its density is a point mass"),
    ],
    ids=repr,
)
def test_density_that_is_not_closed_is_refused(kernel, message):
    with pytest.raises(ArgumentError, match=message):
        kernel.spectral_density(torch.zeros(3, 2))


@pytest.mark.parametrize("kernel", [Linear(), Polynomial(), White(), RBF() + White()], ids=repr)
def test_frequencies_of_a_kernel_without_spectrum_are_refused(kernel):
    with pytest.raises(ArgumentError, match=r"kernel: got .*, which has no spectrum"):
        kernel.sample_frequencies(3, 1, random_state=0)


def test_bad_arguments_of_the_spectrum_are_named():
    with pytest.raises(ArgumentError, match=r"n: got 0; give a positive whole number"):
        RBF().sample_frequencies(0, 1)
    with pytest.raises(ArgumentError, match=r"d: got 1.5; give a positive whole number"):
        RBF().sample_frequencies(3, 1.5)
    with pytest.raises(ArgumentError, match=r"lengthscale: got 2 numbers; .* or 3"):
        RBF([1.0, 2.0]).sample_frequencies(3, 3)
    with pytest.raises(ArgumentError, match=r"kernel: got one with a batch of hyperparameters"):
        RBF(torch.ones(2, 1, 1)).sample_frequencies(3, 1)
    with pytest.raises(ArgumentTypeError, match=r"random_state: got 'x'"):
        RBF().sample_frequencies(3, 1, random_state="x")
    with pytest.raises(
        ArgumentError, match=r"frequencies: got shape \(3,\); give \(\.\.\., n, d\)"
    ):
        RBF().spectral_density(torch.zeros(3))
    with pytest.raises(ArgumentError, match=r"frequencies: got 1 of 1 entries not finite"):
        RBF().spectral_density(torch.full((1, 1), math.nan))
