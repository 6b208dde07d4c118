"""What `python -m experiments` knows of this folder."""

from experiments.benchmark import Benchmark
from experiments.operators.products import OURS
from experiments.operators.report import report
from experiments.operators.sweep import sweep
from experiments.operators.tasks import tasks

__all__ = ["BENCHMARK"]

BENCHMARK = Benchmark(
    name="operators",
    title="Kernel operators",
    question=(
        "What does one product with a kernel matrix cost that is never formed, and how exact is "
        "it in float32? RBF kernel in three dimensions, one vector."
    ),
    ours=OURS,
    tasks=tasks,
    report=report,
    sweep=sweep,
    error="relative error of the product",
)
