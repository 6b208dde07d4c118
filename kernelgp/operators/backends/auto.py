"""Which backend an operator uses: a rule set from measurements, and what it falls back to."""

import warnings
from typing import Literal, cast

import torch
from torch.nn import Module

from kernelgp.errors import BackendWarning
from kernelgp.operators.backends import keops
from kernelgp.operators.backends.measured import TABLE

__all__ = ["Backend", "choose_backend"]

Backend = Literal["dense", "tiled", "keops"]


def choose_backend(
    asked: str, kernel: Module, shape: torch.Size, dimension: int, device: torch.device
) -> Backend:
    """The backend of an operator of this shape on points of so many columns.

    Warns
    -----
    BackendWarning
        If KeOps was asked for, or would be chosen, and cannot be used. Once for each reason,
        where it was not asked for.
    """
    rule = TABLE.get(device.type, TABLE["cpu"])
    if asked == "auto":
        if shape.numel() <= rule.dense_entries:
            return "dense"
        if not hasattr(kernel, "expression") or dimension > rule.keops_dimension:
            return "tiled"
        return "tiled" if _warned(keops.problem(), stacklevel=4) else "keops"
    if asked == "keops":
        problem = keops.problem()
        if not hasattr(kernel, "expression"):
            problem = f"{type(kernel).__name__} is not one of our kernels and has no formula"
        if _warned(problem, stacklevel=4):
            return "tiled"
    return cast(Backend, asked)


def _warned(problem: str | None, *, stacklevel: int) -> bool:
    if problem is None:
        return False
    message = f"backend: keops cannot be used, {problem}; tiled takes over."
    warnings.warn(message, BackendWarning, stacklevel=stacklevel)
    return True
