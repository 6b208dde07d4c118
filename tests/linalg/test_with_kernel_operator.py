"""linalg on the library's own lazy kernel matrices, as a user calls it."""

import pytest
import torch

from kernelgp import linalg
from kernelgp.kernels import RBF
from kernelgp.operators import KernelOperator


@pytest.fixture
def noisy(generator):
    x = torch.rand(1200, 3, generator=generator)
    return KernelOperator(RBF(lengthscale=0.3), x, backend="tiled").add_diagonal(torch.tensor(0.01))


def dense(A):
    x = A.base.x1.double()
    sqdist = torch.cdist(x, x, compute_mode="donot_use_mm_for_euclid_dist").square()
    return torch.exp(-sqdist / (2 * 0.3**2)) + torch.diag(A.noise.double().expand(len(x)))


@pytest.mark.parametrize("method", ["auto", "pcg"])
def test_solve_reaches_its_residual_in_float32_tiles(noisy, method, generator):
    b = torch.randn(1200, 2, generator=generator)
    x, report = linalg.solve(noisy, b, rtol=1e-6, method=method)
    assert report.converged
    truth = (dense(noisy) @ x - b.double()).norm(dim=0) / b.double().norm(dim=0)
    torch.testing.assert_close(report.residual, truth, rtol=1e-2, atol=1e-9)


def test_automatic_rank_pays(noisy, generator):
    b = torch.randn(1200, generator=generator)
    _, report = linalg.solve(noisy, b, rtol=1e-3, method="pcg")
    assert report.preconditioner_rank > 50
    assert report.iterations <= 12  # 300 without it


def test_heteroscedastic_noise(generator):
    x = torch.rand(600, 2, generator=generator, dtype=torch.float64)
    noise = torch.logspace(-3, 0, 600, dtype=torch.float64)
    A = KernelOperator(RBF(lengthscale=0.3), x).add_diagonal(noise)
    b = torch.randn(600, generator=generator, dtype=torch.float64)
    x_found, report = linalg.solve(A, b, rtol=1e-9, method="pcg")
    assert report.converged
    torch.testing.assert_close(dense(A) @ x_found, b, rtol=0, atol=1e-7)


def test_logdet_and_samples(noisy):
    truth = torch.logdet(dense(noisy))
    value, error = linalg.logdet(noisy, method="slq")
    assert abs(value - truth) < 4 * error
    torch.testing.assert_close(linalg.logdet(noisy)[0], truth, rtol=1e-6, atol=0)
    draws = linalg.sample(noisy, 3, random_state=0)
    assert draws.shape == (3, 1200)
    white = torch.linalg.solve_triangular(
        torch.linalg.cholesky(dense(noisy)), draws.mT, upper=False
    )
    assert abs(white.square().mean() - 1) < 4 * (2 / white.numel()) ** 0.5


def test_sums_of_linear_operator_reach_the_same_preconditioner(noisy, generator):
    b = torch.randn(1200, generator=generator)
    scaled = 2.0 * noisy
    x, report = linalg.solve(scaled, b, rtol=1e-6, method="pcg")
    assert report.preconditioner_rank > 50
    truth = (2 * dense(noisy) @ x - b.double()).norm() / b.norm()
    assert truth <= 1.01e-6
