"""The Vecchia benchmark: its data, its scores, and what it does without data."""

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.stats import norm

from experiments.harness import Options
from experiments.vecchia.data import (
    SIMULATIONS,
    Rows,
    read_sunspots,
    score,
    simulate,
    simulate_plane,
)
from experiments.vecchia.methods import fit_ours, methods
from experiments.vecchia.sweep import sweep
from experiments.vecchia.tasks import NONZEROS, tasks


def options(tmp_path, *, quick=True):
    return Options(quick=quick, data=None, out=tmp_path, seed=0, fresh=False)


def test_without_data_simulations_are_left(tmp_path):
    names = [task.name for task in tasks(options(tmp_path, quick=False))]
    assert names[0] == NONZEROS
    assert len(names) == 1 + 4 + 3 * len(SIMULATIONS)
    assert [task.params["n"] for task in sweep(options(tmp_path))] == [500, 1000, 2000]


def test_simulations_have_unit_variance_and_their_noise():
    rows = simulate(SIMULATIONS["sim 6"], "student_t", 0.05, 0)
    assert rows.x.shape == (400, 5)
    assert rows.truth.shape == (100,)
    fields = [simulate_plane("gaussian", 200, seed, 0.05) for seed in range(10)]
    variance = np.mean([np.var(field.y) for field in fields])
    assert variance == pytest.approx(1.1, rel=0.2)
    assert set(simulate_plane("bernoulli", 50, 0).y) == {0.0, 1.0}


def test_scores_are_those_of_normal_predictions():
    rows = Rows(np.zeros((1, 1)), np.zeros(1), np.zeros((1, 1)), np.array([0.7]))
    found = score(rows, np.array([0.2]), np.array([0.5]))
    assert found["RMSE"] == pytest.approx(0.5)
    assert found["NLL"] == pytest.approx(-norm(0.2, 0.5).logpdf(0.7))
    below = quad(lambda t: norm(0.2, 0.5).cdf(t) ** 2, -10, 0.7)[0]
    above = quad(lambda t: (1 - norm(0.2, 0.5).cdf(t)) ** 2, 0.7, 10)[0]
    assert found["CRPS"] == pytest.approx(below + above, rel=1e-6)


def test_known_parameters_are_kept_and_missing_peers_named():
    rows = simulate(SIMULATIONS["sim 1"], "gaussian", 0.1, 0)
    mean, std = fit_ours(rows)()
    assert score(rows, mean, std)["RMSE"] < 0.6 * rows.truth.std()
    requires = {method.name: method.requires for method in methods(1.0)}
    assert requires["gpboost"] == ("gpboost",)


def test_sunspots_are_whole_numbers_by_year(tmp_path):
    (tmp_path / "series").mkdir()
    path = tmp_path / "series" / "sunspots.csv"
    path.write_text('"YEAR","SUNACTIVITY"\n1700,5\n1701,11.2\n', encoding="ascii")
    year, count = read_sunspots(tmp_path)
    np.testing.assert_array_equal([year, count], [[1700, 1701], [5, 11]])
