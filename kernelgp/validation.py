"""Checks at the door for tensors and numbers, written once with one set of messages."""

import math
from collections.abc import Sequence
from numbers import Integral, Real
from typing import Any

import torch
from torch import Tensor

from kernelgp.errors import ArgumentError, ArgumentTypeError

__all__ = [
    "check_choice",
    "check_count",
    "check_finite",
    "check_floating",
    "check_positive",
    "check_same",
]


def check_floating(name: str, x: Any) -> Tensor:
    """`x`, if it is a float32 or float64 tensor.

    Raises
    ------
    ArgumentTypeError
        If it is no tensor.
    ArgumentError
        If it is integer, boolean, complex or of half precision.

    Examples
    --------
    >>> check_floating("x1", torch.ones(3, dtype=torch.float16))
    Traceback (most recent call last):
        ...
    kernelgp.errors.ArgumentError: x1: got torch.float16; convert it to float32 or float64.
    """
    if not isinstance(x, Tensor):
        raise ArgumentTypeError(name, type(x).__name__, "give a torch tensor")
    if x.dtype not in (torch.float32, torch.float64):
        raise ArgumentError(name, str(x.dtype), "convert it to float32 or float64")
    return x


def check_finite(name: str, x: Tensor) -> Tensor:
    """`x`, if it has neither NaN nor infinity; the error gives their number and a first place."""
    # One pass without a boolean copy: a sum is finite only if every term is. It may also
    # overflow, so only the slow path decides.
    if math.isfinite(x.detach().sum().item()):
        return x
    bad = ~x.detach().isfinite()
    if bad.any():
        first = tuple(bad.nonzero()[0].tolist())
        given = f"{int(bad.sum())} of {x.numel()} entries not finite, the first at index {first}"
        raise ArgumentError(name, given, "remove or impute them")
    return x


def check_same(name: str, x: Tensor, other_name: str, other: Any) -> Tensor:
    """`x`, if its dtype and device are those of `other` (a tensor or an operator)."""
    if x.dtype != other.dtype:
        remedy = f"convert it to {other.dtype} to match {other_name}"
        raise ArgumentError(name, str(x.dtype), remedy)
    if x.device != other.device:
        remedy = f"move it to {other.device} to match {other_name}"
        raise ArgumentError(name, f"device {x.device}", remedy)
    return x


def check_positive(name: str, value: Any, *, zero: bool = False) -> Tensor:
    """`value` as a float64 tensor, if it is one or more finite numbers above zero.

    Parameters
    ----------
    value : float, sequence of floats or Tensor
    zero
        Whether 0 is allowed too.

    Raises
    ------
    ArgumentTypeError
        If it is not made of numbers.
    ArgumentError
        If a number is negative, zero (unless allowed), NaN or infinite.

    Examples
    --------
    >>> check_positive("noise", -0.1)
    Traceback (most recent call last):
        ...
    kernelgp.errors.ArgumentError: noise: got -0.1; give a positive, finite number.
    """
    what = "non-negative" if zero else "positive"
    numbers = "number" if isinstance(value, Real) else "numbers"
    remedy = f"give {'a ' if numbers == 'number' else ''}{what}, finite {numbers}"
    try:
        given = torch.as_tensor(value)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ArgumentTypeError(name, repr(value), remedy) from error
    if given.is_complex() or given.dtype == torch.bool:
        raise ArgumentTypeError(name, repr(value), remedy)
    # Python's floats were read at default precision; read them again at full precision.
    tensor = (
        given.double() if isinstance(value, Tensor) else torch.as_tensor(value, dtype=torch.float64)
    )
    valid = tensor.isfinite() & ((tensor >= 0) if zero else (tensor > 0))
    if tensor.numel() == 0 or not valid.all():
        raise ArgumentError(name, str(value), remedy)
    return tensor


def check_choice(name: str, value: Any, choices: Sequence[Any]) -> None:
    """Refuse what is not one of `choices`."""
    if not any(
        value is choice or (isinstance(value, str) and value == choice) for choice in choices
    ):
        *first, last = (f'"{c}"' if isinstance(c, str) else repr(c) for c in choices)
        listed = f"{', '.join(first)} or {last}" if first else last
        raise ArgumentError(name, repr(value), f"give {listed}")


def check_count(name: str, value: Any) -> int:
    """`value` as an int, if it is a whole number above zero.

    Examples
    --------
    >>> check_count("n_components", 0)
    Traceback (most recent call last):
        ...
    kernelgp.errors.ArgumentError: n_components: got 0; give a positive whole number.
    """
    if isinstance(value, bool) or not isinstance(value, Integral) or value < 1:
        kind = ArgumentError if isinstance(value, Real) else ArgumentTypeError
        raise kind(name, repr(value), "give a positive whole number")
    return int(value)
