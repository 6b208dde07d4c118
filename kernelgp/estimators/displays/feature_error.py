"""How well random features make a kernel matrix, as they grow, beside what theory says."""

from collections.abc import Sequence
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import ArrayLike

from kernelgp.errors import ArgumentError
from kernelgp.estimators.displays.panel import axes_for, vectors
from kernelgp.features import FourierFeatures, fourier_error
from kernelgp.features.sampler import read_kernel
from kernelgp.plotting import COLORS
from kernelgp.random import RandomState, as_generator
from kernelgp.validation import check_count

__all__ = ["FeatureErrorDisplay"]

_ROWS = 300


class FeatureErrorDisplay:
    """Observed error of the kernel matrix by number of columns, and the predicted one.

    Relative, in the Frobenius norm. Predicted is that of independent frequencies, in closed form:
    where the points of a coupling are below the line, it gains.

    Parameters
    ----------
    n_components, observed, predicted : ndarray, shape (k,)

    Attributes
    ----------
    ax_, figure_
        What was drawn on.

    Examples
    --------
    >>> from kernelgp.kernels import RBF
    >>> X = np.random.default_rng(0).normal(size=(50, 4))
    >>> display = FeatureErrorDisplay.from_kernel(RBF(2.0), X, n_components=[16, 64])
    >>> float(display.predicted[0] / display.predicted[1])
    2.0
    """

    def __init__(
        self, *, n_components: np.ndarray, observed: np.ndarray, predicted: np.ndarray
    ) -> None:
        self.n_components, self.observed, self.predicted = n_components, observed, predicted

    @classmethod
    def from_kernel(
        cls,
        kernel: Any,
        X: ArrayLike,
        *,
        n_components: Sequence[int] = (16, 32, 64, 128, 256, 512, 1024),
        coupling: Any = "orthogonal",
        n_draws: int = 5,
        random_state: RandomState = 0,
        ax: Any = None,
    ) -> Self:
        """Draw features of every size and compare them with the kernel.

        Parameters
        ----------
        kernel : stationary kernel
        X : array, shape (n, d)
            Of which 300 rows at most are looked at, drawn at random.
        n_components
            Even numbers of columns.
        coupling
            As for `FourierFeatures`.
        n_draws
            Of features of each size; the observed error is the root of their mean square.
        """
        n_draws = check_count("n_draws", n_draws)
        sizes = [check_count("n_components", n) for n in n_components]
        if not sizes or any(n % 2 for n in sizes):
            raise ArgumentError("n_components", str(n_components), "give even numbers")
        array = np.asarray(X, dtype=np.float64)
        if array.ndim != 2 or 0 in array.shape or not np.isfinite(array).all():
            raise ArgumentError("X", f"shape {array.shape}", "give finite numbers of shape (n, d)")
        generator = as_generator(random_state)
        rows = array[torch.randperm(len(array), generator=generator)[:_ROWS].numpy()]
        ours = read_kernel(kernel, rows.shape[1])
        with torch.no_grad():
            exact, twice = (
                ours(torch.from_numpy(points)).to_dense().numpy() for points in (rows, 2 * rows)
            )
        variance, size = exact[0, 0], np.linalg.norm(exact)
        error = variance * np.linalg.norm(fourier_error(exact / variance, twice / variance, 1))
        predicted = [error / (n / 2) ** 0.5 / size for n in sizes]
        observed = []
        for n in sizes:
            squares = []
            for _ in range(n_draws):
                made = FourierFeatures(ours, n, coupling=coupling, random_state=generator)
                phi = made.fit_transform(rows)
                squares.append(np.square(phi @ phi.T - exact).sum())
            observed.append(np.mean(squares) ** 0.5 / size)
        return cls.from_errors(sizes, observed, predicted, ax=ax)

    @classmethod
    def from_errors(
        cls, n_components: ArrayLike, observed: ArrayLike, predicted: ArrayLike, *, ax: Any = None
    ) -> Self:
        """From numbers of shape (k,)."""
        found = vectors(n_components=n_components, observed=observed, predicted=predicted)
        return cls(n_components=found[0], observed=found[1], predicted=found[2]).plot(ax)

    def plot(self, ax: Any = None) -> Self:
        """Draw on `ax`, or on a new figure."""
        self.ax_ = axes_for(ax)
        self.figure_ = self.ax_.figure
        self.ax_.plot(
            self.n_components, self.predicted, "--", color=COLORS[1], label="predicted, independent"
        )
        self.ax_.plot(
            self.n_components, self.observed, "o", color=COLORS[0], markersize=4, label="observed"
        )
        self.ax_.set(xlabel="columns", ylabel="relative error", xscale="log", yscale="log")
        self.ax_.legend(frameon=False, fontsize="small")
        return self
