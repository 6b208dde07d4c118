"""`ToeplitzOperator` against the dense matrix."""

import pickle

import pytest
import scipy.linalg
import torch
from hypothesis import given
from hypothesis import strategies as st
from linear_operator.operators import ConstantDiagLinearOperator

from kernelgp import linalg
from kernelgp.errors import ArgumentError, ArgumentTypeError, NotPositiveDefiniteError
from kernelgp.operators import KroneckerOperator, ToeplitzOperator


def normal(*shape, seed=0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64).to(dtype)


def covariance(n, *, seed=0, lengthscale=3.0):
    """A column that is positive definite: an exponential times a cosine, and noise."""
    lags = torch.arange(n, dtype=torch.float64)
    column = torch.exp(-lags / lengthscale) * torch.cos((seed % 7) * lags / 5)
    return column + 0.1 * (lags == 0)


def dense(column):
    """The oracle, by scipy."""
    return torch.from_numpy(scipy.linalg.toeplitz(column.detach().numpy()))


@given(n=st.integers(1, 40), k=st.integers(1, 3), seed=st.integers(0, 2**16))
def test_algebra_equals_dense(n, k, seed):
    column = covariance(n, seed=seed)
    op, matrix, rhs = ToeplitzOperator(column), dense(column), normal(n, k, seed=seed)
    torch.testing.assert_close(op.to_dense(), matrix, rtol=0, atol=0)
    torch.testing.assert_close(op @ rhs, matrix @ rhs)
    torch.testing.assert_close(op.mT @ rhs[:, 0], matrix @ rhs[:, 0])
    torch.testing.assert_close(op.diagonal(), matrix.diagonal())
    torch.testing.assert_close(op.solve(rhs), torch.linalg.solve(matrix, rhs))
    torch.testing.assert_close(op.logdet(), torch.logdet(matrix))
    index = torch.arange(n).flip(0)[:5]
    torch.testing.assert_close(op.rows(index), matrix[index])
    torch.testing.assert_close(op[index, index.flip(0)], matrix[index, index.flip(0)])


@pytest.mark.parametrize("noise", [1e-3, 1e-6, 1e-9])
def test_solves_of_smooth_kernels_are_as_good_as_dense_ones(noise):
    lags = torch.arange(300, dtype=torch.float64)
    column = torch.exp(-((lags / 8) ** 2)) + noise * (lags == 0)
    matrix, rhs = dense(column), normal(300, 2)
    ours, theirs = (
        ((matrix @ x - rhs).norm() / rhs.norm()).item()
        for x in (ToeplitzOperator(column).solve(rhs), torch.linalg.solve(matrix, rhs))
    )
    assert ours < 5 * theirs
    expected = torch.linalg.cholesky(matrix).diagonal().log().sum() * 2
    condition = torch.linalg.cond(matrix).item()
    found = ToeplitzOperator(column).logdet()
    assert abs(found - expected) < 300 * condition * torch.finfo(torch.float64).eps


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_long_columns_are_solved_by_iteration(monkeypatch, dtype):
    column = covariance(500, lengthscale=20.0).to(dtype)
    rhs = normal(500, 2, dtype=dtype)
    direct = ToeplitzOperator(column).solve(rhs)
    monkeypatch.setattr("kernelgp.operators.toeplitz._RECURSION_ROWS", 400)
    op = ToeplitzOperator(column)
    assert not hasattr(op, "direct_solve")  # linalg must report what iterates as iterating
    tolerance = {torch.float32: 1e-4, torch.float64: 1e-9}[dtype]
    torch.testing.assert_close(op.solve(rhs), direct, rtol=tolerance, atol=tolerance)


def test_circulant_preconditioner_takes_few_iterations():
    op = ToeplitzOperator(covariance(2000, lengthscale=50.0))
    rhs = normal(2000, 1)
    plain, with_circulant = (
        linalg.pcg(op, rhs, preconditioner=preconditioner, rtol=1e-8)[1].iterations
        for preconditioner in (None, op.preconditioner())
    )
    assert with_circulant < plain / 3


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("rhs_batch", [(), (3,), (2, 3), (2, 1)])
def test_batches_broadcast(dtype, rhs_batch):
    column = torch.stack([covariance(6, seed=i) for i in range(3)]).to(dtype)
    op, rhs = ToeplitzOperator(column), normal(*rhs_batch, 6, 2, dtype=dtype)
    matrix = torch.stack([dense(c) for c in column])
    torch.testing.assert_close(op @ rhs, matrix @ rhs)
    solved = op.solve(rhs)
    assert solved.dtype == dtype
    torch.testing.assert_close(solved, torch.linalg.solve(matrix, rhs.expand_as(solved)))
    torch.testing.assert_close(op.logdet(), torch.logdet(matrix))
    torch.testing.assert_close(op[1].to_dense(), matrix[1])


@pytest.mark.parametrize("n", [1, 2, 5])
def test_gradients_are_exact(n):
    def terms(column, noise, rhs):
        op = ToeplitzOperator(column)
        noisy = op.add_diagonal(noise)
        return (
            *noisy.inv_quad_logdet(rhs, logdet=True),
            op.solve(rhs),
            op.logdet(),
            op @ rhs,
            op.to_dense(),
            noisy.logdet(),
        )

    inputs = covariance(n), torch.tensor([0.3], dtype=torch.float64), normal(n, 2)
    assert torch.autograd.gradcheck(terms, [x.requires_grad_() for x in inputs])


def test_gradients_where_eigenvalues_meet():
    def terms(column, rhs):
        return ToeplitzOperator(column).inv_quad_logdet(rhs, logdet=True)

    identity = torch.tensor([1.0, 0.0, 0.0, 0.0], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(terms, (identity, normal(4, 1).requires_grad_()))


def test_gradients_of_broadcast_solves():
    def terms(column, rhs):
        op = ToeplitzOperator(column)
        return op.solve(rhs), op @ rhs, op.logdet()

    columns = torch.stack([covariance(3), covariance(3, seed=2)]).requires_grad_()
    assert torch.autograd.gradcheck(terms, (columns, normal(3, 1, 3, 2).requires_grad_()))
    assert torch.autograd.gradcheck(terms, (columns, normal(3, 2).requires_grad_()))


def test_backward_twice_through_one_operator():
    column = covariance(5).requires_grad_()
    op, rhs = ToeplitzOperator(column), normal(5, 1)
    first, second = (
        torch.autograd.grad(op.solve(rhs).sum() + op.logdet() + (op @ rhs).sum(), column)[0]
        for _ in range(2)
    )
    torch.testing.assert_close(first, second, rtol=0, atol=0)


def test_sums_stay_toeplitz_where_they_can():
    column, noise = covariance(4), torch.tensor([0.5], dtype=torch.float64)
    op = ToeplitzOperator(column)
    for total in (op.add_diagonal(noise[0]), op + ConstantDiagLinearOperator(noise, diag_shape=4)):
        assert isinstance(total, ToeplitzOperator)
        torch.testing.assert_close(total.to_dense(), dense(column) + 0.5 * torch.eye(4).double())
    assert isinstance(3.0 * op + op, ToeplitzOperator)
    torch.testing.assert_close((3.0 * op + op).to_dense(), 4 * dense(column))
    varying = torch.rand(4, dtype=torch.float64)
    torch.testing.assert_close(
        op.add_diagonal(varying).to_dense(), dense(column) + torch.diag(varying)
    )


def test_linalg_takes_the_direct_solve_and_determinant():
    column, rhs = covariance(50), normal(50)
    solution, report = linalg.solve(ToeplitzOperator(column), rhs)
    assert report.method == "direct"
    torch.testing.assert_close(dense(column) @ solution, rhs)
    value, error = linalg.logdet(ToeplitzOperator(column.float()))
    torch.testing.assert_close(value, torch.logdet(dense(column.float()).double()))
    assert error == 0


def test_is_a_factor_of_a_grid():
    column = covariance(4).requires_grad_()
    grid = KroneckerOperator(ToeplitzOperator(column), torch.eye(2, dtype=torch.float64))
    grid.logdet().backward()
    (expected,) = torch.autograd.grad(2 * ToeplitzOperator(column).logdet(), column)
    torch.testing.assert_close(column.grad, expected)


def test_pickles_with_its_inverse():
    op, rhs = ToeplitzOperator(covariance(5)), normal(5)
    solved = op.solve(rhs)
    torch.testing.assert_close(pickle.loads(pickle.dumps(op)).solve(rhs), solved, rtol=0, atol=0)


@pytest.mark.parametrize(
    ("column", "error", "message"),
    [
        ([1.0, 0.5], ArgumentTypeError, r"column: got list; give a torch tensor"),
        (torch.tensor(1.0), ArgumentError, r"column: got shape \(\); give \(\.\.\., n\)"),
        (torch.empty(0), ArgumentError, r"column: got shape \(0,\); give"),
        (torch.ones(3).half(), ArgumentError, r"column: got torch.float16; convert it"),
        (torch.ones(3, dtype=torch.complex64), ArgumentError, r"column: got torch.complex64"),
        (torch.tensor([1.0, torch.nan]), ArgumentError, r"column: got 1 of 2 entries not finite"),
    ],
)
def test_bad_columns_are_named(column, error, message):
    with pytest.raises(error, match=message):
        ToeplitzOperator(column)


@pytest.mark.parametrize(
    ("column", "message"),
    [
        ([-1.0, 0.0], r"column: got -1\.0e\+00 as the first entry, the diagonal; give a covar"),
        ([1.0, 2.0, 0.0], r"column: got a pivot of -3\.0e\+00 of the diagonal at row 1; add noise"),
        ([1.0, 1.0], r"column: got a pivot of 0\.0e\+00 of the diagonal at row 1; add noise"),
    ],
)
def test_indefinite_columns_are_named(column, message):
    op = ToeplitzOperator(torch.tensor(column, dtype=torch.float64))
    with pytest.raises(NotPositiveDefiniteError, match=message):
        op.logdet()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda op: op.solve(torch.ones(3, 1).double()), r"right_tensor: got shape \(3, 1\)"),
        (lambda op: op.solve(torch.ones(4, 1)), r"right_tensor: got torch.float32; convert"),
        (lambda op: op @ torch.ones(3).double(), r"rhs: got shape \(3, 1\); give \(4,\)"),
        (lambda op: op.add_diagonal(torch.ones(3).double()), r"diag: got shape \(3,\); give one"),
        (lambda op: op.direct_solve(torch.ones(3).double()), r"rhs: got shape \(3, 1\)"),
    ],
)
def test_bad_calls_are_named(call, message):
    with pytest.raises(ArgumentError, match=message):
        call(ToeplitzOperator(covariance(4)))
