"""``python -m experiments run NAME...`` and ``python -m experiments report``."""

import argparse
import fnmatch
import os
import runpy
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from experiments.benchmark import NAMES, Benchmark, load
from experiments.harness import Options, Task, run_all
from experiments.page import write_page

__all__ = ["main"]

Extend = Callable[[Sequence[Task]], Sequence[Task]]


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit code: 1 if a method failed, 130 if it was interrupted."""
    parser = _parser()
    given = parser.parse_args(arguments)
    data = given.data and Path(given.data)
    if data is not None and not data.is_dir():
        parser.error(f"--data: {data} is no folder")
    if given.command == "report":
        path = write_page([load(name) for name in NAMES], given.out, data)
        print(f"wrote {path}")
        return 0
    names = NAMES if given.all else tuple(dict.fromkeys(given.names))
    if not names:
        parser.error(f"name benchmarks to run ({', '.join(NAMES)}), or give --all")
    extend = _extension(parser, given.extend)
    failed = 0
    for name in names:
        options = Options(given.quick, data, given.out / name, given.seed, given.fresh)
        try:
            failed += _run(load(name), options, given, extend)
        except KeyboardInterrupt:
            print(
                f"interrupted; finished runs are in {options.out}: the same command goes on there"
            )
            return 130
    return 1 if failed else 0


def _run(benchmark: Benchmark, options: Options, given: argparse.Namespace, extend: Extend) -> int:
    """The sweep on every seed and everything else on the first; how many runs failed."""
    print(f"\n{benchmark.title}: {benchmark.question}\n{options.data_source}")
    seeds = range(options.seed, options.seed + given.seeds)
    growing = _chosen(extend(benchmark.sweep(options)), given)
    runs = run_all(growing, options, seeds=seeds, jobs=given.jobs)
    if not given.sweep_only:
        options = replace(options, fresh=False)
        rest = run_all(_chosen(extend(benchmark.tasks(options)), given), options, jobs=given.jobs)
        if rest and not (given.tasks or given.methods or given.extend):
            benchmark.report(rest, options)
        runs += rest
    failures = [run for run in runs if run.error is not None]
    for run in failures:
        print(f"FAILED {run.task} / {run.method}: {run.error}", file=sys.stderr)
    print(f"{len(runs)} runs, {len(failures)} failed; {options.out / 'results.jsonl'}")
    return len(failures)


def _chosen(tasks: Sequence[Task], given: argparse.Namespace) -> list[Task]:
    """The tasks and methods whose names match what was asked for."""
    found = []
    for task in tasks:
        if given.tasks and not any(fnmatch.fnmatch(task.name, p) for p in given.tasks):
            continue
        methods = [
            method
            for method in task.methods
            if not given.methods or any(fnmatch.fnmatch(method.name, p) for p in given.methods)
        ]
        if methods:
            found.append(replace(task, methods=methods))
    return found


def _extension(parser: argparse.ArgumentParser, path: Path | None) -> Extend:
    """The function `extend` of a user's file; without a file nothing is added."""
    if path is None:
        return lambda tasks: tasks
    if not path.is_file():
        parser.error(f"--extend: there is no file {path}")
    extend = runpy.run_path(str(path)).get("extend")
    if extend is None:
        parser.error(f"--extend: {path} defines no function extend(tasks) that returns tasks")
    return extend


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m experiments", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser("run", help="run benchmarks; finished runs are not repeated")
    run.add_argument(
        "names", nargs="*", choices=[*NAMES, []], metavar="NAME", help=", ".join(NAMES)
    )
    run.add_argument("--all", action="store_true", help="every benchmark")
    run.add_argument("--quick", action="store_true", help="small sizes, minutes in all")
    run.add_argument(
        "--methods", nargs="+", metavar="PATTERN", help="only these, such as 'kernel*'"
    )
    run.add_argument("--tasks", nargs="+", metavar="PATTERN", help="only these")
    run.add_argument("--seeds", type=int, default=3, help="seeds of the sweep (default: 3)")
    run.add_argument("--seed", type=int, default=0, help="the first of them (default: 0)")
    run.add_argument("--sweep-only", action="store_true", help="only what the pictures show")
    run.add_argument("--jobs", type=int, default=1, help="tasks at once (default: 1)")
    run.add_argument("--extend", type=Path, metavar="FILE.py", help="methods and tasks of yours")
    run.add_argument("--fresh", action="store_true", help="repeat the runs that are in --out")
    report = commands.add_parser("report", help="write one page with every table and picture")
    for command in (run, report):
        command.add_argument("--out", type=Path, default=Path("results"), help="default: results")
        command.add_argument(
            "--data",
            default=os.environ.get("KERNELGP_DATA"),
            help="folder of data sets (default: $KERNELGP_DATA)",
        )
    return parser


if __name__ == "__main__":
    sys.exit(main())
