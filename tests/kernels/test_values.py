"""Every kernel against scikit-learn, itself in other words, and autograd."""

import pytest
import torch
from sklearn.gaussian_process import kernels as peer

from kernelgp.errors import ArgumentError
from kernelgp.kernels import (
    RBF,
    Constant,
    Linear,
    Matern,
    Periodic,
    Polynomial,
    RadialPeriodic,
    RationalQuadratic,
    SpectralMixture,
    White,
)
from kernelgp.kernels.matern import MaternProfile
from kernelgp.operators import KernelOperator
from kernelgp.operators.expression import leaves

# ours, scikit-learn's
PAIRS = [
    (RBF(0.7), peer.RBF(0.7)),
    (RBF([0.3, 2.0]), peer.RBF([0.3, 2.0])),
    (Matern(0.5, 0.7), peer.Matern(0.7, nu=0.5)),
    (Matern(1.5, [0.3, 2.0]), peer.Matern([0.3, 2.0], nu=1.5)),
    (Matern(2.5, 0.7), peer.Matern(0.7, nu=2.5)),
    (RationalQuadratic(0.6, 0.7), peer.RationalQuadratic(0.7, 0.6)),
    (RadialPeriodic(1.3, 0.7), peer.ExpSineSquared(0.7, 1.3)),
    (Polynomial(3, 0.25), peer.DotProduct(0.5) ** 3),
    (Linear(), peer.DotProduct(0.0)),
    (3.0 * Constant(), peer.ConstantKernel(3.0)),
    (White(0.2), peer.WhiteKernel(0.2)),
]
KERNELS = [ours for ours, _ in PAIRS] + [
    Periodic([1.3, 0.8], [0.7, 1.1]),
    SpectralMixture("gaussian", [[3.0, 1.0], [0.0, 2.0]], 0.7),
    SpectralMixture("student", [[3.0, 1.0]], [[0.7, 0.4]], nu=1.5),
    SpectralMixture("matern52", [[3.0, -1.0]], 0.9),
    SpectralMixture("student", [[3.0, -1.0]], 0.9, nu=3.5),
    2.0 * RBF(0.5, active_dims=[1]) * Periodic(active_dims=[0]) + White(0.1),
]
PROFILES = {repr(leaf.profile): leaf for kernel in KERNELS for leaf in leaves(kernel.expression())}


def points(generator, *shape):
    return torch.randn(*shape, 2, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize(("ours", "theirs"), PAIRS, ids=lambda kernel: repr(kernel))
@pytest.mark.parametrize("backend", ["dense", "tiled"])
def test_equals_scikit_learn(ours, theirs, backend, generator):
    x1, x2 = points(generator, 7), points(generator, 5)
    for other in (None, x2):
        expected = theirs(x1.numpy(), None if other is None else other.numpy())
        actual = KernelOperator(ours, x1, other, backend=backend).to_dense()
        torch.testing.assert_close(actual, torch.from_numpy(expected), rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("kernel", KERNELS, ids=repr)
def test_operator_equals_the_expression_evaluated_by_hand(kernel, dense, generator):
    x1, x2 = points(generator, 7), points(generator, 5)
    for other in (None, x2):
        actual = KernelOperator(kernel, x1, other).to_dense()
        torch.testing.assert_close(actual, dense(kernel, x1, other), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("kernel", KERNELS, ids=repr)
def test_derivative_of_order_zero_is_the_kernel(kernel, dense, generator):
    x1, x2 = points(generator, 7), points(generator, 5)
    for other in (None, x2):
        actual = kernel.derivative(x1, x1 if other is None else other)
        torch.testing.assert_close(actual, dense(kernel, x1, other), rtol=1e-12, atol=1e-12)


def gradients_hold(kernel, x1, x2):
    inputs = [x1.requires_grad_(), x2.requires_grad_(), *kernel.parameters()]
    return torch.autograd.gradcheck(lambda x1, x2, *_: kernel(x1, x2).to_dense(), inputs)


@pytest.mark.parametrize("kernel", KERNELS, ids=repr)
def test_gradients(kernel, generator):
    assert gradients_hold(kernel, points(generator, 4), points(generator, 3))


@pytest.mark.parametrize("kernel", KERNELS, ids=repr)
def test_gradients_at_coincident_points(kernel, generator):
    x1 = points(generator, 4)
    x2 = x1[1:].clone()
    if "nu=0.5" not in repr(kernel):
        assert gradients_hold(kernel, x1, x2)
        return
    # It has a kink there, and the gradient is the symmetric limit.
    kernel(x1.requires_grad_(), x1.detach()).diagonal().sum().backward()
    torch.testing.assert_close(x1.grad, torch.zeros_like(x1), rtol=0, atol=0)


@pytest.mark.parametrize("leaf", PROFILES.values(), ids=PROFILES)
def test_profiles_say_the_same_in_all_their_forms(leaf, generator):
    profile = leaf.profile
    parameters = [p.detach() for p in profile.parameters(*leaf.tensors)]
    s = torch.rand(3, 20, generator=generator, dtype=torch.float64).mul(4).add(0.01)
    s.requires_grad_()
    parameters = [p.requires_grad_() for p in parameters]
    value = profile.value(s, *parameters)
    slope, *others = torch.autograd.grad(value.sum(), (s, *parameters))
    torch.testing.assert_close(profile.slope(s, *parameters), slope)
    for grad, slopes in zip(others, profile.parameter_slopes(s, *parameters), strict=True):
        torch.testing.assert_close(slopes.sum(), grad)
    torch.testing.assert_close(profile.formula(s, *parameters), value, rtol=1e-13, atol=0)
    with torch.no_grad():
        expected, slope = profile.value(s, *parameters), profile.slope(s, *parameters)
        given = -s if profile.negated else s
        buffer = profile.value_(given.clone(), torch.empty_like(s), *parameters)
        torch.testing.assert_close(buffer, expected, rtol=1e-14, atol=0)
        over, value = given.clone(), torch.empty_like(s)
        profile.value_and_slope_(over, value, torch.empty_like(s), *parameters)
        torch.testing.assert_close(value, expected, rtol=1e-14, atol=0)
        torch.testing.assert_close(over, slope, rtol=1e-13, atol=0)


@pytest.mark.parametrize("nu", [0.5, 1.5, 2.5, 3.5])
def test_matern_slope_at_zero_is_the_limit_from_above(nu):
    profile = MaternProfile(nu)
    near, at = torch.tensor([1e-12, 0.0], dtype=torch.float64)
    expected = torch.zeros_like(at) if nu == 0.5 else profile.slope(near)
    torch.testing.assert_close(profile.slope(at), expected, rtol=1e-5, atol=0)
    over, value = at.clone(), torch.empty_like(at)
    profile.value_and_slope_(over, value, torch.empty_like(at))
    torch.testing.assert_close(over, expected, rtol=1e-5, atol=0)
    assert value == 1


@pytest.mark.parametrize(
    "kernel", [RBF(), Matern(2.5), RationalQuadratic(2.0), RBF() * Matern(1.5)], ids=repr
)
def test_slope_from_plain_squared_distances(kernel):
    for part in getattr(kernel, "parts", [kernel]):
        s = torch.linspace(0.1, 3, 7, dtype=torch.float64, requires_grad=True)
        value = part.covariance_from_sqdist(s)
        (slope,) = torch.autograd.grad(value.sum(), s)
        torch.testing.assert_close(part.slope_from_sqdist(s), slope)
        torch.testing.assert_close(part.derivative_from_sqdist(s, 0), value)
        torch.testing.assert_close(part.derivative_from_sqdist(s, 1), slope)


@pytest.mark.parametrize(
    ("kernel", "message"),
    [
        (
            RBF([0.5, 1.0]),
            r"lengthscale: got 2 numbers; give one number, or 3: one for each",
        ),
        (Matern(2.5, [0.5, 1.0]) + White(), r"lengthscale: got 2 numbers; .* or 3"),
        (Periodic([0.5, 1.0]), r"period: got 2 numbers; .* or 3"),
        (Periodic(0.5, [0.5, 1.0]), r"lengthscale: got 2 numbers; .* or 3"),
        (RBF([0.5, 1.0], active_dims=[0, 1, 2]), r"lengthscale: got 2 numbers; .* or 3"),
        (RBF(active_dims=[3]), r"active_dims: got \(3,\); the points have 3 columns: name those"),
        (SpectralMixture(), r"frequencies: got 1 for each component; .* 3 columns: give \(Q, 3\)"),
        (SpectralMixture("student", [[1.0, 2.0]]), r"frequencies: got 2 for each component"),
    ],
    ids=repr,
)
def test_hyperparameters_for_other_points_are_named(kernel, message):
    with pytest.raises(ArgumentError, match=message):
        kernel(torch.zeros(2, 3))


def test_float32_points_give_float32_covariances():
    covariance = RBF(0.3)(torch.rand(5, 2))
    assert covariance.dtype == covariance.to_dense().dtype == torch.float32
