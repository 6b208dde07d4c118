"""Spectral mixtures: their values, and the tones they find in data."""

import math

import numpy as np
import pytest
import torch

from kernelgp.errors import ArgumentError, ArgumentTypeError
from kernelgp.kernels import RBF, Matern, SpectralMixture


@pytest.mark.parametrize(
    ("envelope", "nu", "factor"),
    [
        ("gaussian", 2.5, RBF),
        ("student", 1.5, lambda a: Matern(1.5, a)),
        ("student", 2.5, lambda a: Matern(2.5, a)),
        ("matern52", 2.5, lambda a: Matern(2.5, a)),
    ],
)
def test_value_is_the_formula_of_the_docstring(envelope, nu, factor, generator):
    x1, x2 = (torch.rand(n, 2, generator=generator, dtype=torch.float64) for n in (6, 5))
    frequencies, lengthscales, weights = (
        [[3.0, 1.0], [0.0, -2.0]],
        [[0.3, 0.9], [0.5, 0.5]],
        [1.0, 3.0],
    )
    kernel = SpectralMixture(envelope, frequencies, lengthscales, weights, nu)
    expected = torch.zeros(6, 5, dtype=torch.float64)
    for f, a, w in zip(frequencies, lengthscales, weights, strict=True):
        term = torch.full((6, 5), w, dtype=torch.float64)
        for j in range(2):
            lag = x1[:, [j]] - x2[:, j]
            term *= factor(a[j])(x1[:, [j]], x2[:, [j]]).to_dense().detach()
            term *= torch.cos(2 * math.pi * f[j] * lag)
        expected += term
    torch.testing.assert_close(kernel(x1, x2).to_dense(), expected)


def test_entries_broadcast_and_weights_are_equal_by_default():
    kernel = SpectralMixture("gaussian", [[1.0, 2.0], [3.0, 4.0]], [0.5, 0.7])
    assert kernel.lengthscales.tolist() == [[0.5, 0.5], [0.7, 0.7]]
    assert kernel.weights.tolist() == [0.5, 0.5]


def test_weights_are_learned_as_logarithms():
    kernel = SpectralMixture("gaussian", [0.0, 5.0], weights=[1e-6, 1.0])
    kernel.variance.backward()
    # d / d log w is w: a flat prior there is Jeffreys'.
    torch.testing.assert_close(kernel.raw_weights.grad, kernel.weights)


def test_entries_given_as_tensors_keep_their_gradients():
    entries = [torch.tensor([t], dtype=torch.float64, requires_grad=True) for t in (3.0, 0.5, 2.0)]
    x = torch.tensor([[0.0], [0.1]], dtype=torch.float64)

    def covariance(*entries):
        return SpectralMixture("gaussian", *entries)(x).to_dense()

    assert torch.autograd.gradcheck(covariance, entries)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"envelope": "box"}, r'envelope: got \'box\'; give "gaussian", "student" or "matern52"'),
        ({"envelope": "student", "nu": 0.5}, r"nu: got 0.5; give 1.5, 2.5 or 3.5"),
        ({"frequencies": []}, r"frequencies: got \[\]; give finite numbers, \(Q,\)"),
        ({"frequencies": [math.nan]}, r"frequencies: got \[nan\]; give finite numbers"),
        ({"frequencies": [[[1.0]]]}, r"frequencies: got .*; give finite numbers, \(Q,\)"),
        ({"lengthscales": [-1.0]}, r"lengthscales: got \[-1.0\]; give positive"),
        ({"lengthscales": []}, r"lengthscales: got \[\]; give positive"),
        ({"lengthscales": [1.0, 2.0]}, r"lengthscales: got shape \(2, 1\); .* \(1, 1\)"),
        ({"weights": [0.0]}, r"weights: got \[0.0\]; give positive"),
        ({"weights": [1.0, 2.0]}, r"weights: got shape \(2,\); .* \(1,\)"),
        ({"active_dims": [0, 1]}, r"active_dims: got \(0, 1\); name 1, one for each column"),
    ],
)
def test_bad_entries_are_named(arguments, message):
    with pytest.raises(ArgumentError, match=message):
        SpectralMixture(**arguments)


def test_frequencies_that_are_no_numbers_are_a_type_error():
    with pytest.raises(ArgumentTypeError, match=r"frequencies: got 'high'"):
        SpectralMixture(frequencies="high")


def two_tones(t):
    return np.sin(2 * math.pi * 20.2 * t) + 0.1 * np.cos(2 * math.pi * 33.3 * t + 0.4)


def sorted_frequencies(kernel):
    return kernel.frequencies.detach()[:, 0].sort().values.numpy()


@pytest.mark.parametrize("envelope", ["gaussian", "student", "matern52"])
def test_tones_on_a_uniform_axis_are_found_with_their_powers(envelope):
    x = np.linspace(3.0, 4.0, 200)
    kernel = SpectralMixture.from_data(x, two_tones(x), envelope, 2)
    assert kernel.envelope == envelope
    np.testing.assert_allclose(sorted_frequencies(kernel), [20.2, 33.3], atol=1e-6)
    # The stronger tone comes first; over whole and broken waves its mean square is near 1/2.
    np.testing.assert_allclose(kernel.weights.detach(), [0.5, 0.005], rtol=0.05)


def test_tones_of_scattered_points_are_found():
    x = np.sort(np.random.default_rng(0).uniform(-1, 1, 150))
    kernel = SpectralMixture.from_data(
        torch.from_numpy(x), torch.from_numpy(two_tones(x)), "gaussian", 2
    )
    np.testing.assert_allclose(sorted_frequencies(kernel), [20.2, 33.3], atol=1e-6)


@pytest.mark.parametrize("scattered", [False, True])
def test_tones_under_noise_are_found_within_their_standard_error(scattered):
    rng = np.random.default_rng(1)
    x = rng.uniform(0, 1, 400) if scattered else np.linspace(0, 1, 400)
    y = np.sin(2 * math.pi * 20.2 * x) + 0.2 * rng.normal(size=400)
    kernel = SpectralMixture.from_data(x, y, "gaussian", 1)
    # sqrt(6 / n) noise / (π amplitude extent), Rife and Boorstyn 1974.
    error = math.sqrt(6 / 400) * 0.2 / math.pi
    assert abs(kernel.frequencies.item() - 20.2) <= 4 * error


@pytest.mark.parametrize("grid", [False, True])
def test_tones_of_two_inputs_are_found_along_each(grid):
    if grid:
        axes = np.meshgrid(np.linspace(0, 1, 50), np.linspace(0, 2, 90), indexing="ij")
        x = np.stack([axis.ravel() for axis in axes], axis=1)
    else:
        x = np.random.default_rng(0).uniform(size=(1000, 2))
    y = np.sin(100 * x[:, 0]) * np.cos(80 * x[:, 1])
    kernel = SpectralMixture.from_data(x, y, "gaussian", 1)
    expected = [[100 / (2 * math.pi), 80 / (2 * math.pi)]]
    np.testing.assert_allclose(kernel.frequencies.detach(), expected, atol=1e-6)


def test_a_trend_is_a_tone_of_frequency_zero_and_no_more_tones_are_made_up():
    x = np.linspace(0, 1, 100)
    kernel = SpectralMixture.from_data(x, 3.0 + np.sin(2 * math.pi * 12 * x), "gaussian", 5)
    np.testing.assert_allclose(sorted_frequencies(kernel), [0.0, 12.0], atol=1e-6)


def test_tone_just_below_the_limit_of_the_grid_is_found():
    x = np.linspace(0, 1, 50)
    kernel = SpectralMixture.from_data(x, np.sin(2 * math.pi * 24.3 * x + 0.5), "gaussian", 1)
    np.testing.assert_allclose(kernel.frequencies.detach(), [[24.3]], atol=1e-6)


def test_order_of_the_points_does_not_matter():
    rng = np.random.default_rng(2)
    x = np.linspace(0, 1, 120)
    shuffled = rng.permutation(x)
    kernel = SpectralMixture.from_data(shuffled, two_tones(shuffled), "gaussian", 2)
    np.testing.assert_allclose(sorted_frequencies(kernel), [20.2, 33.3], atol=1e-6)


@pytest.mark.parametrize(
    ("x", "y", "n", "message"),
    [
        (np.zeros(3), np.zeros(3), 1, r"x: got shape \(3,\); give .* at least four points"),
        (np.arange(9.0), np.zeros(8), 1, r"y: got shape \(8,\); give \(9,\)"),
        (np.arange(9.0), np.zeros(9), 1, r"y: got zeros only; give data with a tone"),
        (np.ones(9), np.ones(9), 1, r"x: got column 0 with one value; leave the column out"),
        (np.full(9, np.nan), np.ones(9), 1, r"x: got 9 entries not finite; remove or impute"),
        (np.arange(9.0), np.full(9, np.inf), 1, r"y: got 9 entries not finite; remove or impute"),
        (np.arange(9.0), np.ones(9, complex), 1, r"y: got dtype complex128; give real numbers"),
        (np.arange(9.0), np.ones(9), 0, r"n_components: got 0; give a positive whole number"),
    ],
)
def test_bad_data_are_named(x, y, n, message):
    with pytest.raises(ArgumentError, match=message):
        SpectralMixture.from_data(x, y, "gaussian", n)
