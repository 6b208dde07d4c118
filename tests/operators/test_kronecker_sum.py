"""`KroneckerSumOperator` against the dense sum of Kronecker products."""

import pickle

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from kernelgp import linalg
from kernelgp.errors import ArgumentError, ArgumentTypeError
from kernelgp.operators import KroneckerSumOperator

SIZES = st.lists(st.integers(1, 5), min_size=1, max_size=3)


def normal(*shape, seed=0, dtype=torch.float64):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def random_terms(sizes, *, batch=(), seed=0):
    """Pencils whose eigenvalues keep away from zero, so that errors stay near epsilon."""
    return [
        tuple(
            normal(*batch, r, r, seed=seed + 10 * i + j) / r**0.5
            + 3 * torch.eye(r, dtype=torch.float64)
            for j in range(2)
        )
        for i, r in enumerate(sizes)
    ]


def dense(terms):
    """The oracle: torch.kron of A on one axis and B on the others, summed."""
    total = 0.0
    for i in range(len(terms)):
        product = torch.ones(1, 1, dtype=torch.float64)
        for k, (a, b) in enumerate(terms):
            product = torch.kron(product, a if k == i else b)
        total = total + product
    return total


def second_derivative(r):
    """Chebyshev collocation of d²/dx² with both ends at zero: far from normal, cond ~ r⁴."""
    n = r + 1
    k = np.arange(n + 1)
    x = np.cos(np.pi * k / n)
    c = np.where((k == 0) | (k == n), 2.0, 1.0) * (-1.0) ** k
    d = np.outer(c, 1 / c) / (x[:, None] - x + np.eye(n + 1))
    d -= np.diag(d.sum(axis=1))
    return torch.from_numpy((d @ d)[1:-1, 1:-1])


@given(sizes=SIZES, k=st.integers(1, 3), seed=st.integers(0, 2**16))
def test_algebra_equals_dense(sizes, k, seed):
    terms = random_terms(sizes, seed=seed)
    op, matrix = KroneckerSumOperator(*terms), dense(terms)
    rhs = normal(len(matrix), k, seed=seed)
    torch.testing.assert_close(op.to_dense(), matrix)
    torch.testing.assert_close(op @ rhs, matrix @ rhs)
    torch.testing.assert_close(op.mT @ rhs, matrix.mT @ rhs)
    torch.testing.assert_close(op.mT.to_dense(), matrix.mT)
    torch.testing.assert_close(op.diagonal(), matrix.diagonal())
    index = torch.arange(len(matrix)).flip(0)
    torch.testing.assert_close(op[index, torch.zeros_like(index)], matrix[index, 0])


@given(sizes=SIZES, k=st.integers(1, 3), seed=st.integers(0, 2**16))
def test_solves_equal_dense_to_rounding(sizes, k, seed):
    terms = random_terms(sizes, seed=seed)
    op, matrix = KroneckerSumOperator(*terms), dense(terms)
    rhs = normal(len(matrix), k, seed=seed)
    tolerance = {"rtol": 1e-12, "atol": 1e-12}
    torch.testing.assert_close(op.solve(rhs), torch.linalg.solve(matrix, rhs), **tolerance)
    torch.testing.assert_close(op.mT.solve(rhs), torch.linalg.solve(matrix.mT, rhs), **tolerance)
    torch.testing.assert_close(op.logdet(), torch.linalg.slogdet(matrix).logabsdet, **tolerance)
    torch.testing.assert_close(op.direct_logdet(), op.logdet())
    torch.testing.assert_close(op.direct_solve(rhs[:, 0]), op.solve(rhs)[:, 0])


@pytest.mark.parametrize("d", [1, 2, 3])
def test_laplacian_is_solved_to_its_data(d):
    r = 14
    laplacian = KroneckerSumOperator(*[(second_derivative(r), None)] * d)
    truth = normal(*[r] * d)
    found = laplacian.solve_tensor((laplacian @ truth.reshape(-1)).reshape(truth.shape))
    # cond ~ 0.05 r⁴ = 2e3, and refinement leaves the rounding of the right-hand side.
    torch.testing.assert_close(found, truth, rtol=0, atol=2e3 * 10 * torch.finfo(truth.dtype).eps)


def test_complex_pencils_and_sweeps_longer_than_a_block():
    rotation = torch.tensor([[0.0, 1.0], [-1.0, 0.0]], dtype=torch.float64)
    a = torch.block_diag(*[rotation * j for j in range(1, 21)]) + 0.1 * normal(40, 40)
    b = torch.eye(40, dtype=torch.float64) + 0.05 * normal(40, 40, seed=1)
    small = random_terms([3, 18])
    op = KroneckerSumOperator((a, b), *small)
    truth = normal(40, 3, 18, 2)
    image = (op @ truth.reshape(-1, 2)).reshape(truth.shape)
    torch.testing.assert_close(op.solve_tensor(image), truth, rtol=0, atol=1e-10)


def test_transposed_solve_is_the_adjoint_and_factorises_no_more(monkeypatch):
    op = KroneckerSumOperator(*random_terms([6, 5]))
    u, v = normal(30), normal(30, seed=1)
    forward = op.solve(v)

    def forbidden(*_, **__):
        raise AssertionError("factorised again")

    monkeypatch.setattr("scipy.linalg.qz", forbidden)
    torch.testing.assert_close(u @ forward, op.mT.solve(u) @ v, rtol=1e-13, atol=1e-13)
    torch.testing.assert_close(op.mT.mT.solve(v), forward, rtol=0, atol=0)


@pytest.mark.parametrize(
    ("batch", "rhs_batch"), [((2,), ()), ((2,), (4, 2)), ((2, 1), (2,)), ((2, 1), (2, 3))]
)
def test_batches_broadcast(batch, rhs_batch):
    expected_batch = torch.broadcast_shapes(batch, rhs_batch)
    terms = random_terms([3, 2], batch=batch)
    op = KroneckerSumOperator(*terms)
    rhs = normal(*rhs_batch, 6, 2)
    solved = op.solve(rhs)
    assert solved.shape == (*expected_batch, 6, 2)
    torch.testing.assert_close(op.to_dense() @ solved, rhs.expand_as(solved))


def test_identity_may_be_left_out_and_matrices_given_in_a_row():
    (a1, _), (a2, b2) = random_terms([3, 2])
    identity = torch.eye(3, dtype=torch.float64)
    expected = dense([(a1, identity), (a2, b2)])
    torch.testing.assert_close(KroneckerSumOperator((a1, None), (a2, b2)).to_dense(), expected)
    torch.testing.assert_close(KroneckerSumOperator(a1, identity, a2, b2).to_dense(), expected)


def test_float32_is_solved_in_float64():
    terms = [tuple(m.float() for m in pair) for pair in random_terms([5, 4])]
    rhs = normal(20, 1, dtype=torch.float32)
    solved = KroneckerSumOperator(*terms).solve(rhs)
    exact = KroneckerSumOperator(*[tuple(m.double() for m in p) for p in terms]).solve(rhs.double())
    assert solved.dtype == torch.float32
    torch.testing.assert_close(solved, exact.float(), rtol=0, atol=0)


def test_gradients_of_products_solves_and_logdet():
    terms = [m.requires_grad_() for pair in random_terms([3, 2]) for m in pair]
    rhs = normal(6, 2).requires_grad_()

    def solve(rhs, *matrices):
        op = KroneckerSumOperator(*matrices)
        return op.solve(rhs), op @ rhs, op.logdet(), op.mT.solve(rhs)

    assert torch.autograd.gradcheck(solve, (rhs, *terms))


def test_gradients_where_eigenvalues_meet():
    # Symmetric changes only: the operator is symmetric where it is looked at.
    def solve(root, rhs):
        a = root @ root.mT
        return KroneckerSumOperator((a, None), (a, None), (a, None)).solve(rhs)

    root = torch.eye(2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(solve, (root, normal(8, 1).requires_grad_()))


def test_backward_twice_through_one_operator():
    terms = random_terms([3, 2])
    a = terms[0][0].requires_grad_()
    op = KroneckerSumOperator(*terms)
    rhs = normal(6, 1)
    first, second = (
        torch.autograd.grad(op.solve(rhs).sum() + op.logdet() + (op @ rhs).sum(), a)[0]
        for _ in range(2)
    )
    torch.testing.assert_close(first, second, rtol=0, atol=0)


def test_linalg_takes_the_direct_solve():
    terms = random_terms([6, 5])
    rhs = normal(30, 2)
    solution, report = linalg.solve(KroneckerSumOperator(*terms), rhs)
    assert report.method == "direct"
    assert report.residual.max() < 1e-14
    torch.testing.assert_close(solution, torch.linalg.solve(dense(terms), rhs))


def test_pickles_with_its_factorisation():
    op = KroneckerSumOperator(*random_terms([3, 2]))
    rhs = normal(6)
    solved = op.solve(rhs)
    torch.testing.assert_close(pickle.loads(pickle.dumps(op)).solve(rhs), solved, rtol=0, atol=0)


EYE = torch.eye(2, dtype=torch.float64)


@pytest.mark.parametrize(
    ("terms", "error", "message"),
    [
        ((), ArgumentError, r"terms: got none; give one pair \(A, B\) for each axis"),
        ((EYE, EYE, EYE), ArgumentError, r"terms: got 3 matrices in a row; give pairs"),
        (((EYE, EYE), 3.0), ArgumentError, r"terms\[1\]: got 3\.0; give a pair"),
        (((EYE, EYE[:1]),), ArgumentError, r"terms\[0\]\[1\]: got shape \(1, 2\); give .* 2, 2"),
        (((EYE, EYE), (EYE.float(), None)), ArgumentError, r"terms\[1\]\[0\]: got torch.float32"),
        (((EYE.to(torch.complex128), None),), ArgumentError, r"terms\[0\]\[0\]: got .*complex128"),
        (((EYE.half(), None),), ArgumentError, r"terms\[0\]\[0\]: got torch.float16; convert it"),
        (((EYE.numpy(), None),), ArgumentTypeError, r"terms\[0\]\[0\]: got ndarray"),
        (((EYE / 0, EYE),), ArgumentError, r"terms\[0\]\[0\]: got 4 of 4 entries not finite"),
        (((torch.empty(0, 0), None),), ArgumentError, r"terms\[0\]\[0\]: got shape \(0, 0\)"),
    ],
)
def test_bad_terms_are_named(terms, error, message):
    with pytest.raises(error, match=message):
        KroneckerSumOperator(*terms)


def test_singular_pencil_is_named():
    common = torch.diag(torch.tensor([1.0, 0.0], dtype=torch.float64))
    op = KroneckerSumOperator((EYE, EYE), (common, 2 * common))
    message = r"terms\[1\]: got a singular pencil, both diagonals 0\.0e\+00 of their norms; remove"
    with pytest.raises(ArgumentError, match=message):
        op.solve(torch.ones(4, dtype=torch.float64))


def test_resonance_is_named():
    a = torch.diag(torch.tensor([-1.0, -4.0], dtype=torch.float64))
    op = KroneckerSumOperator((a + 5 * EYE, None), (a, None))  # -1 - 4 + 5 = 0
    with pytest.raises(ArgumentError, match=r"terms: got a singular sum.*fix the free constant"):
        op.solve(torch.ones(4, dtype=torch.float64))


@pytest.mark.parametrize(
    ("rhs", "message"),
    [
        (torch.ones(3, 1, dtype=torch.float64), r"right_tensor: got shape \(3, 1\); give \(4,\)"),
        (torch.ones(4, 1), r"right_tensor: got torch.float32; convert it to torch.float64"),
    ],
)
def test_bad_right_hand_sides_are_named(rhs, message):
    with pytest.raises(ArgumentError, match=message):
        KroneckerSumOperator((EYE, None), (EYE, None)).solve(rhs)


def test_bad_tensor_on_the_grid_is_named():
    with pytest.raises(ArgumentError, match=r"rhs: got shape \(4,\); give \(2, 2\) or \(2, 2, k\)"):
        KroneckerSumOperator((EYE, None), (EYE, None)).solve_tensor(torch.ones(4).double())


def test_gradient_of_a_large_logdet_is_refused():
    a = torch.eye(80, dtype=torch.float64, requires_grad=True)
    op = KroneckerSumOperator((a, None), (a, None))
    with pytest.raises(ArgumentError, match=r"op: got 6400 rows and matrices that require"):
        op.logdet()
    assert op.detach().logdet() == pytest.approx(6400 * np.log(2))
