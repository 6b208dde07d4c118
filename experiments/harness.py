"""One harness for every benchmark: tasks, methods, and runs that become JSON lines.

A *task* makes data from a seed and scores what comes back; a *method*, ours or a peer's, is
what is timed in between. All methods of a task work on the same data in one process and are
timed in turn. A *run* is one method on one task: one JSON line in ``results.jsonl``, written
when the task is done. Runs that are there already are not repeated, so a benchmark that was
interrupted goes on where it stopped.
"""

import argparse
import importlib.util
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import joblib

from experiments.machine import machine, versions
from experiments.measure import alternate_outputs
from experiments.runs import Run, append, finite, read, run_key
from experiments.table import format_table
from kernelgp.progress import progress_bar

__all__ = ["Method", "Options", "Run", "Task", "comparison", "main", "run_all"]


@dataclass(frozen=True, slots=True)
class Method:
    """Something to be measured.

    Attributes
    ----------
    prepare
        Makes, from the task's data, the function without arguments that is timed; what it
        does before it returns is not.
    requires
        Packages of a peer, as they are imported; where one is missing the method is skipped.
    """

    name: str
    prepare: Callable[[Any], Callable[[], Any]]
    requires: tuple[str, ...] = ()

    @property
    def missing(self) -> tuple[str, ...]:
        return tuple(name for name in self.requires if importlib.util.find_spec(name) is None)


@dataclass(frozen=True, slots=True)
class Task:
    """A problem that several methods solve.

    Attributes
    ----------
    make
        Data from a seed.
    score
        Figures from the data and a method's output; how long it took is not its affair.
    params
        What defines the task besides its name, such as its size; part of a run's identity.
    repeats
        Timed calls of every method. More than one are preceded by a warm-up.
    """

    name: str
    make: Callable[[int], Any]
    score: Callable[[Any, Any], Mapping[str, float]]
    methods: Sequence[Method]
    params: Mapping[str, Any] = field(default_factory=dict)
    repeats: int = 5

    @property
    def present(self) -> list[Method]:
        """The methods whose packages are installed."""
        return [method for method in self.methods if not method.missing]

    def with_methods(self, *methods: Method) -> "Task":
        """The same task with more methods beside its own."""
        return replace(self, methods=(*self.methods, *methods))


@dataclass(frozen=True, slots=True)
class Options:
    """What every benchmark takes from its command line."""

    quick: bool
    data: Path | None
    out: Path
    seed: int
    fresh: bool

    @property
    def data_source(self) -> str:
        """Where data sets come from, for people to read."""
        if self.data is None:
            return "data: what installed packages contain (--data DIR or KERNELGP_DATA for more)"
        return f"data: {self.data}"


def main(
    name: str,
    description: str,
    tasks: Callable[[Options], Sequence[Task]],
    report: Callable[[Sequence[Run], Options], None],
    arguments: Sequence[str] | None = None,
) -> int:
    """Run a benchmark from the command line; the exit code, non-zero if a method failed."""
    options = _parse(name, description, arguments)
    print(options.data_source)
    try:
        runs = run_all(tasks(options), options)
    except KeyboardInterrupt:
        print(f"interrupted; finished runs are in {options.out}: the same command goes on there")
        return 130
    report(runs, options)
    failed = [run for run in runs if run.error is not None]
    for run in failed:
        print(f"FAILED {run.task} / {run.method}: {run.error}", file=sys.stderr)
    print(f"\n{len(runs)} runs, {len(failed)} failed; {options.out / 'results.jsonl'}")
    return 1 if failed else 0


def run_all(
    tasks: Sequence[Task], options: Options, *, seeds: Sequence[int] | None = None, jobs: int = 1
) -> list[Run]:
    """Every method on every task, less what ``results.jsonl`` holds already; all the runs.

    Parameters
    ----------
    seeds
        Every task runs on each of them; None is the one of `options`.
    jobs
        Tasks that run at once, in processes of joblib (or of the backend that
        ``joblib.parallel_config`` chose). With more than one, seconds are those of a busy
        machine: only their ratios within a task mean something.
    """
    path = options.out / "results.jsonl"
    options.out.mkdir(parents=True, exist_ok=True)
    if options.fresh:
        path.unlink(missing_ok=True)
    done = read(path)
    wanted: list[str] = []
    units: list[tuple[Task, list[Method], int]] = []
    skipped: dict[str, tuple[str, ...]] = {}
    for seed in seeds or (options.seed,):
        for task in tasks:
            skipped |= {m.name: m.missing for m in task.methods if m.missing}
            keys = {run_key(task.name, m.name, seed, task.params): m for m in task.present}
            new = [method for key, method in keys.items() if key not in done]
            wanted += keys
            if new:
                units.append((task, new, seed))
    reused = sum(key in done for key in wanted)
    with progress_bar("benchmark", total=len(units)) as bar:
        for runs in _each(units, jobs):
            append(path, runs)
            done |= {run.key: run for run in runs}
            bar.advance(runs[0].task)
    for name, missing in skipped.items():
        print(f"skipped {name}: {', '.join(missing)} not installed (pip install 'kernelgp[bench]')")
    if reused:
        print(f"{reused} of {len(wanted)} runs taken from {path}; --fresh repeats them")
    return [done[key] for key in dict.fromkeys(wanted)]


def _each(units: Sequence[tuple[Task, list[Method], int]], jobs: int) -> Iterator[list[Run]]:
    """The runs of each unit, as soon as they are done."""
    if jobs == 1:
        return (_run_task(*unit) for unit in units)
    parallel: Any = joblib.Parallel(jobs, return_as="generator_unordered")
    return parallel(joblib.delayed(_run_task)(*unit) for unit in units)


def comparison(runs: Sequence[Run], ours: str, title: str = "") -> str:
    """A table with one line for each run and its seconds as a multiple of ours."""
    figures = list(dict.fromkeys(name for run in runs for name in run.figures))
    baseline = {run.group: run for run in runs if run.method == ours}
    rows = []
    for run in runs:
        base = baseline.get(run.group)
        ratio = None
        if base and base.seconds and run.seconds and base.method in run.together:
            ratio = run.seconds / base.seconds
        label = f"{run.method} (failed)" if run.error else run.method
        figure_cells = [run.figures.get(name) for name in figures]
        rows.append([run.task, label, run.seconds, ratio, run.peak_mib, *figure_cells])
    headers = ["task", "method", "seconds", f"x {ours}", "peak MiB", *figures]
    return format_table(headers, rows, title)


def _run_task(task: Task, methods: Sequence[Method], seed: int) -> list[Run]:
    """All methods on one task, timed in turn; one that fails leaves the others in peace."""
    if not methods:
        return []
    data = task.make(seed)
    attempts = [_Attempt(lambda method=method: method.prepare(data)) for method in methods]
    measured = alternate_outputs(attempts, task.repeats)
    shared: dict[str, Any] = {
        "together": [m.name for m, a in zip(methods, attempts, strict=True) if a.error is None],
        "machine": machine(),
        "finished": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
    }
    runs = []
    for method, attempt, outcome in zip(methods, attempts, measured, strict=True):
        figures = attempt.guard(lambda outcome=outcome: finite(task.score(data, outcome.output)))
        failed = attempt.error is not None
        run = Run(
            task=task.name,
            method=method.name,
            seed=seed,
            params=dict(task.params),
            figures=figures or {},
            seconds=None if failed else outcome.seconds,
            times=() if failed else outcome.times,
            peak_mib=None if failed else outcome.peak_mib,
            error=attempt.error,
            versions=versions(method.requires),
            **shared,
        )
        runs.append(run)
    return runs


class _Attempt:
    """A method that is prepared and called, until something it raises ends it for good."""

    def __init__(self, prepare: Callable[[], Callable[[], Any]]) -> None:
        self.error: str | None = None
        self._function = self.guard(prepare)

    def __call__(self) -> Any:
        return self.guard(self._function)

    def guard(self, function: Callable[[], Any] | None) -> Any:
        if self.error is not None or function is None:
            return None
        try:
            return function()
        # A benchmark must outlive whatever a peer raises, and say what that was.
        except Exception as error:
            self.error = f"{type(error).__name__}: {error}"
            return None


def _parse(name: str, description: str, arguments: Sequence[str] | None) -> Options:
    parser = argparse.ArgumentParser(
        prog=f"python -m experiments.{name}",
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    data = os.environ.get("KERNELGP_DATA")
    parser.add_argument("--quick", action="store_true", help="small sizes, about a minute in all")
    parser.add_argument(
        "--data", type=Path, default=data, help="folder of data sets (default: $KERNELGP_DATA)"
    )
    parser.add_argument(
        "--out", type=Path, default=Path("results") / name, help="default: %(default)s"
    )
    parser.add_argument("--seed", type=int, default=0, help="default: 0")
    parser.add_argument("--fresh", action="store_true", help="repeat the runs that are in --out")
    given = parser.parse_args(arguments)
    if given.data is not None and not Path(given.data).is_dir():
        parser.error(f"--data: {given.data} is no folder")
    return Options(given.quick, given.data and Path(given.data), given.out, given.seed, given.fresh)
