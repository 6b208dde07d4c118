"""Closed forms against their published values and against Monte Carlo."""

import numpy as np
import pytest
import torch
from scipy import stats

from kernelgp.errors import ArgumentError
from kernelgp.features import FourierFeatures
from kernelgp.features.coupling import draw_standard
from kernelgp.features.sampler import dense_normals
from kernelgp.features.theory import fourier_error, relative_error
from kernelgp.kernels import RBF

TABLE = {
    (6, "orthogonal"): {0.25: 0.9813, 0.5: 0.9346, 1.0: 0.8515, 2.0: 0.9589},
    (6, "simplex"): {0.25: 0.1009, 0.5: 0.1664, 1.0: 0.4257, 2.0: 0.9362},
    (16, "orthogonal"): {0.25: 0.9749, 0.5: 0.9106, 1.0: 0.7818, 2.0: 0.9224},
    (16, "simplex"): {0.25: 0.0408, 0.5: 0.0766, 1.0: 0.2736, 2.0: 0.8820},
    (64, "orthogonal"): {0.25: 0.9711, 0.5: 0.8958, 1.0: 0.7311, 1.5: 0.7374, 3.0: 0.9970},
    (64, "simplex"): {0.25: 0.0110, 0.5: 0.0278, 1.0: 0.1705, 1.5: 0.4957, 3.0: 0.9964},
    (128, "simplex"): {0.25: 0.0059, 0.5: 0.0189, 1.0: 0.1495, 2.0: 0.7991},
}


@pytest.mark.parametrize(("d", "coupling"), TABLE)
def test_the_table_of_the_simplex_paper(d, coupling):
    v, expected = zip(*TABLE[d, coupling].items(), strict=True)
    np.testing.assert_allclose(relative_error(coupling, d, v), expected, atol=1e-4)


@pytest.mark.parametrize("d", [2, 6, 16, 64, 128])
def test_the_limit_of_short_sums(d):
    expected = stats.chi(d).var() / d
    for v in (0.0, 1e-5):
        np.testing.assert_allclose(relative_error("simplex", d, v), expected, atol=1e-6)
        np.testing.assert_allclose(relative_error("orthogonal", d, v), 1.0, atol=1e-6)


def monte_carlo(coupling, d, v, blocks):
    """Mean squared errors of exp(x·y) by one block of positive features."""
    W = dense_normals(
        draw_standard(blocks * d, d, 0, coupling, "haar", torch.Generator().manual_seed(0)), d
    )
    # x = y = v/2 along an axis: all that counts is x + y.
    values = torch.exp(v * W[:, 0] - v**2 / 2).reshape(blocks, d).mean(dim=1) - 1
    squares = values.square().numpy()
    return squares.mean(), squares.std() / blocks**0.5, values.mean() / values.std() * blocks**0.5


@pytest.mark.parametrize(("d", "blocks"), [(6, 12_000), (32, 1500)])
@pytest.mark.parametrize("v", [0.25, 0.5, 1.0])
def test_the_order_of_couplings_in_closed_form_and_by_monte_carlo(d, v, blocks):
    iid = np.expm1(v**2) / d
    found = {}
    for coupling in ("iid", "orthogonal", "simplex", "simplex+"):
        mean, error, z = monte_carlo(coupling, d, v, blocks)
        assert abs(z) < 4  # unbiased
        found[coupling] = mean
        if coupling != "simplex+":
            expected = relative_error(coupling, d, v) * iid
            assert abs(mean - expected) < 4 * error
    assert found["orthogonal"] > found["simplex"] > found["simplex+"]


def test_a_partial_block_gains_less():
    whole, part, one = (relative_error("simplex", 16, 0.3, block=b) for b in (16, 8, 1))
    assert whole < part < one == 1


def test_the_error_of_waves_is_that_seen():
    lags = np.array([[0.0], [0.5], [1.5]])
    kernel = RBF()
    K = kernel(torch.zeros(1, 1).double(), torch.from_numpy(lags)).to_dense().detach()[0]
    double = kernel(torch.zeros(1, 1).double(), torch.from_numpy(2 * lags)).to_dense().detach()[0]
    draws = []
    for seed in range(150):
        made = FourierFeatures(kernel, 20, coupling="iid", random_state=seed)
        Z = made.fit(lags).transform(lags)
        draws.append(Z @ Z[0])
    seen = np.std(draws, axis=0)
    np.testing.assert_allclose(fourier_error(K, double, 10), seen, rtol=0.2, atol=1e-12)


def test_bad_arguments_are_named():
    with pytest.raises(ArgumentError, match=r"coupling: got 'simplex\+'"):
        relative_error("simplex+", 4, 1.0)
    with pytest.raises(ArgumentError, match="block: got 5; give at most 4"):
        relative_error("simplex", 4, 1.0, block=5)
    with pytest.raises(ArgumentError, match="v: got -1"):
        relative_error("simplex", 4, -1.0)
