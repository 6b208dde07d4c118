"""Numbers that belong to a row's index and a seed: equal wherever and whenever they are asked."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from kernelgp.attention.row_table import RowTable

__all__ = ["bucket_and_sign", "row_uniform", "row_weights"]

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_FIRST = np.uint64(0xBF58476D1CE4E5B9)
_SECOND = np.uint64(0x94D049BB133111EB)


def row_uniform(seed: int, index: Tensor) -> Tensor:
    """A float64 in (0, 1) for each index, (n,)."""
    bits = _hash(seed, index.numpy(), stream=0) >> np.uint64(11)
    return torch.from_numpy((bits.astype(np.float64) + 0.5) * 2.0**-53)


def bucket_and_sign(
    seed: int, n_rows: int, n_buckets: int
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """For each row one of `n_buckets` and a sign, +1 or -1."""
    index = np.arange(n_rows)
    bucket = _hash(seed, index, stream=1) % np.uint64(n_buckets)
    sign = 1.0 - 2.0 * (_hash(seed, index, stream=2) >> np.uint64(63)).astype(np.float64)
    return bucket.astype(np.int64), sign


def row_weights(rows: RowTable, method: str, unit: float) -> Tensor:
    """What a row's probability grows with, (n,) float64: its squared norm, or that it is not 0."""
    square = rows.squares_by_row(unit)
    return (square > 0).double() if method == "uniform" else square


def _hash(seed: int, index: NDArray[np.int64], *, stream: int) -> NDArray[np.uint64]:
    """Steele, Lea and Flood's splitmix64 of the index, from a start that mixes the seed."""
    with np.errstate(over="ignore"):  # multiplication modulo 2^64 is meant
        start = _mix(np.array([seed], dtype=np.uint64) + _GOLDEN)
        start = _mix(start + np.uint64(stream) * _SECOND)
        return _mix(start + (index.astype(np.uint64) + np.uint64(1)) * _GOLDEN)


def _mix(z: NDArray[np.uint64]) -> NDArray[np.uint64]:
    z = (z ^ (z >> np.uint64(30))) * _FIRST
    z = (z ^ (z >> np.uint64(27))) * _SECOND
    return z ^ (z >> np.uint64(31))
