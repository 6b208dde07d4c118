"""Kernel ridge regression against scikit-learn's, and its ways against one another."""

import numpy as np
import pytest
from sklearn.kernel_ridge import KernelRidge as Peer
from sklearn.utils.estimator_checks import parametrize_with_checks

from kernelgp import KernelRidge
from kernelgp.errors import ArgumentError, ConvergenceWarning
from kernelgp.kernels import RBF


def make(n=200, k=None, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.uniform(size=(n, 2))
    y = np.sin(6 * X[:, 0]) + X[:, 1] + 0.1 * rng.normal(size=n)
    return X, y if k is None else np.stack([y * (i + 1) + i for i in range(k)], axis=1)


KERNEL, GAMMA = RBF(lengthscale=0.5), 2.0


@pytest.mark.filterwarnings("ignore")
@parametrize_with_checks([KernelRidge()])
def test_scikit_learn_agrees(estimator, check):
    check(estimator)


@pytest.mark.parametrize("outputs", [None, 3])
@pytest.mark.parametrize("weighted", [False, True])
def test_small_problems_give_scikit_learns_numbers(outputs, weighted):
    X, y = make(k=outputs)
    new, _ = make(50, seed=1)
    weights = np.random.default_rng(2).uniform(0.5, 2, size=len(X)) if weighted else None
    peer = Peer(kernel="rbf", gamma=GAMMA, alpha=0.01).fit(X, y, sample_weight=weights)
    ours = KernelRidge(KERNEL, noise=0.01).fit(X, y, sample_weight=weights)
    assert ours.method_ == "cholesky"
    assert np.allclose(ours.predict(new), peer.predict(new), rtol=0, atol=1e-8)


@pytest.mark.parametrize(("method", "rtol"), [("pcg", 1e-8), ("sketch", 1e-4)])
@pytest.mark.parametrize("outputs", [None, 2])
def test_iterative_ways_reach_the_residual_they_report(method, rtol, outputs):
    X, y = make(600, k=outputs)
    model = KernelRidge(KERNEL, noise=0.1, method=method, rtol=rtol, random_state=0).fit(X, y)
    K = np.exp(-GAMMA * ((X[:, None] - X) ** 2).sum(-1)) + 0.1 * np.eye(len(X))
    error = y - K @ model.dual_coef_
    true = np.linalg.norm(error, axis=0) / np.linalg.norm(y, axis=0)
    assert np.allclose(model.report_.residual.numpy(), true, rtol=1e-6, atol=1e-12)
    assert np.max(true) <= rtol
    assert model.report_.converged


def test_a_noise_for_each_output_is_a_fit_for_each():
    X, y = make()
    noises = [1e-3, 0.1, 1.0]
    model = KernelRidge(KERNEL, noise=noises).fit(X, np.stack([y] * 3, axis=1))
    for i, noise in enumerate(noises):
        alone = KernelRidge(KERNEL, noise=noise).fit(X, y)
        assert np.allclose(model.dual_coef_[:, i], alone.dual_coef_)
    assert len(model.reports_) == 3


@pytest.mark.parametrize("method", ["cholesky", "pcg", "sketch"])
def test_a_noise_for_each_row_is_a_weight(method):
    X, y = make(300)
    weights = np.random.default_rng(2).uniform(0.5, 2, size=len(X))
    options = {"method": method, "rtol": 1e-4, "random_state": 0}
    one = KernelRidge(KERNEL, noise=0.1 / weights, **options).fit(X, y)
    other = KernelRidge(KERNEL, noise=0.1, **options).fit(X, y, weights)
    assert np.allclose(one.predict(X), other.predict(X))


def test_too_few_passes_are_said():
    X, y = make(1500)
    model = KernelRidge(KERNEL, noise=1e-4, method="sketch", rtol=1e-9, max_iterations=2)
    with pytest.warns(ConvergenceWarning, match="sketch: worst residual"):
        model.fit(X, y)
    assert not model.report_.converged


def test_saved_model_predicts_the_same(tmp_path):
    X, y = make(k=2)
    model = KernelRidge().fit(X, y)
    again = KernelRidge.load(model.save(tmp_path / "model.gp"))
    assert np.array_equal(again.predict(X), model.predict(X))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"noise": -1.0}, "noise: got -1.0"),
        ({"noise": [0.1, 0.2, 0.3]}, r"noise: got shape \(3,\)"),
        ({"method": "lu"}, "method: got 'lu'"),
        ({"rtol": 0.0}, "rtol: got 0.0"),
        ({"noise": 0.0, "method": "sketch"}, "noise: got 0"),
    ],
)
def test_arguments_are_checked_by_name(options, message):
    X, y = make()
    with pytest.raises(ArgumentError, match=message):
        KernelRidge(**options).fit(X, y)
