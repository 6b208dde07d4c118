"""What `python -m experiments` knows of this folder."""

from experiments.benchmark import Benchmark, Published
from experiments.pde.report import report
from experiments.pde.sweep import sweep
from experiments.pde.tasks import OURS, tasks
from solvers import gallery

__all__ = ["BENCHMARK"]

BENCHMARK = Benchmark(
    name="pde",
    title="High-frequency PDEs",
    question=(
        "How many points does a Poisson problem of 20 to 40 wavelengths need? Two tones of random "
        "frequency, found by the solver itself; the spectral peer needs pi points a wavelength."
    ),
    ours=OURS,
    tasks=tasks,
    report=report,
    sweep=sweep,
    error="relative L2 error",
    published=tuple(
        Published(
            f"{entry.label}: {entry.exact}",
            f"{entry.published:.3g}"
            + (f" in {entry.published_seconds:g} s" if entry.published_seconds else ""),
            "GP-HM, Fang et al., ICLR 2024, on a GPU",
        )
        for entry in gallery.values()
        if entry.published is not None
    ),
)
