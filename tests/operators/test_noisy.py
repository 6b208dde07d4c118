"""`NoisyKernelOperator` against dense matrices, and where it iterates."""

import pytest
import torch
from linear_operator.operators import ConstantDiagLinearOperator, DiagLinearOperator

from kernelgp.errors import ArgumentError, JitterWarning
from kernelgp.kernels import RBF, Matern
from kernelgp.linalg.cholesky import _LIMIT
from kernelgp.operators import KernelOperator, NoisyKernelOperator


def points(*shape, seed=0):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def noisy(noise, *, batch=(), n=12, dtype=torch.float64):
    x = points(*batch, n, 2).to(dtype)
    return NoisyKernelOperator(KernelOperator(Matern(nu=1.5), x), noise.to(dtype))


NOISES = {
    "scalar": torch.tensor(0.1),
    "one": torch.tensor([0.1]),
    "rows": torch.linspace(0.1, 0.4, 12),
}


@pytest.mark.parametrize("noise", NOISES.values(), ids=NOISES)
def test_algebra_equals_dense(noise):
    op, rhs = noisy(noise), points(12, 3, seed=1)
    matrix = op.base.to_dense() + torch.diag(noise.double().expand(12))
    torch.testing.assert_close(op.to_dense(), matrix)
    torch.testing.assert_close(op @ rhs, matrix @ rhs)
    torch.testing.assert_close(op.diagonal(), matrix.diagonal())
    torch.testing.assert_close(op.solve(rhs), torch.linalg.solve(matrix, rhs))
    torch.testing.assert_close(op.logdet(), torch.logdet(matrix))
    torch.testing.assert_close(op[2:7, 2:7].to_dense(), matrix[2:7, 2:7])
    torch.testing.assert_close(op[2:7, :3].to_dense(), matrix[2:7, :3])
    torch.testing.assert_close(op[2:9, 1:11:3].to_dense(), matrix[2:9, 1:11:3])
    index = torch.tensor([3, 0, 3])
    torch.testing.assert_close(op.rows(index), matrix[index])
    torch.testing.assert_close((2.0 * op).to_dense(), 2 * matrix)
    root = op.root_decomposition().root.to_dense()
    torch.testing.assert_close(root @ root.mT, matrix)
    inverse_root = op.root_inv_decomposition().root.to_dense()
    torch.testing.assert_close(inverse_root @ inverse_root.mT @ matrix, torch.eye(12).double())


@pytest.mark.parametrize("noise", NOISES.values(), ids=NOISES)
def test_gradients(noise):
    x, rhs = points(5, 2).requires_grad_(), points(5, 2, seed=1).requires_grad_()
    noise = noise[..., :5].double() if noise.dim() else noise.double()
    noise.requires_grad_()

    def function(x, noise, rhs):
        op = NoisyKernelOperator(KernelOperator(RBF(), x, backend="tiled"), noise)
        return *op.inv_quad_logdet(rhs, logdet=True), op.solve(rhs), op @ rhs

    assert torch.autograd.gradcheck(function, (x, noise, rhs))


def test_backward_twice_through_one_operator():
    noise = torch.tensor(0.1, dtype=torch.float64, requires_grad=True)
    op = noisy(noise)
    first, second = (torch.autograd.grad(op.logdet(), noise)[0] for _ in range(2))
    torch.testing.assert_close(first, second, rtol=0, atol=0)


def test_quadratic_form_of_many_right_hand_sides_in_a_batch():
    op, rhs = noisy(torch.tensor(0.1), batch=(2,)), points(2, 12, 3, seed=1)
    expected = (rhs * torch.linalg.solve(op.to_dense(), rhs)).sum(dim=-2)
    quad, _ = op.inv_quad_logdet(rhs, logdet=True, reduce_inv_quad=False)
    torch.testing.assert_close(quad, expected)
    torch.testing.assert_close(op.inv_quad(rhs), expected.sum(dim=-1))


def test_iterated_answers_are_those_of_cholesky(monkeypatch):
    noise = torch.tensor(0.1, dtype=torch.float64, requires_grad=True)
    rhs = points(300, 2, seed=1)
    exact = noisy(noise, n=300)
    expected = exact.solve(rhs), exact.logdet()
    (by_noise,) = torch.autograd.grad(exact.inv_quad_logdet(rhs, logdet=True)[0], noise)
    for dtype in (torch.float32, torch.float64):
        monkeypatch.setitem(_LIMIT, dtype, 0)
    op = noisy(noise, n=300)
    torch.testing.assert_close(op.solve(rhs), expected[0], rtol=0, atol=1e-4)
    quad, logdet = op.inv_quad_logdet(rhs, logdet=True)
    # The determinant is a mean over ten random vectors.
    torch.testing.assert_close(logdet, expected[1], rtol=0.02, atol=0)
    (grad,) = torch.autograd.grad(quad, noise)
    torch.testing.assert_close(grad, by_noise, rtol=1e-3, atol=0)


def test_more_diagonals_add_up():
    op = noisy(torch.tensor(0.1))
    more = torch.linspace(0.0, 1.0, 12, dtype=torch.float64)
    constant = ConstantDiagLinearOperator(torch.tensor([0.5], dtype=torch.float64), diag_shape=12)
    for total, added in (
        (op + DiagLinearOperator(more), more),
        (op + constant, torch.tensor(0.5)),
        (op.add_diagonal(more), more),
        (op.add_jitter(0.25), torch.tensor(0.25)),
    ):
        assert isinstance(total, NoisyKernelOperator)
        torch.testing.assert_close(total.diagonal(), op.diagonal() + added)


def test_float32_that_cannot_be_factorised_is_factorised_in_float64():
    op = noisy(torch.tensor(1e-8), n=60, dtype=torch.float32)
    op = NoisyKernelOperator(KernelOperator(RBF(), op.base.x1), op.noise)
    rhs = torch.ones(60, 1)
    exact = op.double().to_dense()
    torch.testing.assert_close(op.logdet().double(), torch.logdet(exact), rtol=1e-5, atol=0)
    residual = exact @ op.solve(rhs).double() - 1
    assert residual.norm() < 0.1


def test_singular_matrix_reports_its_jitter():
    x = torch.ones(4, 1, dtype=torch.float64)
    op = NoisyKernelOperator(KernelOperator(RBF(), x), torch.tensor(0.0).double())
    with pytest.warns(JitterWarning, match=r"singular to working precision .* jitter .* was added"):
        op.logdet()


X = KernelOperator(RBF(), torch.zeros(3, 1))


@pytest.mark.parametrize(
    ("noise", "message"),
    [
        (0.1, r"noise: got float; give a torch tensor"),
        (torch.tensor(-0.1), r"noise: got a smallest value of -0\.1; give variances"),
        (torch.tensor(torch.nan), r"noise: got 1 of 1 entries not finite"),
        (torch.ones(2), r"noise: got shape \(2,\); give one number, or 3 to match"),
        (torch.ones(3).double(), r"noise: got torch.float64; convert it to torch.float32"),
    ],
)
def test_bad_noise_is_named(noise, message):
    with pytest.raises(ArgumentError, match=message):
        NoisyKernelOperator(X, noise)
    with pytest.raises(ArgumentError, match=message):
        X.add_diagonal(noise)


def test_rectangular_base_is_refused():
    base = KernelOperator(RBF(), torch.zeros(3, 1), torch.zeros(2, 1))
    with pytest.raises(ArgumentError, match=r"base: got shape \(3, 2\); give a square operator"):
        base.add_diagonal(torch.tensor(0.1))


def test_bad_right_hand_side_is_named():
    op = X.add_diagonal(torch.tensor(0.1))
    with pytest.raises(ArgumentError, match=r"right_tensor: got shape \(2, 1\); give .*3, k\)"):
        op.solve(torch.ones(2, 1))
    with pytest.raises(ArgumentError, match=r"inv_quad_rhs: got None; give it, or logdet=True"):
        op.inv_quad_logdet()


def test_solves_of_rectangular_operators_are_refused():
    base = KernelOperator(RBF(), torch.zeros(3, 1), torch.zeros(2, 1))
    with pytest.raises(ArgumentError, match=r"operator: got shape \(3, 2\); use a square"):
        base.solve(torch.ones(3, 1))


def test_repr_says_kernel_and_noise():
    assert repr(noisy(torch.tensor(0.1))).endswith("backend='dense'), noise=0.1)")
