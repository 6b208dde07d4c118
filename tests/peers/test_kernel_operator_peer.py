"""linear_operator's own checks, run on kernel operators."""

import unittest

import gpytorch
import torch
from linear_operator.test.linear_operator_test_case import (
    LinearOperatorTestCase,
    RectangularLinearOperatorTestCase,
)

from kernelgp.kernels import RBF, Matern
from kernelgp.operators import KernelOperator, NoisyKernelOperator


def points(*shape, seed=0):
    # Far enough apart that the matrix has an inverse in float32.
    return 3 * torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def evaluate(op):
    """The oracle: differences of all pairs, by autograd, in the operator's own tensors."""
    kernel = op.kernel
    difference = (
        op.x1.unsqueeze(-2) - op.x2.unsqueeze(-3)
    ) / kernel.base_kernel.lengthscale.float()
    sqdist = difference.square().sum(dim=-1)
    scale = kernel.outputscale.float()
    scale = scale.view(*scale.shape, 1, 1) if scale.dim() else scale
    return scale * torch.exp(-sqdist / 2)


def rbf():
    return 2.0 * RBF(lengthscale=[0.5, 0.7])


class KernelOperatorCase(LinearOperatorTestCase):
    seed = 0
    should_call_cg = False  # solves are by Cholesky or by kernelgp.linalg
    should_call_lanczos = False  # roots are exact

    def evaluate_linear_op(self, linear_op):
        return evaluate(linear_op)


class TestDense(KernelOperatorCase, unittest.TestCase):
    def create_linear_op(self):
        return KernelOperator(rbf(), points(6, 2), backend="dense")


class TestTiled(KernelOperatorCase, unittest.TestCase):
    def create_linear_op(self):
        return KernelOperator(rbf(), points(6, 2), backend="tiled")


class TestBatch(KernelOperatorCase, unittest.TestCase):
    def create_linear_op(self):
        return KernelOperator(rbf(), points(2, 5, 2), backend="tiled")


class TestBatchOfKernels(KernelOperatorCase, unittest.TestCase):
    def create_linear_op(self):
        kernel = torch.tensor([1.0, 2.0]) * RBF(lengthscale=[0.5, 0.7])
        return KernelOperator(kernel, points(5, 2), backend="tiled")


class TestMultiBatch(KernelOperatorCase, unittest.TestCase):
    # Because these LTs are large, we'll skil the big tests
    def create_linear_op(self):
        return KernelOperator(rbf(), points(2, 3, 5, 2), backend="tiled")


class TestForeign(KernelOperatorCase, unittest.TestCase):
    def create_linear_op(self):
        kernel = gpytorch.kernels.ScaleKernel(gpytorch.kernels.RBFKernel())
        kernel.outputscale, kernel.base_kernel.lengthscale = 2.0, 0.6
        return KernelOperator(kernel, points(6, 2), backend="tiled")


class TestRectangular(RectangularLinearOperatorTestCase, unittest.TestCase):
    seed = 0

    def create_linear_op(self):
        return KernelOperator(rbf(), points(5, 2), points(4, 2, seed=1), backend="tiled")

    def evaluate_linear_op(self, linear_op):
        return evaluate(linear_op)


class TestRectangularBatch(RectangularLinearOperatorTestCase, unittest.TestCase):
    seed = 0

    def create_linear_op(self):
        return KernelOperator(rbf(), points(2, 5, 2), points(4, 2, seed=1), backend="tiled")

    def evaluate_linear_op(self, linear_op):
        return evaluate(linear_op)


class NoisyCase(KernelOperatorCase):
    def evaluate_linear_op(self, linear_op):
        return evaluate(linear_op.base) + torch.diag_embed(linear_op._diag)


class TestNoisy(NoisyCase, unittest.TestCase):
    def create_linear_op(self):
        base = KernelOperator(rbf(), points(6, 2), backend="tiled")
        return NoisyKernelOperator(base, torch.tensor(0.1))


class TestNoisyRows(NoisyCase, unittest.TestCase):
    def create_linear_op(self):
        base = KernelOperator(rbf(), points(6, 2), backend="tiled")
        return NoisyKernelOperator(base, torch.linspace(0.1, 0.4, 6))


class TestNoisyBatch(NoisyCase, unittest.TestCase):
    def create_linear_op(self):
        base = KernelOperator(rbf(), points(2, 5, 2), backend="tiled")
        return NoisyKernelOperator(base, torch.tensor([[0.1], [0.3]]))


def test_matern_is_symmetric_to_the_last_bit():
    matrix = KernelOperator(Matern(nu=2.5), points(300, 3), backend="tiled").to_dense()
    assert torch.equal(matrix, matrix.mT)
