"""Pictures of a solution: itself, its error, and what it believes its error to be."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from kernelgp import plotting
from solvers.masked import blanked, exact_on_grid
from solvers.picture_kinds import draw_planes
from solvers.problem import Problem
from solvers.protocol import Posterior, has_deviation
from solvers.table import deviation_on_grid
from solvers.verdict import residual_on

__all__ = ["draw"]

Array = NDArray[np.float64]

# A panel is some 400 pixels wide; waves narrower than 8 of them turn into moiré.
_PIXELS = 400
_WAVES = 50


def draw(problem: Problem, posterior: Posterior, grid: Sequence[int], path: str | Path) -> Path:
    """Draw into a file of the format that its name ends in; the path.

    Raises
    ------
    ArgumentError
        If matplotlib cannot write that format.
    """
    if problem.dimension > 2 or len(problem.functions) > 1:
        return draw_planes(problem, posterior, path)
    if problem.dimension == 1:
        return _draw_line(problem, posterior, grid, path)
    return _draw_square(problem, posterior, path)


def _draw_line(
    problem: Problem, posterior: Posterior, grid: Sequence[int], path: str | Path
) -> Path:
    (axis,), (bounds,), (n,) = problem.axes, problem.domain.bounds, grid
    x = np.linspace(*bounds, max(1001, 8 * n))
    mean = blanked(problem, [x], posterior.mean_on_grid([x], (0,)))
    std = None
    if has_deviation(posterior):
        sparse = np.linspace(*bounds, 501)
        std = np.interp(x, sparse, posterior.std(sparse[:, None], (0,)))
    exact = exact_on_grid(problem, [x]) if problem.has_exact else None
    rows = 1 if std is None and exact is None else 2
    figure, panels = plotting.grid_of_axes(rows, 1, width=9.0, height=2.4)
    top, bottom = panels[0, 0], panels[-1, 0]
    if std is None:
        top.plot(x, mean, label=problem.function)
    else:
        plotting.band(top, x, mean, std, label=f"{problem.function} ± 2 standard deviations")
    if exact is not None:
        top.plot(x, exact, "--", color=plotting.COLORS[1], linewidth=0.7, label="exact")
        bottom.semilogy(
            x,
            _positive(abs(mean - exact)),
            color=plotting.COLORS[1],
            linewidth=0.7,
            label="|error|",
        )
    if std is not None:
        bottom.semilogy(x, _positive(2 * std), color=plotting.COLORS[0], label="2 deviations")
    top.set_ylabel(problem.function)
    top.set_title(problem.equation.text, loc="left")
    bottom.set_xlabel(axis)
    if rows == 2:
        bottom.set_ylabel("error")
    for panel in {top, bottom}:
        panel.set_xlim(*bounds)
        # Above the frame: inside it, a dense oscillation leaves no place for a legend.
        panel.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=2, frameon=False)
    return plotting.save(figure, path)


def _draw_square(problem: Problem, posterior: Posterior, path: str | Path) -> Path:
    bounds = problem.domain.bounds
    axes = problem.domain.uniform_axes([_PIXELS, _PIXELS])
    judged = problem.has_exact or problem.source_is_function
    figure, panels = plotting.grid_of_axes(1, 1 + judged + has_deviation(posterior))
    window = [_window(problem, posterior, k) for k in (0, 1)]
    detail = "" if window == list(bounds) else ", lower left corner"
    shown = [np.linspace(lo, hi, _PIXELS) for lo, hi in window]
    solution = blanked(problem, shown, posterior.mean_on_grid(shown, (0, 0)))
    rest = iter(panels[0])
    _image(next(rest), problem, f"solution{detail}", solution, window)
    if problem.has_exact:
        error = abs(posterior.mean_on_grid(axes, (0, 0)) - exact_on_grid(problem, axes))
        _image(next(rest), problem, "|error|", error, bounds)
    elif problem.source_is_function:
        residual, _ = residual_on(problem, posterior, axes)
        _image(next(rest), problem, "|residual of the equation|", abs(residual), bounds)
    if has_deviation(posterior):
        fewer = problem.domain.uniform_axes([101, 101])
        std = blanked(problem, fewer, deviation_on_grid(posterior, fewer))
        _image(next(rest), problem, "standard deviation", std, bounds)
    figure.suptitle(problem.equation.text)
    return plotting.save(figure, path)


def _image(
    axes: Axes,
    problem: Problem,
    title: str,
    values: Array,
    bounds: Sequence[tuple[float, float]],
) -> None:
    scale = "signed" if title.startswith("solution") else "magnitude"
    plotting.field(axes, values, (*bounds[0], *bounds[1]), scale=scale)
    axes.set(title=title, xlabel=problem.axes[0], ylabel=problem.axes[1])


def _window(problem: Problem, posterior: Posterior, k: int) -> tuple[float, float]:
    """The lower part of axis k that shows no more waves than a panel can."""
    lower, upper = problem.domain.bounds[k]
    frequencies = getattr(posterior.report, "frequencies", None) or {}
    fastest = max((abs(float(f)) for f in frequencies.get(problem.axes[k], ())), default=0.0)
    if fastest * (upper - lower) <= _WAVES:
        return lower, upper
    return lower, lower + _WAVES / 4 / fastest


def _positive(values: Array) -> Array:
    """Values for a logarithmic axis; what is zero is left blank."""
    return np.where(values > 0, values, np.nan)
