"""Classes on features: against Laplace's method in the space of the rows, files, bad input."""

import numpy as np
import pytest
import torch
from sklearn.utils.estimator_checks import parametrize_with_checks

from kernelgp import FeatureGPClassifier
from kernelgp.errors import ArgumentError
from kernelgp.features.fourier_map import FourierMap
from kernelgp.gp.feature_classification import BinaryRows, logistic_loss
from kernelgp.gp.labels import Bernoulli, LabeledRows, logistic_normal
from kernelgp.gp.laplace import find_mode, laplace_evidence
from kernelgp.kernels import RBF, Linear, Matern

rng = np.random.default_rng(0)
X = rng.uniform(size=(200, 2))
f = 3 * np.sin(6 * X[:, 0]) + 4 * X[:, 1] - 1
y = (rng.uniform(size=200) < 1 / (1 + np.exp(-f))).astype(int)
X_new = rng.uniform(size=(30, 2))


@parametrize_with_checks([FeatureGPClassifier(n_components=20, max_iterations=3, random_state=0)])
@pytest.mark.filterwarnings("ignore::kernelgp.errors.ConvergenceWarning")
@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")  # scikit-learn's, of infinity
def test_scikit_learn_checks(estimator, check):
    check(estimator)


@pytest.mark.parametrize("constant", [0.0, 10.0])
@pytest.mark.parametrize("scale", [4.0, 1e3])
def test_evidence_and_its_gradient_are_those_of_rows(constant, scale):
    kernel = scale * RBF([0.4, 0.7]) + 0.5 * Matern(1.5, 0.6)
    mapping = FourierMap(
        kernel, 2, 15, "orthogonal", "haar", "sincos", torch.Generator().manual_seed(0)
    )
    x, labels = torch.from_numpy(X[:80]), torch.from_numpy(y[:80])
    weights = torch.randint(1, 4, (80,), generator=torch.Generator().manual_seed(1)).double()
    rows = BinaryRows(x, torch.stack([labels == 1, labels == 0], dim=-1), weights)
    loss, mode = logistic_loss(mapping, rows, constant)
    found = [p.grad for p in mapping.parameters()]
    # The two functions are each other's mirror images.
    torch.testing.assert_close(mode[:, 0], -mode[:, 1])

    phi = mapping(x)
    data = LabeledRows(x, labels, weights, Bernoulli())
    evidence, fit = laplace_evidence(
        phi @ phi.mT + constant**2, data, torch.zeros(1, dtype=torch.float64)
    )
    torch.testing.assert_close(loss.detach(), -2 * evidence.detach())
    latent = phi.detach() @ mode[:15] + (constant * mode[15:] if constant else 0.0)
    torch.testing.assert_close(latent[:, :1], fit.latent, rtol=1e-6, atol=1e-6)
    slopes = torch.autograd.grad(-2 * evidence, list(mapping.parameters()))
    for mine, other in zip(found, slopes, strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("mean", ["constant", "zero"])
def test_probabilities_are_those_of_the_dense_posterior(mean):
    model = FeatureGPClassifier(5.0 * RBF(0.5), 30, mean=mean, optimizer=None, random_state=0).fit(
        X, y
    )
    constant = 100.0 * (mean == "constant")
    mapping = model._rebuild_map()
    with torch.no_grad():
        phi, new = (mapping(torch.from_numpy(a)) for a in (X, X_new))
    covariance, cross = phi @ phi.mT + constant, new @ phi.mT + constant
    ones = torch.ones(200, dtype=torch.float64)
    data = LabeledRows(torch.from_numpy(X), torch.from_numpy(y), ones, Bernoulli())
    fit = find_mode(covariance, data, torch.zeros(1, dtype=torch.float64))
    h = fit.latent.sigmoid() * (-fit.latent).sigmoid()
    inner = torch.linalg.inv(covariance + torch.diag(1 / h.squeeze(-1)))
    explained = ((cross @ inner) * cross).sum(dim=-1)
    variance = new.square().sum(dim=-1) + constant - explained
    found, std = model.predict_latent(X_new, return_std=True)
    expected = (cross @ fit.dual).squeeze(-1)
    np.testing.assert_allclose(found, expected, atol=1e-6)
    np.testing.assert_allclose(std**2, variance, rtol=1e-5, atol=1e-7)
    success = logistic_normal(expected, variance.sqrt())
    np.testing.assert_allclose(model.predict_proba(X_new)[:, 1], success, atol=1e-6)
    assert model.log_marginal_likelihood_value_ == pytest.approx(fit.evidence.item(), abs=1e-6)


def test_it_learns_lengthscales_and_scale():
    x = rng.uniform(size=(1500, 3))
    latent = 4 * np.sin(9 * x[:, 0]) + 1
    truth = 1 / (1 + np.exp(-latent))
    labels = np.where(rng.uniform(size=1500) < truth, "yes", "no")
    model = FeatureGPClassifier(n_components=100, random_state=0).fit(x, labels)
    assert abs(model.predict_proba(x)[:, 1] - truth).mean() < 0.05
    rates = model.frequencies_.std(axis=0)
    assert rates[0] > 2 * rates[1:].max()
    assert model.report_ is not None
    assert model.report_.converged
    far = FeatureGPClassifier(1.0 * RBF([1.0, 1.0, 1.0]), n_components=100, random_state=0).fit(
        1e4 * x, labels
    )
    np.testing.assert_allclose(far.predict_proba(1e4 * x), model.predict_proba(x), atol=0.1)


def test_several_classes_add_up_and_weights_count_rows():
    labels = np.array(["a", "b", "c"])[(3 * X[:, 0]).astype(int)]
    model = FeatureGPClassifier(20.0 * RBF(0.3), 50, optimizer=None, random_state=0).fit(X, labels)
    probabilities = model.predict_proba(X)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1)
    assert model.score(X, labels) > 0.95
    assert model.predict_latent(X).shape == model.decision_function(X).shape == (200, 3)
    counts = rng.integers(0, 3, 200)
    weighted = model.fit(X, labels, counts).predict_proba(X_new)
    repeated = model.fit(X.repeat(counts, 0), labels.repeat(counts)).predict_proba(X_new)
    np.testing.assert_allclose(weighted, repeated, atol=1e-9)


@pytest.mark.parametrize("mean", ["constant", "zero"])
def test_a_file_gives_the_same_predictions(tmp_path, mean):
    kernel = Matern(1.5, [0.5, 0.6]) + 0.3 * RBF()
    model = FeatureGPClassifier(kernel, 21, mean=mean, optimizer=None, random_state=0)
    model.fit(X, np.array(["no", "yes"])[y])
    again = FeatureGPClassifier.load(model.save(tmp_path / "model.gp"))
    np.testing.assert_array_equal(again.predict_proba(X_new), model.predict_proba(X_new))
    np.testing.assert_array_equal(again.predict(X_new), model.predict(X_new))


def test_float32_features_agree_and_tensors_come_back():
    model = FeatureGPClassifier(5.0 * RBF(0.5), 64, dtype="float32", optimizer=None, random_state=0)
    rough = model.fit(X, y).predict_proba(torch.from_numpy(X_new))
    assert isinstance(rough, torch.Tensor)
    precise = model.set_params(dtype=None).fit(X, y).predict_proba(X_new)
    np.testing.assert_allclose(rough, precise, atol=1e-4)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"n_components": 0}, "n_components: got 0; give a positive whole number"),
        ({"optimizer": "adam"}, "optimizer: got 'adam'"),
        ({"mean": "linear"}, "mean: got 'linear'"),
        ({"kernel": RBF() + Linear()}, r"kernel: got Linear\(\), which has no spectrum"),
        ({"coupling": "x"}, "coupling: got 'x'"),
        ({"max_iterations": 0}, "max_iterations: got 0"),
    ],
)
def test_bad_arguments_are_named(arguments, message):
    with pytest.raises(ArgumentError, match=message):
        FeatureGPClassifier(**arguments).fit(X, y)


def test_one_class_is_refused():
    with pytest.raises(ArgumentError, match=r"y: got one class, 1; give at least two"):
        FeatureGPClassifier().fit(X, np.ones(200, dtype=int))
