"""The collapsed bound against dense matrices and autograd."""

import math

import pytest
import torch

from kernelgp.gp.inducing import InducingFeatures
from kernelgp.gp.sgpr import SparseRegression, SparseRows, collapsed_bound, predict_sparse
from kernelgp.kernels import RBF


def regression(kernel, points, data, noise):
    return SparseRegression(InducingFeatures(kernel, points, data.x.dtype), data, noise)


def make(n=70, k=1, *, weighted=False, seed=0):
    generator = torch.Generator().manual_seed(seed)
    x = torch.rand(n, 2, generator=generator, dtype=torch.float64)
    y = torch.randn(n, k, generator=generator, dtype=torch.float64) + 3 * x[:, :1]
    weights = torch.ones(n).double()
    if weighted:
        weights = torch.randint(1, 4, (n,), generator=generator).double()
    return SparseRows(x, y, weights)


def repeat(data):
    counts = data.weights.long()
    x, y = data.x.repeat_interleave(counts, 0), data.y.repeat_interleave(counts, 0)
    return SparseRows(x, y, torch.ones(len(x)).double())


def dense_bound(kernel, points, data, noise, jitter):
    """Titsias (9) of rows that count once."""
    gram = kernel(points).to_dense() + jitter * torch.eye(len(points)).double()
    cross = kernel(points, data.x).to_dense()
    nystrom = cross.mT @ torch.linalg.solve(gram, cross)
    covariance = nystrom + noise * torch.eye(len(data.x)).double()
    normal = torch.distributions.MultivariateNormal(torch.zeros(len(data.x)).double(), covariance)
    left = kernel(data.x).to_dense().diagonal() - nystrom.diagonal()
    return sum(normal.log_prob(y) - 0.5 * (left / noise).sum() for y in data.y.mT)


@pytest.mark.parametrize("k", [1, 3])
@pytest.mark.parametrize("weighted", [False, True])
def test_bound_and_gradient_are_those_of_dense_matrices(k, weighted):
    data = make(k=k, weighted=weighted)
    points = data.x[:9].clone().requires_grad_()
    kernel = 2.0 * RBF(lengthscale=[0.4, 0.6])
    raw = torch.tensor(math.log(0.3)).double().requires_grad_()
    found = collapsed_bound(kernel, points, data, raw.exp())
    again = 2.0 * RBF(lengthscale=[0.4, 0.6])
    leaf = data.x[:9].clone().requires_grad_()
    other = torch.tensor(math.log(0.3)).double().requires_grad_()
    wanted = dense_bound(again, leaf, repeat(data), other.exp(), 2e-8)
    wanted.backward()
    assert found.item() == pytest.approx(wanted.item(), rel=1e-8)
    ours = [*kernel.parameters(), points, raw]
    for mine, theirs in zip(ours, [*again.parameters(), leaf, other], strict=True):
        assert torch.allclose(mine.grad, theirs.grad, rtol=1e-5, atol=1e-6)


def test_bound_is_below_the_evidence_and_reaches_it_with_all_points():
    data = make()
    kernel, noise = 2.0 * RBF(lengthscale=0.4), torch.tensor(0.3).double()
    covariance = kernel(data.x).to_dense().detach() + 0.3 * torch.eye(70).double()
    zero = torch.zeros(70).double()
    normal = torch.distributions.MultivariateNormal(zero, covariance)
    exact = normal.log_prob(data.y[:, 0]).item()
    with torch.no_grad():
        bounds = [
            regression(kernel, data.x[:m], data, noise).bound(data).item() for m in (3, 10, 30, 70)
        ]
    assert bounds == sorted(bounds)
    assert bounds[-1] <= exact
    assert bounds[-1] == pytest.approx(exact, abs=1e-4)


def test_predictions_with_all_points_are_exact():
    data = make(k=2)
    kernel = 2.0 * RBF(lengthscale=0.4)
    new = torch.rand(20, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        fit = regression(kernel, data.x, data, torch.tensor(0.3).double())
        mean, variance = predict_sparse(
            InducingFeatures(kernel, data.x, torch.float64), fit.mean, fit.covariance, new
        )
        covariance = kernel(data.x).to_dense() + 0.3 * torch.eye(70).double()
        cross = kernel(new, data.x).to_dense()
        weights = torch.linalg.solve(covariance, cross.mT).mT
    assert torch.allclose(mean, weights @ data.y, atol=1e-5)
    assert torch.allclose(variance, 2.0 - (weights * cross).sum(-1), atol=1e-5)
