"""Runs: what a method did on a task, as one JSON line, and the file such lines are kept in."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

__all__ = ["Run", "append", "finite", "read", "run_key"]


@dataclass(frozen=True, slots=True)
class Run:
    """What one method did on one task; one line of ``results.jsonl``.

    Attributes
    ----------
    seconds : median of the timed calls; None where the method failed
    peak_mib : growth of the process during the first call
    together : the methods it was timed in turn with, itself included; seconds compare
        fairly with theirs
    error : class and message, where the method failed
    """

    task: str
    method: str
    seed: int
    params: Mapping[str, Any]
    figures: Mapping[str, float | None]
    seconds: float | None
    times: Sequence[float]
    peak_mib: float | None
    together: Sequence[str]
    error: str | None
    versions: Mapping[str, str]
    machine: Mapping[str, Any]
    finished: str

    @property
    def key(self) -> str:
        return run_key(self.task, self.method, self.seed, self.params)

    @property
    def group(self) -> str:
        """What the runs of all methods on the same data share."""
        return run_key(self.task, "", self.seed, self.params)


def run_key(task: str, method: str, seed: int, params: Mapping[str, Any]) -> str:
    """What makes a run the same run as an earlier one."""
    return json.dumps([task, method, seed, params], sort_keys=True)


def read(path: Path) -> dict[str, Run]:
    """Finished runs by key; those of a newer or older layout are left alone."""
    if not path.exists():
        return {}
    _cut_torn_line(path)
    runs = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        if row.keys() == Run.__dataclass_fields__.keys() and row["error"] is None:
            run = Run(**row)
            runs[run.key] = run
    return runs


def append(path: Path, runs: Sequence[Run]) -> None:
    with path.open("a", encoding="utf-8") as file:
        file.writelines(json.dumps(asdict(run)) + "\n" for run in runs)


def finite(figures: Mapping[str, float]) -> dict[str, float | None]:
    """JSON knows neither NaN nor infinity: both become null, in the table a dash."""
    return {k: float(v) if math.isfinite(v) else None for k, v in figures.items()}


def _cut_torn_line(path: Path) -> None:
    """A process killed while it wrote leaves half a line; the run it was of is repeated."""
    with path.open("rb+") as file:
        file.truncate(file.read().rfind(b"\n") + 1)
