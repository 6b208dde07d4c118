"""linear_operator's own checks, run on our structured operators."""

import unittest

import torch
from linear_operator.test.linear_operator_test_case import LinearOperatorTestCase

from kernelgp.operators import KroneckerSumOperator

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
    should_call_lanczos_diagonalization = True

    def create_linear_op(self):
        rows = torch.stack([ROWS, ROWS + torch.eye(3), 2 * ROWS])
        matrices = (rows, torch.eye(3), COLUMNS, MASS)
        return KroneckerSumOperator(*(m.clone().requires_grad_() for m in matrices))

    def evaluate_linear_op(self, linear_op):
        (a1, b1), (a2, b2) = linear_op.terms
        return torch.stack(
            [torch.kron(a1[i], b2[i]) + torch.kron(b1[i], a2[i]) for i in range(len(a1))]
        )
