"""What each process of the tests of `ShardedOperator` runs: ``worker.py TASK RANK SIZE FOLDER``."""

import datetime
import os
import pathlib
import signal
import sys

import torch
import torch.distributed as dist
from linear_operator import to_linear_operator

from kernelgp import linalg
from kernelgp.errors import LostRankError
from kernelgp.kernels import RBF, Matern, White
from kernelgp.operators import (
    KernelOperator,
    KroneckerOperator,
    ShardedOperator,
    ToeplitzOperator,
)


def points(n, seed=0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(n, 2, generator=generator, dtype=torch.float64).to(dtype)


def answers(wrap):
    """Every quantity that is compared, by name."""
    return _products(wrap) | _gradients(wrap) | _solves(wrap) | _other_operators(wrap) | _few(wrap)


def _kernel():
    return 2.0 * RBF(lengthscale=0.4) + Matern(2.5, [0.5, 0.7]) + White(0.1)


def _products(wrap):
    x, kernel = points(301), _kernel()
    v = points(301, 1)
    found = {}
    for backend in ("tiled", "dense"):
        K = wrap(KernelOperator(kernel, x, backend=backend))
        C = wrap(KernelOperator(kernel, x, points(77, 2), backend=backend))
        found |= {
            f"{backend} product": K @ v,
            f"{backend} vector": K @ v[:, 0],
            f"{backend} cross": C @ v[:77],
            f"{backend} cross transposed": C.mT @ v,
            f"{backend} batch of columns": K @ torch.stack([v, 2 * v]),
        }
    single = wrap(KernelOperator(kernel, x.float(), backend="tiled"))
    batch = wrap(KernelOperator(kernel, torch.stack([x, x / 2]), backend="tiled"))
    A = wrap(KernelOperator(kernel, x)).add_diagonal(torch.tensor(0.1).double())
    return found | {
        "float32": single @ v.float(),
        "batch": batch @ v,
        "rows": A.rows(torch.tensor([3, 300, 5])),
        "block": A[3:5, :10].to_dense(),
        "entry": A[-1, -1],
        "diagonal": A.diagonal(),
        "dense": A.to_dense(),
        "times a number": (3.0 * A) @ v,
        "transposed": A.mT @ v,
        "double": single.double() @ v,
    }


def _gradients(wrap):
    found = {}
    for backend in ("tiled", "dense"):
        x, kernel = points(200).requires_grad_(), _kernel()
        noise = torch.tensor(0.05, dtype=torch.float64, requires_grad=True)
        tensors = [x, noise, *kernel.parameters()]
        v = points(200, 1)
        inside = wrap(KernelOperator(kernel, x, backend=backend).add_diagonal(noise))
        outside = wrap(KernelOperator(kernel, x, backend=backend)).add_diagonal(noise)
        for name, A in (("inside", inside), ("outside", outside)):
            quad, logdet = A.inv_quad_logdet(v, logdet=True)
            for what, loss in (("product", (A @ v).square().sum()), ("evidence", quad + logdet)):
                grads = torch.autograd.grad(loss, tensors)
                found |= {f"{backend} {name} {what} {i}": g for i, g in enumerate(grads)}
        C = wrap(KernelOperator(kernel, x, points(31, 2), backend=backend))
        grads = torch.autograd.grad((C.mT @ v).square().sum(), [x, *kernel.parameters()][:4])
        found |= {f"{backend} cross {i}": g for i, g in enumerate(grads)}
    return found


def _solves(wrap):
    y, found = points(400, 1)[:, :1], {}
    kernel = 2.0 * RBF(lengthscale=0.4) + Matern(2.5, [0.5, 0.7])
    K = KernelOperator(kernel, points(400), backend="tiled")
    noise = torch.tensor(0.05, dtype=torch.float64)
    for name, A in {
        "inside": wrap(K.add_diagonal(noise)),
        "outside": wrap(K).add_diagonal(noise),
        "no noise said": wrap(KernelOperator(kernel + White(0.05), K.x1, backend="tiled")),
    }.items():
        solution, report = linalg.solve(A, y, method="pcg", rtol=1e-10)
        value, error = linalg.logdet(A, method="slq", rank=50)
        parts = linalg.inv_quad_logdet(A, y, method="pcg", rank=50, rtol=1e-10)
        found |= {
            f"{name} solution": solution,
            f"{name} iterations": torch.tensor([report.iterations, report.preconditioner_rank]),
            f"{name} logdet": torch.stack([value, error]),
            f"{name} probes": parts.probe_solutions,
            f"{name} by cholesky": linalg.solve(A, y)[0],
            f"{name} samples": linalg.sample(A, 2, random_state=0),
        }
    P = linalg.pivoted_cholesky_preconditioner(wrap(K).add_diagonal(noise), 40)
    low_rank = linalg.pivoted_cholesky(wrap(K), 40)
    factor = low_rank.factor
    return found | {
        "factor": factor @ factor.mT,
        "pivots": low_rank.pivots,
        "preconditioned": P(y),
        "preconditioner": P.matmul(y),
        "its determinant": P.logdet(),
        "its samples": P.sample(2, seed=1),
        "nystrom": linalg.nystrom(wrap(K).add_diagonal(noise), 40)(y),
    }


def _other_operators(wrap):
    axis = torch.linspace(0, 1, 9, dtype=torch.float64)[:, None]
    x = axis.clone().requires_grad_()
    grid = KroneckerOperator(KernelOperator(RBF(0.5), x), KernelOperator(RBF(0.3), axis))
    column = torch.exp(-torch.arange(81.0, dtype=torch.float64) / 9).requires_grad_()
    toeplitz, v = ToeplitzOperator(column), points(81, 3)
    matrix = points(81, 4)[:, :1] * points(81, 5)[:, :1].mT
    found = {}
    for name, op, tensor in (("grid", grid, x), ("toeplitz", toeplitz, column)):
        A = wrap(op)
        (gradient,) = torch.autograd.grad((A @ v).square().sum(), [tensor])
        shifted = A.add_diagonal(torch.tensor(0.1, dtype=torch.float64))
        found |= {
            f"{name} product": A @ v,
            f"{name} gradient": gradient,
            f"{name} solution": shifted.solve(v),
            f"{name} by linalg": linalg.solve(shifted, v)[0],
            f"{name} logdet": shifted.logdet(),
        }
    dense = wrap(to_linear_operator(matrix))
    return found | {"tensor": dense @ v, "tensor transposed": dense.mT @ v}


def _few(wrap):
    """Fewer rows than processes."""
    x = points(1).requires_grad_()
    K = wrap(KernelOperator(RBF(), x, backend="tiled"))
    C = wrap(KernelOperator(RBF(), x, points(1, 1), backend="tiled"))
    one = torch.ones(1, 1, dtype=torch.float64)
    (gradient,) = torch.autograd.grad((C @ one).sum(), [x])
    return {"one row": K @ one, "one pair": C @ one, "its gradient": gradient, "its row": K.rows(
        torch.tensor([0])
    )}  # fmt: skip


def _lose(rank, how):
    """Products until a process is gone."""
    K = ShardedOperator(KernelOperator(RBF(0.3), points(500), backend="tiled"))
    v = points(500, 1)
    for step in range(1000):
        if rank == 1 and step == 3:
            os.kill(os.getpid(), {"killed": signal.SIGKILL, "stopped": signal.SIGSTOP}[how])
        v = K @ v
        v = v / v.norm()


def main(task, rank, size, folder):
    torch.set_num_threads(1)
    seconds = 4 if task == "stopped" else 60
    dist.init_process_group(
        "gloo",
        f"file://{folder}/store",
        rank=rank,
        world_size=size,
        timeout=datetime.timedelta(seconds=seconds),
    )
    if task == "answers":
        found = {name: value.detach() for name, value in answers(ShardedOperator).items()}
        torch.save(found, folder / f"{rank}.pt")
        dist.destroy_process_group()
        return 0
    try:
        _lose(rank, task)
    except LostRankError as error:
        sys.stderr.write(f"{error}\n")
        return 3
    return 0


if __name__ == "__main__":
    task, rank, size, folder = sys.argv[1:]
    code = main(task, int(rank), int(size), pathlib.Path(folder))
    sys.stderr.flush()
    os._exit(code)  # the group is broken, and torch would wait for it
