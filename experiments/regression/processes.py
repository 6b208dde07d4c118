"""The same solve by one process and by two, each with one thread."""

import os
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
import torch.distributed as dist

from experiments.harness import Method, Options, Task
from experiments.measure import alternate_outputs
from experiments.regression.tables import OURS
from kernelgp import linalg
from kernelgp.kernels import RBF
from kernelgp.operators import KernelOperator, ShardedOperator

__all__ = ["ONE", "TWO", "main", "process_task"]

ONE, TWO = f"{OURS}, one process", f"{OURS}, two processes"


def process_task(options: Options) -> Task:
    """A product and a solve to 1e-6; what is timed is within the processes, not their start."""
    n = 2_000 if options.quick else 20_000
    methods = [
        Method(TWO, partial(_prepare, processes=2, quick=options.quick)),
        Method(ONE, partial(_prepare, processes=1, quick=options.quick)),
    ]
    return Task("one process and two", lambda _: n, _Score(), methods, {"n": n, "d": 4}, repeats=1)


def _prepare(n: int, *, processes: int, quick: bool) -> Callable[[], Any]:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command += ["--nproc-per-node", str(processes), "-m", __name__, str(n), str(1 if quick else 5)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}

    def run() -> np.ndarray:
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        lines = [line for line in done.stdout.splitlines() if line.startswith("figures")]
        if done.returncode or not lines:
            raise RuntimeError(done.stderr.strip().splitlines()[-1])
        return np.array([float(word) for word in lines[0].split()[1:]])

    return run


class _Score:
    """Seconds of the median, and how far the two solutions are apart: two come first."""

    def __init__(self) -> None:
        self._other: np.ndarray | None = None

    def __call__(self, _n: int, output: np.ndarray) -> dict[str, float]:
        product, solve, evidence = output[:3]
        figures = {"product, s": product, "solve, s": solve, "evidence and gradient, s": evidence}
        if self._other is not None:
            apart = (np.abs(self._other[3:] - output[3:]) / np.abs(output[3:])).max()
            figures |= {
                "off by": float(apart),
                "x product": product / self._other[0],
                "x solve": solve / self._other[1],
                "x evidence": evidence / self._other[2],
            }
        self._other = output
        return figures


def main(n: int, repeats: int) -> None:
    """What each process does: prints medians of seconds, and figures of the solution."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo")
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(n, 4, generator=generator)
    y = torch.sin(6 * x).sum(dim=-1) + 0.1 * torch.randn(n, generator=generator)
    kernel: Any = 1.0 * RBF(0.35)
    op = ShardedOperator(KernelOperator(kernel, x, backend="tiled"))
    noisy: Any = op.add_diagonal(torch.tensor(0.01))
    columns = torch.randn(n, 11, generator=generator)

    def evidence() -> Any:
        quad, logdet = noisy.inv_quad_logdet(y.unsqueeze(-1), logdet=True)
        return torch.autograd.grad(quad + logdet, [*kernel.parameters()])

    def solve() -> Any:
        return linalg.solve(noisy, y, rtol=1e-6, method="pcg")[0]

    measured = alternate_outputs([lambda: op @ columns, solve, evidence], repeats)
    figures = [m.seconds for m in measured] + _exact_figures(kernel, x[:2000], y[:2000])
    if dist.get_rank() == 0:
        print("figures", *figures)
    dist.destroy_process_group()


def _exact_figures(kernel: Any, x: torch.Tensor, y: torch.Tensor) -> list[float]:
    """A solution, an evidence and its gradient in float64: these must agree to rounding."""
    op = ShardedOperator(KernelOperator(kernel, x.double(), backend="tiled"))
    noisy: Any = op.add_diagonal(torch.tensor(0.01, dtype=torch.float64))
    solution, _ = linalg.solve(noisy, y.double(), rtol=1e-10, method="pcg")
    found = linalg.inv_quad_logdet(noisy, y.double(), rtol=1e-8, method="pcg")
    product = noisy @ found.probes
    grads = torch.autograd.grad(product.square().sum(), [*kernel.parameters()])
    return [*solution[::40].tolist(), found.logdet.item(), *(g.item() for g in grads)]


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
