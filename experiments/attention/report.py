"""Tables and pictures of ``python -m experiments.attention``."""

from collections.abc import Sequence
from pathlib import Path

from matplotlib.ticker import NullFormatter

from experiments.attention.methods import AUTO, KDE, SDPA
from experiments.harness import Options, Run
from experiments.table import format_table
from kernelgp.plotting import COLORS, grid_of_axes, save

__all__ = ["report"]

_MARKS = "osD^vP*X<>h"


def report(runs: Sequence[Run], options: Options) -> None:
    """One table a family, one of the rest, and two pictures."""
    tasks = list(dict.fromkeys(run.task for run in runs))
    families = [task for task in tasks if any("error" in r.figures for r in _of(runs, task))]
    for task in families:
        rows = [_row(run, runs) for run in _of(runs, task)]
        headers = ["n", "method", "seconds", "x SDPA", "MiB", "error", "worst row"]
        print(format_table(headers, rows, f"{task}, {_threads(runs)} threads"))
    rest = [run for run in runs if run.task not in families]
    rows = [[run.task, _params(run), _name(run), run.seconds, _figures(run)] for run in rest]
    headers = ["task", "size", "method", "seconds", "figures"]
    print(format_table(headers, rows, "Model, gradients, estimates, and what stands beside them"))
    if families:
        print(f"\nwrote {_draw_errors(runs, families, options)}")
        print(f"wrote {_draw_lengths(runs, families, options)}")


def _of(runs: Sequence[Run], task: str) -> list[Run]:
    return [run for run in runs if run.task == task]


def _threads(runs: Sequence[Run]) -> int:
    return runs[0].machine["threads"]


def _name(run: Run) -> str:
    return f"{run.method} FAILED" if run.error else run.method


def _params(run: Run) -> str:
    return " ".join(f"{k}={v}" for k, v in run.params.items())


def _figures(run: Run) -> str:
    return ", ".join(f"{k} {v:.4g}" for k, v in run.figures.items() if v is not None)


def _row(run: Run, runs: Sequence[Run]) -> list[str | float | None]:
    return [
        run.params["n"],
        _name(run),
        run.seconds,
        _speed(run, runs),
        run.peak_mib,
        run.figures.get("error"),
        run.figures.get("worst row"),
    ]


def _speed(run: Run, runs: Sequence[Run]) -> float | None:
    """How many times as fast as the fused kernel, timed in turn with it."""
    for peer in _of(runs, run.task):
        same = peer.params == run.params and peer.seed == run.seed
        if same and peer.method == SDPA and SDPA in run.together and run.seconds and peer.seconds:
            return peer.seconds / run.seconds
    return None


def _draw_errors(runs: Sequence[Run], families: Sequence[str], options: Options) -> Path:
    """Error against seconds and against memory, at the largest length of each family."""
    figure, axes = grid_of_axes(2, len(families), width=3.0, height=2.8)
    methods = list(dict.fromkeys(run.method for task in families for run in _of(runs, task)))
    for column, task in enumerate(families):
        n = max(run.params["n"] for run in _of(runs, task))
        for i, method in enumerate(methods):
            for run in _of(runs, task):
                if (run.method, run.params["n"]) != (method, n) or run.error is not None:
                    continue
                error = max(run.figures.get("error") or 0.0, _FLOOR)
                style = {"color": COLORS[i % len(COLORS)], "marker": _MARKS[i % len(_MARKS)]}
                label = method if column == 0 else None
                axes[0, column].loglog(run.seconds, error, linestyle="", label=label, **style)
                memory = max(run.peak_mib or 0.0, 1.0)
                axes[1, column].loglog(memory, error, linestyle="", **style)
        axes[0, column].set_title(f"{task}, n = {n}")
        axes[0, column].set_xlabel("seconds")
        axes[1, column].set_xlabel("MiB over the inputs")
        for panel in axes[:, column]:
            # Those between decades run into each other.
            panel.xaxis.set_minor_formatter(NullFormatter())
            panel.axhline(0.02, color="0.6", linewidth=0.8)
            panel.set_ylim(_FLOOR / 2, 20)
    for panel in axes[:, 0]:
        panel.set_ylabel("relative error")
    figure.legend(loc="outside lower center", ncols=6, fontsize=8)
    return save(figure, options.out / "errors.png")


# Exact methods differ by rounding: they stand at the bottom.
_FLOOR = 1e-4


def _draw_lengths(runs: Sequence[Run], families: Sequence[str], options: Options) -> Path:
    """Seconds against length, and the error of ours."""
    figure, axes = grid_of_axes(1, len(families), width=3.0, height=2.8)
    methods = [SDPA, KDE, AUTO, "KDEformer"]
    for panel, task in zip(axes[0], families, strict=True):
        for i, method in enumerate(methods):
            chosen = [r for r in _of(runs, task) if r.method == method and r.seconds]
            chosen.sort(key=lambda run: run.params["n"])
            lengths, seconds = [r.params["n"] for r in chosen], [r.seconds for r in chosen]
            panel.loglog(lengths, seconds, color=COLORS[i], marker=_MARKS[i], label=method)
        panel.set_title(task)
        panel.set_xlabel("n")
        panel.xaxis.set_minor_formatter(NullFormatter())
    axes[0, 0].set_ylabel("seconds")
    axes[0, 0].legend(fontsize=7)
    return save(figure, options.out / "lengths.png")
