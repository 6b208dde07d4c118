"""The preconditioner is the matrix it says it is, and the automatic rank does its work."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from linear_operator.operators import (
    AddedDiagLinearOperator,
    DenseLinearOperator,
    DiagLinearOperator,
)

from kernelgp.errors import ArgumentError
from kernelgp.linalg import (
    LowRankPreconditioner,
    pcg,
    pivoted_cholesky_preconditioner,
)


def dense(P):
    return P.factor @ P.factor.mT + torch.diag_embed(P.noise)


@given(n=st.integers(1, 20), r=st.integers(0, 8), seed=st.integers(0, 99), batch=st.booleans())
def test_inverse_product_and_determinant_equal_the_dense_ones(n, r, seed, batch):
    g = torch.Generator().manual_seed(seed)
    shape = (2,) if batch else ()
    factor = torch.randn(*shape, n, r, generator=g, dtype=torch.float64)
    noise = torch.rand(*shape, n, generator=g, dtype=torch.float64) + 0.1
    v = torch.randn(n, 3, generator=g, dtype=torch.float64)
    P = LowRankPreconditioner(factor, noise)
    torch.testing.assert_close(P(v), torch.linalg.solve(dense(P), v.expand(*shape, n, 3)))
    torch.testing.assert_close(P.matmul(v), dense(P) @ v)
    torch.testing.assert_close(P.logdet(), torch.logdet(dense(P)))
    assert P.rank == r


def test_samples_have_the_covariance(generator):
    factor = torch.randn(4, 2, generator=generator, dtype=torch.float64)
    P = LowRankPreconditioner(factor, torch.tensor([0.1, 1.0, 2.0, 0.5]).double())
    z = P.sample(40_000, seed=0)
    error = (z @ z.mT / 40_000 - dense(P)).abs() / dense(P).diagonal().max()
    assert error.max() < 4 * (2 / 40_000) ** 0.5


def test_heteroscedastic_noise_is_preconditioned_like_any_other(noisy_rbf, generator):
    noise = torch.logspace(-3, 1, 800, dtype=torch.float64)
    A = noisy_rbf(800, noise=noise)
    b = torch.randn(800, 1, generator=generator, dtype=torch.float64)
    P = pivoted_cholesky_preconditioner(A, 500)
    torch.testing.assert_close(P.noise, noise)
    _, report = pcg(A, b, preconditioner=P)
    assert report.converged
    assert report.iterations <= 15  # 800 and more without it


def test_automatic_rank_grows_until_little_is_left(noisy_rbf):
    smooth = noisy_rbf(2000, d=3, noise=0.1)
    P = pivoted_cholesky_preconditioner(smooth)
    assert (1 - P.factor.square().sum(dim=-1)).mean() <= 0.05 * 0.1
    assert P.rank < 150
    line = pivoted_cholesky_preconditioner(noisy_rbf(2000, d=1))
    assert (1 - line.factor.square().sum(dim=-1)).sum() <= 0.05 * 0.01
    assert line.rank < 20
    rough = pivoted_cholesky_preconditioner(noisy_rbf(2000, d=4, noise=0.001))
    assert rough.rank == 224  # ceil(5 sqrt(2000)): the bound on the cost


def test_linear_operators_own_sum_is_recognised(spd, generator):
    base = spd(50, condition=1e4, generator=generator)
    noise = torch.rand(50, generator=generator, dtype=torch.float64) + 0.5
    A = AddedDiagLinearOperator(DenseLinearOperator(base), DiagLinearOperator(noise))
    P = pivoted_cholesky_preconditioner(A, 50)
    torch.testing.assert_close(dense(P), base + torch.diag(noise), rtol=1e-8, atol=1e-8)


def test_matrix_without_structure_is_preconditioned_too(noisy_rbf, generator):
    A = noisy_rbf(400)
    matrix = A.rows(torch.arange(400))
    b = torch.randn(400, 1, generator=generator, dtype=torch.float64)
    P = pivoted_cholesky_preconditioner(matrix, 150)
    _, plain = pcg(matrix, b)
    _, report = pcg(matrix, b, preconditioner=P)
    assert report.iterations < plain.iterations / 3


def test_a_flat_spectrum_gets_no_large_factor(spd, generator):
    matrix = spd(1500, condition=1.5, generator=generator)
    assert pivoted_cholesky_preconditioner(matrix).rank <= 128


def test_a_batch_is_preconditioned_element_by_element(spd, generator):
    base = torch.stack([spd(30, condition=c, generator=generator) for c in (1e5, 2.0)])
    noise = torch.ones(2, 30, dtype=torch.float64)
    A = AddedDiagLinearOperator(DenseLinearOperator(base), DiagLinearOperator(noise))
    P = pivoted_cholesky_preconditioner(A, 30)
    torch.testing.assert_close(dense(P), base + torch.eye(30), rtol=1e-8, atol=1e-6)


def test_a_batch_that_cannot_be_taken_apart_is_refused(noisy_rbf):
    A = noisy_rbf(10)
    A.shape = torch.Size([2, 10, 10])
    with pytest.raises(ArgumentError, match=r"op: got shape \(2, 10, 10\); give one matrix"):
        pivoted_cholesky_preconditioner(A)
