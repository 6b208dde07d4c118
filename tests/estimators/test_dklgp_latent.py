"""`DKLGPRegressor` behind other likelihoods, and `DKLGPClassifier`."""

import pickle

import gpytorch
import numpy as np
import pytest
import torch
from scipy.special import expit
from sklearn.utils.estimator_checks import parametrize_with_checks

from kernelgp import DKLGPClassifier, DKLGPRegressor, GPClassifier
from kernelgp.errors import ArgumentError
from kernelgp.kernels import Linear, Matern

# Labels of a handful of rows that a plane separates drive scales to their bounds.
ROUGH = pytest.mark.filterwarnings("ignore:fit_latent:UserWarning")


@parametrize_with_checks([DKLGPClassifier(random_state=0)])
@ROUGH
@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")  # scikit-learn's, of infinity
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.SkipTestWarning")
def test_scikit_learn_conventions(estimator, check):
    check(estimator)


def truth(X):
    return np.sin(6 * X[:, 0]) + X[:, -1]


def problem(likelihood, n=400, seed=0):
    rng = np.random.default_rng(seed)
    X, new = rng.uniform(size=(n, 2)), rng.uniform(size=(200, 2))
    f = truth(X)
    match likelihood:
        case "gaussian":
            y = f + 0.1 * rng.normal(size=n)
        case "student_t":
            y = f + 0.1 * rng.standard_t(3, n)
        case "poisson":
            y = rng.poisson(np.exp(f))
        case "negative_binomial":
            y = rng.negative_binomial(3, 3 / (3 + np.exp(f)))
        case "gamma":
            y = rng.gamma(4.0, np.exp(f) / 4)
        case "beta":
            y = rng.beta(8 * expit(f), 8 * expit(-f))
        case _:
            y = rng.binomial(1, expit(3 * f))
    return X, y.astype(float), new


MEANS = {
    "gaussian": lambda f: f,
    "student_t": lambda f: f,
    "poisson": np.exp,
    "negative_binomial": np.exp,
    "gamma": np.exp,
    "beta": expit,
    "bernoulli": lambda f: expit(3 * f),
}


@pytest.mark.parametrize("likelihood", list(MEANS))
def test_means_bands_and_draws_of_every_likelihood(likelihood):
    X, y, new = problem(likelihood)
    level = "latent" if likelihood == "gaussian" else "auto"
    gp = DKLGPRegressor(likelihood=likelihood, level=level, random_state=0).fit(X, y)
    mean, std = gp.predict(new, return_std=True)
    expected = MEANS[likelihood](truth(new))
    assert np.corrcoef(mean, expected)[0, 1] > 0.93
    assert (std > 0).all()
    f, spread = gp.predict(new, return_std=True, latent=True)
    assert ((f - 4 * spread < f) & (spread > 0)).all()
    _, quantiles = gp.predict(new[:20], return_quantiles=[0.05, 0.95])
    draws = gp.sample_y(new[:20], 2000, random_state=1, latent=False)
    inside = (draws >= quantiles[:, :1]) & (draws <= quantiles[:, 1:])
    assert inside.mean() > 0.86
    np.testing.assert_allclose(draws.mean(axis=1), mean[:20], atol=0.15 * std[:20].max() + 0.05)
    densities = gp.log_predictive_density(X, y)
    assert densities.shape == (400,)
    assert densities.mean() > -3
    assert gp.report_.level == "latent"
    assert np.isfinite(gp.log_marginal_likelihood_value_)


def test_gaussian_levels_agree():
    X, y, new = problem("gaussian", n=150)
    kernel, one = 2.0 * Matern(nu=1.5, lengthscale=0.5), {"n_neighbors": 149, "optimizer": None}
    variances = np.linspace(0.01, 0.05, 150)
    for noise in (0.02, variances):
        a = DKLGPRegressor(kernel, noise=noise, **one).fit(X, y)
        b = DKLGPRegressor(kernel, noise=noise, level="latent", **one).fit(X, y)
        exact = {"n_neighbors_predict": 150}
        a.set_params(**exact)
        for options in ({"return_std": True}, {"return_cov": True}):
            for u, v in zip(a.predict(new, **options), b.predict(new, **options), strict=True):
                np.testing.assert_allclose(v, u, atol=2e-2)
        assert b.log_marginal_likelihood_value_ == pytest.approx(
            a.log_marginal_likelihood_value_, abs=1e-2
        )


def test_an_exposure_is_an_offset_and_counts_are_per_unit():
    X, _, new = problem("poisson")
    rng = np.random.default_rng(1)
    exposure = rng.uniform(1, 20, 400)
    counts = rng.poisson(exposure * np.exp(truth(X)))
    gp = DKLGPRegressor(likelihood="poisson", random_state=0).fit(X, counts, exposure=exposure)
    other = DKLGPRegressor(likelihood="poisson", random_state=0)
    other.fit(X, counts, offset=np.log(exposure))
    np.testing.assert_allclose(other.predict(new), gp.predict(new))
    np.testing.assert_allclose(gp.predict(new), np.exp(truth(new)), rtol=0.25)
    twice = gp.predict(new, exposure=np.full(200, 2.0))
    np.testing.assert_allclose(twice, 2 * gp.predict(new))
    shifted = DKLGPRegressor(random_state=0).fit(X, truth(X) + 5 * X[:, 0], offset=5 * X[:, 0])
    np.testing.assert_allclose(shifted.predict(new), truth(new), atol=0.02)
    found = shifted.predict(new, offset=5 * new[:, 0])
    np.testing.assert_allclose(found, shifted.predict(new) + 5 * new[:, 0])


def test_missing_targets_weights_and_repeats():
    X, y, new = problem("poisson")
    kernel = 1.0 * Matern(nu=1.5, lengthscale=0.4)
    options = {"likelihood": "poisson", "optimizer": None, "n_neighbors": 60}
    gappy = np.where(np.arange(400) < 100, np.nan, y)
    a = DKLGPRegressor(kernel, **options).fit(X, gappy)
    b = DKLGPRegressor(kernel, **options).fit(X[100:], y[100:])
    np.testing.assert_allclose(a.predict(new), b.predict(new), rtol=1e-6)
    counts = np.random.default_rng(0).integers(0, 3, 400)
    weighted = DKLGPRegressor(kernel, **options).fit(X, y, sample_weight=counts)
    rows = np.repeat(np.arange(400), counts)
    repeated = DKLGPRegressor(kernel, **options).fit(X[rows], y[rows])
    np.testing.assert_allclose(weighted.predict(new), repeated.predict(new), rtol=1e-6)
    assert repeated.report_.n_merged > 0


@pytest.mark.parametrize(
    ("likelihood", "y", "message"),
    [
        ("poisson", [-1.0, 2.0, 3.0], "y: got values such as -1; give whole numbers from 0"),
        ("poisson", [0.5, 2.0, 3.0], "y: got values such as 0.5"),
        ("negative_binomial", [1.0, 2.5, 3.0], "y: got values such as 2.5"),
        ("bernoulli", [0.0, 1.0, 2.0], "y: got values such as 2; give 0 or 1"),
        ("beta", [0.0, 0.5, 0.7], "y: got values from 0 to 0.7; give numbers between 0 and 1"),
        ("gamma", [0.0, 1.0, 2.0], "y: got a smallest value of 0; give positive numbers"),
        ("cauchy", [0.0, 1.0, 2.0], "likelihood: got 'cauchy'; give one of"),
    ],
)
def test_labels_that_are_not_the_likelihoods_are_refused(likelihood, y, message):
    with pytest.raises(ArgumentError, match=message):
        DKLGPRegressor(likelihood=likelihood).fit([[0.0], [1.0], [2.0]], y)


def test_what_cannot_be_combined_is_refused():
    X, y, new = problem("poisson")
    cases = [
        ({"likelihood": "poisson", "noise": 0.1}, {}, "noise: got a variance with likelihood"),
        ({"likelihood": "poisson", "level": "response"}, {}, 'level: got "response" with'),
        ({"likelihood": "gaussian"}, {"exposure": y + 1}, "exposure: got one with likelihood"),
        ({"likelihood": "poisson"}, {"exposure": -y - 1}, "exposure: got .* give positive"),
        ({"likelihood": "poisson"}, {"offset": y[:5]}, r"offset: got shape \(5,\)"),
        ({"likelihood": "poisson"}, {"offset": y, "exposure": y + 1}, "one beside an offset"),
        ({"likelihood": 3.0}, {}, "likelihood: got float"),
        ({"pattern": "tree"}, {}, "pattern: got 'tree'"),
        ({"rho": -1.0}, {}, "rho: got"),
    ]
    for options, given, message in cases:
        with pytest.raises(ArgumentError, match=message):
            DKLGPRegressor(**options).fit(X, y, **given)
    gp = DKLGPRegressor(likelihood="poisson", random_state=0).fit(X, y)
    with pytest.raises(ArgumentError, match="return_cov: got True for a response of Poisson"):
        gp.predict(new, return_cov=True)
    with pytest.raises(ArgumentError, match="y: got values such as -1"):
        gp.log_predictive_density(new, np.full(200, -1.0))


def test_a_likelihood_of_gpytorch_is_learned_and_stored(tmp_path):
    X, y, new = problem("student_t")
    gp = DKLGPRegressor(likelihood=gpytorch.likelihoods.StudentTLikelihood(), random_state=0)
    gp.fit(X, y)
    np.testing.assert_allclose(gp.predict(new), truth(new), atol=0.3)
    gp.save(tmp_path / "t.gp")
    again = DKLGPRegressor.load(tmp_path / "t.gp")
    np.testing.assert_allclose(again.predict(new), gp.predict(new), rtol=1e-8)


@pytest.mark.parametrize(
    ("kernel", "coordinates"), [(None, "space-time"), (Matern(nu=1.5) + Linear(), "euclidean")]
)
def test_files_and_pickles_predict_the_same(tmp_path, kernel, coordinates):
    X, y, new = problem("poisson", n=150)
    gp = DKLGPRegressor(
        kernel, likelihood="poisson", coordinates=coordinates, random_state=0
    )  # fmt: skip
    gp.fit(X, y)
    gp.save(tmp_path / "m.gp")
    for again in (DKLGPRegressor.load(tmp_path / "m.gp"), pickle.loads(pickle.dumps(gp))):
        for a, b in zip(
            again.predict(new, return_std=True), gp.predict(new, return_std=True), strict=True
        ):
            np.testing.assert_allclose(a, b, rtol=1e-8)
        assert str(again.report_) == str(gp.report_)


def test_the_sources_pattern_is_less_accurate_with_as_many_entries():
    X, y, new = problem("gaussian", n=1500)
    kernel = 2.0 * Matern(nu=1.5, lengthscale=0.5)
    errors = {}
    for pattern, m in (("knn", 4), ("rho", 30)):
        gp = DKLGPRegressor(
            kernel,
            noise=0.01,
            level="latent",
            pattern=pattern,
            rho=1.5,
            n_neighbors=m,
            optimizer=None,
        ).fit(X, y)
        errors[pattern] = np.sqrt(np.mean((gp.predict(new) - truth(new)) ** 2))
        assert errors[pattern] < 0.1


@pytest.mark.parametrize("variant", ["full", "diagonal"])
def test_minibatches_of_the_bound_end_near_the_mode(variant):
    X, y, new = problem("poisson", n=150)
    one = DKLGPRegressor(likelihood="poisson", random_state=0).fit(X, y)
    options = {"method": "svi", "variant": variant, "optimizer": None, "n_neighbors": 10}
    gp = DKLGPRegressor(one.kernel_, likelihood="poisson", random_state=0, **options).fit(X, y)
    assert np.corrcoef(gp.predict(new), one.predict(new))[0, 1] > 0.9


def labels(n=400, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.uniform(size=(n, 2))
    return X, rng.binomial(1, expit(4 * truth(X) - 2)), rng.uniform(size=(100, 2))


@pytest.mark.parametrize("likelihood", ["bernoulli", "probit"])
def test_two_classes_have_the_probabilities_of_an_exact_fit(likelihood):
    X, y, new = labels()
    ours = DKLGPClassifier(likelihood=likelihood, random_state=0).fit(X, y)
    exact = GPClassifier(1.0 * Matern(nu=1.5, lengthscale=[0.5, 0.5]), random_state=0).fit(X, y)
    found, peer = ours.predict_proba(new), exact.predict_proba(new)
    np.testing.assert_allclose(found.sum(axis=1), 1)
    assert np.abs(found - peer).max() < (0.12 if likelihood == "bernoulli" else 0.2)
    np.testing.assert_array_equal(ours.predict(new), (found[:, 1] > 0.5).astype(int))
    odds = ours.decision_function(new)
    np.testing.assert_allclose(expit(odds), found[:, 1])
    mean, std = ours.predict_latent(new, return_std=True)
    assert mean.shape == std.shape == (100,)


def test_three_classes_and_their_files(tmp_path):
    X, _, new = labels(300)
    names = np.array(["low", "mid", "top"])
    y = names[np.digitize(truth(X), [-0.2, 0.8])]
    model = DKLGPClassifier(random_state=0).fit(X, y)
    found = model.predict_proba(new)
    np.testing.assert_allclose(found.sum(axis=1), 1)
    expected = names[np.digitize(truth(new), [-0.2, 0.8])]
    assert (model.predict(new) == expected).mean() > 0.85
    assert len(model.kernel_) == 3
    assert model.predict_latent(new).shape == (100, 3)
    model.save(tmp_path / "c.gp")
    again = DKLGPClassifier.load(tmp_path / "c.gp")
    np.testing.assert_allclose(again.predict_proba(new), found, rtol=1e-8)
    tensor = model.predict_proba(torch.as_tensor(new))
    np.testing.assert_allclose(tensor.numpy(), found)


def test_a_rare_class_stays_rare_where_it_was_not_seen():
    X, _, new = labels(300)
    probability = DKLGPClassifier(random_state=0).fit(X, np.arange(300) == 7).predict_proba(new)
    assert np.median(probability[:, 1]) < 0.05


def test_outliers_in_any_units():
    X, y, new = problem("student_t")
    one = DKLGPRegressor(likelihood="student_t", random_state=0).fit(X, y)
    other = DKLGPRegressor(likelihood="student_t", random_state=0).fit(X, 1e6 * y + 1e8)
    np.testing.assert_allclose(other.predict(new) / 1e6 - 100, one.predict(new), atol=0.03)


def test_labels_that_cannot_be_classes_are_refused():
    X, y, _ = labels(50)
    with pytest.raises(ArgumentError, match="y: got one class, 1; give at least two classes"):
        DKLGPClassifier().fit(X, np.ones(50, int))
    with pytest.raises(ArgumentError, match="likelihood: got 'poisson'"):
        DKLGPClassifier(likelihood="poisson").fit(X, y)
