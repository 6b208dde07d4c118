"""Lazy linear operators: each knows its shape and how to multiply, and most how to solve."""

from kernelgp.operators.kronecker_sum import KroneckerSumOperator

__all__ = ["KroneckerSumOperator"]
