"""What every display needs: axes to draw on, and numbers that fit together."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import ArrayLike, NDArray
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from kernelgp.errors import ArgumentError, ArgumentTypeError
from kernelgp.plotting import grid_of_axes

__all__ = ["axes_for", "column", "predict_with_std", "vectors"]


def axes_for(ax: Any) -> Axes:
    """The axes given, or new ones in the style of `kernelgp.plotting`.

    Raises
    ------
    ArgumentTypeError
        If `ax` is something else.
    """
    if ax is None:
        return grid_of_axes()[1][0, 0]
    if not isinstance(ax, Axes):
        raise ArgumentTypeError("ax", type(ax).__name__, "give matplotlib axes, or None")
    return ax


def vectors(**given: ArrayLike) -> list[NDArray[np.float64]]:
    """Finite numbers of shape (n,), as many in each.

    Raises
    ------
    ArgumentError
        Naming what has another shape or is not finite.
    """
    found: dict[str, NDArray[np.float64]] = {}
    for name, values in given.items():
        if isinstance(values, Tensor):
            values = values.detach().cpu()
        array = np.asarray(values, dtype=np.float64)
        array = array[:, 0] if array.ndim == 2 and array.shape[1] == 1 else array
        if array.ndim != 1 or not len(array):
            remedy = "give one number for each row: one output at a time"
            raise ArgumentError(name, f"shape {array.shape}", remedy)
        if not np.isfinite(array).all():
            count = int((~np.isfinite(array)).sum())
            raise ArgumentError(name, f"{count} values that are not finite", "leave them out")
        first = next(iter(found.items()), None)
        if first is not None and len(array) != len(first[1]):
            remedy = f"give {len(first[1])}, as many as of {first[0]}"
            raise ArgumentError(name, f"{len(array)} values", remedy)
        found[name] = array
    return list(found.values())


def predict_with_std(estimator: Any, X: Any) -> tuple[Any, Any]:
    """Mean and standard deviation of the response.

    Raises
    ------
    ArgumentTypeError
        If the estimator gives no deviations.
    """
    check_is_fitted(estimator)
    try:
        return estimator.predict(X, return_std=True)
    except TypeError as error:
        given = f"{type(estimator).__name__}, whose predict takes no return_std"
        remedy = "give a regressor that knows its deviation, such as GPRegressor"
        raise ArgumentTypeError("estimator", given, remedy) from error


def column(X: Any, index: int) -> NDArray[Any]:
    """One column of an array, frame or tensor."""
    if isinstance(X, Tensor):
        X = X.detach().cpu()
    array = np.asarray(X)
    if array.ndim != 2:
        raise ArgumentError("X", f"shape {array.shape}", "give (n, d)")
    if not -array.shape[1] <= index < array.shape[1]:
        remedy = f"name one of the {array.shape[1]} columns"
        raise ArgumentError("feature", str(index), remedy)
    return array[:, index].astype(np.float64)
