"""A product beside processes that never rest."""

import multiprocessing
from collections.abc import Callable, Sequence
from functools import partial

from torch import Tensor

from experiments.harness import Method, Task
from experiments.measure import alternate
from experiments.operators.products import product_by_keops, product_by_ours, product_tasks

__all__ = ["busy_task"]

OURS, KEOPS = "kernelgp", "pykeops"


def busy_task(*, quick: bool) -> Task:
    """By how much one product slows beside two processes that never rest."""
    task = product_tasks(quick=quick)[0]
    return Task(
        name="slowdown beside two busy processes",
        make=task.make,
        score=lambda _data, times: {"alone s": times[0], "slowdown": times[1] / times[0]},
        methods=[
            Method(OURS, lambda data: partial(_slowdown, product_by_ours(data))),
            Method(KEOPS, lambda data: partial(_slowdown, product_by_keops(data)), ("pykeops",)),
        ],
        params=task.params,
        repeats=1,
    )


def _slowdown(product: Callable[[], Tensor]) -> Sequence[float]:
    [alone] = alternate([product], 5)
    context = multiprocessing.get_context("spawn")
    busy = [context.Process(target=_spin, daemon=True) for _ in range(2)]
    for process in busy:
        process.start()
    try:
        [beside] = alternate([product], 5)
    finally:
        for process in busy:
            process.kill()
            process.join()
    return alone, beside


def _spin() -> None:
    while True:
        pass
