"""Ridge regression on features against scikit-learn's ridge on the same features."""

import numpy as np
import pytest
from sklearn.linear_model import Ridge
from sklearn.utils.estimator_checks import parametrize_with_checks

from kernelgp import FeatureRidge, FourierFeatures
from kernelgp.errors import ArgumentError
from kernelgp.kernels import RBF

rng = np.random.default_rng(0)
X = rng.normal(size=(300, 3))
y = np.sin(2 * X[:, 0]) + X[:, 1] + 5
WEIGHTS = rng.integers(0, 3, size=300).astype(float)


def peer(coef_of, **options):
    Z = FourierFeatures(RBF(1.5), 40, random_state=0).fit_transform(X)
    return Z, Ridge(alpha=0.3, **options).fit(Z, coef_of, sample_weight=WEIGHTS)


@parametrize_with_checks([FeatureRidge(n_components=60, random_state=0)])
def test_scikit_learn_checks(estimator, check):
    check(estimator)


@pytest.mark.parametrize("most_dense", [16_000, 10])
@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("targets", [y, np.stack([y, -(y**2)], axis=1)])
def test_weights_are_those_of_ridge(monkeypatch, most_dense, fit_intercept, targets):
    # Above so many features, conjugate gradients.
    monkeypatch.setattr("kernelgp.estimators.feature_ridge._MOST_DENSE", most_dense)
    model = FeatureRidge(RBF(1.5), 40, noise=0.3, fit_intercept=fit_intercept, random_state=0)
    Z, ridge = peer(targets, fit_intercept=fit_intercept)
    found = model.fit(X, targets, WEIGHTS)
    tolerance = 1e-8 if most_dense > 40 else 1e-4
    np.testing.assert_allclose(found.predict(X), ridge.predict(Z), atol=tolerance)
    assert (found.report_ is None) == (most_dense > 40)


def test_parts_come_to_the_same_as_all(tmp_path):
    whole = FeatureRidge(RBF(1.5), 21, random_state=0).fit(X, y)
    parts = FeatureRidge(RBF(1.5), 21, random_state=0)
    for start in range(0, 300, 70):
        parts.partial_fit(X[start : start + 70], y[start : start + 70])
    np.testing.assert_allclose(parts.predict(X), whole.predict(X), atol=1e-8)
    again = FeatureRidge.load(parts.save(tmp_path / "model.gp"))
    np.testing.assert_array_equal(again.predict(X), parts.predict(X))
    with pytest.raises(ArgumentError, match="self: got a model from a file"):
        again.partial_fit(X, y)


def test_parts_that_do_not_fit_are_refused():
    model = FeatureRidge(RBF(1.5), 21, random_state=0).partial_fit(X, y)
    with pytest.raises(ValueError, match="X has 2 features, but FeatureRidge is expecting 3"):
        model.partial_fit(X[:, :2], y)
    with pytest.raises(ArgumentError, match=r"y: got shape \(300, 2\); give 1 outputs"):
        model.partial_fit(X, np.stack([y, y], axis=1))
    assert model.predict(X).shape == (300,)


def test_bad_arguments_are_named():
    with pytest.raises(ArgumentError, match="noise: got 0"):
        FeatureRidge(noise=0).fit(X, y)
    with pytest.raises(ArgumentError, match="noise: got shape"):
        FeatureRidge(noise=[0.1, 0.2]).fit(X, y)
    with pytest.raises(ArgumentError, match="n_components: got 0"):
        FeatureRidge(n_components=0).fit(X, y)
