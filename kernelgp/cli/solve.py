"""Solving a problem named on the command line, and telling how it went."""

import json
import runpy
from collections.abc import Iterator
from dataclasses import asdict
from difflib import get_close_matches
from pathlib import Path
from typing import Any, cast

import numpy as np
import typer

from kernelgp.cli.info import versions
from kernelgp.errors import ArgumentError
from solvers import GPSolver, Problem, Solution, gallery
from solvers.estimates import ConstantEstimate
from solvers.protocol import has_deviation
from solvers.verdict import Verdict

__all__ = ["load", "parse_grid", "solve", "summary", "write"]


def load(name: str, grid: str | None) -> tuple[Problem, tuple[int, ...]]:
    """The problem of the gallery or of a Python file, and the grid to solve it on.

    Raises
    ------
    typer.BadParameter
        If there is no such problem or file, or no grid that fits it.
    ArgumentError
        If the file defines no problem.
    """
    problem, usual = _from_file(Path(name)) if name.endswith(".py") else _from_gallery(name)
    if grid is not None:
        return problem, parse_grid(grid, problem.dimension)
    if usual is None:
        remedy = f"give --grid, or define `grid` in {name}"
        raise typer.BadParameter(f"no grid: {remedy}", param_hint="--grid")
    return problem, usual


def parse_grid(text: str, dimension: int) -> tuple[int, ...]:
    """Points along each axis from 400, 400x200 or 400,200; one number serves every axis.

    Examples
    --------
    >>> parse_grid("400", 2), parse_grid("400x200", 2), parse_grid("400,200", 2)
    ((400, 400), (400, 200), (400, 200))
    """
    parts = text.lower().replace(",", "x").split("x")
    if not all(part.strip().isdecimal() for part in parts):
        remedy = "write 400, 400x200 or 400,200"
        raise typer.BadParameter(f"{text!r} is no grid: {remedy}", param_hint="--grid")
    counts = tuple(int(part) for part in parts)
    if len(counts) == 1:
        counts *= dimension
    if len(counts) != dimension:
        what = f"{text!r} has {len(counts)} axes and the problem {dimension}"
        raise typer.BadParameter(what, param_hint="--grid")
    return counts


def solve(
    problem: Problem, grid: tuple[int, ...], kernel: str, method: str, checkpoint: Path | None
) -> Solution:
    """The solution; what cannot be used of the arguments is for the solver to say."""
    solver = GPSolver(cast(Any, kernel), method=cast(Any, method))
    return solver.solve(problem, grid=grid, checkpoint=checkpoint)


def summary(name: str, solution: Solution, verdict: Verdict) -> Iterator[tuple[str, str]]:
    """What was solved and how well, as labels and values."""
    problem, report = solution.problem, solution.report
    yield "problem", name
    text = "; ".join(equation.text for equation in problem.equations)
    yield "equation", f"{text} on {problem.domain}"
    yield "grid", " x ".join(map(str, solution.grid))
    if problem.has_exact:
        yield "error", f"{solution.error():.1e} relative to the exact solution (L2)"
    if has_deviation(solution.posterior):
        points = problem.domain.random_points(200, np.random.default_rng(0))
        for function in problem.functions:
            std, mean = solution[function].std(points), solution[function].mean(points)
            size, of = np.sqrt(np.mean(np.square(mean))), "a solution"
            of = of if len(problem.functions) == 1 else function
            yield "deviation", f"{std.mean():.1e} on average, of {of} of {size:.2g}"
    else:
        yield "deviation", "none: the method gives it for small grids only"
    for axis, frequencies in getattr(report, "frequencies", {}).items():
        found = ", ".join(f"{f:.4g}" for f in frequencies) or "none"
        yield f"frequencies in {axis}", f"{found} cycles per unit"
    for name, found in solution.parameters.items():
        if isinstance(found, ConstantEstimate):
            yield f"unknown {name}", f"{found.mean:.6g} with deviation {found.std:.1e}"
    yield "check", "passed" if verdict else "failed"
    for note in verdict.notes:
        yield "note", note
    yield "seconds", f"{report.seconds:.2f}"


def write(solution: Solution, verdict: Verdict, out: Path, name: str) -> list[Path]:
    """Picture, netCDF, the solution itself and a report; the paths."""
    out.mkdir(parents=True, exist_ok=True)
    paths = [out / f"{name}.{suffix}" for suffix in ("png", "nc", "gp")] + [out / "report.json"]
    picture, netcdf, saved, report = paths
    solution.plot(picture)
    solution.to_xarray().to_netcdf(netcdf)
    solution.save(saved)
    report.write_text(
        json.dumps(_facts(solution, verdict), indent=2, default=_plain) + "\n", encoding="utf-8"
    )
    return paths


def _from_gallery(name: str) -> tuple[Problem, tuple[int, ...]]:
    if name not in gallery:
        close = get_close_matches(name, gallery, n=3)
        known = f"did you mean {' or '.join(close)}?" if close else "see: kernelgp problems"
        raise typer.BadParameter(f"no problem {name!r}; {known}", param_hint="NAME|FILE.py")
    entry = gallery[name]
    return entry.problem, entry.grid


def _from_file(path: Path) -> tuple[Problem, tuple[int, ...] | None]:
    if not path.is_file():
        raise typer.BadParameter(f"no file {str(path)!r}", param_hint="NAME|FILE.py")
    defined = runpy.run_path(str(path))
    problem, grid = defined.get("problem"), defined.get("grid")
    if not isinstance(problem, Problem):
        given = "no `problem`" if problem is None else f"a {type(problem).__name__} as `problem`"
        raise ArgumentError(str(path), given, "define problem = Problem(...)")
    return problem, (grid,) if isinstance(grid, int) else grid


def _facts(solution: Solution, verdict: Verdict) -> dict[str, Any]:
    return {
        "problem": repr(solution.problem),
        "grid": list(solution.grid),
        "error": solution.error() if solution.problem.has_exact else None,
        "check": {"passed": bool(verdict), "reasons": str(verdict).splitlines()},
        "report": asdict(solution.report),
        "versions": {fact.name: fact.value for fact in versions()},
    }


def _plain(value: Any) -> Any:
    """An array or number of numpy as json knows it."""
    return value.tolist()
