"""`solve` picks well, says what it picked, and returns what it says."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from linear_operator import to_linear_operator
from linear_operator.operators import DiagLinearOperator, KroneckerProductLinearOperator

from kernelgp.errors import ArgumentError, ConvergenceWarning
from kernelgp.linalg import solve


def true_residual(op, x, b):
    error = b.double() - op.double().matmul(x)
    return error.norm(dim=-2) / b.double().norm(dim=-2)


class DiagonalInverse:
    """Solves itself, not symmetric, and counts how often."""

    def __init__(self, matrix):
        self.matrix, self.calls = matrix, 0
        self.shape, self.dtype, self.device = matrix.shape, matrix.dtype, matrix.device

    def matmul(self, rhs):
        return self.matrix @ rhs

    def diagonal(self):
        return self.matrix.diagonal(dim1=-2, dim2=-1)

    def double(self):
        return DiagonalInverse(self.matrix.double())

    def direct_solve(self, rhs):
        self.calls += 1
        return torch.linalg.solve(self.matrix, rhs)


@given(
    n=st.integers(1, 40),
    seed=st.integers(0, 2**16),
    exponent=st.floats(0, 5),
    method=st.sampled_from(["auto", "cholesky", "pcg"]),
    dtype=st.sampled_from([torch.float32, torch.float64]),
)
def test_solves_what_was_multiplied_and_reports_the_true_residual(
    spd, n, seed, exponent, method, dtype
):
    g = torch.Generator().manual_seed(seed)
    matrix = spd(n, condition=10**exponent, generator=g, dtype=dtype)
    b = torch.randn(n, 2, generator=g, dtype=torch.float64).to(dtype)
    x, report = solve(matrix, b, method=method)
    assert x.dtype == torch.float64
    assert report.converged
    truth = true_residual(matrix, x, b)
    rounding = 1e-15 * n * 10**exponent
    assert (truth <= 2 * report.residual + rounding).all()
    assert (report.residual <= 2 * truth + rounding).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_methods_agree_on_a_kernel(noisy_rbf, dtype, generator):
    A = noisy_rbf(400, dtype=dtype)
    b = torch.randn(400, 2, generator=generator, dtype=torch.float64).to(dtype)
    direct, by_cholesky = solve(A, b, rtol=1e-10)
    iterated, by_pcg = solve(A, b, rtol=1e-10, method="pcg")
    assert (by_cholesky.method, by_pcg.method) == ("cholesky", "pcg")
    assert by_pcg.preconditioner_rank > 0
    torch.testing.assert_close(iterated, direct, rtol=1e-6, atol=1e-6)


def test_large_operators_are_iterated_on(noisy_rbf, generator):
    A = noisy_rbf(7001, d=1, dtype=torch.float32)
    b = torch.randn(7001, generator=generator)
    x, report = solve(A, b, rtol=1e-2)
    assert report.method == "pcg"
    assert report.converged
    assert report.iterations <= 3
    assert x.shape == (7001,)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_an_operator_that_solves_itself_does_so_symmetric_or_not(dtype, generator):
    matrix = torch.randn(20, 20, generator=generator).to(dtype) + 10 * torch.eye(20, dtype=dtype)
    op = DiagonalInverse(matrix)
    b = torch.randn(20, 1, generator=generator).to(dtype)
    x, report = solve(op, b, rtol=1e-12)
    assert report.method == "direct"
    assert report.converged
    assert 1 <= op.calls == report.iterations <= 4
    assert true_residual(op, x, b) <= 1.1e-12


def test_given_preconditioner_is_used(spd, generator):
    matrix = spd(30, condition=1e4, generator=generator)
    inverse = torch.linalg.inv(matrix)
    b = torch.ones(30, dtype=torch.float64)
    _, report = solve(matrix, b, preconditioner=lambda r: inverse @ r)
    assert (report.method, report.iterations) == ("pcg", 1)


def test_rank_is_as_asked(noisy_rbf):
    A = noisy_rbf(300)
    b = torch.ones(300, dtype=torch.float64)
    for rank in (0, 40):
        _, report = solve(A, b, method="pcg", rank=rank, rtol=1e-3)
        assert report.preconditioner_rank == rank


def test_the_same_call_gives_the_same_digits(noisy_rbf):
    A = noisy_rbf(300, dtype=torch.float32)
    b = torch.ones(300)
    first, second = (solve(A, b, method="pcg")[0] for _ in range(2))
    assert torch.equal(first, second)


def test_batches_and_linear_operators_are_taken_as_they_are(spd, generator):
    factors = [spd(2, n, condition=100.0, generator=generator) for n in (3, 4)]
    A = KroneckerProductLinearOperator(*map(to_linear_operator, factors))
    b = torch.randn(2, 12, 3, generator=generator, dtype=torch.float64)
    for method in ("auto", "pcg"):
        x, report = solve(A, b, method=method, rtol=1e-9)
        assert report.converged
        torch.testing.assert_close(A @ x, b, rtol=0, atol=1e-7)
    D = DiagLinearOperator(torch.linspace(1, 2, 8000))
    x, report = solve(D, torch.ones(8000), rtol=1e-8)
    assert report.method == "pcg"
    # A residual of norm 1e-8 |b|, all of it in one entry, over a smallest eigenvalue of 1.
    bound = 1e-8 * 8000**0.5
    torch.testing.assert_close(x, 1 / D.diagonal().double(), rtol=0, atol=bound)


def test_no_graph_is_kept(spd, generator):
    matrix = spd(5, condition=10.0, generator=generator).requires_grad_()
    x, report = solve(matrix, torch.ones(5, dtype=torch.float64, requires_grad=True))
    assert not x.requires_grad
    assert not report.residual.requires_grad


def test_no_convergence_warns_with_figures_and_remedy(noisy_rbf):
    A = noisy_rbf(500, noise=1e-4)
    with pytest.warns(
        ConvergenceWarning,
        match=r"pcg: worst residual .*asked: 1\.0e-06.* after 2 iterations.*rank 20; raise rank",
    ) as caught:
        _, report = solve(A, torch.ones(500).double(), method="pcg", rank=20, max_iterations=2)
    assert not report.converged
    assert caught[0].filename == __file__


@pytest.mark.parametrize("method", ["cholesky", "pcg"])
def test_unsymmetric_operator_is_told_where_to_go(method, generator):
    matrix = torch.eye(50) + torch.randn(50, 50, generator=generator)
    with pytest.raises(ArgumentError, match=r"op: got an operator with .*gmres or lsmr"):
        solve(to_linear_operator(matrix), torch.ones(50), method=method)


def test_unsymmetric_operator_without_rows_is_found_out_too(generator):
    op = DiagonalInverse(torch.eye(50) + torch.randn(50, 50, generator=generator))
    with pytest.raises(ArgumentError, match=r"op: got an operator with .*gmres or lsmr"):
        solve(op, torch.ones(50), method="pcg")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"op": torch.ones(3, 4)}, r"op: got shape \(3, 4\).*linalg.lsmr"),
        ({"op": torch.eye(3).half()}, r"op: got torch.float16; convert it"),
        ({"op": torch.eye(3).cfloat()}, r"op: got torch.complex64; convert it"),
        ({"op": None}, "op: got NoneType without shape"),
        ({"rhs": torch.ones(2)}, r"rhs: got shape \(2,\); give \(3,\)"),
        ({"rhs": torch.ones(3).double()}, "rhs: got torch.float64; convert it to torch.float32"),
        ({"rhs": torch.ones(3) / 0}, "rhs: got 3 of 3 entries not finite"),
        ({"method": "qr"}, "method: got 'qr'; give \"auto\""),
        ({"rtol": 0.0}, "rtol: got 0.0; give a positive"),
        ({"rank": -3}, "rank: got -3; give a non-negative"),
        ({"max_iterations": 0}, "max_iterations: got 0; give a positive"),
        ({"random_state": "x", "method": "pcg"}, "random_state: got 'x'"),
    ],
)
def test_bad_arguments_are_named(arguments, message):
    with pytest.raises(ArgumentError, match=message):
        solve(**({"op": torch.eye(3), "rhs": torch.ones(3)} | arguments))
