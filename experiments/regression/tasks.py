"""Every task of `python -m experiments.regression`."""

from collections.abc import Sequence

from experiments.harness import Options, Task
from experiments.regression.accuracy import accuracy_tasks
from experiments.regression.classification import classification_tasks
from experiments.regression.forecast import forecast_tasks
from experiments.regression.grid import grid_tasks
from experiments.regression.processes import process_task
from experiments.regression.tables import table_tasks

__all__ = ["tasks"]


def tasks(options: Options) -> Sequence[Task]:
    """The quick ones first."""
    return [
        *forecast_tasks(options),
        *grid_tasks(options),
        process_task(options),
        *classification_tasks(options),
        *accuracy_tasks(options),
        *table_tasks(options),
    ]
