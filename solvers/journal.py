"""What a solve has done so far: written into a checkpoint, and shown while it goes on.

A solve records its steps by name, and asks for each whether it was done before: a rung of the
ladder of priors, an iterate of Newton's method, a slab of time. Without a path nothing is
written; with one every record is, atomically, so that an interruption loses one step at most.
"""

import dataclasses
import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kernelgp.errors import ArgumentTypeError, CheckpointError
from kernelgp.progress import ProgressBar
from kernelgp.storage import FileFormat, read_file, write_file

__all__ = ["SILENT", "Journal", "fingerprint", "open_journal"]

_FORMAT = FileFormat("kernelgp.checkpoint", "1", "solve(..., checkpoint=path)")


class Journal:
    """Records of one solve, by name; made by `open_journal`.

    Parameters
    ----------
    path : Path or None
        None keeps nothing.
    identity : mapping of str to str
        What is being solved, where and how; a file of another is refused.
    bar : ProgressBar or None
        What shows each record.
    """

    def __init__(
        self,
        path: Path | None = None,
        identity: Mapping[str, str] | None = None,
        bar: ProgressBar | None = None,
    ) -> None:
        self.path, self._identity, self._bar = path, dict(identity or {}), bar
        self._arrays: dict[str, NDArray[Any]] = {}
        self._prefix = ""

    def part(self, name: str) -> "Journal":
        """The records of one part of the work: a slab, a rung. It writes into the same file."""
        part = Journal(self.path, self._identity, self._bar)
        part._arrays, part._prefix = self._arrays, f"{self._prefix}{name}/"
        return part

    def recall(self, step: str) -> dict[str, NDArray[Any]] | None:
        """The arrays recorded for a step, or None if it was not done."""
        start = f"{self._prefix}{step}/"
        found = {k.removeprefix(start): a for k, a in self._arrays.items() if k.startswith(start)}
        return found or None

    def record(
        self,
        step: str,
        arrays: Mapping[str, Any] | Callable[[], Mapping[str, Any]],
        **figures: float,
    ) -> None:
        """A step is done, or further than it was.

        Parameters
        ----------
        step
            Its name; what was recorded under it before is replaced.
        arrays
            All that is needed to go on from there, at least one; or what makes them.
        **figures
            Numbers worth seeing beside the progress bar.
        """
        if self._bar is not None:
            self._bar.advance(f"{self._prefix.replace('/', ', ')}{step}", **figures)
        if self.path is None:
            return
        start = f"{self._prefix}{step}/"
        for name in [n for n in self._arrays if n.startswith(start)]:
            del self._arrays[name]
        made = arrays() if callable(arrays) else arrays
        self._arrays.update({start + name: np.asarray(array) for name, array in made.items()})
        write_file(self.path, _FORMAT, self._identity, self._arrays)


#: It keeps nothing and shows nothing.
SILENT = Journal()


def open_journal(
    path: str | Path | None, identity: Mapping[str, str], bar: ProgressBar | None = None
) -> Journal:
    """A journal that goes on from the file at `path`, if there is one.

    Parameters
    ----------
    path
        None writes nothing.
    identity
        Each entry is compared with the file's; its name goes into the message.
    bar

    Raises
    ------
    ArgumentTypeError
        If `path` is no path.
    CheckpointError
        If the file is truncated or damaged, no checkpoint, or one of another problem, grid or
        solver.
    OSError
        If it cannot be read.
    """
    if path is None:
        return Journal(bar=bar)
    if not isinstance(path, str | Path):
        raise ArgumentTypeError("checkpoint", repr(path), "give the path of a file, or None")
    journal = Journal(Path(path), identity, bar)
    if not journal.path or not journal.path.exists():
        return journal
    found, journal._arrays = read_file(journal.path, _FORMAT)
    for name, ours in identity.items():
        theirs = found.get(name, "nothing")
        if theirs != ours:
            given = f"a checkpoint of another {name}: {theirs}, not {ours}"
            raise CheckpointError(str(path), given, "delete it, or give another path")
    return journal


def fingerprint(*parts: Any) -> str:
    """Twelve characters that change with anything in `parts`: text, numbers, arrays, mappings."""
    digest = hashlib.sha256()
    for part in parts:
        if isinstance(part, np.ndarray):
            digest.update(str((part.shape, part.dtype.str)).encode())
            digest.update(np.ascontiguousarray(part).tobytes())
        else:
            digest.update(json.dumps(part, sort_keys=True, default=_plain).encode())
    return digest.hexdigest()[:12]


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return dataclasses.asdict(value)
    return repr(value)
