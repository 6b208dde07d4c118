"""Commands and exit codes: 0 is success, 1 a failure told in one line, 2 wrong usage."""

import os
import sys
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import typer
from rich import box
from rich.console import Console
from rich.table import Table

from kernelgp.cli import fit as fitting
from kernelgp.cli import info as installation
from kernelgp.cli import solve as solving
from kernelgp.errors import ArgumentError, LostRankError
from kernelgp.progress import progress_bar
from solvers import gallery

__all__ = ["app", "main"]

app = typer.Typer(
    name="kernelgp",
    help="Gaussian processes on lazy linear operators, and high-frequency PDEs solved with them.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def main() -> None:
    """Run the command line and exit."""
    warnings.showwarning = _show_warning
    try:
        app()
    # Ours say what to do; of the system's the reason is enough. Anything else is a bug, in
    # here or in the user's file, and keeps its traceback.
    except LostRankError as error:
        typer.echo(f"kernelgp: {error}", err=True)
        sys.stderr.flush()
        os._exit(1)  # at a usual exit torch would wait for the process that is gone
    except (ArgumentError, OSError) as error:
        typer.echo(f"kernelgp: {error}", err=True)
        sys.exit(1)


@app.command()
def solve(
    problem: Annotated[
        str,
        typer.Argument(
            metavar="NAME|FILE.py",
            help="A problem of the gallery (kernelgp problems lists them), or a Python file that "
            "defines `problem`, and `grid` if it likes.",
        ),
    ],
    grid: Annotated[
        str | None,
        typer.Option(metavar="N", help="Points along each axis: 400, 400x200 or 400,200."),
    ] = None,
    kernel: Annotated[
        str, typer.Option(metavar="NAME", help="gaussian, student or matern52.")
    ] = "gaussian",
    method: Annotated[
        str, typer.Option(metavar="NAME", help="direct, or map: as published, for comparison.")
    ] = "direct",
    out: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Write u.png, u.nc, u.gp and report.json there."),
    ] = None,
    name: Annotated[
        str, typer.Option(metavar="NAME", help="What the files are called instead of u.")
    ] = "u",
    checkpoint: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Write every finished step there; the same command goes on from it.",
        ),
    ] = None,
) -> None:
    """Solve a PDE and say how well it went.

    For example: kernelgp solve poisson-2d-sin100 --grid 400 --out runs/p6

    The exit code is 1 where the solution does not pass its own check.
    """
    found, counts = solving.load(problem, grid)
    with progress_bar(problem) as bar:
        bar.advance("solving")
        solution = solving.solve(found, counts, kernel, method, checkpoint)
        bar.advance("checking")
        verdict = solution.check()
        lines = list(solving.summary(problem, solution, verdict))
        if out is not None:
            bar.advance("drawing and writing")
            lines += [("wrote", str(p)) for p in solving.write(solution, verdict, out, name)]
    _tell(lines)
    if not verdict:
        typer.echo(f"kernelgp: {verdict}", err=True)
        raise typer.Exit(1)


@app.command()
def fit(
    data: Annotated[
        Path, typer.Argument(metavar="DATA.csv", help="A table with names in its first line.")
    ],
    target: Annotated[str, typer.Option(metavar="NAME", help="The column to predict.")],
    out: Annotated[Path, typer.Option(metavar="FILE", help="Where to write the model.")],
    estimator: Annotated[
        str, typer.Option(metavar="NAME", help="GPRegressor, GPClassifier or another estimator.")
    ] = "GPRegressor",
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="NAME=VALUE",
            help="A parameter of the estimator, such as method=iterative; may be repeated.",
        ),
    ] = None,
) -> None:
    """Fit an estimator to all other columns of a CSV file and write the model.

    For example: kernelgp fit houses.csv --target price --out price.gp

    Text columns become one column for each value (one-hot). Blank numbers become the median of
    their column; rows without a target are left out of a regression. The same command under
    torchrun shares the work over its processes: torchrun --nproc-per-node 2 -m kernelgp.cli fit ...
    """
    with fitting.processes() as team:
        model, lines = fitting.fit(
            data, target, estimator, fitting.parse_settings(settings or []), team
        )
        if team.is_first:
            lines.append(("wrote", str(model.save(out))))
            _tell(lines)


@app.command()
def predict(
    model: Annotated[Path, typer.Argument(metavar="MODEL.gp", help="What kernelgp fit wrote.")],
    data: Annotated[
        Path, typer.Argument(metavar="DATA.csv", help="A table with the columns of the fit.")
    ],
    out: Annotated[Path, typer.Option(metavar="FILE.csv", help="Where to write the predictions.")],
) -> None:
    """Predict for each row of a CSV file: mean and standard deviation, or class probabilities.

    For example: kernelgp predict price.gp new.csv --out predictions.csv

    The standard deviation is that of a new observation, noise included.
    """
    with fitting.processes() as team:
        lines = fitting.predict(model, data, out, team)
        if team.is_first:
            _tell(lines)


@app.command()
def problems() -> None:
    """List the gallery: equation, domain, usual grid and published error."""
    columns = ("name", "equation", "solution", "domain", "grid", "published error")
    table = Table(*columns, box=box.SIMPLE_HEAD, pad_edge=False)
    for entry in gallery.values():
        grid = "x".join(map(str, entry.grid))
        error = "" if entry.published is None else f"{entry.published:.1e}"
        sides = zip(entry.domain.axes, entry.domain.bounds, strict=True)
        domain = ", ".join(f"{axis} in [{low:.4g}, {high:.4g}]" for axis, (low, high) in sides)
        table.add_row(entry.name, entry.equation, entry.exact, domain, grid, error)
    _print(table)


@app.command()
def info() -> None:
    """Tell what this installation can do: versions, devices and backends.

    Each backend computes one small product; where one does not work, the reason and the remedy
    stand beside it. The exit code is 1 where the backends dense or tiled do not work.
    """
    sections = {
        "versions": installation.versions,
        "devices": installation.devices,
        "needed by KeOps": installation.keops_needs,
        "backends": installation.backends,
    }
    broken = False
    for title, facts in sections.items():
        typer.echo(f"\n{title}")
        for fact in facts():
            typer.echo(f"  {fact.name:<16} {fact.value}")
            if fact.remedy:
                typer.echo(f"  {'':<16} -> {fact.remedy}")
            broken |= bool(fact.remedy) and fact.name in ("dense", "tiled")
    if broken:
        raise typer.Exit(1)


def _tell(lines: Iterable[tuple[str, str]]) -> None:
    for label, value in lines:
        typer.echo(f"{label:<18} {value}")


def _print(table: Table) -> None:
    console = Console()
    if not console.is_terminal:  # a pipe has no width, so nothing is folded for the sake of one
        console.width = console.measure(table, options=console.options.update(width=1000)).maximum
    console.print(table)


def _show_warning(message: Warning | str, category: type[Warning], *_: object) -> None:
    typer.echo(f"kernelgp: {category.__name__}: {message}", err=True)
