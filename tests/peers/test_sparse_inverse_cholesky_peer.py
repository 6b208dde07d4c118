"""linear_operator's own checks on the covariance and the precision of a sparse factor."""

import unittest

import torch
from linear_operator.test.linear_operator_test_case import LinearOperatorTestCase

from kernelgp.operators import SparseInverseCholeskyOperator

FACTOR = torch.tensor(
    [
        [1.0, -0.4, 0.0, 0.3, 0.0],
        [0.0, 0.8, 0.2, 0.0, 0.0],
        [0.0, 0.0, 1.2, 0.5, -0.3],
        [0.0, 0.0, 0.0, 0.7, 0.1],
        [0.0, 0.0, 0.0, 0.0, 0.9],
    ]
)


def dense(linear_op):
    """Through the same leaf, so that gradients can be compared entry by entry."""
    rows, columns = linear_op.pattern.rows, linear_op.pattern.columns
    values = linear_op.values
    places = torch.zeros(len(rows), 25, dtype=values.dtype)
    places[range(len(rows)), 5 * rows + columns] = 1
    U = (values @ places).reshape(*values.shape[:-1], 5, 5)
    return U @ U.mT


class TestSparsePrecisionOperator(LinearOperatorTestCase, unittest.TestCase):
    seed = 0
    should_call_cg = False  # solves are triangular
    should_call_lanczos = False  # roots are Cholesky factors

    def create_linear_op(self):
        op = SparseInverseCholeskyOperator(FACTOR.to_sparse())
        return op.precision.clone().requires_grad_(True)

    def evaluate_linear_op(self, linear_op):
        return dense(linear_op)


class TestSparsePrecisionOperatorBatch(TestSparsePrecisionOperator):
    def create_linear_op(self):
        op = SparseInverseCholeskyOperator(FACTOR.to_sparse()).precision
        batch = type(op)(torch.stack([op.values, 2 * op.values]), op.pattern)
        return batch.clone().requires_grad_(True)


class TestSparseInverseCholeskyOperator(TestSparsePrecisionOperator):
    def create_linear_op(self):
        return SparseInverseCholeskyOperator(FACTOR.to_sparse()).clone().requires_grad_(True)

    def evaluate_linear_op(self, linear_op):
        return dense(linear_op).inverse()


class TestSparseInverseCholeskyOperatorBatch(TestSparseInverseCholeskyOperator):
    def create_linear_op(self):
        op = SparseInverseCholeskyOperator(FACTOR.to_sparse())
        batch = type(op)(torch.stack([op.values, 2 * op.values]), op.pattern)
        return batch.clone().requires_grad_(True)
