"""Every task of `python -m experiments.features`."""

from collections.abc import Sequence

from experiments.features.couplings import coupling_tasks
from experiments.features.graphs import graph_tasks
from experiments.features.kernels import kernel_tasks
from experiments.features.layers import layer_tasks
from experiments.features.quantized import quantized_tasks
from experiments.features.regression import regression_tasks
from experiments.harness import Options, Task

__all__ = ["tasks"]


def tasks(options: Options) -> Sequence[Task]:
    """The quick ones first."""
    return [
        *kernel_tasks(options),
        *coupling_tasks(options),
        *quantized_tasks(options),
        *layer_tasks(options),
        *graph_tasks(options),
        *regression_tasks(options),
    ]
