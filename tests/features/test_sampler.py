"""Coupled frequencies: each as ever by itself, together as their coupling says."""

import math

import numpy as np
import pytest
import torch
from scipy import stats
from scipy.linalg import hadamard

from kernelgp.errors import ArgumentError
from kernelgp.features.coupling import draw_standard, place_simplex, place_simplex_back
from kernelgp.features.hadamard import HadamardRounds, hadamard_transform, padded
from kernelgp.features.sampler import dense_normals, sample_frequencies
from kernelgp.kernels import RBF, Linear, Matern, Periodic, RationalQuadratic, SpectralMixture

COUPLINGS = ["iid", "orthogonal", "simplex", "simplex+", "sobol", "halton"]


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def normals(n, d, coupling, rotation="haar", seed=0):
    return dense_normals(draw_standard(n, d, 0, coupling, rotation, generator(seed)), d)


@pytest.mark.parametrize("size", [1, 2, 8, 64, 256])
def test_hadamard_transform_is_the_product_with_the_matrix(size):
    x = torch.randn(3, size, dtype=torch.float64)
    expected = x @ torch.from_numpy(hadamard(size).astype(float))
    torch.testing.assert_close(hadamard_transform(x), expected)


def test_rounds_rotate_and_rotate_back():
    rounds = HadamardRounds.draw(2, 32, generator())
    R = rounds.rotations()
    torch.testing.assert_close(R @ R.mT, torch.eye(32, dtype=torch.float64).expand(2, 32, 32))
    x = torch.randn(5, 32, dtype=torch.float64)
    torch.testing.assert_close(rounds.rotate(x), (R @ x.mT).mT)
    torch.testing.assert_close(rounds.rotate_back(rounds.rotate(x)), x.expand(2, 5, 32))
    assert [padded(d) for d in (1, 2, 3, 64, 65)] == [1, 2, 4, 64, 128]


@pytest.mark.parametrize("d", [2, 3, 7])
def test_corners_of_a_simplex(d):
    S = place_simplex(torch.eye(d, dtype=torch.float64))
    gram = torch.full((d, d), -1 / (d - 1), dtype=torch.float64).fill_diagonal_(1.0)
    torch.testing.assert_close(S @ S.mT, gram)
    z = torch.randn(d, 4, dtype=torch.float64)
    torch.testing.assert_close(place_simplex_back(z), S.mT @ z)


@pytest.mark.parametrize("rotation", ["haar", "hadamard"])
@pytest.mark.parametrize("coupling", COUPLINGS)
@pytest.mark.parametrize(("n", "d"), [(5, 2), (1, 1), (3, 1), (20, 16), (7, 20)])
def test_every_row_is_standard_normal_by_itself(n, d, coupling, rotation):
    draws = torch.stack([normals(n, d, coupling, rotation, seed) for seed in range(300)])
    assert draws.shape == (300, n, d)
    for row in {0, n - 1}:
        # Of three directions, one of them across the columns.
        for direction in (0, d - 1, None):
            rows = draws[:, row]
            z = rows.sum(-1) / math.sqrt(d) if direction is None else rows[:, direction]
            # Three rounds are normal up to their number of signs.
            assert stats.kstest(z.numpy(), "norm").pvalue > 1e-5


@pytest.mark.parametrize("rotation", ["haar", "hadamard"])
def test_angles_are_those_of_the_coupling(rotation):
    d = 16
    for coupling, cosine in {"orthogonal": 0.0, "simplex": -1 / (d - 1)}.items():
        W = normals(d + 5, d, coupling, rotation)
        for block in (W[:d], W[d:]):
            unit = block / block.norm(dim=-1, keepdim=True)
            gram = unit @ unit.mT - torch.eye(len(unit), dtype=torch.float64)
            off = gram[~torch.eye(len(unit), dtype=torch.bool)]
            torch.testing.assert_close(off, torch.full_like(off, cosine))


@pytest.mark.parametrize("rotation", ["haar", "hadamard"])
def test_rows_of_simplex_plus_sum_to_nothing(rotation):
    W = normals(32 + 7, 32, "simplex+", rotation)
    assert W[:32].sum(0).norm() < 1e-6 * W.norm()
    assert W[32:].sum(0).norm() < 0.01 * W.norm()


@pytest.mark.parametrize("coupling", COUPLINGS)
@pytest.mark.parametrize(
    "kernel",
    [
        RBF([0.5, 1.5]),
        Matern(0.5, [0.5, 1.5]),
        RationalQuadratic(1.5, 0.7),
        Periodic([0.7, 1.1], 0.9),
        SpectralMixture("student", [[1.0, 0.5], [0.0, -2.0]], 0.7, [1.0, 3.0]),
        3.0 * RBF(0.5, active_dims=[1]) * Matern(2.5) + Matern(1.5, active_dims=[0]),
    ],
    ids=repr,
)
def test_frequencies_of_every_kernel_average_to_it(kernel, coupling):
    lags = torch.tensor([[0.1, 0.2], [0.4, -0.3], [0.0, 0.5], [0.9, 0.0]], dtype=torch.float64)
    means = []
    for seed in range(100):
        W = sample_frequencies(kernel, 2, 65, coupling, random_state=seed)
        means.append(torch.cos(2 * math.pi * W @ lags.mT).mean(0))
    means = torch.stack(means)
    expected = kernel.derivative(lags, torch.zeros(1, 2).double())[:, 0] / kernel.variance
    error = (means.mean(0) - expected).abs()
    assert (error <= 4.5 * means.std(0) / 10 + 1e-12).all()


def test_the_random_state_decides():
    first, second, third = (
        sample_frequencies(Matern(), 3, 7, random_state=seed) for seed in (0, 0, 1)
    )
    assert torch.equal(first, second)
    assert not torch.equal(first, third)
    assert sample_frequencies(RBF(), 2, 64, "simplex+", "hadamard", 0).shape == (64, 2)


def test_orthogonal_and_quasi_random_err_less_than_independent_ones():
    X = np.random.default_rng(0).normal(size=(200, 8))
    lags = torch.from_numpy(X)
    expected = torch.exp(-lags.square().sum(-1) / (2 * 16))
    error = {}
    for coupling in ("iid", "orthogonal", "sobol"):
        rows = [sample_frequencies(RBF(4.0), 8, 256, coupling, random_state=s) for s in range(30)]
        waves = torch.stack([torch.cos(2 * math.pi * W @ lags.mT).mean(0) for W in rows])
        error[coupling] = (waves - expected).square().mean().sqrt().item()
    assert error["orthogonal"] < 0.7 * error["iid"]
    assert error["sobol"] < 0.7 * error["iid"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((RBF(), 0, 3), "d: got 0; give a positive whole number"),
        ((RBF(), 2, 0), "n: got 0; give a positive whole number"),
        ((RBF(), 2, 2.5), "n: got 2.5; give a positive whole number"),
        ((RBF(), 2, 3, "ortho"), r"coupling: got 'ortho'; give \"iid\""),
        ((RBF(), 2, 3, "iid", "givens"), r"rotation: got 'givens'"),
        ((Linear(), 2, 3), r"kernel: got Linear\(\), which has no spectrum"),
        ((RBF(), 30_000, 3, "sobol"), r"coupling: got 'sobol' in 30000 dimensions"),
    ],
)
def test_bad_arguments_are_named(arguments, message):
    with pytest.raises(ArgumentError, match=message):
        sample_frequencies(*arguments)
