"""Graph features as a torch module: walks once, a modulation that is learned."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from typing_extensions import override

from kernelgp.features.graph.adjacency import Graph
from kernelgp.features.graph.walks import walk
from kernelgp.random import RandomState, as_generator

__all__ = ["GraphModule"]


class GraphModule(torch.nn.Module):
    """``Φ = Σ_l f_l P_l``, P_l what walks of length l left behind and f a parameter.

    All P_l are kept on one sparse pattern, so that Φ is one sum for each of its entries and
    learning needs no new walks. Made by `GraphFeatures.as_module`.

    Attributes
    ----------
    modulation : Parameter, shape (longest walk + 1,)
        f.
    rows, columns : Tensor, shape (entries,), int64
        Where Φ has entries.
    """

    modulation: torch.nn.Parameter
    rows: Tensor
    columns: Tensor
    entries: Tensor
    lengths: Tensor
    weights: Tensor

    def __init__(
        self,
        graph: Graph,
        modulation: NDArray[np.float64],
        *,
        n_walks: int,
        stop_probability: float,
        coupling: str,
        seed: int,
        dtype: torch.dtype,
    ) -> None:
        super().__init__()
        self._graph = graph
        self._walks: dict[str, Any] = {
            "n_walks": n_walks,
            "stop_probability": stop_probability,
            "coupling": coupling,
        }
        self.modulation = torch.nn.Parameter(torch.as_tensor(modulation, dtype=dtype))
        self._walk(seed)

    @property
    def n(self) -> int:
        """The number of nodes."""
        return self._graph.n

    def redraw(self, random_state: RandomState = None) -> None:
        """Walk anew; the modulation stays."""
        self._walk(int(torch.randint(2**62, (), generator=as_generator(random_state))))

    @override
    def forward(self, index: Tensor | None = None) -> Tensor:
        """Features of the nodes named, or of all, dense, shape (len(index), n)."""
        where, values = self._entries_of(index)
        count = self.n if index is None else len(index)
        out = values.new_zeros(count * self.n)
        return out.index_put((where * self.n + self.columns_of(index),), values).reshape(count, -1)

    def covariance(self, index: Tensor) -> Tensor:
        """K of the nodes named, shape (len(index), len(index)), with a graph to f."""
        where, values = self._entries_of(index)
        # Only columns that these nodes reach: few of a large graph's.
        reached, place = self.columns_of(index).unique(return_inverse=True)
        flat = values.new_zeros(len(index) * len(reached))
        phi = flat.index_put((where * len(reached) + place,), values).reshape(len(index), -1)
        return phi @ phi.mT

    def sparse(self) -> Tensor:
        """Φ as a coalesced sparse tensor, shape (n, n), with a graph to f."""
        index = torch.stack([self.rows, self.columns])
        values = self._values()
        return torch.sparse_coo_tensor(
            index, values, (self.n, self.n), is_coalesced=True, check_invariants=False
        )

    def matmul(self, rhs: Tensor) -> Tensor:
        """``Φ Φᵀ rhs`` for (n, k), with a graph to f and rhs."""
        phi = self.sparse()
        return torch.sparse.mm(phi, torch.sparse.mm(phi.t(), rhs))

    def columns_of(self, index: Tensor | None) -> Tensor:
        """The columns of the entries of the nodes named, row after row."""
        return self.columns if index is None else self.columns[self._places(index)[0]]

    def _entries_of(self, index: Tensor | None) -> tuple[Tensor, Tensor]:
        """Which of the nodes named each entry belongs to, and its value."""
        values = self._values()
        if index is None:
            return self.rows, values
        places, owner = self._places(index)
        return owner, values[places]

    def _places(self, index: Tensor) -> tuple[Tensor, Tensor]:
        starts = torch.searchsorted(self.rows, index)
        counts = torch.searchsorted(self.rows, index, right=True) - starts
        owner = torch.repeat_interleave(counts)
        before = counts.cumsum(0) - counts
        inside = torch.arange(len(owner), device=owner.device) - before[owner]
        return starts[owner] + inside, owner

    def _values(self) -> Tensor:
        parts = self.weights * self.modulation[self.lengths]
        return parts.new_zeros(len(self.rows)).index_add(0, self.entries, parts)

    def _walk(self, seed: int) -> None:
        width = len(self.modulation)
        ones = np.ones(width)
        # With lengths apart keys have room for two, a walk of no step and one of one.
        apart = width > 1
        left = walk(self._graph, ones, apart=apart, seed=seed, **self._walks)
        columns, lengths = np.divmod(left.keys, width)
        rows = np.repeat(np.arange(self.n), np.diff(left.starts))
        first = np.ones(len(columns), dtype=bool)
        first[1:] = (np.diff(columns) != 0) | (np.diff(rows) != 0)
        found = {
            "rows": rows[first],
            "columns": columns[first],
            "entries": np.cumsum(first) - 1,
            "lengths": lengths,
            "weights": left.values,
        }
        device, dtype = self.modulation.device, self.modulation.dtype
        for name, array in found.items():
            tensor = torch.from_numpy(array).to(device)
            kept = tensor.to(dtype) if tensor.is_floating_point() else tensor
            self.register_buffer(name, kept, persistent=True)
