"""What `python -m experiments` knows of this folder."""

from experiments.attention.report import report
from experiments.attention.tasks import KDE, sweep, tasks
from experiments.benchmark import Benchmark, Published

__all__ = ["BENCHMARK"]

BENCHMARK = Benchmark(
    name="attention",
    title="Attention",
    question=(
        "What does one head of attention cost beside torch's fused kernel, and how far off is "
        "what costs less? Smooth queries and keys, one head of 64."
    ),
    ours=KDE,
    tasks=tasks,
    report=report,
    sweep=sweep,
    error="relative Frobenius error of the output",
    published=[
        Published(
            "KDEformer in place of T2T-ViT's attention on ImageNet",
            "over 18 times faster at under 0.5 % of accuracy",
            "Zandieh, Han, Daliri and Karbasi 2023, abstract",
        ),
        Published(
            "HyperAttention in one causal layer, 131 k tokens",
            "5 times faster",
            "Han et al. 2023, abstract",
        ),
    ],
)
