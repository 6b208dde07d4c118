"""What `python -m experiments` knows of this folder."""

from experiments.benchmark import Benchmark
from experiments.features.kernels import OURS
from experiments.features.report import report
from experiments.features.sweep import sweep
from experiments.features.tasks import tasks

__all__ = ["BENCHMARK"]

BENCHMARK = Benchmark(
    name="features",
    title="Random features",
    question=(
        "How many columns does a Gaussian kernel of sixteen inputs need, and what do they cost? "
        "MiB are those of the features, float32 for ours."
    ),
    ours=OURS,
    tasks=tasks,
    report=report,
    sweep=sweep,
    error="relative error of the kernel matrix",
)
