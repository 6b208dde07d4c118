"""A kernel expression met with points: every leaf's embedded points, and a tree that finds them.

All that depends on single points is computed here, with autograd, in O(n d); what is left for
a backend are numbers of pairs. A backend's derivative is by the tensors of an `Embedding`;
autograd carries it on to the points and the hyperparameters.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from kernelgp.operators.expression import Leaf, Node, Product, Profile, Scaled, Sum

__all__ = ["Distances", "Embedding", "LeafAt", "ProductAt", "ScaledAt", "SumAt", "Tree", "embed"]


@dataclass(frozen=True, slots=True, eq=False)
class LeafAt:
    """A leaf; the integers say where its tensors are in ``Embedding.tensors``."""

    profile: Profile
    rows: int
    columns: int
    parameters: tuple[int, ...]


@dataclass(frozen=True, slots=True, eq=False)
class ScaledAt:
    """A scale times a node."""

    scale: int
    node: "Tree"


@dataclass(frozen=True, slots=True, eq=False)
class SumAt:
    """A sum of nodes."""

    nodes: tuple["Tree", ...]


@dataclass(frozen=True, slots=True, eq=False)
class ProductAt:
    """An elementwise product of nodes."""

    nodes: tuple["Tree", ...]


Tree = LeafAt | ScaledAt | SumAt | ProductAt


@dataclass(frozen=True, slots=True)
class Distances:
    """How squared distances are taken: in which dtype, and whether by a matrix product."""

    dtype: torch.dtype
    by_product: bool = True


@dataclass(frozen=True, slots=True, eq=False)
class Embedding:
    """Where every pair of points stands, before any pair is formed.

    Attributes
    ----------
    tree
        The expression, over indices into `tensors`.
    tensors
        Embedded points (..., n, e) and (..., m, e), and scalars (...).
    symmetric
        Whether rows and columns are the same points; a leaf's ``rows`` and ``columns`` are
        then one tensor.
    identity : pair of LongTensor (n,) and (m,), or None
        What tells one point from another, where rows and columns were cut from a symmetric
        operator.
    distances
        How distances are to be taken; its dtype is that of `tensors`.
    """

    tree: Tree
    tensors: tuple[Tensor, ...]
    symmetric: bool
    identity: tuple[Tensor, Tensor] | None
    distances: Distances

    def map(self, function: Callable[[Tensor], Tensor]) -> "Embedding":
        """The same with every tensor replaced by ``function(tensor)``."""
        return replace(self, tensors=tuple(map(function, self.tensors)))

    def expand(self, batch: torch.Size) -> "Embedding":
        """The same with every tensor expanded to the batch shape `batch`."""
        scalars = set(_scalars(self.tree))
        tensors = tuple(
            tensor.expand(batch + (() if i in scalars else tensor.shape[-2:]))
            for i, tensor in enumerate(self.tensors)
        )
        return replace(self, tensors=tensors)


def embed(
    node: Node,
    x1: Tensor,
    x2: Tensor | None,
    identity: tuple[Tensor, Tensor] | None,
    dtype: torch.dtype,
) -> Embedding:
    """The expression `node` at rows `x1` and columns `x2` (None: the same points), in `dtype`.

    Differentiable in both and in the tensors of `node`.
    """
    # In the input's own precision: two floats near each other subtract without rounding, and
    # every digit that is left says where a point lies among the others.
    centre = x1.detach().mean(dim=-2, keepdim=True)
    moved1, moved2 = (x - centre if x is not None else None for x in (x1, x2))
    tensors: list[Tensor] = []

    def keep(tensor: Tensor) -> int:
        tensors.append(tensor)
        return len(tensors) - 1

    def points(leaf: Leaf, given: Tensor, moved: Tensor, values: list[Tensor]) -> int:
        x = moved if leaf.profile.shift_invariant else given
        if leaf.active_dims is not None:
            x = x[..., list(leaf.active_dims)]
        return keep(leaf.profile.embed(x.to(dtype), *values))

    def walk(node: Node) -> Tree:
        match node:
            case Leaf():
                values = [tensor.to(dtype) for tensor in node.tensors]
                assert moved1 is not None
                rows = points(node, x1, moved1, values)
                columns = rows
                if x2 is not None and moved2 is not None:
                    columns = points(node, x2, moved2, values)
                parameters = node.profile.parameters(*values)
                return LeafAt(node.profile, rows, columns, tuple(map(keep, parameters)))
            case Scaled():
                return ScaledAt(keep(node.scale.to(dtype)), walk(node.node))
            case Sum():
                return SumAt(tuple(map(walk, node.nodes)))
            case Product():
                return ProductAt(tuple(map(walk, node.nodes)))

    tree = walk(node)
    return Embedding(tree, tuple(tensors), x2 is None, identity, Distances(dtype))


def _scalars(tree: Tree) -> list[int]:
    match tree:
        case LeafAt():
            return list(tree.parameters)
        case ScaledAt():
            return [tree.scale, *_scalars(tree.node)]
        case _:
            return [i for node in tree.nodes for i in _scalars(node)]
