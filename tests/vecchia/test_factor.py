import gpytorch
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kernelgp import linalg
from kernelgp.errors import ArgumentError, JitterWarning, NotPositiveDefiniteError
from kernelgp.kernels import RBF, Matern, Periodic, RationalQuadratic
from kernelgp.operators import SparseInverseCholeskyOperator
from kernelgp.vecchia import inverse_cholesky, maximin_order, nearest_previous

KERNELS = [
    2.0 * Matern(nu=0.5, lengthscale=[0.3, 0.6]),
    Matern(nu=1.5, lengthscale=0.4),
    0.5 * Matern(nu=2.5, lengthscale=0.3),
    RBF(lengthscale=0.15, active_dims=[1]),
    3.0 * RationalQuadratic(alpha=0.7, lengthscale=0.2),
    2.0 * Matern(nu=1.5) + Periodic(period=0.7),
]


def points(n, d=2, seed=0):
    x = np.random.default_rng(seed).uniform(size=(n, d))
    return torch.from_numpy(x[maximin_order(x)[0]])


def dense_factor(kernel, x, neighbors, jitter):
    """Column by column: ``b / sqrt(b_last)`` with ``b = K⁻¹ e_last``."""
    n = len(x)
    K = kernel(x).to_dense().detach().double()
    K = K + jitter * torch.diag(K.diagonal())
    U = torch.zeros(n, n, dtype=torch.float64)
    for i in range(n):
        members = [j for j in neighbors[i] if j >= 0] + [i]
        b = torch.linalg.solve(K[members][:, members], torch.eye(len(members)).double()[-1])
        U[members, i] = b / b[-1].sqrt()
    return U


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("graph", [False, True])
def test_columns_are_those_of_small_dense_problems(kernel, graph):
    x = points(60)
    near = nearest_previous(x, 8)
    with torch.set_grad_enabled(graph):
        U = inverse_cholesky(kernel, x, near, jitter=1e-6)
    assert U.requires_grad == graph
    expected = dense_factor(kernel, x, near, 1e-6)
    torch.testing.assert_close(U.to_dense().detach(), expected, rtol=1e-7, atol=1e-7)


@settings(max_examples=15, deadline=None)
@given(n=st.integers(2, 40), d=st.integers(1, 4), seed=st.integers(0, 99))
def test_with_all_points_before_them_it_is_the_exact_inverse(n, d, seed):
    x = points(n, d, seed)
    kernel = 1.7 * Matern(nu=1.5, lengthscale=0.5)
    K = kernel(x).to_dense().detach()
    with torch.no_grad():
        U = inverse_cholesky(kernel, x, nearest_previous(x, n), jitter=0.0)
    operator = SparseInverseCholeskyOperator(U)
    torch.testing.assert_close(operator.to_dense(), K, rtol=1e-7, atol=1e-8)
    torch.testing.assert_close(operator.logdet(), torch.logdet(K), rtol=1e-8, atol=1e-8)


def test_of_all_factors_of_its_pattern_it_is_the_nearest():
    """The Kullback-Leibler divergence rises wherever an entry is moved."""
    x = points(25)
    kernel = Matern(nu=1.5, lengthscale=0.5)
    K = kernel(x).to_dense().detach()
    with torch.no_grad():
        U = inverse_cholesky(kernel, x, nearest_previous(x, 4), jitter=0.0).to_dense()

    def divergence(U):
        return torch.trace(U.mT @ K @ U) - 2 * U.diagonal().log().sum()

    least = divergence(U)
    for i, j in U.nonzero()[::5].tolist():
        for move in (-1e-3, 1e-3):
            other = U.clone()
            other[i, j] += move
            assert divergence(other) > least


def test_gradients_reach_points_and_hyperparameters():
    x = points(12).requires_grad_()
    near = nearest_previous(x.detach(), 4)

    def log_density(x, lengthscale, outputscale):
        kernel = outputscale * Matern(nu=1.5, lengthscale=0.4)
        return inverse_cholesky(kernel, x / lengthscale, near, jitter=1e-6).coalesce().values()

    scale = torch.tensor(0.8, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(
        lambda x, s: log_density(x, s, 1.0), (x, scale), eps=1e-6, atol=1e-5
    )
    kernel = 2.0 * Matern(nu=1.5, lengthscale=0.4)
    inverse_cholesky(kernel, x.detach(), near).to_dense().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in kernel.parameters())


def test_repeated_points_get_jitter_and_say_so():
    x = torch.zeros(5, 2, dtype=torch.float64)
    with torch.no_grad(), pytest.warns(JitterWarning, match=r"\d columns were not positive"):
        U = inverse_cholesky(Matern(nu=0.5), x, nearest_previous(x, 3), jitter=0.0)
    assert torch.isfinite(U.to_dense()).all()


def test_what_is_not_positive_definite_is_an_error():
    class Upside(gpytorch.kernels.RBFKernel):
        def forward(self, x1, x2, **kwargs):
            return -super().forward(x1, x2, **kwargs)

    with pytest.raises(NotPositiveDefiniteError, match="6 columns"):
        inverse_cholesky(Upside().double(), points(6), nearest_previous(points(6), 2))


@pytest.mark.parametrize(
    ("neighbors", "message"),
    [
        ([[-1], [1]], "1 for point 1"),
        ([[-1], [-2]], "-2 for point 1"),
        ([[-1, -1], [0, 0]], "one twice for point 1"),
        ([[-1]], r"shape \(1, 1\)"),
        ([[-1.0], [0.0]], "dtype float64"),
    ],
)
def test_neighbors_that_do_not_come_before_are_refused(neighbors, message):
    with pytest.raises((ArgumentError, TypeError), match=f"neighbors: got {message}"):
        inverse_cholesky(RBF(), [[0.0], [1.0]], neighbors)


def test_it_preconditions_conjugate_gradients_of_the_exact_kernel():
    x = points(400)
    kernel = Matern(nu=1.5, lengthscale=0.5)
    exact = kernel(x).add_diagonal(torch.tensor(1e-6, dtype=torch.float64)).detach()
    with torch.no_grad():
        near = SparseInverseCholeskyOperator(inverse_cholesky(kernel, x, nearest_previous(x, 20)))
    rhs = torch.randn(400, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    _, report = linalg.pcg(exact, rhs, preconditioner=near.direct_solve, rtol=1e-6)
    assert report.iterations <= 25
