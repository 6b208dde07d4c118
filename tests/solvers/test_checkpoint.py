"""Solves that are interrupted and gone on with, and files that are not to be gone on from."""

import numpy as np
import pytest

from kernelgp.errors import ArgumentTypeError, CheckpointError
from solvers import Box, Dirichlet, GPSolver, Initial, Observations, Problem
from solvers.gauss_newton import _Search
from solvers.journal import Journal, fingerprint, open_journal
from solvers.map_search import _Search as MapSearch
from solvers.newton import _GridSystem
from solvers.slabs.march import March

LINE = Box(x=(0, 1))
X = np.linspace(0, 1, 23)


def cube(amplitude=1):
    return Problem.from_exact("u_xx + u**3 = f", LINE, f"{amplitude}*sin(40*x) + x")


@pytest.fixture
def path(tmp_path):
    return tmp_path / "run.ckpt"


@pytest.fixture
def interrupting(monkeypatch):
    """Makes a method raise what Ctrl-C raises from its n-th call on; counts its calls."""

    def arrange(owner, name, after):
        original, calls = getattr(owner, name), []

        def counted(*arguments, **options):
            calls.append(name)
            if after is not None and len(calls) > after:
                raise KeyboardInterrupt
            return original(*arguments, **options)

        monkeypatch.setattr(owner, name, counted)
        return calls

    return arrange


def test_newtons_method_goes_on_where_it_was_interrupted(path, interrupting, monkeypatch):
    whole = GPSolver().solve(cube(), grid=(120,))
    interrupting(_GridSystem, "step", after=2)
    with pytest.raises(KeyboardInterrupt):
        GPSolver().solve(cube(), grid=(120,), checkpoint=path)
    monkeypatch.undo()
    calls = interrupting(_GridSystem, "step", after=None)
    again = GPSolver().solve(cube(), grid=(120,), checkpoint=path)
    assert len(calls) == whole.report.newton_steps - 2
    assert again.report.newton_steps == whole.report.newton_steps
    np.testing.assert_allclose(again.mean(X), whole.mean(X), atol=1e-12)


def test_a_solve_that_has_ended_is_not_done_again(path, interrupting):
    first = GPSolver().solve(cube(), grid=(120,), checkpoint=path)
    calls = interrupting(_GridSystem, "step", after=None)
    again = GPSolver().solve(cube(), grid=(120,), checkpoint=str(path))
    assert calls == []
    np.testing.assert_array_equal(again.mean(X), first.mean(X))
    np.testing.assert_array_equal(again.std(X), first.std(X))


def test_a_linear_solve_and_its_ladder_come_back_from_the_file(path):
    problem = Problem.from_exact("u_xx = f", LINE, "exp(-20*x)*sin(60*x)")
    first = GPSolver().solve(problem, grid=(120,), checkpoint=path)
    assert path.exists()
    np.testing.assert_array_equal(
        GPSolver().solve(problem, grid=(120,), checkpoint=path).mean(X), first.mean(X)
    )


def test_gauss_newton_goes_on_from_its_last_stage(path, interrupting, monkeypatch):
    seen = np.linspace(0.02, 0.98, 40)
    values = 1.5 * np.sin(6 * seen) + 0.01 * np.random.default_rng(0).normal(size=40)
    problem = Problem(
        "c*u_xx + 36*u = 0",
        LINE,
        [Observations(seen[:, None], values, noise=1e-4)],
        unknown={"c": (0.3, 3.0)},
    )
    whole = GPSolver().solve(problem, grid=(30,)).parameters["c"].mean
    interrupting(_Search, "learn", after=2)
    with pytest.raises(KeyboardInterrupt):
        GPSolver().solve(problem, grid=(30,), checkpoint=path)
    monkeypatch.undo()
    calls = interrupting(_Search, "learn", after=None)
    found = GPSolver().solve(problem, grid=(30,), checkpoint=path)
    assert found.parameters["c"].mean == pytest.approx(whole, rel=1e-6)
    again = len(calls)
    assert GPSolver().solve(problem, grid=(30,)).parameters["c"].mean == pytest.approx(whole)
    assert again == len(calls) - again - 2


@pytest.mark.filterwarnings("ignore::kernelgp.errors.ConvergenceWarning")
def test_the_map_search_goes_on_from_its_best(path, monkeypatch):
    problem = Problem.from_exact("u_xx = f", LINE, "sin(20*x)")
    solver = GPSolver(method="map")
    monkeypatch.setattr("solvers.map_search._SECONDS", 0.0)
    steps, step = [], MapSearch._step

    def counted(self, evaluation, *, stop_at_rtol):
        steps.append(evaluation)
        step(self, evaluation, stop_at_rtol=stop_at_rtol)
        if len(steps) == 5:
            raise KeyboardInterrupt

    monkeypatch.setattr(MapSearch, "_step", counted)
    first = solver.solve(problem, grid=(40,), checkpoint=path)
    assert first.posterior.search.interrupted
    again = solver.solve(problem, grid=(40,), checkpoint=path)
    assert not again.posterior.search.interrupted
    assert again.posterior.search.iterations > 5
    assert again.posterior.search.log_density > first.posterior.search.log_density
    assert again.error() < 1e-2
    calls = len(steps)
    solver.solve(problem, grid=(40,), checkpoint=path)
    assert len(steps) == calls


def test_a_march_goes_on_after_its_last_slab(path, interrupting, monkeypatch):
    problem = Problem.from_exact(
        "u_t = u_xx/20 - u**3 + f",
        Box(x=(0, 1), t=(0, 1)),
        "sin(6*x)*cos(9*t)",
        conditions=[Initial(), Dirichlet(on=["x-", "x+"])],
    )
    points = np.random.default_rng(0).uniform(size=(20, 2))
    whole = GPSolver().solve(problem, grid=(24, 36), slabs=3)
    interrupting(March, "run", after=2)
    with pytest.raises(KeyboardInterrupt):
        GPSolver().solve(problem, grid=(24, 36), slabs=3, checkpoint=path)
    monkeypatch.undo()
    calls = interrupting(March, "run", after=None)
    again = GPSolver().solve(problem, grid=(24, 36), slabs=3, checkpoint=path)
    assert len(calls) == 1
    np.testing.assert_allclose(again.mean(points), whole.mean(points), atol=1e-12)
    with pytest.raises(CheckpointError, match=r"another solver: .*slabs=3, .*not .*slabs=4"):
        GPSolver().solve(problem, grid=(24, 36), slabs=4, checkpoint=path)


def test_a_checkpoint_of_another_problem_grid_or_solver_says_which(path):
    GPSolver().solve(cube(), grid=(60,), checkpoint=path)
    with pytest.raises(CheckpointError, match="a checkpoint of another problem"):
        GPSolver().solve(cube(2), grid=(60,), checkpoint=path)
    with pytest.raises(CheckpointError, match="another grid: 60, not 61; delete it, or give"):
        GPSolver().solve(cube(), grid=(61,), checkpoint=path)
    with pytest.raises(CheckpointError, match=r"another solver: GPSolver\('gaussian'"):
        GPSolver(frequencies={"x": [6.4]}).solve(cube(), grid=(60,), checkpoint=path)


def test_data_behind_a_callable_or_in_an_array_are_part_of_the_problem(path):
    def problem(factor):
        return Problem("u_xx = f", LINE, [Dirichlet(0)], f=lambda x: factor * np.sin(20 * x))

    GPSolver().solve(problem(1.0), grid=(60,), checkpoint=path)
    GPSolver().solve(problem(1.0), grid=(60,), checkpoint=path)
    with pytest.raises(CheckpointError, match="another problem"):
        GPSolver().solve(problem(1.5), grid=(60,), checkpoint=path)
    path.unlink()
    values = np.sin(20 * np.linspace(0, 1, 60))
    GPSolver().solve(Problem("u_xx = f", LINE, [Dirichlet(0)], f=values), (60,), checkpoint=path)
    with pytest.raises(CheckpointError, match="another problem"):
        GPSolver().solve(
            Problem("u_xx = f", LINE, [Dirichlet(0)], f=2 * values), (60,), checkpoint=path
        )


@pytest.mark.parametrize("size", [0, 40, 0.5, 0.99])
def test_a_truncated_checkpoint_is_refused(path, size):
    GPSolver().solve(cube(), grid=(60,), checkpoint=path)
    content = path.read_bytes()
    path.write_bytes(content[: int(size * len(content)) if size < 1 else size])
    with pytest.raises(CheckpointError, match=r"truncated|checksum"):
        GPSolver().solve(cube(), grid=(60,), checkpoint=path)


def test_a_solution_is_no_checkpoint(path):
    solution = GPSolver().solve(cube(), grid=(60,))
    solution.save(path)
    with pytest.raises(CheckpointError, match=r"a file of format kernelgp\.solution"):
        GPSolver().solve(cube(), grid=(60,), checkpoint=path)


def test_a_path_has_to_be_one():
    with pytest.raises(ArgumentTypeError, match="checkpoint: got True"):
        GPSolver().solve(cube(), grid=(60,), checkpoint=True)


def test_parts_of_a_journal_share_the_file(path):
    journal = open_journal(path, {"problem": "p"})
    journal.part("slab 1").record("newton", {"iterate": X, "steps": 3})
    journal.part("slab 2").record("newton", {"iterate": 2 * X, "steps": 4})
    again = open_journal(path, {"problem": "p"})
    assert again.recall("newton") is None
    found = again.part("slab 2").recall("newton")
    np.testing.assert_array_equal(found["iterate"], 2 * X)
    assert int(found["steps"]) == 4


def test_a_record_replaces_the_one_before(path):
    journal = open_journal(path, {})
    journal.record("a", {"x": X, "y": X})
    journal.record("a", {"x": 2 * X})
    assert set(open_journal(path, {}).recall("a")) == {"x"}


def test_a_journal_without_a_path_writes_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    journal = Journal()
    journal.record("a", {"x": X})
    assert journal.recall("a") is None
    assert not list(tmp_path.iterdir())


def test_a_fingerprint_changes_with_every_part():
    parts = [("a", X), ("b", X), ("a", 2 * X), ("a", X[:, None]), ("a", X.astype(np.float32))]
    assert len({fingerprint(*part) for part in parts}) == 5
    assert fingerprint("a", X) == fingerprint("a", X.copy())
