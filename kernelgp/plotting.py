"""Pictures in one restrained style, drawn through matplotlib's objects.

No pyplot: it keeps every figure alive and picks a window system at import, and a library
should do neither. A figure made here is an ordinary ``matplotlib.figure.Figure``.
"""

from pathlib import Path
from typing import Any, Literal

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from kernelgp.errors import ArgumentError

__all__ = ["COLORS", "band", "field", "grid_of_axes", "save"]

COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
"""Okabe and Ito's colors, told apart by every kind of eye."""

# What axes read when they are made; sizes of titles and legends are read when those are drawn.
_STYLE: dict[Any, Any] = {
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "0.9",
    "grid.linewidth": 0.6,
    "axes.axisbelow": True,
}


def grid_of_axes(
    rows: int = 1, columns: int = 1, *, width: float = 4.0, height: float = 3.2
) -> tuple[Figure, np.ndarray]:
    """A figure and its axes, shape (rows, columns); `width` and `height` of one, in inches.

    Examples
    --------
    >>> figure, axes = grid_of_axes(1, 2)
    >>> axes.shape
    (1, 2)
    """
    with rc_context(_STYLE):
        figure = Figure(figsize=(width * columns, height * rows), layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.subplots(rows, columns, squeeze=False)
    for one in axes.flat:
        one.set_prop_cycle(color=COLORS)
    return figure, axes


def band(
    axes: Axes, x: ArrayLike, mean: ArrayLike, std: ArrayLike, *, label: str, color: str = COLORS[0]
) -> None:
    """A mean and the two standard deviations around it; each of shape (n,)."""
    x, mean, std = (np.asarray(a, dtype=float) for a in (x, mean, std))
    axes.plot(x, mean, color=color, label=label)
    axes.fill_between(x, mean - 2 * std, mean + 2 * std, color=color, alpha=0.2, linewidth=0)


def field(
    axes: Axes,
    values: ArrayLike,
    extent: tuple[float, float, float, float],
    *,
    scale: Literal["signed", "magnitude", "log"] = "signed",
    label: str = "",
) -> None:
    """Values on a grid as an image with its color bar.

    Parameters
    ----------
    values : array, shape (n1, n2)
        The first axis runs to the right and the second upwards.
    extent
        Lower and upper end of the first axis, then of the second.
    scale
        ``"signed"`` is symmetric about 0, ``"magnitude"`` runs from 0 to the largest,
        ``"log"`` is for positive values over several decades; zeros are left blank.
    label
        Beside the color bar.
    """
    image = np.ma.masked_invalid(np.asarray(values, dtype=float).T)
    seen = image.compressed()
    top = float(abs(seen).max(initial=0.0)) or 1.0
    match scale:
        case "signed":
            norm, colors = Normalize(-top, top), "RdBu_r"
        case "magnitude":
            norm, colors = Normalize(0.0, top), "viridis"
        case "log":
            # Six decades at most: one value next to zero must not stretch the scale to 1e-300.
            low = max(float(seen.min(initial=top, where=seen > 0)), 1e-6 * top)
            image = np.ma.masked_less_equal(image, 0.0)
            norm, colors = LogNorm(min(low, top / 10), top, clip=True), "magma"
    drawn = axes.imshow(image, extent=extent, norm=norm, cmap=colors, origin="lower", aspect="auto")
    axes.grid(visible=False)
    bar = axes.figure.colorbar(drawn, ax=axes, label=label)
    bar.ax.grid(visible=False)


def save(figure: Figure, path: str | Path, *, dpi: float = 150) -> Path:
    """Write the figure in the format of the path's suffix, making its folder; the path.

    Raises
    ------
    ArgumentError
        If matplotlib cannot write that format.
    """
    path = Path(path)
    known = figure.canvas.get_supported_filetypes()
    if path.suffix.removeprefix(".").lower() not in known:
        remedy = f"end it in one of {', '.join('.' + suffix for suffix in sorted(known))}"
        raise ArgumentError("path", repr(str(path)), remedy)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=dpi)
    return path
