"""Files: what was written comes back, and no damage goes unnoticed."""

import dataclasses
import json
import struct

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import given, settings
from hypothesis import strategies as st

from kernelgp.errors import CheckpointError
from kernelgp.storage import FileFormat, read_file, write_file

TABLE = FileFormat("kernelgp.table", "3", "Table.save")
HEADER = {"names": ["a", "größe"], "scale": 0.1 + 0.2, "nothing": None, "sha": '"sha256":"'}
ARRAYS = {
    "vector": np.arange(4.0)[::-1],
    "matrix": np.arange(6, dtype=np.int64).reshape(2, 3).T,
    "single": np.array(1 / 3, dtype=np.float32),
    "mask": np.array([True, False]),
    "empty": np.empty((0, 3)),
}


@pytest.fixture
def path(tmp_path):
    return write_file(tmp_path / "deep" / "a.gp", TABLE, HEADER, ARRAYS)


def test_everything_comes_back(path):
    header, arrays = read_file(path, TABLE)
    assert header == HEADER
    assert arrays.keys() == ARRAYS.keys()
    for name, array in ARRAYS.items():
        np.testing.assert_array_equal(arrays[name], array)
        assert (arrays[name].dtype, arrays[name].shape) == (array.dtype, array.shape)


def test_a_file_may_hold_no_arrays(tmp_path):
    path = write_file(tmp_path / "a.gp", TABLE, {}, {})
    assert read_file(path, TABLE) == ({}, {})


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_no_flipped_bit_goes_unnoticed(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("flip") / "a.gp"
    write_file(path, TABLE, HEADER, ARRAYS)
    content = bytearray(path.read_bytes())
    place = data.draw(st.integers(0, len(content) - 1))
    content[place] ^= 1 << data.draw(st.integers(0, 7))
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"checksum|without our header"):
        read_file(path, TABLE)


@pytest.mark.parametrize("keep", [0, 1, 7, 8, 100, 0.5, -1])
def test_truncated_files_are_refused(path, keep):
    content = path.read_bytes()
    path.write_bytes(content[: int(keep * len(content)) if keep == 0.5 else keep])
    with pytest.raises(CheckpointError, match=r"checksum|without our header"):
        read_file(path, TABLE)


@pytest.mark.parametrize(
    "content",
    [
        b"hello",
        b"\x80\x04K\x01.",
        safetensors.numpy.save({"a": np.ones(3)}),
        safetensors.numpy.save({"a": np.ones(3)}, {"format": "pt", "sha256": "0" * 64}),
        json.dumps({"format": "kernelgp.table"}).encode(),
        struct.pack("<Q", 2**60),
    ],
)
def test_foreign_files_are_refused(path, content):
    path.write_bytes(content)
    message = r"got \d+ bytes without our header; give a file that Table\.save wrote"
    with pytest.raises(CheckpointError, match=message):
        read_file(path, TABLE)


def test_another_of_our_formats_is_named(path):
    other = FileFormat("kernelgp.solution", "3", "Solution.save")
    message = r"got a file of format kernelgp\.table; give a file that Solution\.save wrote"
    with pytest.raises(CheckpointError, match=message):
        read_file(path, other)


def test_other_versions_are_named(path):
    with pytest.raises(CheckpointError, match=r"got format version 3; this one reads version 4"):
        read_file(path, dataclasses.replace(TABLE, version="4"))


def test_a_missing_file_is_the_systems_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_file(tmp_path / "nosuch.gp", TABLE)


def test_a_failed_write_leaves_the_old_file_and_nothing_else(path, monkeypatch):
    before = path.read_bytes()

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("kernelgp.storage.os.fsync", full)
    with pytest.raises(OSError, match=r"No space left"):
        write_file(path, TABLE, {}, {})
    assert path.read_bytes() == before
    assert [p.name for p in path.parent.iterdir()] == ["a.gp"]
