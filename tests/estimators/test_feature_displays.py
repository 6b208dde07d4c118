"""Pictures of random features: the numbers in them, and what they refuse."""

import numpy as np
import pytest

from kernelgp.errors import ArgumentError
from kernelgp.estimators.displays import CouplingGainDisplay, FeatureErrorDisplay
from kernelgp.kernels import RBF, Matern

X = np.random.default_rng(0).normal(size=(60, 4))


@pytest.mark.parametrize("kernel", [3.0 * RBF(1.5), Matern(1.5, [1.0, 2.0, 1.0, 3.0])])
def test_independent_features_err_as_predicted(kernel):
    display = FeatureErrorDisplay.from_kernel(
        kernel, X, n_components=[32, 128], coupling="iid", n_draws=40
    )
    np.testing.assert_allclose(display.observed, display.predicted, rtol=0.15)


def test_orthogonal_features_are_below_the_line_and_both_are_drawn():
    display = FeatureErrorDisplay.from_kernel(RBF(2.0), X, n_components=[64, 256])
    assert (display.observed < display.predicted).all()
    predicted, observed = display.ax_.lines
    np.testing.assert_array_equal(predicted.get_ydata(), display.predicted)
    np.testing.assert_array_equal(observed.get_ydata(), display.observed)
    display.plot()


def test_pairs_are_centred_and_in_lengthscales():
    display = CouplingGainDisplay.from_data(X + 100, lengthscale=[1.0, 2.0, 1.0, 2.0])
    rows = (X - X.mean(axis=0)) / [1, 2, 1, 2]
    assert len(display.v) == 60 * 59 / 2
    assert display.v[0] == pytest.approx(np.linalg.norm(rows[0] + rows[1]))
    iid, orthogonal, simplex = (np.asarray(line.get_ydata()) for line in display.ax_.lines)
    assert (simplex < orthogonal + 1e-9).all()  # far away all are equal
    assert (orthogonal < iid + 1e-9).all()
    assert simplex[0] < 0.5 * orthogonal[0]
    display.plot()


def test_far_pairs_gain_nothing():
    display = CouplingGainDisplay.from_distances([0.0, 3e4], 4)
    for line in display.ax_.lines:
        assert np.asarray(line.get_ydata())[-1] == pytest.approx(1, abs=0.01)


@pytest.mark.parametrize(
    ("draw", "message"),
    [
        (lambda: FeatureErrorDisplay.from_kernel(RBF(), X, n_components=[3]), "n_components"),
        (lambda: FeatureErrorDisplay.from_kernel(RBF(), X, n_draws=0), "n_draws"),
        (lambda: FeatureErrorDisplay.from_kernel(RBF(), X[:, 0]), "X: got shape"),
        (lambda: FeatureErrorDisplay.from_errors([1, 2], [1], [1, 2]), "observed: got 1 values"),
        (lambda: CouplingGainDisplay.from_data(X[:1]), "X: got shape"),
        (lambda: CouplingGainDisplay.from_data(X, lengthscale=0.0), "lengthscale: got 0"),
        (lambda: CouplingGainDisplay.from_distances([-1.0], 3), "v: got negative"),
    ],
)
def test_bad_arguments_are_named(draw, message):
    with pytest.raises(ArgumentError, match=message):
        draw()
