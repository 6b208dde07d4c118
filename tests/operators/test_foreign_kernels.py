"""gpytorch's own kernels in a `KernelOperator`, against gpytorch's dense matrices."""

import gpytorch
import pytest
import torch
from gpytorch import kernels as peer
from torch.utils._python_dispatch import TorchDispatchMode

from kernelgp.operators import KernelOperator
from kernelgp.operators.backends import foreign


def spectral_mixture():
    kernel = peer.SpectralMixtureKernel(num_mixtures=3, ard_num_dims=2)
    kernel.mixture_means = torch.linspace(0.1, 0.9, 6).view(3, 1, 2)
    return kernel


KERNELS = {
    "linear": peer.LinearKernel,
    "cosine": peer.CosineKernel,
    "piecewise_polynomial": lambda: peer.PiecewisePolynomialKernel(q=2),
    "scaled_rq": lambda: peer.ScaleKernel(peer.RQKernel(ard_num_dims=2)),
    "spectral_mixture": spectral_mixture,
    "sum": lambda: peer.RBFKernel(active_dims=(0,)) + peer.MaternKernel(active_dims=(1,)),
}


@pytest.fixture(params=KERNELS, name="kernel")
def _kernel(request):
    return KERNELS[request.param]().double()


@pytest.fixture(autouse=True)
def small_tiles(monkeypatch):
    monkeypatch.setattr(foreign, "_ROWS", 4)
    monkeypatch.setattr(foreign, "_ENTRIES", 12)


def points(*shape, seed=0):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def dense(kernel, x1, x2):
    """The oracle: gpytorch, all at once."""
    with gpytorch.settings.lazily_evaluate_kernels(state=False):
        return kernel(x1, x2).to_dense()


@pytest.mark.parametrize("symmetric", [True, False])
def test_algebra_and_gradients_equal_gpytorch(kernel, symmetric):
    x1, x2 = points(9, 2), None if symmetric else points(7, 2, seed=1)
    inputs = [x.requires_grad_() for x in (x1, x2) if x is not None]
    inputs += list(kernel.parameters())
    op = KernelOperator(kernel, x1, x2, backend="tiled")
    matrix, rhs = dense(kernel, x1, x1 if x2 is None else x2), points(op.shape[-1], 3, seed=2)
    torch.testing.assert_close(op.to_dense(), matrix)
    torch.testing.assert_close(op.mT @ x1.detach(), matrix.mT @ x1.detach())
    torch.testing.assert_close(op[1:4, :5].to_dense(), matrix[1:4, :5])
    index = torch.tensor([0, 3, 5]), torch.tensor([2, 3, 1])
    torch.testing.assert_close(op[index], matrix[index])
    for found, expected in ((op @ rhs, matrix @ rhs), (op.to_dense(), matrix)):
        torch.testing.assert_close(found, expected)
        weights = torch.linspace(0.3, 1.7, found.numel(), dtype=torch.float64).view(found.shape)
        options = {"allow_unused": True, "retain_graph": True}
        pairs = zip(
            torch.autograd.grad(found, inputs, weights, **options),
            torch.autograd.grad(expected, inputs, weights, **options),
            strict=True,
        )
        for grad, right in pairs:
            right = 0 if right is None else right
            torch.testing.assert_close((0 if grad is None else grad) + right * 0, right + 0 * right)


def test_memory_is_linear_forward_and_backward(kernel, monkeypatch):
    monkeypatch.setattr(foreign, "_ROWS", 64)
    monkeypatch.setattr(foreign, "_ENTRIES", 64 * 64)
    n = 1500
    op = KernelOperator(kernel, points(n, 2).requires_grad_(), backend="tiled")
    with _Largest() as seen:
        (op @ points(n, 2)).sum().backward()
    assert seen.numel <= n * n / 10


class _Largest(TorchDispatchMode):
    """The largest tensor that any operation makes."""

    numel = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        for tensor in torch.utils._pytree.tree_leaves(out):
            if isinstance(tensor, torch.Tensor):
                self.numel = max(self.numel, tensor.untyped_storage().nbytes() // 8)
        return out


def test_float32_points_meet_float64_hyperparameters():
    op = KernelOperator(peer.RBFKernel().double(), points(5, 2).float())
    assert (op @ torch.ones(5)).dtype == torch.float32


def test_keops_has_no_formula_for_it():
    with pytest.warns(match=r"keops cannot be used, RBFKernel is not one of our kernels"):
        op = KernelOperator(peer.RBFKernel(), points(5, 2), backend="keops")
    assert op.backend == "tiled"
