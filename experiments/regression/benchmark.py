"""What `python -m experiments` knows of this folder."""

from experiments.benchmark import Benchmark
from experiments.regression.report import report
from experiments.regression.sweep import sweep
from experiments.regression.tables import OURS
from experiments.regression.tasks import tasks

__all__ = ["BENCHMARK"]

BENCHMARK = Benchmark(
    name="regression",
    title="Gaussian process regression",
    question=(
        "What do a fit with learned hyperparameters and 500 predictions cost, and how far are "
        "the predictions from the function without its noise?"
    ),
    ours=OURS,
    tasks=tasks,
    report=report,
    sweep=sweep,
    error="RMSE, in deviations of the targets",
)
