"""What labels and counts look like: California's prices and tracts, and sunspots."""

from pathlib import Path

import numpy as np
from scipy.spatial import KDTree

from experiments.vecchia.data import read_houses, read_sunspots
from kernelgp import DKLGPClassifier, DKLGPRegressor
from kernelgp.plotting import COLORS, grid_of_axes, save

__all__ = ["draw_counts", "draw_houses", "draw_sunspots"]

_CELLS = 60


def draw_houses(data: Path, out: Path, most: int | None = None) -> Path:
    """Where a price above the median is likely; the tracts beside it."""
    x, price = read_houses(data)
    if most is not None:
        rows = np.random.default_rng(0).permutation(len(x))[:most]
        x, price = x[rows], price[rows]
    dear = price > np.median(price)
    model = DKLGPClassifier(coordinates="spherical", random_state=0).fit(x, dear)
    grid, shape, extent = _grid(x, 160)
    probability = model.predict_proba(grid)[:, 1]
    # Far from every tract nothing is said.
    gap = KDTree(x).query(grid)[0]
    shown = np.where(gap < 0.25, probability, np.nan).reshape(shape)
    figure, axes = grid_of_axes(1, 2, width=4.5, height=4.2)
    left, right = axes[0]
    left.scatter(x[:, 1], x[:, 0], c=dear, s=1, cmap="coolwarm", rasterized=True)
    image = right.imshow(
        shown, origin="lower", extent=extent, cmap="coolwarm", vmin=0, vmax=1, aspect="auto"
    )
    figure.colorbar(image, ax=right, label="probability")
    left.set_title("median price above the median of all tracts", fontsize="small")
    right.set_title("probability, by place alone", fontsize="small")
    for ax in (left, right):
        ax.set(xlabel="longitude", ylabel="latitude", xlim=extent[:2], ylim=extent[2:])
        ax.grid(visible=False)
    return save(figure, out / "houses.png")


def draw_counts(data: Path, out: Path) -> Path:
    """Tracts in each cell of a map, and the intensity behind them."""
    x, _ = read_houses(data)
    grid, shape, extent = _grid(x, _CELLS)
    edges = [np.linspace(extent[2], extent[3], shape[0] + 1)]
    edges.append(np.linspace(extent[0], extent[1], shape[1] + 1))
    counts = np.histogram2d(x[:, 0], x[:, 1], bins=edges)[0]
    model = DKLGPRegressor(likelihood="negative_binomial", random_state=0)
    model.fit(grid, counts.ravel())
    # Its median: the mean of a log-normal intensity is drawn up by what is not known of it.
    found = np.exp(model.predict(grid, latent=True)).reshape(shape)
    figure, axes = grid_of_axes(1, 2, width=4.5, height=4.2)
    titles = ("tracts in a cell", "median intensity, negative binomial")
    for ax, values, title in zip(axes[0], (counts, found), titles, strict=True):
        image = ax.imshow(
            np.log10(1 + values), origin="lower", extent=extent, cmap="viridis", aspect="auto"
        )
        figure.colorbar(image, ax=ax, label="log10(1 + count)")
        ax.set_title(title, fontsize="small")
        ax.set(xlabel="longitude", ylabel="latitude")
        ax.grid(visible=False)
    return save(figure, out / "counts.png")


def draw_sunspots(data: Path, out: Path) -> Path:
    """Yearly counts with the mean behind them and what years were left out."""
    year, count = read_sunspots(data)
    hidden = (year >= 1850) & (year < 1870)
    given = np.where(hidden, np.nan, count)
    model = DKLGPRegressor(likelihood="negative_binomial", random_state=0)
    model.fit(year[:, None], given)
    x = np.linspace(year.min(), year.max(), 1200)[:, None]
    mean, band = model.predict(x, return_quantiles=[0.05, 0.95])
    figure, axes = grid_of_axes(1, 1, width=9, height=3.4)
    ax = axes[0, 0]
    ax.fill_between(x[:, 0], *band.T, color=COLORS[0], alpha=0.25, linewidth=0, label="90 %")
    ax.plot(x[:, 0], mean, color=COLORS[0], linewidth=1.2, label="mean")
    ax.plot(year[~hidden], count[~hidden], ".", color="0.2", markersize=3, label="seen")
    ax.plot(year[hidden], count[hidden], "x", color=COLORS[1], markersize=4, label="left out")
    ax.set(xlabel="year", ylabel="sunspots")
    ax.legend(frameon=False, fontsize="small", ncols=4, loc="upper left")
    return save(figure, out / "sunspots.png")


def _grid(x: np.ndarray, across: int) -> tuple[np.ndarray, tuple[int, int], tuple[float, ...]]:
    """Centres of cells over the points, latitude first; their shape; left, right, bottom, top."""
    low, high = x.min(axis=0) - 0.05, x.max(axis=0) + 0.05
    shape = (across, across)
    axes = [low[k] + (np.arange(n) + 0.5) / n * (high[k] - low[k]) for k, n in enumerate(shape)]
    grid = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 2)
    return grid, shape, (low[1], high[1], low[0], high[0])
