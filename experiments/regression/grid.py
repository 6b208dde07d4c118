"""A grid a fifth of whose cells are missing: by its Kronecker structure, and by Cholesky."""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from experiments.harness import Method, Options, Task
from experiments.regression.data import Rows, read_elevation, score_gaussian
from experiments.regression.tables import OURS
from kernelgp import GPRegressor
from kernelgp.kernels import Matern

__all__ = ["grid_tasks"]

MISSING = 0.2
EVIDENCE, FILLED = "elevation grid, evidence and gradient", "elevation grid, missing cells"


def grid_tasks(options: Options) -> list[Task]:
    """Equality with dense algebra where that is possible, speed, and a fit."""
    if options.data is None or not (options.data / "grid").is_dir():
        return []
    tasks = []
    for size in (20,) if options.quick else (30, 100):
        methods = [
            Method(OURS, partial(_evidence, method="kronecker")),
            Method("by Cholesky", partial(_evidence, method="cholesky")),
        ]
        params = {"cells": f"{size} x {size}", "missing": MISSING}
        make = partial(_read, options, size)
        tasks.append(Task(EVIDENCE, make, _Difference(), methods, params, repeats=3))
    size = 20 if options.quick else 100
    params = {"cells": f"{size} x {size}", "missing": MISSING}
    methods = [Method(OURS, _fit), Method("nearest neighbors", _nearest)]
    make = partial(_read, options, size)
    return [*tasks, Task(FILLED, make, _score, methods, params, repeats=1)]


def _read(options: Options, size: int, seed: int) -> Rows:
    assert options.data is not None
    return read_elevation(options.data, size, MISSING, seed)[0]


class _Difference:
    """How far a method is from the one before it on the same rows: ours is scored first."""

    def __init__(self) -> None:
        self._reference: np.ndarray | None = None

    def __call__(self, rows: Rows, output: Any) -> dict[str, float]:
        value, gradient, model = output
        n = len(rows.y)
        found = [np.atleast_1d(value) / n, gradient / n]
        if n < 2_000:
            found += model.predict(rows.x_test[:50], return_std=True)
        found = np.concatenate(found)
        figures = {"log evidence a cell": value / n}
        if model is not None:
            figures["standard error"] = model.report_.standard_error / n
        if self._reference is not None:
            difference = np.abs(found - self._reference).max()
            figures["off by"] = float(difference / np.abs(self._reference).max())
        self._reference = found
        return figures


def _evidence(rows: Rows, method: str) -> Callable[[], Any]:
    kernel = rows.y.var() * Matern(1.5, 0.2, active_dims=[0]) * Matern(1.5, 0.2, active_dims=[1])
    model = GPRegressor(kernel, noise=0.01 * rows.y.var(), method=method, optimizer=None)
    model.fit(rows.x, rows.y - rows.y.mean())
    return lambda: (*model.log_marginal_likelihood(model.theta_, eval_gradient=True), model)


def _fit(rows: Rows) -> Callable[[], Any]:
    def run() -> Any:
        model = GPRegressor(method="kronecker", random_state=0).fit(rows.x, rows.y)
        return model.predict(rows.x_test, return_std=True)

    return run


def _nearest(rows: Rows) -> Callable[[], Any]:
    """The mean of the four nearest observed cells, and their deviation from it."""
    from sklearn.neighbors import KNeighborsRegressor  # noqa: PLC0415 - one method's peer

    def run() -> Any:
        model = KNeighborsRegressor(4).fit(rows.x, rows.y)
        residual = rows.y - KNeighborsRegressor(5).fit(rows.x, rows.y).predict(rows.x)
        return model.predict(rows.x_test), np.full(len(rows.y_test), residual.std())

    return run


def _score(rows: Rows, output: Any) -> dict[str, float]:
    return score_gaussian(rows, *output)
