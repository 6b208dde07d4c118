"""The scripts that users copy run as they are written."""

import json
import re
import runpy
from pathlib import Path

import numpy as np
import pytest
import torch

from experiments import __main__ as benchmarks
from kernelgp.kernels import RBF

ROOT = Path(__file__).parents[1]


def scripts(document):
    text = (ROOT / document).read_text(encoding="utf-8")
    return re.findall(r"```python\n(.*?)```", text, re.DOTALL)


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    """Scripts write beside themselves: let that be a folder of the test's own."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_readmes_pde_script_runs_as_written(elsewhere):
    script = scripts("README.md")[0]
    names = {}
    exec(compile(script, "README.md", "exec"), names)
    assert bool(names["verdict"])
    assert names["made"].has_exact
    assert {path.name for path in elsewhere.iterdir()} == {"u.nc", "u.png", "u.gp"}


def test_the_readmes_wave_reaches_what_it_says(elsewhere):
    first, second = scripts("README.md")[:2]
    names = {}
    exec(compile(first.splitlines()[1] + "\n" + second, "README.md", "exec"), names)
    assert names["GPSolver"]().solve(names["wave"], grid=(60, 100)).error() < 1e-13
    assert names["GPSolver"]().solve(names["round_plate"], grid=(40, 40)).error() < 1e-12


def test_the_readmes_unknowns_are_found(elsewhere):
    first = scripts("README.md")[0].splitlines()[:2]
    (script,) = (text for text in scripts("README.md") if "unknown={" in text)
    names = {}
    exec(
        compile("\n".join([*first, "from solvers import Box", script]), "README.md", "exec"), names
    )
    found = names["found"]
    assert abs(found.mean - 0.7) < min(0.007, 2 * found.std)
    assert names["GPSolver"]().solve(names["system"], grid=(200,)).error() < 1e-12


def test_the_readmes_operator_script_runs_as_written(elsewhere):
    # As written but for its size: 20 000 points take half a minute, and `make examples` has them.
    (found,) = (text for text in scripts("README.md") if "KernelOperator(kernel, x)" in text)
    script = found.replace("20_000", "2_000")
    names = {}
    exec(compile(script, "README.md", "exec"), names)
    assert names["report"].converged
    assert names["samples"].shape == (3, 2000)


def test_the_readmes_regression_runs_as_written(elsewhere):
    (script,) = (text for text in scripts("README.md") if "gp.partial_fit" in text)
    names = {}
    exec(compile(script, "README.md", "exec"), names)
    truth = np.sin(6 * names["X_new"][:, 0]) + names["X_new"][:, 1]
    assert (abs(names["mean"] - truth) < 3 * names["std"]).mean() > 0.95
    assert names["gp"].report_.n_rows == 550


def test_the_readmes_attention_runs_as_written(elsewhere):
    (script,) = (text for text in scripts("README.md") if "AttentionOperator" in text)
    names = {}
    exec(compile(script, "README.md", "exec"), names)
    assert names["report"].method == "exact"
    expected = torch.nn.functional.scaled_dot_product_attention(
        *(names[name] for name in ("q", "k", "v"))
    )
    assert (names["out"] - expected).abs().max() < 2e-6
    product = names["P"] @ names["v"][0, 0]
    assert (product - expected[0, 0]).abs().max() < 2e-6


def test_the_readmes_latent_processes_and_features_run_as_written(elsewhere):
    (regression,) = (text for text in scripts("README.md") if "gp.partial_fit" in text)
    wanted = ("DKLGPClassifier()", "FourierFeatures(")
    rest = [text for text in scripts("README.md") if any(name in text for name in wanted)]
    names = {"torch": torch}
    data = regression[: regression.index("gp = ")]
    exec(compile("\n".join([data, *rest]), "README.md", "exec"), names)
    rate = np.exp(np.sin(6 * names["X_new"][:, 0]) + names["X_new"][:, 1])
    assert np.median(abs(names["model"].predict(names["X_new"]) / rate - 1)) < 0.15
    K = RBF(lengthscale=0.5)(torch.as_tensor(names["X"])).to_dense().detach().numpy()
    assert abs(names["Z"] @ names["Z"].T - K).max() < 0.1
    assert names["layer"](torch.zeros(3, 2)).shape == (3, 2048)


def test_the_regression_example_draws_its_forecast(elsewhere, capsys):
    runpy.run_path(str(ROOT / "examples" / "regression.py"))
    out = capsys.readouterr().out
    assert "kronecker" in out
    assert "within two deviations" in out


def test_the_pde_example_says_how_far_off_it_is(elsewhere, capsys):
    runpy.run_path(str(ROOT / "examples" / "pde.py"))
    out = capsys.readouterr().out
    assert "True: trustworthy" in out
    assert "loaded again: True" in out


def test_every_make_target_of_the_readme_is_there():
    named = set(re.findall(r"`?make ([a-z-]+)", (ROOT / "README.md").read_text(encoding="utf-8")))
    made = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    assert {"demo", "test"} <= named <= set(made)


def test_ci_runs_what_the_contributors_are_told_to():
    assert "for target in lint test" in (ROOT / ".ci" / "run").read_text(encoding="utf-8")


PAGES = sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "docs").rglob("*.md"))


@pytest.mark.parametrize("page", PAGES)
def test_the_documentations_scripts_run_as_written(page, elsewhere):
    names = {"__name__": "page"}
    for script in scripts(page):
        exec(compile(script, page, "exec"), names)


def test_a_method_and_a_task_are_added_in_under_thirty_lines(elsewhere):
    (own,) = (text for text in scripts("docs/benchmarks.md") if "def extend" in text)
    assert len(own.splitlines()) < 30
    (elsewhere / "own.py").write_text(own, encoding="utf-8")
    arguments = ["run", "operators", "--quick", "--sweep-only", "--seeds", "1", "--out", "out"]
    assert (
        benchmarks.main([*arguments, "--extend", "own.py", "--methods", "numpy", "diagonal"]) == 0
    )
    lines = (elsewhere / "out" / "operators" / "results.jsonl").read_text(encoding="utf-8")
    found = [json.loads(line) for line in lines.splitlines()]
    assert [run["method"] for run in found] == ["numpy", "numpy", "numpy", "diagonal"]
    assert found[0]["figures"]["error"] < 1e-6
    assert found[3]["figures"]["error"] == 0
