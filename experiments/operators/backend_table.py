"""Measures where which backend wins, and writes the table by which ``"auto"`` chooses."""

import re
from functools import partial
from pathlib import Path

import torch

from experiments.machine import machine
from experiments.measure import alternate
from kernelgp.kernels import RBF
from kernelgp.operators import KernelOperator
from kernelgp.operators.backends import keops, measured

__all__ = ["write_table"]


def write_table() -> Path:
    """Measure on this machine's device and rewrite its line of ``measured.py``."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    described = machine()
    rule = measured.Rule(
        dense_entries=_dense_entries(device),
        keops_dimension=_keops_dimension(device),
        measured=f"measured: {described['processor']}, {described['threads']} threads, "
        f"torch {torch.__version__}",
    )
    path = Path(measured.__file__)
    line = f'    "{device}": Rule({rule.dense_entries}, {rule.keops_dimension}, "{rule.measured}"),'
    text = re.sub(rf'    "{device}": Rule\(.*\),', line, path.read_text(encoding="utf-8"))
    path.write_text(text, encoding="utf-8")
    return path


def _dense_entries(device: str) -> int:
    """The largest square at which reading a kept matrix beats computing it again."""
    best = 2**16
    # Not beyond 2048 rows, where a kept matrix still wins: operators promise linear memory.
    for n in (512, 1024, 2048):
        x = torch.rand(n, 3, device=device)
        tiled, dense = (
            KernelOperator(RBF(lengthscale=0.3), x, backend=backend).detach()
            for backend in ("tiled", "dense")
        )
        rhs = torch.rand(n, 1, device=device)
        seconds_tiled, seconds_dense = alternate(
            [partial(tiled.matmul, rhs), partial(dense.matmul, rhs)], 7
        )
        print(f"{n} x {n}: tiled {seconds_tiled:.2e} s, dense {seconds_dense:.2e} s")
        # Half the time at most, for the memory it takes.
        if seconds_dense > seconds_tiled / 2:
            break
        best = n * n
    return best


def _keops_dimension(device: str) -> int:
    """The largest number of columns of the points at which KeOps beats tiles; 0 for none."""
    if keops.problem() is not None:
        return 0
    best = 0
    for d in (1, 3, 10, 30, 100, 300):
        x = torch.rand(8192, d, device=device)
        rhs = torch.rand(8192, 1, device=device)
        ops = [
            KernelOperator(RBF(lengthscale=d**0.5), x, backend=backend).detach()
            for backend in ("tiled", "keops")
        ]
        tiled, lazy = alternate([partial(op.matmul, rhs) for op in ops], 5)
        print(f"d = {d}: tiled {tiled:.2e} s, keops {lazy:.2e} s")
        if lazy > tiled:
            break
        best = d
    return best
