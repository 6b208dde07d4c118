"""Tables and pictures of `python -m experiments.regression`."""

from collections.abc import Sequence

import numpy as np

from experiments.harness import Options, Run, comparison
from experiments.regression.forecast import FORECAST, fitted, read
from experiments.regression.tables import NAMES, OURS
from experiments.table import format_table
from kernelgp.estimators.displays import PredictionBandDisplay
from kernelgp.plotting import COLORS, grid_of_axes, save

__all__ = ["report"]


def report(runs: Sequence[Run], options: Options) -> None:
    """One table of the UCI tables, one of the rest, and the pictures."""
    tables = [run for run in runs if run.task in NAMES]
    others = [run for run in runs if run.task not in NAMES]
    for task in dict.fromkeys(run.task for run in others):
        print(comparison([run for run in others if run.task == task], OURS, f"{task}"))
    if tables:
        limit = tables[0].params["peers' seconds"]
        title = (
            f"Tables, {tables[0].params['train']} training rows (scikit-learn fewer); gpytorch "
            f"trains for {limit} s at most; errors in units of the targets' deviation, "
            f"{tables[0].machine['threads']} threads"
        )
        print(format_table(_HEADERS, [_row(run, tables) for run in tables], title))
        print(f"\nwrote {_draw_tables(tables, options)}")
    if any(run.task == FORECAST and run.error is None for run in runs):
        print(f"wrote {_draw_forecast(options)}")


_HEADERS = ("table", "method", "RMSE", "NLL", "within 2 std", "s", "best")


def _row(run: Run, runs: Sequence[Run]) -> list[str | float | None]:
    name = f"{run.method} FAILED" if run.error else run.method
    figures = [run.figures.get(key) for key in ("RMSE", "NLL", "within 2 std")]
    best = " ".join(key for key in ("RMSE", "NLL") if _is_best(run, runs, key))
    return [run.task, name, *figures, run.seconds, best]


def _is_best(run: Run, runs: Sequence[Run], key: str) -> bool:
    """Whether a figure is the least of its table, or within a hundredth of that."""
    found = [other.figures.get(key) for other in runs if other.task == run.task]
    best = min((value for value in found if value is not None), default=np.inf)
    mine = run.figures.get(key)
    return mine is not None and mine <= best + 0.01 * abs(best)


def _draw_tables(runs: Sequence[Run], options: Options) -> str:
    """RMSE and negative log density of every method on every table."""
    figure, axes = grid_of_axes(1, 2, width=4.5, height=3.2)
    names = list(dict.fromkeys(run.task for run in runs))
    methods = list(dict.fromkeys(run.method for run in runs))
    width = 0.8 / len(methods)
    for panel, key in zip(axes[0], ("RMSE", "NLL"), strict=True):
        for i, method in enumerate(methods):
            found = {r.task: r.figures.get(key) for r in runs if r.method == method}
            heights = [np.nan if found.get(n) is None else found[n] for n in names]
            place = np.arange(len(names)) + (i - (len(methods) - 1) / 2) * width
            panel.bar(place, np.array(heights, dtype=float), width, label=method, color=COLORS[i])
        panel.set_xticks(range(len(names)), names)
        panel.set_ylabel(key)
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside upper center", ncols=2)
    return str(save(figure, options.out / "tables.png"))


def _draw_forecast(options: Options) -> str:
    """The forecast of CO2 with what came true."""
    rows = read(options)
    model = fitted(rows)
    figure, axes = grid_of_axes(1, 1, width=8, height=3.5)
    x = np.linspace(rows.x.min(), rows.x_test.max(), 1200)
    mean, std = model.predict(x[:, None], return_std=True)
    ax = axes[0, 0]
    PredictionBandDisplay.from_predictions(
        x,
        mean + rows.y.mean(),
        std,
        x_data=rows.x[:, 0],
        y_data=rows.y,
        feature_name="year",
        target_name="CO2 (parts per million)",
        ax=ax,
    )
    ax.plot(rows.x_test[:, 0], rows.y_test, ".", color=COLORS[1], markersize=3, label="came true")
    ax.axvline(float(rows.x_test.min()), color="0.6", linewidth=1, linestyle="--")
    ax.legend(frameon=False, fontsize="small", loc="upper left")
    return str(save(figure, options.out / "forecast.png"))
