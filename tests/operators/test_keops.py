"""KeOps against tiles on the CPU, and what happens where KeOps cannot be used."""

import subprocess
import sys

import pytest
import torch

from kernelgp.errors import BackendWarning
from kernelgp.kernels import RBF, Matern
from kernelgp.operators import KernelOperator
from kernelgp.operators.backends import keops

works = pytest.mark.skipif(keops._missing() is not None, reason=f"{keops._missing()}")


@pytest.fixture(autouse=True)
def forget_failures(monkeypatch):
    monkeypatch.setattr(keops, "_failed", [])


def points(*shape, seed=0):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def results(kernel, backend, x2):
    x1 = points(20, 2).requires_grad_()
    op = KernelOperator(kernel, x1, x2, backend=backend)
    assert op.backend == backend
    product = op @ points(op.shape[-1], 3, seed=2)
    inputs = [x1, *kernel.parameters()]
    grads = torch.autograd.grad(product.square().sum(), inputs, allow_unused=True)
    return product, *(
        torch.zeros_like(x) if g is None else g for x, g in zip(inputs, grads, strict=True)
    )


def check(kernel, x2):
    pairs = zip(results(kernel, "keops", x2), results(kernel, "tiled", x2), strict=True)
    for found, expected in pairs:
        torch.testing.assert_close(found, expected)


@works
@pytest.mark.parametrize("x2", [None, points(15, 2, seed=1)], ids=["symmetric", "rectangular"])
@pytest.mark.parametrize("make", [RBF, lambda: Matern(nu=2.5)], ids=["rbf", "matern52"])
def test_values_and_gradients_equal_tiles(make, x2):
    check(make(), x2)


@works
@pytest.mark.keops
@pytest.mark.parametrize("x2", [None, points(15, 2, seed=1)], ids=["symmetric", "rectangular"])
def test_every_kernel_equals_tiles(kernel, x2):
    check(kernel, x2)


@works
def test_transpose_and_batches_equal_tiles():
    x1, x2 = points(2, 20, 2), points(15, 2, seed=1)
    both = [KernelOperator(RBF(), x1, x2, backend=backend) for backend in ("keops", "tiled")]
    (rhs,) = [points(20, 3, seed=2)]
    torch.testing.assert_close(both[0].mT @ rhs, both[1].mT @ rhs)


def test_missing_package_warns_once_and_tiles_take_over(monkeypatch):
    reason = "pykeops is not installed (the extra keops installs it)"
    monkeypatch.setattr(keops, "_missing", lambda: reason)
    message = r"backend: keops cannot be used, pykeops is not installed .*; tiled takes over"
    with pytest.warns(BackendWarning, match=message) as caught:
        op = KernelOperator(RBF(), points(5, 2), backend="keops")
    assert op.backend == "tiled"
    assert len(caught) == 1
    assert caught[0].filename == __file__
    op @ points(5, 1)


def test_a_failing_compiler_warns_and_tiles_take_over(monkeypatch):
    def fail(embedding, tensors):
        raise ImportError("no module was built")

    monkeypatch.setattr(keops, "_missing", lambda: None)
    monkeypatch.setattr(keops, "_lazy", fail)
    op = KernelOperator(RBF(), points(5, 2).requires_grad_(), backend="keops")
    with pytest.warns(BackendWarning, match=r"did not compile or run \(ImportError: no module"):
        product = op @ points(5, 1)
    torch.testing.assert_close(product, op.to_dense() @ points(5, 1))
    # The warning is given once; later products and the backward go straight to tiles.
    (op @ points(5, 1)).sum().backward()


@pytest.mark.parametrize("name", ["PATH", "CXX"])
def test_no_compiler_is_said(name, monkeypatch):
    monkeypatch.setenv("PATH", "")
    monkeypatch.setenv("CXX", "no-such-compiler" if name == "CXX" else "")
    keops._missing.cache_clear()
    try:
        problem = keops._missing()
    finally:
        keops._missing.cache_clear()
    assert problem is not None
    assert "no C++ compiler" in problem or "not installed" in problem


def test_importing_the_operators_compiles_and_warns_nothing():
    code = (
        "import warnings, sys; warnings.simplefilter('error', UserWarning);"
        "import torch; from kernelgp.operators import KernelOperator;"
        "from kernelgp.kernels import RBF; KernelOperator(RBF(), torch.rand(2000, 2))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "Compiling" not in done.stdout
