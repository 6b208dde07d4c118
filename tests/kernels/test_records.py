"""Kernels come back from JSON to the last bit, and nothing else does."""

import json

import gpytorch
import pytest
import torch
from gpytorch import kernels as peer
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.gaussian_process import kernels as sklearn_kernels

from kernelgp import kernels
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
    from_gpytorch,
    from_sklearn,
)
from kernelgp.kernels.records import from_record, to_record

X = torch.rand(7, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def there_and_back(kernel):
    return from_record(json.loads(json.dumps(to_record(kernel))))


def matrix(kernel):
    return kernel(X).to_dense().detach()


def learned(kernel, seed=0):
    """As an optimiser leaves it: raw parameters that are not zero."""
    generator = torch.Generator().manual_seed(seed)
    for parameter in kernel.parameters():
        step = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
        parameter.data += (0.3 * step).to(parameter)
    return kernel


LEAVES = {
    "RBF": lambda: RBF(0.3),
    "ARD": lambda: Matern(1.5, [0.1, 0.2, 1 / 3]),
    "one column": lambda: Matern(0.5, 0.7, active_dims=[2]),
    "RationalQuadratic": lambda: RationalQuadratic(0.7, [0.2, 0.3], active_dims=[0, 2]),
    "Periodic": lambda: Periodic([0.5, 0.6, 0.7], 0.9),
    "RadialPeriodic": lambda: RadialPeriodic(0.5, 0.9),
    "Linear": lambda: Linear([1]),
    "Polynomial": lambda: Polynomial(3, 0.1),
    "Polynomial without offset": lambda: Polynomial(2, 0.0),
    "Constant": Constant,
    "White": lambda: White(0.1),
    "mixture": lambda: SpectralMixture("student", [[1.0, 2, 0], [3, 4, 0.1]], [0.5, 0.6], nu=1.5),
    "matern52": lambda: SpectralMixture("matern52", [1.0, 7.0], active_dims=[1]),
}
COMPOSITE = {
    "scaled": lambda: 2.0 * RBF(0.3),
    "sum": lambda: 2.0 * RBF(0.3) + Matern(2.5) * Periodic(0.4) + White(1e-4),
    "product of sums": lambda: (RBF(0.1) + Linear()) * (3.0 * RationalQuadratic() + Constant()),
    "power": lambda: (2.0 * RBF(0.4) + Linear()) ** 3,
    "scaled twice": lambda: 2.0 * (3.0 * RBF(0.3) + RBF(0.1)),
}
CONVERTED = {
    "scikit-learn": lambda: from_sklearn(
        2.0 * sklearn_kernels.ExpSineSquared(0.5, 0.7) + sklearn_kernels.WhiteKernel(0.1)
    ),
    "gpytorch": lambda: from_gpytorch(peer.ScaleKernel(peer.MaternKernel(1.5, ard_num_dims=3))),
}


@pytest.mark.parametrize("name", LEAVES | COMPOSITE | CONVERTED)
def test_a_kernel_comes_back_to_the_last_bit(name):
    kernel = learned((LEAVES | COMPOSITE | CONVERTED)[name]())
    again = there_and_back(kernel)
    assert type(again) is type(kernel)
    assert repr(again) == repr(kernel)
    assert torch.equal(matrix(again), matrix(kernel))
    for (one, a), (other, b) in zip(
        kernel.named_parameters(), again.named_parameters(), strict=True
    ):
        assert one == other
        assert torch.equal(a, b)
        assert a.dtype == b.dtype


@settings(max_examples=30, deadline=None)
@given(st.data())
def test_any_combination_comes_back(data):
    names = st.sampled_from(sorted(LEAVES))
    trees = st.recursive(
        names,
        lambda inner: st.tuples(st.sampled_from(["+", "*", "2"]), inner, inner),
        max_leaves=5,
    )

    def build(tree):
        if isinstance(tree, str):
            return LEAVES[tree]()
        operation, left, right = tree
        if operation == "2":
            return 2.0 * build(left)
        return build(left) + build(right) if operation == "+" else build(left) * build(right)

    kernel = learned(build(data.draw(trees)), seed=1)
    again = there_and_back(kernel)
    assert repr(again) == repr(kernel)
    assert torch.equal(matrix(again), matrix(kernel))


def test_every_kernel_of_the_package_is_covered():
    built = {type(make()).__name__ for make in LEAVES.values()}
    built |= {"ScaledKernel", "SumKernel", "ProductKernel", "PowerKernel"}
    public = {
        name
        for name in kernels.__all__
        if isinstance(kind := getattr(kernels, name), type) and issubclass(kind, kernels.Kernel)
    }
    assert public - {"Kernel", "StationaryKernel"} == built


def test_batches_come_back():
    kernel = 2.0 * RBF(torch.tensor([[[0.1, 0.2, 0.3]], [[0.4, 0.5, 0.6]]], dtype=torch.float64))
    assert torch.equal(matrix(there_and_back(kernel)), matrix(kernel))


def test_what_is_not_learned_stays_so():
    kernel = 2.0 * RBF(0.3)
    kernel.raw_outputscale.requires_grad_(False)
    again = there_and_back(kernel)
    assert [p.requires_grad for p in again.parameters()] == [False, True]


def test_constraints_and_priors_come_back():
    kernel = RBF(0.3)
    kernel.register_prior("lengthscale_prior", gpytorch.priors.GammaPrior(3.0, 6.0), "lengthscale")
    again = there_and_back(kernel)
    ((_, module, prior, closure, _),) = again.named_priors()
    expected = gpytorch.priors.GammaPrior(3.0, 6.0).log_prob(torch.tensor(0.3).double())
    assert torch.allclose(prior.log_prob(closure(module)).sum(), expected.double())
    kernel.register_constraint("raw_lengthscale", gpytorch.constraints.Interval(0.1, 2.0))
    kernel.lengthscale = 0.5
    again = there_and_back(kernel)
    assert torch.equal(again.lengthscale, kernel.lengthscale)
    assert again.raw_lengthscale_constraint.upper_bound == 2.0


@pytest.mark.parametrize(
    "make",
    [
        lambda: peer.ScaleKernel(peer.RBFKernel(ard_num_dims=3)),
        lambda: peer.CosineKernel() + peer.MaternKernel(1.5, active_dims=[0, 1]),
        lambda: (
            peer.ScaleKernel(
                peer.RBFKernel(lengthscale_prior=gpytorch.priors.LogNormalPrior(0.0, 1.0)),
                outputscale_constraint=gpytorch.constraints.GreaterThan(1e-3),
            )
            * peer.PolynomialKernel(2)
        ),
    ],
)
def test_kernels_of_gpytorch_come_back(make):
    kernel = learned(make().double())
    again = there_and_back(kernel)
    assert torch.equal(matrix(again), matrix(kernel))
    assert len(list(again.named_priors())) == len(list(kernel.named_priors()))


@pytest.mark.parametrize(
    "kernel",
    [
        2.0 * sklearn_kernels.RBF([0.1, 0.2, 0.3], (1e-3, 1e3)) + sklearn_kernels.WhiteKernel(),
        sklearn_kernels.Matern(0.3, "fixed", nu=1.5) ** 2,
    ],
)
def test_kernels_of_scikit_learn_come_back(kernel):
    assert there_and_back(kernel) == kernel


class Mine(RBF):
    pass


@pytest.mark.parametrize(
    ("kernel", "name"),
    [
        (Mine(), "Mine"),
        (2.0 * RBF() + Mine(), "Mine"),
        (peer.ArcKernel(RBF()), "ArcKernel"),
        ("RBF", "str"),
    ],
)
def test_other_classes_are_refused_by_name(kernel, name):
    with pytest.raises(ArgumentError, match=rf"kernel: got an object of class {name}; build it"):
        to_record(kernel)


def test_a_record_cannot_name_another_class():
    record = to_record(RBF())
    for kind in ("kernelgp.Mine", "gpytorch.SpectralMixtureKernel", "sklearn.np", "os.system"):
        with pytest.raises((KeyError, AttributeError)):
            from_record(record | {"kind": kind})
