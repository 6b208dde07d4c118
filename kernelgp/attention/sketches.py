"""``Aᵀ B`` from small sketches of two matrices that were made apart and share only a seed.

Sampled sketches keep whole rows. Both sketches draw the same number h(i) in (0, 1) for row i
and keep it where h(i) is small beside the row's squared norm, so that the rows both need are
kept by both (coordinated sampling). Linear sketches add all rows up with random signs or
weights. At equal storage the sampled ones win wherever rows are sparse or few rows are shared.

References
----------
Daliri, Freire, Li and Musco, *Matrix product sketching via coordinated sampling*, 2025
(arXiv 2501.17836). Duffield, Lund and Thorup, *Priority sampling for estimation of arbitrary
subset sums*, 2007, whose estimates of different rows are uncorrelated.
"""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import torch
from scipy import sparse
from torch import Tensor

from kernelgp.attention.row_hash import bucket_and_sign, row_uniform, row_weights
from kernelgp.attention.row_table import RowTable, as_rows
from kernelgp.errors import ArgumentError, ArgumentTypeError
from kernelgp.random import RandomState, as_generator
from kernelgp.storage import FileFormat, read_file, write_file

__all__ = ["RowSketch", "sketch_matmul"]

Method = Literal["priority", "threshold", "uniform", "countsketch", "gaussian"]
_SAMPLED = ("priority", "threshold", "uniform")
_LINEAR = ("countsketch", "gaussian")
_FILE = FileFormat("kernelgp.row_sketch", "1", "RowSketch.save")


def sketch_matmul(
    a: Any, b: Any, size: int, *, method: Method = "priority", generator: RandomState = None
) -> Tensor:
    """An unbiased estimate of ``aᵀ b`` from `size` rows of each.

    Parameters
    ----------
    a, b : Tensor, array, scipy or torch sparse matrix, shapes (n, d) and (n, m)
        float32 or float64. Gradients reach dense tensors, with the choice of rows held fixed.
    size
        Rows kept of each; `RowSketch` says what that means for each method.
    method : {"priority", "threshold", "uniform", "countsketch", "gaussian"}
    generator : int, numpy or torch generator, or None

    Returns
    -------
    Tensor, shape (d, m)
        Its root mean square error in the Frobenius norm is at most ``sqrt(2 / size) |a| |b|``
        for "priority", "threshold", "countsketch" and "gaussian". ``RowSketch.matmul`` gives a
        standard error too.

    Examples
    --------
    >>> a, b = torch.eye(3), torch.ones(3, 2)
    >>> sketch_matmul(a, b, 3)  # as many rows as there are: exact
    tensor([[1., 1.],
            [1., 1.],
            [1., 1.]])
    """
    seed = int(torch.randint(2**63 - 1, (), generator=as_generator(generator)))
    first, second = (_fit(name, x, size, method, seed) for name, x in (("a", a), ("b", b)))
    return first._product("b", second)


@dataclass(frozen=True, slots=True, eq=False)
class RowSketch:
    """A small summary of a matrix, from which ``Aᵀ B`` is estimated. Made by `RowSketch.fit`.

    Attributes
    ----------
    method, seed, size
        As given to `fit`; two sketches must agree in the first two, linear ones in all three.
    shape
        Of the matrix sketched.
    index : Tensor, shape (kept,)
        The rows kept, rising; empty for linear sketches.

    Examples
    --------
    >>> a, b = torch.eye(4), torch.arange(8.0).reshape(4, 2)
    >>> sketch_a, sketch_b = RowSketch.fit(a, 4), RowSketch.fit(b, 4)
    >>> product, standard_error = sketch_a.matmul(sketch_b)
    >>> torch.equal(product, b), standard_error.max().item()
    (True, 0.0)
    """

    method: str
    seed: int
    size: int
    shape: tuple[int, int]
    index: Tensor
    _rows: RowTable
    # A row of weight w is kept with probability min(1, w tau); infinite where all are kept.
    _tau: float
    # Weights are squared norms in this unit, so that they neither overflow nor vanish.
    _unit: float

    @classmethod
    def fit(cls, a: Any, size: int, method: Method = "priority", seed: int = 0) -> Self:
        """Sketch the rows of one matrix.

        Parameters
        ----------
        a : Tensor, array, scipy or torch sparse matrix, shape (n, d)
            float32 or float64. What is sparse is never made dense.
        size
            "priority" and "uniform" keep exactly so many rows, or all that are not zero;
            "threshold" keeps so many in the mean; "countsketch" and "gaussian" hold so many
            sums of rows.
        method
            "priority" (the default) and "threshold" prefer rows of large norm, "uniform" does
            not; a row of z entries costs ``2 z + 1`` numbers where `a` is sparse. The sums of
            "countsketch" and "gaussian" cost d numbers each.
        seed
            What sketches must share to be multiplied.

        Raises
        ------
        ArgumentError
            If `a` is no matrix, has no rows or columns, is not of float32 or float64 or not
            finite; if `size` is not positive or `method` is not known.
        ArgumentTypeError
            If `a` is neither array nor tensor, or `size` or `seed` no integer.
        """
        return _fit("a", a, size, method, seed, cls)

    @property
    def nbytes(self) -> int:
        """Bytes of the numbers kept."""
        return self._rows.nbytes + self.index.numel() * self.index.element_size() + 16

    def matmul(self, other: "RowSketch") -> tuple[Tensor, Tensor]:
        """Estimate ``Aᵀ B`` and the standard error of every entry.

        Parameters
        ----------
        other
            The sketch of B, of the same seed, method and number of rows.

        Returns
        -------
        product, standard_error : Tensor, shape (d, m)
            The root of the sum of ``standard_error**2`` is that of the Frobenius norm.

        Raises
        ------
        ArgumentError
            If the sketches do not fit together.
        ArgumentTypeError
            If `other` is no sketch.
        """
        product = self._product("other", other)
        if self.method in _LINEAR:
            # Of Gaussian weights, each column's norm taken from its sketch; random signs do no
            # worse.
            first, second = (s._rows.squared(s._unit).rows.sum(dim=0) for s in (self, other))
            scaled = product.detach().double() / self._unit / other._unit
            variance = (torch.outer(first, second) + scaled**2) / self.size
        else:
            mine, its, keep = self._common(other)
            first = self._rows.at(mine).squared(self._unit)
            second = other._rows.at(its).squared(other._unit)
            variance = first.weighted_product(second, (1 - keep) / keep**2)
        error = variance.clamp_min(0).sqrt() * (self._unit * other._unit)
        return product, error.to(product.dtype)

    def _product(self, name: str, other: Any) -> Tensor:
        self._check_fits(name, other)
        if self.method in _LINEAR:
            ones = torch.ones(self.size, dtype=torch.float64, device=self._rows.device)
            return self._rows.weighted_product(other._rows, ones)
        mine, its, keep = self._common(other)
        return self._rows.at(mine).weighted_product(other._rows.at(its), 1 / keep)

    def _common(self, other: "RowSketch") -> tuple[Tensor, Tensor, Tensor]:
        """Where the rows kept by both stand in each, and the probability that both keep them."""
        _, mine, its = np.intersect1d(
            self.index.cpu().numpy(),
            other.index.cpu().numpy(),
            assume_unique=True,
            return_indices=True,
        )
        device = self._rows.device
        mine, its = (torch.as_tensor(i, device=device) for i in (mine, its))
        keep = torch.minimum(self._kept_with(mine), other._kept_with(its))
        return mine, its, keep

    def _kept_with(self, position: Tensor) -> Tensor:
        """The probability, (len(position),), with which rows were kept."""
        if math.isinf(self._tau):
            return torch.ones(len(position), dtype=torch.float64, device=position.device)
        weight = row_weights(self._rows.at(position), self.method, self._unit)
        return (weight * self._tau).clamp_max(1)

    def _check_fits(self, name: str, other: Any) -> None:
        if not isinstance(other, RowSketch):
            raise ArgumentTypeError(name, type(other).__name__, "give a RowSketch")
        for what in ("seed", "method") + (("size",) if self.method in _LINEAR else ()):
            ours, its = getattr(self, what), getattr(other, what)
            if ours != its:
                remedy = f"fit both with the same one, as {ours!r}"
                raise ArgumentError(name, f"a sketch of {what} {its!r}", remedy)
        if other.shape[0] != self.shape[0]:
            remedy = f"give one of {self.shape[0]} rows"
            raise ArgumentError(name, f"a sketch of {other.shape[0]} rows", remedy)
        for what in ("dtype", "device"):
            ours, its = getattr(self._rows, what), getattr(other._rows, what)
            if ours != its:
                raise ArgumentError(name, f"{what} {its}", f"give one of {ours}")

    def save(self, path: str | Path) -> None:
        """Write the sketch into one file: safetensors under a checksum."""
        header = {
            "method": self.method,
            "seed": self.seed,
            "size": self.size,
            "shape": list(self.shape),
            "tau": self._tau.hex(),
            "unit": self._unit.hex(),
        }
        arrays = {"index": self.index.cpu().numpy(), **self._rows.arrays()}
        write_file(path, _FILE, header, arrays)

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read a sketch back, onto the CPU.

        Raises
        ------
        CheckpointError
            If the file is damaged or is no sketch.
        """
        header, arrays = read_file(path, _FILE)
        return cls(
            header["method"],
            header["seed"],
            header["size"],
            tuple(header["shape"]),
            torch.as_tensor(arrays["index"]),
            RowTable.from_arrays(arrays, header["shape"][1]),
            float.fromhex(header["tau"]),
            float.fromhex(header["unit"]),
        )


def _fit(
    name: str, a: Any, size: Any, method: Any, seed: Any, cls: type[RowSketch] = RowSketch
) -> Any:
    rows = as_rows(name, a)
    if isinstance(size, bool) or not isinstance(size, int | np.integer):
        raise ArgumentTypeError("size", repr(size), "give a positive integer, the rows to keep")
    if size < 1:
        raise ArgumentError("size", str(size), "give a positive integer, the rows to keep")
    if method not in (*_SAMPLED, *_LINEAR):
        remedy = f"give one of {', '.join((*_SAMPLED, *_LINEAR))}"
        raise ArgumentError("method", repr(method), remedy)
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer):
        raise ArgumentTypeError("seed", repr(seed), "give an integer")
    size, seed = int(size), int(seed) % 2**64
    unit = rows.largest() or 1.0
    shape = (rows.n_rows, rows.n_columns)
    if method in _LINEAR:
        sums = _sums(rows, method, size, seed)
        nothing = torch.empty(0, dtype=torch.int64, device=rows.device)
        return cls(method, seed, size, shape, nothing, sums, math.inf, unit)
    index, tau = _sample(rows, method, size, seed, unit)
    return cls(method, seed, size, shape, index, rows.at(index), tau, unit)


def _sample(rows: RowTable, method: str, size: int, seed: int, unit: float) -> tuple[Tensor, float]:
    """Which rows are kept, and the tau of their probabilities ``min(1, weight tau)``."""
    weight = row_weights(rows, method, unit).cpu()
    present = weight.nonzero().squeeze(-1)
    if len(present) <= size:
        return present.to(rows.device), math.inf
    weight, uniform = weight[present], row_uniform(seed, present)
    if method == "threshold":
        tau = _tau_of_mean_size(weight, size)
        return present[uniform < weight * tau].to(rows.device), tau
    rank = uniform / weight
    kept = torch.topk(rank, size + 1, largest=False)
    tau = kept.values[-1].item()
    return present[kept.indices[:-1]].sort().values.to(rows.device), tau


def _tau_of_mean_size(weight: Tensor, size: int) -> float:
    """The tau with ``Σ min(1, weight tau) = size``, found where the clipped rows end."""
    falling = weight.sort(descending=True).values
    rest = falling.flip(0).cumsum(0).flip(0)
    clipped = torch.arange(len(falling))
    tau = (size - clipped) / rest
    # With the right number clipped, the largest row that is not is below one.
    first = int(((tau * falling <= 1) & (clipped < size)).nonzero()[0])
    return tau[first].item()


def _sums(rows: RowTable, method: str, size: int, seed: int) -> RowTable:
    if method == "countsketch":
        bucket, sign = bucket_and_sign(seed, rows.n_rows, size)
        mixing = sparse.csr_array(
            (sign, (bucket, np.arange(rows.n_rows))), shape=(size, rows.n_rows)
        )
        return rows.mixed_by_sparse(mixing)
    generator = torch.Generator().manual_seed(seed % 2**63)
    return rows.mixed_by_gaussian(size, generator)
