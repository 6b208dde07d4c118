"""`KroneckerOperator` and its sum with noise against dense matrices."""

import pickle
import warnings
from functools import reduce

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from linear_operator.operators import ConstantDiagLinearOperator, ToeplitzLinearOperator

from kernelgp import linalg
from kernelgp.errors import ArgumentError, ArgumentTypeError, NotPositiveDefiniteError
from kernelgp.kernels import RBF, Periodic
from kernelgp.operators import KernelOperator, KroneckerOperator, NoisyKroneckerOperator

SIZES = st.lists(st.integers(1, 4), min_size=1, max_size=4)
EYE = torch.eye(2, dtype=torch.float64)


def normal(*shape, seed=0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64).to(dtype)


def spd_factors(sizes, *, batch=(), seed=0, dtype=torch.float64):
    roots = [normal(*batch, n, n, seed=seed + 7 * i, dtype=dtype) for i, n in enumerate(sizes)]
    return [root @ root.mT / 2 + torch.eye(root.shape[-1], dtype=dtype) for root in roots]


def dense(factors):
    """The oracle: entry (i k, j l) is a[i, j] * b[k, l]."""

    def outer(a, b):
        return torch.einsum("...ij,...kl->...ikjl", a, b).flatten(-4, -3).flatten(-2)

    return reduce(outer, factors)


def some_mask(sizes, seed=0):
    mask = normal(*sizes, seed=seed) > -0.5
    mask.view(-1)[0] = True
    return mask


@given(sizes=SIZES, k=st.integers(1, 3), seed=st.integers(0, 2**16))
def test_algebra_equals_dense(sizes, k, seed):
    factors = spd_factors(sizes, seed=seed)
    op, matrix = KroneckerOperator(*factors), dense(factors)
    rhs = normal(len(matrix), k, seed=seed)
    torch.testing.assert_close(op.to_dense(), matrix)
    torch.testing.assert_close(op @ rhs, matrix @ rhs)
    torch.testing.assert_close(op.mT @ rhs[:, 0], matrix.mT @ rhs[:, 0])
    torch.testing.assert_close(op.diagonal(), matrix.diagonal())
    torch.testing.assert_close(op.solve(rhs), torch.linalg.solve(matrix, rhs))
    torch.testing.assert_close(op.logdet(), torch.logdet(matrix))
    index = torch.arange(len(matrix)).flip(0)[:5]
    torch.testing.assert_close(op.rows(index), matrix[index])
    torch.testing.assert_close(op[index, index.flip(0)], matrix[index, index.flip(0)])


@given(
    rows=st.lists(st.integers(1, 4), min_size=3, max_size=3),
    columns=st.lists(st.integers(1, 4), min_size=3, max_size=3),
    k=st.integers(1, 3),
)
def test_rectangular_products_equal_dense(rows, columns, k):
    factors = [normal(m, n, seed=i) for i, (m, n) in enumerate(zip(rows, columns, strict=True))]
    op, matrix = KroneckerOperator(*factors), dense(factors)
    torch.testing.assert_close(op @ normal(matrix.shape[1], k), matrix @ normal(matrix.shape[1], k))
    torch.testing.assert_close(op.mT.to_dense(), matrix.mT)
    left, values, right = op.svd()
    rebuilt = left.to_dense() * values @ right.to_dense().mT
    torch.testing.assert_close(rebuilt, matrix)


@given(sizes=SIZES, seed=st.integers(0, 2**16), noise=st.floats(1e-6, 10.0))
def test_constant_noise_is_solved_directly(sizes, seed, noise):
    factors = spd_factors(sizes, seed=seed)
    op = KroneckerOperator(*factors).add_diagonal(torch.tensor(noise, dtype=torch.float64))
    matrix = dense(factors) + noise * torch.eye(op.shape[-1], dtype=torch.float64)
    rhs = normal(op.shape[-1], 2, seed=seed)
    torch.testing.assert_close(op.solve(rhs), torch.linalg.solve(matrix, rhs))
    quad, logdet = op.inv_quad_logdet(rhs, logdet=True)
    torch.testing.assert_close(quad, (rhs * torch.linalg.solve(matrix, rhs)).sum())
    torch.testing.assert_close(logdet, torch.logdet(matrix))
    torch.testing.assert_close(op.direct_solve(rhs), op.solve(rhs))
    torch.testing.assert_close(op.direct_logdet(), logdet)
    index = torch.arange(op.shape[-1]).flip(0)[:5]
    torch.testing.assert_close(op.rows(index), matrix[index])


@given(sizes=SIZES, seed=st.integers(0, 2**16), k=st.integers(1, 3))
def test_mask_keeps_rows_and_columns_of_observed_cells(sizes, seed, k):
    factors, mask = spd_factors(sizes, seed=seed), some_mask(sizes, seed)
    cells = mask.flatten()
    op, matrix = KroneckerOperator(*factors, mask=mask), dense(factors)[cells][:, cells]
    rhs = normal(len(matrix), k, seed=seed)
    assert op.shape == matrix.shape
    torch.testing.assert_close(op.to_dense(), matrix)
    torch.testing.assert_close(op @ rhs, matrix @ rhs)
    torch.testing.assert_close(op.diagonal(), matrix.diagonal())
    torch.testing.assert_close(op.rows(torch.tensor([0])), matrix[:1])
    torch.testing.assert_close(op.solve(rhs), torch.linalg.solve(matrix, rhs))
    torch.testing.assert_close(op.logdet(), torch.logdet(matrix))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("varying", [False, True])
def test_large_masked_grid_is_solved_by_iteration_to_rounding(monkeypatch, dtype, varying):
    monkeypatch.setattr("kernelgp.operators.partial._CHOLESKY_CELLS", 0)
    monkeypatch.setattr("kernelgp.operators.noisy_kronecker._MISSING_CELLS", 0)
    factors, mask = spd_factors([6, 5, 4], dtype=dtype), some_mask([6, 5, 4])
    n = int(mask.sum())
    noise = torch.linspace(0.5, 1.5, n) if varying else torch.tensor(0.5)
    op = KroneckerOperator(*factors, mask=mask).add_diagonal(noise.to(dtype))
    matrix = op.to_dense().double()
    rhs = normal(n, 2, dtype=dtype)
    solved = op.solve(rhs)
    assert solved.dtype == dtype
    residual = (matrix @ solved.double() - rhs).norm(dim=0) / rhs.norm(dim=0)
    assert residual.max() < {torch.float32: 1e-4, torch.float64: 1e-11}[dtype]
    torch.testing.assert_close(op.logdet().double(), torch.logdet(matrix), rtol=1e-4, atol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("batch", [(), (2,)])
def test_few_missing_cells_are_solved_directly(monkeypatch, dtype, batch):
    monkeypatch.setattr("kernelgp.operators.missing_cells._BLOCK_ENTRIES", 100)
    mask = torch.ones(4, 3, 2, dtype=torch.bool)
    mask.view(-1)[torch.tensor([0, 3, 4, 11, 17, 23])] = False
    factors = [f.requires_grad_() for f in spd_factors([4, 3, 2], batch=batch, dtype=dtype)]
    noise = torch.tensor(0.2, dtype=dtype, requires_grad=True)
    op = KroneckerOperator(*factors, mask=mask).add_diagonal(noise)
    rhs = normal(18, 2, dtype=dtype)
    assert hasattr(op, "direct_solve")
    tolerance = {torch.float32: 1e-4, torch.float64: 1e-10}[dtype]
    close = {"rtol": tolerance, "atol": tolerance}
    torch.testing.assert_close(op.solve(rhs), torch.linalg.solve(op.to_dense(), rhs), **close)
    torch.testing.assert_close(op.logdet(), torch.logdet(op.to_dense()), **close)
    ours, dense_ones = (
        torch.autograd.grad(value.sum(), (*factors, noise))
        for value in (op.logdet(), torch.logdet(op.to_dense()))
    )
    torch.testing.assert_close(ours, dense_ones, **close)


def test_preconditioner_is_the_inverse_where_nothing_is_missing():
    factors = spd_factors([3, 4])
    op = KroneckerOperator(*factors, mask=torch.ones(3, 4, dtype=torch.bool))
    noisy = op.add_diagonal(torch.tensor(0.3, dtype=torch.float64))
    rhs = normal(12, 2)
    torch.testing.assert_close(noisy.preconditioner()(noisy @ rhs), rhs)
    assert not hasattr(noisy, "direct_solve")  # linalg must report what iterates as iterating
    assert hasattr(KroneckerOperator(*factors), "direct_solve")


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("rhs_batch", [(), (5,), (2, 5), (2, 1)])
def test_batches_broadcast(dtype, rhs_batch):
    [rows] = spd_factors([3], batch=(2, 1), dtype=dtype)
    [middle] = spd_factors([4], dtype=dtype)
    [columns] = spd_factors([2], batch=(5,), dtype=dtype)
    rhs = normal(*rhs_batch, 24, 2, dtype=dtype)
    op = KroneckerOperator(rows, middle, columns)
    matrix = dense([rows, middle, columns])
    assert op.batch_shape == (2, 5)
    torch.testing.assert_close(op @ rhs, matrix @ rhs)
    solved = op.solve(rhs)
    assert solved.dtype == dtype
    torch.testing.assert_close(solved, torch.linalg.solve(matrix, rhs.expand_as(solved)))
    torch.testing.assert_close(op.logdet(), torch.logdet(matrix))
    for i, j in ((0, 0), (1, 4)):
        torch.testing.assert_close(op[i, j].to_dense(), matrix[i, j])


def test_sum_with_a_constant_diagonal_solves_directly():
    op = KroneckerOperator(*spd_factors([3, 2]))
    noise = torch.tensor([0.25], dtype=torch.float64)
    total = op + ConstantDiagLinearOperator(noise, diag_shape=6)
    assert isinstance(total, NoisyKroneckerOperator)
    solution, report = linalg.solve(2.0 * total, normal(6, 1))
    assert report.method == "direct"
    torch.testing.assert_close(2.0 * total.to_dense() @ solution, normal(6, 1))
    twice = total.add_diagonal(noise)
    torch.testing.assert_close(twice.to_dense(), op.to_dense() + 0.5 * torch.eye(6).double())


@pytest.mark.parametrize("noise", [torch.tensor([0.5]), torch.linspace(0.5, 1.0, 6)])
@pytest.mark.parametrize("masked", [False, True])
def test_gradients_are_exact_even_where_eigenvalues_meet(noise, masked):
    mask = torch.tensor([[True, False], [True, True], [True, True]]) if masked else None
    noise = noise[:5] if masked else noise

    def terms(a, b, noise, rhs):
        op = KroneckerOperator(a @ a.mT, b @ b.mT, mask=mask)
        noisy = op.add_diagonal(noise)
        rhs = rhs[: op.shape[-1]]
        return (
            *noisy.inv_quad_logdet(rhs, logdet=True),
            noisy.solve(rhs),
            noisy.logdet(),
            op.solve(rhs),
            op.logdet(),
            op @ rhs,
            noisy @ rhs,
            noisy.to_dense(),
        )

    repeated = torch.eye(3, dtype=torch.float64, requires_grad=True)
    inputs = repeated, normal(2, 2).requires_grad_(), noise.double().clone().requires_grad_()
    assert torch.autograd.gradcheck(terms, (*inputs, normal(6, 2).requires_grad_()))


@pytest.mark.parametrize(("batch", "rhs_batch"), [((2,), ()), ((), (2,)), ((2,), (3, 1))])
def test_gradients_of_broadcast_solves(batch, rhs_batch):
    def solve(root, noise, rhs):
        factor = root @ root.mT + EYE
        op = KroneckerOperator(factor, factor).add_diagonal(noise)
        return op.solve(rhs), *op.inv_quad_logdet(rhs, logdet=True), op @ rhs

    root = normal(*batch, 2, 2).requires_grad_()
    noise = torch.tensor(0.3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(solve, (root, noise, normal(*rhs_batch, 4, 2).requires_grad_()))


@pytest.mark.parametrize("sizes", [(4,), (3, 2), (2, 3, 2), (2, 2, 2, 2)])
def test_bilinear_derivative_of_rectangular_factors(sizes):
    factors = [normal(n + i, n, seed=i).requires_grad_() for i, n in enumerate(sizes)]
    op = KroneckerOperator(*factors)
    left, right = normal(op.shape[0], 3), normal(op.shape[1], 3, seed=1)
    expected = torch.autograd.grad((left * (dense(factors) @ right)).sum(), factors)
    torch.testing.assert_close(op._bilinear_derivative(left, right), expected)


def test_gradients_reach_the_parameters_of_operators():
    column = torch.tensor([2.0, 0.5, 0.1], dtype=torch.float64, requires_grad=True)
    [other] = spd_factors([2])
    rhs = normal(6, 1)

    def loss(rows):
        op = KroneckerOperator(rows, other).add_diagonal(torch.tensor(0.1).double())
        quad, logdet = op.inv_quad_logdet(rhs, logdet=True)
        return quad + logdet + (op @ rhs).square().sum() + op.solve(rhs).sum()

    lazy = loss(ToeplitzLinearOperator(column))
    lag = (torch.arange(3)[:, None] - torch.arange(3)).abs()
    full = loss(column[lag])
    torch.testing.assert_close(lazy, full)
    found, expected = (torch.autograd.grad(value, column)[0] for value in (lazy, full))
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("masked", [False, True])
def test_backward_twice_through_one_operator(masked):
    factor = torch.eye(3, dtype=torch.float64, requires_grad=True)
    rows = ToeplitzLinearOperator(torch.tensor([2.0, 0.5]).double().requires_grad_())
    mask = torch.ones(3, 2, dtype=torch.bool) if masked else None
    op = KroneckerOperator(factor, rows, mask=mask).add_diagonal(torch.tensor(0.1).double())
    rhs = torch.ones(6, 1, dtype=torch.float64)
    first, second = (
        torch.autograd.grad(
            sum(t.sum() for t in (op.solve(rhs), op.logdet(), op @ rhs, op.to_dense())), factor
        )[0]
        for _ in range(2)
    )
    torch.testing.assert_close(first, second, rtol=0, atol=0)


def test_root_of_a_singular_factor_still_samples():
    x = torch.linspace(0, 1, 20, dtype=torch.float64)
    smooth = torch.exp(-((x[:, None] - x) ** 2) * 4)
    op = KroneckerOperator(smooth, EYE)
    root = op.root_decomposition().root.to_dense()
    torch.testing.assert_close(root @ root.mT, op.to_dense(), rtol=0, atol=1e-7)


def test_roots_of_a_large_noisy_operator_are_exact(monkeypatch):
    monkeypatch.setattr("kernelgp.operators.direct._CHOLESKY_ROWS", 0)
    op = KroneckerOperator(*spd_factors([30, 28])).add_diagonal(torch.tensor(0.5).double())
    matrix = op.to_dense()
    root = op.root_decomposition().root.to_dense()
    inverse = op.root_inv_decomposition().root.to_dense()
    torch.testing.assert_close(root @ root.mT, matrix)
    torch.testing.assert_close(inverse @ inverse.mT, torch.linalg.inv(matrix))


def test_masks_survive_moves_copies_and_pickles():
    mask = torch.tensor([[True, False], [True, True]])
    op = KroneckerOperator(EYE, 2 * EYE, mask=mask)
    pickled = pickle.loads(pickle.dumps(op))
    for copy in (op.float(), op.to(torch.float32), op.clone(), op.detach(), pickled, 1.0 * op):
        assert copy.mask.dtype == torch.bool
        torch.testing.assert_close(copy.to_dense(), op.to_dense(), check_dtype=False)
    assert op.to(torch.float32).dtype == torch.float32


def test_scaling_keeps_the_structure():
    factors = spd_factors([3, 2])
    scale = torch.tensor(2.5, dtype=torch.float64, requires_grad=True)
    op = KroneckerOperator(*factors) * scale
    assert isinstance(op, KroneckerOperator)
    op.logdet().backward()
    torch.testing.assert_close(scale.grad, torch.tensor(6 / 2.5, dtype=torch.float64))


def test_half_precision_is_for_storage_only():
    op = KroneckerOperator(EYE, EYE)
    assert op.half().dtype == torch.float16
    with pytest.raises(ArgumentError, match=r"factors\[0\]: got torch.float16; convert it"):
        op.to(torch.float16)


@pytest.mark.parametrize(
    ("factors", "error", "message"),
    [
        ((), ArgumentError, r"factors: got none; give one matrix for each axis"),
        ((EYE, torch.ones(3).double()), ArgumentError, r"factors\[1\]: got shape \(3,\); give"),
        ((EYE, EYE.float()), ArgumentError, r"factors\[1\]: got torch.float32; convert it to"),
        ((EYE.to(torch.complex128),), ArgumentError, r"factors\[0\]: got torch.complex128"),
        ((EYE.half(),), ArgumentError, r"factors\[0\]: got torch.float16; convert it to float32"),
        ((EYE.long(),), ArgumentError, r"factors\[0\]: got torch.int64; convert it"),
        ((EYE, EYE.numpy()), ArgumentTypeError, r"factors\[1\]: got ndarray; give a tensor or"),
        ((EYE, EYE * torch.nan), ArgumentError, r"factors\[1\]: got 4 of 4 entries not finite"),
        ((EYE, torch.empty(0, 0).double()), ArgumentError, r"factors\[1\]: got shape \(0, 0\)"),
        ((EYE.expand(2, 2, 2), EYE.expand(3, 2, 2)), ArgumentError, r"factors: got batches \(2,\)"),
    ],
)
def test_bad_factors_are_named(factors, error, message):
    with pytest.raises(error, match=message):
        KroneckerOperator(*factors)


@pytest.mark.parametrize(
    ("mask", "error", "message"),
    [
        ([[True, True]], ArgumentTypeError, r"mask: got list; give a boolean torch tensor"),
        (torch.ones(2, 2), ArgumentError, r"mask: got torch.float32; give torch.bool"),
        (torch.ones(4).bool(), ArgumentError, r"mask: got shape \(4,\); give \(2, 2\), the shape"),
        (torch.zeros(2, 2).bool(), ArgumentError, r"mask: got no cell that is observed; keep"),
    ],
)
def test_bad_masks_are_named(mask, error, message):
    with pytest.raises(error, match=message):
        KroneckerOperator(EYE, EYE, mask=mask)


def test_mask_of_a_rectangular_factor_is_refused():
    with pytest.raises(ArgumentError, match=r"factors\[1\]: got shape \(1, 2\); a mask needs"):
        KroneckerOperator(EYE, EYE[:1], mask=torch.ones(2, 2).bool())


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda op: op.solve(torch.ones(3, 1).double()), r"right_tensor: got shape \(3, 1\)"),
        (lambda op: op.solve(torch.ones(4, 1)), r"right_tensor: got torch.float32; convert"),
        (lambda op: op @ torch.ones(3).double(), r"rhs: got shape \(3, 1\); give \(4,\)"),
        (lambda op: op.inv_quad_logdet(torch.ones(3, 1).double()), r"inv_quad_rhs: got shape"),
        (lambda op: op.add_diagonal(torch.ones(3).double()), r"noise: got shape \(3,\); give one"),
        (lambda op: op.add_diagonal(torch.ones(4)), r"noise: got torch.float32; convert it"),
        (lambda op: op.add_diagonal(torch.tensor(torch.inf).double()), r"noise: got 1 of 1"),
        (lambda op: op.direct_solve(torch.ones(3).double()), r"rhs: got shape \(3, 1\)"),
    ],
)
def test_bad_calls_are_named(call, message):
    with pytest.raises(ArgumentError, match=message):
        call(KroneckerOperator(EYE, EYE))


def test_solves_of_a_rectangle_are_refused():
    op = KroneckerOperator(EYE, EYE[:1])
    for call in (op.logdet, lambda: op.solve(torch.ones(4).double()), lambda: op.add_diagonal(1)):
        with pytest.raises(ArgumentError, match=r"op: got shape \(2, 4\); solves"):
            call()


@pytest.mark.parametrize("noise", [None, 0.5])
def test_indefinite_factor_is_named(noise):
    op = KroneckerOperator(EYE, -EYE)
    if noise is not None:
        op = op.add_diagonal(torch.tensor(noise).double())
    message = r"factors\[1\]: got a smallest eigenvalue of -1\.0e\+00; add jitter to this axis"
    with pytest.raises(NotPositiveDefiniteError, match=message):
        op.logdet()


def test_small_noise_lifts_eigenvalues_that_are_negative_by_rounding():
    x = torch.linspace(0, 1, 30, dtype=torch.float64)
    smooth = torch.exp(-((x[:, None] - x) ** 2) * 2)
    assert torch.linalg.eigvalsh(smooth).min() < 0
    op = KroneckerOperator(smooth, smooth).add_diagonal(torch.tensor(1e-8).double())
    rhs = normal(900, 1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        solution, report = linalg.solve(op, rhs)
    assert report.residual.max() < 1e-6
    assert solution.isfinite().all()


def test_linalg_preconditions_a_masked_grid_by_the_whole_one():
    factors = [
        torch.exp(-(torch.arange(n)[:, None] - torch.arange(n)).abs() / 10) for n in (24, 20)
    ]
    mask = torch.ones(24, 20, dtype=torch.bool)
    mask[3:6, 4] = False
    op = KroneckerOperator(*(f.double() for f in factors), mask=mask)
    noisy = op.add_diagonal(torch.tensor(1e-3).double())
    rhs = normal(noisy.shape[-1], 2)
    _, report = linalg.solve(noisy, rhs, method="pcg", rtol=1e-10)
    assert report.converged
    assert report.iterations <= 8  # three missing cells make three outlying eigenvalues
    _, plain = linalg.solve(noisy, rhs, method="pcg", rank=0, rtol=1e-10)
    assert plain.iterations > 5 * report.iterations


def test_hyperparameters_of_a_product_kernel_are_reached():
    axis = torch.linspace(0, 1, 7, dtype=torch.float64)[:, None]
    kernels = RBF(lengthscale=0.2), Periodic(period=0.5)
    rhs, mask = normal(49, 1), torch.ones(7, 7, dtype=torch.bool)
    mask[2, 3] = False

    def loss(lazy, mask):
        operators = [KernelOperator(kernel, axis) for kernel in kernels]
        factors = operators if lazy else [operator.to_dense() for operator in operators]
        op = KroneckerOperator(*factors, mask=mask).add_diagonal(torch.tensor(0.1).double())
        column = rhs[: op.shape[-1]]
        quad, logdet = op.inv_quad_logdet(column, logdet=True)
        return quad + logdet + op.solve(column).sum() + (op @ column).square().sum()

    parameters = [p for kernel in kernels for p in kernel.parameters()]
    for cells in (None, mask):
        values = loss(True, cells), loss(False, cells)
        torch.testing.assert_close(*values)
        lazy, full = (torch.autograd.grad(value, parameters) for value in values)
        torch.testing.assert_close(lazy, full)
        assert all(gradient.abs().sum() > 0 for gradient in lazy)
