"""Tables and pictures of `python -m experiments.vecchia`."""

from collections.abc import Sequence

import numpy as np

from experiments.harness import Options, Run, comparison
from experiments.vecchia.data import SIMULATIONS, simulate
from experiments.vecchia.methods import OURS
from experiments.vecchia.pictures import draw_counts, draw_houses, draw_sunspots
from experiments.vecchia.tasks import NONZEROS
from kernelgp.plotting import COLORS, grid_of_axes, save
from kernelgp.vecchia import maximin_order, nearest_in_balls

__all__ = ["report"]


def report(runs: Sequence[Run], options: Options) -> None:
    """One table a task, the error by non-zeros, and the pictures."""
    for task in dict.fromkeys(run.task for run in runs):
        print(comparison([run for run in runs if run.task == task], OURS, task))
    chosen = [run for run in runs if run.task == NONZEROS and run.error is None]
    if chosen:
        print(f"\nwrote {_draw_nonzeros(chosen, options)}")
    data = options.data
    if data is not None and (data / "uci" / "california_housing.csv").is_file():
        most = 2000 if options.quick else None
        print(f"wrote {draw_houses(data, options.out, most)}")
        print(f"wrote {draw_counts(data, options.out)}")
    if data is not None and (data / "series" / "sunspots.csv").is_file():
        print(f"wrote {draw_sunspots(data, options.out)}")


def _draw_nonzeros(runs: Sequence[Run], options: Options) -> str:
    """The error against the entries of a column, nearest neighbors and the source's balls."""
    run = runs[0]
    share = float(run.params["share"])
    rows = simulate(SIMULATIONS["sim 1"], "gaussian", share, run.seed)
    scaled = rows.x / np.array(SIMULATIONS["sim 1"].lengthscale)
    order, distances = maximin_order(scaled)
    figure, axes = grid_of_axes(1, 1, width=5, height=3.5)
    lines: dict[str, list[tuple[float, float]]] = {"nearest": [], "balls": []}
    for one in runs:
        words = one.method.split()
        size = float(words[0]) if words[1] == "nearest" else float(words[2])
        if words[0] == "balls":
            size = float((nearest_in_balls(scaled[order], distances, size) >= 0).sum(1).mean())
        error = float(one.figures.get("RMSE") or np.nan)
        lines["balls" if words[0] == "balls" else "nearest"].append((size, error))
    labels = {"nearest": "nearest neighbors", "balls": "balls, as in the source"}
    for color, (name, points) in zip(COLORS, lines.items(), strict=False):
        axes[0, 0].plot(*zip(*sorted(points), strict=True), "o-", color=color, label=labels[name])
    axes[0, 0].set(xlabel="neighbors of a row, on average", ylabel="RMSE of the response")
    axes[0, 0].legend(frameon=False)
    return str(save(figure, options.out / "nonzeros.png"))
