"""What no operator multiplies: every mistake by its name."""

import pytest
import torch

from kernelgp.errors import ArgumentError
from kernelgp.kernels import RBF
from kernelgp.operators import (
    KernelOperator,
    KroneckerOperator,
    KroneckerSumOperator,
    NoisyKernelOperator,
    ToeplitzOperator,
)

X = torch.arange(4.0).unsqueeze(-1)
OPERATORS = {
    "kernel": KernelOperator(RBF(), X),
    "noisy": NoisyKernelOperator(KernelOperator(RBF(), X), torch.tensor(0.1)),
    "kronecker": KroneckerOperator(torch.eye(2), torch.eye(2)),
    "masked": KroneckerOperator(torch.eye(2), torch.eye(3), mask=torch.arange(6).view(2, 3) < 4),
    "sum": KroneckerSumOperator((torch.eye(2), torch.eye(2)), (torch.eye(2), torch.eye(2))),
    "toeplitz": ToeplitzOperator(torch.tensor([2.0, 1.0, 0.0, 0.0])),
}


@pytest.mark.parametrize("op", OPERATORS.values(), ids=OPERATORS)
@pytest.mark.parametrize(
    ("rhs", "message"),
    [
        (torch.tensor([1.0, torch.nan, 1.0, torch.inf]), r"got 2 of 4 entries not finite, .*\(1"),
        (torch.ones(3, 1), r"got shape \(3, 1\); give \(4,\) or \(\.\.\., 4, k\)"),
        (torch.ones(4, dtype=torch.float64), r"got torch\.float64; convert it to torch\.float32"),
        (torch.ones(4, dtype=torch.float16), r"got torch\.float16; convert it to float32 or"),
        (torch.ones(4, dtype=torch.int64), r"got torch\.int64; convert it to float32 or"),
        (torch.ones(4, dtype=torch.complex64), r"got torch\.complex64; convert it to float32"),
    ],
)
def test_bad_right_hand_sides_are_named(op, rhs, message):
    with pytest.raises(ArgumentError, match=message):
        op @ rhs
