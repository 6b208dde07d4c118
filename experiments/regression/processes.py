"""The same solve by one process and by two, each with one thread.

Both are timed in turn within one pair of processes: while the first works alone the second waits
for it and takes no time of a core, so that a busy machine treats both alike.
"""

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.distributed as dist

from experiments.harness import Method, Options, Task
from experiments.regression.tables import OURS
from kernelgp import linalg
from kernelgp.kernels import RBF
from kernelgp.operators import KernelOperator, ShardedOperator

__all__ = ["main", "process_task"]

_WORK = ("product", "solve", "evidence")


def process_task(options: Options) -> Task:
    """Ten products, a solve to 1e-6, and an evidence with gradient; medians of five."""
    n, repeats = (2_000, 1) if options.quick else (20_000, 5)

    def prepare(n: int) -> Callable[[], np.ndarray]:
        command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
        command += ["--nproc-per-node", "2", "-m", __name__, str(n), str(repeats)]
        return lambda: _run(command)

    params = {"n": n, "d": 4, "median of": repeats}
    methods = [Method(f"{OURS}, two processes", prepare)]
    return Task("two processes beside one", lambda _: n, _score, methods, params, repeats=1)


def _run(command: list[str]) -> np.ndarray:
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    lines = [line for line in done.stdout.splitlines() if line.startswith("figures")]
    if done.returncode or not lines:
        raise RuntimeError(done.stderr.strip().splitlines()[-1])
    return np.array([float(word) for word in lines[0].split()[1:]])


def _score(_n: int, output: np.ndarray) -> dict[str, float]:
    figures: dict[str, float] = {}
    for name, alone, shared in zip(_WORK, output[1:4], output[4:7], strict=True):
        figures |= {f"{name} by one, s": alone, f"{name} by two, s": shared}
        figures[f"x {name}"] = alone / shared
    return {**figures, "off by": output[0]}


def main(n: int, repeats: int) -> None:
    """What each of two processes does; the first prints how far apart they are, and seconds."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo")
    alone, shared = _jobs(n, share=False), _jobs(n, share=True)
    times = [[_timed(job, everyone=i >= len(alone)) for i, job in enumerate([*alone, *shared])]
             for _ in range(repeats + 1)]  # fmt: skip
    medians = [statistics.median(column) for column in zip(*times[1:], strict=True)]
    apart = _apart(min(n, 2_000))
    if dist.get_rank() == 0:
        print("figures", apart, *medians)
    dist.destroy_process_group()


def _jobs(n: int, *, share: bool) -> list[Callable[[], Any]]:
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(n, 4, generator=generator)
    y = torch.sin(6 * x).sum(dim=-1) + 0.1 * torch.randn(n, generator=generator)
    columns = torch.randn(n, 11, generator=generator)
    kernel: Any = 1.0 * RBF(0.35)
    op: Any = KernelOperator(kernel, x, backend="tiled")
    op = ShardedOperator(op) if share else op
    noisy = op.add_diagonal(torch.tensor(0.01))

    def products() -> None:
        for _ in range(10):
            op.matmul(columns)

    def evidence() -> None:
        quad, logdet = noisy.inv_quad_logdet(y.unsqueeze(-1), logdet=True)
        torch.autograd.grad(quad + logdet, [*kernel.parameters()])

    return [products, lambda: linalg.solve(noisy, y, rtol=1e-6, method="pcg"), evidence]


def _timed(job: Callable[[], Any], *, everyone: bool) -> float:
    """Seconds from when both processes are ready until both are done."""
    dist.barrier()
    started = time.perf_counter()
    if everyone or dist.get_rank() == 0:
        job()
    dist.barrier()
    return time.perf_counter() - started


def _apart(n: int) -> float:
    """Largest relative difference in float64 of a solution, an evidence and its gradient."""
    alone, shared = _exact(n, share=False), _exact(n, share=True)
    return ((alone - shared).abs() / alone.abs()).max().item()


def _exact(n: int, *, share: bool) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    x = torch.rand(n, 4, generator=generator, dtype=torch.float64)
    y = torch.sin(6 * x).sum(dim=-1) + 0.1 * torch.randn(n, generator=generator)
    kernel: Any = 1.0 * RBF(0.35)
    op: Any = KernelOperator(kernel, x, backend="tiled")
    op = ShardedOperator(op) if share else op
    noisy = op.add_diagonal(torch.tensor(0.01, dtype=torch.float64))
    solution, _ = linalg.solve(noisy, y, rtol=1e-10, method="pcg")
    found = linalg.inv_quad_logdet(noisy, y, rtol=1e-8, method="pcg")
    grads = torch.autograd.grad((noisy @ found.probes).square().sum(), [*kernel.parameters()])
    parts = [solution[::40].detach(), found.logdet.reshape(1), *(g.reshape(1) for g in grads)]
    return torch.cat(parts)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
