"""Evidence by Cholesky: against autograd through a dense float64 formula."""

import math

import pytest
import torch

from kernelgp.errors import NotPositiveDefiniteError
from kernelgp.gp.covariance import generalised_least_squares
from kernelgp.gp.dense import DenseCovariance, dense_evidence
from kernelgp.gp.regression import Mean, Posterior, Regression
from kernelgp.kernels import RBF, Matern, Periodic
from kernelgp.operators import KernelOperator


def make(n=30, d=2, k=1, seed=0):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n, d, generator=generator, dtype=torch.float64)
    return x, torch.randn(n, k, generator=generator, dtype=torch.float64)


def regression(x, y, kind="constant", weights=None, unit=1.0):
    mean = Mean(kind, x.mean(dim=0), x.std(dim=0))
    scale = torch.full((y.shape[-1],), math.sqrt(unit), dtype=torch.float64)
    return Regression(x, y, mean, DenseCovariance(x, unit), scale, unit, weights)


def oracle(kernel, x, y, noise, basis, scale=1.0):
    """Minus log density, with the mean's coefficients solved for inside autograd."""
    covariance = kernel(x).to_dense() + torch.diag_embed(noise.expand(len(x)))
    y = y * scale
    inverse = torch.linalg.inv(covariance)
    beta = torch.linalg.lstsq(basis.mT @ inverse @ basis, basis.mT @ inverse @ y).solution
    residual = y - basis @ beta
    normal = torch.distributions.MultivariateNormal(torch.zeros(len(x)).double(), covariance)
    return sum(normal.log_prob(column) for column in residual.mT)


@pytest.mark.parametrize("kind", ["zero", "constant", "linear"])
@pytest.mark.parametrize("rows", [False, True])
@pytest.mark.parametrize(("k", "unit"), [(1, 1.0), (1, 9.0), (2, 1.0)])
def test_evidence_and_gradient_equal_a_dense_formula(kind, rows, k, unit):
    x, y = make(k=k)
    kernel = 1.5 * Matern(2.5, lengthscale=[0.7, 1.2]) + Periodic(period=2.0)
    noise = torch.tensor(0.3, dtype=torch.float64, requires_grad=True)
    spread = (
        torch.linspace(0.5, 2, len(x), dtype=torch.float64) if rows else torch.ones(()).double()
    )
    model = regression(x, y, kind, unit=unit)
    value = model.log_evidence(kernel, noise * spread)
    expected = oracle(kernel, x, y, noise * spread, model.mean.basis(x), scale=math.sqrt(unit))
    torch.testing.assert_close(value, expected)
    inputs = [noise, *kernel.parameters()]
    found = torch.autograd.grad(value, inputs)
    torch.testing.assert_close(found, torch.autograd.grad(expected, inputs), rtol=1e-7, atol=1e-9)


def test_whole_weights_are_as_good_as_repeated_rows():
    x, y = make(n=12)
    weights = torch.randint(1, 4, (12,), generator=torch.Generator().manual_seed(1))
    kernel, noise = 2.0 * RBF(0.8), torch.tensor(0.1, dtype=torch.float64)
    one = regression(x, y, weights=weights.double())
    other = regression(x.repeat_interleave(weights, 0), y.repeat_interleave(weights, 0))
    torch.testing.assert_close(
        one.log_evidence(kernel, noise), other.log_evidence(kernel, noise), rtol=1e-10, atol=0
    )
    new = x + 0.1
    left, right = Posterior(one, kernel, noise), Posterior(other, kernel, noise)
    torch.testing.assert_close(left.mean(new), right.mean(new))
    torch.testing.assert_close(left.variance(new), right.variance(new))


def test_evidence_of_a_posterior_is_that_of_its_hyperparameters():
    x, y = make(k=2)
    kernel, noise = 2.0 * RBF(0.8), torch.tensor(0.1, dtype=torch.float64)
    model = regression(x, y)
    value = model.log_evidence(kernel, noise).item()
    assert Posterior(model, kernel, noise).log_evidence() == pytest.approx(value, rel=1e-12)


def test_leave_one_out_equals_leaving_each_one_out():
    x, y = make(n=9)
    kernel, noise = 2.0 * RBF(0.8), torch.tensor(0.1, dtype=torch.float64)
    mean, variance = Posterior(regression(x, y, "zero"), kernel, noise).leave_one_out()
    for i in range(9):
        rest = torch.arange(9) != i
        left = Posterior(regression(x[rest], y[rest], "zero"), kernel, noise)
        torch.testing.assert_close(mean[i], left.mean(x[i : i + 1])[0])
        torch.testing.assert_close(variance[i], left.variance(x[i : i + 1])[0] + noise)


def test_more_rows_extend_the_factor_to_what_all_rows_give():
    x, y = make(n=20)
    kernel, noise = 2.0 * RBF(0.8), torch.tensor(0.1, dtype=torch.float64)
    whole = Posterior(regression(x, y), kernel, noise)
    part = Posterior(regression(x[:15], y[:15]), kernel, noise)
    grown = part.extended(regression(x, y), noise)
    new = x + 0.05
    torch.testing.assert_close(grown.mean(new), whole.mean(new))
    torch.testing.assert_close(grown.variance(new), whole.variance(new))


def test_columns_of_a_basis_that_depend_on_each_other_do_not_matter():
    _, y = make(n=10)
    basis = torch.cat([torch.ones(10, 2), torch.zeros(10, 1)], dim=-1).double()
    beta = generalised_least_squares(y, basis, y, basis)
    assert bool(beta.isfinite().all())
    torch.testing.assert_close(basis @ beta, y.mean(dim=0).expand(10, 1))


def test_an_indefinite_matrix_is_an_error_of_ours():
    matrix = torch.diag(torch.tensor([1.0, -1.0], dtype=torch.float64))
    with pytest.raises(NotPositiveDefiniteError):
        dense_evidence(
            matrix, torch.zeros(()), torch.ones(2, 1).double(), torch.ones(2, 0).double()
        )


def test_too_many_rows_say_how_many_would_fit(monkeypatch):
    x, y = make(n=5)

    def full(*_):
        raise RuntimeError(
            "DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"
        )

    monkeypatch.setattr(KernelOperator, "to_dense", full)
    with pytest.raises(MemoryError, match=r"covariance of 5 rows on cpu needs"):
        regression(x, y).log_evidence(RBF(), torch.tensor(0.1))
