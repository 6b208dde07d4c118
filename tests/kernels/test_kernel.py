"""Hyperparameters, composition and life inside gpytorch."""

import copy
import math
import pickle

import gpytorch
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from kernelgp.errors import ArgumentError, ArgumentTypeError
from kernelgp.kernels import (
    RBF,
    Constant,
    Linear,
    Matern,
    Periodic,
    Polynomial,
    RationalQuadratic,
    SpectralMixture,
    White,
)
from kernelgp.operators import KernelOperator

EVERY = [RBF, Matern, RationalQuadratic, Periodic, Polynomial, Linear, Constant, White]
POSITIVE = st.floats(1e-300, 1e300)


@given(value=POSITIVE)
def test_hyperparameters_are_exactly_as_given(value):
    assert RBF(value).lengthscale.item() == value
    assert (value * RBF()).outputscale.item() == value
    assert White(value).noise.item() == value
    kernel = RBF()
    kernel.lengthscale = value
    assert kernel.lengthscale.item() == value
    assert kernel.initialize(lengthscale=value).lengthscale.item() == value


@pytest.mark.parametrize("make", [*EVERY, SpectralMixture])
def test_every_kernel_is_made_without_arguments_and_has_unit_scales(make):
    kernel = make()
    x = torch.tensor([[1.0]], dtype=torch.float64)
    assert kernel(x).to_dense().item() == (4.0 if make is Polynomial else 1.0)
    assert all(p.dtype == torch.float64 for p in kernel.parameters())


@pytest.mark.parametrize(
    ("kernel", "written"),
    [
        (
            2.0 * RBF(lengthscale=0.3) + Matern(nu=2.5, lengthscale=[0.5, 0.2, 1.0]),
            "2.0 * RBF(lengthscale=0.3) + Matern(nu=2.5, lengthscale=[0.5, 0.2, 1.0])",
        ),
        (3 * (RBF() + White(0.1)), "3.0 * (RBF(lengthscale=1.0) + White(noise=0.1))"),
        ((RBF() + Linear()) * Constant(), "(RBF(lengthscale=1.0) + Linear()) * Constant()"),
        ((2 * Linear()) ** 2, "(2.0 * Linear())**2"),
        (RBF(0.1, active_dims=[2, 0]), "RBF(lengthscale=0.1, active_dims=(2, 0))"),
        (RationalQuadratic(2.0, 0.5), "RationalQuadratic(alpha=2.0, lengthscale=0.5)"),
        (Polynomial(3, 0.0), "Polynomial(degree=3, offset=0.0)"),
        (RBF() + RBF() + RBF(), " + ".join(["RBF(lengthscale=1.0)"] * 3)),
    ],
)
def test_repr_is_how_one_would_write_it(kernel, written):
    assert repr(kernel) == written
    assert repr(eval(written)) == written


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda k: pickle.loads(pickle.dumps(k))])
def test_copies_are_equal_and_independent(copied):
    kernel = 2.0 * RBF([0.3, 0.7]) * Periodic() + SpectralMixture("student", [[1.0, 2.0]])
    with torch.no_grad():
        for parameter in kernel.parameters():
            parameter += 0.1
    other, x = copied(kernel), torch.rand(3, 2, dtype=torch.float64)
    torch.testing.assert_close(other(x).to_dense(), kernel(x).to_dense(), rtol=0, atol=0)
    before = kernel(x).to_dense()
    other.initialize(**{"kernels.0.kernels.0.outputscale": 9.0})
    torch.testing.assert_close(kernel(x).to_dense(), before, rtol=0, atol=0)


def test_state_dict_restores_every_value():
    kernel, other = 2.0 * RBF(0.3) + White(0.2), 1.0 * RBF() + White()
    with torch.no_grad():
        for parameter in kernel.parameters():
            parameter += 0.1
    other.load_state_dict(kernel.state_dict())
    assert (
        repr(other) == repr(kernel) == "2.21034 * RBF(lengthscale=0.331551) + White(noise=0.221034)"
    )


def test_combinations_are_the_sums_and_products_they_look_like(generator):
    x = torch.randn(5, 2, generator=generator, dtype=torch.float64)
    a, b = RBF(0.7), Matern(1.5, [0.5, 2.0])

    def value(kernel):
        return kernel(x).to_dense()

    torch.testing.assert_close(value(2 * a + b * 3.0), 2 * value(a) + 3 * value(b))
    torch.testing.assert_close(value((a + b) * a), (value(a) + value(b)) * value(a))
    torch.testing.assert_close(value((a + b) ** 3), (value(a) + value(b)) ** 3)


@pytest.mark.parametrize("scale", [0.0, -1.0, math.nan, math.inf, torch.tensor(-2.0)])
@pytest.mark.parametrize("side", [lambda s, k: s * k, lambda s, k: k * s])
def test_bad_scale_is_named(scale, side):
    with pytest.raises(ArgumentError, match=r"outputscale: got .*; give (a )?positive, finite"):
        side(scale, RBF())


@pytest.mark.parametrize("other", ["2", None, [1.0]])
def test_kernels_combine_with_numbers_and_kernels_only(other):
    for combine in (lambda: RBF() * other, lambda: other * RBF(), lambda: RBF() + other):
        with pytest.raises(TypeError):
            combine()


@pytest.mark.parametrize("reflect", [False, True])
def test_scale_given_as_a_tensor_keeps_its_gradient(reflect):
    scale = torch.tensor(3.0, dtype=torch.float64, requires_grad=True)
    lengthscale = torch.tensor(0.5, dtype=torch.float64, requires_grad=True)
    kernel = RBF(lengthscale) * scale if reflect else scale * RBF(lengthscale)
    x = torch.tensor([[0.0], [1.0]], dtype=torch.float64)
    value = KernelOperator(kernel, x).to_dense()[0, 1]
    value.backward()
    torch.testing.assert_close(scale.grad, value.detach() / 3)
    torch.testing.assert_close(lengthscale.grad, value.detach() / 0.5**3)


def test_number_assigned_over_a_tensor_leaves_the_tensors_graph_alone():
    lengthscale = torch.tensor(0.5, dtype=torch.float64, requires_grad=True)
    kernel = RBF(lengthscale)
    before = kernel.lengthscale
    kernel.lengthscale = 2.0
    assert kernel.lengthscale.item() == 2.0
    (gradient,) = torch.autograd.grad(before.sum(), lengthscale)
    assert gradient == 1.0
    assert copy.deepcopy(kernel).lengthscale.item() == 2.0


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: RBF(0.0), r"lengthscale: got 0.0; give a positive, finite number"),
        (lambda: RBF(-1), r"lengthscale: got -1; give a positive, finite number"),
        (lambda: Matern(2.5, [1.0, -2.0]), r"lengthscale: got \[1.0, -2.0\]; give positive"),
        (lambda: RBF(math.nan), r"lengthscale: got nan; give a positive, finite number"),
        (lambda: RBF([]), r"lengthscale: got \[\]; give positive, finite numbers"),
        (lambda: RBF(torch.ones(2, 2)), r"lengthscale: got shape \(2, 2\); .*\(\*batch, 1, d\)"),
        (lambda: Matern(2), r"nu: got 2; give 0.5, 1.5 or 2.5"),
        (lambda: White(-0.1), r"noise: got -0.1; give a positive, finite number"),
        (lambda: White(0.0), r"noise: got 0.0; give a positive, finite number"),
        (lambda: RationalQuadratic(0.0), r"alpha: got 0.0; give a positive, finite number"),
        (lambda: Periodic(-1.0), r"period: got -1.0; give a positive, finite number"),
        (lambda: Periodic(1.0, math.inf), r"lengthscale: got inf; give a positive, finite number"),
        (lambda: Polynomial(0), r"degree: got 0; give a positive whole number"),
        (lambda: Polynomial(1.5), r"degree: got 1.5; give a positive whole number"),
        (lambda: Polynomial(2, -1.0), r"offset: got -1.0; give a non-negative, finite number"),
        (lambda: RBF() ** 0, r"exponent: got 0; give a positive whole number"),
        (lambda: RBF() ** 0.5, r"exponent: got 0.5; give a positive whole number"),
        (lambda: RBF(active_dims=[]), r"active_dims: got \[\]; name at least one column"),
        (lambda: RBF(active_dims=[0, 0]), r"active_dims: got \[0, 0\]; .*each once"),
        (lambda: RBF(active_dims=[-1]), r"active_dims: got \[-1\]; .*counted from 0"),
    ],
)
def test_bad_hyperparameters_are_named(make, message):
    with pytest.raises(ArgumentError, match=message):
        make()


@pytest.mark.parametrize("value", ["long", None, True, 1j])
def test_lengthscale_that_is_no_number_is_a_type_error(value):
    with pytest.raises(ArgumentTypeError, match="lengthscale: got"):
        RBF(value)


def test_bad_assignments_are_named_and_change_nothing():
    kernel = RBF([0.5, 0.7])
    with pytest.raises(ArgumentError, match=r"lengthscale: got -1.0; give a positive"):
        kernel.lengthscale = -1.0
    with pytest.raises(ArgumentError, match=r"lengthscale: got .*\(3,\); give one number or .*2\)"):
        kernel.lengthscale = [1.0, 2.0, 3.0]
    assert kernel.lengthscale.tolist() == [[0.5, 0.7]]


def test_assignment_keeps_the_parameter_that_an_optimiser_holds():
    kernel = RBF(0.5)
    optimiser = torch.optim.SGD(kernel.parameters(), lr=1.0)
    kernel.lengthscale = 0.25
    kernel.lengthscale.log().sum().backward()
    optimiser.step()
    assert kernel.lengthscale.item() == pytest.approx(0.25 * math.exp(-1))


def test_priors_and_constraints_of_gpytorch_work():
    kernel = RBF(0.5)
    kernel.register_prior("lengthscale_prior", gpytorch.priors.GammaPrior(3.0, 6.0), "lengthscale")
    kernel.sample_from_prior("lengthscale_prior")
    (_, module, prior, closure, _), *_ = kernel.named_priors()
    assert prior.log_prob(closure(module)).isfinite().all()
    kernel.register_constraint("raw_lengthscale", gpytorch.constraints.Interval(0.1, 2.0))
    kernel.lengthscale = 1.5
    torch.testing.assert_close(kernel.lengthscale, torch.tensor([[1.5]]).double())
    with torch.no_grad():
        kernel.raw_lengthscale += 100.0
    assert 1.9 < kernel.lengthscale.item() <= 2.0


@pytest.mark.parametrize(
    "make",
    [
        lambda s: SpectralMixture("student", [[1.0, 2.0], [3.0, 0.0]], 0.5),
        lambda s: RationalQuadratic(s, 0.5),
        lambda s: White(s) + RBF(0.5),
        lambda s: Polynomial(2, s),
    ],
)
def test_batch_of_scales_equals_a_loop(make, generator):
    x = torch.randn(4, 2, generator=generator, dtype=torch.float64)
    scales = torch.tensor([0.5, 2.0], dtype=torch.float64)
    kernel = scales * make(scales)
    for i in range(2):
        expected = scales[i].item() * make(scales[i].item())
        for actual in (kernel[i], kernel.expand_batch(3, 2)[1, i]):
            torch.testing.assert_close(actual(x).to_dense(), expected(x).to_dense())
        torch.testing.assert_close(kernel(x)[i].to_dense(), expected(x).to_dense())
        torch.testing.assert_close(kernel.derivative(x, x)[i], expected.derivative(x, x))


@pytest.mark.parametrize("make", [RBF, lambda t: Matern(1.5, t), lambda t: Periodic(1.0, t)])
def test_batch_of_lengthscales_equals_a_loop(make, generator):
    x = torch.randn(4, 2, generator=generator, dtype=torch.float64)
    lengthscales = torch.rand(3, 1, 2, generator=generator, dtype=torch.float64) + 0.1
    kernel = torch.tensor([1.0, 2.0, 3.0]) * make(lengthscales)
    assert kernel.batch_shape == torch.Size([3])
    actual = kernel(x).to_dense()
    for i in range(3):
        expected = (i + 1) * make(lengthscales[i])(x).to_dense()
        torch.testing.assert_close(actual[i], expected)
        torch.testing.assert_close(kernel[i](x).to_dense(), expected)
        torch.testing.assert_close(kernel(x)[i].to_dense(), expected)
        expected = kernel[i].derivative(x, x, [1, 1])
        torch.testing.assert_close(kernel.derivative(x, x, [1, 1])[i], expected)


def test_active_dims_are_applied_once_alone_combined_and_inside_gpytorch(generator):
    x = torch.randn(5, 3, generator=generator, dtype=torch.float64)
    kernel, expected = RBF(0.7, active_dims=[2, 0]), RBF(0.7)(x[:, [2, 0]]).to_dense()
    torch.testing.assert_close(kernel(x).to_dense(), expected)
    torch.testing.assert_close(kernel(x, diag=True), torch.ones(5).double())
    torch.testing.assert_close((kernel + kernel)(x).to_dense(), 2 * expected)
    scaled = gpytorch.kernels.ScaleKernel(kernel).double()
    scaled.outputscale = 2.0
    torch.testing.assert_close(scaled(x).to_dense(), 2 * expected)
    added = kernel + gpytorch.kernels.RBFKernel(active_dims=[1]).double()
    other = gpytorch.kernels.RBFKernel().double()(x[:, [1]]).to_dense()
    torch.testing.assert_close(added(x).to_dense(), expected + other)


def test_diagonal_is_that_of_the_matrix(generator):
    x1, x2 = (torch.randn(4, 2, generator=generator, dtype=torch.float64) for _ in range(2))
    kernel = 2.0 * RBF([0.3, 2.0]) + Linear() + White(0.5)
    for pair in [(x1,), (x1, x2)]:
        torch.testing.assert_close(kernel(*pair, diag=True), kernel(*pair).to_dense().diagonal())


def test_points_of_one_dimension_are_one_column():
    x = torch.rand(4, dtype=torch.float64)
    torch.testing.assert_close(RBF()(x).to_dense(), RBF()(x.unsqueeze(-1)).to_dense())


class ExactGP(gpytorch.models.ExactGP):
    def __init__(self, x, y, likelihood, kernel):
        super().__init__(x, y, likelihood)
        self.mean_module, self.kernel = gpytorch.means.ZeroMean(), kernel

    def forward(self, x):
        return gpytorch.distributions.MultivariateNormal(self.mean_module(x), self.kernel(x))


def train_and_predict(kernel, x, y, x_new):
    likelihood = gpytorch.likelihoods.GaussianLikelihood().double()
    likelihood.noise = 0.01
    model = ExactGP(x, y, likelihood, kernel)
    mll = gpytorch.mlls.ExactMarginalLogLikelihood(likelihood, model)
    optimiser = torch.optim.Adam(model.parameters(), lr=0.05)
    for _ in range(5):
        optimiser.zero_grad()
        loss = -mll(model(x), y)
        loss.backward()
        optimiser.step()
    model.eval()
    with torch.no_grad():
        prediction = likelihood(model(x_new))
        return loss.item(), prediction.mean, prediction.variance


def test_exact_gp_trains_and_predicts_as_with_a_dense_matrix(dense, generator):
    class Dense(gpytorch.kernels.Kernel):
        def __init__(self, inner):
            super().__init__()
            self.inner = inner

        def forward(self, x1, x2, diag=False, **_):
            matrix = dense(self.inner, x1, None if x2 is x1 else x2)
            return matrix.diagonal(dim1=-1, dim2=-2) if diag else matrix

    x = torch.rand(60, 2, generator=generator, dtype=torch.float64)
    y, x_new = torch.sin(6 * x[:, 0]) + x[:, 1], torch.rand(7, 2, generator=generator).double()
    kernel = 2.0 * Matern(2.5, [0.5, 0.7]) + RBF(0.3, active_dims=[1]) * Periodic()
    expected = train_and_predict(Dense(copy.deepcopy(kernel)), x, y, x_new)
    actual = train_and_predict(kernel, x, y, x_new)
    assert actual[0] == pytest.approx(expected[0], rel=1e-8)
    torch.testing.assert_close(actual[1], expected[1], rtol=1e-6, atol=1e-8)
    torch.testing.assert_close(actual[2], expected[2], rtol=1e-5, atol=1e-8)
