"""The marginal likelihood's pieces against dense float64 and its autograd."""

from importlib import import_module

import pytest
import torch

from kernelgp.errors import ArgumentError, ConvergenceWarning, NotPositiveDefiniteError
from kernelgp.linalg import inv_quad_logdet


def dense(A):
    return A.double().rows(torch.arange(A.shape[-1]))


def slope_in_lengthscale(A):
    """Derivative of the dense matrix in the log of its lengthscale."""
    x, lengthscale = A.base.x.double(), A.base.lengthscale
    s = torch.cdist(x, x).square() / lengthscale**2
    return s * torch.exp(-s / 2)


def estimates(found, slope):
    """``tr(A⁻¹ dA)`` of every probe."""
    return (found.probe_solutions * (slope @ found.probes)).sum(dim=-2)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("method", ["cholesky", "pcg"])
def test_value_and_gradient_are_those_of_the_dense_matrix(noisy_rbf, method, dtype, generator):
    A = noisy_rbf(800, dtype=dtype)
    b = torch.randn(800, 2, generator=generator, dtype=torch.float64).to(dtype)
    matrix, slope = dense(A), slope_in_lengthscale(A)
    found = inv_quad_logdet(A, b, method=method, rank=300)
    torch.testing.assert_close(
        found.solution, torch.linalg.solve(matrix, b.double()), rtol=0, atol=0.1
    )
    value = torch.logdet(matrix)
    # A float32 factor is off by about n eps of each pivot, a few 1e-5 at a noise of 0.01.
    assert abs(found.logdet - value) < 4 * found.standard_error + 1e-5 * 800
    trace = torch.linalg.solve(matrix, slope).trace()
    each = estimates(found, slope)
    error = each.std() / len(each) ** 0.5
    assert abs(each.mean() - trace) < (4 * error if method == "pcg" else 1e-4 * abs(trace))


def test_residual_is_true_and_small_in_float32(noisy_rbf, generator):
    A = noisy_rbf(800, dtype=torch.float32)
    b = torch.randn(800, 3, generator=generator)
    for method, bound in (("cholesky", 1e-5), ("pcg", 1e-4)):
        found = inv_quad_logdet(A, b, rtol=1e-4, method=method)
        error = b.double() - dense(A) @ found.solution
        truth = error.norm(dim=0) / b.double().norm(dim=0)
        torch.testing.assert_close(found.residual, truth, rtol=1e-6, atol=1e-14)
        assert truth.max() <= bound


def test_larger_matrices_have_few_probes_with_the_right_mean(noisy_rbf, generator, monkeypatch):
    module = import_module("kernelgp.linalg.inv_quad_logdet")  # the package shows the function
    monkeypatch.setattr(module, "_EXACT_GRADIENT", 100)
    A = noisy_rbf(400)
    found = inv_quad_logdet(A, torch.ones(400, 1).double(), n_probes=30)
    assert found.probes.shape == (400, 30)
    slope = slope_in_lengthscale(A)
    each = estimates(found, slope)
    trace = torch.linalg.solve(dense(A), slope).trace()
    assert abs(each.mean() - trace) < 4 * each.std() / 30**0.5
    assert found.standard_error == 0


def test_the_same_seed_gives_the_same_probes(noisy_rbf):
    A, b = noisy_rbf(100), torch.ones(100, 1).double()
    first, second, other = (inv_quad_logdet(A, b, method="pcg", generator=s) for s in (1, 1, 2))
    assert torch.equal(first.probe_solutions, second.probe_solutions)
    assert not torch.equal(first.probes, other.probes)


@pytest.mark.parametrize("method", ["cholesky", "pcg"])
def test_batches_broadcast(spd, method, generator):
    matrix = spd(2, 30, condition=10.0, generator=generator)
    b = torch.randn(3, 1, 30, 2, generator=generator, dtype=torch.float64)
    found = inv_quad_logdet(matrix, b, method=method, rtol=1e-8)
    torch.testing.assert_close(matrix @ found.solution, b.expand(3, 2, 30, 2))
    truth = torch.logdet(matrix)
    assert ((found.logdet - truth).abs() < 4 * found.standard_error + 1e-10).all()


def test_an_early_end_is_told(noisy_rbf):
    A, b = noisy_rbf(300), torch.ones(300, 1).double()
    with pytest.warns(ConvergenceWarning, match="inv_quad_logdet: worst residual") as caught:
        inv_quad_logdet(A, b, method="pcg", rank=2, max_iterations=3)
    assert caught[0].filename == __file__


def test_indefinite_matrix_is_refused(spd, generator):
    matrix = spd(20, condition=5.0, generator=generator) - 2 * torch.eye(20)
    for method in ("cholesky", "pcg"):
        with pytest.raises(NotPositiveDefiniteError, match="op: got"):
            inv_quad_logdet(matrix, torch.ones(20, 1).double(), method=method, rank=0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"rhs": torch.ones(4, 1)}, r"rhs: got shape \(4, 1\); give \(3,\)"),
        ({"n_probes": 1}, "n_probes: got 1; give at least 2"),
        ({"method": "lu"}, "method: got 'lu'; give"),
        ({"rtol": -1.0}, "rtol: got -1.0; give a positive"),
    ],
)
def test_bad_arguments_are_named(arguments, message):
    with pytest.raises(ArgumentError, match=message):
        inv_quad_logdet(**({"op": torch.eye(3), "rhs": torch.ones(3, 1)} | arguments))
