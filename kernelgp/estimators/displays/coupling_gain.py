"""Where a coupling of positive features gains, and where the data are."""

from typing import Any, Literal, Self

import numpy as np
from numpy.typing import ArrayLike

from kernelgp.errors import ArgumentError
from kernelgp.estimators.displays.panel import axes_for, vectors
from kernelgp.features import relative_error
from kernelgp.plotting import COLORS
from kernelgp.validation import check_count

__all__ = ["CouplingGainDisplay"]

_ROWS, _POINTS = 300, 80
# Lengthscales beyond which no coupling differs from another.
_FAR = 20.0


class CouplingGainDisplay:
    """Histogram of ``|x + y|`` over pairs of rows, and the errors of positive features there.

    Errors are mean squared ones, relative to independent features: the further below 1 where the
    pairs are, the more a coupling gains.

    Parameters
    ----------
    v : ndarray, shape (k,)
        ``|x + y|`` of pairs, in lengthscales.
    d
        Number of inputs.

    Attributes
    ----------
    ax_, figure_
        What was drawn on.

    References
    ----------
    I. Reid, K. Choromanski, V. Likhosherstov and A. Weller, *Simplex random features*, ICML 2023,
    sections 3 and 4.

    Examples
    --------
    >>> X = np.random.default_rng(0).normal(size=(100, 16))
    >>> display = CouplingGainDisplay.from_data(X, lengthscale=8.0)
    >>> display.ax_.get_xlabel()
    '|x + y| in lengthscales'
    """

    def __init__(self, *, v: np.ndarray, d: int) -> None:
        self.v, self.d = v, d

    @classmethod
    def from_data(cls, X: ArrayLike, *, lengthscale: ArrayLike = 1.0, ax: Any = None) -> Self:
        """From all pairs of 300 rows at most, about their mean as `PositiveFeatures` sees them.

        Parameters
        ----------
        X : array, shape (n, d)
            Of more rows, as many evenly spaced ones.
        lengthscale : positive number or array, shape (d,)
        """
        rows = np.asarray(X, dtype=np.float64)
        if rows.ndim != 2 or len(rows) < 2 or not rows.shape[1] or not np.isfinite(rows).all():
            given = f"shape {rows.shape}"
            raise ArgumentError("X", given, "give finite numbers of shape (n, d), two rows or more")
        scale = np.asarray(lengthscale, dtype=np.float64)
        if scale.shape not in ((), (1,), rows.shape[1:]) or not (scale > 0).all():
            remedy = f"give a positive number, or {rows.shape[1]} of them"
            raise ArgumentError("lengthscale", str(lengthscale), remedy)
        rows = (rows - rows.mean(axis=0)) / scale
        rows = rows[np.linspace(0, len(rows) - 1, min(len(rows), _ROWS)).astype(int)]
        first, second = np.triu_indices(len(rows), 1)
        v = np.linalg.norm(rows[first] + rows[second], axis=1)
        return cls.from_distances(v, rows.shape[1], ax=ax)

    @classmethod
    def from_distances(cls, v: ArrayLike, d: int, *, ax: Any = None) -> Self:
        """From ``|x + y|`` of pairs, shape (k,), of points with d coordinates."""
        (found,) = vectors(v=v)
        if (found < 0).any():
            raise ArgumentError("v", "negative numbers", "give distances")
        return cls(v=found, d=check_count("d", d)).plot(ax)

    def plot(self, ax: Any = None) -> Self:
        """Draw on `ax`, or on a new figure."""
        self.ax_ = axes_for(ax)
        self.figure_ = self.ax_.figure
        counts, edges = np.histogram(self.v, bins=40)
        # Scaled to the curves: how many are where is what matters.
        self.ax_.stairs(
            counts / counts.max(), edges, fill=True, color="0.85", label="pairs, to scale"
        )
        grid = np.linspace(0, min(self.v.max() or 1.0, _FAR), _POINTS)
        for coupling, style, color in _CURVES:
            errors = relative_error(coupling, self.d, grid)
            self.ax_.plot(grid, errors, style, color=color, label=coupling)
        self.ax_.set(xlabel="|x + y| in lengthscales", ylabel="error / independent", ylim=(0, None))
        self.ax_.legend(frameon=False, fontsize="small")
        return self


_CURVES: tuple[tuple[Literal["iid", "orthogonal", "simplex"], str, str], ...] = (
    ("iid", ":", "0.4"),
    ("orthogonal", "--", COLORS[1]),
    ("simplex", "-", COLORS[0]),
)
