"""`KernelOperator` against dense matrices of all pairs in float64."""

import pickle

import gpytorch
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode

from kernelgp.errors import ArgumentError, ArgumentTypeError
from kernelgp.kernels import RBF, Matern, White
from kernelgp.operators import KernelOperator, NoisyKernelOperator
from kernelgp.operators.backends import tiled
from kernelgp.operators.backends.plan import TilePlan


@pytest.fixture(autouse=True, scope="module")
def small_tiles():
    """A dozen points make many tiles, and ragged ones."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tiled, "choose_tile", lambda dtype, device: TilePlan(4, 28))
        yield


def points(*shape, seed=0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(*shape, generator=generator, dtype=torch.float64).to(dtype)


@pytest.mark.parametrize("symmetric", [True, False])
def test_algebra_equals_dense(kernel, symmetric, dense):
    op = KernelOperator(kernel, points(13, 2), None if symmetric else points(9, 2, seed=1))
    op = KernelOperator(op.kernel, op.x1, None if symmetric else op.x2, backend="tiled")
    matrix, rhs = dense(op), points(op.shape[-1], 3, seed=2)
    torch.testing.assert_close(op.to_dense(), matrix)
    torch.testing.assert_close(op @ rhs, matrix @ rhs)
    torch.testing.assert_close(op @ rhs[:, 0], matrix @ rhs[:, 0])
    torch.testing.assert_close(op.mT @ op.x1, matrix.mT @ op.x1)
    torch.testing.assert_close(op[2:5, :4].to_dense(), matrix[2:5, :4])
    torch.testing.assert_close(op[3, 4], matrix[3, 4])
    index = torch.tensor([4, 1, 4])
    torch.testing.assert_close(op.rows(index), matrix[index])
    if symmetric:
        torch.testing.assert_close(op.diagonal(), matrix.diagonal())


@pytest.mark.parametrize("symmetric", [True, False])
def test_gradients_of_products(kernel, symmetric, dense):
    check_gradients(kernel, lambda op: op @ points(op.shape[-1], 2, seed=2), symmetric, dense)


@pytest.mark.parametrize("symmetric", [True, False])
def test_gradients_of_the_dense_matrix(kernel, symmetric, dense):
    check_gradients(kernel, lambda op: op.to_dense(), symmetric, dense)


@pytest.mark.parametrize("symmetric", [True, False])
def test_gradients_of_entries(kernel, symmetric, dense):
    index = torch.tensor([0, 3, 5]), torch.tensor([2, 3, 1])
    check_gradients(kernel, lambda op: op[index], symmetric, dense)


def check_gradients(kernel, function, symmetric, dense):
    """Against autograd through the oracle, weighted so that no symmetry hides a mistake."""
    x1, x2 = points(7, 2), None if symmetric else points(6, 2, seed=1)
    inputs = [x.requires_grad_() for x in (x1, x2) if x is not None]
    inputs += list(kernel.parameters())
    op = KernelOperator(kernel, x1, x2, backend="tiled")
    found, expected = function(op), function(_Stored(dense(op)))
    torch.testing.assert_close(found, expected)
    weights = torch.linspace(0.3, 1.7, found.numel(), dtype=torch.float64).view(found.shape)
    expected = expected + 0 * sum(tensor.sum() for tensor in inputs)
    pairs = zip(
        torch.autograd.grad(found, inputs, weights, allow_unused=True),
        torch.autograd.grad(expected, inputs, weights),
        strict=True,
    )
    for grad, right in pairs:
        torch.testing.assert_close(torch.zeros_like(right) if grad is None else grad, right)


class _Stored:
    """The oracle's matrix, where a function asks an operator."""

    def __init__(self, matrix):
        self.matrix, self.shape = matrix, matrix.shape

    def __matmul__(self, rhs):
        return self.matrix @ rhs

    def __getitem__(self, index):
        return self.matrix[index]

    def to_dense(self):
        return self.matrix


@given(
    n=st.integers(1, 40),
    m=st.integers(1, 40),
    k=st.integers(1, 5),
    seed=st.integers(0, 2**16),
    dtype=st.sampled_from([torch.float32, torch.float64]),
)
def test_products_of_all_sizes(n, m, k, seed, dtype, dense):
    x, y = points(n, 3, seed=seed, dtype=dtype), points(m, 3, seed=seed + 1, dtype=dtype)
    kernel = RBF(lengthscale=0.5)
    for op in (KernelOperator(kernel, x, y), KernelOperator(kernel, x)):
        rhs = points(op.shape[-1], k, seed=seed + 2, dtype=dtype)
        expected = dense(op) @ rhs.double()
        torch.testing.assert_close((op @ rhs).double(), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("backend", ["tiled", "dense"])
@pytest.mark.parametrize("threads", [1, 3])
def test_threads_and_backends_agree(backend, threads, dense):
    torch.set_num_threads(threads)
    try:
        op = KernelOperator(RBF(), points(60, 2), backend=backend)
        rhs = points(60, 2, seed=1)
        torch.testing.assert_close(op @ rhs, dense(op) @ rhs)
        assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(1)


@pytest.mark.parametrize("batch", [(2,), (2, 3)])
def test_a_batch_equals_a_loop(batch):
    x, rhs = points(*batch, 7, 2), points(*batch, 7, 2, seed=1)
    kernel = torch.linspace(1.0, 2.0, batch[-1]) * RBF(lengthscale=0.5)
    op = KernelOperator(kernel, x, backend="tiled")
    assert op.shape == (*batch, 7, 7)
    product = op @ rhs
    for index in torch.cartesian_prod(*(torch.arange(size) for size in batch)).view(-1, len(batch)):
        at = tuple(index.tolist())
        torch.testing.assert_close(product[at], op[at].to_dense() @ rhs[at])
        torch.testing.assert_close(op[at].to_dense(), op.to_dense()[at])


def test_gradients_of_a_batch_of_kernels():
    scales = torch.tensor([1.0, 2.0], dtype=torch.float64, requires_grad=True)
    x, rhs = points(6, 2).requires_grad_(), points(3, 2, 6, 2, seed=1)

    def function(scales, x):
        return KernelOperator(scales * RBF(lengthscale=0.5), x, backend="tiled") @ rhs

    assert torch.autograd.gradcheck(function, (scales, x))


@pytest.mark.parametrize("nu", [0.5, 1.5, 2.5])
@pytest.mark.parametrize("symmetric", [True, False])
def test_gradients_at_coincident_points_are_finite_and_zero(nu, symmetric):
    x = torch.ones(9, 2, dtype=torch.float64, requires_grad=True)
    op = KernelOperator(Matern(nu=nu), x, None if symmetric else x.detach(), backend="tiled")
    (op @ points(9, 2)).sum().backward()
    torch.testing.assert_close(x.grad, torch.zeros_like(x), rtol=0, atol=1e-12)


def test_backward_twice_through_one_operator(kernel):
    x = points(7, 2).requires_grad_()
    op = KernelOperator(kernel, x, backend="tiled")
    rhs = points(7, 1, seed=1)
    first, second = (torch.autograd.grad((op @ rhs).sum(), x)[0] for _ in range(2))
    torch.testing.assert_close(first, second, rtol=0, atol=0)


@pytest.mark.parametrize(
    ("offset", "lengthscale", "tolerance"),
    [(0, 0.3, 1e-5), (0, 0.05, 1e-5), (0, 0.003, 1e-5), (100, 0.05, 1e-4), (1e4, 0.05, 1e-4)],
)
def test_float32_keeps_its_digits_wherever_the_points_lie(offset, lengthscale, tolerance, dense):
    x = points(300, 3).add(offset).float()
    rhs = torch.randn(300, 1, generator=torch.Generator().manual_seed(0))
    op = KernelOperator(RBF(lengthscale=lengthscale), x, backend="tiled")
    expected = dense(op) @ rhs.double()
    error = ((op @ rhs).double() - expected).norm() / expected.norm()
    assert error <= tolerance


def test_float64_takes_differences_where_products_fail(dense):
    x = torch.tensor([[0.0], [1.0], [1e9]], dtype=torch.float64)
    op = KernelOperator(RBF(lengthscale=1.0), x, x.clone(), backend="tiled")
    torch.testing.assert_close(op.to_dense(), dense(op), rtol=1e-7, atol=1e-12)


def test_memory_is_linear_forward_and_backward(monkeypatch):
    monkeypatch.setattr(tiled, "choose_tile", lambda dtype, device: TilePlan(64, 64 * 64))
    n = 1500
    x = points(n, 3).requires_grad_()
    op = KernelOperator(2.0 * RBF() * Matern() + RBF(), x, backend="tiled")
    with _Largest() as seen:
        (op @ points(n, 4)).sum().backward()
    assert seen.numel <= 10 * n


class _Largest(TorchDispatchMode):
    """The largest tensor that any operation makes."""

    numel = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        for tensor in torch.utils._pytree.tree_leaves(out):
            if isinstance(tensor, torch.Tensor):
                self.numel = max(self.numel, tensor.untyped_storage().nbytes() // 8)
        return out


def test_out_of_memory_halves_the_tile(monkeypatch, dense):
    sizes = refuse_above(monkeypatch, 300)
    monkeypatch.setattr(tiled, "choose_tile", lambda dtype, device: TilePlan(64, 64 * 64))
    monkeypatch.setattr(tiled, "_SMALLEST_TILE", 16)
    op = KernelOperator(RBF(), points(50, 2), backend="tiled")
    torch.testing.assert_close(op @ op.x1, dense(op) @ op.x1)
    assert max(sizes) > 300


def test_out_of_memory_at_the_smallest_tile_says_so(monkeypatch):
    refuse_above(monkeypatch, 1)
    op = KernelOperator(RBF(), points(50, 2), backend="tiled")
    with pytest.raises(MemoryError, match=r"kernel matrix of 50 x 50: out of memory on cpu"):
        op @ op.x1


def refuse_above(monkeypatch, limit):
    sizes, value = [], tiled.Program.value

    def stingy(self, block, space):
        rows, columns = block.shape
        sizes.append(rows * columns)
        if rows * columns > limit:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory")
        return value(self, block, space)

    monkeypatch.setattr(tiled.Program, "value", stingy)
    return sizes


@pytest.mark.parametrize("threads", [1, 2])
def test_an_error_in_a_worker_reaches_the_caller(threads, monkeypatch):
    def fail(self, block, space):
        raise RuntimeError("a bug")

    monkeypatch.setattr(tiled.Program, "value", fail)
    torch.set_num_threads(threads)
    try:
        with pytest.raises(RuntimeError, match="a bug"):
            KernelOperator(RBF(), points(50, 2), backend="tiled") @ points(50, 1)
    finally:
        torch.set_num_threads(1)


def test_white_noise_is_on_the_diagonal_of_a_cut_only():
    op = KernelOperator(RBF() + White(noise=0.3), points(6, 2))
    matrix = op.to_dense()
    torch.testing.assert_close(op[1:4, 2:].to_dense(), matrix[1:4, 2:])
    torch.testing.assert_close(op[1:4][:, 2:].to_dense(), matrix[1:4, 2:])
    torch.testing.assert_close(op[1:4, 1:4].to_dense(), matrix[1:4, 1:4])
    other = KernelOperator(RBF() + White(noise=0.3), op.x1, op.x1.clone())
    torch.testing.assert_close(other.to_dense(), matrix - 0.3 * torch.eye(6, dtype=torch.float64))


def test_a_square_cut_of_a_symmetric_operator_is_symmetric():
    op = KernelOperator(RBF(), points(6, 2))
    assert op[2:5, 2:5].is_symmetric
    assert not op[2:5, 1:4].is_symmetric
    full = points(8, 2)
    assert KernelOperator(RBF(), full[:3], full[:3]).is_symmetric
    assert not KernelOperator(RBF(), full[:3], full[3:6]).is_symmetric


def test_equal_points_that_are_two_tensors_have_two_gradients():
    x1 = points(5, 2).requires_grad_()
    x2 = x1.detach().clone().requires_grad_()
    (KernelOperator(RBF(), x1, x2) @ points(5, 1)).sum().backward()
    assert x1.grad is not None
    assert x2.grad is not None


@pytest.mark.parametrize("factor", [2.5, torch.tensor(2.5)])
@pytest.mark.parametrize("kernel", [RBF(), gpytorch.kernels.RBFKernel()], ids=["ours", "gpytorch"])
def test_a_positive_factor_folds_into_the_kernel(factor, kernel):
    op = KernelOperator(kernel, points(5, 2))
    scaled = factor * op
    assert isinstance(scaled, KernelOperator)
    torch.testing.assert_close(scaled.to_dense(), 2.5 * op.to_dense(), rtol=1e-6, atol=0)
    assert not isinstance(-1.0 * op, KernelOperator)


@pytest.mark.parametrize("kernel", [RBF(), gpytorch.kernels.RBFKernel()], ids=["ours", "gpytorch"])
def test_a_factor_keeps_its_gradient(kernel):
    factor = torch.tensor(2.0, dtype=torch.float64, requires_grad=True)
    op = KernelOperator(kernel, points(5, 2))
    (factor * op).to_dense().sum().backward()
    torch.testing.assert_close(factor.grad, op.to_dense().sum(), check_dtype=False)


def test_copies_compute_the_same_and_leave_the_original(dense):
    x = points(6, 2, dtype=torch.float32)
    op = KernelOperator(RBF(lengthscale=0.4), x)
    matrix = op.to_dense()
    for copy in (op.clone(), op.detach(), pickle.loads(pickle.dumps(op.detach()))):
        torch.testing.assert_close(copy.to_dense(), matrix)
        assert copy.is_symmetric
    assert op.double().dtype == torch.float64
    assert op.double().to_dense().dtype == torch.float64
    torch.testing.assert_close(op.double().to_dense(), dense(op))
    assert op.dtype == torch.float32
    assert not op.detach().requires_grad
    assert op.requires_grad


def test_adding_a_diagonal_makes_a_noisy_operator():
    op = KernelOperator(RBF(), points(5, 2))
    noise = torch.tensor(0.1, dtype=torch.float64)
    for noisy in (op.add_diagonal(noise), op.add_jitter(0.1)):
        assert isinstance(noisy, NoisyKernelOperator)
        torch.testing.assert_close(noisy.to_dense(), op.to_dense() + 0.1 * torch.eye(5).double())


def test_negative_indices_count_from_the_end():
    op = KernelOperator(RBF(), points(2, 5, 2), backend="tiled")
    matrix = op.to_dense()
    for index in ((-1, -1), (..., -2), (0, -1, -2), (..., -1, slice(0, 2)), -1):
        found = op[index]
        found = found if isinstance(found, torch.Tensor) else found.to_dense()
        torch.testing.assert_close(found, matrix[index])
    noisy = op.add_diagonal(torch.tensor(0.1, dtype=torch.float64))
    torch.testing.assert_close(noisy[0, -1, -1], matrix[0, -1, -1] + 0.1)


def test_repr_says_shape_kernel_and_backend():
    op = KernelOperator(RBF(lengthscale=0.5), points(4, 2), points(3, 2), backend="tiled")
    assert repr(op) == ("KernelOperator(RBF(lengthscale=0.5), 4 x 3, float64, backend='tiled')")


def test_large_operators_are_tiled():
    assert KernelOperator(RBF(), torch.rand(20_000, 3)).backend == "tiled"


X = torch.ones(3, 2)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((X.tolist(),), r"x1: got list; give a torch tensor"),
        ((X.long(),), r"x1: got torch.int64; convert it to float32 or float64"),
        ((X.half(),), r"x1: got torch.float16; convert it to float32 or float64"),
        ((X + 0j,), r"x1: got torch.complex64; convert it to float32 or float64"),
        ((X[0],), r"x1: got shape \(2,\); give \(\.\.\., n, d\).*x1.unsqueeze\(-1\)"),
        ((X[:0],), r"x1: got shape \(0, 2\); give at least one point"),
        ((X * torch.nan,), r"x1: got 6 of 6 entries not finite, .*; remove or impute them"),
        ((X / 0,), r"x1: got 6 of 6 entries not finite"),
        ((X, X.double()), r"x2: got torch.float64; convert it to torch.float32 to match x1"),
        ((X, X[:, :1]), r"x2: got shape \(3, 1\); give \(\.\.\., m, 2\) to match x1"),
        ((X, X[:, :0]), r"x2: got shape \(3, 0\); give at least one point"),
        ((X.expand(2, 3, 2), X.expand(5, 3, 2)), r"x1: got batches \(2,\), \(5,\) of points"),
        ((X.to("meta"),), r"x1: got device meta; move it to a device that holds data"),
        ((X, X.to("meta")), r"x2: got device meta; move it to cpu to match x1"),
    ],
)
def test_bad_points_are_named(arguments, message):
    with pytest.raises(ArgumentError, match=message):
        KernelOperator(RBF(), *arguments)


def test_lengthscales_for_other_columns_are_refused():
    with pytest.raises(ArgumentError, match=r"lengthscale"):
        KernelOperator(RBF(lengthscale=[1.0, 2.0, 3.0]), X)
    message = r"x1: got 2 columns for 3 lengthscales; give 3 columns, or a kernel for 2"
    with pytest.raises(ArgumentError, match=message):
        KernelOperator(gpytorch.kernels.RBFKernel(ard_num_dims=3), X)


def test_bad_kernel_and_backend_are_named():
    with pytest.raises(ArgumentTypeError, match=r"kernel: got str; give a kernel of kernelgp"):
        KernelOperator("rbf", X)
    with pytest.raises(ArgumentError, match=r"backend: got 'numpy'; give \"auto\", \"dense\""):
        KernelOperator(RBF(), X, backend="numpy")
    tasks = gpytorch.kernels.MultitaskKernel(gpytorch.kernels.RBFKernel(), num_tasks=2)
    with pytest.raises(ArgumentError, match=r"kernel: got MultitaskKernel, of several outputs"):
        KernelOperator(tasks, X)


@pytest.mark.parametrize(
    ("rhs", "message"),
    [
        (torch.ones(2), r"rhs: got shape \(2,\); give \(3,\) or \(\.\.\., 3, k\)"),
        (torch.ones(2, 3), r"rhs: got shape \(2, 3\); give \(3,\) or \(\.\.\., 3, k\)"),
        (torch.ones(3).double(), r"rhs: got torch.float64; convert it to torch.float32"),
        (torch.ones(3).int(), r"rhs: got torch.int32; convert it to float32 or float64"),
    ],
)
def test_bad_right_hand_sides_are_named(rhs, message):
    with pytest.raises(ArgumentError, match=message):
        KernelOperator(RBF(), X) @ rhs


def test_half_precision_does_not_compute():
    with pytest.raises(ArgumentError, match=r"operator: got torch.float16; convert it to"):
        KernelOperator(RBF(), X).half().to_dense()
