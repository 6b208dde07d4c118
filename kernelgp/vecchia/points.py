"""The door that points come in by: finite float64 arrays of shape (n, d)."""

import numpy as np
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from kernelgp.errors import ArgumentError, ArgumentTypeError

__all__ = ["as_points"]


def as_points(name: str, X: ArrayLike | Tensor) -> NDArray[np.float64]:
    """C-contiguous float64 coordinates.

    Raises
    ------
    ArgumentError, ArgumentTypeError
        If X is not numeric, not of shape (n, d) with n and d at least 1, or not finite.
    """
    given = X.detach().cpu().numpy() if isinstance(X, Tensor) else np.asarray(X)
    if given.dtype.kind not in "fiub":
        raise ArgumentTypeError(name, f"dtype {given.dtype}", "give real numbers")
    if given.ndim != 2 or 0 in given.shape:
        raise ArgumentError(name, f"shape {given.shape}", "give (n, d), n and d at least 1")
    points = np.ascontiguousarray(given, dtype=np.float64)
    if not np.isfinite(points).all():
        rows = int((~np.isfinite(points)).any(axis=1).sum())
        raise ArgumentError(name, f"NaN or infinity in {rows} rows", "leave those rows out")
    return points
