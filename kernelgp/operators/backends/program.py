"""One tile of a kernel matrix: its values, and its derivative by reverse accumulation.

The whole expression runs inside the tile, so a sum of dozens of kernels makes one pass over
the matrix and needs as many tiles as the tree is deep. The derivative is the same walk with a
tile of weights ``A`` in hand: for ``L = Σ A ∘ K`` a leaf with covariance f(s) has ``G = A ∘
f'(s)``, and with ``s = |z - z'|²``

    dL/dz = 2 (rowsum(G) z - G z'),    dL/dz' = 2 (colsum(G) z' - Gᵀ z).
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from kernelgp.operators.embedding import Embedding, LeafAt, ProductAt, ScaledAt, SumAt, Tree

__all__ = ["Block", "Cuts", "Gradients", "Program", "Workspace"]


@dataclass(frozen=True, slots=True)
class Block:
    """Where a tile lies; `diagonal` where its rows and columns are the same points."""

    rows: slice
    columns: slice
    diagonal: bool

    @property
    def shape(self) -> tuple[int, int]:
        return self.rows.stop - self.rows.start, self.columns.stop - self.columns.start


class Cuts:
    """Parts of a tensor along one dimension, each cut once.

    Cutting took 12 of the 19 microseconds that Python spends on a tile, and while it does, no
    other worker can.
    """

    def __init__(self, tensor: Tensor, dim: int) -> None:
        self.tensor, self._dim = tensor, dim
        self._parts: dict[tuple[int, int], Tensor] = {}

    def __getitem__(self, part: slice) -> Tensor:
        key = (part.start, part.stop)
        found = self._parts.get(key)
        if found is None:
            found = self.tensor.narrow(self._dim, part.start, part.stop - part.start)
            self._parts[key] = found
        return found


class Workspace:
    """The buffers of one worker, reused from tile to tile."""

    def __init__(self, entries: int, like: Tensor) -> None:
        self._like, self._entries = like, entries
        self._flat: list[Tensor] = []
        self._wide: list[Tensor] = []
        self._shape = (0, 0)
        self._views: list[Tensor] = []
        self._turned: Tensor | None = None

    def at(self, shape: tuple[int, int]) -> "Workspace":
        """Itself, with tiles of this shape from now on."""
        if shape != self._shape:
            self._shape, self._views, self._turned = shape, [], None
        return self

    def turn(self, tile: Tensor) -> Tensor:
        """``tile.T``; kept for the first buffer."""
        if tile is not self._views[0]:
            return tile.T
        if self._turned is None:
            self._turned = tile.T
        return self._turned

    def __getitem__(self, level: int) -> Tensor:
        while len(self._views) <= level:
            if len(self._flat) == len(self._views):
                self._flat.append(self._like.new_empty(self._entries))
            rows, columns = self._shape
            flat = self._flat[len(self._views)]
            self._views.append(flat[: rows * columns].view(rows, columns))
        return self._views[level]

    def wide(self, index: int) -> Tensor:
        """A float64 tile, for distances that float32 cannot hold."""
        while len(self._wide) <= index:
            self._wide.append(self._like.new_empty(self._entries, dtype=torch.float64))
        rows, columns = self._shape
        return self._wide[index][: rows * columns].view(rows, columns)


@dataclass(frozen=True, slots=True, eq=False)
class _Panels:
    """The points of a leaf, laid out so that one matrix product gives all pairs of a tile."""

    left: Cuts  # (n, e + 2): [z, 1, |z|²], all negative where the profile takes -s
    right: Cuts  # (e + 2, m): [-2 z', |z'|², 1] transposed
    rows: Cuts  # (e + 1, n): [z, 1] transposed, as is all that is multiplied by a tile
    columns: Cuts  # (e + 1, m): [z', 1] transposed


class Gradients:
    """Sums over the tiles of one worker, by which `Program.gradients` finds the derivative."""

    def __init__(self, program: "Program") -> None:
        tensors, needed = program.tensors, program.needed
        self.scalars = [torch.zeros((), dtype=torch.float64, device=t.device) for t in tensors]
        self.points: list[Tensor] = [
            t.new_zeros(t.shape[-1] + 1, len(t)) if t.dim() == 2 and i in needed else t
            for i, t in enumerate(tensors)
        ]

    def add(self, other: "Gradients", needed: frozenset[int]) -> None:
        for i in range(len(self.scalars)):
            self.scalars[i] += other.scalars[i]
            if i in needed and self.points[i].dim() == 2:
                self.points[i] += other.points[i]


class Program:
    """An embedded expression without batch dimensions, made ready for tiles.

    Parameters
    ----------
    needed
        Which tensors of the embedding a derivative is wanted by.
    """

    def __init__(self, embedding: Embedding, dtype: torch.dtype, needed: frozenset[int]) -> None:
        self.tree, self.tensors = embedding.tree, embedding.tensors
        self.symmetric, self.identity = embedding.symmetric, embedding.identity
        self.dtype, self.needed = dtype, needed
        self.by_product = embedding.distances.by_product
        self.wide = embedding.distances.dtype != dtype
        self.scales = {i: t.item() for i, t in enumerate(self.tensors) if t.dim() == 0}
        self._parameters: dict[int, tuple[Tensor, ...]] = {}
        self._panels: dict[int, _Panels] = {}
        self._prepare(self.tree)

    def _prepare(self, tree: Tree) -> None:
        match tree:
            case LeafAt():
                self._parameters[id(tree)] = tuple(
                    self.tensors[i].to(self.dtype) for i in tree.parameters
                )
                self._panels[id(tree)] = _panels(
                    self.tensors[tree.rows],
                    self.tensors[tree.columns],
                    sign=-1 if tree.profile.negated else 1,
                )
            case ScaledAt():
                self._prepare(tree.node)
            case _:
                for node in tree.nodes:
                    self._prepare(node)

    def value(self, block: Block, space: Workspace) -> Tensor:
        """The tile's covariances, in the first buffer of `space`."""
        return self._value(self.tree, block, space.at(block.shape), 0)

    def accumulate(
        self, block: Block, space: Workspace, adjoint: Tensor, gradients: Gradients
    ) -> None:
        """Add the derivative of ``Σ adjoint ∘ K`` over a tile; `adjoint` is its first buffer."""
        self._adjoint(self.tree, block, space, 1, adjoint, 1.0, gradients)

    def _value(self, tree: Tree, block: Block, space: Workspace, level: int) -> Tensor:
        """Write a node's tile into buffer `level`; those above are free to use."""
        match tree:
            case LeafAt():
                s = self._pairs(tree, block, space, level)
                return tree.profile.value_(s, space[level + 1], *self._parameters[id(tree)])
            case ScaledAt():
                return self._value(tree.node, block, space, level).mul_(self.scales[tree.scale])
            case SumAt():
                out = self._value(tree.nodes[0], block, space, level)
                for node in tree.nodes[1:]:
                    scale = 1.0
                    if isinstance(node, ScaledAt):
                        scale, node = self.scales[node.scale], node.node
                    out.add_(self._value(node, block, space, level + 1), alpha=scale)
                return out
            case ProductAt():
                out = self._value(tree.nodes[0], block, space, level)
                for node in tree.nodes[1:]:
                    out.mul_(self._value(node, block, space, level + 1))
                return out

    def _pairs(self, leaf: LeafAt, block: Block, space: Workspace, level: int) -> Tensor:
        """The number of every pair of a tile, negative if so wanted, in buffer `level`."""
        out, pair = space[level], leaf.profile.pair
        if pair == "constant":
            return out.fill_(1)
        if pair == "identity":
            return self._same(block, out)
        panels = self._panels[id(leaf)]
        target = space.wide(0) if self.wide else out
        if pair == "dot":
            rows, columns = panels.rows[block.rows], panels.columns[block.columns]
            torch.mm(rows[:-1].T, columns[:-1], out=target)
        elif self.by_product:
            torch.mm(panels.left[block.rows], panels.right[block.columns], out=target)
            if not leaf.profile.negated:
                target.clamp_min_(0)
        else:
            rows, columns = panels.rows[block.rows], panels.columns[block.columns]
            _differences(rows[:-1], columns[:-1], target, space)
            if leaf.profile.negated:
                target.neg_()
        if self.wide:
            out.copy_(target)
        if pair == "sqdist" and block.diagonal:
            out.diagonal().zero_()
        return out

    def _same(self, block: Block, out: Tensor) -> Tensor:
        if self.identity is not None:
            rows, columns = self.identity
            return out.copy_(rows[block.rows].unsqueeze(-1) == columns[block.columns])
        out.zero_()
        if block.diagonal:
            out.diagonal().fill_(1)
        return out

    def _adjoint(
        self,
        tree: Tree,
        block: Block,
        space: Workspace,
        level: int,
        adjoint: Tensor,
        factor: float,
        gradients: Gradients,
    ) -> Tensor:
        """Accumulate a node's derivative under the weights ``factor * adjoint``.

        Returns ``Σ adjoint ∘ value``, which is what the scale above it needs; `adjoint` lies
        below buffer `level` and is left as it is.
        """
        match tree:
            case LeafAt():
                return self._adjoint_leaf(tree, block, space, level, adjoint, factor, gradients)
            case ScaledAt():
                scale = self.scales[tree.scale]
                inner = self._adjoint(
                    tree.node, block, space, level, adjoint, factor * scale, gradients
                )
                gradients.scalars[tree.scale] += factor * inner
                return scale * inner
            case SumAt():
                parts = [
                    self._adjoint(node, block, space, level, adjoint, factor, gradients)
                    for node in tree.nodes
                ]
                return torch.stack(parts).sum()
            case ProductAt():
                total = adjoint.new_zeros(())
                for node in tree.nodes:
                    weights = space[level].copy_(adjoint)
                    for other in tree.nodes:
                        if other is not node:
                            weights.mul_(self._value(other, block, space, level + 1))
                    total = self._adjoint(node, block, space, level + 1, weights, factor, gradients)
                return total

    def _adjoint_leaf(
        self,
        leaf: LeafAt,
        block: Block,
        space: Workspace,
        level: int,
        adjoint: Tensor,
        factor: float,
        gradients: Gradients,
    ) -> Tensor:
        parameters = self._parameters[id(leaf)]
        s = self._pairs(leaf, block, space, level)
        if not self.needed.isdisjoint(leaf.parameters):
            slopes = leaf.profile.parameter_slopes(s, *parameters)
            for i, slope in zip(leaf.parameters, slopes, strict=True):
                gradients.scalars[i] += factor * _dot(adjoint, slope)
        value = space[level + 1]
        leaf.profile.value_and_slope_(s, value, space[level + 2], *parameters)
        inner = _dot(adjoint, value)
        if leaf.profile.pair in ("sqdist", "dot") and not self.needed.isdisjoint(
            (leaf.rows, leaf.columns)
        ):
            weights = s.mul_(adjoint)
            if self.wide:
                weights = space.wide(0).copy_(weights)
            panels = self._panels[id(leaf)]
            if leaf.rows in self.needed:
                to_rows = gradients.points[leaf.rows][:, block.rows]
                to_rows.addmm_(panels.columns[block.columns], weights.T, alpha=factor)
            if leaf.columns in self.needed:
                to_columns = gradients.points[leaf.columns][:, block.columns]
                to_columns.addmm_(panels.rows[block.rows], weights, alpha=factor)
        return inner

    def gradients(self, total: Gradients) -> list[Tensor | None]:
        """The derivative by each of the embedding's tensors; None where it is not needed."""
        found: list[Tensor | None] = [
            total.scalars[i].to(t.dtype) if t.dim() == 0 and i in self.needed else None
            for i, t in enumerate(self.tensors)
        ]
        self._finish(self.tree, total, found)
        return found

    def _finish(self, tree: Tree, total: Gradients, found: list[Tensor | None]) -> None:
        match tree:
            case LeafAt():
                for i in {tree.rows, tree.columns} & self.needed:
                    moments = total.points[i].T
                    found[i] = moments[:, :-1]
                    if tree.profile.pair == "sqdist":
                        found[i] = 2 * (moments[:, -1:] * self.tensors[i] - moments[:, :-1])
            case ScaledAt():
                self._finish(tree.node, total, found)
            case _:
                for node in tree.nodes:
                    self._finish(node, total, found)


def _panels(z1: Tensor, z2: Tensor, *, sign: int) -> _Panels:
    one1, one2 = torch.ones_like(z1[:, :1]), torch.ones_like(z2[:, :1])
    square1, square2 = (z.square().sum(dim=-1, keepdim=True) for z in (z1, z2))
    return _Panels(
        left=Cuts(sign * torch.cat([z1, one1, square1], dim=-1), 0),
        right=Cuts(torch.cat([-2 * z2, square2, one2], dim=-1).T, 1),
        rows=Cuts(torch.cat([z1, one1], dim=-1).T.contiguous(), 1),
        columns=Cuts(torch.cat([z2, one2], dim=-1).T.contiguous(), 1),
    )


def _differences(rows: Tensor, columns: Tensor, out: Tensor, space: Workspace) -> None:
    """``Σj (zj - z'j)²``, one input after another."""
    difference = space.wide(1)
    out.zero_()
    for j in range(len(rows)):
        torch.sub(rows[j, :, None], columns[j], out=difference)
        out.addcmul_(difference, difference)


def _dot(a: Any, b: Any) -> Tensor:
    return torch.dot(a.view(-1), b.reshape(-1).to(a.dtype))
