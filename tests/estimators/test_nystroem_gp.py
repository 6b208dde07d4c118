"""The sparse baseline: scikit-learn's manners, and near the exact process."""

import numpy as np
import pytest
from sklearn.utils.estimator_checks import parametrize_with_checks

from kernelgp import GPRegressor, NystroemGPRegressor
from kernelgp.errors import ArgumentError
from kernelgp.kernels import RBF


def make(n=300, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.uniform(size=(n, 2))
    return X, 5 + np.sin(6 * X[:, 0]) + X[:, 1] + 0.1 * rng.normal(size=n)


@pytest.mark.filterwarnings("ignore")
@parametrize_with_checks([NystroemGPRegressor(n_inducing=30, max_iterations=5)])
def test_scikit_learn_agrees(estimator, check):
    check(estimator)


def test_many_points_give_the_exact_process():
    X, y = make()
    new, _ = make(50, seed=1)
    exact = GPRegressor(random_state=0).fit(X, y)
    sparse = NystroemGPRegressor(n_inducing=200, random_state=0).fit(X, y)
    for ours, theirs in zip(
        sparse.predict(new, return_std=True), exact.predict(new, return_std=True), strict=True
    ):
        assert np.allclose(ours, theirs, atol=0.02)
    assert sparse.log_marginal_likelihood_value_ == pytest.approx(
        exact.log_marginal_likelihood_value_, abs=6.0
    )


def test_points_that_move_raise_the_bound():
    X, y = make(100)
    options = {"n_inducing": 5, "random_state": 0}
    still = NystroemGPRegressor(noise=0.01, **options).fit(X, y)
    moved = NystroemGPRegressor(learn_inducing=True, noise=0.01, **options).fit(X, y)
    assert moved.log_marginal_likelihood_value_ > still.log_marginal_likelihood_value_
    assert not np.allclose(moved.inducing_points_, still.inducing_points_)


def test_saved_model_predicts_the_same(tmp_path):
    X, y = make()
    model = NystroemGPRegressor(2.0 * RBF(), noise=0.01, optimizer=None, n_inducing=20).fit(X, y)
    again = NystroemGPRegressor.load(model.save(tmp_path / "model.gp"))
    assert np.array_equal(again.predict(X), model.predict(X))


@pytest.mark.parametrize("shape", [(40,), (40, 2)])
def test_constant_targets_are_given_back_without_a_search(shape):
    X, _ = make(40)
    model = NystroemGPRegressor(n_inducing=20, random_state=0).fit(X, np.full(shape, 5.0))
    mean, std = model.predict(X, return_std=True)
    np.testing.assert_allclose(mean, np.full(shape, 5.0))
    assert (std > 0).all()
    assert model.report_ is None


def test_several_outputs_are_those_of_each_alone():
    X, y = make()
    options = {"noise": 0.01, "optimizer": None, "n_inducing": 20, "random_state": 0}
    both = NystroemGPRegressor(2.0 * RBF(), **options).fit(X, np.c_[y, -2 * y])
    alone = NystroemGPRegressor(2.0 * RBF(), **options).fit(X, y)
    assert np.allclose(both.predict(X)[:, 0], alone.predict(X))
    assert np.allclose(both.predict(X)[:, 1], -2 * alone.predict(X))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_inducing": 0}, "n_inducing: got 0"),
        ({"optimizer": None}, "noise: got 'learn' without"),
        ({"noise": 0.0}, "noise: got 0"),
        ({"mean": "linear"}, "mean: got 'linear'"),
        ({"inducing": np.zeros((3, 7))}, "inducing: got shape"),
    ],
)
def test_arguments_are_checked_by_name(options, message):
    X, y = make(50)
    with pytest.raises(ArgumentError, match=message):
        NystroemGPRegressor(**options).fit(X, y)
