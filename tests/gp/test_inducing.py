"""Inducing features: what they approximate, and derivatives through them."""

import pytest
import torch

from kernelgp.errors import ArgumentError, ArgumentTypeError
from kernelgp.gp.inducing import (
    InducingFeatures,
    choose_inducing_points,
    read_inducing,
    row_blocks,
)
from kernelgp.kernels import RBF


@pytest.fixture
def points(generator):
    return torch.randn(60, 2, generator=generator, dtype=torch.float64)


def test_features_of_all_points_give_the_kernel_matrix(points):
    kernel = 2.0 * RBF(lengthscale=0.7)
    features = InducingFeatures(kernel, points, torch.float64).block(points).features
    exact = kernel(points).to_dense().detach()
    assert torch.allclose(features.mT @ features, exact, atol=1e-6)


@pytest.mark.parametrize("learned", [True, False])
def test_backward_is_that_of_autograd(points, learned, generator):
    weights = torch.randn(8, 60, generator=generator, dtype=torch.float64)
    shares = torch.randn(60, generator=generator, dtype=torch.float64)

    def kernel_and_points():
        chosen = points[:8].clone().requires_grad_(learned)
        return 2.0 * RBF(lengthscale=[0.7, 1.3]), chosen

    kernel, chosen = kernel_and_points()
    features = InducingFeatures(kernel, chosen, torch.float64)
    for rows in (slice(0, 25), slice(25, 60)):
        block = features.block(points[rows])
        features.backward(block, weights[:, rows], shares[rows])
    features.finish()

    other, again = kernel_and_points()
    gram = other(again).to_dense() + features.jitter * torch.eye(8).double()
    root = torch.linalg.cholesky(gram)
    dense = torch.linalg.solve_triangular(root, other(again, points).to_dense(), upper=False)
    ((dense * weights).sum() + (other(points).diagonal() * shares).sum()).backward()
    for ours, theirs in zip(kernel.parameters(), other.parameters(), strict=True):
        assert torch.allclose(ours.grad, theirs.grad)
    if learned:
        assert torch.allclose(chosen.grad, again.grad)


@pytest.mark.parametrize("method", ["rpcholesky", "kmeans", "random"])
def test_points_are_distinct_and_as_many_as_asked(points, method, generator):
    chosen = choose_inducing_points(RBF(), points.float(), 12, method, generator)
    assert chosen.shape == (12, 2)
    assert chosen.dtype == torch.float64
    assert len(chosen.unique(dim=0)) == 12


@pytest.mark.parametrize("method", ["rpcholesky", "kmeans"])
def test_repeated_rows_give_fewer_points(method, generator):
    x = torch.arange(3.0).double().repeat(20).unsqueeze(-1)
    assert len(choose_inducing_points(RBF(), x, 10, method, generator)) == 3


def test_clusters_cover_groups_far_apart(generator):
    x = torch.cat([torch.zeros(50, 1), torch.full((5, 1), 100.0), torch.full((2, 1), -40.0)])
    chosen = choose_inducing_points(RBF(), x, 3, "kmeans", generator)
    assert torch.allclose(
        chosen.sort(dim=0).values.flatten(), torch.tensor([-40.0, 0, 100]).double()
    )


def test_blocks_cover_all_rows():
    seen = torch.cat([torch.arange(10_000)[rows] for rows in row_blocks(10_000, 5000)])
    assert torch.equal(seen, torch.arange(10_000))


@pytest.mark.parametrize(
    "given", [torch.zeros(3), torch.zeros(3, 5), torch.full((2, 2), torch.nan)]
)
def test_points_of_another_shape_are_refused(given):
    with pytest.raises(ArgumentError, match="inducing: got"):
        read_inducing(given, 2)


def test_names_and_objects_are_refused(points, generator):
    with pytest.raises(ArgumentError, match="inducing: got 'grid'"):
        choose_inducing_points(RBF(), points, 3, read_inducing("grid", 2), generator)
    with pytest.raises(ArgumentTypeError, match="inducing: got object"):
        read_inducing(object(), 2)
