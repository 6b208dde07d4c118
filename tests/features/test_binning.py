"""Random binning and TensorSketch: expectation, sparsity, and what happens to new rows."""

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from scipy import sparse
from sklearn.utils.estimator_checks import parametrize_with_checks

from kernelgp import ArcCosineFeatures, PolynomialSketch, RandomBinning, UniversalFeatures
from kernelgp.errors import ArgumentError

X = np.random.default_rng(0).normal(size=(15, 3))


@parametrize_with_checks(
    [
        RandomBinning(n_grids=4, random_state=0),
        PolynomialSketch(n_components=6, random_state=0),
        PolynomialSketch(3, n_components=5, offset=0.0, gamma=0.5, random_state=0),
    ]
)
def test_scikit_learn_checks(estimator, check):
    check(estimator)


@pytest.mark.parametrize("scale", [0.7, [0.5, 1.0, 2.0]])
def test_bins_meet_as_often_as_the_laplacian_kernel_says(scale):
    made = RandomBinning(scale, 4000, random_state=0).fit(X)
    Z = made.transform(X)
    K = np.exp(-(np.abs(X[:, None] - X) / scale).sum(axis=-1))
    assert sparse.issparse(Z)
    assert Z.nnz == 15 * 4000
    error = (Z @ Z.T).toarray() - K
    assert (abs(error) <= 4.5 * np.sqrt(K * (1 - K) / 4000) + 1e-12).all()
    assert_allclose((Z @ Z.T).diagonal(), 1)


def test_new_rows_have_entries_where_old_ones_were():
    made = RandomBinning(0.5, 4000, random_state=1).fit(X)
    new = X[:3] + 0.1
    Z, N = made.transform(X), made.transform(new)
    K = np.exp(-np.abs(new[:, None] - X).sum(axis=-1) / 0.5)
    assert_allclose((N @ Z.T).toarray(), K, atol=0.04)
    assert made.transform(X + 1e6).nnz == 0


def test_later_blocks_append_columns():
    made = RandomBinning(0.5, 50, random_state=1).partial_fit(X[:5])
    before = made.transform(X[:5])
    cells = made.cells_.copy()
    made.partial_fit(X)
    after = made.transform(X[:5])
    assert_allclose(made.cells_[: len(cells)], cells)
    assert_allclose(after[:, : before.shape[1]].toarray(), before.toarray())
    whole = RandomBinning(0.5, 50, random_state=1).fit(X).transform(X)
    gram = made.transform(X) @ made.transform(X).T
    assert_allclose(gram.toarray(), (whole @ whole.T).toarray())
    assert made.transform(sparse.csr_array(X)).nnz == made.transform(X).nnz


@pytest.mark.parametrize(
    ("estimator", "message"),
    [
        (RandomBinning(0.0), "lengthscale: got 0.0"),
        (RandomBinning([1.0, 2.0]), "lengthscale: got 2 numbers for 3 columns"),
        (RandomBinning(n_grids=0), "n_grids: got 0"),
        (PolynomialSketch(0), "degree: got 0"),
        (PolynomialSketch(n_components=0), "n_components: got 0"),
        (PolynomialSketch(offset=-1.0), "offset: got -1.0"),
        (PolynomialSketch(gamma=0), "gamma: got 0"),
    ],
)
def test_arguments_are_checked_by_name(estimator, message):
    with pytest.raises(ArgumentError, match=message):
        estimator.fit(X)


@pytest.mark.parametrize("n_components", [1, 10, 33])
@pytest.mark.parametrize("degree", [1, 2, 3])
def test_a_sketch_is_unbiased(degree, n_components):
    K = (0.5 * X @ X.T + 0.3) ** degree
    grams = []
    for seed in range(300):
        made = PolynomialSketch(degree, n_components, offset=0.3, gamma=0.5, random_state=seed).fit(
            X
        )
        Z = made.transform(X)
        grams.append(Z @ Z.T)
    error = np.mean(grams, axis=0) - K
    spread = np.std(grams, axis=0) / 300**0.5
    assert (abs(error) <= 5 * spread + 1e-9).all()
    kernel = made.kernel_(torch.from_numpy(X)).to_dense().detach().numpy()
    assert_allclose(kernel, K, rtol=1e-6)


def test_a_sketch_as_a_module_has_gradients():
    module = PolynomialSketch(3, 8, random_state=0).as_module(3)
    x = torch.from_numpy(X[:4]).requires_grad_()
    assert torch.autograd.gradcheck(module, (x,))
    assert module(x.unsqueeze(0)).shape == (1, 4, 8)


@pytest.mark.parametrize(
    "estimator",
    [PolynomialSketch(3), UniversalFeatures("sin"), ArcCosineFeatures(2)],
    ids=lambda e: type(e).__name__,
)
def test_rows_whose_features_overflow_are_refused(estimator):
    estimator.fit(X)
    with pytest.raises(ArgumentError, match=r"X: got .* rows whose features overflow"):
        estimator.transform(X * 1e160)
