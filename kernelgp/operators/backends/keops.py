"""Products and derivatives of a kernel matrix by KeOps, where pykeops is installed.

Importing this module imports nothing of pykeops and compiles nothing: that happens, if at all,
when the first product is asked for.
"""

import os
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import Any, TypeVar

import torch
from torch import Tensor

from kernelgp.operators.embedding import Embedding, LeafAt, ProductAt, ScaledAt, Tree

__all__ = ["KeopsError", "derivative", "matmul", "problem"]

T = TypeVar("T")

# What a compiler that fails, or a build that cannot be loaded, comes out as.
_FAILURES = (ImportError, OSError, RuntimeError, ValueError, subprocess.SubprocessError)
_failed: list[str] = []


class KeopsError(RuntimeError):
    """KeOps could not compile or run a formula; the message says why."""


def problem() -> str | None:
    """Why KeOps cannot be used here; None if, as far as one can tell, it can."""
    return _failed[0] if _failed else _missing()


@cache
def _missing() -> str | None:
    try:
        import pykeops.torch  # noqa: F401, PLC0415 - optional, and slow to import
    except ImportError:
        return "pykeops is not installed (the extra keops installs it)"
    except OSError as error:
        return f"its cache folder cannot be written ({error})"
    compilers = [os.environ.get("CXX"), "g++", "clang++"]
    if not any(shutil.which(name) for name in compilers if name):
        return "no C++ compiler was found"
    return None


@torch.no_grad()
def matmul(embedding: Embedding, n: int, m: int, rhs: Tensor, *, transpose: bool) -> Tensor:
    """``K @ rhs`` or ``Kᵀ @ rhs``; rhs of shape (m, k) or (n, k).

    Raises
    ------
    KeopsError
        If the formula does not compile.
    """

    def product() -> Tensor:
        lazy = _lazy(embedding, embedding.tensors)
        found = (lazy.T if transpose else lazy) @ rhs.contiguous()
        # A formula without points, of a constant kernel, has one row only.
        return found.expand(m if transpose else n, -1).contiguous()

    return _guarded(product)


def derivative(
    embedding: Embedding, left: Tensor, right: Tensor, needed: frozenset[int]
) -> list[Tensor | None]:
    """The derivative of ``Σ U Vᵀ ∘ K`` by the embedding's tensors; None where not needed.

    Raises
    ------
    KeopsError
        If the formula does not compile.
    """
    # Rows and columns exchange their parts for the second half: the formula stays the same,
    # and is compiled once.
    turned = replace(embedding, tree=_turn(embedding.tree), identity=_turned(embedding.identity))
    columns = needed & _columns(embedding.tree)

    def both() -> list[Tensor | None]:
        found = _by_rows(embedding, left, right, needed)
        for i, part in enumerate(_by_rows(turned, right, left, columns)):
            first = found[i]
            found[i] = part if first is None else first if part is None else first + part
        return found

    return _guarded(both)


def _by_rows(
    embedding: Embedding, left: Tensor, right: Tensor, needed: frozenset[int]
) -> list[Tensor | None]:
    """The derivative by scalars and by points as rows, those of the columns held fixed."""
    with torch.enable_grad():
        tensors = tuple(
            t.detach().requires_grad_(i in needed) for i, t in enumerate(embedding.tensors)
        )
        product = (_lazy(embedding, tensors) @ right.contiguous()).expand(len(left), -1)
        wanted = [t for t in tensors if t.requires_grad]
        if not product.requires_grad:
            return [None] * len(tensors)
        found = iter(torch.autograd.grad(product, wanted, left, allow_unused=True))
    return [next(found) if t.requires_grad else None for t in tensors]


def _turn(tree: Tree) -> Tree:
    match tree:
        case LeafAt():
            return replace(tree, rows=tree.columns, columns=tree.rows)
        case ScaledAt():
            return replace(tree, node=_turn(tree.node))
        case _:
            return replace(tree, nodes=tuple(map(_turn, tree.nodes)))


def _turned(identity: tuple[Tensor, Tensor] | None) -> tuple[Tensor, Tensor] | None:
    return None if identity is None else (identity[1], identity[0])


def _columns(tree: Tree) -> frozenset[int]:
    match tree:
        case LeafAt():
            return frozenset([tree.columns])
        case ScaledAt():
            return _columns(tree.node)
        case _:
            return frozenset[int]().union(*map(_columns, tree.nodes))


def _guarded(run: Callable[[], T]) -> T:
    try:
        return run()
    except torch.OutOfMemoryError:
        raise
    except _FAILURES as error:
        reason = f"a formula did not compile or run ({type(error).__name__}: {error})"
        _failed.append(reason)
        raise KeopsError(reason) from error


def _lazy(embedding: Embedding, tensors: tuple[Tensor, ...]) -> Any:
    from pykeops.torch import LazyTensor  # noqa: PLC0415 - optional, and slow to import

    def points(tensor: Tensor, axis: int) -> Any:
        return LazyTensor(tensor.contiguous().unsqueeze(1 - axis))

    def walk(tree: Tree) -> Any:
        match tree:
            case LeafAt():
                x, y = points(tensors[tree.rows], 0), points(tensors[tree.columns].detach(), 1)
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
