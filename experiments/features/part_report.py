"""Tables of graphs, few bits and networks, and two pictures: error by walks, and by bits."""

from collections.abc import Sequence

from experiments.harness import Options, comparison
from experiments.runs import Run
from kernelgp.plotting import COLORS, grid_of_axes, save

__all__ = ["is_part", "report_parts"]

_WALKS = (2, 4, 8, 16)
_BEGIN = ("graph ", "Gram ", "quantised ", "two samples", "width ", "sines ", "digits by ")
_NODES = ("classes on ", "a function on ")


def is_part(run: Run) -> bool:
    """Whether a run is of one of these tasks."""
    return run.task.startswith((*_BEGIN, *_NODES))


def report_parts(runs: Sequence[Run], options: Options) -> None:
    """Seconds as multiples of the first method's."""
    for task in dict.fromkeys((run.task, str(run.params)) for run in runs):
        group = [run for run in runs if (run.task, str(run.params)) == task]
        print(comparison(group, group[0].method, f"{task[0]}, {task[1]}"))
    walks = [r for r in runs if r.task.startswith("graph kernel error") and not r.error]
    bits = [r for r in runs if r.task == "quantised kernel" and not r.error]
    if walks:
        print(f"\nwrote {_draw_walks(walks, options)}")
    if bits:
        print(f"wrote {_draw_bits(bits, options)}")


def _draw_walks(runs: Sequence[Run], options: Options) -> str:
    names = list(dict.fromkeys(run.task for run in runs))
    figure, axes = grid_of_axes(1, len(names), width=3.2, height=3.0)
    for panel, name in zip(axes[0], names, strict=True):
        for i, run in enumerate(run for run in runs if run.task == name):
            errors = [run.figures[f"error at {m}"] or float("nan") for m in _WALKS]
            panel.loglog(_WALKS, errors, "o-", label=run.method, color=COLORS[i])
        panel.set_title(name.removeprefix("graph kernel error, "))
        panel.set_xlabel("walks from a node")
    axes[0, 0].set_ylabel("relative Frobenius error")
    axes[0, 0].legend(frameon=False, fontsize="small")
    return str(save(figure, options.out / "walks.png"))


def _draw_bits(runs: Sequence[Run], options: Options) -> str:
    figure, axes = grid_of_axes(1, 1, width=6.0, height=3.5)
    ax = axes[0, 0]
    for i, run in enumerate(runs):
        at = run.figures["bits a row"] or 0.0, run.figures["RMSE"] or 0.0
        ax.loglog(*at, "o", color=COLORS[i % len(COLORS)])
        ax.annotate(run.method, at, xytext=(4, 3), textcoords="offset points", fontsize="x-small")
    ax.set_xlabel("bits a row")
    ax.set_ylabel("RMSE of the kernel")
    return str(save(figure, options.out / "bits.png"))
