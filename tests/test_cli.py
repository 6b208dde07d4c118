import json
import sys
import warnings

import numpy as np
import pytest
import torch

from kernelgp import vecchia
from kernelgp.cli import info, main
from kernelgp.cli.solve import parse_grid
from kernelgp.errors import BackendWarning
from solvers import Solution, gallery

LINE = """
from solvers import Box, Problem
problem = Problem.from_exact("u_xx = f", Box(x=(0, 1)), "sin(40*x)")
grid = (80,)
"""


@pytest.fixture
def kernelgp(monkeypatch, capsys):
    """Runs the command with arguments; the exit code and what it printed to either stream."""
    monkeypatch.setattr(warnings, "showwarning", warnings.showwarning)
    monkeypatch.setenv("COLUMNS", "120")

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["kernelgp", *map(str, arguments)])
        with pytest.raises(SystemExit) as stop:
            main()
        return stop.value.code or 0, *capsys.readouterr()

    return run


@pytest.fixture
def file(tmp_path):
    def write(text):
        path = tmp_path / "my_problem.py"
        path.write_text(text, encoding="utf-8")
        return path

    return write


def test_help_names_every_command_and_option(kernelgp):
    code, out, err = kernelgp("--help")
    assert (code, err) == (0, "")
    assert all(word in out for word in ("solve", "problems", "info", "high-frequency PDEs"))
    code, out, _ = kernelgp("solve", "--help")
    assert code == 0
    assert all(o in out for o in ("--grid", "--kernel", "--method", "--out", "400x200", "matern52"))


def test_a_file_is_solved_told_and_written(kernelgp, file, tmp_path):
    code, out, err = kernelgp("solve", file(LINE), "--out", tmp_path / "run")
    assert (code, err) == (0, "")
    lines = dict(line.split(maxsplit=1) for line in out.splitlines() if "wrote" not in line)
    assert lines["grid"] == "80"
    assert float(lines["error"].split()[0]) < 1e-8
    frequency = out.split("frequencies in x")[1].split()[0]
    assert float(frequency) == pytest.approx(40 / (2 * np.pi), abs=0.1)
    assert lines["check"] == "passed"
    written = {path.name for path in (tmp_path / "run").iterdir()}
    assert written == {"u.png", "u.nc", "u.gp", "report.json"}
    assert all(name in out for name in written)
    report = json.loads((tmp_path / "run" / "report.json").read_text())
    assert report["check"]["passed"] is True
    assert report["grid"] == [80]
    assert report["error"] < 1e-8
    loaded = Solution.load(tmp_path / "run" / "u.gp")
    x = np.linspace(0, 1, 7)
    np.testing.assert_allclose(loaded.mean(x), np.sin(40 * x), atol=1e-8)


def test_the_grid_on_the_command_line_wins(kernelgp, file):
    code, out, _ = kernelgp("solve", file(LINE), "--grid", "90")
    assert code == 0
    assert "grid               90\n" in out


def test_the_files_can_be_named(kernelgp, file, tmp_path):
    code, _, _ = kernelgp("solve", file(LINE), "--out", tmp_path, "--name", "line")
    assert code == 0
    assert (tmp_path / "line.png").exists()


def test_nothing_is_written_without_out(kernelgp, file, tmp_path):
    path = file(LINE)
    kernelgp("solve", path)
    assert list(tmp_path.iterdir()) == [path]


def test_a_problem_of_the_gallery_is_solved_on_its_own_grid(kernelgp):
    code, out, _ = kernelgp("solve", "poisson-1d-sin100")
    assert code == 0
    assert f"grid               {gallery['poisson-1d-sin100'].grid[0]}\n" in out


@pytest.mark.filterwarnings("default::kernelgp.errors.ConvergenceWarning")
def test_a_solution_that_fails_its_check_is_a_failure_with_reasons(kernelgp, file, tmp_path):
    steep = LINE.replace("sin(40*x)", "tanh(60*(x - 1/2))")
    code, out, err = kernelgp("solve", file(steep), "--grid", "60", "--out", tmp_path)
    assert code == 1
    assert "check              failed" in out
    assert "kernelgp: ConvergenceWarning: " in err
    assert "kernelgp: not trustworthy: relative residual" in err
    assert json.loads((tmp_path / "report.json").read_text())["check"]["passed"] is False


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["poisson-1d-sin10"], "did you mean poisson-1d-sin100"),
        (["nothing-like-it"], "see: kernelgp problems"),
        (["no_such_file.py"], "no file 'no_such_file.py'"),
        (["poisson-1d-sin100", "--grid", "many"], "write 400, 400x200 or 400,200"),
        (["poisson-1d-sin100", "--grid", "-4"], "write 400, 400x200 or 400,200"),
        (["poisson-1d-sin100", "--grid", "40x40"], "has 2 axes and the problem 1"),
        ([], "Missing argument"),
        (["poisson-1d-sin100", "--gird", "40"], "--gird"),
    ],
)
def test_wrong_usage_is_exit_code_2_and_says_what_to_write(kernelgp, arguments, told):
    code, out, err = kernelgp("solve", *arguments)
    assert (code, out) == (2, "")
    assert told in " ".join(err.replace("│", " ").split())


def test_a_file_without_a_grid_asks_for_one(kernelgp, file):
    code, _, err = kernelgp("solve", file(LINE.replace("grid = (80,)", "")))
    assert code == 2
    assert "give --grid, or define `grid`" in " ".join(err.replace("│", " ").split())


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("grid = (80,)", "my_problem.py: got no `problem`; define problem = Problem(...)."),
        ("problem = 3", "my_problem.py: got a int as `problem`; define problem = Problem(...)."),
        (LINE.replace("u_xx", "u_xz"), "z"),
        (LINE.replace("80", "9"), "got 9 points along x"),
    ],
)
def test_our_errors_are_one_line_without_a_traceback(kernelgp, file, text, told):
    code, out, err = kernelgp("solve", file(text))
    assert (code, out) == (1, "")
    assert err.startswith("kernelgp: ")
    assert told in err
    assert err.count("\n") == 1


def test_an_unknown_kernel_is_told_by_the_solver(kernelgp, file):
    code, _, err = kernelgp("solve", file(LINE), "--kernel", "cubic")
    assert code == 1
    assert "kernel" in err
    assert "matern52" in err


@pytest.mark.filterwarnings("default::kernelgp.errors.ConvergenceWarning")
def test_the_published_method_tells_where_it_has_no_deviation(kernelgp, file):
    square = """
from solvers import Box, Problem
problem = Problem.from_exact("u_xx + u_yy = f", Box(x=(0, 1), y=(0, 1)), "sin(6*x)*sin(5*y)")
"""
    _, out, err = kernelgp("solve", file(square), "--grid", "51", "--method", "map")
    assert "deviation          none: the method gives it for small grids only" in out
    assert "Traceback" not in err


def test_a_folder_that_cannot_be_made_is_one_line(kernelgp, file):
    path = file(LINE)
    code, _, err = kernelgp("solve", path, "--out", path / "below")
    assert code == 1
    assert err.startswith("kernelgp: [Errno")


def test_a_mistake_in_the_users_file_keeps_its_traceback(monkeypatch, file):
    monkeypatch.setattr(warnings, "showwarning", warnings.showwarning)
    monkeypatch.setattr(sys, "argv", ["kernelgp", "solve", str(file("1 / 0"))])
    with pytest.raises(ZeroDivisionError):
        main()


def test_problems_lists_the_whole_gallery(kernelgp):
    code, out, err = kernelgp("problems")
    assert (code, err) == (0, "")
    for name in gallery:
        (line,) = (line for line in out.splitlines() if line.split()[:1] == [name])
        assert gallery[name].exact in line
        assert "x".join(map(str, gallery[name].grid)) in line.split()


def test_info_tries_the_backends(kernelgp, monkeypatch):
    monkeypatch.setattr(info, "BACKENDS", ("dense", "tiled"))
    code, out, err = kernelgp("info")
    assert (code, err) == (0, "")
    assert out.count("works (") == 2
    assert all(word in out for word in ("torch", "threads", "cuda", "compiler", "keops cache"))


@pytest.mark.keops
def test_info_tries_keops(kernelgp):
    _, out, _ = kernelgp("info")
    assert out.count("works (") == 3


def test_a_backend_that_is_not_there_is_told_with_its_reason(kernelgp, monkeypatch):
    def fall_back(kernel, x, *, backend):
        if backend == "keops":
            warnings.warn("pykeops is not installed", BackendWarning, stacklevel=2)
        return torch.exp(-0.5 * (x - x.mT) ** 2)

    monkeypatch.setattr(info, "KernelOperator", fall_back)
    code, out, _ = kernelgp("info")
    assert code == 0
    assert "not available\n" in out
    assert "-> pykeops is not installed" in out


def test_a_backend_of_ours_that_is_wrong_is_a_failure(kernelgp, monkeypatch):
    monkeypatch.setattr(info, "KernelOperator", lambda kernel, x, *, backend: 0 * x @ x.mT)
    code, out, _ = kernelgp("info")
    assert code == 1
    assert "wrong by 1.0e+00" in out


def test_loops_that_are_wrong_or_cannot_be_kept_are_told(monkeypatch):
    ordered = vecchia.maximin_order

    def reversed_order(points):
        order, distances = ordered(points)
        return order[::-1], distances

    def no_folder(points):
        raise RuntimeError("no locator available for file")

    monkeypatch.setattr(info, "BACKENDS", ())
    assert "work (" in info.backends()[0].value
    monkeypatch.setattr(vecchia, "maximin_order", reversed_order)
    assert info.backends()[0].value.startswith("wrong by")
    monkeypatch.setattr(vecchia, "maximin_order", no_folder)
    assert "NUMBA_CACHE_DIR" in info.backends()[0].remedy


def test_a_compiler_or_a_folder_that_is_missing_has_a_remedy(monkeypatch, tmp_path):
    monkeypatch.setenv("CXX", "no-such-compiler")
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("KEOPS_CACHE_FOLDER", str(tmp_path / "keops"))
    monkeypatch.setattr(info.os, "access", lambda path, mode: path != tmp_path)
    compiler, cache = info.keops_needs()
    assert compiler.value == "no-such-compiler not found"
    assert "install g++" in compiler.remedy
    assert "cannot be written" in cache.value
    assert "KEOPS_CACHE_FOLDER" in cache.remedy


def test_pykeops_that_is_missing_is_told(monkeypatch):
    monkeypatch.setattr(info.importlib.util, "find_spec", lambda name: None)
    assert info.versions()[-1] == info.Fact(
        "pykeops", "not installed", "pip install 'kernelgp[keops]'"
    )


@pytest.mark.parametrize(
    ("text", "grid"), [("400", (400, 400)), ("40X20", (40, 20)), (" 40, 20 ", (40, 20))]
)
def test_a_grid_is_read_in_three_spellings(text, grid):
    assert parse_grid(text, 2) == grid
