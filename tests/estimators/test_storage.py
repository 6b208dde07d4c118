"""Estimators come back from files bit for bit, and damaged or foreign files do not."""

import pickle

import gpytorch
import numpy as np
import pytest
import torch
from sklearn.gaussian_process import kernels as sklearn_kernels

import kernelgp
from kernelgp import GPClassifier
from kernelgp.errors import ArgumentError, CheckpointError
from kernelgp.estimators import storage
from kernelgp.estimators.codec import decode, encode
from kernelgp.estimators.storage import load_estimator
from kernelgp.kernels import RBF, Matern, SpectralMixture, White
from kernelgp.storage import FileFormat, write_file

RNG = np.random.default_rng(0)
X, X_NEW = RNG.uniform(size=(60, 2)), RNG.uniform(size=(9, 2))
LABELS = np.where(X.sum(axis=1) > 1, "high", "low")


def classifier(**settings):
    return GPClassifier(**{"max_iterations": 5, "random_state": 0} | settings)


@pytest.fixture(scope="module")
def fitted():
    with pytest.warns(kernelgp.errors.ConvergenceWarning):
        return classifier().fit(X, LABELS)


@pytest.fixture
def path(fitted, tmp_path):
    return fitted.save(tmp_path / "models" / "a.gp")


def test_a_classifier_comes_back_bit_for_bit(fitted, path):
    again = GPClassifier.load(path)
    np.testing.assert_array_equal(again.predict_proba(X_NEW), fitted.predict_proba(X_NEW))
    np.testing.assert_array_equal(again.predict(X_NEW), fitted.predict(X_NEW))
    assert again.classes_.dtype == fitted.classes_.dtype
    assert again.get_params() == fitted.get_params()
    assert repr(again.kernel_) == repr(fitted.kernel_)
    assert str(again.report_) == str(fitted.report_)
    assert again.n_features_in_ == 2


def test_saving_again_gives_the_same_file(path, tmp_path):
    again = GPClassifier.load(path).save(tmp_path / "b.gp")
    first, second = (storage.read_file(p, storage._FORMAT) for p in (path, again))
    assert first[0] == second[0]
    for name in first[1]:
        np.testing.assert_array_equal(first[1][name], second[1][name])


KERNELS = {
    "none": None,
    "ours": 2.0 * Matern(1.5, [0.3, 0.5]) + White(0.1),
    "mixture": SpectralMixture("student", [[1.0, 2.0]], nu=1.5),
    "scikit-learn": 2.0 * sklearn_kernels.RBF(0.3),
    "gpytorch": gpytorch.kernels.ScaleKernel(gpytorch.kernels.RBFKernel(ard_num_dims=2)),
}


@pytest.mark.parametrize("name", KERNELS)
def test_any_kernel_given_comes_back(name, tmp_path):
    fitted = classifier(kernel=KERNELS[name], optimizer=None).fit(X, LABELS)
    again = GPClassifier.load(fitted.save(tmp_path / "a.gp"))
    np.testing.assert_array_equal(again.predict_proba(X_NEW), fitted.predict_proba(X_NEW))
    assert type(again.kernel) is type(fitted.kernel)
    refitted = again.fit(X, LABELS)
    np.testing.assert_array_equal(refitted.predict_proba(X_NEW), fitted.predict_proba(X_NEW))


@pytest.mark.parametrize(
    "given",
    [
        3,
        None,
        np.random.RandomState(3),
        np.random.default_rng(3),
        torch.Generator().manual_seed(3),
    ],
)
def test_random_states_go_on_where_they_were(given, tmp_path):
    path = classifier(random_state=given).save(tmp_path / "a.gp")
    again = GPClassifier.load(path).random_state
    draw = {
        np.random.RandomState: lambda g: g.random_sample(),
        np.random.Generator: lambda g: g.random(),
        torch.Generator: lambda g: torch.rand(1, generator=g).item(),
    }.get(type(given), lambda g: g)
    assert draw(again) == draw(given)


def test_an_estimator_that_is_not_fitted_is_saved_too(tmp_path):
    path = classifier(kernel=RBF(0.3), device="cpu").save(tmp_path / "a.gp")
    assert not hasattr(GPClassifier.load(path), "kernel_")


def test_pandas_names_come_back(tmp_path):
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(X, columns=["a", "b"])
    fitted = classifier(optimizer=None).fit(frame, LABELS)
    again = GPClassifier.load(fitted.save(tmp_path / "a.gp"))
    assert list(again.feature_names_in_) == ["a", "b"]
    with pytest.raises(ValueError, match="feature names should match"):
        again.predict(frame[["b", "a"]])


def test_a_flipped_bit_is_a_checksum_error(path):
    content = bytearray(path.read_bytes())
    content[-5] ^= 4
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"a\.gp: got a checksum that does not match"):
        GPClassifier.load(path)


@pytest.mark.parametrize("keep", [0, 10, 0.5, -1])
def test_truncated_files_are_refused(path, keep):
    content = path.read_bytes()
    path.write_bytes(content[: int(keep * len(content)) if keep == 0.5 else keep])
    with pytest.raises(CheckpointError, match=r"checksum|without our header"):
        GPClassifier.load(path)


def test_pickles_are_refused(fitted, path):
    path.write_bytes(pickle.dumps(fitted.get_params()))
    with pytest.raises(CheckpointError, match=r"without our header; give a file that the save"):
        GPClassifier.load(path)


def test_the_file_of_another_estimator_is_named(path):
    class Other(storage.SaveMixin):
        pass

    with pytest.raises(CheckpointError, match=r"got a GPClassifier; load it with GPClassifier\."):
        Other.load(path)


def test_a_solution_is_no_estimator(tmp_path):
    other = FileFormat("kernelgp.solution", "1", "Solution.save")
    path = write_file(tmp_path / "u.gp", other, {}, {})
    with pytest.raises(CheckpointError, match=r"got a file of format kernelgp\.solution; give"):
        GPClassifier.load(path)


def forged(path, change):
    header, arrays = storage.read_file(path, storage._FORMAT)
    change(header)
    return write_file(path, storage._FORMAT, header, arrays)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda h: h.update(estimator="linalg"), r"got a linalg; this kernelgp .* has none"),
        (lambda h: h.update(estimator="Oracle"), r"got a Oracle; this kernelgp .* has none"),
        (
            lambda h: h["state"].update(
                a={"is": "record", "of": {"class": "os:system", "fields": {}}}
            ),
            r"install the one that wrote it",
        ),
        (
            lambda h: h["state"].update(
                a={"is": "record", "of": {"class": "kernelgp.estimators.base:as_kernel"}}
            ),
            r"install the one that wrote it",
        ),
        (lambda h: h["state"].update(a={"is": "pickle", "of": "x"}), r"install the one"),
    ],
)
def test_a_file_cannot_name_what_is_no_part_of_it(path, change, message):
    with pytest.raises(CheckpointError, match=message):
        load_estimator(forged(path, change))


def test_what_no_file_can_hold_is_named(tmp_path):
    class Mine(RBF):
        pass

    with pytest.raises(ArgumentError, match=r"kernel: got an object of class .*Mine; build it"):
        classifier(kernel=Mine()).save(tmp_path / "a.gp")
    with pytest.raises(ArgumentError, match=r"device: got an object of class object, which no"):
        classifier(device=object()).save(tmp_path / "a.gp")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "value",
    [
        (1, [2.5, {"a": None}], {3}, frozenset({"b"})),
        {1: "one", (2, 3): np.float32(0.1)},
        np.array([["x", None]], dtype=object),
        np.array([True, False]),
        float("inf"),
        torch.float32,
        torch.device("cpu"),
        torch.Size([2, 3]),
        np.int64(3),
    ],
)
def test_values_come_back_as_they_were(value):
    arrays = {}
    again = decode(encode("value", value, arrays), arrays)
    assert again == value if not isinstance(value, np.ndarray) else (again == value).all()
    if isinstance(value, np.generic | np.ndarray):
        assert again.dtype == value.dtype


def test_likelihoods_of_gpytorch_come_back():
    likelihood = gpytorch.likelihoods.GaussianLikelihood(
        noise_prior=gpytorch.priors.GammaPrior(1.1, 0.05),
        noise_constraint=gpytorch.constraints.GreaterThan(1e-5),
    ).double()
    likelihood.noise = 0.037
    arrays = {}
    again = decode(encode("likelihood", likelihood, arrays), arrays)
    assert torch.equal(again.noise, likelihood.noise)
    assert len(list(again.named_priors())) == 1
    point = gpytorch.distributions.MultivariateNormal(
        torch.zeros(2).double(), torch.eye(2).double()
    )
    assert torch.equal(again(point).covariance_matrix, likelihood(point).covariance_matrix)
