"""A mean and two standard deviations around it, along one input."""

from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils.validation import check_is_fitted

from kernelgp.errors import ArgumentError
from kernelgp.estimators.displays.panel import axes_for, column, predict_with_std, vectors
from kernelgp.plotting import COLORS, band

__all__ = ["PredictionBandDisplay"]


class PredictionBandDisplay:
    """Predictions along one input, with a band of two standard deviations.

    Made by `from_estimator` or `from_predictions`.

    Parameters
    ----------
    x, mean, std : ndarray, shape (m,)
        In the order of `x`.
    x_data, y_data : ndarray, shape (n,), or None
        Observations to draw besides.
    feature_name, target_name : str
        Labels of the axes.

    Attributes
    ----------
    ax_, figure_
        What was drawn on.

    Examples
    --------
    >>> x = np.linspace(0, 1, 50)
    >>> display = PredictionBandDisplay.from_predictions(x, np.sin(6 * x), 0.1 + 0 * x)
    >>> display.ax_.get_xlabel()
    'x'
    """

    def __init__(
        self,
        *,
        x: ArrayLike,
        mean: ArrayLike,
        std: ArrayLike,
        x_data: ArrayLike | None = None,
        y_data: ArrayLike | None = None,
        feature_name: str = "x",
        target_name: str = "y",
    ) -> None:
        self.x, self.mean, self.std = x, mean, std
        self.x_data, self.y_data = x_data, y_data
        self.feature_name, self.target_name = feature_name, target_name

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: Any = None,
        y: ArrayLike | None = None,
        *,
        feature: int = 0,
        n_points: int = 200,
        ax: Any = None,
    ) -> Self:
        """Predict along one input, the others at their medians.

        Parameters
        ----------
        estimator
            Fitted, with ``predict(X, return_std=True)``, of one output.
        X : array-like, shape (n, d), optional
            Its range and medians are those of the picture; the training rows by default.
        y : array-like, shape (n,), optional
            Drawn over `X`; the training targets by default, where there is one input.
        feature
            The column to move along.
        n_points
            How many predictions.
        ax : matplotlib axes, optional
        """
        check_is_fitted(estimator)
        if X is None:
            if not hasattr(estimator, "X_train_"):
                given = "None for an estimator that keeps no training rows"
                raise ArgumentError("X", given, "give the rows whose range is to be drawn")
            X = estimator.X_train_
            y = estimator.y_train_ if y is None and X.shape[1] == 1 else y
        x = column(X, feature)
        line = np.linspace(x.min(), x.max(), n_points)
        rows = np.tile(np.nanmedian(np.asarray(X, dtype=np.float64), axis=0), (n_points, 1))
        rows[:, feature] = line
        names = getattr(estimator, "feature_names_in_", None)
        mean, std = predict_with_std(estimator, _named(rows, X, names))
        return cls.from_predictions(
            line,
            mean,
            std,
            x_data=None if y is None else x,
            y_data=y,
            feature_name=_feature_name(names, feature, len(rows[0])),
            ax=ax,
        )

    @classmethod
    def from_predictions(
        cls,
        x: ArrayLike,
        mean: ArrayLike,
        std: ArrayLike,
        *,
        x_data: ArrayLike | None = None,
        y_data: ArrayLike | None = None,
        feature_name: str = "x",
        target_name: str = "y",
        ax: Any = None,
    ) -> Self:
        """Draw predictions that are there already; all of shape (m,), data of shape (n,)."""
        found = np.stack(vectors(x=x, mean=mean, std=std))
        found = found[:, np.argsort(found[0], kind="stable")]
        if y_data is not None and x_data is not None:
            y_data = np.asarray(y_data, dtype=np.float64)
            seen = ~np.isnan(y_data)  # missing targets are no points
            x_data, y_data = vectors(x_data=np.asarray(x_data)[seen], y_data=y_data[seen])
        return cls(
            x=found[0],
            mean=found[1],
            std=found[2],
            x_data=x_data,
            y_data=y_data,
            feature_name=feature_name,
            target_name=target_name,
        ).plot(ax)

    def plot(self, ax: Any = None) -> Self:
        """Draw on `ax`, or on a new figure."""
        self.ax_ = axes_for(ax)
        self.figure_ = self.ax_.figure
        if self.x_data is not None and self.y_data is not None:
            n = len(np.asarray(self.x_data))
            size = 3.5 if n < 300 else 1.5
            self.ax_.plot(
                self.x_data, self.y_data, "o", color="0.35", markersize=size, label="data"
            )
        label = "mean ± 2 standard deviations"
        band(self.ax_, self.x, self.mean, self.std, label=label, color=COLORS[0])
        self.ax_.set(xlabel=self.feature_name, ylabel=self.target_name)
        self.ax_.legend(frameon=False, fontsize="small")
        return self


def _named(rows: np.ndarray, X: Any, names: Any) -> Any:
    """`rows` as what X is, where columns have names: an estimator asks for them again."""
    if names is None or not hasattr(X, "columns"):
        return rows
    return type(X)(rows, **{_COLUMNS.get(type(X).__module__.split(".")[0], "columns"): list(names)})


_COLUMNS = {"polars": "schema"}


def _feature_name(names: Any, feature: int, d: int) -> str:
    if names is not None:
        return str(names[feature])
    return "x" if d == 1 else f"x[{feature % d}]"
