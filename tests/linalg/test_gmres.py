"""GMRES against dense solves of matrices that are not symmetric."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from kernelgp.errors import ArgumentError, ConvergenceWarning
from kernelgp.linalg import gmres


def unsymmetric(n, seed):
    g = torch.Generator().manual_seed(seed)
    return torch.randn(n, n, generator=g, dtype=torch.float64) + 3 * n**0.5 * torch.eye(n)


@given(n=st.integers(1, 30), k=st.integers(1, 3), seed=st.integers(0, 999))
def test_equals_dense_solve_and_reports_its_residual(n, k, seed):
    A = unsymmetric(n, seed)
    b = A @ torch.ones(n, k, dtype=torch.float64)
    x, report = gmres(A, b, rtol=1e-10)
    assert report.converged
    torch.testing.assert_close(x, torch.ones_like(x), rtol=1e-7, atol=1e-7)
    truth = (A @ x - b).norm(dim=0) / b.norm(dim=0)
    torch.testing.assert_close(report.residual, truth, rtol=1e-4, atol=1e-15)


def test_preconditioner_pays(generator):
    A = unsymmetric(80, 0) * torch.logspace(0, 4, 80, dtype=torch.float64).unsqueeze(-1)
    b = torch.randn(80, generator=generator, dtype=torch.float64)
    diagonal = A.diagonal().unsqueeze(-1)
    x, report = gmres(A, b, preconditioner=lambda r: r / diagonal, rtol=1e-8)
    _, plain = gmres(A, b, rtol=1e-8)
    assert report.converged
    assert x.shape == (80,)
    assert report.iterations < plain.iterations / 2


def test_float32_operator_is_solved_in_float64():
    A = unsymmetric(20, 1).float()
    x, report = gmres(A, torch.ones(20), rtol=1e-12)
    assert x.dtype == torch.float64
    assert (A.double() @ x - 1).norm() <= 1.1e-12 * 20**0.5
    assert report.converged


def test_zero_column_is_zero():
    x, report = gmres(unsymmetric(5, 0), torch.zeros(5, 2, dtype=torch.float64))
    assert (x == 0).all()
    assert report.converged


def test_no_convergence_warns_with_figures():
    with pytest.warns(ConvergenceWarning, match="gmres: worst residual .*precondition") as caught:
        _, report = gmres(unsymmetric(50, 0), torch.ones(50).double(), max_iterations=3)
    assert report.iterations <= 3
    assert caught[0].filename == __file__


@pytest.mark.parametrize(
    ("op", "rhs", "message"),
    [
        (torch.ones(3, 4), torch.ones(3), r"op: got shape \(3, 4\).*linalg.lsmr"),
        (torch.eye(3), torch.ones(4), r"rhs: got shape \(4,\); give \(3,\)"),
        (torch.eye(3), torch.ones(2, 3, 1), "rhs: .*without batch dimensions"),
    ],
)
def test_bad_arguments_are_named(op, rhs, message):
    with pytest.raises(ArgumentError, match=message):
        gmres(op, rhs)
