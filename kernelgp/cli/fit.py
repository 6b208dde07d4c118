"""Fitting an estimator to a CSV file, and predicting for another, in one process or several."""

import csv
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
import typer
from sklearn.base import is_classifier

import kernelgp
from kernelgp.errors import CheckpointError
from kernelgp.estimators.storage import SaveMixin, load_estimator
from kernelgp.estimators.table import Encoding, read_csv

__all__ = ["Processes", "fit", "parse_settings", "predict", "processes"]


@dataclass(frozen=True, slots=True)
class Processes:
    """Where this process stands among those that torchrun started."""

    rank: int
    size: int

    @property
    def is_first(self) -> bool:
        """Whether it is the one that speaks and writes."""
        return self.rank == 0


@contextmanager
def processes() -> Iterator[Processes]:
    """Join the group of processes that torchrun has started; alone without it."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield Processes(0, 1)
        return
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
    dist.init_process_group("nccl" if torch.cuda.is_available() else "gloo")
    yield Processes(dist.get_rank(), dist.get_world_size())
    dist.barrier()
    dist.destroy_process_group()


def parse_settings(settings: Sequence[str]) -> dict[str, Any]:
    """Constructor arguments from ``name=value``; a value that is no JSON is text.

    Examples
    --------
    >>> parse_settings(["method=iterative", "noise=0.01", "normalize_y=false", "optimizer=null"])
    {'method': 'iterative', 'noise': 0.01, 'normalize_y': False, 'optimizer': None}
    """
    found = {}
    for setting in settings:
        name, equals, value = setting.partition("=")
        if not equals or not name.isidentifier():
            raise typer.BadParameter(f"{setting!r}: write name=value", param_hint="--set")
        try:
            found[name] = json.loads(value)
        except ValueError:
            found[name] = value
    return found


def fit(
    data: Path, target: str, name: str, settings: dict[str, Any], team: Processes
) -> tuple[Any, list[tuple[str, str]]]:
    """The fitted estimator, and what to tell of it as labels and values.

    Raises
    ------
    typer.BadParameter
        If there is no such estimator, or it has no such setting.
    ArgumentError
        If the file, or what is in it, cannot be used.
    """
    estimator = _estimator(name, settings, team)
    cells = read_csv(data)
    encoding = Encoding.learn(cells, target)
    x = encoding.encode(cells)
    y = encoding.labels(cells) if is_classifier(estimator) else encoding.numbers(cells)
    estimator.fit(x, y)
    estimator.encoding_ = encoding
    return estimator, list(_summary(estimator, cells, x))


def predict(model: Path, data: Path, out: Path, team: Processes) -> list[tuple[str, str]]:
    """Write one prediction for each row of `data`; what to tell of it as labels and values.

    Raises
    ------
    CheckpointError
        If `model` is no file that ``kernelgp fit`` wrote.
    """
    estimator = load_estimator(model)
    if not hasattr(estimator, "encoding_"):
        remedy = "give a file that kernelgp fit wrote, or predict with the class itself"
        raise CheckpointError(str(model), "a model that knows no columns of a CSV file", remedy)
    x = estimator.encoding_.encode(read_csv(data))
    header, columns = _predictions(estimator, x)
    if team.is_first:
        _write(out, header, columns)
    return [("rows", str(len(x))), ("wrote", str(out))]


def _estimator(name: str, settings: dict[str, Any], team: Processes) -> Any:
    kinds = {
        name: kind
        for name in dir(kernelgp)
        if isinstance(kind := getattr(kernelgp, name), type) and issubclass(kind, SaveMixin)
    }
    if name not in kinds:
        what = f"no estimator {name!r}; there are {', '.join(kinds)}"
        raise typer.BadParameter(what, param_hint="--estimator")
    estimator: Any = kinds[name]()
    known = estimator.get_params()
    for setting in settings:
        if setting not in known:
            what = f"{name} has no {setting!r}; there are {', '.join(known)}"
            raise typer.BadParameter(what, param_hint="--set")
    # The same numbers at every run, and in every process.
    usual = {"random_state": 0, "verbose": team.is_first, "distributed": team.size > 1}
    if team.size > 1 and torch.cuda.is_available():
        usual["device"] = f"cuda:{torch.cuda.current_device()}"
    usual = {key: value for key, value in usual.items() if key in known}
    return estimator.set_params(**usual | settings)


def _summary(estimator: Any, cells: Any, x: np.ndarray) -> Iterator[tuple[str, str]]:
    encoding = estimator.encoding_
    yield "estimator", type(estimator).__name__
    yield "rows", str(len(x))
    text = [column for column in encoding.columns if column.values is not None]
    yield "inputs", f"{len(encoding.columns)} columns" + (f", {x.shape[1]} encoded" if text else "")
    for column in text:
        yield "text", f"{column.name}: {len(column.values or ())} values, one-hot"
    for column in encoding.columns:
        if count := column.blanks(cells[column.name]):
            yield "blank", f"{count} in {column.name}, taken for its median"
    report = getattr(estimator, "report_", None)
    if report is not None:
        yield from (("fit", line) for line in str(report).splitlines())
    noise = getattr(estimator, "noise_", None)
    if isinstance(noise, float):
        yield "noise", f"{noise:.4g}, variance in squared units of {encoding.target}"


def _predictions(estimator: Any, x: np.ndarray) -> tuple[list[str], list[np.ndarray]]:
    target = estimator.encoding_.target
    if is_classifier(estimator):
        probabilities = estimator.predict_proba(x)
        names = [f"probability of {label}" for label in estimator.classes_]
        return [target, *names], [estimator.predict(x), *probabilities.T]
    try:
        mean, std = estimator.predict(x, return_std=True)
    except TypeError:  # one without deviations, such as kernel ridge regression
        return [target], [estimator.predict(x)]
    return [target, "std"], [mean, std]


def _write(out: Path, header: list[str], columns: list[np.ndarray]) -> None:
    """The whole file or none of it."""
    out.parent.mkdir(parents=True, exist_ok=True)
    temporary = out.with_name(f".{out.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(header)
            writer.writerows(zip(*(column.tolist() for column in columns), strict=True))
        temporary.replace(out)
    finally:
        temporary.unlink(missing_ok=True)
