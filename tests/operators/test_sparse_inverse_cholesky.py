import numpy as np
import pytest
import torch

from kernelgp.errors import ArgumentError, ArgumentTypeError
from kernelgp.operators import SparseInverseCholeskyOperator


def random_factor(n, seed=0, dtype=torch.float64):
    rng = np.random.default_rng(seed)
    U = np.triu(rng.normal(size=(n, n)) * (rng.uniform(size=(n, n)) < 0.3), 1)
    return torch.from_numpy(U + np.diag(0.5 + rng.uniform(size=n))).to(dtype)


@pytest.mark.parametrize("layout", [torch.sparse_coo, torch.sparse_csr, torch.sparse_csc])
@pytest.mark.filterwarnings("ignore:Sparse C:UserWarning")
def test_it_is_the_inverse_of_the_factor_times_its_transpose(layout):
    U = random_factor(23)
    op = SparseInverseCholeskyOperator(U.to_sparse(layout=layout))
    K = torch.linalg.inv(U @ U.mT)
    rhs = torch.randn(3, 23, 4, dtype=torch.float64)
    torch.testing.assert_close(op @ rhs, K @ rhs)
    torch.testing.assert_close(op.solve(rhs), U @ U.mT @ rhs)
    torch.testing.assert_close(op.precision @ rhs[0, :, 0], U @ U.mT @ rhs[0, :, 0])
    torch.testing.assert_close(op.precision.solve(rhs), K @ rhs)
    torch.testing.assert_close(op.logdet(), torch.logdet(K))
    torch.testing.assert_close(op.precision.logdet(), -torch.logdet(K))
    torch.testing.assert_close(op.diagonal(), K.diagonal())
    torch.testing.assert_close(op[3:7, :5].to_dense(), K[3:7, :5])
    torch.testing.assert_close(op.rows(torch.tensor([4, 2])), K[[4, 2]])
    torch.testing.assert_close(op.factor.to_dense(), U)


def test_gradients_of_products_solves_and_determinants():
    U = random_factor(9)
    index = U.nonzero().T
    values = U[tuple(index)].requires_grad_()
    rhs = torch.randn(9, 2, dtype=torch.float64, requires_grad=True)

    def run(function):
        def of(values, rhs):
            op = SparseInverseCholeskyOperator(torch.sparse_coo_tensor(index, values, (9, 9)))
            return function(op, rhs)

        return torch.autograd.gradcheck(of, (values, rhs))

    assert run(lambda op, rhs: op @ rhs)
    assert run(lambda op, rhs: op.solve(rhs))
    assert run(lambda op, rhs: op.logdet() + rhs.sum())
    assert run(lambda op, rhs: op.precision @ rhs)
    assert run(lambda op, rhs: op.diagonal() + rhs[:, 0])


def test_samples_have_its_covariance_and_come_again():
    U = random_factor(4)
    op = SparseInverseCholeskyOperator(U.to_sparse())
    drawn = op.zero_mean_mvn_samples(40_000, random_state=0)
    assert torch.equal(drawn, op.zero_mean_mvn_samples(40_000, random_state=0))
    K = torch.linalg.inv(U @ U.mT)
    sd = torch.sqrt((K**2 + torch.outer(K.diagonal(), K.diagonal())) / 40_000)
    assert ((drawn.mT @ drawn / 40_000 - K).abs() < 5 * sd).all()


@pytest.mark.parametrize(
    ("factor", "error", "message"),
    [
        (torch.eye(2), ArgumentTypeError, "layout torch.strided; give a sparse tensor"),
        (np.eye(2), ArgumentTypeError, "ndarray"),
        (torch.ones(2, 3).to_sparse(), ArgumentError, r"shape \(2, 3\)"),
        (torch.ones(2, 2).to_sparse(), ArgumentError, "an entry in row 1, column 0"),
        (-torch.eye(2).to_sparse(), ArgumentError, "not positive in column 0"),
        (torch.tensor([[1.0, 1.0], [0, 0]]).to_sparse(), ArgumentError, "not positive in column 1"),
        (torch.tensor([[0.0, 1.0], [0, 1]]).to_sparse(), ArgumentError, "not positive in column 0"),
        (torch.tensor([[torch.nan]]).to_sparse(), ArgumentError, "1 of 1 entries not finite"),
        (torch.eye(2, dtype=torch.int64).to_sparse(), ArgumentError, "int64"),
    ],
)
def test_what_is_no_factor_is_refused(factor, error, message):
    with pytest.raises(error, match=message):
        SparseInverseCholeskyOperator(factor)


def test_right_hand_sides_of_another_shape_or_dtype_are_refused():
    op = SparseInverseCholeskyOperator(random_factor(5).to_sparse())
    with pytest.raises(ArgumentError, match="rhs: got shape"):
        op @ torch.ones(4, 1, dtype=torch.float64)
    with pytest.raises((ArgumentError, TypeError), match="float32"):
        op.solve(torch.ones(5, 1))


def test_marginal_variances_are_the_diagonal_of_the_dense_inverse():
    rng = np.random.default_rng(0)
    dense = np.triu(rng.normal(size=(40, 40)) * (rng.uniform(size=(40, 40)) < 0.15), 1)
    dense += np.diag(rng.uniform(0.5, 2, 40))
    expected = np.linalg.inv(dense @ dense.T).diagonal()
    for dtype, rtol in ((torch.float64, 1e-10), (torch.float32, 1e-4)):
        U = torch.from_numpy(dense).to(dtype).to_sparse()
        covariance = SparseInverseCholeskyOperator(U)
        np.testing.assert_allclose(covariance.marginal_variances(), expected, rtol=rtol)
        assert covariance.marginal_variances().dtype == dtype
        np.testing.assert_allclose(covariance.diagonal(), expected, rtol=rtol)
        np.testing.assert_allclose(
            covariance.precision.diagonal(), (dense @ dense.T).diagonal(), rtol=rtol
        )
