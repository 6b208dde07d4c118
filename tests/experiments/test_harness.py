import dataclasses
import json

import pytest

from experiments.harness import Method, Task, comparison, main


def summing(data):
    return lambda: sum(data)


def failing(data):
    def fail():
        raise ZeroDivisionError("no peer is perfect")

    return fail


def task(*methods, n=10, **settings):
    return Task(
        name="sum",
        make=lambda seed: list(range(seed, seed + n)),
        score=lambda data, output: {"error": abs(output - sum(data))},
        methods=methods,
        params={"n": n},
        **{"repeats": 2, **settings},
    )


@pytest.fixture
def bench(tmp_path, monkeypatch, capsys):
    """Runs a benchmark from its command line; the exit code, the rows and what was printed."""
    monkeypatch.delenv("KERNELGP_DATA", raising=False)
    reported = []

    def run(tasks, *arguments):
        reported.clear()
        arguments = ["--out", str(tmp_path / "out"), *arguments]
        code = main("sums", "Sums.", lambda _: tasks, lambda r, _: reported.extend(r), arguments)
        path = tmp_path / "out" / "results.jsonl"
        rows = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
        return code, rows, capsys.readouterr()

    run.reported = reported
    return run


def test_a_run_is_one_json_line_that_says_what_it_was_and_cost(bench):
    code, rows, _ = bench([task(Method("ours", summing))], "--seed", "7")
    assert code == 0
    (row,) = rows
    assert (row["task"], row["method"], row["seed"]) == ("sum", "ours", 7)
    assert (row["params"], row["figures"], row["error"]) == ({"n": 10}, {"error": 0.0}, None)
    assert len(row["times"]) == 2
    assert min(row["times"]) <= row["seconds"] <= max(row["times"])
    assert row["peak_mib"] >= 0
    assert {"python", "torch", "numpy", "kernelgp"} <= set(row["versions"])
    assert {"processor", "cores", "threads"} <= set(row["machine"])


def test_a_finished_run_is_not_repeated_and_one_with_other_params_is(bench):
    calls = []
    counting = Method("ours", lambda data: lambda: calls.append(1) or sum(data))
    bench([task(counting)])
    count = len(calls)
    _, rows, printed = bench([task(counting)])
    assert len(calls) == count
    assert len(rows) == len(bench.reported) == 1
    assert "1 of 1 runs taken from" in printed.out
    assert len(bench([task(counting, n=11)])[1]) == 2
    assert len(bench([task(counting)], "--seed", "1")[1]) == 3
    assert len(bench([task(counting)], "--fresh")[1]) == 1
    assert len(calls) == 4 * count


def test_a_failure_is_recorded_told_and_repeated_and_spares_the_others(bench):
    methods = [Method("peer", failing), Method("ours", summing)]
    code, rows, printed = bench([task(*methods)])
    assert code == 1
    assert [row["error"] for row in rows] == ["ZeroDivisionError: no peer is perfect", None]
    assert rows[0]["seconds"] is None
    assert rows[1]["figures"] == {"error": 0.0}
    assert "FAILED sum / peer: ZeroDivisionError" in printed.err
    assert len(bench([task(*methods)])[1]) == 3
    assert bench([task(Method("peer", summing), methods[1])])[0] == 0


@pytest.mark.parametrize("where", ["prepare", "score"])
def test_a_failure_outside_the_timed_call_counts_too(bench, where):
    def broken(*_):
        raise KeyError("shape")

    broken_task = task(Method("ours", broken if where == "prepare" else summing))
    if where == "score":
        broken_task = dataclasses.replace(broken_task, score=broken)
    code, rows, _ = bench([broken_task])
    assert (code, rows[0]["error"]) == (1, "KeyError: 'shape'")


def test_a_missing_peer_is_skipped_and_said_so(bench):
    methods = [Method("ours", summing), Method("peer", summing, requires=("no_such_package",))]
    code, rows, printed = bench([task(*methods)])
    assert (code, [row["method"] for row in rows]) == (0, ["ours"])
    assert "skipped peer: no_such_package not installed" in printed.out


def test_an_interrupt_keeps_what_is_finished(bench):
    def interrupted(data):
        raise KeyboardInterrupt

    tasks = [task(Method("ours", summing)), task(Method("ours", interrupted), n=11)]
    code, rows, printed = bench(tasks)
    assert (code, len(rows)) == (130, 1)
    assert "interrupted; finished runs are in" in printed.out


def test_a_line_cut_short_is_not_a_run_and_does_not_spoil_the_next(bench, tmp_path):
    tasks = [task(Method("ours", summing)), task(Method("ours", summing), n=11)]
    bench(tasks)
    path = tmp_path / "out" / "results.jsonl"
    path.write_text(path.read_text()[:-20])
    _, rows, printed = bench(tasks)
    assert [row["params"]["n"] for row in rows] == [10, 11]
    assert "1 of 2 runs taken from" in printed.out


def test_the_lines_are_json_even_where_a_figure_is_not_finite(bench, tmp_path):
    lost = dataclasses.replace(
        task(Method("ours", summing)), score=lambda *_: {"error": float("nan"), "bound": 1e400}
    )
    _, rows, _ = bench([lost])
    assert "NaN" not in (tmp_path / "out" / "results.jsonl").read_text()
    assert rows[0]["figures"] == {"error": None, "bound": None}


def test_the_table_puts_the_peer_beside_ours(bench):
    _, rows, _ = bench([task(Method("ours", summing), Method("peer", summing))])
    _, ours, peer = (line.split() for line in comparison(bench.reported, "ours").splitlines()[1:])
    assert ours[:2] == ["sum", "ours"]
    assert peer[:2] == ["sum", "peer"]
    assert float(ours[3]) == 1.0
    assert float(peer[3]) == pytest.approx(rows[1]["seconds"] / rows[0]["seconds"], rel=1e-2)


def test_seconds_measured_apart_are_not_compared(bench):
    bench([task(Method("ours", summing))])
    bench([task(Method("ours", summing), Method("peer", summing))])
    assert comparison(bench.reported, "ours").splitlines()[-1].split()[3] == "-"


@pytest.mark.parametrize(
    ("arguments", "source"),
    [((), "what installed packages contain"), (("--data", "."), "data: .")],
)
def test_it_says_where_data_come_from(bench, arguments, source):
    assert source in bench([], *arguments)[2].out


def test_the_environment_names_the_data_and_the_option_wins(bench, monkeypatch, tmp_path):
    monkeypatch.setenv("KERNELGP_DATA", str(tmp_path))
    assert f"data: {tmp_path}" in bench([])[2].out
    assert "data: ." in bench([], "--data", ".")[2].out


def test_a_data_folder_that_is_none_is_a_usage_error(bench):
    with pytest.raises(SystemExit) as stop:
        bench([], "--data", "no/such/folder")
    assert stop.value.code == 2
