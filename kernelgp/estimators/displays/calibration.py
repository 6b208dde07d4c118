"""How often the truth lies within the intervals that should hold it so often."""

from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import erf

from kernelgp.errors import ArgumentError
from kernelgp.estimators.displays.panel import axes_for, predict_with_std, vectors
from kernelgp.plotting import COLORS

__all__ = ["CalibrationDisplay"]


class CalibrationDisplay:
    """Share of the targets within central intervals, against the share there should be.

    On the diagonal deviations are right; below it they are too small, above too large.

    Parameters
    ----------
    expected, observed : ndarray, shape (k,)
        Probability of each interval, and the share of the targets in it.
    n_samples : int
        Targets; the shaded region is where 95 % of such shares would lie by chance.
    name : str, optional
        In the legend.

    Attributes
    ----------
    ax_, figure_
        What was drawn on.

    Examples
    --------
    >>> y = np.random.default_rng(0).normal(size=1000)
    >>> display = CalibrationDisplay.from_predictions(y, np.zeros(1000), np.ones(1000))
    >>> bool(abs(display.observed - display.expected).max() < 0.05)
    True
    """

    def __init__(
        self,
        *,
        expected: np.ndarray,
        observed: np.ndarray,
        n_samples: int,
        name: str | None = None,
    ) -> None:
        self.expected, self.observed = expected, observed
        self.n_samples, self.name = n_samples, name

    @classmethod
    def from_estimator(
        cls, estimator: Any, X: Any, y: ArrayLike, *, name: str | None = None, ax: Any = None
    ) -> Self:
        """Predict at `X` and compare with `y`, rows that `fit` has not seen."""
        mean, std = predict_with_std(estimator, X)
        return cls.from_predictions(y, mean, std, name=name or type(estimator).__name__, ax=ax)

    @classmethod
    def from_predictions(
        cls,
        y_true: ArrayLike,
        mean: ArrayLike,
        std: ArrayLike,
        *,
        n_levels: int = 50,
        name: str | None = None,
        ax: Any = None,
    ) -> Self:
        """From normal predictions of mean and standard deviation; all of shape (n,)."""
        y, m, s = vectors(y_true=y_true, mean=mean, std=std)
        if not (s > 0).all():
            given = f"a smallest value of {s.min():.3g}"
            raise ArgumentError("std", given, "give positive deviations, noise included")
        # The probability of the central interval that just reaches each target.
        needed = np.sort(erf(np.abs(y - m) / s / 2**0.5))
        expected = np.linspace(0.0, 1.0, n_levels + 1)
        observed = np.searchsorted(needed, expected, side="right") / len(y)
        return cls(expected=expected, observed=observed, n_samples=len(y), name=name).plot(ax)

    def plot(self, ax: Any = None) -> Self:
        """Draw on `ax`, or on a new figure."""
        self.ax_ = axes_for(ax)
        self.figure_ = self.ax_.figure
        p = self.expected
        chance = 1.96 * np.sqrt(p * (1 - p) / self.n_samples)
        self.ax_.fill_between(p, p - chance, p + chance, color="0.85", linewidth=0)
        self.ax_.plot([0, 1], [0, 1], color="0.5", linewidth=1)
        lines = self.ax_.plot(p, self.observed, label=self.name, color=self._color())
        self.ax_.set(
            xlabel="probability of the interval",
            ylabel="share of the targets in it",
            xlim=(0, 1),
            ylim=(0, 1),
            aspect="equal",
        )
        if self.name is not None:
            self.ax_.legend(handles=None, frameon=False, fontsize="small", loc="upper left")
        self.line_ = lines[0]
        return self

    def _color(self) -> str:
        """The next, where several are drawn on the same axes; each has a diagonal too."""
        return COLORS[len(self.ax_.lines) // 2 % len(COLORS)]
