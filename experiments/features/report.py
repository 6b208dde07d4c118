"""Tables and pictures of `python -m experiments.features`."""

from collections.abc import Sequence

import numpy as np

from experiments.features.couplings import COUPLED
from experiments.features.kernels import KERNELS, OURS
from experiments.features.part_report import is_part, report_parts
from experiments.harness import Options, Run, comparison
from kernelgp.features.theory import relative_error
from kernelgp.plotting import COLORS, grid_of_axes, save

__all__ = ["report"]


def report(runs: Sequence[Run], options: Options) -> None:
    """One table for every kind of task, and pictures."""
    report_parts([run for run in runs if is_part(run)], options)
    runs = [run for run in runs if not is_part(run)]
    kinds = dict.fromkeys(run.task.split(",")[0] for run in runs)
    for kind in kinds:
        mine = [run for run in runs if run.task.split(",")[0] == kind]
        print(comparison(mine, OURS, kind))
    print(f"wrote {_draw_kernels([r for r in runs if r.task.startswith(KERNELS)], options)}")
    print(f"wrote {_draw_couplings([r for r in runs if r.task.startswith(COUPLED)], options)}")


def _draw_kernels(runs: Sequence[Run], options: Options) -> str:
    """Error against seconds of every map, a panel for every task."""
    tasks = list(dict.fromkeys(run.task for run in runs))
    methods = list(dict.fromkeys(run.method for run in runs))
    figure, axes = grid_of_axes(1, max(len(tasks), 1), width=3.4, height=3.2)
    for panel, task in zip(axes[0], tasks, strict=False):
        for run in runs:
            if run.task != task or run.error is not None:
                continue
            color = COLORS[methods.index(run.method) % len(COLORS)]
            error = run.figures.get("relative error")
            panel.loglog(run.seconds, error, "o", color=color, label=run.method)
        panel.set_title(task.split(", ", 1)[1], fontsize="small")
        panel.set_xlabel("seconds")
    axes[0, 0].set_ylabel("relative error")
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside upper center", ncols=4)
    return str(save(figure, options.out / "kernels.png"))


def _draw_couplings(runs: Sequence[Run], options: Options) -> str:
    """Closed forms as lines, Monte Carlo as points with four standard errors."""
    sizes = sorted({int(run.params["d"]) for run in runs}) or [6]
    figure, axes = grid_of_axes(1, len(sizes), width=3.4, height=3.2)
    names = ["orthogonal", "simplex", "simplex+"]
    v = np.linspace(0, 3, 200)
    for panel, d in zip(axes[0], sizes, strict=True):
        for i, name in enumerate(names):
            if name != "simplex+":
                curve = relative_error(name, d, v)  # pyright: ignore[reportArgumentType]
                panel.plot(v, curve, color=COLORS[i], linewidth=1)
            found = [r for r in runs if r.method == name and r.params["d"] == d and not r.error]
            panel.errorbar(
                [r.params["v"] for r in found],
                [r.figures["error to iid"] or np.nan for r in found],
                [4 * (r.figures["standard error"] or np.nan) for r in found],
                fmt=".",
                color=COLORS[i],
                label=name,
            )
        panel.set_yscale("log")
        panel.set_title(f"{d} inputs", fontsize="small")
        panel.set_xlabel("|x + y| in lengthscales")
    axes[0, 0].set_ylabel("mean squared error to iid")
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside upper center", ncols=3)
    return str(save(figure, options.out / "couplings.png"))
