"""linear_operator's own checks, run on attention matrices."""

import unittest

import torch
from linear_operator.test.linear_operator_test_case import RectangularLinearOperatorTestCase

from kernelgp.attention import AttentionOperator, KDEOptions, ThinnedOptions


def tokens(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).requires_grad_()


def softmax(op):
    """The oracle, in the operator's own tensors."""
    logits = op.q @ op.k.mT / op.q.shape[-1] ** 0.5
    return torch.softmax(logits, dim=-1)


class TestExact(RectangularLinearOperatorTestCase, unittest.TestCase):
    seed = 0

    def create_linear_op(self):
        return AttentionOperator(tokens(5, 3), tokens(6, 3, seed=1))

    def evaluate_linear_op(self, linear_op):
        return softmax(linear_op)


class TestBatch(TestExact):
    def create_linear_op(self):
        return AttentionOperator(tokens(2, 5, 3), tokens(2, 6, 3, seed=1))


class TestTwoBatches(TestExact):
    def create_linear_op(self):
        return AttentionOperator(tokens(2, 3, 5, 4), tokens(2, 3, 6, 4, seed=1))


class TestCausal(TestExact):
    def create_linear_op(self):
        return AttentionOperator(tokens(6, 3), tokens(6, 3, seed=1), is_causal=True)

    def evaluate_linear_op(self, linear_op):
        logits = linear_op.q @ linear_op.k.mT / linear_op.q.shape[-1] ** 0.5
        future = torch.ones(6, 6, dtype=torch.bool).triu(1)
        return torch.softmax(logits.masked_fill(future, -torch.inf), dim=-1)


class TestAdjoint(TestExact):
    def create_linear_op(self):
        return AttentionOperator(tokens(6, 3), tokens(5, 3, seed=1)).mT

    def evaluate_linear_op(self, linear_op):
        return softmax(linear_op.base).mT


class TestFastmax(TestExact):
    def create_linear_op(self):
        return AttentionOperator(tokens(5, 3), tokens(6, 3, seed=1), method="fastmax")

    def evaluate_linear_op(self, linear_op):
        q, k = (x - x.mean(-1, keepdim=True) for x in (linear_op.q, linear_op.k))
        q, k = (x / x.square().mean(-1, keepdim=True).sqrt() for x in (q, k))
        s = q @ k.mT / q.shape[-1] ** 0.5
        f = 1 + s + s**2 / 2
        return f / f.sum(dim=-1, keepdim=True)


class TestThinned(TestExact):
    def create_linear_op(self):
        options = ThinnedOptions(size=4)
        return AttentionOperator(
            tokens(5, 3), tokens(16, 3, seed=1), method="thinned", options=options
        )

    def evaluate_linear_op(self, linear_op):
        (part,) = linear_op.blocks
        logits = linear_op.q @ linear_op.k.mT / linear_op.q.shape[-1] ** 0.5
        count = torch.zeros(16).index_add(0, part.index[0], part.bias[0].exp())
        return torch.softmax(logits + count.log(), dim=-1)


class TestKDE(TestExact):
    def create_linear_op(self):
        options = KDEOptions(block_query=2, block_key=4, leaf=2, near=1, linear=False)
        return AttentionOperator(tokens(5, 3), tokens(9, 3, seed=1), method="kde", options=options)

    def evaluate_linear_op(self, linear_op):
        # Its own columns: tests/attention/test_kde.py holds them against the matrix written out.
        return linear_op._columns(torch.arange(9))
