"""How large a tile is, and in which precision its distances are taken."""

import contextlib
import math
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch
from torch import Tensor

from kernelgp.operators.embedding import Distances, Embedding, LeafAt, ScaledAt, Tree

__all__ = ["TilePlan", "choose_distances", "choose_tile"]

# A squared distance from a matrix product is off by some eps * |z|²; above this the digits of
# a float32 covariance suffer (measured: K @ b to 5e-6 at 4e-5), and float64 takes over.
_WANTED = 1e-5


@dataclass(frozen=True, slots=True)
class TilePlan:
    """A tile has at most this many entries, and preferably `rows` of them in a column."""

    rows: int
    entries: int

    def shape(self, n: int, m: int) -> tuple[int, int]:
        """Rows and columns of a tile of an (n, m) matrix."""
        rows = min(self.rows, math.isqrt(self.entries), n)
        columns = min(self.entries // rows, m)
        return min(self.entries // columns, n), columns

    def halved(self) -> "TilePlan":
        return TilePlan(max(self.rows // 2, 1), self.entries // 2)


def choose_tile(dtype: torch.dtype, device: torch.device) -> TilePlan:
    """A tile that fills half of L2 on a CPU, or some 64 MiB on another device.

    On two cores with 1 MiB of L2 each, a float32 tile of 256 x 512 gave 4.7e9 squared distances
    a second, one of 256 x 1024 1.6e9.
    """
    size = dtype.itemsize
    if device.type != "cpu":
        return TilePlan(2048, 2**26 // size)
    return TilePlan(256, _l2_bytes() // 2 // size)


@cache
def _l2_bytes() -> int:
    folder = Path("/sys/devices/system/cpu/cpu0/cache")
    with contextlib.suppress(OSError, ValueError):
        for index in folder.glob("index*"):
            if (index / "level").read_text().strip() == "2":
                # More than 2 MiB is shared between cores on most machines.
                return min(int((index / "size").read_text().strip().rstrip("K")) << 10, 2**21)
    return 2**20


def choose_distances(embedding: Embedding, dtype: torch.dtype) -> Distances:
    """The cheapest way whose rounding leaves the covariances their digits.

    A matrix product loses ``eps * max |z|²``. Where that is too much for float32, a product in
    float64; where it is too much for float64, differences before squares.
    """
    reach = max(map(float, _reaches(embedding.tree, embedding.tensors)), default=0.0)
    for precision in dict.fromkeys((dtype, torch.float64)):
        if reach * torch.finfo(precision).eps <= _WANTED:
            return Distances(precision, by_product=True)
    return Distances(torch.float64, by_product=False)


def _reaches(tree: Tree, tensors: tuple[Tensor, ...]) -> list[Tensor]:
    """The largest squared norm of the points of every leaf that takes distances."""
    if isinstance(tree, LeafAt):
        if tree.profile.pair != "sqdist":
            return []
        both = {tree.rows, tree.columns}
        return [tensors[i].detach().square().sum(dim=-1).max() for i in both]
    nodes = (tree.node,) if isinstance(tree, ScaledAt) else tree.nodes
    return [reach for node in nodes for reach in _reaches(node, tensors)]
