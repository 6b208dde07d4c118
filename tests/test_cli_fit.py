"""``kernelgp fit`` and ``kernelgp predict``, in one process and in two."""

import csv
import os
import signal
import subprocess
import sys
import time
import warnings

import numpy as np
import pytest

from kernelgp import GPClassifier, GPRegressor
from kernelgp.cli import main

RNG = np.random.default_rng(0)
X = RNG.uniform(size=(60, 2))
Y = np.sin(6 * X[:, 0]) + X[:, 1] + 0.1 * RNG.normal(size=60)
SEA = np.where(X[:, 0] > 0.5, "near", "far")


@pytest.fixture
def kernelgp(monkeypatch, capsys):
    """Runs the command with arguments; the exit code and what it printed to either stream."""
    monkeypatch.setattr(warnings, "showwarning", warnings.showwarning)
    monkeypatch.setenv("COLUMNS", "120")

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["kernelgp", *map(str, arguments)])
        with pytest.raises(SystemExit) as stop:
            main()
        return stop.value.code or 0, *capsys.readouterr()

    return run


def write(path, **columns):
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows(zip(*columns.values(), strict=True))
    return path


def read(path):
    with path.open(newline="") as file:
        header, *rows = csv.reader(file)
    return dict(zip(header, zip(*rows, strict=True), strict=True))


@pytest.fixture
def data(tmp_path):
    return write(tmp_path / "a.csv", a=X[:, 0], b=X[:, 1], y=Y)


def test_predictions_are_those_of_the_class(kernelgp, data, tmp_path):
    model, out = tmp_path / "models" / "a.gp", tmp_path / "p" / "predictions.csv"
    code, told, err = kernelgp("fit", data, "--target", "y", "--out", model)
    assert (code, err) == (0, "")
    lines = [line.split(maxsplit=1) for line in told.splitlines()]
    assert ["estimator", "GPRegressor"] in lines
    assert ["rows", "60"] in lines
    assert lines[-1] == ["wrote", str(model)]
    code, told, err = kernelgp("predict", model, data, "--out", out)
    assert (code, err) == (0, "")
    mean, std = GPRegressor(random_state=0).fit(X, Y).predict(X, return_std=True)
    found = read(out)
    assert list(found) == ["y", "std"]
    np.testing.assert_array_equal(np.array(found["y"], float), mean)
    np.testing.assert_array_equal(np.array(found["std"], float), std)
    assert GPRegressor.load(model).predict(X) == pytest.approx(mean)


def test_text_and_blanks_are_told(kernelgp, tmp_path):
    a = [f"{value}" if i % 9 else "" for i, value in enumerate(X[:, 0])]
    data = write(tmp_path / "a.csv", a=a, sea=SEA, y=Y)
    arguments = ("--set", "optimizer=null", "--set", "noise=0.01", "--out", tmp_path / "a.gp")
    code, told, _ = kernelgp("fit", data, "--target", "y", *arguments)
    assert code == 0
    assert "2 columns, 3 encoded" in told
    assert "sea: 2 values, one-hot" in told
    assert "7 in a, taken for its median" in told
    assert GPRegressor.load(tmp_path / "a.gp").noise == 0.01


def test_classes_come_with_probabilities(kernelgp, tmp_path):
    data = write(tmp_path / "a.csv", a=X[:, 0], b=X[:, 1], sea=SEA)
    arguments = ("--estimator", "GPClassifier", "--set", "optimizer=null")
    code, _, err = kernelgp("fit", data, "--target", "sea", *arguments, "--out", tmp_path / "a.gp")
    assert (code, err) == (0, "")
    kernelgp("predict", tmp_path / "a.gp", data, "--out", tmp_path / "p.csv")
    found = read(tmp_path / "p.csv")
    assert list(found) == ["sea", "probability of far", "probability of near"]
    expected = GPClassifier(optimizer=None, random_state=0).fit(X, SEA)
    np.testing.assert_array_equal(found["sea"], expected.predict(X))


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("--target", "z"), 1, "kernelgp: target: got 'z'; name one of a, b, y."),
        (("--target", "y", "--estimator", "GPRegresor"), 2, "no estimator 'GPRegresor'"),
        (("--target", "y", "--set", "nois=1"), 2, "GPRegressor has no 'nois'"),
        (("--target", "y", "--set", "noise"), 2, "write name=value"),
        (("--target", "y", "--set", "noise=-1"), 1, "kernelgp: noise: got -1"),
    ],
)
def test_wrong_arguments_are_told_in_a_line(kernelgp, data, tmp_path, arguments, code, message):
    found, told, err = kernelgp("fit", data, *arguments, "--out", tmp_path / "a.gp")
    assert (found, told) == (code, "")
    assert message in " ".join(err.split())
    assert "Traceback" not in err
    assert not (tmp_path / "a.gp").exists()


def test_files_that_are_not_there_or_no_models_are_told(kernelgp, data, tmp_path):
    code, _, err = kernelgp("fit", tmp_path / "no.csv", "--target", "y", "--out", tmp_path / "a.gp")
    assert code == 1
    assert "No such file" in err
    code, _, err = kernelgp("predict", data, data, "--out", tmp_path / "p.csv")
    assert code == 1
    assert "bytes without our header" in err
    path = GPRegressor(noise=0.01, optimizer=None).fit(X, Y).save(tmp_path / "own.gp")
    code, _, err = kernelgp("predict", path, data, "--out", tmp_path / "p.csv")
    assert code == 1
    assert "knows no columns of a CSV file" in err
    assert not (tmp_path / "p.csv").exists()


def torchrun(*arguments):
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command += ["--nproc-per-node", "2", "-m", "kernelgp.cli", *map(str, arguments)]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}
    return subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


ITERATIVE = ("--set", "method=iterative", "--set", "max_iterations=4", "--set", "dtype=float64")


@pytest.mark.filterwarnings("ignore::kernelgp.errors.ConvergenceWarning")
def test_two_processes_fit_what_one_does(kernelgp, data, tmp_path):
    arguments = ("fit", data, "--target", "y", *ITERATIVE, "--out")
    two = torchrun(*arguments, tmp_path / "two.gp")
    kernelgp(*arguments, tmp_path / "one.gp")
    told, errors = two.communicate(timeout=100)
    assert two.returncode == 0, errors
    assert told.count("estimator") == 1  # one process speaks
    one, other = (GPRegressor.load(tmp_path / f"{name}.gp") for name in ("one", "two"))
    assert other.distributed
    np.testing.assert_allclose(other.theta_, one.theta_, rtol=1e-6, atol=1e-6)
    for a, b in zip(
        one.predict(X, return_std=True), other.predict(X, return_std=True), strict=True
    ):
        np.testing.assert_allclose(a, b, rtol=1e-6)


def test_a_killed_process_ends_the_run_and_leaves_the_old_model(kernelgp, tmp_path):
    rows = RNG.uniform(size=(6000, 2))
    data = write(tmp_path / "a.csv", a=rows[:, 0], b=rows[:, 1], y=rows.sum(axis=1) ** 2)
    model = tmp_path / "a.gp"
    model.write_bytes(b"the old one")
    run = torchrun("fit", data, "--target", "y", "--set", "method=iterative", "--out", model)
    try:
        workers = _workers(run.pid)
        time.sleep(1.0)
        os.kill(workers[1], signal.SIGKILL)
        told, errors = run.communicate(timeout=60)
    finally:
        run.kill()
    assert run.returncode != 0
    assert "wrote" not in told
    assert "rank" in errors.lower()
    assert model.read_bytes() == b"the old one"
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["a.csv", "a.gp"]


def _workers(parent):
    """The two processes that torchrun starts, once both are there."""
    for _ in range(600):
        try:
            with open(f"/proc/{parent}/task/{parent}/children") as file:  # noqa: PTH123
                children = [int(word) for word in file.read().split()]
        except FileNotFoundError:
            pytest.skip("needs /proc")
        if len(children) == 2:
            return children
        time.sleep(0.1)
    raise AssertionError("torchrun started no processes")
