"""Tables and pictures of `python -m experiments.pde`."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from experiments.harness import Options, Run
from experiments.pde import networks
from experiments.pde.references import is_reference, reference_table
from experiments.pde.tasks import CHIRP, CURVES, OURS, PEER, SURFACES
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
    *networks.NETWORKS,
    PEER,
    OURS,
    "s",
    "within 2 std",
    "std / error",
)


def report(runs: Sequence[Run], options: Options) -> None:
    """Three tables on the terminal, three pictures in the folder of output."""
    references = [run for run in runs if is_reference(run)]
    pairs: dict[str, dict[str, Run]] = {}
    for run in runs:
        if is_reference(run):
            continue
        pairs.setdefault(f"{run.task} {run.params}", {})[run.method] = run
    found = list(pairs.values())
    usual = [p for p in found if _is_usual(_any(p))]
    waves = [p for p in found if "per_wave" in _any(p).params]
    chirp = [p for p in found if _any(p).task == CHIRP]

    _show([_row(p) for p in usual], _title(usual))
    title = f"Few points: relative L2 error of {OURS} and {PEER} by points per wavelength"
    _show([_row(p) for p in waves], title, [_any(p).params["per_wave"] for p in waves])
    title = "Without tones, so of a broad spectrum: where a prior of tones is the wrong one"
    _show([_row(p) for p in chirp], title)

    if references:
        print(reference_table(references))

    print(f"\nwrote {_draw_errors(usual, options)}")
    print(f"wrote {_draw_waves(waves, options)}")
    sizes = [p for p in found if "per_side" in _any(p).params]
    if sizes:
        print(f"wrote {_draw_sizes(sizes, options)}")


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
        f"{threads} threads; networks trained for {networks.MINUTES:.0f} minutes each"
    )


def _sourced(run: Run) -> str:
    return f"{run.task}, source as an array" if run.params.get("source") else run.task


def _is_usual(run: Run) -> bool:
    return run.task in gallery and not {"per_wave", "per_side"} & run.params.keys()


def _any(pair: Pair) -> Run:
    return next(iter(pair.values()))


def _row(pair: Pair) -> list[str | float | None]:
    run = _any(pair)
    entry = gallery.get(run.task)
    # What was published holds on the usual grid.
    published = entry if _is_usual(run) else None
    trained = networks.load() if _is_usual(run) else {}
    ours, peer = pair.get(OURS), pair.get(PEER)
    figures = ours.figures if ours else {}
    return [
        f"{entry.label} {entry.exact}" if entry else _sourced(run),
        "x".join(map(str, run.params["grid"])),
        published.published if published else None,
        published.published_seconds if published else None,
        *(t.error if (t := trained.get((run.task, n))) else None for n in networks.NETWORKS),
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
    trained = {f"{n}, {networks.MINUTES:.0f} min": HEADERS.index(n) for n in networks.NETWORKS}
    series = {
        OURS: HEADERS.index(OURS),
        f"{PEER} collocation": HEADERS.index(PEER),
        "published (GPU)": HEADERS.index("published"),
    }
    place, width = np.arange(len(rows)), 0.8 / (len(series) + len(trained))
    for i, (label, column) in enumerate((series | trained).items()):
        heights = [np.nan if row[column] is None else row[column] for row in rows]
        bars.bar(place + width * (i - 2), heights, width, label=label, color=COLORS[i])
    std = [np.nan if OURS not in p else p[OURS].figures.get("std") for p in pairs]
    bars.plot(place - 2 * width, std, "k_", markersize=9, label="our standard deviation")
    bars.set_yscale("log")
    bars.set_ylim(1e-15, 10)
    labels = [gallery[_any(pair).task].label for pair in pairs]
    bars.set_xticks(place, labels, rotation=40, ha="right", rotation_mode="anchor")
    bars.set_ylabel("relative L2 error")
    bars.legend(ncols=3, loc="lower center", bbox_to_anchor=(0.5, 1), frameon=False)
    return str(save(figure, options.out / "errors.png"))


def _draw_waves(pairs: Sequence[Pair], options: Options) -> str:
    """Error against points per wavelength, ours and collocation."""
    x = ("per_wave", "points per wavelength")
    return _draw_curves(pairs, tuple(CURVES), x, options.out / "waves.png")


def _draw_sizes(pairs: Sequence[Pair], options: Options) -> str:
    """Error against the size of the grid in 2-D."""
    x = ("per_side", "points along each side")
    return _draw_curves(pairs, tuple(SURFACES), x, options.out / "sizes.png")


def _draw_curves(
    pairs: Sequence[Pair], names: Sequence[str], x: tuple[str, str], path: Path
) -> str:
    """One panel a problem; `x` is a parameter of the runs and what to call it."""
    parameter, label = x
    figure, axes = grid_of_axes(1, len(names), width=3.4, height=3.2)
    for panel, name in zip(axes[0], names, strict=True):
        mine = [p for p in pairs if _any(p).task == name]
        for method, style, color in ((PEER, "o--", COLORS[1]), (OURS, "o-", COLORS[0])):
            sizes = [_any(p).params[parameter] for p in mine if method in p]
            errors = [p[method].figures.get("error") for p in mine if method in p]
            errors = [np.nan if value is None else value for value in errors]
            if sizes:
                panel.plot(sizes, errors, style, color=color, markersize=4, label=method)
        entry = gallery[name]
        title = entry.exact if len(entry.exact) < 30 else entry.label
        panel.set(yscale="log", ylim=(1e-15, 30), title=title, xlabel=label)
    axes[0, 0].set_ylabel("relative L2 error")
    axes[0, 0].legend(frameon=False)
    return str(save(figure, path))
