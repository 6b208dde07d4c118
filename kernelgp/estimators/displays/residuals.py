"""How far the targets lie from their predictions, in standard deviations."""

from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import norm

from kernelgp.errors import ArgumentError
from kernelgp.estimators.displays.panel import axes_for, predict_with_std, vectors
from kernelgp.plotting import COLORS

__all__ = ["ResidualsDisplay"]


class ResidualsDisplay:
    """Standardised residuals ``(y - mean) / std`` against the predicted mean.

    Where the model is right they are standard normal, whatever the mean: 95 % lie between the
    lines at ±1.96.

    Parameters
    ----------
    mean, residuals : ndarray, shape (n,)

    Attributes
    ----------
    ax_, figure_
        What was drawn on.

    Examples
    --------
    >>> display = ResidualsDisplay.from_predictions([1.0, 2.0], [1.0, 1.0], [0.5, 0.5])
    >>> display.residuals
    array([0., 2.])
    """

    def __init__(self, *, mean: np.ndarray, residuals: np.ndarray) -> None:
        self.mean, self.residuals = mean, residuals

    @classmethod
    def from_estimator(cls, estimator: Any, X: Any, y: ArrayLike, *, ax: Any = None) -> Self:
        """Predict at `X` and compare with `y`, rows that `fit` has not seen."""
        mean, std = predict_with_std(estimator, X)
        return cls.from_predictions(y, mean, std, ax=ax)

    @classmethod
    def from_predictions(
        cls, y_true: ArrayLike, mean: ArrayLike, std: ArrayLike, *, ax: Any = None
    ) -> Self:
        """From targets and predictions of shape (n,)."""
        y, m, s = vectors(y_true=y_true, mean=mean, std=std)
        if not (s > 0).all():
            given = f"a smallest value of {s.min():.3g}"
            raise ArgumentError("std", given, "give positive deviations, noise included")
        return cls(mean=m, residuals=(y - m) / s).plot(ax)

    def plot(self, ax: Any = None) -> Self:
        """Draw on `ax`, or on a new figure; at the right their histogram and the normal density."""
        self.ax_ = axes_for(ax)
        self.figure_ = self.ax_.figure
        n = len(self.residuals)
        size, alpha = (3.0, 0.8) if n < 500 else (1.5, 0.4)
        self.ax_.plot(
            self.mean, self.residuals, "o", color=COLORS[0], markersize=size, alpha=alpha, mew=0
        )
        for height in (-1.96, 1.96):
            self.ax_.axhline(height, color="0.5", linewidth=1, linestyle="--")
        outside = float(np.mean(np.abs(self.residuals) > 1.96))
        self.ax_.set(
            xlabel="predicted mean",
            ylabel="residual in standard deviations",
        )
        self.ax_.set_title(f"{100 * outside:.1f} % beyond ±1.96 (5 % expected)", fontsize="medium")
        reach = 1.1 * max(3.0, float(np.abs(self.residuals).max()))
        side = self.ax_.inset_axes((1.02, 0.0, 0.18, 1.0), sharey=self.ax_)
        bins = np.linspace(-reach, reach, 41).tolist()
        side.hist(self.residuals, bins, density=True, orientation="horizontal", color="0.75")
        heights = np.linspace(-reach, reach, 200)
        side.plot(norm.pdf(heights), heights, color=COLORS[1], linewidth=1)
        side.axis("off")
        self.ax_.set_ylim(-reach, reach)
        return self
