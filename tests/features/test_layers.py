"""Neurons with weights and inputs apart, layers made of them, and networks bundled."""

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from sklearn.utils.estimator_checks import parametrize_with_checks
from torch import nn

from kernelgp import UniversalFeatures
from kernelgp.errors import ArgumentError, ArgumentTypeError, NumericalWarning
from kernelgp.features import KAFLinear, SNNKLinear, bundle, nngp_kernel

RNG = np.random.default_rng(0)


def unit(n, d):
    x = RNG.normal(size=(n, d))
    return x / np.linalg.norm(x, axis=1, keepdims=True)


@pytest.mark.filterwarnings("ignore:UniversalFeatures")
@parametrize_with_checks(
    [
        UniversalFeatures("sin", 5, random_state=0),
        UniversalFeatures("relu", 6, random_state=0),
    ]
)
def test_scikit_learn_checks(estimator, check):
    check(estimator)


@pytest.mark.parametrize("n_components", [1, 5, 6])
@pytest.mark.parametrize("activation", ["sin", "cos", "relu"])
def test_weights_times_features_are_the_neuron_on_average(activation, n_components):
    X, W, b = unit(6, 4), unit(3, 4), np.array([0.3, -1.0, 0.0])
    found = []
    for seed in range(600):
        made = UniversalFeatures(activation, n_components, random_state=seed).fit(X)
        found.append(made.transform(X) @ made.weights(W, b).T)
    if activation == "relu":
        one = np.ones((6, 1))
        pair = np.hstack([X, one]), np.hstack([W, b[:, None]])
        truth = nngp_kernel(*map(torch.from_numpy, pair)).numpy()
    else:
        truth = getattr(np, activation)(X @ W.T + b)
    error = np.mean(found, axis=0) - truth
    assert (abs(error) <= 4.5 * np.std(found, axis=0) / 600**0.5).all()


def test_sines_of_unit_vectors_reach_the_error_published():
    """Acceptance: a mean squared error of 0.0039 with 1024 complex numbers, d = 16."""
    X, W = unit(150, 16), unit(150, 16)
    errors = []
    for seed in range(6):
        made = UniversalFeatures("sin", 2048, random_state=seed).fit(X)
        found = made.transform(X) @ made.weights(W).T
        errors.append(np.mean((found - np.sin(X @ W.T)) ** 2))
    assert abs(np.mean(errors) - 0.0039) < 0.001


def test_spreading_the_features_helps_where_inputs_are_large():
    X, W = 2 * unit(50, 4), 1.5 * unit(50, 4)

    def error(weight_norm, square):
        found = []
        for seed in range(40):
            made = UniversalFeatures("cos", 256, weight_norm=weight_norm, random_state=seed).fit(X)
            if square is not None:
                made._map.square.fill_(square)
            found.append(made.transform(X) @ made.weights(W).T - np.cos(X @ W.T))
        return np.mean(np.square(found))

    assert error(1.5, None) < 0.7 * error(1.5, 0.0)


def test_a_layer_trains_few_numbers_and_learns():
    torch.manual_seed(0)
    layer = SNNKLinear(20, 3, n_components=40, random_state=0)
    assert [tuple(p.shape) for p in layer.parameters()] == [(3, 40), (3,)]
    x = torch.randn(300, 20)
    target = torch.stack([x[:, 0].relu(), x[:, 1].abs(), x[:, 2] * 0.5], dim=1)
    start = (layer(x) - target).square().mean().item()
    optimizer = torch.optim.Adam(layer.parameters(), lr=0.05)
    for _ in range(150):
        optimizer.zero_grad()
        loss = (layer(x) - target).square().mean()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.6 * start
    again = SNNKLinear(20, 3, n_components=40, random_state=1)
    again.load_state_dict(layer.state_dict())
    assert torch.equal(again(x), layer(x))


def test_a_layer_from_a_linear_one_approximates_its_neurons():
    torch.manual_seed(1)
    linear = nn.Linear(4, 3).double()
    x = torch.from_numpy(unit(40, 4))
    layer = SNNKLinear.from_linear(linear, 40_000, activation="sin", random_state=0)
    truth = linear(x).sin()
    assert (layer(x) - truth).square().mean() < 0.001
    rectified = SNNKLinear.from_linear(linear, 20_000, activation="relu", random_state=0)
    one = torch.ones(40, 1, dtype=torch.float64)
    weights = torch.cat([linear.weight, linear.bias[:, None]], dim=1).detach()
    kernel = nngp_kernel(torch.cat([x, one], dim=1), weights)
    assert (rectified(x) - kernel).abs().max() < 0.05


def test_a_fourier_layer_is_its_formula_with_gradients_to_all():
    layer = KAFLinear(3, 2, 4, random_state=0, dtype=torch.float64)
    x = torch.from_numpy(RNG.normal(size=(5, 3)))
    normed = (x - x.mean(-1, keepdim=True)) / (x.var(-1, keepdim=True, correction=0) + 1e-5).sqrt()
    angles = normed @ layer.frequencies + layer.phases
    s = torch.cat([angles.cos(), angles.sin()], dim=1) @ layer.mixing.T + layer.offset
    inner = layer.smooth_scale * nn.functional.gelu(x) + layer.wave_scale * s
    assert torch.allclose(layer(x), inner @ layer.weight.T + layer.bias)
    layer(x).sum().backward()
    assert all(p.grad is not None for p in layer.parameters())
    assert torch.allclose(layer.wave_scale, torch.full((3,), 0.01, dtype=torch.float64))
    assert layer.frequencies.std() < 1.5 * (1 / (1.64 * 3)) ** 0.5
    assert sum(p.numel() for p in layer.parameters()) == 3 * 2 + 10 * 4 + 15 + 2
    single = KAFLinear(3, 2, 4, random_state=0)
    assert torch.allclose(single.weight.double(), layer.weight, atol=1e-6)


def digits():
    X, y = load_digits(return_X_y=True)
    parts = train_test_split(X / 16, y, test_size=0.25, random_state=0, stratify=y)
    return [torch.from_numpy(a) for a in parts]


def test_a_bundled_classifier_keeps_its_accuracy_with_a_fifth_of_the_numbers():
    train, test, labels, truth = digits()
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(64, 256), nn.ReLU(), nn.Linear(256, 256), nn.ReLU())
    model.append(nn.Linear(256, 10)).double()
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    for _ in range(60):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(train), labels).backward()
        optimizer.step()

    def accuracy(network):
        return (network(test).argmax(dim=1) == truth).double().mean().item()

    small = bundle(model, train, labels, n_components=800, random_state=0)
    count = [sum(p.numel() for p in m.parameters() if p.requires_grad) for m in (model, small)]
    assert count[1] * 5 <= count[0]
    assert accuracy(model) > 0.95
    assert accuracy(small) >= accuracy(model) - 0.01
    imitation = bundle(model, train, n_components=800, random_state=0)
    assert accuracy(imitation) >= accuracy(model) - 0.03


def test_the_readout_of_a_bundle_is_ridge_regression():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Flatten(), nn.Linear(4, 6), nn.Tanh(), nn.Dropout(0.5), nn.Linear(6, 2))
    X = torch.randn(60, 2, 2)
    made = bundle(net, X, n_components=9, ridge=0.1, random_state=0)
    Z = made.features(X).double()
    targets = net.eval()(X).double()
    left = Z - Z.mean(dim=0)
    inner = left.T @ left + 0.1 * torch.eye(9)
    expected = torch.linalg.solve(inner, left.T @ (targets - targets.mean(dim=0)))
    assert_allclose(made.readout.weight.detach(), expected.T.detach(), atol=1e-4)
    residual = (made(X).double() - targets).mean(dim=0)
    assert_allclose(residual.detach(), 0, atol=1e-4)
    assert made(X[:3]).shape == (3, 2)


def test_an_activation_that_stands_twice_is_used_twice():
    torch.manual_seed(0)
    act = nn.Tanh()
    net = nn.Sequential(nn.Linear(2, 5), act, nn.Linear(5, 5), act, nn.Linear(5, 1))
    made = bundle(net, torch.randn(100, 2), n_components=20, random_state=0)
    assert len(made.features.activations) == 2


CASES = [
    (
        nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3), nn.ReLU(), nn.Linear(3, 1)),
        "a BatchNorm1d",
    ),
    (nn.Sequential(nn.Conv1d(1, 1, 1), nn.ReLU(), nn.Linear(2, 1)), "model: got a Conv1d"),
    (nn.Sequential(nn.Linear(2, 3), nn.ReLU()), "1 Linear layers and 1 activations"),
    (nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 1)), "2 Linear layers and 0 activations"),
    (nn.Sequential(nn.ReLU(), nn.Linear(2, 1)), "a ReLU that follows no Linear"),
    (nn.Sequential(nn.Linear(2, 3), nn.PReLU(), nn.Linear(3, 1)), "a PReLU"),
    (nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1), nn.Softmax(-1)), "a Softmax"),
]


@pytest.mark.parametrize(("model", "message"), CASES)
def test_layers_that_cannot_be_bundled_are_named(model, message):
    with pytest.raises(ArgumentError, match=message):
        bundle(model, torch.randn(20, 2))


def test_other_bad_input_is_refused_by_name():
    net = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 2))
    X = torch.randn(20, 2)
    for given, message in [
        ((nn.Linear(2, 1), X), "model: got Linear; give a torch"),
        ((net, X.double()), "X: got torch"),
        ((net, torch.randn(20, 3)), r"X: got shape \(20, 3\); give \(n, 2\)"),
        ((net, X, torch.randn(20, 3)), r"y: got shape \(20, 3\)"),
        ((net, X, torch.full((20,), 2)), "classes 2 to 2; give"),
        ((net, X, np.ones(20)), "y: got ndarray"),
        ((net, X / 0), "X: got"),
    ]:
        with pytest.raises(ArgumentError, match=message):
            bundle(*given)
    with pytest.raises(ArgumentError, match="ridge: got -1"):
        bundle(net, X, ridge=-1.0)
    with pytest.raises(ArgumentError, match="n_components: got 0"):
        SNNKLinear(2, 2, 0)
    with pytest.raises(ArgumentError, match="activation: got 'gelu'"):
        SNNKLinear(2, 2, activation="gelu")
    with pytest.raises(ArgumentTypeError, match="linear: got ReLU"):
        SNNKLinear.from_linear(nn.ReLU(), 8)
    with pytest.raises(ArgumentError, match=r"x: got shape \(2, 3\)"):
        KAFLinear(2, 2)(torch.ones(2, 3))
    with pytest.raises(ArgumentError, match="x: got torch"):
        SNNKLinear(2, 2)(torch.ones(2, 2).double())
    with pytest.raises(ArgumentError, match="n_frequencies: got 0"):
        KAFLinear(2, 2, 0)
    with pytest.raises(ArgumentError, match=r"X: got values up to 1e\+200"):
        UniversalFeatures().fit(np.full((3, 2), 1e200))
    made = UniversalFeatures(random_state=0).fit(np.ones((3, 2)))
    with pytest.raises(ArgumentError, match=r"W: got shape \(2, 3\); give \(k, 2\)"):
        made.weights(np.ones((2, 3)))
    with pytest.raises(ArgumentError, match=r"b: got shape \(3,\); give \(2,\)"):
        made.weights(np.ones((2, 2)), np.ones(3))


def test_inputs_too_large_for_sines_are_said():
    with pytest.warns(NumericalWarning, match="mean square norm of 1.2e"):
        UniversalFeatures().fit(np.full((3, 3), 20.0))
