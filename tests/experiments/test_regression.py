"""The regression benchmark: its data, its scores, and what it does without data."""

import numpy as np
import pytest
from scipy.stats import norm

from experiments.harness import Options
from experiments.regression.data import Rows, read_co2, read_table, score_gaussian
from experiments.regression.grid import _Difference
from experiments.regression.tasks import tasks


def options(tmp_path, data=None):
    return Options(quick=True, data=data, out=tmp_path, seed=0, fresh=False)


def test_without_data_only_what_needs_none_is_left(tmp_path):
    names = [task.name for task in tasks(options(tmp_path))]
    assert names == [
        "two processes beside one",
        "RBF d = 4, evidence and gradient",
        "RBF d = 4, predictive variances",
    ]


@pytest.fixture
def data(tmp_path):
    folder = tmp_path / "data"
    (folder / "uci" / "kin40k").mkdir(parents=True)
    (folder / "series").mkdir()
    table = np.arange(40.0).reshape(10, 4)
    table[:, 1] = 7.0
    np.savetxt(folder / "uci" / "kin40k" / "data.csv.gz", table, delimiter=",")
    lines = ["date,co2", "19580329,316", "19580405,317", "19580412,", "19580510,320", "19590101,1"]
    (folder / "series" / "mauna_loa_co2.csv").write_text("\n".join(lines), encoding="ascii")
    return folder


def test_tables_are_split_without_overlap_and_constant_columns(data):
    rows = read_table(data, "kin40k", 6, 4, seed=0)
    assert rows.x.shape == (6, 2)
    together = np.sort(np.concatenate([rows.y, rows.y_test]))
    np.testing.assert_array_equal(together, np.arange(3.0, 40.0, 4.0))
    np.testing.assert_array_equal(rows.x[:, 1] + 1, rows.y)


def test_months_are_means_of_what_was_observed(data):
    rows = read_co2(data, 1959.0)
    np.testing.assert_allclose(rows.x[:, 0], 1958 + np.array([2.5, 3.5, 4.5]) / 12)
    np.testing.assert_allclose(rows.y, [316, 317, 320])
    np.testing.assert_allclose(rows.y_test, [1])


def test_densities_are_those_of_standardised_targets():
    rng = np.random.default_rng(0)
    y, y_test = 5 * rng.normal(size=50), 5 * rng.normal(size=20)
    rows = Rows(np.zeros((50, 1)), y, np.zeros((20, 1)), y_test)
    mean, std = rng.normal(size=20), rng.uniform(1, 5, size=20)
    found = score_gaussian(rows, mean, std)
    scale = y.std()
    expected = -norm.logpdf(y_test / scale, mean / scale, std / scale).mean()
    assert found["NLL"] == pytest.approx(expected)
    assert found["RMSE"] == pytest.approx(np.sqrt(np.mean((y_test - mean) ** 2)) / scale)


def test_the_first_method_is_the_reference():
    rows = Rows(np.zeros((3000, 1)), np.zeros(3000), np.zeros((1, 1)), np.zeros(1))
    score = _Difference()
    assert "off by" not in score(rows, (3000.0, np.array([0.0]), None))
    found = score(rows, (3003.0, np.array([0.0]), None))
    assert found["off by"] == pytest.approx(1e-3)
