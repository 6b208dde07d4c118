"""Lazy linear operators: each knows its shape and how to multiply, and most how to solve."""

from kernelgp.operators.feature import FeatureOperator
from kernelgp.operators.kernel_operator import KernelOperator
from kernelgp.operators.kronecker import KroneckerOperator
from kernelgp.operators.kronecker_sum import KroneckerSumOperator
from kernelgp.operators.noisy import NoisyKernelOperator
from kernelgp.operators.noisy_kronecker import NoisyKroneckerOperator
from kernelgp.operators.sharded import ShardedOperator
from kernelgp.operators.sparse_inverse_cholesky import SparseInverseCholeskyOperator
from kernelgp.operators.toeplitz import ToeplitzOperator

__all__ = [
    "FeatureOperator",
    "KernelOperator",
    "KroneckerOperator",
    "KroneckerSumOperator",
    "NoisyKernelOperator",
    "NoisyKroneckerOperator",
    "ShardedOperator",
    "SparseInverseCholeskyOperator",
    "ToeplitzOperator",
]
