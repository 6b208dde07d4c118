"""Nyström features against dense algebra and scikit-learn's."""

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from scipy import sparse
from sklearn.kernel_approximation import Nystroem
from sklearn.utils.estimator_checks import parametrize_with_checks

from kernelgp import NystroemFeatures
from kernelgp.errors import ArgumentError, NumericalWarning
from kernelgp.kernels import RBF, Linear, Matern, Polynomial

X = np.random.default_rng(0).normal(size=(150, 3))
METHODS = ["pivoted", "leverage", "uniform"]


def exact(kernel, X):
    return kernel(torch.as_tensor(X).double()).to_dense().detach().numpy()


@pytest.mark.filterwarnings("ignore:n_components")
@parametrize_with_checks(
    [NystroemFeatures(n_components=5, method=m, random_state=0) for m in METHODS]
)
def test_scikit_learn_checks(estimator, check):
    check(estimator)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("kernel", [RBF(2.0), 2.0 * Matern(1.5) + 0.1 * Linear(), Polynomial(3)])
def test_landmarks_are_exact_and_nothing_is_above_the_kernel(method, kernel):
    made = NystroemFeatures(kernel, 40, method=method, random_state=0)
    Z, K = made.fit_transform(X), exact(kernel, X)
    index = made.component_indices_
    assert len(np.unique(index)) == 40
    assert_allclose(made.components_, X[index])
    size = K.diagonal().max()
    assert_allclose((Z @ Z.T)[:, index], K[:, index], atol=2e-5 * size)
    assert np.linalg.eigvalsh(K - Z @ Z.T).min() > -1e-6 * size * len(X)


def test_chosen_landmarks_err_less_than_any():
    rng = np.random.default_rng(1)
    # Most rows in one corner: the rest is what uniform rows miss.
    rows = np.concatenate([0.05 * rng.normal(size=(560, 2)), 3 * rng.normal(size=(40, 2)) + 5])
    kernel = RBF(1.0)
    K = exact(kernel, rows)

    def error(method):
        found = []
        for seed in range(5):
            made = NystroemFeatures(kernel, 40, method=method, noise=1e-2, random_state=seed)
            Z = made.fit_transform(rows)
            found.append(np.trace(K - Z @ Z.T))
        return np.mean(found)

    uniform, leverage, pivoted = error("uniform"), error("leverage"), error("pivoted")
    assert leverage < 0.3 * uniform
    assert pivoted < 0.3 * uniform


def test_all_rows_give_the_kernel_as_scikit_learns_does():
    made = NystroemFeatures(RBF(1.0), 150, method="uniform", random_state=0).fit_transform(X)
    theirs = Nystroem(gamma=0.5, n_components=150, random_state=0).fit_transform(X)
    assert_allclose(made @ made.T, theirs @ theirs.T, atol=1e-6)


def test_few_rows_say_so_and_give_as_many_columns():
    with pytest.warns(NumericalWarning, match="n_components: 200 of 150 rows"):
        made = NystroemFeatures(RBF(), 200, random_state=0).fit(X)
    assert made.transform(X).shape == (150, 150)
    assert len(made.get_feature_names_out()) == 150


def test_a_kernel_that_is_used_up_gives_finite_features():
    rows = np.repeat(X[:4], 20, axis=0)
    Z = NystroemFeatures(RBF(), 30, random_state=0).fit_transform(rows)
    assert np.isfinite(Z).all()
    assert_allclose(Z @ Z.T, exact(RBF(), rows), atol=1e-6)


def test_sparse_rows_single_precision_and_gradients():
    made = NystroemFeatures(Matern(2.5, [1.0, 2.0, 3.0]), 20, random_state=0).fit(X)
    Z = made.transform(X)
    assert_allclose(made.transform(sparse.csr_array(X)), Z)
    single = made.transform(X.astype(np.float32))
    assert single.dtype == np.float32
    assert_allclose(single, Z, atol=1e-3)
    module = made.as_module()
    x = torch.from_numpy(X[:4]).requires_grad_()
    scale = module.kernel.raw_lengthscale
    assert torch.autograd.gradcheck(module, (x,))

    def of_scale(value):
        return torch.func.functional_call(module, {"kernel.raw_lengthscale": value}, (x.detach(),))

    assert torch.autograd.gradcheck(of_scale, scale.detach().requires_grad_())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_components": 0}, "n_components: got 0"),
        ({"method": "kmeans"}, "method: got 'kmeans'"),
        ({"noise": 0.0}, "noise: got 0.0"),
        ({"kernel": RBF([1.0, 2.0])}, "lengthscale|active_dims"),
    ],
)
def test_arguments_are_checked_by_name(options, message):
    with pytest.raises(ArgumentError, match=message):
        NystroemFeatures(**options).fit(X)
