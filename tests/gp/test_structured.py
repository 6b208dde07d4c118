"""Grids and uniform axes: the same numbers as the dense covariance of the same rows."""

import pytest
import torch

from kernelgp.errors import ArgumentError
from kernelgp.gp import iterative
from kernelgp.gp.choose import choose_covariance, structure_of
from kernelgp.gp.dense import DenseCovariance
from kernelgp.gp.iterative import IterativeCovariance
from kernelgp.gp.regression import Mean, Posterior, Regression
from kernelgp.gp.structured import (
    KroneckerCovariance,
    ToeplitzCovariance,
    find_grid,
    is_uniform,
    separate,
)
from kernelgp.kernels import RBF, Constant, Linear, Matern, Periodic, White

NOISE = torch.tensor(0.05, dtype=torch.float64)


def grid_rows(missing=0.0, seed=0):
    """Rows of a 7 x 6 grid, shuffled, some of them missing."""
    generator = torch.Generator().manual_seed(seed)
    axes = torch.linspace(0, 1, 7, dtype=torch.float64), torch.rand(6, generator=generator).double()
    x = torch.cartesian_prod(*axes)
    return x[torch.randperm(42, generator=generator)[: 42 - int(42 * missing)]]


def model(x, covariance):
    y = torch.sin(5 * x.sum(dim=-1, keepdim=True)) + x[:, :1]
    mean = Mean("constant", x.mean(dim=0), x.std(dim=0))
    return Regression(x, y, mean, covariance, torch.ones(1).double(), 1.0)


def same(one, other, kernel, noise=NOISE):
    """Evidence, gradient, means and variances agree."""
    found = []
    for covariance in (one, other):
        x = one_x(other)
        regression = model(x, covariance)
        value = regression.log_evidence(kernel, noise)
        gradient = torch.autograd.grad(value, list(kernel.parameters()))
        posterior = Posterior(regression, kernel, noise)
        new = x[:5] + 0.03
        found.append((value, gradient, posterior.mean(new), posterior.variance(new)))
    torch.testing.assert_close(found[0], found[1], rtol=1e-6, atol=1e-9)


def one_x(dense):
    return dense.x


@pytest.mark.parametrize("missing", [0.0, 0.2])
@pytest.mark.parametrize(
    "kernel",
    [
        1.3 * RBF(lengthscale=[0.3, 0.5]),
        2.0 * Matern(2.5, 0.4, active_dims=[0]) * (0.7 * Matern(0.5, 0.4, active_dims=[1])),
        Periodic(0.8) * RBF(0.7) * (2.0 * Constant()),
        1.3 * RBF(0.5, active_dims=[0]) * Linear(active_dims=[1]),
    ],
    ids=repr,
)
def test_a_product_kernel_on_a_grid_equals_dense(kernel, missing):
    x = grid_rows(missing)
    same(KroneckerCovariance(find_grid(x)), DenseCovariance(x), kernel)


def test_variances_of_rows_on_a_grid_with_missing_cells_equal_dense():
    x = grid_rows(0.2)
    noise = torch.linspace(0.01, 0.3, len(x), dtype=torch.float64)
    same(KroneckerCovariance(find_grid(x)), DenseCovariance(x), 1.3 * RBF([0.3, 0.5]), noise)


@pytest.mark.parametrize(
    "kernel", [2.0 * Matern(1.5, 0.2), RBF(0.1) + 0.5 * Periodic(0.3)], ids=repr
)
def test_a_stationary_kernel_on_a_shuffled_uniform_axis_equals_dense(kernel):
    x = torch.linspace(0, 3, 40, dtype=torch.float64)[:, None]
    x = x[torch.randperm(40, generator=torch.Generator().manual_seed(0))]
    same(ToeplitzCovariance(x), DenseCovariance(x), kernel)


def test_rows_off_a_grid_repeated_or_too_sparse_are_no_grid():
    x = grid_rows()
    assert find_grid(x).share == 1.0
    assert find_grid(torch.cat([x, x[:1]])) is None
    assert find_grid(torch.rand(40, 2)) is None


def test_uniform_axes_are_recognised_in_any_order_and_others_are_not():
    axis = torch.linspace(0, 1, 50)[:, None]
    assert is_uniform(axis.flip(0))
    assert not is_uniform(axis.square())
    assert not is_uniform(torch.cat([axis, axis[:1]]))
    assert not is_uniform(axis[:, 0:1].expand(-1, 2))
    assert not is_uniform(1e8 + axis)  # float32 has lost the steps


def test_kernels_that_are_no_product_are_not_separated():
    assert separate(Matern(lengthscale=[1.0, 1.0]), 2) is None
    assert separate(RBF() + RBF(), 2) is None
    assert separate(White(0.1), 2) is None
    assert [len(parts) for parts in separate(RBF() * Matern(active_dims=[1]), 2)] == [1, 2]


def choose(x, kernel, method="auto", one_noise=True):
    covariance = choose_covariance(
        x, kernel, method=method, unit=1.0, one_noise=one_noise, dtype=None, seed=0
    )
    return covariance.method


def test_the_method_is_chosen_by_size_and_structure():
    grid = torch.cartesian_prod(torch.linspace(0, 1, 50), torch.linspace(0, 1, 50)).double()
    axis = torch.linspace(0, 1, 2500, dtype=torch.float64)[:, None]
    assert choose(grid, RBF()) == "kronecker"
    assert choose(grid, Matern()) == "cholesky"
    assert choose(grid, RBF(), one_noise=False) == "cholesky"
    assert choose(grid[:1000], RBF()) == "cholesky"
    assert choose(axis, Matern()) == "toeplitz"
    assert choose(axis, Linear()) == "cholesky"
    # A kernel that is compiled starts at Vecchia's optimum: there a few factors are enough.
    assert choose(torch.rand(7000, 2), Matern()) == "cholesky"
    assert choose(torch.rand(7000, 2), Periodic()) == "iterative"
    assert choose(torch.rand(12_001, 2), Matern()) == "vecchia"
    assert choose(torch.rand(12_001, 2), Matern(), "iterative") == "iterative"
    assert choose(torch.rand(7000, 2), Matern(), "cholesky") == "cholesky"


def test_a_structure_that_is_not_there_is_refused():
    x = torch.rand(20, 2, dtype=torch.float64)
    with pytest.raises(ArgumentError, match='method: got "kronecker" for rows off a grid'):
        structure_of(x, "kronecker")
    with pytest.raises(ArgumentError, match='method: got "toeplitz" for uneven rows'):
        structure_of(x, "toeplitz")
    with pytest.raises(ArgumentError, match=r"kernel: got Matern.* for a grid"):
        KroneckerCovariance(find_grid(grid_rows())).noisy_operator(Matern(), NOISE)
    axis = torch.linspace(0, 1, 9).double()[:, None]
    with pytest.raises(ArgumentError, match=r"kernel: got Linear.* for a uniform axis"):
        ToeplitzCovariance(axis).noisy_operator(Linear(), NOISE)


@pytest.mark.parametrize("largest", [0, 16_000])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_iterations_agree_with_the_dense_evidence_within_their_error(dtype, largest, monkeypatch):
    monkeypatch.setattr(iterative, "_LARGEST_FACTOR", largest)
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(600, 3, generator=generator, dtype=torch.float64)
    kernel = 1.5 * RBF(0.4)
    exact, iterated = model(x, DenseCovariance(x)), model(x, IterativeCovariance(x.to(dtype)))
    one, other = exact.log_evidence(kernel, NOISE), iterated.log_evidence(kernel, NOISE)
    error = iterated.covariance.standard_error
    assert abs(one.item() - other.item()) < 4 * error + 1e-3 * len(x)
    parameters = list(kernel.parameters())
    for a, b in zip(
        torch.autograd.grad(one, parameters), torch.autograd.grad(other, parameters), strict=True
    ):
        torch.testing.assert_close(a, b, rtol=0.1, atol=0.005 * len(x))
    new = torch.rand(20, 3, generator=generator, dtype=torch.float64)
    left, right = Posterior(exact, kernel, NOISE), Posterior(iterated, kernel, NOISE)
    torch.testing.assert_close(left.mean(new), right.mean(new), rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(left.variance(new), right.variance(new), rtol=1e-2, atol=0)
    assert bool((right.variance(new) >= left.variance(new) * (1 - 1e-3)).all())
