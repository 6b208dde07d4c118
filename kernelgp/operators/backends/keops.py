"""Products and derivatives of a kernel matrix by KeOps, where pykeops is installed.

Importing this module imports nothing of pykeops and compiles nothing: that happens, if at all,
when the first product is asked for.
"""

from typing import Any

import torch
from torch import Tensor

from kernelgp.operators.embedding import Embedding, LeafAt, ProductAt, ScaledAt, Tree

__all__ = ["derivative", "matmul"]


@torch.no_grad()
def matmul(embedding: Embedding, n: int, m: int, rhs: Tensor, *, transpose: bool) -> Tensor:
    """``K @ rhs`` or ``Kᵀ @ rhs``; rhs of shape (m, k) or (n, k)."""
    del n, m
    lazy = _lazy(embedding, embedding.tensors)
    return (lazy.T if transpose else lazy) @ rhs.contiguous()


def derivative(
    embedding: Embedding, left: Tensor, right: Tensor, needed: frozenset[int]
) -> list[Tensor | None]:
    """The derivative of ``Σ U Vᵀ ∘ K`` by the embedding's tensors; None where not needed."""
    with torch.enable_grad():
        tensors = tuple(
            t.detach().requires_grad_(i in needed) for i, t in enumerate(embedding.tensors)
        )
        loss = (left * (_lazy(embedding, tensors) @ right.contiguous())).sum()
        wanted = [t for t in tensors if t.requires_grad]
        found = iter(torch.autograd.grad(loss, wanted, allow_unused=True))
    return [next(found) if t.requires_grad else None for t in tensors]


def _lazy(embedding: Embedding, tensors: tuple[Tensor, ...]) -> Any:
    from pykeops.torch import LazyTensor  # noqa: PLC0415 - optional, and slow to import

    def points(i: int, axis: int) -> Any:
        return LazyTensor(tensors[i].contiguous().unsqueeze(1 - axis))

    def walk(tree: Tree) -> Any:
        match tree:
            case LeafAt():
                x, y = points(tree.rows, 0), points(tree.columns, 1)
                match tree.profile.pair:
                    case "sqdist":
                        s = ((x - y) ** 2).sum(-1)
                    case "dot":
                        s = (x * y).sum(-1)
                    case "constant":
                        s = x[0] * 0 + y[0] * 0 + 1
                    case "identity":
                        i, j = _labels(embedding, tensors[tree.rows], tensors[tree.columns])
                        s = 1 - (LazyTensor(i[:, None]) - LazyTensor(j[None])).abs().sign()
                parameters = [LazyTensor(tensors[i].view(1, 1, 1)) for i in tree.parameters]
                return tree.profile.formula(s, *parameters)
            case ScaledAt():
                return LazyTensor(tensors[tree.scale].view(1, 1, 1)) * walk(tree.node)
            case _:
                parts = [walk(node) for node in tree.nodes]
                out = parts[0]
                for part in parts[1:]:
                    out = out * part if isinstance(tree, ProductAt) else out + part
                return out

    return walk(embedding.tree)


def _labels(embedding: Embedding, rows: Tensor, columns: Tensor) -> tuple[Tensor, Tensor]:
    """A number for every point, equal where two points are one; exact up to 2^24 in float32."""
    if embedding.identity is not None:
        i, j = embedding.identity
    else:
        i = torch.arange(len(rows), device=rows.device)
        j = i if embedding.symmetric else -1 - torch.arange(len(columns), device=rows.device)
    return i.to(rows.dtype).unsqueeze(-1), j.to(rows.dtype).unsqueeze(-1)
