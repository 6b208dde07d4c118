"""The benchmark of features: its tasks run and score what they say."""

import numpy as np

from experiments.features.couplings import coupling_tasks
from experiments.features.kernels import kernel_tasks
from experiments.features.regression import regression_tasks
from experiments.harness import Options


def quick(tmp_path):
    return Options(quick=True, data=None, out=tmp_path, seed=0, fresh=False)


def test_every_map_scores_an_error_of_its_size(tmp_path):
    (task,) = kernel_tasks(quick(tmp_path))
    data = task.make(0)
    error = {
        method.name: task.score(data, method.prepare(data)())["relative error"]
        for method in task.present
    }
    assert error["orthogonal"] < 0.7 * error["iid"]
    assert max(error.values()) < 0.2


def test_couplings_are_in_the_order_of_the_closed_form(tmp_path):
    task, *_ = coupling_tasks(quick(tmp_path))
    data = task.make(0)
    for method in task.present[:3]:
        figures = task.score(data, method.prepare(data)())
        error = abs(figures["error to iid"] - figures["closed form"])
        assert error < 4 * figures["standard error"]


def test_the_step_agrees_with_its_peer_up_to_the_draw(tmp_path):
    (task,) = regression_tasks(quick(tmp_path))
    data = task.make(0)
    values = [task.score(data, method.prepare(data)()) for method in task.present]
    ours, peer = (next(iter(value.values())) for value in values)
    assert np.isfinite([ours, peer]).all()
    assert abs(ours - peer) < 0.2 * abs(peer)
