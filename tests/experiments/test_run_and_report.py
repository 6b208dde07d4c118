"""One command for every benchmark: seeds, filters, a user's own methods, resuming, the page."""

import json
import os
import re
import signal
import subprocess
import sys
import time
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from experiments import __main__ as command
from experiments.benchmark import NAMES, Benchmark, Published, load
from experiments.harness import Method, Options, Task

SEEDS = (0, 1, 2)


def summing(shift):
    return Method(f"plus {shift}", lambda data: lambda: sum(data) + shift)


def growing(options):
    return [
        Task(
            "sums at growing n",
            lambda seed, n=n: list(range(seed, seed + n)),
            lambda data, found: {"error": abs(found - sum(data))},
            (summing(1), summing(2), summing(3)),
            {"n": n},
            repeats=1,
        )
        for n in (10, 20, 40)
    ]


def single(options):
    methods = (summing(1), summing(2))
    return [Task("one sum", lambda seed: [seed, 5], lambda data, found: {}, methods, repeats=1)]


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Runs ``python -m experiments`` with one small benchmark; the exit code and the rows."""
    reported = []
    benchmark = Benchmark(
        name="sums",
        title="Sums & differences",
        question="Which sum is wrong by least?",
        ours="plus 1",
        tasks=single,
        report=lambda runs, options: reported.extend(runs),
        sweep=growing,
        error="distance from the sum",
        published=(Published("a sum", "6", "<a book>"),),
    )
    monkeypatch.delenv("KERNELGP_DATA", raising=False)
    monkeypatch.setattr(command, "NAMES", ("sums",))
    monkeypatch.setattr(command, "load", lambda name: benchmark)

    def call(*arguments):
        code = command.main([*arguments, "--out", str(tmp_path)])
        path = tmp_path / "sums" / "results.jsonl"
        lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
        return code, [json.loads(line) for line in lines]

    call.reported = reported
    return call


def test_sizes_run_on_every_seed_and_the_rest_on_one(run):
    code, rows = run("run", "sums")
    assert code == 0
    swept = {(r["params"]["n"], r["seed"], r["method"]) for r in rows if r["task"] != "one sum"}
    assert len(swept) == 3 * 3 * 3
    assert {seed for _, seed, _ in swept} == set(SEEDS)
    assert [(r["seed"], r["method"]) for r in rows if r["task"] == "one sum"] == [
        (0, "plus 1"),
        (0, "plus 2"),
    ]
    assert [r.task for r in run.reported] == ["one sum", "one sum"]


def test_a_second_run_repeats_nothing(run):
    _, rows = run("run", "--all")
    _, again = run("run", "--all")
    assert again == rows


def test_methods_and_tasks_are_chosen_by_patterns(run):
    _, rows = run("run", "sums", "--methods", "*2", "--tasks", "sums*", "--seeds", "1")
    assert {r["method"] for r in rows} == {"plus 2"}
    assert {r["task"] for r in rows} == {"sums at growing n"}
    assert len(rows) == 3
    assert not run.reported


def test_processes_give_the_rows_of_one(run):
    _, rows = run("run", "sums", "--jobs", "2", "--sweep-only")
    found = {(r["params"]["n"], r["seed"], r["method"]): r["figures"] for r in rows}
    assert found[20, 1, "plus 3"] == {"error": 3.0}
    assert len(found) == 27


OWN = """
from experiments.harness import Method, Task

def prepare(data):
    return lambda: max(data)

def extend(tasks):
    mine = Task("longest", lambda seed: [seed, 9], lambda data, found: {"error": 9 - found},
                [Method("mine", prepare)], {"n": 2})
    return [*(task.with_methods(Method("mine", prepare)) for task in tasks), mine]
"""


def test_a_file_of_a_users_adds_a_method_and_a_task(run, tmp_path):
    own = tmp_path / "own.py"
    own.write_text(OWN, encoding="utf-8")
    code, rows = run("run", "sums", "--extend", str(own), "--seeds", "1", "--sweep-only")
    assert code == 0
    mine = {
        (r["task"], r["params"]["n"]): r["figures"]["error"] for r in rows if r["method"] == "mine"
    }
    assert mine == {
        ("sums at growing n", 10): 36.0,
        ("sums at growing n", 20): 171.0,
        ("sums at growing n", 40): 741.0,
        ("longest", 2): 0.0,
    }


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run"], "name benchmarks to run (sums), or give --all"),
        (["run", "nothing"], "nothing"),
        (["run", "sums", "--data", "nowhere"], "--data: nowhere is no folder"),
        (["run", "sums", "--extend", "no.py"], "--extend: there is no file no.py"),
    ],
)
def test_what_cannot_be_run_is_refused_with_a_remedy(run, capsys, arguments, message):
    with pytest.raises(SystemExit) as raised:
        run(*arguments)
    assert raised.value.code == 2
    assert message in capsys.readouterr().err


def test_a_file_without_extend_is_refused(run, tmp_path, capsys):
    own = tmp_path / "own.py"
    own.write_text("extends = 1", encoding="utf-8")
    with pytest.raises(SystemExit):
        run("run", "sums", "--extend", str(own))
    assert "defines no function extend(tasks)" in capsys.readouterr().err


def test_the_page_holds_every_picture_table_and_figure_and_fetches_nothing(run, tmp_path):
    run("run", "--all")
    assert run("report")[0] == 0
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    pictures = re.findall(r"<svg.*?</svg>", page, flags=re.DOTALL)
    assert len(pictures) == 2
    for picture in pictures:
        root = ET.fromstring(picture)
        assert root.attrib["aria-label"].startswith("sums at growing n")
        assert len(root.findall(".//{*}path")) > 10
    assert "Sums &amp; differences" in page
    assert "&lt;a book&gt;" in page
    assert page.count("<tr class=ours>") == 3 + 1
    assert not re.search(r"(src|href)=.?(https?:)?//", page)
    assert "<script" not in page
    # Medians of the errors 1, 2 and 3 that the methods make.
    cells = re.findall(
        r'<tr[^>]*><td class="text">plus 3</td><td>40</td><td>3</td>(.*?)</tr>', page
    )
    assert cells[0].endswith("<td>3</td><td>3</td><td>3</td>")


def test_a_page_without_runs_says_how_to_make_them(run, tmp_path):
    assert run("report")[0] == 0
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "python -m experiments run sums" in page


@pytest.mark.parametrize("name", NAMES)
def test_every_sweep_has_three_sizes_with_ours_and_two_more_methods(name, tmp_path):
    benchmark = load(name)
    for quick in (True, False):
        options = Options(quick, None, tmp_path, 0, fresh=False)
        tasks = benchmark.sweep(options)
        compared = [t for t in tasks if len({m.name for m in t.methods}) >= 3]
        assert len({task.params["n"] for task in tasks}) >= 3
        assert len(compared) >= (3 if quick else 2)
        assert all(benchmark.ours in {m.name for m in t.methods} for t in tasks)
        assert {t.name for t in tasks}.isdisjoint(t.name for t in benchmark.tasks(options))


SLOW = """
import time
from experiments.harness import Method, Task

def prepare(data):
    return lambda: time.sleep(0.2)

def extend(tasks):
    return [Task("slow", int, lambda data, found: {}, [Method("sleep", prepare)], {"n": n}, 1)
            for n in range(30)]
"""


def test_a_killed_run_goes_on_where_it_stopped(tmp_path):
    own = tmp_path / "own.py"
    own.write_text(SLOW, encoding="utf-8")
    path = tmp_path / "out" / "operators" / "results.jsonl"
    arguments = ["run", "operators", "--sweep-only", "--seeds", "1", "--out", str(tmp_path / "out")]
    root = Path(__file__).parents[2]
    process = subprocess.Popen(
        [sys.executable, "-m", "experiments", *arguments, "--extend", str(own)],
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(root)},
        stdout=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 60
    while process.poll() is None and (not path.exists() or path.stat().st_size == 0):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    # As if it had been killed while it wrote.
    finished = path.read_text(encoding="utf-8").splitlines()
    with path.open("a", encoding="utf-8") as file:
        file.write('{"task": "sl')
    own.write_text(SLOW.replace("0.2", "0.0"), encoding="utf-8")
    assert command.main([*arguments, "--extend", str(own)]) == 0
    rows = path.read_text(encoding="utf-8").splitlines()
    assert rows[: len(finished)] == finished
    assert sorted(json.loads(row)["params"]["n"] for row in rows) == list(range(30))
