"""Every task of `python -m experiments.operators`."""

from collections.abc import Sequence

from experiments.harness import Options, Task
from experiments.operators.busy import busy_task
from experiments.operators.gaussian_processes import gaussian_process_tasks
from experiments.operators.gradients import gradient_tasks
from experiments.operators.grids import grid_tasks
from experiments.operators.products import accuracy_tasks, product_tasks
from experiments.operators.solves import solve_tasks

__all__ = ["tasks"]


def tasks(options: Options) -> Sequence[Task]:
    """In the order of the table."""
    quick = options.quick
    return [
        *product_tasks(quick=quick),
        *accuracy_tasks(quick=quick),
        *gradient_tasks(quick=quick),
        busy_task(quick=quick),
        *gaussian_process_tasks(quick=quick),
        *solve_tasks(quick=quick),
        *grid_tasks(quick=quick),
    ]
