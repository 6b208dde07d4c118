"""Displays: the numbers drawn are those of the estimator, and drawing again is the same."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from scipy.stats import norm
from sklearn.base import BaseEstimator
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process import kernels as peer
from sklearn.linear_model import LinearRegression

from kernelgp.errors import ArgumentError, ArgumentTypeError
from kernelgp.estimators.displays import (
    CalibrationDisplay,
    ConvergenceDisplay,
    PredictionBandDisplay,
    RelevanceDisplay,
    ResidualsDisplay,
)
from kernelgp.kernels import RBF, Matern, Periodic

RNG = np.random.default_rng(0)
X = RNG.uniform(size=(40, 2))
Y = np.sin(6 * X[:, 0]) + 0.1 * RNG.normal(size=40)


@pytest.fixture(scope="module")
def fitted():
    return GaussianProcessRegressor(peer.RBF(0.4), alpha=0.01, optimizer=None).fit(X, Y)


class Fitted(BaseEstimator):
    """An estimator with the fitted attributes given."""

    def __init__(self, **attributes):
        vars(self).update(attributes)

    def __sklearn_is_fitted__(self):
        return True

    def fit(self, X, y):
        raise NotImplementedError


def axes():
    return Figure().subplots()


def test_the_band_is_that_of_the_predictions(fitted):
    display = PredictionBandDisplay.from_estimator(fitted, X, Y, feature=0, n_points=7)
    line = np.linspace(X[:, 0].min(), X[:, 0].max(), 7)
    rows = np.column_stack([line, np.full(7, np.median(X[:, 1]))])
    mean, std = fitted.predict(rows, return_std=True)
    np.testing.assert_array_equal(display.mean, mean)
    np.testing.assert_array_equal(display.std, std)
    lower, upper = display.ax_.collections[0].get_datalim(display.ax_.transData).intervaly
    assert lower == pytest.approx((mean - 2 * std).min())
    assert upper == pytest.approx((mean + 2 * std).max())
    assert display.ax_.get_xlabel() == "x[0]"


def test_the_training_rows_are_the_default(fitted):
    display = PredictionBandDisplay.from_estimator(fitted, feature=1)
    assert (display.x[0], display.x[-1]) == (X[:, 1].min(), X[:, 1].max())
    assert display.y_data is None  # of two inputs the data lie off the line


def test_unsorted_points_are_sorted_for_the_line():
    display = PredictionBandDisplay.from_predictions([3, 1, 2], [30, 10, 20], [0.3, 0.1, 0.2])
    np.testing.assert_array_equal(display.x, [1, 2, 3])
    np.testing.assert_array_equal(display.mean, [10, 20, 30])
    np.testing.assert_array_equal(display.std, [0.1, 0.2, 0.3])


def test_columns_keep_their_names():
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(X, columns=["depth", "age"])
    fitted = GaussianProcessRegressor(peer.RBF(0.4), alpha=0.01, optimizer=None).fit(frame, Y)
    display = PredictionBandDisplay.from_estimator(fitted, frame, feature=1)  # and no warning
    assert display.ax_.get_xlabel() == "age"


def test_right_deviations_lie_on_the_diagonal_and_wrong_ones_do_not():
    y = RNG.normal(size=20_000)
    for factor in (1.0, 0.5, 2.0):
        display = CalibrationDisplay.from_predictions(y, np.zeros(20_000), np.full(20_000, factor))
        expected = 2 * norm.cdf(factor * norm.ppf((1 + display.expected) / 2)) - 1
        np.testing.assert_allclose(display.observed, expected, atol=0.02)
    assert display.observed[0] == 0.0
    assert display.observed[-1] == 1.0


def test_several_calibrations_on_one_pair_of_axes_differ_in_color(fitted):
    ax = axes()
    first = CalibrationDisplay.from_estimator(fitted, X, Y, name="one", ax=ax)
    second = CalibrationDisplay.from_predictions(Y, 0 * Y, 1 + 0 * Y, name="two", ax=ax)
    assert first.ax_ is second.ax_
    assert first.line_.get_color() != second.line_.get_color()
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["one", "two"]


def test_residuals_are_in_standard_deviations(fitted):
    mean, std = fitted.predict(X, return_std=True)
    display = ResidualsDisplay.from_estimator(fitted, X, Y)
    np.testing.assert_array_equal(display.residuals, (Y - mean) / std)
    lowest, highest = display.ax_.get_ylim()
    assert lowest < display.residuals.min()
    assert display.residuals.max() < highest


def test_relevance_is_spread_over_lengthscale():
    kernel = 2.0 * Matern(2.5, [0.5, 5.0]) + RBF(0.1, active_dims=[1]) * Periodic(0.3)
    estimator = Fitted(kernel_=kernel, X_train_=X)
    display = RelevanceDisplay.from_estimator(estimator)
    spread = X.std(axis=0)
    expected = [[spread[0] / 0.5, spread[1] / 5.0], [np.nan, spread[1] / 0.1]]
    np.testing.assert_allclose(display.relevance, expected)
    assert display.part_names == ["Matern", "RBF"]
    labels = [label.get_text() for label in display.ax_.get_yticklabels()]
    assert labels == ["x[0]", "x[1]"]  # the most relevant at the top


def test_a_kernel_without_lengthscales_says_so():
    estimator = Fitted(kernel_=Periodic(), X_train_=X)
    with pytest.raises(ArgumentError, match=r"estimator: got Periodic\(.*no lengthscales; fit a"):
        RelevanceDisplay.from_estimator(estimator)


@pytest.mark.parametrize("nested", [True, False])
def test_convergence_is_the_history_of_the_report(nested):
    steps = [
        SimpleNamespace(iteration=i, objective=3.0 - i, gradient_norm=0.1**i) for i in range(3)
    ]
    report = SimpleNamespace(history=steps)
    report = SimpleNamespace(optimizer=report) if nested else report
    estimator = Fitted(report_=report)
    display = ConvergenceDisplay.from_estimator(estimator)
    np.testing.assert_array_equal(display.ax_.lines[0].get_ydata(), [2.0, 1.0, np.nan])
    np.testing.assert_array_equal(display.ax_.lines[1].get_ydata(), [1.0, 0.1, 0.1**2])


def test_nothing_optimised_is_nothing_to_draw():
    estimator = Fitted(report_=None)
    with pytest.raises(ArgumentError, match=r"nothing to optimise; fit with optimizer"):
        ConvergenceDisplay.from_estimator(estimator)


DRAWN = {
    "band": lambda ax: PredictionBandDisplay.from_predictions([0, 1], [1, 2], [1, 1], ax=ax),
    "calibration": lambda ax: CalibrationDisplay.from_predictions([0, 1], [1, 2], [1, 1], ax=ax),
    "residuals": lambda ax: ResidualsDisplay.from_predictions([0, 1], [1, 2], [1, 1], ax=ax),
    "relevance": lambda ax: RelevanceDisplay.from_lengthscales([0.1, 0.2], [1, 1], ax=ax),
    "convergence": lambda ax: ConvergenceDisplay.from_history([0, 1], [1, 0], [1, 0], ax=ax),
}


@pytest.mark.parametrize("name", DRAWN)
def test_every_display_draws_where_it_is_told_and_again(name, tmp_path):
    ax = axes()
    display = DRAWN[name](ax)
    assert display.ax_ is ax
    other = axes()
    assert display.plot(other) is display
    assert display.figure_ is other.figure
    display.plot().figure_.savefig(tmp_path / "a.png")


@pytest.mark.parametrize("name", DRAWN)
def test_what_are_no_axes_is_refused(name):
    with pytest.raises(ArgumentTypeError, match=r"ax: got str; give matplotlib axes, or None"):
        DRAWN[name]("here")


def test_numbers_that_do_not_fit_are_named():
    with pytest.raises(ArgumentError, match=r"std: got 1 values; give 2, as many as of y_true"):
        CalibrationDisplay.from_predictions([0, 1], [0, 1], [1])
    with pytest.raises(ArgumentError, match=r"mean: got 1 values that are not finite"):
        ResidualsDisplay.from_predictions([0, 1], [0, np.nan], [1, 1])
    with pytest.raises(ArgumentError, match=r"std: got a smallest value of 0; give positive"):
        ResidualsDisplay.from_predictions([0, 1], [0, 1], [0, 1])
    with pytest.raises(ArgumentError, match=r"mean: got shape \(2, 2\); .* one output at a time"):
        PredictionBandDisplay.from_predictions([0, 1], np.ones((2, 2)), [1, 1])
    fitted = GaussianProcessRegressor(optimizer=None).fit(X, Y)
    with pytest.raises(ArgumentError, match=r"feature: got 2; name one of the 2 columns"):
        PredictionBandDisplay.from_estimator(fitted, X, feature=2)


def test_estimators_without_deviations_are_refused():
    with pytest.raises(ArgumentTypeError, match=r"LinearRegression, whose predict takes no return"):
        CalibrationDisplay.from_estimator(LinearRegression().fit(X, Y), X, Y)


def test_tensors_are_drawn_too():
    display = ResidualsDisplay.from_predictions(torch.ones(3), torch.zeros(3), torch.ones(3))
    np.testing.assert_array_equal(display.residuals, np.ones(3))
