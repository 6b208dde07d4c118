"""What an optimiser did, step by step."""

from typing import Any, Self

import numpy as np
from matplotlib.ticker import MaxNLocator
from numpy.typing import ArrayLike
from sklearn.utils.validation import check_is_fitted

from kernelgp.errors import ArgumentError
from kernelgp.estimators.displays.panel import axes_for, vectors
from kernelgp.plotting import COLORS

__all__ = ["ConvergenceDisplay"]


class ConvergenceDisplay:
    """How far the objective was above its best, and the norm of its gradient, by iteration.

    Parameters
    ----------
    iteration, objective, gradient_norm : ndarray, shape (k,)

    Attributes
    ----------
    ax_, figure_
        What was drawn on.

    Examples
    --------
    >>> display = ConvergenceDisplay.from_history([0, 1, 2], [3.0, 1.0, 0.5], [2.0, 0.5, 1e-3])
    >>> display.ax_.get_xlabel()
    'iteration'
    """

    def __init__(
        self, *, iteration: np.ndarray, objective: np.ndarray, gradient_norm: np.ndarray
    ) -> None:
        self.iteration, self.objective = iteration, objective
        self.gradient_norm = gradient_norm

    @classmethod
    def from_estimator(cls, estimator: Any, *, ax: Any = None) -> Self:
        """From the history in the fitted `report_`.

        Raises
        ------
        ArgumentError
            If nothing was optimised.
        """
        check_is_fitted(estimator)
        report = estimator.report_
        report = getattr(report, "optimizer", report)
        history = getattr(report, "history", ())
        if not len(history):
            given = f"a {type(estimator).__name__} whose fit had nothing to optimise"
            raise ArgumentError("estimator", given, 'fit with optimizer="lbfgs"')
        columns = ([getattr(step, name) for step in history] for name in _COLUMNS)
        return cls.from_history(*columns, ax=ax)

    @classmethod
    def from_history(
        cls, iteration: ArrayLike, objective: ArrayLike, gradient_norm: ArrayLike, *, ax: Any = None
    ) -> Self:
        """From numbers of shape (k,)."""
        found = vectors(iteration=iteration, objective=objective, gradient_norm=gradient_norm)
        return cls(iteration=found[0], objective=found[1], gradient_norm=found[2]).plot(ax)

    def plot(self, ax: Any = None) -> Self:
        """Draw on `ax`, or on a new figure."""
        self.ax_ = axes_for(ax)
        self.figure_ = self.ax_.figure
        above = self.objective - self.objective.min()
        for values, label, marker, color in (
            (above, "objective above its best", "o-", COLORS[0]),
            (self.gradient_norm, "norm of the gradient", "s--", COLORS[1]),
        ):
            shown = np.where(values > 0, values, np.nan)  # the axis is a logarithm
            self.ax_.plot(self.iteration, shown, marker, color=color, markersize=3, label=label)
        self.ax_.set(xlabel="iteration", yscale="log")
        self.ax_.xaxis.set_major_locator(MaxNLocator(integer=True))
        self.ax_.legend(frameon=False, fontsize="small")
        return self


_COLUMNS = ("iteration", "objective", "gradient_norm")
