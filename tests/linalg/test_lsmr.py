"""LSMR against dense least squares."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from kernelgp.errors import ArgumentError, ArgumentTypeError, ConvergenceWarning
from kernelgp.linalg import lsmr


def gradient(A, x, b):
    error = A.mT @ (b - A @ x)
    return error.norm(dim=0) / (A.mT @ b).norm(dim=0)


@given(m=st.integers(1, 30), n=st.integers(1, 30), seed=st.integers(0, 999))
def test_equals_dense_least_squares(m, n, seed):
    g = torch.Generator().manual_seed(seed)
    A = torch.randn(m, n, generator=g, dtype=torch.float64)
    b = torch.randn(m, 2, generator=g, dtype=torch.float64)
    x, report = lsmr(A, b, rtol=1e-9, max_iterations=5000)
    assert report.converged
    least = torch.linalg.pinv(A) @ b
    assert ((A @ x - b).norm(dim=0) <= (A @ least - b).norm(dim=0) + 1e-6).all()


def test_reported_residual_is_the_gradient_where_there_is_no_solution(generator):
    A = torch.randn(30, 5, generator=generator, dtype=torch.float64)
    b = torch.randn(30, 1, generator=generator, dtype=torch.float64)
    x, report = lsmr(A, b, rtol=1e-3)
    torch.testing.assert_close(report.residual, gradient(A, x, b))
    assert (A @ x - b).norm() > 0.5 * b.norm()


def test_preconditioner_pays(generator):
    A = torch.randn(60, 40, generator=generator, dtype=torch.float64)
    A = A * torch.logspace(0, 4, 40, dtype=torch.float64)
    b = A @ torch.ones(40, dtype=torch.float64)
    R = torch.linalg.inv(torch.linalg.qr(A).R)
    x, report = lsmr(A, b, preconditioner=R, rtol=1e-10)
    assert report.iterations <= 3
    torch.testing.assert_close(x, torch.ones_like(x))


def test_no_convergence_warns_with_figures(generator):
    A = torch.randn(60, 40, generator=generator) * torch.logspace(0, 4, 40)
    with pytest.warns(ConvergenceWarning, match="lsmr: worst residual .*precondition") as caught:
        lsmr(A, torch.ones(60), max_iterations=2)
    assert caught[0].filename == __file__


def test_operator_without_transpose_is_named(noisy_rbf):
    with pytest.raises(ArgumentTypeError, match="op: got Noisy without mT; give it a transpose"):
        lsmr(noisy_rbf(5), torch.ones(5).double())


def test_bad_rhs_is_named():
    with pytest.raises(ArgumentError, match=r"rhs: got shape \(4,\); give \(3,\)"):
        lsmr(torch.ones(3, 4), torch.ones(4))
