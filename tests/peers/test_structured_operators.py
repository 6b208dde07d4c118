"""linear_operator's own checks, run on our structured operators."""

import unittest

import torch
from linear_operator.operators import ToeplitzLinearOperator
from linear_operator.test.linear_operator_test_case import (
    LinearOperatorTestCase,
    RectangularLinearOperatorTestCase,
)
from linear_operator.utils.toeplitz import sym_toeplitz

from kernelgp.operators import KroneckerOperator, KroneckerSumOperator, ToeplitzOperator

ROWS = torch.tensor([[4.0, 0.5, 1.0], [0.5, 4.0, -1.0], [1.0, -1.0, 3.0]])
COLUMNS = torch.tensor([[2.0, 0.3], [0.3, 1.0]])
MASS = torch.tensor([[1.0, 0.2], [0.2, 1.5]])


class TestKroneckerSumOperator(LinearOperatorTestCase, unittest.TestCase):
    seed = 0
    should_call_cg = False  # solves are direct
    should_call_lanczos = False  # roots are Cholesky factors

    def create_linear_op(self):
        matrices = (ROWS, ROWS / 4 + torch.eye(3), COLUMNS, MASS)
        return KroneckerSumOperator(*(m.clone().requires_grad_() for m in matrices))

    def evaluate_linear_op(self, linear_op):
        (a1, b1), (a2, b2) = linear_op.terms
        return torch.kron(a1, b2) + torch.kron(b1, a2)


class TestKroneckerSumOperatorBatch(TestKroneckerSumOperator):
    def create_linear_op(self):
        rows = torch.stack([ROWS, ROWS + torch.eye(3), 2 * ROWS])
        matrices = (rows, torch.eye(3), COLUMNS, MASS)
        return KroneckerSumOperator(*(m.clone().requires_grad_() for m in matrices))

    def evaluate_linear_op(self, linear_op):
        (a1, b1), (a2, b2) = linear_op.terms
        return torch.stack(
            [torch.kron(a1[i], b2[i]) + torch.kron(b1[i], a2[i]) for i in range(len(a1))]
        )


class TestKroneckerOperator(LinearOperatorTestCase, unittest.TestCase):
    seed = 0
    should_call_cg = False  # solves are by eigendecomposition
    should_call_lanczos = False  # roots are products of the factors' roots
    should_call_lanczos_diagonalization = False

    def create_linear_op(self):
        return KroneckerOperator(ROWS.clone().requires_grad_(), COLUMNS.clone().requires_grad_())

    def evaluate_linear_op(self, linear_op):
        return torch.kron(*linear_op.factors)


class TestKroneckerOperatorBatch(TestKroneckerOperator):
    def create_linear_op(self):
        rows = torch.stack([ROWS, ROWS + torch.eye(3), 2 * ROWS]).requires_grad_()
        return KroneckerOperator(rows, COLUMNS.clone().requires_grad_())

    def evaluate_linear_op(self, linear_op):
        rows, columns = linear_op.factors
        return torch.stack([torch.kron(*pair) for pair in zip(rows, columns, strict=True)])


class TestKroneckerOperatorOfOperators(TestKroneckerOperator):
    def create_linear_op(self):
        rows = ToeplitzLinearOperator(torch.tensor([4.0, 0.5, 1.0], requires_grad=True))
        return KroneckerOperator(rows, COLUMNS.clone().requires_grad_())

    def evaluate_linear_op(self, linear_op):
        rows, columns = linear_op.factors
        return torch.kron(rows.to_dense(), columns)


class TestMaskedKroneckerOperator(TestKroneckerOperator):
    should_call_lanczos_diagonalization = True  # no spectrum describes some of the cells
    mask = torch.tensor([[True, True], [False, True], [True, True]])

    def create_linear_op(self):
        factors = ROWS.clone().requires_grad_(), COLUMNS.clone().requires_grad_()
        return KroneckerOperator(*factors, mask=self.mask)

    def evaluate_linear_op(self, linear_op):
        cells = linear_op.mask.flatten()
        return torch.kron(*linear_op.factors)[cells][:, cells]


class TestNoisyKroneckerOperator(TestKroneckerOperator):
    noise = torch.tensor([0.5])

    def create_linear_op(self):
        return super().create_linear_op().add_diagonal(self.noise.clone().requires_grad_())

    def evaluate_linear_op(self, linear_op):
        base = super().evaluate_linear_op(linear_op.base)
        return base + torch.diag_embed(linear_op.noise.expand(len(base)))


class TestNoisyKroneckerOperatorVarying(TestNoisyKroneckerOperator):
    should_call_lanczos_diagonalization = True
    noise = torch.linspace(0.2, 1.2, 6)


class TestNoisyMaskedKroneckerOperator(TestMaskedKroneckerOperator):
    def create_linear_op(self):
        return super().create_linear_op().add_diagonal(torch.tensor([0.5], requires_grad=True))

    def evaluate_linear_op(self, linear_op):
        base = super().evaluate_linear_op(linear_op.base)
        return base + linear_op.noise * torch.eye(len(base), dtype=base.dtype)


class TestNoisyKroneckerOperatorBatch(TestKroneckerOperatorBatch):
    def create_linear_op(self):
        noise = torch.tensor([[0.5], [1.0], [0.1]], requires_grad=True)
        return super().create_linear_op().add_diagonal(noise)

    def evaluate_linear_op(self, linear_op):
        base = super().evaluate_linear_op(linear_op.base)
        return base + linear_op.noise.unsqueeze(-1) * torch.eye(6, dtype=base.dtype)


class TestRectangularKroneckerOperator(RectangularLinearOperatorTestCase, unittest.TestCase):
    seed = 0

    def create_linear_op(self):
        return KroneckerOperator(
            torch.randn(2, 3).requires_grad_(), torch.randn(3, 2).requires_grad_()
        )

    def evaluate_linear_op(self, linear_op):
        return torch.kron(*linear_op.factors)


class TestToeplitzOperator(LinearOperatorTestCase, unittest.TestCase):
    seed = 0
    should_call_cg = False  # solves are by Durbin's recursion
    should_call_lanczos = False  # roots are Cholesky factors

    def create_linear_op(self):
        return ToeplitzOperator(torch.tensor([4.0, 0.5, 0.0, 1.0], requires_grad=True))

    def evaluate_linear_op(self, linear_op):
        return sym_toeplitz(linear_op.column)


class TestToeplitzOperatorBatch(TestToeplitzOperator):
    def create_linear_op(self):
        column = torch.tensor([[2.0, -1.0, 0.5, 0.25], [4.0, 0.5, 0.0, 1.0]], requires_grad=True)
        return ToeplitzOperator(column)

    def evaluate_linear_op(self, linear_op):
        return torch.stack([sym_toeplitz(column) for column in linear_op.column])
