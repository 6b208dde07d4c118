"""What `python -m experiments` knows of this folder."""

from experiments.benchmark import Benchmark
from experiments.vecchia.methods import OURS
from experiments.vecchia.report import report
from experiments.vecchia.sweep import sweep
from experiments.vecchia.tasks import tasks

__all__ = ["BENCHMARK"]

BENCHMARK = Benchmark(
    name="vecchia",
    title="Vecchia's approximation",
    question=(
        "What do a fit with learned hyperparameters and 2 000 predictions in the plane cost, and "
        "how far are the predictions from noisy responses of noise variance 0.1?"
    ),
    ours=OURS,
    tasks=tasks,
    report=report,
    sweep=sweep,
    error="RMSE",
)
