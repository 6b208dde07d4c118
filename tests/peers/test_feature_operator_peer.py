"""linear_operator's own checks on operators of features."""

import unittest

import torch
from linear_operator.test.linear_operator_test_case import LinearOperatorTestCase

from kernelgp.operators import FeatureOperator


def features(*shape):
    phi = torch.randn(*shape, generator=torch.Generator().manual_seed(0))
    # Near the identity, so that the estimates it compares are good.
    return (0.2 * phi + torch.eye(*shape[-2:])).requires_grad_()


class FeatureCase(LinearOperatorTestCase):
    seed = 0
    should_call_cg = False  # solves are by a factor: dense, or with noise of the D x D matrix
    should_call_lanczos = False  # the root is there
    should_call_lanczos_diagonalization = True

    def evaluate_linear_op(self, linear_op):
        phi = linear_op.root.to_dense()
        return phi @ phi.mT


class TestFeatures(FeatureCase, unittest.TestCase):
    def create_linear_op(self):
        return FeatureOperator(features(5, 8))


class TestFeaturesBatch(FeatureCase, unittest.TestCase):
    def create_linear_op(self):
        return FeatureOperator(features(3, 5, 8))


class TestNoisyFeatures(FeatureCase, unittest.TestCase):
    def create_linear_op(self):
        diagonal = torch.linspace(0.5, 1.5, 5).requires_grad_()
        return FeatureOperator(features(5, 2)).add_diagonal(diagonal)

    def evaluate_linear_op(self, linear_op):
        base = super().evaluate_linear_op(linear_op._linear_op)
        return base + torch.diag_embed(linear_op._diag_tensor._diagonal())


class TestNoisyFeaturesBatch(TestNoisyFeatures):
    def create_linear_op(self):
        diagonal = torch.linspace(0.5, 1.5, 15).reshape(3, 5).requires_grad_()
        return FeatureOperator(features(3, 5, 2)).add_diagonal(diagonal)
