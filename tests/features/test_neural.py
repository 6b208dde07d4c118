"""Features of random networks against integrals, closed forms and the rate they converge at."""

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from scipy import sparse
from sklearn.utils.estimator_checks import parametrize_with_checks

from kernelgp import ArcCosineFeatures, NNGPFeatures
from kernelgp.errors import ArgumentError
from kernelgp.features import nngp_kernel

X = np.random.default_rng(0).normal(size=(12, 3))
FUNCTIONS = {
    "step": lambda z: np.sqrt(2) * (z > 0),
    "relu": lambda z: np.sqrt(2) * np.maximum(z, 0),
    "squared_relu": lambda z: np.sqrt(2) * np.maximum(z, 0) ** 2,
    "erf": lambda z: torch.erf(torch.from_numpy(z)).numpy(),
}


@parametrize_with_checks(
    [
        ArcCosineFeatures(n_components=6, random_state=0),
        NNGPFeatures(depth=2, n_components=5, activation="erf", bias_variance=0.1, random_state=0),
    ]
)
def test_scikit_learn_checks(estimator, check):
    check(estimator)


def integral(function, S):
    """E s(u) s(v) over a grid of angles and radii in the plane."""
    L = np.linalg.cholesky(S)
    r = np.linspace(0, 9, 3001)
    angle = np.linspace(0, 2 * np.pi, 2881)[:-1] + 1e-4
    weight = r * np.exp(-(r**2) / 2) / (2 * np.pi) * (r[1] - r[0]) * (angle[1] - angle[0])
    total = 0.0
    for a in angle:
        u, v = L @ np.array([np.cos(a), np.sin(a)])
        total += (weight * function(u * r) * function(v * r)).sum()
    return total


@pytest.mark.parametrize("activation", FUNCTIONS)
def test_the_kernel_is_the_integral_of_its_definition(activation):
    x, y = np.array([[1.0, 0.5]]), np.array([[-0.3, 0.8]])
    bias = 0.2
    S = np.array([[x @ x.T, x @ y.T], [y @ x.T, y @ y.T]]).squeeze() + bias
    made = nngp_kernel(
        torch.from_numpy(x), torch.from_numpy(y), activation=activation, bias_variance=bias
    )
    assert_allclose(made.item(), integral(FUNCTIONS[activation], S), rtol=2e-3)


@pytest.mark.parametrize("activation", FUNCTIONS)
@pytest.mark.parametrize("depth", [1, 3])
@pytest.mark.parametrize("coupling", ["iid", "orthogonal"])
def test_wide_features_come_to_the_kernel(activation, depth, coupling):
    if activation == "squared_relu":
        depth = 1  # eighth powers of normals: an error after three layers is all tail
    made = NNGPFeatures(
        depth, 1200, activation=activation, bias_variance=0.3, coupling=coupling, random_state=0
    ).fit(X)
    Z, K = made.transform(X), made.exact(X)
    assert np.linalg.norm(Z @ Z.T - K) < (0.2 if depth == 1 else 0.5) * np.linalg.norm(K)
    assert_allclose(made.exact(X[:3], X), K[:3])


@pytest.mark.parametrize("order", [0, 1, 2])
def test_arc_cosine_features_are_unbiased(order):
    K = ArcCosineFeatures(order, random_state=0).fit(X).exact(X)
    grams = []
    for seed in range(200):
        Z = ArcCosineFeatures(order, 7, random_state=seed).fit_transform(X)
        grams.append(Z @ Z.T)
    error = np.mean(grams, axis=0) - K
    assert (abs(error) <= 4.5 * np.std(grams, axis=0) / 200**0.5 + 1e-12).all()


def test_the_error_falls_as_the_root_of_the_width():
    rng = np.random.default_rng(0)
    points = rng.normal(size=(200, 20))
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    widths, errors = [128, 256, 512, 1024, 2048], []
    for width in widths:
        found = []
        for seed in range(10):
            made = NNGPFeatures(3, width, random_state=seed).fit(points)
            Z, K = made.transform(points.astype(np.float32)), made.exact(points)
            found.append(np.linalg.norm(Z @ Z.T - K) / np.linalg.norm(K))
        errors.append(np.sqrt(np.mean(np.square(found))))
    assert abs(np.polyfit(np.log(widths), np.log(errors), 1)[0] + 0.5) < 0.1
    assert errors[-1] < 0.12


def test_zero_rows_sparse_rows_and_modules():
    rows = np.vstack([X, np.zeros(3)])
    made = NNGPFeatures(2, 8, random_state=0).fit(rows)
    assert np.isfinite(made.exact(rows)).all()
    assert_allclose(made.exact(rows)[-1], 0, atol=1e-12)
    assert_allclose(made.transform(rows)[-1], 0)
    assert_allclose(made.transform(sparse.csr_array(rows)), made.transform(rows))
    module = made.as_module()
    x = torch.from_numpy(X).requires_grad_()
    assert torch.autograd.gradcheck(module, (x,))
    before = module(x)
    module.redraw(3)
    assert not torch.equal(module(x), before)
    assert {"weights0", "weights1"} <= module.state_dict().keys()
    assert torch.is_tensor(made.transform(torch.from_numpy(X)))


@pytest.mark.parametrize(
    ("estimator", "message"),
    [
        (ArcCosineFeatures(3), "order: got 3"),
        (ArcCosineFeatures(n_components=0), "n_components: got 0"),
        (ArcCosineFeatures(coupling="simplex"), "coupling: got 'simplex'"),
        (NNGPFeatures(0), "depth: got 0"),
        (NNGPFeatures(activation="sigmoid"), "activation: got 'sigmoid'"),
        (NNGPFeatures(bias_variance=-1), "bias_variance: got -1"),
        (NNGPFeatures(width=0), "width: got 0"),
    ],
)
def test_arguments_are_checked_by_name(estimator, message):
    with pytest.raises(ArgumentError, match=message):
        estimator.fit(X)
