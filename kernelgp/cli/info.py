"""What this installation can do: versions, devices, and one small reduction on each backend."""

import importlib.metadata
import importlib.util
import io
import os
import platform
import shutil
import subprocess
import time
import warnings
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast

import numpy as np
import torch

from kernelgp import __version__
from kernelgp.errors import BackendWarning
from kernelgp.kernels import RBF
from kernelgp.operators import KernelOperator
from kernelgp.progress import progress_bar

__all__ = ["Fact", "backends", "devices", "keops_needs", "versions"]

Backend = Literal["dense", "tiled", "keops"]
BACKENDS: tuple[Backend, ...] = ("dense", "tiled", "keops")
REPORT = "please report this with the lines above"


@dataclass(frozen=True, slots=True)
class Fact:
    """One line of the report; `remedy` is empty where nothing is amiss."""

    name: str
    value: str
    remedy: str = ""


def versions() -> list[Fact]:
    """The library, Python and the packages that results depend on."""
    facts = [Fact("kernelgp", __version__), Fact("python", platform.python_version())]
    names = (
        "torch",
        "gpytorch",
        "linear_operator",
        "numpy",
        "scipy",
        "numba",
        "scikit-learn",
        "sympy",
    )
    facts += [Fact(name, importlib.metadata.version(name)) for name in (*names, "xarray")]
    if importlib.util.find_spec("pykeops") is None:
        return [*facts, Fact("pykeops", "not installed", "pip install 'kernelgp[keops]'")]
    return [*facts, Fact("pykeops", importlib.metadata.version("pykeops"))]


def devices() -> list[Fact]:
    """Processors, threads and GPUs."""
    threads = f"{torch.get_num_threads()} (OMP_NUM_THREADS or torch.set_num_threads changes it)"
    facts = [
        Fact("cpu", f"{platform.machine()}, {os.cpu_count()} cores"),
        Fact("threads", threads),
    ]
    if not torch.cuda.is_available():
        built = torch.version.cuda is not None
        remedy = "install a driver" if built else "install a build of torch with CUDA to use one"
        reason = "no GPU found" if built else "this torch is built without CUDA"
        return [*facts, Fact("cuda", reason, remedy)]
    for i in range(torch.cuda.device_count()):
        gpu = torch.cuda.get_device_properties(i)
        facts.append(Fact(f"cuda:{i}", f"{gpu.name}, {gpu.total_memory / 2**30:.0f} GiB"))
    return facts


def keops_needs() -> list[Fact]:
    """The compiler and the folder that KeOps needs when it runs."""
    return [_compiler(), _cache()]


def backends() -> list[Fact]:
    """Each backend after one small product, compared with the dense one."""
    x = torch.linspace(0.0, 1.0, 200, dtype=torch.float64)[:, None]
    v = torch.ones(200, 1, dtype=torch.float64)
    exact = torch.exp(-0.5 * (x - x.mT).square()) @ v
    facts = []
    with progress_bar("backends", total=len(BACKENDS)) as bar:
        for name in BACKENDS:
            facts.append(_try(name, x, v, exact))
            bar.advance(name)
    return [*facts, _try_loops()]


def _try_loops() -> Fact:
    """One loop that numba compiles on first use and keeps on disk: an order of points."""
    points = np.cos(np.arange(200.0)) ** 3
    started = time.perf_counter()
    try:
        # Already the import fails where numba finds no folder to keep what it compiles.
        from kernelgp.vecchia import maximin_order  # noqa: PLC0415

        order, distances = maximin_order(points[:, None])
    except RuntimeError as error:
        remedy = f"let NUMBA_CACHE_DIR name a folder that can be written ({error})"
        return Fact("compiled loops", "not available", remedy)
    seconds = time.perf_counter() - started
    gaps = np.abs(points[order][:, None] - points[order])
    exact = np.array([gaps[i, :i].min() for i in range(1, 200)])
    error = np.abs(distances[1:] - exact).max()
    if not error < 1e-12:
        return Fact("compiled loops", f"wrong by {error:.1e}", REPORT)
    return Fact("compiled loops", f"work ({seconds:.2f} s, kept on disk by numba)")


def _try(name: Backend, x: torch.Tensor, v: torch.Tensor, exact: torch.Tensor) -> Fact:
    started = time.perf_counter()
    # KeOps tells about compiling on stdout, where the table stands.
    with redirect_stdout(io.StringIO()), warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", BackendWarning)
        product = cast(torch.Tensor, KernelOperator(RBF(), x, backend=name) @ v)
    seconds = time.perf_counter() - started
    reasons = [str(w.message) for w in caught if issubclass(w.category, BackendWarning)]
    if reasons:
        return Fact(name, "not available", reasons[0])
    error = ((product - exact).norm() / exact.norm()).item()
    if not error < 1e-12:
        return Fact(name, f"wrong by {error:.1e}", REPORT)
    return Fact(name, f"works ({seconds:.2f} s, relative error {error:.0e})")


def _compiler() -> Fact:
    remedy = "install g++ or clang++, or let CXX name one"
    wanted = os.environ.get("CXX", "g++")
    path = shutil.which(wanted) or shutil.which("clang++")
    if path is None:
        return Fact("compiler", f"{wanted} not found", remedy)
    answer = subprocess.run([path, "--version"], capture_output=True, text=True, check=False)
    if answer.returncode != 0:
        return Fact("compiler", f"{path} does not run", remedy)
    return Fact("compiler", f"{path}: {answer.stdout.splitlines()[0]}")


def _cache() -> Fact:
    """KeOps' own rule for where it keeps what it compiled."""
    named = os.environ.get("KEOPS_CACHE_FOLDER")
    folders = sorted((Path.home() / ".cache").glob("keops*"))
    folder = Path(named) if named else (folders[-1] if folders else Path.home() / ".cache")
    existing = next(parent for parent in (folder, *folder.parents) if parent.exists())
    if not os.access(existing, os.W_OK):
        remedy = "let KEOPS_CACHE_FOLDER name a folder that can be written"
        return Fact("keops cache", f"{folder} cannot be written", remedy)
    return Fact("keops cache", str(folder))
