"""Tables and pictures of `python -m experiments.pde`."""

from collections.abc import Mapping, Sequence

import numpy as np

from experiments.harness import Options, Run
from experiments.pde.tasks import CHIRP, CURVES, OURS, PEER
from experiments.table import format_table
from kernelgp.plotting import COLORS, grid_of_axes, save
from solvers import gallery

__all__ = ["report"]

Pair = Mapping[str, Run]
"""The runs of one task by method."""

HEADERS: tuple[str, ...] = (
    "problem",
    "points",
    "published",
    "their GPU s",
    PEER,
    OURS,
    "s",
    "within 2 std",
    "std / error",
)


def report(runs: Sequence[Run], options: Options) -> None:
    """Three tables on the terminal, two pictures in the folder of output."""
    pairs: dict[str, dict[str, Run]] = {}
    for run in runs:
        pairs.setdefault(f"{run.task} {run.params}", {})[run.method] = run
    found = list(pairs.values())
    usual = [p for p in found if _any(p).task in gallery and "per_wave" not in _any(p).params]
    waves = [p for p in found if "per_wave" in _any(p).params]
    chirp = [p for p in found if _any(p).task == CHIRP]

    _show([_row(p) for p in usual], _title(usual))
    title = f"Few points: relative L2 error of {OURS} and {PEER} by points per wavelength"
    _show([_row(p) for p in waves], title, [_any(p).params["per_wave"] for p in waves])
    title = "Where a Gaussian process is the wrong tool: no tones, so a broad spectrum"
    _show([_row(p) for p in chirp], title)

    print(f"\nwrote {_draw_errors(usual, options)}")
    print(f"wrote {_draw_waves(waves, options)}")


def _show(
    rows: Sequence[Sequence[str | float | None]], title: str, per_wave: Sequence[float] = ()
) -> None:
    """A table without the columns that have no entry."""
    columns: dict[str, Sequence[str | float | None]] = {}
    if rows:
        columns |= zip(HEADERS, zip(*rows, strict=True), strict=True)
    if per_wave:
        columns["per wave"] = tuple(per_wave)
    kept = [name for name, cells in columns.items() if any(cell is not None for cell in cells)]
    if kept:
        table = [list(row) for row in zip(*(columns[name] for name in kept), strict=True)]
        print(format_table(kept, table, title))


def _title(pairs: Sequence[Pair]) -> str:
    threads = _any(pairs[0]).machine["threads"] if pairs else 1
    return (
        "Relative L2 error; one default configuration, frequencies found automatically, "
        f"{threads} threads"
    )


def _any(pair: Pair) -> Run:
    return next(iter(pair.values()))


def _row(pair: Pair) -> list[str | float | None]:
    run = _any(pair)
    entry = gallery.get(run.task)
    # What was published holds on the usual grid.
    published = entry if "per_wave" not in run.params else None
    ours, peer = pair.get(OURS), pair.get(PEER)
    figures = ours.figures if ours else {}
    return [
        f"{entry.label} {entry.exact}" if entry else run.task,
        "x".join(map(str, run.params["grid"])),
        published.published if published else None,
        published.published_seconds if published else None,
        peer.figures.get("error") if peer else None,
        figures.get("error"),
        ours.seconds if ours else None,
        figures.get("covered"),
        figures.get("std_over_error"),
    ]


def _draw_errors(pairs: Sequence[Pair], options: Options) -> str:
    """Bars of error for each problem; our deviation beside ours."""
    figure, axes = grid_of_axes(width=9, height=4)
    bars = axes[0, 0]
    rows = [_row(pair) for pair in pairs]
    series = {"published (GPU)": 2, f"{PEER} collocation": 4, OURS: 5}
    place = np.arange(len(rows))
    for i, (label, column) in enumerate(series.items()):
        heights = [np.nan if row[column] is None else row[column] for row in rows]
        bars.bar(place + 0.26 * (i - 1), heights, 0.24, label=label, color=COLORS[i])
    std = [np.nan if OURS not in p else p[OURS].figures.get("std") for p in pairs]
    bars.plot(place + 0.26, std, "k_", markersize=9, label="our standard deviation")
    bars.set_yscale("log")
    bars.set_ylim(1e-15, 1)
    labels = [gallery[_any(pair).task].label for pair in pairs]
    bars.set_xticks(place, labels, rotation=40, ha="right", rotation_mode="anchor")
    bars.set_ylabel("relative L2 error")
    bars.legend(ncols=4, loc="lower center", bbox_to_anchor=(0.5, 1), frameon=False)
    return str(save(figure, options.out / "errors.png"))


def _draw_waves(pairs: Sequence[Pair], options: Options) -> str:
    """Error against points per wavelength, ours and collocation."""
    figure, axes = grid_of_axes(1, len(CURVES), width=3.4, height=3.2)
    for panel, name in zip(axes[0], CURVES, strict=True):
        mine = [p for p in pairs if _any(p).task == name]
        for method, style, color in ((PEER, "o--", COLORS[1]), (OURS, "o-", COLORS[0])):
            x = [_any(p).params["per_wave"] for p in mine]
            y = [p[method].figures.get("error") if method in p else None for p in mine]
            y = [np.nan if value is None else value for value in y]
            panel.plot(x, y, style, color=color, markersize=4, label=method)
        panel.set(
            yscale="log",
            ylim=(1e-14, 30),
            title=gallery[name].exact,
            xlabel="points per wavelength",
        )
    axes[0, 0].set_ylabel("relative L2 error")
    axes[0, 0].legend(frameon=False)
    return str(save(figure, options.out / "waves.png"))
