"""Checks at the doors of the operators: of what they are made, and of what they multiply."""

from typing import Any

import gpytorch
import torch
from linear_operator import LinearOperator
from torch import Tensor
from torch.nn import Module

from kernelgp.errors import ArgumentError
from kernelgp.validation import check_finite, check_floating, check_same

__all__ = ["check_columns", "check_fit", "check_points", "is_same"]


def check_points(x1: Any, x2: Any) -> None:
    """Refuse points that cannot be computed with, or do not go together; `x2` may be None.

    Raises
    ------
    ArgumentError
        Naming `x1` or `x2`.
    """
    _check_shape("x1", check_floating("x1", x1))
    if x2 is not None and x2 is not x1:
        _check_shape("x2", check_same("x2", check_floating("x2", x2), "x1", x1))
        if x2.shape[-1] != x1.shape[-1]:
            remedy = f"give (..., m, {x1.shape[-1]}) to match x1"
            raise ArgumentError("x2", f"shape {tuple(x2.shape)}", remedy)
        check_finite("x2", x2)
    check_finite("x1", x1)


def check_fit(kernel: Module, x1: Tensor, x2: Tensor | None) -> None:
    """Refuse points with more or fewer columns, or other batches, than the kernel is for.

    Raises
    ------
    ArgumentError
        Naming what does not fit.
    """
    _check_columns(kernel, x1)
    _check_batch(kernel, x1, x1 if x2 is None else x2)


def is_same(x1: Tensor, x2: Tensor | None) -> bool:
    """Whether `x2` is `x1`, or the same cut out of the same tensor."""
    if x2 is x1:
        return True
    if x2 is None or x1._base is None or x1._base is not x2._base:
        return False
    # A detached view has no graph: its gradient must not be that of the other.
    return (
        x1.shape == x2.shape
        and x1.stride() == x2.stride()
        and x1.storage_offset() == x2.storage_offset()
        and x1.requires_grad == x2.requires_grad
        and x1.is_leaf == x2.is_leaf
    )


def check_columns(name: str, x: Tensor, op: LinearOperator) -> None:
    """Raise unless `x` has one row for each column of `op`, its dtype and device, and is finite."""
    check_same(name, check_floating(name, x), "the operator", op)
    n = op.shape[-1]
    if x.dim() == 0 or x.shape[-2 if x.dim() > 1 else -1] != n:
        raise ArgumentError(name, f"shape {tuple(x.shape)}", f"give ({n},) or (..., {n}, k)")
    check_finite(name, x)


def _check_shape(name: str, x: Tensor) -> None:
    if x.dim() < 2:
        remedy = "give (..., n, d): one row for each point"
        hint = f", for inputs of one dimension {name}.unsqueeze(-1)" if x.dim() == 1 else ""
        raise ArgumentError(name, f"shape {tuple(x.shape)}", remedy + hint)
    if x.numel() == 0:
        raise ArgumentError(name, f"shape {tuple(x.shape)}", "give at least one point")
    if x.is_meta:
        raise ArgumentError(name, "device meta", "move it to a device that holds data")


def _check_columns(kernel: Any, x: Tensor) -> None:
    if hasattr(kernel, "check_columns"):
        kernel.check_columns(x)
        return
    for module in kernel.modules():
        if not isinstance(module, gpytorch.kernels.Kernel):
            continue
        count = module.ard_num_dims
        if count not in (None, 1, x.shape[-1]) and module.active_dims is None:
            remedy = f"give {count} columns, or a kernel for {x.shape[-1]}"
            raise ArgumentError("x1", f"{x.shape[-1]} columns for {count} lengthscales", remedy)


def _check_batch(kernel: Any, x1: Tensor, x2: Tensor) -> None:
    if kernel.num_outputs_per_input(x1, x2) != 1:
        given = f"{type(kernel).__name__}, of several outputs for each point"
        raise ArgumentError("kernel", given, "give a kernel of one output")
    try:
        torch.broadcast_shapes(x1.shape[:-2], x2.shape[:-2], kernel.batch_shape)
    except RuntimeError:
        given = f"batches {tuple(x1.shape[:-2])}, {tuple(x2.shape[:-2])} of points"
        remedy = f"give batches that broadcast with {tuple(kernel.batch_shape)} of the kernel"
        raise ArgumentError("x1", given, remedy) from None
