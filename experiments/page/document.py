"""The HTML around tables and pictures; nothing is fetched from anywhere."""

from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path

from experiments.benchmark import Benchmark
from experiments.harness import Options
from experiments.page.pictures import draw_ratios, draw_sweep, inline
from experiments.page.summary import Point, points, ratios
from experiments.runs import Run, read
from experiments.table import number

__all__ = ["write_page"]

_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; color: #222; margin: 2rem auto; padding: 0 1rem;
       max-width: 62rem; }
h1, h2, h3 { line-height: 1.2; }
h2 { margin-top: 3rem; border-top: 1px solid #ccc; padding-top: 1rem; }
table { border-collapse: collapse; font-size: 0.85rem; margin: 1rem 0; }
th, td { padding: 0.2rem 0.7rem; text-align: right; border-bottom: 1px solid #eee; }
th { border-bottom: 2px solid #999; } td.text, th.text { text-align: left; }
tr.ours td { font-weight: 600; } .scroll { overflow-x: auto; }
svg { max-width: 100%; height: auto; } nav a { margin-right: 1rem; } .small { color: #666; }
"""


def write_page(benchmarks: Sequence[Benchmark], out: Path, data: Path | None) -> Path:
    """``report.html`` in `out`, from the runs that lie below it; its path.

    Parameters
    ----------
    out
        Folder with a folder for each benchmark, as ``python -m experiments run`` leaves it.
    data
        Folder of data sets, where sweeps use some.
    """
    sections = [_section(benchmark, out / benchmark.name, data) for benchmark in benchmarks]
    links = "".join(f'<a href="#{b.name}">{escape(b.title)}</a>' for b in benchmarks)
    page = (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>kernelgp benchmarks</title><style>{_STYLE}</style></head><body>"
        "<h1>kernelgp benchmarks</h1>"
        "<p>Each method works on the same data in one process and is timed in turn with the "
        "others. Lines join medians over seeds; bars span lowest and highest.</p>"
        f"<nav>{links}</nav>{''.join(sections)}</body></html>\n"
    )
    path = out / "report.html"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(page, encoding="utf-8")
    return path


def _section(benchmark: Benchmark, folder: Path, data: Path | None) -> str:
    runs = list(read(folder / "results.jsonl").values())
    parts = [
        f'<section id="{benchmark.name}"><h2>{escape(benchmark.title)}</h2>',
        f"<p>{escape(benchmark.question)}</p>",
    ]
    if not runs:
        command = f"python -m experiments run {benchmark.name}"
        return "".join([*parts, f"<p>No runs yet: <code>{command}</code></p></section>"])
    options = [Options(quick, data, folder, 0, fresh=False) for quick in (True, False)]
    growing = {task.name for option in options for task in benchmark.sweep(option)}
    for name in sorted(growing):
        mine = [run for run in runs if run.task == name]
        if mine:
            parts += _pictures(benchmark, name, mine)
    if benchmark.published:
        parts.append("<h3>Published</h3>")
        rows = [[p.what, p.value, p.source] for p in benchmark.published]
        parts.append(_table(["what", "figure", "source"], rows))
    others = [run for run in runs if run.task not in growing]
    if others:
        parts.append("<details><summary>All other runs</summary>")
        parts.append(_all_runs(others, benchmark.ours))
        parts.append("</details>")
    parts.append(f'<p class="small">{escape(_machine(runs))}</p></section>')
    return "".join(parts)


def _pictures(benchmark: Benchmark, name: str, runs: Sequence[Run]) -> list[str]:
    found = points(runs)
    parts = [f"<h3>{escape(name)}</h3>"]
    if found:
        figure = draw_sweep(found, benchmark.error)
        parts.append(inline(figure, f"{escape(name)}: {benchmark.error}, seconds and memory"))
        parts.append(_points_table(found, benchmark))
    compared = ratios(runs, benchmark.ours)
    if compared:
        parts.append(inline(draw_ratios(compared, benchmark.ours), f"{escape(name)}: ratios"))
    return parts


def _points_table(found: Sequence[Point], benchmark: Benchmark) -> str:
    headers = ["method", "n", "seeds", "seconds", "MiB", benchmark.error, "lowest", "highest"]
    rows = [
        [
            p.method,
            p.n,
            p.seeds,
            p.seconds and p.seconds[0],
            p.mib and p.mib[0],
            *(p.error or (None, None, None)),
        ]
        for p in found
    ]
    return _table(headers, rows, [p.method == benchmark.ours for p in found])


def _all_runs(runs: Sequence[Run], ours: str) -> str:
    rows = []
    for run in runs:
        task = ", ".join([run.task, *(f"{key} {value}" for key, value in run.params.items())])
        figures = ", ".join(f"{key} {number(value)}" for key, value in run.figures.items())
        rows.append([task, run.method, run.seed, run.seconds, run.peak_mib, figures])
    headers = ["task", "method", "seed", "seconds", "MiB", "figures"]
    return _table(headers, rows, [run.method == ours for run in runs])


def _table(
    headers: Sequence[str],
    rows: Sequence[Sequence[str | float | None]],
    emphasised: Iterable[bool] = (),
) -> str:
    text = [any(isinstance(row[i], str) for row in rows) for i in range(len(headers))]
    marks = [' class="text"' if is_text else "" for is_text in text]
    head = "".join(f"<th{m}>{escape(h)}</th>" for m, h in zip(marks, headers, strict=True))
    strong = list(emphasised) or [False] * len(rows)
    body = []
    for row, mine in zip(rows, strong, strict=True):
        cells = (f"<td{m}>{escape(number(v))}</td>" for m, v in zip(marks, row, strict=True))
        body.append(f"<tr{' class=ours' if mine else ''}>{''.join(cells)}</tr>")
    return f'<div class="scroll"><table><tr>{head}</tr>{"".join(body)}</table></div>'


def _machine(runs: Sequence[Run]) -> str:
    last = max(runs, key=lambda run: run.finished)
    about = [f"{key} {value}" for key, value in last.machine.items() if value is not None]
    packages = [f"{name} {version}" for name, version in last.versions.items()]
    return (
        f"{len(runs)} runs, the last at {last.finished}. {', '.join(about)}. {', '.join(packages)}."
    )
