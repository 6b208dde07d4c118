"""The Gaussian kernel of normal rows at growing numbers of columns."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from experiments.features.kernels import kernel_task
from experiments.harness import Options, Task

__all__ = ["sweep"]

_INPUTS = 16


def sweep(options: Options) -> Sequence[Task]:
    """Features of every row are timed; the error is in all entries of the kernel matrix."""
    rows, columns = (2_000, (64, 256, 1024)) if options.quick else (10_000, (64, 256, 1024, 4096))
    return [_task(count, rows) for count in columns]


def _task(columns: int, rows: int) -> Task:
    task = kernel_task(_INPUTS, columns, rows)

    def score(data: Any, features: Any) -> Mapping[str, float]:
        figures = task.score(data, features)
        return {"error": figures["relative error"], "bytes": rows * figures["bytes a row"]}

    name = "kernel at growing n, the number of columns"
    return replace(task, name=name, params={"n": columns, "d": _INPUTS, "rows": rows}, score=score)
