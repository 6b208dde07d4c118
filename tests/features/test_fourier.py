"""Fourier features: expectation, columns, gradients, and scikit-learn's own checks."""

import numpy as np
import pytest
import torch
from scipy import sparse
from sklearn.utils.estimator_checks import parametrize_with_checks

from kernelgp.errors import ArgumentError, ArgumentTypeError, NumericalWarning
from kernelgp.features import FourierFeatures
from kernelgp.kernels import RBF, Linear, Matern, Periodic, SpectralMixture, White

X = np.random.default_rng(0).normal(size=(12, 3))


def exact(kernel, X):
    return kernel(torch.as_tensor(X).double()).to_dense().detach().numpy()


@parametrize_with_checks(
    [
        FourierFeatures(n_components=7, random_state=0),
        FourierFeatures(
            n_components=6, map="cos", coupling="iid", rotation="hadamard", random_state=0
        ),
    ]
)
def test_scikit_learn_checks(estimator, check):
    check(estimator)


@pytest.mark.parametrize("n_components", [1, 2, 13])
@pytest.mark.parametrize("waveform", ["sincos", "cos"])
def test_expectation_of_any_number_of_columns_is_the_kernel(n_components, waveform):
    kernel = 2.0 * Matern(1.5, 1.2) + 0.5 * RBF([0.7, 1.0, 2.0])
    grams = []
    for seed in range(100):
        made = FourierFeatures(kernel, n_components, map=waveform, random_state=seed)
        Z = made.fit_transform(X[:5])
        assert Z.shape == (5, n_components)
        grams.append(Z @ Z.T)
    error = np.mean(grams, axis=0) - exact(kernel, X[:5])
    assert (abs(error) <= 4.5 * np.std(grams, axis=0) / 10 + 1e-12).all()


@pytest.mark.parametrize("rotation", ["haar", "hadamard"])
@pytest.mark.parametrize("coupling", ["iid", "orthogonal", "sobol", "halton"])
@pytest.mark.parametrize(
    "kernel",
    [
        RBF(1.5),
        Matern(0.5, 1.5),
        SpectralMixture("student", [[0.1, 0.0, 0.2], [0.0, 0.0, 0.0]], 1.5),
        RBF([1.5, 1.0, 2.0]) * Periodic(3.0, active_dims=[1]) + 0.3 * Matern(2.5),
    ],
    ids=repr,
)
def test_many_features_are_near_the_kernel(kernel, coupling, rotation):
    made = FourierFeatures(kernel, 8192, coupling=coupling, rotation=rotation, random_state=1)
    Z = made.fit_transform(X)
    assert abs(Z @ Z.T - exact(kernel, X)).max() < 4.5 * exact(kernel, X).max() / 64


def test_a_pair_gives_the_variance_exactly():
    Z = FourierFeatures(2.0 * RBF(), 64, random_state=0).fit_transform(X)
    np.testing.assert_allclose((Z**2).sum(axis=1), 2.0)


def test_sparse_rows_and_integers_give_the_features_of_the_same_numbers():
    rows = np.round(2 * X)
    made = FourierFeatures(RBF(2.0), 16, random_state=0).fit(rows)
    np.testing.assert_allclose(made.transform(sparse.csr_array(rows)), made.transform(rows))
    np.testing.assert_array_equal(made.transform(rows.astype(int)), made.transform(rows))
    assert made.transform(rows.astype(np.float32)).dtype == np.float32
    default = [
        FourierFeatures(n_components=4, random_state=0).fit(rows_)
        for rows_ in (rows, sparse.csr_array(rows))
    ]
    np.testing.assert_allclose(*(model.kernel_.lengthscale.detach() for model in default))


def test_blocks_of_rows_make_the_features_of_all(monkeypatch):
    made = FourierFeatures(RBF(), 6, random_state=0).fit(X)
    whole = made.transform(X)
    monkeypatch.setattr("kernelgp.features.transformer._BLOCK", 5)
    np.testing.assert_allclose(made.transform(X), whole, rtol=1e-12)
    np.testing.assert_allclose(made.partial_fit(X[:2]).transform(X), whole)


def test_tensors_come_back_as_tensors_and_frames_as_asked():
    made = FourierFeatures(RBF(), 6, random_state=0).fit(torch.from_numpy(X))
    found = made.transform(torch.from_numpy(X).float())
    assert isinstance(found, torch.Tensor)
    assert found.dtype == torch.float32
    frame = made.set_output(transform="pandas").transform(X)
    assert list(frame.columns) == [f"fourierfeatures{i}" for i in range(6)]


@pytest.mark.parametrize("rotation", ["haar", "hadamard"])
@pytest.mark.parametrize("kernel", [2.0 * Matern(1.5, [0.7, 1.0, 2.0]) + RBF(), RBF(0.8)])
def test_gradients_reach_hyperparameters_and_points(kernel, rotation):
    module = FourierFeatures(kernel, 7, rotation=rotation, random_state=0).as_module(3)
    x = torch.from_numpy(X[:4]).requires_grad_()
    raw = [p for p in module.parameters() if p.requires_grad]

    def features(x, *values):
        named = {
            name: value for (name, _), value in zip(module.named_parameters(), values, strict=True)
        }
        return torch.func.functional_call(module, named, (x,))

    assert torch.autograd.gradcheck(features, (x, *raw))


def test_a_module_is_its_state_and_can_be_drawn_again():
    make = FourierFeatures(Matern(), 9, random_state=0)
    module, other = make.as_module(3), FourierFeatures(Matern(), 9, random_state=1).as_module(3)
    x = torch.from_numpy(X)
    before = module(x)
    np.testing.assert_array_equal(make.fit(X).as_module()(x).detach(), before.detach())
    assert not torch.equal(other(x), before)
    other.load_state_dict(module.state_dict())
    assert torch.equal(other(x), before)
    module.redraw(random_state=5)
    assert not torch.equal(module(x), before)
    assert module.float()(x.float()).dtype == torch.float32


def test_the_numbers_of_both_precisions_are_the_same():
    module = FourierFeatures(RBF(), 8, random_state=0).as_module(3)
    x = torch.from_numpy(X)
    torch.testing.assert_close(module(x).float(), module(x.float()), rtol=0, atol=1e-5)


@pytest.mark.parametrize("coupling", ["simplex", "simplex+"])
def test_simplexes_of_waves_are_warned_of(coupling):
    with pytest.warns(NumericalWarning, match=r"coupling='simplex.*give coupling=.orthogonal"):
        FourierFeatures(RBF(), 8, coupling=coupling, random_state=0).fit(X)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"n_components": 0}, r"n_components: got 0; give a positive whole number"),
        ({"coupling": "ortho"}, r"coupling: got 'ortho'; give .*\"orthogonal\""),
        ({"rotation": "givens"}, r"rotation: got 'givens'; give \"haar\" or \"hadamard\""),
        ({"map": "sin"}, r"map: got 'sin'; give \"sincos\" or \"cos\""),
        ({"kernel": Linear()}, r"kernel: got Linear\(\), which has no spectrum"),
        ({"kernel": RBF() + White(0.1)}, r"kernel: got White\(.*, which has no spectrum"),
        ({"kernel": RBF([1.0, 2.0])}, r"lengthscale: got 2 numbers; .* or 3"),
        ({"kernel": RBF(torch.ones(2, 1, 1))}, r"kernel: got one with a batch"),
    ],
)
def test_bad_arguments_are_named(arguments, message):
    with pytest.raises(ArgumentError, match=message):
        FourierFeatures(**arguments).fit(X)


def test_what_is_no_kernel_or_no_point_is_refused():
    with pytest.raises(ArgumentTypeError, match="kernel: got str; give a kernel of kernelgp"):
        FourierFeatures("rbf").fit(X)
    module = FourierFeatures(RBF(), 4).as_module(3)
    with pytest.raises(ArgumentError, match=r"x: got shape \(2, 4\); give \(\.\.\., 3\)"):
        module(torch.zeros(2, 4))
    with pytest.raises(ArgumentError, match=r"x: got torch.int64"):
        module(torch.zeros(2, 3, dtype=torch.int64))
