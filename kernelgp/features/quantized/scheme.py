"""What a quantisation scheme is made of: its levels, its blocks, and how sums become features.

References
----------
J. Zhang, A. Cloninger and R. Saab, *Sigma-Delta and distributed noise-shaping quantization methods
for random Fourier features*, 2021.
"""

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kernelgp.errors import ArgumentError
from kernelgp.features.quantized.quantizers import (
    round_nearest,
    round_randomly,
    shape_in_blocks,
    sum_first_order,
    sum_second_order,
)
from kernelgp.validation import check_choice, check_count

__all__ = ["SCHEMES", "Scheme", "read_scheme"]

SCHEMES = ("sigma_delta", "beta", "stochastic", "semi")
_MOST_BITS = 8
# One column of order 1 with 15 waves of one bit has 16 values, four bits to the last one; order 2
# has 50 of 64 with 13, and 65 with 15. Twelve waves and 1.9 are the paper's own for "beta".
_BLOCKS = {"sigma_delta": {1: 15, 2: 13}, "beta": {1: 12, 2: 12}}


@dataclass(frozen=True)
class Scheme:
    """A way from waves to small whole numbers, and from those to features.

    Attributes
    ----------
    name : one of `SCHEMES`
    bits : of one wave
    order : 1 or 2, of "sigma_delta"
    block : waves of one column
    beta : how strongly "beta" feeds an error back
    """

    name: str
    bits: int
    order: int
    block: int
    beta: float

    @property
    def levels(self) -> int:
        """``L = 2 K - 1`` for 2 K levels: a wave becomes c / L."""
        return 2**self.bits - 1

    @property
    def codes_per_column(self) -> int:
        """Whole numbers that are stored for a column."""
        return self.block if self.name == "beta" else 1

    @cached_property
    def offset(self) -> int:
        """The largest of the numbers stored; the smallest is its negative, and steps are 2."""
        waves = round(self.weights.sum()) if self.name == "sigma_delta" else 1
        return waves * self.levels

    @property
    def code_bits(self) -> int:
        """Bits of a number stored."""
        return self.offset.bit_length()

    @cached_property
    def weights(self) -> NDArray[np.float64]:
        """What the waves of a block are multiplied by before they are summed."""
        a = np.arange(self.block)
        if self.name == "beta":
            return np.power(self.beta, -(a + 1.0)).astype(np.float64)
        if self.name == "sigma_delta" and self.order == 2:
            return np.minimum(a + 1, self.block - a).astype(np.float64)
        return np.ones(self.block)

    @property
    def gain(self) -> float:
        """By which "beta" scales a wave, so that its filter stays stable."""
        return (self.levels + 1 - self.beta) / self.levels if self.name == "beta" else 1.0

    @property
    def unit(self) -> float:
        """One column's feature for a sum of 1, times the root of half the number of columns."""
        first = _first_harmonic(self.levels) if self.name == "semi" else 1.0
        norm = float(np.linalg.norm(self.weights))
        return 1 / (norm * self.levels * self.gain * math.sqrt(first))

    def quantize(self, z: NDArray[np.float32], seeds: NDArray[np.uint64]) -> NDArray[np.float32]:
        """Numbers (columns * codes_per_column, rows) of waves (columns * block, rows)."""
        columns = len(z) // self.block
        out = np.empty((columns * self.codes_per_column, z.shape[1]), np.float32)
        levels: Any = self.levels
        if self.name == "stochastic":
            round_randomly(z, levels, seeds, out)
        elif self.name == "semi":
            round_nearest(z, levels, out)
        elif self.name == "beta":
            shape_in_blocks(z, levels, self.block, self.beta, self.gain, out)
        else:
            sum_in = sum_first_order if self.order == 1 else sum_second_order
            sum_in(z, levels, self.block, out)
        return out

    def condense(self, sums: NDArray[np.float32]) -> NDArray[np.float32]:
        """Columns from the numbers stored, (..., columns * codes_per_column)."""
        if self.codes_per_column == 1:
            return sums
        parts = sums.reshape(*sums.shape[:-1], -1, self.block)
        return parts @ self.weights.astype(sums.dtype)


def read_scheme(name: Any, bits: Any, order: Any, block: Any, beta: Any) -> Scheme:
    """Check what a user asked for; a block of None is that of the scheme.

    Raises
    ------
    ArgumentError
        Naming what cannot be used.
    """
    check_choice("scheme", name, SCHEMES)
    if check_count("bits", bits) > _MOST_BITS:
        remedy = f"give 1 to {_MOST_BITS}, or use FourierFeatures"
        raise ArgumentError("bits", str(bits), remedy)
    check_choice("order", order, [1, 2])
    levels = 2**bits
    if isinstance(beta, bool) or not isinstance(beta, int | float) or not 1 <= beta < levels:
        given = f"{beta!r} with {levels} levels"
        raise ArgumentError("beta", given, f"give a number from 1 to below {levels}")
    if block is None:
        block = _BLOCKS.get(name, {}).get(order, 1)
    check_count("block", block)
    if name in ("stochastic", "semi") and block != 1:
        remedy = 'leave it out: each wave is a column; "sigma_delta" and "beta" have blocks'
        raise ArgumentError("block", f"{block} for the scheme {name!r}", remedy)
    if name == "sigma_delta" and order == 2 and block % 2 == 0:
        raise ArgumentError("block", f"{block} for order 2", "give an odd number")
    return Scheme(str(name), int(bits), int(order), int(block), float(beta))


def _first_harmonic(levels: int) -> float:
    """``2 E[cos θ q(cos θ)]`` of plain rounding: 4 / π for one bit."""
    steps = 2 * np.arange(-(levels // 2), levels // 2 + 1) / levels
    return float((2 / levels) * (2 / math.pi) * np.sqrt(1 - steps**2).sum())
