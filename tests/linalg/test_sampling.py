"""Samples have the covariance asked for, by Cholesky and by the split square root."""

import pytest
import torch

from kernelgp.errors import (
    ArgumentError,
    JitterWarning,
    NotPositiveDefiniteError,
    NumericalWarning,
)
from kernelgp.linalg import pivoted_cholesky_preconditioner, sample
from kernelgp.linalg.sampling import _root_product


def covariance_error(draws, covariance):
    """Largest error of an empirical covariance, in its own standard errors."""
    n = draws.shape[-2]
    error = (draws.mT @ draws / n - covariance).abs()
    variance = covariance.diagonal()
    return (error / ((covariance.square() + variance * variance.unsqueeze(-1)) / n).sqrt()).max()


@pytest.fixture
def always_iterative(monkeypatch):
    monkeypatch.setattr("kernelgp.linalg.sampling._EXACT", 0)


def test_small_samples_have_the_covariance(spd, generator):
    A = spd(6, condition=100.0, generator=generator)
    draws = sample(A, 20_000, random_state=0)
    assert draws.shape == (20_000, 6)
    assert draws.dtype == torch.float64
    assert covariance_error(draws, A) < 5
    assert (draws.mean(dim=0).abs() < 4 * (A.diagonal() / 20_000).sqrt()).all()


@pytest.mark.usefixtures("always_iterative")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_iterated_samples_have_the_covariance(noisy_rbf, dtype):
    A = noisy_rbf(40, noise=torch.logspace(-3, 0, 40), dtype=dtype)
    with pytest.warns(NumericalWarning, match=r"covariance of these samples is off by about"):
        draws = sample(A, 3000, random_state=0)
    assert draws.shape == (3000, 40)
    assert covariance_error(draws, A.double().rows(torch.arange(40))) < 5.5


def test_root_is_a_square_root_to_the_tolerance_told(noisy_rbf):
    A = noisy_rbf(150, noise=0.01)
    split = pivoted_cholesky_preconditioner(A, 60)
    eye = torch.eye(150, dtype=torch.float64)
    remainder = A.rows(torch.arange(150)) - split.factor @ split.factor.mT
    for rtol in (1e-2, 1e-8):
        root, change = _root_product(A, split, eye, rtol, 150)
        assert change <= rtol
        # root = D^½ M^½ with M = D^-½ R D^-½
        error = (root @ root.mT - remainder).norm() / remainder.norm()
        assert error < 4 * rtol


def test_small_eigenvalues_survive(noisy_rbf, monkeypatch):
    """The complaint about Lanczos roots: samples whose roughness is wrong."""
    monkeypatch.setattr("kernelgp.linalg.sampling._EXACT", 0)
    A = noisy_rbf(300, d=1, lengthscale=0.3, noise=1e-3)
    with pytest.warns(NumericalWarning):
        draws = sample(A, 400, random_state=1)
    white = torch.linalg.solve_triangular(
        torch.linalg.cholesky(A.rows(torch.arange(300))), draws.mT, upper=False
    )
    assert abs(white.square().mean() - 1) < 4 * (2 / white.numel()) ** 0.5


@pytest.mark.usefixtures("always_iterative")
def test_warning_points_at_the_caller_with_figures(noisy_rbf):
    with pytest.warns(NumericalWarning, match=r"n = 50 .* \d\.\de-\d\d of its size") as caught:
        sample(noisy_rbf(50), 2, random_state=0)
    assert caught[0].filename == __file__


def test_the_same_seed_gives_the_same_samples(spd, generator):
    A = spd(5, condition=10.0, generator=generator)
    first, second, other = (sample(A, 2, random_state=s) for s in (1, 1, 2))
    assert torch.equal(first, second)
    assert not torch.equal(first, other)


def test_batches_are_sampled_exactly(spd, generator):
    A = spd(2, 4, condition=10.0, generator=generator)
    draws = sample(A, 20_000, random_state=0)
    assert draws.shape == (2, 20_000, 4)
    for i in range(2):
        assert covariance_error(draws[i], A[i]) < 5


def test_singular_covariance_is_sampled_and_told():
    with pytest.warns(JitterWarning, match="part of the covariance") as caught:
        draws = sample(torch.ones(3, 3, dtype=torch.float64), 4, random_state=0)
    assert caught[0].filename == __file__
    assert (draws - draws[:, :1]).abs().max() < 1e-4


@pytest.mark.usefixtures("always_iterative")
def test_indefinite_covariance_is_refused(spd, generator):
    A = spd(60, condition=5.0, generator=generator) - 2 * torch.eye(60)
    A = A + torch.diag(2 - A.diagonal())
    A = A.index_fill(0, torch.tensor([0]), 0.0).index_fill(1, torch.tensor([0]), 0.0)
    A[0, 0], A[1, 0], A[0, 1] = 0.01, 1.0, 1.0
    with pytest.raises(NotPositiveDefiniteError, match="op: got"):
        sample(A, 2, random_state=0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"op": torch.ones(3, 4)}, r"op: got shape \(3, 4\)"),
        ({"n_samples": 0}, "n_samples: got 0; give a positive"),
        ({"random_state": "x"}, "random_state: got 'x'"),
    ],
)
def test_bad_arguments_are_named(arguments, message):
    with pytest.raises(ArgumentError, match=message):
        sample(**({"op": torch.eye(3), "n_samples": 1} | arguments))


@pytest.mark.usefixtures("always_iterative")
def test_large_batches_are_refused():
    with pytest.raises(ArgumentError, match="give one matrix at a time"):
        sample(torch.eye(3).expand(2, 3, 3), 1)
