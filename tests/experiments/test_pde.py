import pytest

from experiments.harness import Options, main
from experiments.pde.report import report
from experiments.pde.tasks import CHIRP, CURVES, OURS, PEER, tasks
from solvers import GPSolver, gallery


def small(options):
    """One task of each kind, timed once."""
    found = tasks(options)
    kinds = [
        next(t for t in found if t.name == "poisson-1d-sin100"),
        next(t for t in found if t.params.get("per_wave") == 2.2),
    ]
    return [type(t)(t.name, t.make, t.score, t.methods, t.params, repeats=1) for t in kinds]


@pytest.fixture(scope="module")
def outcome(tmp_path_factory):
    out = tmp_path_factory.mktemp("pde")
    runs = []

    def keep(found, options):
        runs.extend(found)
        report(found, options)

    code = main("pde", "PDEs.", small, keep, ["--quick", "--out", str(out)])
    return code, runs, out


def test_ours_and_collocation_are_scored_on_the_same_problem(outcome):
    code, runs, _ = outcome
    assert code == 0
    usual = {run.method: run.figures for run in runs if "per_wave" not in run.params}
    assert usual[OURS]["error"] < 4e-10
    assert usual[PEER]["error"] < 1e-8
    assert usual[OURS]["covered"] >= 0.9
    assert 0 < usual[OURS]["std_over_error"] < 300
    assert "covered" not in usual[PEER]


def test_too_few_points_for_collocation_are_enough_for_ours(outcome):
    few = {run.method: run.figures for run in outcome[1] if "per_wave" in run.params}
    assert few[OURS]["error"] < 1e-9
    assert few[PEER]["error"] > 0.5


def test_both_pictures_are_drawn(outcome):
    assert {path.name for path in outcome[2].iterdir()} == {
        "results.jsonl",
        "errors.png",
        "waves.png",
    }


def test_every_problem_that_is_solved_is_a_task_and_quick_takes_the_lines_only(options):
    names = {task.name for task in tasks(options(quick=False))}
    solved = {n for n, entry in gallery.items() if entry.problem.needs <= GPSolver.supported}
    assert names == {*solved, CHIRP}
    lines = {name for name in solved if gallery[name].domain.dimension == 1}
    assert {task.name for task in tasks(options(quick=True))} == lines | {CHIRP}


def test_the_curves_count_waves_as_the_problems_have_them(options):
    """The fastest tone of each, in radians per unit of its exact solution."""
    radians = {name: waves * 2 * 3.141592653589793 for name, waves in CURVES.items()}
    for name, total in radians.items():
        ((low, high),) = gallery[name].domain.bounds
        assert total / (high - low) == pytest.approx(
            {"poisson-1d-sin100": 100, "poisson-1d-sin6cos100": 106, "poisson-1d-sin500": 500}[name]
        )


@pytest.fixture
def options(tmp_path):
    return lambda *, quick: Options(quick=quick, data=None, out=tmp_path, seed=0, fresh=False)
