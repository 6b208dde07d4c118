"""One door for arrays: tensors become numpy where scikit-learn looks, and answers go back alike."""

from typing import Any

import torch
from torch import Tensor

from kernelgp.errors import ArgumentError

__all__ = ["as_device", "from_torch", "give_back"]


def give_back(result: Tensor, X: Any) -> Any:
    """`result` as what the caller gave: a tensor on the device of X for a tensor, else numpy."""
    result = result.detach()
    return result.to(X.device) if isinstance(X, Tensor) else result.cpu().numpy()


def from_torch(X: Any, device: Any) -> tuple[Any, torch.device]:
    """A tensor as an array, and the device to compute on."""
    chosen = as_device(device)
    if not isinstance(X, Tensor):
        return X, chosen or torch.device("cpu")
    if X.dtype in (torch.float16, torch.bfloat16):
        X = X.float()
    return X.detach().cpu().numpy(), chosen or X.device


def as_device(device: Any) -> torch.device | None:
    """A torch device from its name; None stays None."""
    if device is None:
        return None
    try:
        return torch.device(device)
    except (RuntimeError, TypeError) as error:
        raise ArgumentError("device", repr(device), 'give "cpu", "cuda" or "cuda:0"') from error
