"""Our solutions beside others' on public benchmark files: MAT files of spectral codes, and COMSOL.

The files (``--data``, folder ``pde``) are those that papers on physics-informed networks compare
with. What they hold are simulations too. Those of COMSOL are off by 1e-2 themselves: the Burgers
equation is in both kinds of file, and of the heat equation the solution is known.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import scipy.io

from experiments.harness import Method, Options, Run, Task
from experiments.table import format_table
from solvers import Box, Dirichlet, GPSolver, Initial, Periodic, Problem, Solution, gallery

__all__ = ["is_reference", "reference_table", "reference_tasks"]

Array = np.ndarray
_LINE = Box(x=(-1, 1), t=(0, 1))
_FILE = "file"
# Where deviations are compared with errors.
_POINTS = 400


@dataclass(frozen=True, slots=True)
class Reference:
    """A benchmark: its problem, and what a file says of it.

    Attributes
    ----------
    name, file : str
    problem : callable
    read : callable
        Points of shape (m, d) and, by function, values of shape (m,), from the file.
    grid : tuple of int
    slabs : int or None
    """

    name: str
    file: str
    problem: Callable[[], Problem]
    read: Callable[[Path], tuple[Array, dict[str, Array]]]
    grid: tuple[int, ...]
    slabs: int | None


def reference_tasks(options: Options) -> Iterator[Task]:
    """One task for each benchmark whose file there is."""
    if options.data is None:
        return
    for reference in _REFERENCES[:1] if options.quick else _REFERENCES:
        path = options.data / "pde" / reference.file
        if path.exists():
            yield _task(reference, path)


def is_reference(run: Run) -> bool:
    """Whether a run is one of these."""
    return _FILE in run.params


def reference_table(runs: Sequence[Run]) -> str:
    """Errors against the files as a table."""
    names = ["benchmark", "file", "points", "slabs", "rel L2", "last quarter", "s", "within 2 std"]
    names += ["std / error"]
    keys = ("error", "late_error")
    rows = [
        [
            run.task,
            run.params[_FILE],
            "x".join(map(str, run.params["grid"])),
            run.params["slabs"],
            *(run.figures.get(key) for key in keys),
            run.seconds,
            run.figures.get("covered"),
            run.figures.get("std_over_error"),
        ]
        for run in runs
    ]
    return format_table(names, rows, "Benchmark files: difference from their solutions")


def _task(reference: Reference, path: Path) -> Task:
    def solve(case: tuple[Problem, Array, dict[str, Array]]) -> Callable[[], Solution]:
        problem, grid, slabs = case[0], reference.grid, reference.slabs
        return lambda: GPSolver().solve(problem, grid=grid, slabs=slabs)

    params = {"grid": list(reference.grid), "slabs": reference.slabs, _FILE: reference.file}
    return Task(
        reference.name,
        lambda _: (reference.problem(), *reference.read(path)),
        _score,
        (Method("kernelgp", solve),),
        params,
        repeats=1,
    )


def _score(case: tuple[Problem, Array, dict[str, Array]], solution: Solution) -> dict[str, float]:
    problem, points, values = case
    time = points[:, problem.axes.index("t")]
    late = time >= np.quantile(np.unique(time), 0.75)
    chosen = np.random.default_rng(0).choice(np.flatnonzero(time > 0), _POINTS, replace=False)
    errors, scale, covered, std, squares = [], [], [], [], []
    for name, expected in values.items():
        part = solution[name]
        error = np.abs(part.mean(points) - expected)
        deviation = part.std(points[chosen])
        errors.append(error)
        scale.append(expected)
        covered.append(error[chosen] <= 2 * deviation)
        std.append(deviation)
        squares.append(np.square(error[chosen]))
    difference, size = np.stack(errors), np.stack(scale)
    return {
        "error": float(np.linalg.norm(difference) / np.linalg.norm(size)),
        "late_error": float(np.linalg.norm(difference[:, late]) / np.linalg.norm(size[:, late])),
        "covered": float(np.mean(covered)),
        "std_over_error": float(np.mean(std) / np.sqrt(np.mean(squares))),
    }


def _burgers() -> Problem:
    conditions = [Initial("-sin(pi*x)"), Dirichlet(0, on=["x-", "x+"])]
    return Problem("u_t + u*u_x = 0.01/pi*u_xx", _LINE, conditions)


def _allen_cahn() -> Problem:
    conditions = [Initial("x**2*cos(pi*x)"), Periodic("x")]
    return Problem("u_t - 0.0001*u_xx + 5*u**3 - 5*u = 0", _LINE, conditions)


def _korteweg_de_vries() -> Problem:
    conditions = [Initial("cos(pi*x)"), Periodic("x")]
    return Problem("u_t + u*u_x + 0.0025*u_xxx = 0", _LINE, conditions)


def _schrodinger() -> Problem:
    # h = u + i v with i h_t + h_xx/2 + |h|² h = 0.
    return Problem(
        ["u_t + v_xx/2 + (u**2 + v**2)*v = 0", "v_t - u_xx/2 - (u**2 + v**2)*u = 0"],
        Box(x=(-5, 5), t=(0, np.pi / 2)),
        [Initial("2/cosh(x)", of="u"), Initial(0, of="v"), Periodic("x")],
        functions=["u", "v"],
    )


def _read_mat(x: str, t: str, **parts: Callable[[Array], Array]) -> Callable[[Path], tuple]:
    """A reader of one field on a grid, x first; `parts` take functions out of it."""

    def read(path: Path) -> tuple[Array, dict[str, Array]]:
        held: Mapping[str, Array] = scipy.io.loadmat(str(path))
        field = held["usol"] if "usol" in held else held["uu"]
        mesh = np.meshgrid(held[x].ravel(), held[t].ravel(), indexing="ij")
        points = np.stack([c.ravel() for c in mesh], axis=1)
        return points, {name: take(field).ravel() for name, take in parts.items()}

    return read


def _read_comsol(times: Array) -> Callable[[Path], tuple[Array, dict[str, Array]]]:
    """A reader of rows ``x, ..., u at every time``."""

    def read(path: Path) -> tuple[Array, dict[str, Array]]:
        rows = np.loadtxt(path, comments="%")
        places = rows[:, : -len(times)]
        points = [np.column_stack([places, np.full(len(rows), t)]) for t in times]
        return np.concatenate(points), {"u": rows[:, -len(times) :].T.ravel()}

    return read


_whole = np.asarray
_REFERENCES = (
    Reference("Burgers, a shock", "burgers_shock.mat", _burgers,
              _read_mat("x", "t", u=_whole), (256, 200), 20),
    Reference("Burgers, a shock", "pinnacle_burgers1d.dat", _burgers,
              _read_comsol(np.linspace(0, 1, 11)), (256, 200), 20),
    Reference("Korteweg and de Vries", "KdV.mat", _korteweg_de_vries,
              _read_mat("x", "tt", u=_whole), (256, 160), 16),
    Reference("Allen and Cahn", "AC.mat", _allen_cahn,
              _read_mat("x", "tt", u=_whole), (400, 200), 20),
    Reference("nonlinear Schrödinger", "NLS.mat", _schrodinger,
              _read_mat("x", "tt", u=np.real, v=np.imag), (192, 200), 20),
    Reference("heat on two scales", "pinnacle_heat_multiscale_lesspoints.dat",
              lambda: gallery["heat-2d-multiscale"].problem,
              _read_comsol(np.linspace(0, 5, 26)), gallery["heat-2d-multiscale"].grid, None),
)  # fmt: skip
