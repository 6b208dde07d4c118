"""Kernels of gpytorch and scikit-learn as ours, where we have their equals."""

from copy import deepcopy
from typing import Any

import gpytorch
import sklearn.gaussian_process.kernels as sklearn_kernels
from gpytorch.constraints import Positive

from kernelgp.errors import ArgumentError, ArgumentTypeError
from kernelgp.kernels.gpytorch_conversion import from_gpytorch
from kernelgp.kernels.sklearn_conversion import from_sklearn

__all__ = ["as_ours"]

Kernel = gpytorch.kernels.Kernel


def as_ours(kernel: Any) -> Kernel:
    """A copy: ours where possible, else the double-precision gpytorch kernel it is.

    Raises
    ------
    ArgumentTypeError
        If it is no kernel at all.
    """
    if isinstance(kernel, sklearn_kernels.Kernel):
        return from_sklearn(kernel)
    if not isinstance(kernel, Kernel):
        remedy = "give a kernel of kernelgp.kernels, gpytorch or scikit-learn, or None"
        raise ArgumentTypeError("kernel", type(kernel).__name__, remedy)
    copy = deepcopy(kernel)
    if hasattr(copy, "expression") or _is_special(copy):
        return copy.double()
    try:
        return from_gpytorch(copy)
    except ArgumentError:
        return copy.double()


def _is_special(kernel: Kernel) -> bool:
    """Whether a gpytorch kernel has priors, fixed parameters or constraints of its own."""
    plain = all(type(constraint) is Positive for constraint in kernel.constraints())
    learned = all(parameter.requires_grad for parameter in kernel.parameters())
    return not (plain and learned) or any(True for _ in kernel.named_priors())
