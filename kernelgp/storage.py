"""One file for one fitted thing: numbers as safetensors, the rest as JSON, under a checksum.

Nothing that is read is run: there is no pickle. The checksum is the SHA-256 of the whole file
with the checksum's own 64 characters set to zero, so that no bit of it can change unnoticed,
headers included; safetensors by itself accepts a flipped bit.
"""

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy
from numpy.typing import NDArray

from kernelgp.errors import CheckpointError

__all__ = ["FileFormat", "read_file", "write_file"]

_KEY = b'"sha256":"'
_OURS = b'"format":"kernelgp.'
_BLANK = b"0" * 64


@dataclass(frozen=True)
class FileFormat:
    """What a file says it is, so that no other file is taken for it.

    Parameters
    ----------
    name
        ``kernelgp.`` and a noun.
    version
        Another version is refused, by name.
    writer
        The call that writes such files, for the messages.
    """

    name: str
    version: str
    writer: str


def write_file(
    path: str | Path,
    file_format: FileFormat,
    header: Mapping[str, Any],
    arrays: Mapping[str, NDArray[Any]],
) -> Path:
    """Write one file, atomically: the path holds the old file or the new one, never a part.

    Parameters
    ----------
    path
        Missing folders are made.
    file_format
        What the file is.
    header
        Anything that JSON holds.
    arrays
        Numbers and booleans, by name; shapes and dtypes come back as they were.

    Returns
    -------
    Path
        `path`, as a path.

    Examples
    --------
    >>> import tempfile
    >>> grid = FileFormat("kernelgp.grid", "1", "Grid.save")
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = write_file(f"{folder}/a.gp", grid, {"axes": ["x"]}, {"x": np.arange(3.0)})
    ...     read_file(path, grid)
    ({'axes': ['x']}, {'x': array([0., 1., 2.])})
    """
    metadata = {
        "format": file_format.name,
        "version": file_format.version,
        "sha256": _BLANK.decode(),
        "header": json.dumps(header),
    }
    # Not ascontiguousarray, which would give an array without axes one.
    rows = {name: np.asarray(array, order="C") for name, array in arrays.items()}
    blank = safetensors.numpy.save(rows, metadata)
    start = blank.index(_KEY + _BLANK) + len(_KEY)
    digest = hashlib.sha256(blank).hexdigest().encode()
    path = Path(path)
    _write(path, blank[:start] + digest + blank[start + len(_BLANK) :])
    return path


def read_file(
    path: str | Path, file_format: FileFormat
) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """Read the header and the arrays back.

    Raises
    ------
    CheckpointError
        If the file is damaged (the message says "checksum"), is not one of ours, or is of
        another format or version.
    OSError
        If there is no such file, or it cannot be read.
    """
    path = Path(path)
    content = path.read_bytes()
    metadata = _checked_metadata(path, content, file_format)
    return json.loads(metadata["header"]), safetensors.numpy.load(content)


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _checked_metadata(path: Path, content: bytes, file_format: FileFormat) -> dict[str, str]:
    """The file's metadata, once every byte of it is known to be as written."""
    wrote = f"give a file that {file_format.writer} wrote"
    start = content.find(_KEY)
    if start < 0 or _OURS not in content:
        remedy = f"{wrote}; this is another one, or it is truncated"
        raise CheckpointError(str(path), f"{len(content)} bytes without our header", remedy)
    start += len(_KEY)
    found = content[start : start + len(_BLANK)]
    blank = content[:start] + _BLANK + content[start + len(_BLANK) :]
    if hashlib.sha256(blank).hexdigest().encode() != found:
        remedy = "the file is damaged or truncated: save it again"
        raise CheckpointError(str(path), "a checksum that does not match its content", remedy)
    length = int.from_bytes(content[:8], "little")
    metadata = json.loads(content[8 : 8 + length])["__metadata__"]
    if metadata["format"] != file_format.name:
        raise CheckpointError(str(path), f"a file of format {metadata['format']}", wrote)
    if metadata["version"] != file_format.version:
        remedy = f"this one reads version {file_format.version}: install the kernelgp that wrote it"
        raise CheckpointError(str(path), f"format version {metadata['version']}", remedy)
    return metadata
