"""Couplings of positive features: errors at fixed distances, and what classification makes of it.

The classifier compares means of the approximate kernel to the rows of every class.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.datasets import load_breast_cancer, load_digits, load_wine
from sklearn.preprocessing import StandardScaler

from experiments.harness import Method, Options, Task
from kernelgp import PositiveFeatures
from kernelgp.features.coupling import draw_standard
from kernelgp.features.sampler import dense_normals
from kernelgp.features.theory import relative_error
from kernelgp.kernels import RBF

__all__ = ["COUPLED", "coupling_tasks"]

COUPLED = "couplings"
_NAMES = ("iid", "orthogonal", "simplex", "simplex+")
_TABLES = {"wine": load_wine, "breast cancer": load_breast_cancer, "digits": load_digits}
Labelled = tuple[NDArray[Any], NDArray[Any], NDArray[Any], NDArray[Any], int]


def coupling_tasks(options: Options) -> list[Task]:
    """Errors in 6, 16 and 64 dimensions, accuracies on three tables."""
    found = []
    for d in (6,) if options.quick else (6, 16, 64):
        for v in (0.5,) if options.quick else (0.25, 0.5, 1.0):
            blocks = 2_000 if options.quick else 6_000
            methods = tuple(Method(name, partial(_blocks, coupling=name)) for name in _NAMES)
            found.append(
                Task(
                    f"{COUPLED}, {d} inputs, v = {v:g}",
                    partial(_settings, d, v, blocks),
                    _score_blocks,
                    methods,
                    {"d": d, "v": v, "blocks": blocks},
                    repeats=1,
                )
            )
    draws = 10 if options.quick else 60
    for name, load in _TABLES.items():
        methods = tuple(Method(c, partial(_classify, coupling=c, draws=draws)) for c in _NAMES)
        read = partial(_table, load)
        task = f"classification, {name}, as many features as inputs"
        found.append(Task(task, read, _score_labels, methods, {"draws": draws}, repeats=1))
    return found


def _settings(d: int, v: float, blocks: int, seed: int) -> tuple[int, float, int, int]:
    return d, v, blocks, seed


def _blocks(
    settings: tuple[int, float, int, int], *, coupling: Any
) -> Callable[[], tuple[str, NDArray[Any]]]:
    d, v, blocks, seed = settings

    def run() -> tuple[str, NDArray[Any]]:
        generator = torch.Generator().manual_seed(seed)
        W = dense_normals(draw_standard(blocks * d, d, 0, coupling, "haar", generator), d)
        values = torch.exp(v * W[:, 0] - v**2 / 2).reshape(blocks, d).mean(dim=1) - 1
        return coupling, values.numpy()

    return run


def _score_blocks(
    settings: tuple[int, float, int, int], output: tuple[str, NDArray[Any]]
) -> dict[str, float]:
    d, v, blocks, _ = settings
    coupling, values = output
    iid = float(np.expm1(v**2) / d)
    figures = {
        "error to iid": float((values**2).mean() / iid),
        "standard error": float((values**2).std() / blocks**0.5 / iid),
    }
    if coupling != "simplex+":
        figures["closed form"] = float(relative_error(coupling, d, v))  # pyright: ignore[reportArgumentType]
    return figures


def _table(load: Callable[..., Any], seed: int) -> Labelled:
    table: Any = load(return_X_y=True)
    X, y = table
    order = np.random.default_rng(seed).permutation(len(X))
    test, train = order[: len(X) // 4], order[len(X) // 4 :]
    scaler: Any = StandardScaler().fit(X[train])
    return scaler.transform(X[train]), y[train], scaler.transform(X[test]), y[test], seed


def _classify(data: Labelled, *, coupling: Any, draws: int) -> Callable[[], NDArray[Any]]:
    X, y, X_test, y_test, seed = data
    d = X.shape[1]
    labels = np.eye(int(y.max()) + 1)[y]
    labels /= labels.sum(axis=0)

    def run() -> NDArray[Any]:
        accuracies = []
        for draw in range(draws):
            made = PositiveFeatures(
                RBF(d**0.5), d, coupling=coupling, random_state=seed * 1000 + draw
            ).fit(X)
            votes = made.transform(X_test) @ (made.transform(X).T @ labels)
            accuracies.append(np.mean(votes.argmax(axis=1) == y_test))
        return np.array(accuracies)

    return run


def _score_labels(_: Labelled, accuracies: NDArray[Any]) -> dict[str, float]:
    return {
        "accuracy": float(accuracies.mean()),
        "standard error": float(accuracies.std(ddof=1) / len(accuracies) ** 0.5),
    }
