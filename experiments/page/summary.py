"""Runs of several seeds as medians with their spread."""

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from experiments.runs import Run

__all__ = ["Point", "points", "ratios"]


@dataclass(frozen=True, slots=True)
class Point:
    """One method at one size.

    Attributes
    ----------
    seconds, error, mib
        Median, lowest and highest over the seeds; None where no seed has the figure.
    """

    method: str
    n: int
    seeds: int
    seconds: tuple[float, float, float] | None
    error: tuple[float, float, float] | None
    mib: tuple[float, float, float] | None


def points(runs: Sequence[Run]) -> list[Point]:
    """A point for each method and size, in the order of the runs' methods and of n."""
    groups: dict[tuple[str, int], list[Run]] = {}
    for run in runs:
        if run.error is None:
            groups.setdefault((run.method, run.params["n"]), []).append(run)
    order = {method: i for i, method in enumerate(dict.fromkeys(run.method for run in runs))}
    return [
        Point(
            method,
            n,
            len(group),
            _spread(group, lambda run: run.seconds),
            _spread(group, lambda run: run.figures.get("error")),
            _spread(group, _memory),
        )
        for (method, n), group in sorted(groups.items(), key=lambda g: (order[g[0][0]], g[0][1]))
    ]


def ratios(runs: Sequence[Run], ours: str) -> dict[str, tuple[float, float, float]]:
    """Seconds of each peer over ours on the same data at the largest size: median and range."""
    top = max((run.params["n"] for run in runs), default=0)
    base = {run.group: run for run in runs if run.method == ours and run.seconds}
    found: dict[str, list[float]] = {}
    for run in runs:
        mine = base.get(run.group)
        if mine is None or run.method == ours or not run.seconds or run.params["n"] != top:
            continue
        assert mine.seconds is not None
        if ours in run.together:
            found.setdefault(run.method, []).append(run.seconds / mine.seconds)
    return {method: (statistics.median(v), min(v), max(v)) for method, v in found.items()}


def _memory(run: Run) -> float | None:
    """Bytes as the method counts them, where it does; else by how much the process grew."""
    counted = run.figures.get("bytes")
    return run.peak_mib if counted is None else counted / 2**20


def _spread(
    runs: Sequence[Run], figure: Callable[[Run], float | None]
) -> tuple[float, float, float] | None:
    values = [value for value in map(figure, runs) if value is not None]
    return (statistics.median(values), min(values), max(values)) if values else None
