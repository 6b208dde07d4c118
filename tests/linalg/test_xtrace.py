"""XTrace: unbiased, exact where it can be, and honest about its error."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from kernelgp.errors import ArgumentError
from kernelgp.linalg import xtrace


def textbook(A, probes):
    """The definition: leave one probe out of the basis and use it for Hutchinson."""
    n, m = probes.shape
    estimates = []
    for i in range(m):
        others = torch.cat([probes[:, :i], probes[:, i + 1 :]], dim=-1)
        q, _ = torch.linalg.qr(A @ others)
        rest = probes[:, i] - q @ (q.mT @ probes[:, i])
        scale = (n - m + 1) / rest.square().sum()
        estimates.append((q.mT @ A @ q).trace() + scale * rest @ A @ rest)
    return torch.stack(estimates)


@given(n=st.integers(9, 30), seed=st.integers(0, 99))
def test_equals_its_definition(n, seed):
    g = torch.Generator().manual_seed(seed)
    A = torch.randn(n, n, generator=g, dtype=torch.float64)
    drawn = {}

    class Spy:
        shape, dtype, device = A.shape, A.dtype, A.device

        def matmul(self, rhs):
            drawn.setdefault("probes", rhs)
            return A @ rhs

        def diagonal(self):
            return A.diagonal()

        def double(self):
            return self

    value, error = xtrace(Spy(), 8, random_state=seed)
    truth = textbook(A, drawn["probes"])
    torch.testing.assert_close(value, truth.mean(), rtol=1e-8, atol=1e-8)
    torch.testing.assert_close(error, truth.std() / 2, rtol=1e-6, atol=1e-8)


def test_error_is_honest(spd, generator):
    A = spd(100, condition=1e3, generator=generator)
    runs = [xtrace(A, 20, random_state=seed) for seed in range(50)]
    scores = torch.stack([(value - A.trace()) / error for value, error in runs])
    assert 0.5 < scores.square().mean().sqrt() < 2
    assert abs(scores.mean()) < 4 / 50**0.5


@pytest.mark.parametrize("rank", [0, 3])
def test_low_rank_is_exact(rank, generator):
    root = torch.randn(50, rank, generator=generator, dtype=torch.float64)
    value, error = xtrace(root @ root.mT, 20)
    torch.testing.assert_close(value, root.square().sum(), rtol=1e-10, atol=1e-10)
    assert error < 1e-8


def test_batches_and_enough_products(spd, generator):
    A = spd(2, 30, condition=10.0, generator=generator, dtype=torch.float32)
    value, error = xtrace(A, 30)
    torch.testing.assert_close(value, A.double().diagonal(dim1=-2, dim2=-1).sum(dim=-1))
    assert (error == 0).all()
    value, error = xtrace(A, 12)
    assert value.shape == error.shape == (2,)


def test_bad_count_is_named():
    with pytest.raises(ArgumentError, match="n_products: got 3; give at least 4"):
        xtrace(torch.eye(9), 3)
