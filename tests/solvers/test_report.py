"""The report as text and as JSON."""

import json
import math

import numpy as np

from solvers.report import SolutionReport

REPORT = SolutionReport(
    method="direct",
    kernel="gaussian",
    grid=(20, 30),
    rank=(7, 8),
    frequencies={"x": np.array([1.5, 12.25]), "y": np.array([])},
    band={"x": 0.0, "y": 4.0},
    residual=2e-9,
    boundary_error=3e-12,
    log_marginal_likelihood=1234.5,
    amplitude=0.5,
    nugget=1e-13,
    prior=4,
    seconds=0.123,
)


def test_comes_back_from_json():
    again = SolutionReport.from_json(json.loads(json.dumps(REPORT.to_json())))
    assert str(again) == str(REPORT)
    assert again.grid == REPORT.grid
    np.testing.assert_array_equal(again.frequencies["x"], REPORT.frequencies["x"])


def test_an_infinite_evidence_comes_back_too():
    fields = REPORT.to_json() | {"log_marginal_likelihood": math.inf}
    again = SolutionReport.from_json(json.loads(json.dumps(fields)))
    assert again.log_marginal_likelihood == math.inf


def test_text_names_every_figure_with_its_unit():
    text = str(REPORT)
    for part in (
        "grid 20 x 30, rank 7 x 8",
        "frequencies (cycles per unit) x: 1.5, 12.25; y: none and all below 4",
        "residual between the grid's points 2.0e-09, boundary error 3.0e-12",
        "log marginal likelihood 1234.5",
        "0.12 s",
    ):
        assert part in text
