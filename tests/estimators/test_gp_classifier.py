"""The classifier: scikit-learn's manners and numbers, and what it refuses."""

import pickle
import warnings

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.gaussian_process import GaussianProcessClassifier
from sklearn.gaussian_process import kernels as sk
from sklearn.metrics import log_loss
from sklearn.utils.estimator_checks import (
    check_sample_weight_equivalence_on_dense_data,
    parametrize_with_checks,
)

from kernelgp import GPClassifier
from kernelgp.errors import ArgumentError, ArgumentTypeError, ConvergenceWarning
from kernelgp.kernels import RBF


def make(n=80, n_classes=2, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, 2))
    score = X[:, 0] + X[:, 1] ** 2 + 0.5 * rng.normal(size=n)
    return X, (score.argsort().argsort() * n_classes) // n


FIXED = 3.0 * RBF(lengthscale=0.9)


@pytest.mark.filterwarnings("ignore")  # few rows and few steps: that it may warn is not the point
@parametrize_with_checks([GPClassifier(max_iterations=3)])
def test_scikit_learn_agrees(estimator, check):
    check(estimator)


def _drawn(estimator):
    """What no batches of drawn rows can pass: scikit-learn's SGDClassifier fails it too."""
    name = "check_sample_weight_equivalence_on_dense_data"
    return {name: "hyperparameters are learned from batches of rows, whatever their weights"}


@pytest.mark.filterwarnings("ignore")
@parametrize_with_checks(
    [GPClassifier(method="variational", n_inducing=8, max_epochs=1, max_iterations=2)],
    expected_failed_checks=_drawn,
)
def test_scikit_learn_agrees_with_inducing_points(estimator, check):
    check(estimator)


def test_inducing_values_take_weights_for_rows():
    estimator = GPClassifier(method="variational", n_inducing=8, optimizer=None)
    check_sample_weight_equivalence_on_dense_data("GPClassifier", estimator)


@pytest.mark.parametrize("method", ["laplace", "variational"])
def test_a_label_that_is_missing_is_refused(method):
    X, y = make()
    with pytest.raises(ValueError, match="Input y contains NaN"):
        GPClassifier(method=method).fit(X, np.where(np.arange(80) == 3, np.nan, y))


def test_fixed_hyperparameters_give_scikit_learns_numbers():
    X, y = make()
    new = np.random.default_rng(1).normal(size=(30, 2))
    ours = GPClassifier(FIXED, optimizer=None).fit(X, y)
    kernel = sk.ConstantKernel(3.0) * sk.RBF(0.9)
    peer = GaussianProcessClassifier(kernel, optimizer=None).fit(X, y)
    assert ours.log_marginal_likelihood_value_ == pytest.approx(
        peer.log_marginal_likelihood_value_, abs=1e-6
    )
    # Its own average over the latent function is a fit by five error functions.
    assert np.allclose(ours.predict_proba(new), peer.predict_proba(new), atol=2e-3)
    assert (ours.predict(new) == peer.predict(new)).all()


def test_learned_evidence_is_no_lower_than_scikit_learns():
    X, y = make()
    kernel = sk.ConstantKernel(1.0) * sk.RBF([1.0, 1.0])
    peer = GaussianProcessClassifier(kernel, random_state=0).fit(X, y)
    ours = GPClassifier(kernel, mean="zero", random_state=0).fit(X, y)
    assert ours.log_marginal_likelihood_value_ > peer.log_marginal_likelihood_value_ - 1e-3


def test_evidence_at_other_hyperparameters_is_that_of_a_fit_there():
    X, y = make()
    model = GPClassifier(FIXED, mean="zero", random_state=0).fit(X, y)
    theta = np.log([3.0, 0.9])
    there = GPClassifier(FIXED, optimizer=None).fit(X, y).log_marginal_likelihood_value_
    value, gradient = model.log_marginal_likelihood(theta, eval_gradient=True)
    assert value == pytest.approx(there)
    slopes = [
        (model.log_marginal_likelihood(theta + s) - model.log_marginal_likelihood(theta - s)) / 2e-5
        for s in 1e-5 * np.eye(2)
    ]
    assert np.allclose(gradient, slopes, rtol=1e-5)
    assert model.log_marginal_likelihood() == pytest.approx(model.log_marginal_likelihood_value_)


@pytest.mark.parametrize(
    "names",
    [
        np.array(["no", "yes", "maybe"]),
        np.array(["no", "yes", "maybe"], dtype=object),
        np.array([10, -3, 7]),
        np.array([2.0, 5.0, 3.0]),
    ],
)
def test_classes_keep_their_names_and_types(names):
    X, y = make(n_classes=3)
    model = GPClassifier(FIXED, optimizer=None).fit(X, names[y])
    assert list(model.classes_) == sorted(names)
    assert model.predict(X).dtype == names.dtype
    assert model.score(X, names[y]) > 0.8
    assert model.predict_proba(X).shape == (len(X), 3)


def test_booleans_are_classes():
    X, y = make()
    model = GPClassifier(FIXED, optimizer=None).fit(X, y == 1)
    assert model.predict(X).dtype == bool
    assert model.decision_function(X).shape == (len(X),)


def test_three_classes_are_better_than_chance_and_calibrated():
    X, y = make(n=120, n_classes=3)
    new, truth = make(n=300, n_classes=3, seed=1)
    model = GPClassifier(random_state=0).fit(X, y)
    probabilities = model.predict_proba(new)
    assert log_loss(truth, probabilities) < 0.75
    assert np.allclose(probabilities.sum(axis=1), 1)
    mean, std = model.predict_latent(new, return_std=True)
    assert mean.shape == std.shape == (300, 3)
    assert (std > 0).all()


def test_far_from_the_data_the_latent_function_is_its_prior():
    X, y = make()
    model = GPClassifier(FIXED, optimizer=None).fit(X, y)
    mean, std = model.predict_latent([[100.0, 100.0]], return_std=True)
    assert mean == pytest.approx(0.0)
    assert std == pytest.approx(3.0**0.5)
    assert model.predict_proba([[100.0, 100.0]]) == pytest.approx(0.5)


def test_tensors_come_back_as_tensors():
    X, y = make()
    model = GPClassifier(FIXED, optimizer=None).fit(torch.tensor(X), torch.tensor(y))
    found = model.predict_proba(torch.tensor(X))
    assert isinstance(found, torch.Tensor)
    assert np.allclose(found.numpy(), model.predict_proba(X))


@pytest.mark.parametrize("method", ["laplace", "variational"])
@pytest.mark.parametrize("n_classes", [2, 3])
def test_pickled_and_saved_models_predict_the_same(method, n_classes, tmp_path):
    X, y = make(n_classes=n_classes)
    names = np.array(["a", "b", "c"])[y]
    model = GPClassifier(FIXED, method=method, max_epochs=1, max_iterations=5, n_inducing=20)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # five iterations are few
        model.fit(X, names)
    for again in (
        pickle.loads(pickle.dumps(model)),
        GPClassifier.load(model.save(tmp_path / "model.gp")),
    ):
        assert np.array_equal(again.predict_proba(X), model.predict_proba(X))
        assert list(again.classes_) == list(model.classes_)


def test_warm_start_begins_where_the_last_fit_ended():
    X, y = make()
    model = GPClassifier(warm_start=True, random_state=0).fit(X, y)
    first = model.report_
    model.fit(X, y)
    assert model.report_.evaluations < first.evaluations / 2
    assert clone(model).set_params(warm_start=False).get_params()["warm_start"] is False


def test_rows_of_weight_zero_do_not_exist():
    X, y = make(n_classes=3)
    weights = (y < 2).astype(float)
    model = GPClassifier(FIXED, optimizer=None).fit(X, y, weights)
    assert list(model.classes_) == [0, 1]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"method": "ep"}, "method: got 'ep'"),
        ({"mean": "linear"}, "mean: got 'linear'"),
        ({"optimizer": "adam"}, "optimizer: got 'adam'"),
        ({"n_restarts": -1}, "n_restarts: got -1"),
        ({"max_iterations": 0}, "max_iterations: got 0"),
        ({"n_inducing": 0}, "n_inducing: got 0"),
        ({"max_epochs": -1}, "max_epochs: got -1"),
        ({"method": "variational", "inducing": "grid"}, "inducing: got 'grid'"),
        ({"method": "variational", "inducing": np.zeros((3, 5))}, "inducing: got shape"),
    ],
)
def test_arguments_are_checked_by_name(options, message):
    X, y = make()
    with pytest.raises(ArgumentError, match=message):
        GPClassifier(**options).fit(X, y)


def test_a_kernel_of_no_kind_is_refused():
    X, y = make()
    with pytest.raises(ArgumentTypeError, match="kernel"):
        GPClassifier("rbf").fit(X, y)


def test_one_class_is_refused_by_its_name():
    with pytest.raises(ArgumentError, match="one class, 'a'"):
        GPClassifier().fit(np.zeros((3, 1)), ["a", "a", "a"])


@pytest.mark.parametrize("theta", [[0.0], [0.0, np.nan]])
def test_theta_is_checked(theta):
    X, y = make()
    model = GPClassifier(FIXED, optimizer=None).fit(X, y)
    with pytest.raises(ArgumentError, match="theta: got"):
        model.log_marginal_likelihood(theta)


@pytest.mark.parametrize("offset", [0.0, 1e8])
def test_strange_columns_do_no_harm(offset):
    X, y = make()
    strange = np.c_[offset + X, np.full(len(X), 7.0), X[:, 0]]
    model = GPClassifier(random_state=0).fit(strange, y)
    assert model.score(strange, y) > 0.85


@pytest.mark.parametrize("n_classes", [2, 3])
def test_variational_fit_is_near_laplaces(n_classes):
    X, y = make(200, n_classes)
    new, truth = make(500, n_classes, seed=1)
    laplace = GPClassifier(method="laplace", random_state=0, max_iterations=20).fit(X, y)
    sparse = GPClassifier(method="variational", n_inducing=40, max_epochs=2, random_state=0)
    sparse.fit(X, y)
    assert sparse.method_ == "variational"
    ours, theirs = (log_loss(truth, m.predict_proba(new)) for m in (sparse, laplace))
    assert ours < theirs + 0.03
    mean, std = sparse.predict_latent(new, return_std=True)
    assert mean.shape == std.shape
    again = pickle.loads(pickle.dumps(sparse))
    assert np.array_equal(again.predict_proba(new), sparse.predict_proba(new))


def test_work_chooses_the_method():
    X, y = make(2600)
    model = GPClassifier(FIXED, optimizer=None, n_inducing=30, random_state=0).fit(X, y)
    assert model.method_ == "variational"
    assert model.inducing_points_.shape == (30, 2)
    with pytest.raises(ArgumentError, match="method: got a fit by 'variational'"):
        model.log_marginal_likelihood()


def test_float32_is_kept():
    X, y = make(200)
    model = GPClassifier(FIXED, optimizer=None, method="variational", n_inducing=20)
    model.fit(X.astype(np.float32), y)
    assert model.score(X.astype(np.float32), y) > 0.8


def test_another_method_leaves_nothing_of_the_first():
    X, y = make(100)
    model = GPClassifier(FIXED, optimizer=None, method="variational", n_inducing=20).fit(X, y)
    model.set_params(method="laplace").fit(X, y)
    assert not hasattr(model, "inducing_points_")
    assert model.dual_coef_.shape == (100, 1)


def test_a_variational_posterior_that_still_rises_says_so(monkeypatch):
    rng = np.random.default_rng(0)
    X = rng.uniform(size=(90, 2))
    y = np.digitize(X[:, 0], [0.3, 0.6])
    options = {"method": "variational", "n_inducing": 12, "max_epochs": 1, "random_state": 0}
    monkeypatch.setattr("kernelgp.gp.svgp_learning._FULL_STEPS", 1)
    with pytest.warns(ConvergenceWarning, match="variational: the bound, .* after 1 full steps"):
        GPClassifier(**options).fit(X, y)
