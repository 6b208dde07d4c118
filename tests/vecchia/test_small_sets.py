"""Covariances of small sets against the operator's, one set at a time."""

import gpytorch
import numpy as np
import pytest
import torch

from kernelgp.kernels import (
    RBF,
    Constant,
    Linear,
    Matern,
    Periodic,
    Polynomial,
    RationalQuadratic,
    White,
)
from kernelgp.vecchia.likelihood import Responses
from kernelgp.vecchia.merging import distinct_rows, merge_rows
from kernelgp.vecchia.response_evidence import ResponseEvidence, metric_of
from kernelgp.vecchia.small_sets import covariances

KERNELS = [
    2.0 * Matern(nu=0.5, lengthscale=[0.3, 0.7]) * Linear() + White(0.1),
    RationalQuadratic(alpha=0.7, lengthscale=0.4) + Periodic(period=0.6) + Constant(),
    Polynomial(degree=2, offset=0.5) * RBF(0.5, active_dims=[1]),
    Matern(nu=2.5) * (0.3 * Matern(nu=1.5)),
    gpytorch.kernels.ScaleKernel(gpytorch.kernels.CosineKernel()).double(),
]


@pytest.mark.parametrize("kernel", KERNELS, ids=lambda k: type(k).__name__)
def test_values_and_gradients_are_those_of_one_set_at_a_time(kernel):
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(3, 6, 2, dtype=torch.float64, generator=generator)
    x[0, 1] = x[0, 0]  # coincident points
    weights = torch.randn(3, 6, 6, dtype=torch.float64, generator=generator)
    learned = list(kernel.parameters())

    def gradients(K):
        return torch.autograd.grad((weights * K).sum(), learned)

    ours = covariances(kernel, x)
    peer = torch.stack([kernel(one).to_dense() for one in x])
    torch.testing.assert_close(ours, peer, rtol=1e-10, atol=1e-12)
    for a, b in zip(gradients(ours), gradients(peer), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-8, atol=1e-10)


def test_gradients_by_the_points_are_those_of_differences():
    kernel = Matern(nu=1.5, lengthscale=[0.3, 0.7]) + Linear()
    x = torch.rand(2, 4, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: covariances(kernel, x), x)


def test_distinct_rows_are_the_rows():
    X = np.random.default_rng(0).integers(0, 3, (50, 2)).astype(float)
    first, which = distinct_rows(X)
    np.testing.assert_array_equal(X[first][which], X)
    assert len(first) == len(np.unique(X, axis=0))


@pytest.mark.parametrize("noise", [0.3, 0.02])
def test_any_kernel_has_the_exact_evidence_with_all_rows_before_it_and_repeats(noise):
    rng = np.random.default_rng(0)
    X = np.repeat(rng.uniform(size=(20, 2)), 2, axis=0)
    y, H = rng.normal(size=40), np.column_stack([np.ones(40), X])
    relative = rng.uniform(0.5, 2, 40)
    rows = merge_rows(X, y, H, np.ones(40), relative)
    kernel = Matern(nu=1.5, lengthscale=0.4) + Linear()
    with torch.no_grad():
        K = kernel(torch.from_numpy(X)).to_dense().numpy()
        value = ResponseEvidence.of(rows, np.ones(2), 19)(kernel, torch.tensor(noise)).item()
    S = K + noise * np.diag(relative)
    inverse = np.linalg.inv(S)
    b = np.linalg.solve(H.T @ inverse @ H, H.T @ inverse @ y)
    r = y - H @ b
    exact = -0.5 * (r @ inverse @ r + np.linalg.slogdet(S)[1] + 40 * np.log(2 * np.pi))
    assert value == pytest.approx(exact, rel=1e-6)


def test_a_metric_is_a_lengthscale_where_there_is_one():
    X = np.random.default_rng(0).uniform(size=(100, 3))
    found = metric_of(RBF([0.5, 2.0], active_dims=[0, 2]), X, np.random.default_rng(0))
    np.testing.assert_allclose(found[[0, 2]], [0.5, 2.0], rtol=1e-2)
    assert found[1] > 1e3


def test_responses_in_another_order_are_the_same_rows():
    rows = Responses(np.arange(3.0)[:, None], np.arange(3.0), np.ones((3, 0)), np.ones(3), 2.0)
    assert rows.ordered(np.array([2, 0, 1])).repeats == 2.0
    assert rows.ordered(np.array([2, 0])).repeats == 0.0
