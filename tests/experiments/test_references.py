"""Benchmark files: found, read and compared with."""

from pathlib import Path

import numpy as np
import pytest
import scipy.io

from experiments.harness import Options
from experiments.pde import references
from solvers import Box, Dirichlet, Initial, Problem

TIMES = np.linspace(0, 1, 3)


def exactly(x, t):
    return np.sin(np.pi * x) * np.exp(-t)


def heat():
    sides = Dirichlet(0, on=["x-", "x+"])
    return Problem("u_t = u_xx/pi**2", Box(x=(0, 1), t=(0, 1)), [Initial("sin(pi*x)"), sides])


@pytest.fixture
def folder(tmp_path, monkeypatch):
    x, times = np.linspace(0, 1, 200), np.linspace(0, 1, 5)
    (tmp_path / "pde").mkdir()
    field = exactly(x[:, None], times)
    scipy.io.savemat(tmp_path / "pde" / "heat.mat", {"x": x, "tt": times, "uu": field})
    rows = np.column_stack([x, exactly(x[:, None], TIMES)])
    np.savetxt(tmp_path / "pde" / "heat.dat", rows, header="X u @ t=0", comments="% ")
    readers = {
        "heat.mat": references._read_mat("x", "tt", u=np.asarray),
        "heat.dat": references._read_comsol(TIMES),
        "missing.dat": references._read_comsol(TIMES),
    }
    made = [references.Reference("heat", f, heat, r, (24, 24), 2) for f, r in readers.items()]
    monkeypatch.setattr(references, "_REFERENCES", tuple(made))
    return tmp_path


def make_options(data: Path | None, out: Path) -> Options:
    return Options(quick=False, data=data, out=out, seed=0, fresh=True)


def test_files_of_both_kinds_are_compared_with(folder):
    tasks = list(references.reference_tasks(make_options(folder, folder)))
    assert [task.params["file"] for task in tasks] == ["heat.mat", "heat.dat"]
    for task in tasks:
        case = task.make(0)
        figures = task.score(case, task.methods[0].prepare(case)())
        assert figures["error"] < 1e-5
        assert figures["late_error"] < 1e-5
        assert figures["covered"] > 0.8


def test_no_data_no_tasks(tmp_path):
    assert not list(references.reference_tasks(make_options(None, tmp_path)))
    assert not list(references.reference_tasks(make_options(tmp_path, tmp_path)))
