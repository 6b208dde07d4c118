"""Drawn functions: their covariance is the kernel's, and one draw is one function."""

import pytest
import torch

from kernelgp.errors import ArgumentError
from kernelgp.gp.pathwise import prior_functions
from kernelgp.kernels import RBF, Constant, Linear, Matern, Periodic, Polynomial, White

KERNELS = [
    2.0 * RBF(lengthscale=[0.5, 1.0]),
    Matern(1.5, 0.7) + 0.5 * Constant(),
    Periodic(1.3, active_dims=[0]) * RBF(0.8, active_dims=[1]),
    0.3 * Linear() + Polynomial(2, offset=0.5),
    (RBF(0.6) + 0.4 * Constant()) * Linear(active_dims=[1]),
]


@pytest.mark.parametrize("kernel", KERNELS, ids=repr)
def test_covariance_of_draws_is_that_of_the_kernel(kernel):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(6, 2, generator=generator, dtype=torch.float64)
    draws = [prior_functions(kernel, 2, 2000, 256, generator)(x) for _ in range(8)]
    values = torch.cat(draws, dim=-1)
    expected = kernel(x).to_dense().detach()
    # Four standard errors: of 16 000 draws, and of 8 sets of 256 features.
    scale = torch.outer(expected.diagonal(), expected.diagonal()).sqrt()
    error = (values @ values.mT / values.shape[-1] - expected).abs() / scale
    assert error.max() < 4 * (2 / 16_000) ** 0.5 + 4 / (8 * 128) ** 0.5


@pytest.mark.parametrize("kernel", KERNELS, ids=repr)
def test_a_draw_is_the_same_function_at_any_points(kernel):
    f = prior_functions(kernel, 2, 3, 64, torch.Generator().manual_seed(0))
    x = torch.randn(9, 2, dtype=torch.float64)
    torch.testing.assert_close(f(x)[:4], f(x[:4]))


def test_white_noise_is_no_function():
    with pytest.raises(ArgumentError, match="kernel: got White"):
        prior_functions(RBF() + White(0.1), 1, 1, 8, torch.Generator())
