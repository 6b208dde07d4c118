"""The derivative ladder against mpmath, at sixty digits."""

import math
from functools import partial

import mpmath
import pytest
import torch
from mpmath import mpf

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

mpmath.mp.dps = 60

LENGTHSCALE, FREQUENCY, ALPHA, PERIOD = 0.7, 3.3, 1.7, 1.3


def gaussian(r):
    return mpmath.exp(-r * r / 2)


def matern(nu, r):
    # Of r >= 0; as a polynomial times an exponential it has one-sided derivatives at 0.
    u = mpmath.sqrt(2 * mpf(nu)) * r
    polynomial = {0.5: 1, 1.5: 1 + u, 2.5: 1 + u + u**2 / 3, 3.5: 1 + u + 2 * u**2 / 5 + u**3 / 15}
    return polynomial[nu] * mpmath.exp(-u)


def rational_quadratic(r):
    return (1 + r * r / (2 * mpf(ALPHA))) ** (-mpf(ALPHA))


def periodic(t):
    height = mpf(LENGTHSCALE) ** -2
    return mpmath.exp(-2 * height * mpmath.sin(mpmath.pi * t / mpf(PERIOD)) ** 2)


def at_scale(radial, t):
    return radial(t / mpf(LENGTHSCALE))


def mixture(envelope, t):
    wave = mpmath.cos(2 * mpmath.pi * mpf(FREQUENCY) * t)
    return mpf(0.25) * at_scale(envelope, t) + mpf(2) * at_scale(envelope, t) * wave


def spectral_mixture(envelope, nu=2.5):
    return SpectralMixture(envelope, [0.0, FREQUENCY], LENGTHSCALE, [0.25, 2.0], nu)


# name: kernel, the same as a function of a lag t >= 0, highest order
KERNELS = {
    "rbf": (RBF(LENGTHSCALE), partial(at_scale, gaussian), 8),
    "matern12": (Matern(0.5, LENGTHSCALE), partial(at_scale, partial(matern, 0.5)), 0),
    "matern32": (Matern(1.5, LENGTHSCALE), partial(at_scale, partial(matern, 1.5)), 2),
    "matern52": (Matern(2.5, LENGTHSCALE), partial(at_scale, partial(matern, 2.5)), 4),
    "rq": (RationalQuadratic(ALPHA, LENGTHSCALE), partial(at_scale, rational_quadratic), 8),
    "periodic": (Periodic(PERIOD, LENGTHSCALE), periodic, 8),
    "radial": (RadialPeriodic(PERIOD, LENGTHSCALE), periodic, 8),
    "sm_gaussian": (spectral_mixture("gaussian"), partial(mixture, gaussian), 8),
    "sm_nu32": (spectral_mixture("student", 1.5), partial(mixture, partial(matern, 1.5)), 2),
    "sm_matern52": (spectral_mixture("matern52"), partial(mixture, partial(matern, 2.5)), 4),
    "sm_nu72": (spectral_mixture("student", 3.5), partial(mixture, partial(matern, 3.5)), 6),
}
LADDER = [(name, n) for name, (_, _, highest) in KERNELS.items() for n in range(highest + 1)]


@pytest.mark.parametrize(("name", "order"), LADDER)
def test_every_order_of_one_input_is_exact_to_ten_digits(name, order):
    kernel, function, _ = KERNELS[name]
    lags = torch.tensor([0.0, 1e-9, 0.013, 0.31, 1.2, 4.1], dtype=torch.float64)
    exact = [float(mpmath.diff(function, mpf(t), order)) for t in lags.tolist()]
    expected = torch.tensor(exact, dtype=torch.float64)
    if order % 2:
        expected[0] = 0.0  # an even function: the limits from the two sides are opposite
    actual = kernel.derivative_lags(lags, order)
    torch.testing.assert_close(actual, expected, rtol=1e-10, atol=0)
    mirrored = kernel.derivative_lags(-lags, order)
    torch.testing.assert_close(mirrored, (-1) ** order * expected, rtol=1e-10, atol=0)


@pytest.mark.parametrize("name", [name for name, entry in KERNELS.items() if entry[2] > 0])
@pytest.mark.parametrize("orders", [(1, 0), (0, 1), (1, 1), (2, 0), (0, 2)])
def test_each_order_of_the_second_argument_changes_the_sign(name, orders):
    kernel = KERNELS[name][0]
    x1 = torch.tensor([[0.2], [0.9]], dtype=torch.float64)
    x2 = torch.tensor([[0.2], [1.7], [-0.4]], dtype=torch.float64)
    actual = kernel.derivative(x1, x2, [orders[0]], [orders[1]])
    lags = (x1 - x2.mT).flatten()
    expected = (-1) ** orders[1] * kernel.derivative_lags(lags, sum(orders)).reshape(2, 3)
    torch.testing.assert_close(actual, expected, rtol=1e-13, atol=1e-15)


ARD = (0.7, 1.9)
SEVERAL = {
    "rbf": (RBF(ARD), gaussian, 8),
    "matern32": (Matern(1.5, ARD), partial(matern, 1.5), 2),
    "matern52": (Matern(2.5, ARD), partial(matern, 2.5), 4),
    "rq": (RationalQuadratic(ALPHA, ARD), rational_quadratic, 8),
}
PARTIALS = [
    (name, orders)
    for name, (_, _, highest) in SEVERAL.items()
    for orders in [(1, 0), (1, 1), (2, 0), (2, 1), (2, 2), (1, 3), (4, 0), (3, 3), (4, 4), (2, 6)]
    if sum(orders) <= highest
]


@pytest.mark.parametrize(("name", "orders"), PARTIALS)
def test_partial_derivatives_of_several_inputs_are_exact_to_ten_digits(name, orders):
    kernel, radial, _ = SEVERAL[name]

    def function(a, b):
        return radial(mpmath.sqrt((a / mpf(ARD[0])) ** 2 + (b / mpf(ARD[1])) ** 2))

    points = torch.tensor([[0.3, -0.2], [1.1, 0.9], [0.02, 2.0]], dtype=torch.float64)
    exact = [float(mpmath.diff(function, tuple(map(mpf, p)), orders)) for p in points.tolist()]
    origin = torch.zeros(1, 2, dtype=torch.float64)
    actual = kernel.derivative(points, origin, orders, (0, 0))[:, 0]
    torch.testing.assert_close(actual, torch.tensor(exact, dtype=torch.float64), rtol=1e-10, atol=0)


@pytest.mark.parametrize(("name", "orders"), PARTIALS)
def test_partial_derivatives_at_zero_distance_are_the_limit(name, orders):
    kernel, radial, _ = SEVERAL[name]

    def function(a, b):
        return radial(mpmath.sqrt((a / mpf(ARD[0])) ** 2 + (b / mpf(ARD[1])) ** 2))

    with mpmath.workdps(200):
        near = (mpf(10) ** -30, mpf(10) ** -30)
        exact = mpmath.diff(function, near, orders, h=mpf(10) ** -45)
    origin = torch.zeros(1, 2, dtype=torch.float64)
    actual = kernel.derivative(origin, origin, orders).item()
    assert actual == pytest.approx(float(exact), rel=1e-10, abs=1e-15)


def test_spectral_mixture_of_two_inputs_is_a_product_over_them():
    frequencies, lengthscales = [[3.0, 1.0], [0.0, 2.0]], [[0.7, 0.4], [1.0, 0.9]]
    kernel = SpectralMixture("matern52", frequencies, lengthscales, [0.3, 1.1])
    points = torch.tensor([[0.3, -0.2], [0.0, 0.0], [0.8, 0.5]], dtype=torch.float64)
    origin = torch.zeros(1, 2, dtype=torch.float64)
    actual = kernel.derivative(points, origin, (2, 1), (0, 1))[:, 0]
    expected = torch.zeros(3, dtype=torch.float64)
    for (f, g), (a, b), w in zip(frequencies, lengthscales, [0.3, 1.1], strict=True):
        first = SpectralMixture("matern52", [f], [a], [w]).derivative_lags(points[:, 0], 2)
        second = SpectralMixture("matern52", [g], [b], [1.0]).derivative_lags(points[:, 1], 2)
        expected -= first * second
    torch.testing.assert_close(actual, expected, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("orders", [((0, 0), (0, 0)), ((2, 0), (1, 1)), ((1, 1), (0, 2))])
@pytest.mark.parametrize(
    "kernel",
    [
        RBF([0.5, 0.8]) + 2.0 * Matern(2.5),
        3.0 * RBF(0.9) * RationalQuadratic(1.5, 0.8),
        (RBF(0.7) + Constant()) * Linear(),
        RBF(0.9, active_dims=[1]) * Periodic(1.5, active_dims=[0]),
        Polynomial(3, 0.5),
        (RBF(0.9) + Constant()) ** 2,
        RBF(0.9, active_dims=[1, 0]) + Polynomial(2, active_dims=[1]) + Linear([0]),
    ],
    ids=repr,
)
def test_combinations_equal_repeated_autograd(kernel, orders, dense, generator):
    x1, x2 = (torch.rand(1, 2, generator=generator, dtype=torch.float64) for _ in range(2))
    a, b = x1.unbind(-1), x2.unbind(-1)
    leaves = [t.detach().requires_grad_() for t in (*a, *b)]
    value = dense(kernel, torch.stack(leaves[:2], -1), torch.stack(leaves[2:], -1)).sum()
    for leaf, order in zip(leaves, (*orders[0], *orders[1]), strict=True):
        for _ in range(order):
            (value,) = torch.autograd.grad(value, leaf, create_graph=True)
            value = value.sum()
    actual = kernel.derivative(x1, x2, *orders)
    torch.testing.assert_close(actual.sum(), value, rtol=1e-10, atol=1e-12)


def test_uniform_axis_gives_the_toeplitz_matrix_of_any_order():
    x = torch.linspace(-1, 3, 50, dtype=torch.float64).unsqueeze(-1)
    kernel = spectral_mixture("gaussian") + Matern(2.5)
    # One more point at the end of x2 takes the way of scattered points.
    longer = torch.cat([x, x.new_tensor([[9.0]])])
    for orders in [([0], [0]), ([2], [2]), ([1], [2])]:
        expected = kernel.derivative(x, longer, *orders)[:, :-1]
        scale = expected.abs().max().item()
        actual = kernel.derivative(x, x.clone(), *orders)
        torch.testing.assert_close(actual, expected, rtol=0, atol=1e-12 * scale)


def test_uniform_axis_is_evaluated_at_its_lags_only(monkeypatch):
    seen = []

    def partial(self, x1, x2, *orders):
        seen.append((len(x1), len(x2)))
        return x1.new_zeros(len(x1), len(x2))

    monkeypatch.setattr(RBF, "partial", partial)
    x = torch.linspace(3, 4, 50).unsqueeze(-1)
    assert RBF().derivative(x, x, [2]).shape == (50, 50)
    assert seen == [(99, 1)]


def test_axis_that_is_nearly_uniform_is_not_taken_for_one():
    x = torch.linspace(0, 1, 20, dtype=torch.float64).unsqueeze(-1)
    x[7] += 1e-9
    kernel = spectral_mixture("gaussian")
    expected = kernel.partial(x, x, (1,), (1,))
    actual = kernel.derivative(x, x, [1], [1])
    torch.testing.assert_close(actual, expected, rtol=0, atol=1e-11)
    for orders in ([0], [3]):  # one point of many coordinates, and two points
        for points in (x[:1], x[:2]):
            expected = kernel.partial(points, points, tuple(orders), (0,))
            torch.testing.assert_close(kernel.derivative(points, points, orders), expected)


def test_radial_periodic_of_several_columns_has_no_derivatives():
    x = torch.zeros(1, 2, dtype=torch.float64)
    for orders in [((1, 0), (0, 0)), ((0, 0), (0, 1)), ((0, 1), (0, 1))]:
        with pytest.raises(ArgumentError, match=r"orders: got a derivative of RadialPeriodic.*col"):
            RadialPeriodic().derivative(x, x, *orders)


def test_hyperparameters_get_gradients_at_zero_distance():
    x = torch.zeros(2, 1, dtype=torch.float64)
    kernel = Matern(2.5, 0.5)
    kernel.derivative(x, x, [2]).sum().backward()
    # k'' = -5 / (3 l²) at zero, so that d/d log l is -2 k''.
    expected = torch.full((1, 1), 2 * 4 * 5 / (3 * 0.25), dtype=torch.float64)
    torch.testing.assert_close(kernel.raw_lengthscale.grad, expected)


@pytest.mark.parametrize(
    ("kernel", "highest"),
    [
        (RBF(), 8),
        (Matern(0.5), 0),
        (Matern(1.5), 2),
        (Matern(2.5), 4),
        (SpectralMixture("student", nu=3.5), 6),
        (SpectralMixture("gaussian"), 8),
        (RBF() + Matern(1.5), 2),
        (2.0 * (RBF() * Matern(2.5)), 4),
        (RBF() + White(0.1), 0),
    ],
    ids=repr,
)
def test_an_order_too_high_is_refused_with_the_one_available(kernel, highest):
    x = torch.zeros(1, 1, dtype=torch.float64)
    assert kernel.derivative(x, x, [highest]).isfinite().all()
    message = (
        rf"orders: got total order {highest + 1} for .*; ask for at most {highest} in all, .*RBF"
    )
    with pytest.raises(ArgumentError, match=message):
        kernel.derivative(x, x, [highest + 1])


@pytest.mark.parametrize(
    ("x1", "x2", "orders", "message"),
    [
        (torch.zeros(2), torch.zeros(2, 1), [1], r"x1: got shape \(2,\); give \(n, d\)"),
        (torch.zeros(2, 1), torch.zeros(2, 2), [1], r"x2: got shape \(2, 2\); give \(m, 1\)"),
        (torch.zeros(2, 1), torch.zeros(2, 1).double(), [1], r"x2: got torch.float64; convert"),
        (torch.full((2, 1), math.nan), torch.zeros(2, 1), [1], r"x1: got 2 of 2 entries not fin"),
        (torch.zeros(2, 1), torch.zeros(2, 1), [1, 0], r"orders1: got \[1, 0\]; give 1 whole"),
        (torch.zeros(2, 1), torch.zeros(2, 1), [-1], r"orders1: got \[-1\]; give 1 whole number"),
        (torch.zeros(2, 3), torch.zeros(2, 3), [1, 0, 0], r"lengthscale: got 2 numbers; .* 3: one"),
    ],
)
def test_bad_arguments_are_named(x1, x2, orders, message):
    with pytest.raises(ArgumentError, match=message):
        RBF([0.5, 0.5] if x1.shape[-1] == 3 else 0.5).derivative(x1, x2, orders)


def test_lags_of_a_kernel_that_is_not_stationary_are_refused():
    with pytest.raises(ArgumentError, match=r"kernel: got Linear\(\); ask a stationary one"):
        Linear().derivative_lags(torch.zeros(2), 1)
