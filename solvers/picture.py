"""Pictures of a solution: itself, its error, and what it believes its error to be."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from kernelgp import plotting
from kernelgp.errors import ArgumentError
from solvers.problem import Problem
from solvers.protocol import Posterior, has_deviation
from solvers.table import deviation_on_grid

__all__ = ["draw"]

Array = NDArray[np.float64]


def draw(problem: Problem, posterior: Posterior, grid: Sequence[int], path: str | Path) -> Path:
    """Draw into a file of the format that its name ends in; the path.

    Raises
    ------
    ArgumentError
        If the problem has three dimensions, or matplotlib cannot write that format.
    """
    if problem.dimension > 2:
        remedy = "plot a section of to_xarray()"
        raise ArgumentError("solution", f"{problem.dimension} dimensions", remedy)
    return (_draw_line if problem.dimension == 1 else _draw_square)(problem, posterior, grid, path)


def _draw_line(
    problem: Problem, posterior: Posterior, grid: Sequence[int], path: str | Path
) -> Path:
    (axis,), (bounds,), (n,) = problem.axes, problem.domain.bounds, grid
    x = np.linspace(*bounds, max(1001, 8 * n))
    mean = posterior.mean_on_grid([x], (0,))
    std = None
    if has_deviation(posterior):
        sparse = np.linspace(*bounds, 501)
        std = np.interp(x, sparse, posterior.std(sparse[:, None], (0,)))
    below = problem.has_exact or std is not None
    figure, panels = plotting.grid_of_axes(1 + below, 1, width=8.0, height=2.6)
    top = panels[0, 0]
    label = f"{problem.function}, ± 2 standard deviations"
    if std is None:
        top.plot(x, mean, label=problem.function)
    else:
        plotting.band(top, x, mean, std, label=label)
    top.set(title=problem.equation.text, ylabel=problem.function)
    if below:
        bottom = panels[1, 0]
        if problem.has_exact:
            exact = problem.exact(x[:, None])
            top.plot(x, exact, "--", color=plotting.COLORS[1], linewidth=0.8, label="exact")
            error = _positive(np.abs(mean - exact))
            bottom.semilogy(x, error, color=plotting.COLORS[1], linewidth=0.6, label="|error|")
        if std is not None:
            bottom.semilogy(x, _positive(2 * std), label="2 standard deviations")
        bottom.set(xlabel=axis, ylabel="error")
        bottom.legend(loc="best")
    else:
        top.set(xlabel=axis)
    top.legend(loc="upper right")
    top.margins(x=0)
    return plotting.save(figure, path)


def _draw_square(
    problem: Problem, posterior: Posterior, grid: Sequence[int], path: str | Path
) -> Path:
    axes = problem.domain.uniform_axes([min(n, 401) for n in grid])
    extent = (*problem.domain.bounds[0], *problem.domain.bounds[1])
    mean = posterior.mean_on_grid(axes, (0, 0))
    panels = [("solution", mean, "signed")]
    if problem.has_exact:
        mesh = np.meshgrid(*axes, indexing="ij")
        exact = problem.exact(np.stack([c.ravel() for c in mesh], axis=1)).reshape(mean.shape)
        panels.append(("|error|", np.abs(mean - exact), "magnitude"))
    if has_deviation(posterior):
        coarse = problem.domain.uniform_axes([min(n, 41) for n in grid])
        panels.append(("standard deviation", deviation_on_grid(posterior, coarse)[0], "magnitude"))
    figure, drawn = plotting.grid_of_axes(1, len(panels))
    for one, (title, values, scale) in zip(drawn[0], panels, strict=True):
        plotting.field(one, values, extent, scale=scale)
        one.set(title=title, xlabel=problem.axes[0], ylabel=problem.axes[1])
    figure.suptitle(problem.equation.text)
    return plotting.save(figure, path)


def _positive(values: Array) -> Array:
    """Values for a logarithmic axis; what is zero is left blank."""
    return np.where(values > 0, values, np.nan)
