"""Positive features: expectation, sign, stability, and what couplings do."""

import numpy as np
import pytest
import torch
from scipy import sparse
from sklearn.utils.estimator_checks import parametrize_with_checks

from kernelgp.errors import ArgumentError, NumericalWarning
from kernelgp.features import PositiveFeatures
from kernelgp.features.positive_map import optimal_curvature
from kernelgp.kernels import RBF, Matern, Periodic, RationalQuadratic, SpectralMixture

X = np.random.default_rng(0).normal(size=(6, 3)) + 5.0
MAPS = ["positive", "hyperbolic", "optimal", "hybrid"]


def exact(kernel, X):
    return kernel(torch.as_tensor(X).double()).to_dense().detach().numpy()


def gram(made, X):
    Z = made.transform(X)
    return (Z * made.signature_) @ Z.T


@parametrize_with_checks(
    [
        PositiveFeatures(n_components=6, random_state=0),
        PositiveFeatures(n_components=7, map="hyperbolic", coupling="iid", random_state=0),
        PositiveFeatures(n_components=5, map="optimal", random_state=0),
        PositiveFeatures(n_components=19, map="hybrid", random_state=0),
    ]
)
@pytest.mark.filterwarnings("ignore:.*rows have no feature:kernelgp.errors.NumericalWarning")
def test_scikit_learn_checks(estimator, check):
    check(estimator)


@pytest.mark.parametrize("coupling", ["iid", "simplex+", "sobol"])
@pytest.mark.parametrize("form", MAPS)
@pytest.mark.filterwarnings("ignore:coupling=:kernelgp.errors.NumericalWarning")
def test_expectation_is_the_kernel_wherever_the_points_lie(form, coupling):
    kernel = 2.0 * RBF([3.0, 2.0, 4.0])
    grams = np.stack(
        [
            gram(
                PositiveFeatures(kernel, 33, map=form, coupling=coupling, random_state=s).fit(X), X
            )
            for s in range(100)
        ]
    )
    error = abs(grams.mean(axis=0) - exact(kernel, X))
    assert (error <= 4.5 * grams.std(axis=0) / 10 + 1e-12).all()


@pytest.mark.parametrize("form", MAPS)
@pytest.mark.parametrize(
    "kernel",
    [
        RationalQuadratic(2.0, 3.0),
        Matern(2.5, 4.0) + 0.5 * RBF(3.0),
        RBF(4.0) * RBF(5.0, active_dims=[1]),
        RBF(3.0, active_dims=[0, 2]),
    ],
    ids=repr,
)
@pytest.mark.filterwarnings("ignore:coupling=:kernelgp.errors.NumericalWarning")
def test_mixtures_of_gaussians_have_positive_features_too(kernel, form):
    made = PositiveFeatures(kernel, 20_000, map=form, random_state=0).fit(X)
    # Matérn frequencies have heavy tails: their positive features converge slowly.
    np.testing.assert_allclose(gram(made, X), exact(kernel, X), atol=0.15)
    if form != "hybrid":
        assert (made.transform(X) > 0).all()


def test_simplexes_err_less_than_orthogonal_and_independent_ones():
    kernel, rows = RBF(6.0), np.random.default_rng(1).normal(size=(30, 16))
    error = {}
    for coupling in ("iid", "orthogonal", "simplex", "simplex+"):
        made = [
            PositiveFeatures(kernel, 16, coupling=coupling, random_state=s).fit(rows)
            for s in range(40)
        ]
        error[coupling] = np.mean([(gram(m, rows) - exact(kernel, rows)) ** 2 for m in made])
    assert error["iid"] > error["orthogonal"] > error["simplex"] > error["simplex+"]
    assert error["simplex"] < 0.5 * error["iid"]


@pytest.mark.parametrize("spread", [1e-3, 0.3, 4.0, 1e6])
def test_the_curvature_is_that_of_least_second_moment(spread):
    d = 5

    def log_moment(a):  # of the product of two features, times what does not depend on A
        stretch, r = 1 - 4 * a, 1 / (1 - 8 * a)
        return d * np.log(stretch) - d / 2 * np.log(1 - 8 * a) + 2 * stretch * r * spread

    found = optimal_curvature(torch.tensor(spread).double(), torch.tensor(d)).item()
    assert found < 0
    assert log_moment(found) <= min(log_moment(found * 1.01), log_moment(found * 0.99))


def test_optimal_features_err_less_than_positive_ones():
    kernel, rows = RBF(2.0), np.random.default_rng(1).normal(size=(40, 4))
    error = {}
    for form in ("positive", "optimal"):
        made = [
            PositiveFeatures(kernel, 64, coupling="iid", map=form, random_state=s).fit(rows)
            for s in range(40)
        ]
        error[form] = np.median([abs(gram(m, rows) - exact(kernel, rows)).mean() for m in made])
    assert error["optimal"] < error["positive"]


def test_hybrid_features_are_exact_at_equal_points():
    made = PositiveFeatures(RBF(1.0), 64, map="hybrid", random_state=0).fit(X)
    np.testing.assert_allclose(gram(made, X).diagonal(), 1.0)


def test_points_too_far_away_are_warned_of_and_give_no_infinity():
    made = PositiveFeatures(RBF(0.1), 16, random_state=0).fit(X)
    with pytest.warns(NumericalWarning, match=r"6 of 6 rows have no feature above zero"):
        found = made.transform(100 * X)
    assert np.isfinite(found).all()


def test_sparse_rows_give_the_features_of_the_same_numbers():
    rows = np.round(X)
    made = PositiveFeatures(RBF(4.0), 8, random_state=0).fit(rows)
    np.testing.assert_allclose(made.transform(sparse.csr_array(rows)), made.transform(rows))
    again = PositiveFeatures(RBF(4.0), 8, random_state=0).fit(sparse.csr_array(rows))
    np.testing.assert_allclose(again.location_, made.location_)


@pytest.mark.parametrize("form", MAPS[:3])
@pytest.mark.filterwarnings("ignore:coupling=:kernelgp.errors.NumericalWarning")
def test_gradients_reach_hyperparameters_and_points(form):
    module = PositiveFeatures(Matern(1.5, [3.0, 2.0, 4.0]), 7, map=form, random_state=0).as_module(
        3
    )
    x = torch.from_numpy(X[:4] - 5).requires_grad_()
    (raw,) = module.parameters()
    (name,) = (name for name, _ in module.named_parameters())
    # The curvature of "optimal" is held: it is a choice, not a hyperparameter.
    if form == "optimal":
        assert torch.autograd.gradcheck(module, (x,))
        return

    def features(x, value):
        return torch.func.functional_call(module, {name: value}, (x,))

    assert torch.autograd.gradcheck(features, (x, raw))


@pytest.mark.parametrize("kernel", [Periodic(), SpectralMixture(frequencies=[[1.0, 0.0, 0.0]])])
def test_kernels_that_are_no_mixtures_of_gaussians_are_refused(kernel):
    with pytest.raises(ArgumentError, match=r"kernel: got .*; give a mixture of Gaussian kernels"):
        PositiveFeatures(kernel).fit(X)


def test_simplexes_of_both_signs_are_warned_of():
    with pytest.warns(NumericalWarning, match=r"coupling='simplex\+'.*exponentials of both signs"):
        PositiveFeatures(RBF(), 8, map="hyperbolic").fit(X)


def test_bad_arguments_are_named():
    with pytest.raises(ArgumentError, match=r"map: got 'relu'; give \"positive\""):
        PositiveFeatures(map="relu").fit(X)
    with pytest.raises(ArgumentError, match=r"n_components: got -3"):
        PositiveFeatures(n_components=-3).fit(X)
