"""Kernels of scikit-learn and gpytorch, converted: the peers' own numbers."""

import gpytorch.kernels as gk
import pytest
import torch
from sklearn.gaussian_process import kernels as sk

from kernelgp.errors import ArgumentError, ArgumentTypeError
from kernelgp.kernels import RBF, SumKernel, from_gpytorch, from_sklearn

SKLEARN = [
    sk.RBF([0.3, 0.5, 2.0]),
    sk.Matern(0.7, nu=0.5),
    sk.Matern([0.3, 0.5, 2.0], nu=1.5),
    sk.Matern(0.7, nu=2.5),
    sk.Matern(0.7, nu=float("inf")),
    sk.RationalQuadratic(0.7, 1.3),
    sk.ExpSineSquared(0.7, 1.3),
    sk.DotProduct(0.6),
    sk.DotProduct(0.0),
    sk.DotProduct(1.5) ** 3,
    sk.ConstantKernel(2.0),
    2.0 * sk.RBF(0.7) + sk.WhiteKernel(0.1),
    sk.RBF(0.7) * sk.ConstantKernel(0.5) * sk.Matern(0.4),
    (sk.RBF(0.7) + 1.0) ** 2,
    sk.RBF(0.7) + sk.RBF(0.2) + sk.RBF(0.1),
]


@pytest.fixture
def points(generator):
    return [torch.randn(n, 3, generator=generator, dtype=torch.float64) for n in (7, 5)]


@pytest.mark.parametrize("theirs", SKLEARN, ids=repr)
def test_scikit_learns_numbers(theirs, points):
    ours = from_sklearn(theirs)
    for pair in [points[:1], points]:
        expected = torch.from_numpy(theirs(*(x.numpy() for x in pair)))
        torch.testing.assert_close(ours(*pair).to_dense(), expected, rtol=1e-13, atol=1e-13)


def randomised(kernel):
    g = torch.Generator().manual_seed(1)
    kernel = kernel.double()
    with torch.no_grad():
        for parameter in kernel.parameters():
            parameter += 0.5 * torch.randn(parameter.shape, generator=g, dtype=torch.float64)
    return kernel


GPYTORCH = {
    "rbf": lambda: gk.RBFKernel(ard_num_dims=3),
    "matern12": lambda: gk.MaternKernel(nu=0.5),
    "matern32": lambda: gk.MaternKernel(nu=1.5, ard_num_dims=2, active_dims=[2, 0]),
    "matern52": lambda: gk.MaternKernel(nu=2.5, batch_shape=torch.Size([4])),
    "rq": lambda: gk.RQKernel(ard_num_dims=3),
    "rq_batch": lambda: gk.RQKernel(ard_num_dims=3, batch_shape=torch.Size([4])),
    "periodic": lambda: gk.PeriodicKernel(ard_num_dims=3),
    "periodic_one": lambda: gk.PeriodicKernel(active_dims=[1]),
    "linear": lambda: gk.LinearKernel(),
    "linear_ard": lambda: gk.LinearKernel(ard_num_dims=2, active_dims=[2, 1]),
    "polynomial": lambda: gk.PolynomialKernel(power=3),
    "constant": lambda: gk.ConstantKernel(),
    "scale": lambda: gk.ScaleKernel(gk.RBFKernel(active_dims=[1])),
    "scale_batch": lambda: gk.ScaleKernel(
        gk.RBFKernel(batch_shape=torch.Size([4])), batch_shape=torch.Size([4])
    ),
    "sum": lambda: gk.RBFKernel(active_dims=[0]) + gk.ScaleKernel(gk.PeriodicKernel()),
    "product": lambda: gk.RBFKernel(active_dims=[0, 2]) * gk.MaternKernel() * gk.LinearKernel(),
    "nested": lambda: gk.ScaleKernel(
        gk.RBFKernel(active_dims=[1]) + gk.MaternKernel(active_dims=[0]), active_dims=[2, 1]
    ),
    "mixture": lambda: gk.SpectralMixtureKernel(num_mixtures=3, ard_num_dims=3),
    "mixture_one": lambda: gk.SpectralMixtureKernel(num_mixtures=2, active_dims=[1]),
}


@pytest.mark.parametrize("name", GPYTORCH)
def test_gpytorchs_numbers(name, points):
    theirs = randomised(GPYTORCH[name]())
    ours = from_gpytorch(theirs)
    expected = theirs(*points).to_dense()
    torch.testing.assert_close(ours(*points).to_dense(), expected, rtol=1e-12, atol=1e-12)
    expected = theirs(points[0]).to_dense()
    # gpytorch's distances within one set come from products of points: seven digits at zero.
    torch.testing.assert_close(ours(points[0]).to_dense(), expected, rtol=1e-7, atol=1e-7)


def test_our_own_kernels_pass_through():
    kernel = RBF(0.3)
    assert from_gpytorch(kernel) is kernel
    mixed = from_gpytorch(kernel + gk.RBFKernel())
    assert isinstance(mixed, SumKernel)
    assert mixed.parts[0] is kernel
    with pytest.raises(ArgumentError, match=r"a kernel with active_dims \(1,\); give"):
        from_gpytorch(gk.ScaleKernel(kernel, active_dims=[1]))


@pytest.mark.parametrize(
    ("kernel", "message"),
    [
        (sk.Matern(nu=3.5), r"kernel: got Matern, .*nu=3.5.*; give nu as 0.5, 1.5, 2.5 or inf"),
        (sk.RBF() ** 0.5, r"kernel: got Exponentiation, .*; give a positive whole number"),
        (sk.PairwiseKernel(), r"kernel: got PairwiseKernel, .*; build it from kernelgp.kernels"),
        (sk.RBF() + sk.PairwiseKernel(), r"kernel: got PairwiseKernel"),
        (sk.CompoundKernel([sk.RBF()]), r"kernel: got CompoundKernel"),
    ],
    ids=str,
)
def test_what_cannot_be_converted_from_scikit_learn_is_named(kernel, message):
    with pytest.raises(ArgumentError, match=message):
        from_sklearn(kernel)


@pytest.mark.parametrize(
    ("kernel", "message"),
    [
        (gk.CosineKernel(), r"kernel: got CosineKernel; build it from kernelgp.kernels, or give"),
        (gk.ScaleKernel(gk.RBFKernelGrad()), r"kernel: got RBFKernelGrad"),
        (gk.RBFKernel() + gk.PiecewisePolynomialKernel(), r"got PiecewisePolynomialKernel"),
        (gk.PolynomialKernel(power=1.5), r"got PolynomialKernel of power 1.5; give a positive"),
        (
            gk.SpectralMixtureKernel(num_mixtures=2, batch_shape=torch.Size([3])),
            r"got SpectralMixtureKernel of batch shape \(3,\); convert its elements one by one",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_what_cannot_be_converted_from_gpytorch_is_named(kernel, message):
    with pytest.raises(ArgumentError, match=message):
        from_gpytorch(kernel)


@pytest.mark.parametrize("convert", [from_sklearn, from_gpytorch])
@pytest.mark.parametrize("kernel", ["rbf", None, 2.0])
def test_what_is_no_kernel_is_a_type_error(convert, kernel):
    with pytest.raises(ArgumentTypeError, match=r"kernel: got (str|NoneType|float); give one of"):
        convert(kernel)
