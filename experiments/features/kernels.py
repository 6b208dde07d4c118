"""Features of normal rows: how far from the kernel, how fast, and how many bytes."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import gpytorch
import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.kernel_approximation import Nystroem, RBFSampler
from sklearn.metrics.pairwise import rbf_kernel

from experiments.harness import Method, Options, Task
from kernelgp import FourierFeatures
from kernelgp.kernels import RBF

__all__ = ["KERNELS", "OURS", "kernel_task", "kernel_tasks"]

OURS = "orthogonal"
KERNELS = "kernel of normal rows"
_SCORED = 1000


@dataclass(frozen=True, slots=True)
class NormalRows:
    """Standard normal rows, float32, and the rate ``1 / (2 d)`` of their Gaussian kernel."""

    x: NDArray[np.float32]
    gamma: float
    seed: int


def kernel_tasks(options: Options) -> list[Task]:
    """One for every number of inputs and of columns."""
    sizes = [(16, 256)] if options.quick else [(16, 1024), (64, 1024), (128, 1024), (16, 4096)]
    n = 2_000 if options.quick else 10_000
    return [kernel_task(d, columns, n) for d, columns in sizes]


def kernel_task(d: int, columns: int, n: int) -> Task:
    """Features of `n` rows by ours, scikit-learn's and gpytorch's."""

    def ours(**options: Any) -> Callable[[NormalRows], Callable[[], Any]]:
        return partial(_transform, lambda rows: _fourier(rows, columns, **options))

    def peer(make: Callable[..., Any]) -> Callable[[NormalRows], Callable[[], Any]]:
        return partial(
            _transform,
            lambda rows: make(gamma=rows.gamma, n_components=columns, random_state=rows.seed),
        )

    return Task(
        f"{KERNELS}, {d} inputs, {columns} columns",
        partial(_make, d, n),
        _score,
        (
            Method(OURS, ours()),
            Method("iid", ours(coupling="iid")),
            Method("hadamard", ours(rotation="hadamard")),
            Method("sobol", ours(coupling="sobol")),
            Method("RBFSampler", peer(RBFSampler)),
            Method("Nystroem", peer(Nystroem)),
            Method("gpytorch RFFKernel", partial(_gpytorch, columns=columns)),
        ),
        {"d": d, "columns": columns, "n": n},
        repeats=3,
    )


def _make(d: int, n: int, seed: int) -> NormalRows:
    x = np.random.default_rng(seed).normal(size=(n, d)).astype(np.float32)
    return NormalRows(x, 1 / (2 * d), seed)


def _fourier(rows: NormalRows, columns: int, **options: Any) -> FourierFeatures:
    kernel = RBF((1 / (2 * rows.gamma)) ** 0.5)
    return FourierFeatures(kernel, columns, random_state=rows.seed, **options)


def _transform(make: Callable[[NormalRows], Any], rows: NormalRows) -> Callable[[], Any]:
    transformer = make(rows).fit(rows.x)
    return lambda: transformer.transform(rows.x)


def _gpytorch(rows: NormalRows, *, columns: int) -> Callable[[], Any]:
    kernel = gpytorch.kernels.RFFKernel(num_samples=columns // 2, num_dims=rows.x.shape[1])
    kernel.lengthscale = (1 / (2 * rows.gamma)) ** 0.5
    torch.manual_seed(rows.seed)
    kernel._init_weights(rows.x.shape[1], columns // 2)
    x = torch.from_numpy(rows.x)

    def run() -> NDArray[Any]:
        with torch.no_grad():
            return (kernel._featurize(x, normalize=True)).numpy()

    return run


def _score(rows: NormalRows, features: NDArray[Any]) -> dict[str, float]:
    exact = rbf_kernel(rows.x[:_SCORED].astype(np.float64), gamma=rows.gamma)
    Z = np.asarray(features)[:_SCORED].astype(np.float64)
    error = np.linalg.norm(Z @ Z.T - exact) / np.linalg.norm(exact)
    return {"relative error": float(error), "bytes a row": float(features[:1].nbytes)}
