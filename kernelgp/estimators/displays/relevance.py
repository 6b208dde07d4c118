"""Which inputs the kernel listens to."""

from collections.abc import Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.utils.validation import check_is_fitted

from kernelgp.errors import ArgumentError
from kernelgp.estimators.displays.panel import axes_for
from kernelgp.plotting import COLORS

__all__ = ["RelevanceDisplay"]


class RelevanceDisplay:
    """Relevance of each input: its spread over its lengthscale (automatic relevance determination).

    At 1 the function turns about once over the spread of the input; near 0 it does not change
    with it.

    Parameters
    ----------
    relevance : ndarray, shape (d,) or (parts, d)
        One row for each part of a kernel that has lengthscales; NaN where a part does not look.
    feature_names : sequence of str, length d
    part_names : sequence of str, optional
        What the parts are called.

    Attributes
    ----------
    ax_, figure_
        What was drawn on.

    Examples
    --------
    >>> display = RelevanceDisplay.from_lengthscales([0.5, 10.0], spread=[1.0, 1.0])
    >>> display.relevance
    array([[2. , 0.1]])
    """

    def __init__(
        self,
        *,
        relevance: NDArray[np.float64],
        feature_names: Sequence[str],
        part_names: Sequence[str] = (),
    ) -> None:
        self.relevance, self.feature_names = relevance, list(feature_names)
        self.part_names = list(part_names)

    @classmethod
    def from_estimator(cls, estimator: Any, *, ax: Any = None) -> Self:
        """From the fitted `kernel_` and the spread of the rows it was fitted on.

        Raises
        ------
        ArgumentError
            If no part of the kernel has lengthscales in units of the inputs.
        """
        check_is_fitted(estimator)
        X = np.asarray(estimator.X_train_, dtype=np.float64)
        spread = X.std(axis=0)
        rows, names = [], []
        for kernel in estimator.kernel_.modules():
            # The lengthscale of a periodic kernel is one of phase, without units.
            if not hasattr(kernel, "raw_lengthscale") or hasattr(kernel, "raw_period"):
                continue
            columns = getattr(kernel, "columns", None)
            columns = list(range(len(spread))) if columns is None else list(columns)
            row = np.full(len(spread), np.nan)
            row[columns] = kernel.lengthscale.detach().cpu().double().numpy().reshape(-1)
            rows.append(spread / row)
            names.append(type(kernel).__name__)
        if not rows:
            given = f"{estimator.kernel_!r}, which has no lengthscales"
            raise ArgumentError("estimator", given, "fit a kernel that has, such as RBF or Matern")
        features = getattr(estimator, "feature_names_in_", None)
        features = [f"x[{i}]" for i in range(len(spread))] if features is None else features
        return cls(relevance=np.stack(rows), feature_names=features, part_names=names).plot(ax)

    @classmethod
    def from_lengthscales(
        cls,
        lengthscales: ArrayLike,
        spread: ArrayLike,
        *,
        feature_names: Sequence[str] | None = None,
        ax: Any = None,
    ) -> Self:
        """From lengthscales (d,) or (parts, d), and the spread (d,) of the inputs."""
        lengths, spreads = np.asarray(lengthscales, float), np.asarray(spread, float)
        if spreads.ndim != 1 or lengths.shape[-1:] != spreads.shape or not (lengths > 0).all():
            given = f"lengthscales {lengths.tolist()} for spreads {spreads.tolist()}"
            raise ArgumentError("lengthscales", given, "give a positive number for each input")
        names = feature_names or [f"x[{i}]" for i in range(len(spreads))]
        return cls(relevance=np.atleast_2d(spreads / lengths), feature_names=names).plot(ax)

    def plot(self, ax: Any = None) -> Self:
        """Draw bars on `ax`, or on a new figure, the most relevant input at the top."""
        self.ax_ = axes_for(ax)
        self.figure_ = self.ax_.figure
        relevance = np.atleast_2d(self.relevance)
        order = np.argsort(np.nan_to_num(relevance).max(axis=0), kind="stable")
        place, height = np.arange(len(order)), 0.8 / len(relevance)
        for i, row in enumerate(relevance):
            label = self.part_names[i] if len(relevance) > 1 and self.part_names else None
            offset = ((len(relevance) - 1) / 2 - i) * height
            color = COLORS[i % len(COLORS)]
            self.ax_.barh(
                place + offset, np.nan_to_num(row[order]), height, color=color, label=label
            )
        self.ax_.set_yticks(place, [str(self.feature_names[i]) for i in order])
        self.ax_.set(xlabel="relevance (spread / lengthscale)")
        self.ax_.grid(visible=False, axis="y")
        if len(relevance) > 1 and self.part_names:
            self.ax_.legend(frameon=False, fontsize="small", loc="lower right")
        return self
