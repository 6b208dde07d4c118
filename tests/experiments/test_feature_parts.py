"""The benchmark of features, graphs, bits and networks: what it feeds and how it scores."""

from pathlib import Path

import numpy as np
import pytest

from experiments.features.graphs import graph_tasks, named_graph
from experiments.features.layers import layer_tasks
from experiments.features.part_report import is_part, report_parts
from experiments.features.quantized import EXACT, quantized_tasks
from experiments.features.tasks import tasks
from experiments.harness import Options, run_all


@pytest.fixture
def options(tmp_path):
    return Options(quick=True, data=None, out=tmp_path, seed=0, fresh=False)


def test_named_graphs_have_the_nodes_and_edges_of_their_kind():
    tree, ladder = named_graph("tree 127", 0), named_graph("ladder 100", 0)
    assert tree.shape == (127, 127)
    assert tree.nnz == 2 * 126
    assert ladder.nnz == 2 * (2 * 49 + 50)
    assert abs(named_graph("ER 20", 1).nnz / (20 * 19) - 0.2) < 0.12


def test_graph_errors_fall_as_published_and_are_drawn(options, capsys):
    task = graph_tasks(options)[0]
    runs = run_all([task], options)
    assert all(run.error is None for run in runs)
    slope = {run.method: run.figures["slope"] for run in runs}
    assert abs(slope["iid"] + 0.5) < 0.07
    assert slope["repelling"] < -0.8
    assert all(is_part(run) for run in runs)
    report_parts(runs, options)
    assert (options.out / "walks.png").is_file()
    assert "repelling" in capsys.readouterr().out


def test_ridge_regression_on_quantised_features_is_scored_against_the_exact_kernel(options):
    (task,) = (t for t in quantized_tasks(options) if t.name == "quantised ridge regression")
    runs = {run.method: run for run in run_all([task], options)}
    assert runs["beta"].figures["error"] < 1.05 * runs[EXACT].figures["error"]
    assert all(run.error is None for run in runs.values())


def test_every_task_has_a_name_and_methods_of_its_own(options):
    found = tasks(options)
    keys = [(t.name, str(t.params)) for t in found]
    assert len(set(keys)) == len(keys)
    for task in found:
        names = [m.name for m in task.methods]
        assert len(set(names)) == len(names)
    assert any("mesh" not in t.name for t in found)
    assert [t.name for t in layer_tasks(options)][1] == "sines apart"


def test_the_mesh_is_read_with_each_edge_once(tmp_path):
    folder = tmp_path / "graph"
    folder.mkdir()
    lines = ["v 0 0 0", "v 1 0 0", "v 0 1 0", "v 1 1 0", "f 1 2 3", "f 2/1 4/2 3/3", "vt 0 0"]
    (folder / "spot.obj").write_text("\n".join(lines))
    for name in ("cora", "citeseer"):
        np.savez(folder / f"{name}.npz", a=np.ones(1))
    options = Options(quick=True, data=Path(tmp_path), out=tmp_path, seed=0, fresh=False)
    task = graph_tasks(options)[-1]
    assert task.make(0).A.nnz == 2 * 5
