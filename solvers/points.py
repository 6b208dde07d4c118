"""The one door for points: numpy or torch in, checked float64 inside, the same kind out."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from kernelgp.errors import ArgumentError, ArgumentTypeError
from solvers.domain import Box

__all__ = ["read_points"]

Array = NDArray[np.float64]


def read_points(
    points: Any, box: Box, dtype: torch.dtype = torch.float64
) -> tuple[Array, Callable[[Array], Any]]:
    """Points in the box as float64 of shape (m, d), and what gives results back in their kind.

    Parameters
    ----------
    points : array or tensor of real numbers, shape (m, d); also (m,) where d is 1
    box
    dtype
        Of the tensors given back for tensors.

    Raises
    ------
    ArgumentTypeError
        If they are no real numbers.
    ArgumentError
        If their shape is another, there is none, one is not finite, or one is outside the box.
    """
    if isinstance(points, Tensor):
        device = points.device
        if points.dtype == torch.bfloat16:
            raise ArgumentError("points", "bfloat16 values", "convert them to float32 or float64")
        values = points.detach().cpu().numpy()

        def give_back(result: Array) -> Any:
            return torch.as_tensor(result, dtype=dtype, device=device)
    else:
        values = _as_array(points)

        def give_back(result: Array) -> Any:
            return result

    return _checked(values, box), give_back


def _as_array(points: Any) -> NDArray[Any]:
    try:
        return np.asarray(points)
    except ValueError as error:
        remedy = "give rows of equal length"
        raise ArgumentTypeError("points", type(points).__name__, remedy) from error


def _checked(values: NDArray[Any], box: Box) -> Array:
    d = box.dimension
    if values.dtype.kind not in "fiu":
        raise ArgumentTypeError("points", f"{values.dtype} values", "give real numbers")
    if values.dtype == np.float16:
        raise ArgumentError("points", "float16 values", "convert them to float32 or float64")
    shape = values.shape
    if values.ndim == 1 and d == 1:
        values = values[:, None]
    if values.ndim != 2 or values.shape[1] != d:
        columns = "m, 1) or (m," if d == 1 else f"m, {d}"
        remedy = f"give ({columns}), one column for each of {', '.join(box.axes)}"
        raise ArgumentError("points", f"shape {shape}", remedy)
    if len(values) == 0:
        raise ArgumentError("points", f"shape {shape}", "give at least one point")
    bad = np.asarray(~np.isfinite(values).all(axis=1))
    if bad.any():
        given = f"{bad.sum()} of {len(bad)} points not finite, the first at row {bad.argmax()}"
        raise ArgumentError("points", given, "remove them")
    # A bound rounded to the precision of the points may lie outside by as much.
    eps = np.finfo(values.dtype).eps if values.dtype.kind == "f" else 0.0
    points = values.astype(np.float64)
    lower, upper = np.array(box.bounds).T
    slack = 2 * eps * np.maximum(abs(lower), abs(upper))
    outside = np.asarray(((points < lower - slack) | (points > upper + slack)).any(axis=1))
    if outside.any():
        first = int(outside.argmax())
        place = ", ".join(f"{c:.6g}" for c in points[first])
        given = (
            f"{outside.sum()} of {len(outside)} points outside, the first ({place}) at row {first}"
        )
        raise ArgumentError("points", given, f"give points in {box}")
    points = np.clip(points, lower, upper)
    if box.region is None:
        return points
    outside = ~box.contains(points)
    if outside.any():
        first = int(outside.argmax())
        place = ", ".join(f"{c:.6g}" for c in points[first])
        given = f"{outside.sum()} of {len(outside)} points, the first ({place}) at row {first}, "
        remedy = "leave them out: domain.contains(points) tells which are inside"
        raise ArgumentError("points", given + "outside the region", remedy)
    return points
