"""Refuse inputs so large that their features are not finite."""

import torch
from torch import Tensor

from kernelgp.errors import ArgumentError

__all__ = ["refuse_overflow"]


def refuse_overflow(found: Tensor) -> Tensor:
    """`found`, if every feature is finite.

    Raises
    ------
    ArgumentError
        Naming X, and how many rows are too large.
    """
    bad = int((~torch.isfinite(found).all(dim=-1)).sum())
    if bad:
        given = f"{bad} of {len(found)} rows whose features overflow {found.dtype}"
        raise ArgumentError("X", given, "rescale the columns to a spread near one")
    return found
