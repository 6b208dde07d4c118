"""Features as bits: an array that multiplies without being spelled out."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from kernelgp.errors import ArgumentError, ArgumentTypeError
from kernelgp.features.held_rows import HeldRows
from kernelgp.features.quantized.bits import centred_products, unpack
from kernelgp.features.quantized.scheme import Scheme
from kernelgp.operators.feature import FeatureOperator

__all__ = ["PackedFeatures"]

# Rows that are spelled out at once: 16 MB of 4096 columns.
_ROWS = 1024


@dataclass(frozen=True, eq=False)
class PackedFeatures:
    """Quantised features Z, (n, n_components), in the bits they need.

    Its rows can be taken by slices and index arrays. ``Z @ v`` and `rmatmul` spell out some rows
    at a time; `gram` counts bits.

    Attributes
    ----------
    planes : (n, bits, words) uint64
        Bit k of the j-th number of row i is bit ``j % 64`` of ``planes[i, k, j // 64]``.
    n_codes : int
        Numbers of a row.
    unit : float
        What a feature is for a number of 1.
    scheme : Scheme
    dtype : float32 or float64
        Of what is computed from it.

    Examples
    --------
    >>> from kernelgp import QuantizedFourierFeatures
    >>> X = np.random.default_rng(0).normal(size=(500, 3))
    >>> features = QuantizedFourierFeatures(scheme="stochastic", output="packed", random_state=0)
    >>> Z = features.fit_transform(X)
    >>> Z.shape, Z.nbytes == 500 * 4096 // 8
    ((500, 4096), True)
    >>> bool(np.allclose(Z.gram(), Z.to_dense() @ Z.to_dense().T))
    True
    """

    planes: NDArray[np.uint64]
    n_codes: int
    unit: float
    scheme: Scheme
    dtype: np.dtype[Any]

    @property
    def shape(self) -> tuple[int, int]:
        """Rows, and columns of the features."""
        return len(self.planes), self.n_codes // self.scheme.codes_per_column

    @property
    def ndim(self) -> int:
        return 2

    @property
    def nbytes(self) -> int:
        """Bytes in memory: bits of a number times numbers of a row, in whole 64-bit words."""
        return self.planes.nbytes

    @property
    def bits_per_row(self) -> int:
        """Bits that carry information."""
        return self.n_codes * self.planes.shape[1]

    def __len__(self) -> int:
        return len(self.planes)

    def __getitem__(self, index: Any) -> "PackedFeatures":
        """Some of the rows."""
        if isinstance(index, tuple):
            raise ArgumentError("index", "one for columns", "take rows, or to_dense() first")
        rows = np.atleast_1d(np.arange(len(self))[index])
        return PackedFeatures(self.planes[rows], self.n_codes, self.unit, self.scheme, self.dtype)

    def to_dense(self) -> NDArray[Any]:
        """The features spelled out, (n, n_components); what ``output="dense"`` gives."""
        out = np.empty(self.shape, self.dtype)
        for start in range(0, len(self), _ROWS):
            out[start : start + _ROWS] = self._spelled(slice(start, start + _ROWS))
        return out

    def integers(self) -> NDArray[np.int64]:
        """The numbers that are stored, (n, n_codes): odd or even all of them, in steps of 2."""
        sums = np.empty((len(self), self.n_codes), np.float32)
        unpack(self.planes, self.scheme.offset, sums)
        return sums.astype(np.int64)

    def counts(self, other: "PackedFeatures | None" = None) -> NDArray[np.int64]:
        """Products of `integers`, exact, (n, m): ``S Sᵀ`` or ``S Tᵀ``."""
        right = self._other(other)
        out = np.empty((len(self), len(self if right is None else right)))
        self._multiply(right, 1.0, out)
        return out.astype(np.int64)

    def gram(self, other: "PackedFeatures | None" = None) -> NDArray[Any]:
        """``Z Zᵀ``, or ``Z Z'ᵀ`` with another array of the same features, (n, m).

        By counting bits, in whole numbers that are rounded once; of the scheme "beta", whose
        weights are no whole numbers, by products of rows spelled out in tiles.

        Raises
        ------
        ArgumentError
            If `other` is of other features.
        """
        right = self._other(other)
        out = np.empty((len(self), len(self if right is None else right)), self.dtype)
        if self.scheme.codes_per_column == 1:
            self._multiply(right, self.unit**2, out)
            return out
        columns = self.to_dense() if right is None else right.to_dense()
        for start in range(0, len(self), _ROWS):
            rows = slice(start, start + _ROWS)
            out[rows] = (columns[rows] if right is None else self._spelled(rows)) @ columns.T
        return out

    def __matmul__(self, other: Any) -> NDArray[Any]:
        """``Z v`` for (n_components,) or (n_components, k)."""
        values = self._operand("v", other, self.shape[1])
        blocks = [
            self._spelled(slice(start, start + _ROWS)) @ values
            for start in range(0, len(self), _ROWS)
        ]
        return np.concatenate(blocks)

    def rmatmul(self, other: Any) -> NDArray[Any]:
        """``Zᵀ u`` for (n,) or (n, k)."""
        values = self._operand("u", other, len(self))
        total = np.zeros((self.shape[1], *values.shape[1:]), self.dtype)
        for start in range(0, len(self), _ROWS):
            rows = slice(start, start + _ROWS)
            total += self._spelled(rows).T @ values[rows]
        return total

    def as_operator(self) -> FeatureOperator:
        """``Z Zᵀ`` as a lazy operator: products, and solves with noise, from the bits."""
        like = torch.empty(0, dtype=torch.float32 if self.dtype == np.float32 else torch.float64)
        return FeatureOperator(HeldRows(like, self))

    def _spelled(self, rows: slice) -> NDArray[Any]:
        planes = self.planes[rows]
        sums = np.empty((len(planes), self.n_codes), np.float32)
        unpack(planes, self.scheme.offset, sums)
        return self.scheme.condense(sums.astype(self.dtype, copy=False)) * self.dtype.type(
            self.unit
        )

    def _multiply(self, right: "PackedFeatures | None", scale: float, out: NDArray[Any]) -> None:
        other = None if right is None else right.planes
        centred_products(self.planes, other, self.n_codes, self.scheme.offset, scale, out)

    def _other(self, other: "PackedFeatures | None") -> "PackedFeatures | None":
        if other is None or other is self:
            return None
        if not isinstance(other, PackedFeatures):
            raise ArgumentTypeError("other", type(other).__name__, "give packed features")
        same = (self.n_codes, self.scheme) == (other.n_codes, other.scheme)
        if not same or not math.isclose(self.unit, other.unit):
            given = f"features of {other.scheme}, {other.n_codes} numbers a row"
            raise ArgumentError("other", given, f"give some of {self.scheme}, of one transformer")
        return other

    def _operand(self, name: str, other: Any, length: int) -> NDArray[Any]:
        values = np.asarray(other)
        if values.dtype.kind not in "biuf":
            raise ArgumentTypeError(name, f"dtype {values.dtype}", "give real numbers")
        if values.ndim not in (1, 2) or len(values) != length:
            remedy = f"give ({length},) or ({length}, k)"
            raise ArgumentError(name, f"shape {values.shape}", remedy)
        return values.astype(self.dtype, copy=False)
