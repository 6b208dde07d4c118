"""Seconds and memory, measured so that a busy machine and a warm cache treat all alike."""

import multiprocessing
import resource
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

__all__ = ["Measurement", "alternate", "alternate_outputs", "peak_memory"]

MIB = 2**20


@dataclass(frozen=True, slots=True)
class Measurement:
    """What one function gave and cost.

    Attributes
    ----------
    output
        What its last call returned.
    times : tuple of float, in seconds
        One for each call that counts.
    peak_mib : float, in MiB
        By how much the process grew during the first call, at most; on CUDA the growth of
        the device's memory. A lower bound: memory that an earlier call had given back to
        the allocator, but not to the system, is not seen (`peak_memory` sees it).
    """

    output: Any
    times: tuple[float, ...]
    peak_mib: float

    @property
    def seconds(self) -> float:
        """The median of the times."""
        return statistics.median(self.times)


def alternate(functions: Sequence[Callable[[], Any]], repeats: int = 7) -> list[float]:
    """Median seconds of each function, all called in turn `repeats` times after a warm-up.

    Examples
    --------
    >>> ours, theirs = alternate([lambda: sum(range(10)), lambda: sum(range(100_000))])
    >>> ours < theirs
    True
    """
    return [measured.seconds for measured in alternate_outputs(functions, repeats)]


def alternate_outputs(functions: Sequence[Callable[[], Any]], repeats: int) -> list[Measurement]:
    """The same with outputs, every time and the memory of the first call.

    With one repeat nothing is warmed up: the only call is the one that counts.
    """
    outputs: list[Any] = [None] * len(functions)
    times: list[list[float]] = [[] for _ in functions]
    peaks = [0.0] * len(functions)
    for turn in range(repeats if repeats == 1 else repeats + 1):
        for i, function in enumerate(functions):
            outputs[i] = None  # or the memory of the last output would not count
            before = _reset_peak() if turn == 0 else 0.0
            started = time.perf_counter()
            outputs[i] = function()
            _synchronize()
            elapsed = time.perf_counter() - started
            if turn == 0:
                peaks[i] = max(_peak() - before, 0.0)
            if turn > 0 or repeats == 1:
                times[i].append(elapsed)
    return [
        Measurement(output, tuple(seconds), peak)
        for output, seconds, peak in zip(outputs, times, peaks, strict=True)
    ]


def peak_memory(prepare: Callable[..., Callable[[], Any]], *arguments: Any) -> float:
    """Peak memory of one call in MiB, above what stood before it, in a fresh process.

    Parameters
    ----------
    prepare
        A function of a module (it is pickled) that returns what is to be measured; what it
        does itself, such as importing and making data, does not count.
    """
    # Not a `Pool`, which waits for ever if its process dies.
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(_grown_by, prepare, *arguments).result()


def _grown_by(prepare: Callable[..., Callable[[], Any]], *arguments: Any) -> float:
    function = prepare(*arguments)
    return alternate_outputs([function], 1)[0].peak_mib


def _synchronize() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def _reset_peak() -> float:
    """Begin a new peak; what is held now, in MiB."""
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
        return torch.cuda.memory_allocated() / MIB
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    except OSError:  # not Linux, or not allowed: the peak so far has to do
        return _peak()
    return _status("VmRSS")


def _peak() -> float:
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / MIB
    try:
        return _status("VmHWM")
    except OSError:
        unit = 1 if sys.platform == "darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / MIB


def _status(key: str) -> float:
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith(f"{key}:"):
            return int(line.split()[1]) / 1024
    raise OSError(f"/proc/self/status has no {key}")
