"""Pictures of a sweep as inline SVG."""

import io
import textwrap
from collections.abc import Callable, Sequence

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from experiments.page.summary import Point
from kernelgp.plotting import COLORS, grid_of_axes

__all__ = ["draw_ratios", "draw_sweep", "inline"]

Spread = tuple[float, float, float]
Figures = Callable[[Point], Spread | None]
# Once the colors are used up they come again, with other lines.
_LINES = ("o-", "s--", "^:")


def draw_sweep(points: Sequence[Point], error: str) -> Figure:
    """Seconds by size, error by size, error by seconds and error by memory."""
    figure, axes = grid_of_axes(2, 2, width=4.2, height=2.9)
    panels: list[tuple[Axes, Figures, Figures, str, str]] = [
        (axes[0, 0], _size, lambda p: p.seconds, "n", "seconds"),
        (axes[0, 1], _size, lambda p: p.error, "n", error),
        (axes[1, 0], lambda p: p.seconds, lambda p: p.error, "seconds", error),
        (axes[1, 1], _memory, lambda p: p.error, "MiB (less than 1 drawn as 1)", error),
    ]
    for panel, x, y, x_label, y_label in panels:
        _draw(panel, points, x, y)
        panel.set(xlabel=x_label, ylabel=textwrap.fill(y_label, 26))
    sizes = sorted({point.n for point in points})
    for panel in axes[0]:
        panel.set_xticks(sizes, [str(n) for n in sizes], minor=False)
        panel.set_xticks([], minor=True)
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside upper center", ncols=4)
    return figure


def draw_ratios(ratios: dict[str, Spread], ours: str) -> Figure:
    """How many times our seconds each peer takes: median, with the range over seeds."""
    figure, axes = grid_of_axes(width=8.4, height=0.6 + 0.4 * len(ratios))
    bars = axes[0, 0]
    place = np.arange(len(ratios))
    middle, low, high = np.array(list(ratios.values())).T
    spread = (middle - low, high - middle)
    # From 1, so that a quicker peer's bar goes to the other side.
    bars.barh(place, middle - 1, 0.6, left=1, xerr=spread, color=COLORS[0], ecolor="0.3")
    bars.axvline(1.0, color="0.3", linewidth=1, linestyle="--")
    bars.set_yticks(place, list(ratios))
    bars.invert_yaxis()
    bars.set(xscale="log", xlabel=f"seconds, in those of {ours} on the same data")
    return figure


def inline(figure: Figure, description: str) -> str:
    """The figure as an element of a page, with words for those who cannot see it."""
    buffer = io.StringIO()
    # Text stays text: smaller, and it can be found and read aloud.
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": "kernelgp"}):
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    drawn = buffer.getvalue()
    drawn = drawn[drawn.index("<svg") :]
    return drawn.replace("<svg", f'<svg role="img" aria-label="{description}"', 1)


def _size(point: Point) -> Spread:
    return (point.n, point.n, point.n)


def _memory(point: Point) -> Spread | None:
    """A process that did not grow has no place on a logarithmic axis."""
    if point.mib is None:
        return None
    middle, low, high = (max(value, 1.0) for value in point.mib)
    return (middle, low, high)


def _draw(axes: Axes, points: Sequence[Point], x: Figures, y: Figures) -> None:
    for i, method in enumerate(dict.fromkeys(point.method for point in points)):
        pairs = [(x(p), y(p)) for p in points if p.method == method]
        known = [(a, b) for a, b in pairs if a is not None and b is not None]
        if not known:
            continue
        color, line = COLORS[i % len(COLORS)], _LINES[i // len(COLORS) % len(_LINES)]
        across, up = np.array([a for a, _ in known]), np.array([b for _, b in known])
        # An error of nought has no place on a logarithmic axis either.
        up = np.where(up > 0, up, np.nan)
        axes.plot(across[:, 0], up[:, 0], line, color=color, markersize=4, label=method)
        axes.vlines(across[:, 0], up[:, 1], up[:, 2], color=color, alpha=0.5)
        axes.hlines(up[:, 0], across[:, 1], across[:, 2], color=color, alpha=0.5)
    axes.set(xscale="log", yscale="log")
