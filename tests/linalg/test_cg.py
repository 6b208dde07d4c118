"""`pcg` against dense float64 solves; the report against the residual it reports."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from linear_operator.operators import DenseLinearOperator

from kernelgp.errors import ArgumentError, ConvergenceWarning, NotPositiveDefiniteError
from kernelgp.linalg import pcg, pivoted_cholesky_preconditioner
from kernelgp.linalg.cg import sweep


def true_residual(matrix, x, b):
    error = b.double() - matrix.double() @ x
    return error.norm(dim=-2) / b.double().norm(dim=-2)


@given(n=st.integers(1, 30), k=st.integers(1, 4), seed=st.integers(0, 2**16))
def test_equals_dense_solve(spd, n, k, seed):
    g = torch.Generator().manual_seed(seed)
    matrix = spd(n, condition=1e3, generator=g)
    b = torch.randn(n, k, generator=g, dtype=torch.float64)
    x, report = pcg(DenseLinearOperator(matrix), b, rtol=1e-12)
    assert report.converged
    torch.testing.assert_close(x, torch.linalg.solve(matrix, b), rtol=1e-8, atol=1e-10)


@given(
    n=st.integers(2, 60),
    seed=st.integers(0, 2**16),
    exponent=st.floats(0, 7),
    log_rtol=st.floats(-9, -1),
    budget=st.integers(1, 300),
    dtype=st.sampled_from([torch.float32, torch.float64]),
)
@pytest.mark.filterwarnings("ignore::kernelgp.errors.ConvergenceWarning")
def test_reported_residual_is_the_true_one(spd, n, seed, exponent, log_rtol, budget, dtype):
    g = torch.Generator().manual_seed(seed)
    matrix = spd(n, condition=10**exponent, generator=g, dtype=dtype)
    b = torch.randn(n, 3, generator=g, dtype=torch.float64).to(dtype)
    try:
        x, report = pcg(matrix, b, rtol=10**log_rtol, max_iterations=budget)
    except NotPositiveDefiniteError:
        # Rounded to float32, a matrix of condition 1e7 may well be indefinite.
        assert torch.linalg.eigvalsh(matrix.double()).min() <= 0
        return
    truth = true_residual(matrix, x, b)
    # Below: what two ways of summing the same float64 products may differ by.
    rounding = 1e-15 * n * matrix.double().norm() * x.norm(dim=0) / b.double().norm(dim=0)
    assert (report.residual <= 2 * truth + rounding).all()
    assert (truth <= 2 * report.residual + rounding).all()
    assert report.converged == bool((report.residual <= 10**log_rtol).all())
    assert report.iterations <= budget


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("batch", [(), (3,), (2, 3)])
def test_batches_broadcast(spd, batch, dtype, generator):
    matrix = spd(*batch, 8, condition=10.0, generator=generator, dtype=dtype)
    b = torch.randn(2, 3, 8, 2, generator=generator, dtype=torch.float64).to(dtype)
    x, report = pcg(matrix, b, rtol=1e-10)
    torch.testing.assert_close(matrix.double() @ x, b.double(), rtol=0, atol=1e-8)
    assert report.residual.shape == (2, 3, 2)


def test_a_batch_equals_its_elements_one_by_one(spd, generator):
    easy, hard = (spd(20, condition=c, generator=generator) for c in (2.0, 1e4))
    b = torch.randn(2, 20, 2, generator=generator, dtype=torch.float64)
    x, _ = pcg(torch.stack([easy, hard]), b, rtol=1e-10)
    for i, matrix in enumerate((easy, hard)):
        alone, _ = pcg(matrix, b[i], rtol=1e-10)
        torch.testing.assert_close(x[i], alone, rtol=1e-6, atol=1e-9)


def test_float32_products_reach_a_residual_below_float32(noisy_rbf, generator):
    A = noisy_rbf(600, dtype=torch.float32)
    b = torch.randn(600, 3, generator=generator)
    x, report = pcg(A, b, rtol=1e-9)
    assert x.dtype == torch.float64
    assert report.converged
    error = b.double() - A.double().matmul(x)
    assert (error.norm(dim=0) <= 1.1e-9 * b.double().norm(dim=0)).all()


def test_float64_products_take_over_where_float32_is_too_rough(noisy_rbf, generator):
    A = noisy_rbf(300, noise=1e-7, dtype=torch.float32)  # float32 products err by more
    b = torch.randn(300, 1, generator=generator)
    preconditioner = pivoted_cholesky_preconditioner(A, 290)
    x, report = pcg(A, b, rtol=1e-8, preconditioner=preconditioner)
    assert report.converged
    error = b.double() - A.double().matmul(x)
    assert error.norm() <= 1.1e-8 * b.norm()


def test_columns_of_very_different_size_are_all_solved(spd, generator):
    matrix = spd(50, condition=1e3, generator=generator)
    b = torch.randn(50, 3, generator=generator, dtype=torch.float64) * torch.tensor(
        [1e-9, 0.0, 1e9]
    )
    x, report = pcg(matrix, b)
    assert report.converged
    assert (x[:, 1] == 0).all()
    assert report.residual[1] == 0


def test_a_vector_comes_back_as_a_vector(spd, generator):
    matrix = spd(5, condition=10.0, generator=generator)
    x, report = pcg(matrix, torch.ones(5, dtype=torch.float64))
    assert x.shape == (5,)
    assert report.residual.shape == ()


def test_zero_right_hand_side_keeps_the_batch_shape():
    x, report = pcg(DenseLinearOperator(torch.eye(3).expand(2, 3, 3)), torch.zeros(3, 1))
    assert x.shape == (2, 3, 1)
    assert report.residual.shape == (2, 1)
    assert report.converged
    assert report.iterations == 0


def test_exact_preconditioner_needs_one_iteration(spd, generator):
    matrix = spd(40, condition=1e4, generator=generator)
    b = torch.randn(40, 1, generator=generator, dtype=torch.float64)
    inverse = torch.linalg.inv(matrix)
    _, report = pcg(matrix, b, preconditioner=lambda r: inverse @ r)
    assert report.iterations == 1


def test_solved_columns_leave_the_products(spd, generator):
    matrix = spd(40, condition=1e4, generator=generator)
    eigenvector = torch.linalg.eigh(matrix).eigenvectors[:, :1]  # one iteration
    b = torch.cat([eigenvector, torch.randn(40, 1, generator=generator).double()], dim=-1)
    widths = []

    def matmul(v):
        widths.append(v.shape[-1])
        return matrix @ v

    swept = sweep(matmul, b / b.norm(dim=0), None, 1e-8, 200)
    assert widths[0] == 2
    assert set(widths[2:]) == {1}
    torch.testing.assert_close(matrix @ swept.solution, b / b.norm(dim=0), rtol=0, atol=1e-6)


def test_tridiagonals_are_those_of_lanczos(spd, generator):
    matrix = spd(6, condition=10.0, generator=generator)
    root = torch.linalg.cholesky(spd(6, condition=3.0, generator=generator))
    P = root @ root.mT
    b = torch.randn(6, 2, generator=generator, dtype=torch.float64)
    swept = sweep(lambda v: matrix @ v, b, lambda r: torch.cholesky_solve(r, root), 1e-9, 6)
    # Run to the end, T is similar to P⁻¹ A.
    truth = torch.linalg.eigvals(torch.linalg.solve(P, matrix)).real.sort().values
    for T in swept.tridiagonals():
        torch.testing.assert_close(torch.linalg.eigvalsh(T), truth, rtol=1e-6, atol=0)


def test_tridiagonal_of_an_early_column_is_padded_with_the_identity(spd, generator):
    matrix = spd(10, condition=50.0, generator=generator)
    values, vectors = torch.linalg.eigh(matrix)
    b = torch.cat([vectors[:, :1], torch.randn(10, 1, generator=generator).double()], dim=-1)
    T = sweep(lambda v: matrix @ v, b, None, 1e-9, 20).tridiagonals()[0]
    truth = torch.eye(len(T), dtype=torch.float64)
    truth[0, 0] = values[0]
    torch.testing.assert_close(T, truth)


def test_no_convergence_warns_with_figures(spd, generator):
    matrix = spd(50, condition=1e6, generator=generator)
    b = torch.randn(50, 1, generator=generator, dtype=torch.float64)
    message = r"pcg: worst residual .* after 3 iterations.*precondition"
    with pytest.warns(ConvergenceWarning, match=message) as caught:
        _, report = pcg(matrix, b, max_iterations=3)
    assert not report.converged
    assert caught[0].filename == __file__  # it points at the caller, not into the library


def test_an_impossible_tolerance_ends_and_warns(spd, generator):
    matrix = spd(30, condition=1e4, generator=generator)
    with pytest.warns(ConvergenceWarning, match=r"asked: 1\.0e-18"):
        _, report = pcg(matrix, torch.ones(30, dtype=torch.float64), rtol=1e-18)
    assert report.residual < 1e-12


def test_interrupt_leaves_the_solve_at_once(spd, generator):
    matrix = spd(30, condition=1e4, generator=generator)
    calls = []

    def interrupted(r):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return r.clone()

    with pytest.raises(KeyboardInterrupt):
        pcg(matrix, torch.ones(30, dtype=torch.float64), preconditioner=interrupted)
    assert len(calls) == 3


@pytest.mark.parametrize(
    ("rhs", "message"),
    [
        (torch.ones(2, 1), r"rhs: got shape \(2, 1\); give \(3,\) or \(\.\.\., 3, k\) to match op"),
        (torch.ones(4), r"rhs: got shape \(4,\); give \(3,\) or"),
        (torch.ones(()), r"rhs: got shape \(\); give \(3,\) or"),
        (torch.ones(3, 0), r"rhs: got shape \(3, 0\); .* k at least 1"),
        (torch.ones(3, 1).double(), r"rhs: got torch.float64; convert it to torch.float32"),
        (torch.ones(3, 1).half(), r"rhs: got torch.float16; convert it to float32 or float64"),
        (torch.ones(3, 1).int(), r"rhs: got torch.int32; convert it to float32 or float64"),
        (torch.ones(3, 1).cfloat(), r"rhs: got torch.complex64; convert it to float32"),
        (torch.tensor([[1.0], [2.0], [torch.nan]]), r"rhs: got 1 of 3 entries not finite"),
        ([1.0, 2.0, 3.0], r"rhs: got list; give a torch tensor"),
        (torch.ones(3, 1, device="meta"), r"rhs: got device meta; move it to cpu to match op"),
    ],
)
def test_bad_rhs_is_named(rhs, message):
    with pytest.raises(ArgumentError, match=message):
        pcg(DenseLinearOperator(torch.eye(3)), rhs)


def test_batch_shapes_that_do_not_broadcast_are_named():
    with pytest.raises(ArgumentError, match=r"rhs: got shape \(3, 3, 1\).*broadcast with \(2,\)"):
        pcg(torch.eye(3).expand(2, 3, 3), torch.ones(3, 3, 1))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_indefinite_operator_is_refused(dtype):
    with pytest.raises(NotPositiveDefiniteError, match=r"op: got a direction of curvature -1\.0e"):
        pcg(-torch.eye(1, dtype=dtype), torch.ones(1, 1, dtype=dtype))


def test_indefinite_preconditioner_is_refused(spd, generator):
    matrix = spd(10, condition=10.0, generator=generator)
    with pytest.raises(ArgumentError, match="preconditioner: got rᵀP⁻¹r = -"):
        pcg(matrix, torch.ones(10, dtype=torch.float64), preconditioner=lambda r: -r)


def test_operator_with_nan_is_named():
    matrix = DenseLinearOperator(torch.tensor([[1.0, torch.nan], [torch.nan, 1.0]]))
    with pytest.raises(ArgumentError, match="op: got a product with 2 of 2 entries not finite"):
        pcg(matrix, torch.ones(2))
