"""The table of `python -m experiments.operators`."""

from collections.abc import Sequence

from experiments.harness import Options, Run
from experiments.table import format_table

__all__ = ["report"]


def report(runs: Sequence[Run], options: Options) -> None:
    """One table: each task with its peers' figures below ours, and how many times slower."""
    del options
    rows: list[list[str | float | None]] = []
    previous = None
    for run in runs:
        key = (run.task, str(run.params))
        ours = next(r for r in runs if (r.task, str(r.params)) == key)
        ratio = None
        if run is not ours and run.seconds and ours.seconds and ours.method in run.together:
            ratio = run.seconds / ours.seconds
        task = f"{run.task} ({_shown(run.params)})" if key != previous else ""
        method = f"{run.method} FAILED" if run.error else run.method
        figures = ", ".join(
            f"{name} {value:.2g}" for name, value in run.figures.items() if value is not None
        )
        rows.append([task, method, run.seconds, ratio, run.peak_mib, figures])
        previous = key
    threads = runs[0].machine["threads"] if runs else 1
    title = f"Medians of seconds, timed in turn; {threads} threads"
    headers = ["task", "method", "seconds", "x ours", "MiB", "figures"]
    print(format_table(headers, rows, title))


def _shown(params: object) -> str:
    assert isinstance(params, dict)
    return ", ".join(f"{name}={value}" for name, value in params.items())
