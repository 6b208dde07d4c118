"""Pictures of several unknowns: one row for each function and each unknown field."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from kernelgp import plotting
from kernelgp.errors import ArgumentError
from solvers.collocation_posterior import CollocationPosterior
from solvers.problem import Problem
from solvers.protocol import Posterior, has_deviation, posterior_of

__all__ = ["draw_system"]

_PIXELS, _FEWER = 300, 61


def draw_system(
    problem: Problem, posterior: Posterior, grid: Sequence[int], path: str | Path
) -> Path:
    """Draw every unknown with its deviation into a file; the path.

    Raises
    ------
    ArgumentError
        If the problem has three dimensions, or matplotlib cannot write that format.
    """
    if problem.dimension > 2:
        remedy = "plot a section of to_xarray()"
        raise ArgumentError("solution", f"{problem.dimension} dimensions", remedy)
    fields = posterior.fields if isinstance(posterior, CollocationPosterior) else []
    names, bounds = [*problem.functions, *fields], problem.domain.bounds
    if problem.dimension == 1:
        figure, panels = plotting.grid_of_axes(len(names), 1, width=9.0, height=2.4)
        x = np.linspace(*bounds[0], max(501, 4 * grid[0]))
        for name, panel in zip(names, panels[:, 0], strict=True):
            own = posterior_of(posterior, name)
            mean, std = own.mean_on_grid([x], (0,)), own.std(x[:, None], (0,))
            plotting.band(panel, x, mean, std, label=f"{name} ± 2 standard deviations")
            if name in problem.exact_formulas:
                exact = problem.exact(x[:, None], of=name)
                style = {"color": plotting.COLORS[1], "linewidth": 0.7}
                panel.plot(x, exact, "--", label="exact", **style)
            panel.set_xlim(*bounds[0])
            panel.set_ylabel(name)
            panel.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=2, frameon=False)
        panels[-1, 0].set_xlabel(problem.axes[0])
        return plotting.save(figure, path)
    columns = 1 + has_deviation(posterior_of(posterior, names[0]))
    figure, panels = plotting.grid_of_axes(len(names), columns)
    fine, coarse = (problem.domain.uniform_axes([n, n]) for n in (_PIXELS, _FEWER))
    points = np.stack([c.ravel() for c in np.meshgrid(*coarse, indexing="ij")], axis=1)
    extent = (*bounds[0], *bounds[1])
    for name, row in zip(names, panels, strict=True):
        own = posterior_of(posterior, name)
        plotting.field(row[0], own.mean_on_grid(fine, (0, 0)), extent, scale="signed")
        row[0].set(title=name, xlabel=problem.axes[0], ylabel=problem.axes[1])
        if columns > 1:
            std = own.std(points, (0, 0)).reshape(_FEWER, _FEWER)
            plotting.field(row[1], std, extent, scale="magnitude")
            row[1].set(title=f"standard deviation of {name}", xlabel=problem.axes[0])
    return plotting.save(figure, path)
