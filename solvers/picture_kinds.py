"""One thing about a solution on one page: its values, error, deviation, residual or spectrum."""

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from kernelgp import plotting
from kernelgp.errors import ArgumentError
from solvers.axis_basis import Component
from solvers.faces import TIME
from solvers.left_sides import left_overs, values_at
from solvers.masked import blanked, exact_on_grid
from solvers.places import PointPlaces
from solvers.posterior import GPPosterior
from solvers.problem import Problem
from solvers.protocol import Posterior, has_deviation, posterior_of
from solvers.table import deviation_on_grid

__all__ = ["KINDS", "Kind", "draw_kind", "draw_planes"]

Array = NDArray[np.float64]
Kind = Literal["solution", "error", "deviation", "residual", "spectrum", "slices"]
KINDS: tuple[Kind, ...] = ("solution", "error", "deviation", "residual", "spectrum", "slices")

# Points along each axis of a picture, by the number of axes that it shows.
_FINE, _SQUARE, _DEVIATION = 2001, 301, 61
_SLICES = 5
# A line of no width, in a spectrum, is drawn this wide relative to its frequency range.
_THIN = 2e-3


def draw_kind(problem: Problem, posterior: Posterior, path: str | Path, kind: Kind) -> Path:
    """Draw one kind of picture; the path.

    Raises
    ------
    ArgumentError
        If there is no such kind, or the solution has not what it shows.
    """
    if kind not in KINDS:
        raise ArgumentError("kind", repr(kind), f"give {', '.join(map(repr, KINDS))} or None")
    if kind == "spectrum":
        return _draw_spectrum(problem, posterior, path)
    if kind == "slices":
        return _draw_slices(problem, posterior, path)
    _check_kind(problem, posterior, kind)
    names = problem.functions if kind != "residual" else problem.functions[:1]
    quantities = [(_title(kind, name), _values(problem, posterior, kind, name))
                  for name in names]  # fmt: skip
    return _draw(problem, quantities, path, kind)


def draw_planes(problem: Problem, posterior: Posterior, path: str | Path) -> Path:
    """The page for several functions or three dimensions: each function and its deviation."""
    present: dict[Kind, bool] = {
        "solution": True,
        "error": problem.has_exact,
        "deviation": has_deviation(posterior),
    }
    kinds: list[Kind] = [kind for kind in KINDS if present.get(kind)]
    quantities = [
        (_title(kind, name), _values(problem, posterior, kind, name))
        for name in problem.functions
        for kind in kinds
    ]
    return _draw(problem, quantities, path, "solution")


def _check_kind(problem: Problem, posterior: Posterior, kind: Kind) -> None:
    remedy = f"give another of {', '.join(map(repr, KINDS))}"
    if kind == "error" and not problem.has_exact:
        raise ArgumentError("kind", "'error' without an exact solution", remedy)
    if kind == "deviation" and not has_deviation(posterior):
        raise ArgumentError("kind", "'deviation' of a solver that has none", remedy)
    if kind == "residual" and not problem.source_is_function:
        raise ArgumentError("kind", "'residual' where the source is an array", remedy)


def _title(kind: Kind, name: str) -> str:
    if kind == "residual":
        return "residual, relative to the largest term"
    return {"solution": name, "error": f"|error of {name}|", "deviation": f"deviation of {name}"}[
        kind
    ]


def _values(
    problem: Problem, posterior: Posterior, kind: Kind, name: str
) -> Callable[[Sequence[Array]], Array]:
    """A quantity as a function of axes, shape (n1, ..., nd)."""
    of, orders = posterior_of(posterior, name), (0,) * problem.dimension

    def at_points(axes: Sequence[Array], function: Callable[[Array], Array]) -> Array:
        points = np.stack([c.ravel() for c in np.meshgrid(*axes, indexing="ij")], axis=1)
        return function(points).reshape([len(x) for x in axes])

    def residual(points: Array) -> Array:
        found = left_overs(problem, PointPlaces(points), values_at(problem, posterior, points))
        return np.max([np.abs(one.residual) / (one.scale or 1.0) for one in found], axis=0)

    def compute(axes: Sequence[Array]) -> Array:
        match kind:
            case "error":
                exact = (
                    exact_on_grid(problem, axes)
                    if len(problem.functions) == 1
                    else at_points(axes, lambda points: problem.exact(points, of=name))
                )
                return np.abs(of.mean_on_grid(axes, orders) - exact)
            case "deviation" if isinstance(of, GPPosterior):
                return deviation_on_grid(of, axes)
            case "deviation":
                return at_points(axes, lambda points: of.std(points, orders))
            case "residual":
                return at_points(axes, residual)
            case _:
                return of.mean_on_grid(axes, orders)

    return lambda axes: blanked(problem, axes, compute(axes))


def _draw(
    problem: Problem,
    quantities: Sequence[tuple[str, Callable[[Sequence[Array]], Array]]],
    path: str | Path,
    kind: Kind,
) -> Path:
    """A line, an image, or three planes through the middle for each quantity."""
    planes = list(_planes(problem.dimension))
    width = 9.0 if problem.dimension == 1 else 4.0
    height = 2.4 if problem.dimension == 1 else 3.2
    figure, panels = plotting.grid_of_axes(len(quantities), len(planes), width=width, height=height)
    for row, (title, values) in zip(panels, quantities, strict=True):
        for axes, shown in zip(row, planes, strict=True):
            _draw_plane(axes, problem, title, values, shown, kind)
    figure.suptitle("; ".join(equation.text for equation in problem.equations))
    return plotting.save(figure, path)


def _planes(dimension: int) -> list[tuple[int, ...]]:
    """The axes that each panel shows; the others stand in the middle."""
    return {1: [(0,)], 2: [(0, 1)], 3: [(0, 1), (0, 2), (1, 2)]}[dimension]


def _draw_plane(
    axes: Any,
    problem: Problem,
    title: str,
    values: Callable[[Sequence[Array]], Array],
    shown: tuple[int, ...],
    kind: Kind,
) -> None:
    costly = kind in ("deviation", "residual") or "deviation" in title
    count = _FINE if len(shown) == 1 else (_DEVIATION if costly else _SQUARE)
    bounds = problem.domain.bounds
    at = [
        np.linspace(*bounds[k], count) if k in shown else np.array([sum(bounds[k]) / 2])
        for k in range(problem.dimension)
    ]
    found = values(at).reshape([count] * len(shown))
    rest = [k for k in range(problem.dimension) if k not in shown]
    where = "".join(f" at {problem.axes[k]} = {at[k][0]:.3g}" for k in rest)
    signed = title in problem.functions
    if len(shown) == 1:
        draw = axes.plot if signed else axes.semilogy
        draw(at[0], found if signed else np.where(found > 0, found, np.nan))
        axes.set(title=f"{title}{where}", xlabel=problem.axes[0], xlim=bounds[0])
        return
    extent = (*bounds[shown[0]], *bounds[shown[1]])
    scale = "log" if kind == "residual" else "magnitude"
    plotting.field(axes, found, extent, scale="signed" if signed else scale)
    axes.set(title=f"{title}{where}", xlabel=problem.axes[shown[0]], ylabel=problem.axes[shown[1]])


def _draw_slices(problem: Problem, posterior: Posterior, path: str | Path) -> Path:
    """The solution at a few times, or along a few lines of the last axis where there is none."""
    if problem.dimension == 1:
        raise ArgumentError("kind", "'slices' in one dimension", "give 'solution'")
    along = problem.axes.index(TIME) if TIME in problem.axes else problem.dimension - 1
    places = np.linspace(*problem.domain.bounds[along], _SLICES)
    others = [k for k in range(problem.dimension) if k != along]
    flat = len(others) == 1
    rows, columns = (len(problem.functions), 1) if flat else (len(problem.functions), _SLICES)
    size = {"width": 9.0, "height": 3.0} if flat else {"width": 3.2, "height": 2.8}
    figure, panels = plotting.grid_of_axes(rows, columns, **size)
    for row, name in zip(panels, problem.functions, strict=True):
        values = _values(problem, posterior, "solution", name)
        for i, place in enumerate(places):
            count = _FINE if flat else _SQUARE
            at = [
                np.array([place]) if k == along else np.linspace(*problem.domain.bounds[k], count)
                for k in range(problem.dimension)
            ]
            found = values(at).reshape([count] * len(others))
            label = f"{problem.axes[along]} = {place:.3g}"
            if flat:
                row[0].plot(at[others[0]], found, label=label)
                row[0].set(xlabel=problem.axes[others[0]], ylabel=name)
                continue
            extent = (*problem.domain.bounds[others[0]], *problem.domain.bounds[others[1]])
            plotting.field(row[i], found, extent)
            x, y = (problem.axes[k] for k in others)
            row[i].set(title=f"{name} at {label}", xlabel=x, ylabel=y)
        if flat:
            row[0].set_xlim(*problem.domain.bounds[others[0]])
            row[0].legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=_SLICES, frameon=False)
    figure.suptitle("; ".join(equation.text for equation in problem.equations), x=0.01, ha="left")
    return plotting.save(figure, path)


def _draw_spectrum(problem: Problem, posterior: Posterior, path: str | Path) -> Path:
    """The prior's spectral density along each axis, and the frequencies found."""
    frequencies = getattr(posterior.report, "frequencies", None)
    if not isinstance(posterior, GPPosterior) or frequencies is None:
        given = f"'spectrum' of a {type(posterior).__name__}"
        raise ArgumentError("kind", given, f"give another of {', '.join(map(repr, KINDS))}")
    figure, panels = plotting.grid_of_axes(problem.dimension, 1, width=9.0, height=2.4)
    for panel, name, axis in zip(panels[:, 0], problem.axes, posterior.equation.axes, strict=True):
        components = getattr(axis.basis, "components", ())
        found = np.asarray(frequencies.get(name, ()), dtype=float)
        if components:
            top = 1.15 * max([c.frequency for c in components] + [2 / _width(axis)])
            f = np.linspace(0, top, 4001)
            panel.semilogy(f, _density(components, f, top), label="spectral density of the prior")
        for k, one in enumerate(found):
            label = "found in the data" if k == 0 else None
            panel.axvline(one, color=plotting.COLORS[1], linestyle="--", linewidth=0.8, label=label)
        panel.set(xlabel=f"frequency in {name}, cycles per unit", ylabel="density")
        panel.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=2, frameon=False)
    figure.suptitle(problem.equation.text, x=0.01, ha="left")
    return plotting.save(figure, path)


def _width(axis: Any) -> float:
    return float(axis.basis.upper - axis.basis.lower)


def _density(components: Sequence[Component], f: Array, top: float) -> Array:
    """Of a mixture of Gaussians, at frequencies from 0; down to 1e-12 of its largest value."""
    total = np.zeros_like(f)
    for c in components:
        sd = max(1 / (2 * math.pi * c.lengthscale), _THIN * top)
        weight = c.weight / (math.sqrt(2 * math.pi) * sd)
        total += weight * np.exp(-0.5 * ((f - c.frequency) / sd) ** 2)
    return np.maximum(total, 1e-12 * total.max())
