"""Files: what was saved comes back, and no damage goes unnoticed."""

import dataclasses
import json
import pickle
import struct

import numpy as np
import pytest
import safetensors.numpy
import sympy

from kernelgp.errors import ArgumentError, CheckpointError
from solvers import Box, ChebyshevSolver, Dirichlet, GPSolver, Problem, Solution
from solvers.interpolant import ChebyshevInterpolant, ChebyshevReport
from solvers.storage import _FORMAT, load_parts

LINE, SQUARE = Box(x=(0, 2)), Box(x=(0, 1), y=(-1, 1))


@pytest.fixture
def made():
    problem = Problem.from_exact("u_xx + c*u = f", LINE, "sin(3*x)/7", c=0.1)
    return ChebyshevSolver().solve(problem, (20,))


@pytest.fixture
def path(made, tmp_path):
    return made.save(tmp_path / "runs" / "u.gp")


def test_everything_comes_back(made, path):
    again = Solution.load(path)
    x = np.linspace(0, 2, 9)
    np.testing.assert_array_equal(again.mean(x), made.mean(x))
    np.testing.assert_array_equal(again.derivative("u_xx", x), made.derivative("u_xx", x))
    np.testing.assert_array_equal(again.residual(x), made.residual(x))
    assert again.error() == made.error()
    assert again.grid == made.grid
    assert again.report == made.report
    assert repr(again.problem) == repr(made.problem)
    assert bool(again.check()) == bool(made.check())


def test_saving_again_gives_the_same_solution(path, tmp_path):
    again = Solution.load(path).save(tmp_path / "again.gp")
    np.testing.assert_array_equal(Solution.load(again).mean([0.3]), Solution.load(path).mean([0.3]))


@pytest.mark.parametrize(
    ("equation", "box", "grid"), [("u_xx = f", LINE, (60,)), ("u_xx + u_yy = f", SQUARE, (40, 44))]
)
def test_a_gaussian_process_comes_back(equation, box, grid, tmp_path):
    problem = Problem.from_exact(equation, box, "sin(9*x)" + "*cos(7*y)" * (box is SQUARE))
    made = GPSolver().solve(problem, grid)
    again = Solution.load(made.save(tmp_path / "u.gp"))
    x = np.random.default_rng(0).uniform(*np.array(box.bounds).T, size=(5, box.dimension))
    np.testing.assert_array_equal(again.mean(x), made.mean(x))
    np.testing.assert_allclose(again.std(x), made.std(x), rtol=1e-6)
    np.testing.assert_allclose(again.sample(x, 2, 0), made.sample(x, 2, 0), rtol=1e-9)
    np.testing.assert_array_equal(again.derivative("u_xx", x), made.derivative("u_xx", x))
    assert str(again.report) == str(made.report)


def solution_for(problem, *sizes):
    values = np.ones([5] * problem.dimension)
    report = ChebyshevReport(0.1, "dense", 3)
    posterior = ChebyshevInterpolant(values, problem.domain.bounds, report)
    return Solution(problem, posterior, sizes)


def test_arrays_formulas_and_numbers_of_a_problem_come_back(tmp_path):
    values = np.random.default_rng(0).normal(size=(4, 5))
    conditions = [
        Dirichlet(np.arange(5.0), on="x-"),
        Dirichlet([0.0, 1.0, 2.0, 3.0], on="y-"),
        Dirichlet("k*x*y", on=["x+", "y+"], of="u"),
    ]
    problem = Problem(
        "u_xx + u_yy = f + g", SQUARE, conditions, f=values, g=sympy.Symbol("x") / 3, k=0.1 + 0.2
    )
    again = Solution.load(solution_for(problem, 4, 5).save(tmp_path / "u.gp")).problem
    axes = SQUARE.uniform_axes((4, 5))
    np.testing.assert_array_equal(again.source_on_grid(axes), problem.source_on_grid(axes))
    for one, other in zip(again.faces, problem.faces, strict=True):
        other_axes = [a for k, a in enumerate(axes) if k != one.axis]
        expected = other.value_on_grid(other_axes)
        np.testing.assert_array_equal(one.value_on_grid(other_axes), expected)
        assert one.name == other.name


def test_what_needs_a_lost_callable_says_so(tmp_path):
    problem = Problem("u_xx = f", LINE, [Dirichlet(lambda x: x)], f=np.sin)
    again = Solution.load(solution_for(problem, 6).save(tmp_path / "u.gp"))
    assert again.mean([0.5])[0] == pytest.approx(1.0)
    with pytest.raises(ArgumentError, match=r"f: got a callable that was not saved; solve again"):
        again.residual([0.5])
    with pytest.raises(ArgumentError, match=r"got a callable that was not saved"):
        ChebyshevSolver().solve(again.problem, (5,))
    assert "not saved" in repr(again.problem)
    assert again.check().checks == ()
    assert set(again.to_xarray()) == {"mean"}
    again.plot(tmp_path / "u.png")
    assert Solution.load(again.save(tmp_path / "v.gp")).mean([0.5])[0] == again.mean([0.5])[0]


def test_a_formula_of_functions_that_are_not_read_is_lost_too(tmp_path):
    source = sympy.Heaviside(sympy.Symbol("x") - 1)
    problem = Problem("u_xx = f", LINE, [Dirichlet(0)], f=source)
    again = Solution.load(solution_for(problem, 6).save(tmp_path / "u.gp"))
    with pytest.raises(ArgumentError, match=r"not saved"):
        again.residual([0.5])


def test_no_flipped_bit_goes_unnoticed(tmp_path):
    problem = Problem.from_exact("u_xx = f", LINE, "sin(3*x)")
    path = ChebyshevSolver().solve(problem, (5,)).save(tmp_path / "u.gp")
    content = path.read_bytes()
    rng = np.random.default_rng(0)
    # The eight bytes of the header's length, and bytes of everything after it.
    for place in [*range(8), *rng.integers(8, len(content), size=200)]:
        damaged = bytearray(content)
        damaged[place] ^= 1 << int(rng.integers(8))
        path.write_bytes(damaged)
        with pytest.raises(CheckpointError, match=r"checksum|without our header"):
            Solution.load(path)


def test_a_flipped_number_is_a_checksum_error(path):
    content = bytearray(path.read_bytes())
    content[-3] ^= 1
    path.write_bytes(content)
    message = r"u\.gp: got a checksum that does not match its content; the file is damaged"
    with pytest.raises(CheckpointError, match=message):
        Solution.load(path)


@pytest.mark.parametrize("keep", [0, 1, 7, 8, 100, 0.5, -1])
def test_truncated_files_are_refused(path, keep):
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * keep) if isinstance(keep, float) else keep])
    with pytest.raises(CheckpointError, match=r"checksum|truncated"):
        Solution.load(path)


@pytest.mark.parametrize(
    "content",
    [
        b"hello, this is a text",
        pickle.dumps({"format": "other"}),
        safetensors.numpy.save({"a": np.ones(3)}),
        safetensors.numpy.save({"a": np.ones(3)}, {"format": "other", "sha256": "0" * 64}),
        json.dumps({"format": "kernelgp.solution"}).encode(),
        struct.pack("<Q", 2**60),
    ],
)
def test_foreign_files_are_refused(path, content):
    path.write_bytes(content)
    message = r"got \d+ bytes without our header; give a file that Solution\.save wrote"
    with pytest.raises(CheckpointError, match=message):
        Solution.load(path)


def test_other_versions_are_named(made, tmp_path, monkeypatch):
    other = dataclasses.replace(_FORMAT, version="7")
    monkeypatch.setattr("solvers.storage._FORMAT", other)
    path = made.save(tmp_path / "u.gp")
    monkeypatch.undo()
    with pytest.raises(CheckpointError, match=r"got format version 7; this one reads version 1"):
        Solution.load(path)


def test_unknown_posteriors_are_named(made, tmp_path):
    class Other(ChebyshevInterpolant):
        pass

    posterior = Other(made.posterior.values, made.posterior.bounds, made.report)
    path = Solution(made.problem, posterior, made.grid).save(tmp_path / "u.gp")
    with pytest.raises(CheckpointError, match=r"got a posterior of kind 'Other'; this version"):
        Solution.load(path)


def test_a_missing_file_is_the_systems_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        Solution.load(tmp_path / "nosuch.gp")


def test_a_failed_write_leaves_the_old_file_and_nothing_else(made, path, monkeypatch):
    before = path.read_bytes()

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("kernelgp.storage.os.fsync", full)
    with pytest.raises(OSError, match=r"No space left"):
        made.save(path)
    assert path.read_bytes() == before
    assert [p.name for p in path.parent.iterdir()] == ["u.gp"]


def test_nothing_in_a_file_is_run(path):
    problem, posterior, grid = load_parts(path)
    assert b"pickle" not in path.read_bytes()
    assert (type(problem), type(posterior), grid) == (Problem, ChebyshevInterpolant, (20,))
