"""Products, entries and derivatives of a kernel matrix, tile by tile.

Nothing here knows of operators or autograd: an `Embedding` without batch dimensions comes in,
plain tensors go out. A symmetric matrix is walked in its upper triangle, and each tile serves
twice.
"""

import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import torch
from torch import Tensor

from kernelgp.operators.backends.plan import TilePlan, choose_tile
from kernelgp.operators.backends.program import Block, Cuts, Gradients, Program, Workspace
from kernelgp.operators.backends.workers import run_alone, run_workers
from kernelgp.operators.embedding import Embedding

__all__ = ["derivative", "fill", "matmul"]

T = TypeVar("T")

# Below this a tile costs more to start than to compute, and memory is not what is short.
_SMALLEST_TILE = 2**12


@torch.no_grad()
def matmul(
    embedding: Embedding,
    n: int,
    m: int,
    rhs: Tensor,
    *,
    transpose: bool,
    strip: slice | None = None,
) -> Tensor:
    """``K @ rhs`` or ``Kᵀ @ rhs``; rhs of shape (m, k) or (n, k).

    Parameters
    ----------
    strip
        Rows whose entries take part, in a symmetric matrix those on and right of the diagonal
        with their mirror images: the products of strips that make up the rows add up to the
        whole. None for all rows.
    """
    program = _program(embedding, rhs.dtype, frozenset())
    # Transposed, for a tile times a few columns runs at a quarter of the speed of a few rows
    # times a tile (12 columns of float32, measured).
    single, both = rhs.shape[-1] == 1, embedding.symmetric
    given = rhs[:, 0].contiguous() if single else rhs.T.contiguous()

    def work(space: Workspace, tasks: Iterator[list[Block]]) -> Tensor:
        out = given.new_zeros(*given.shape[:-1], m if transpose else n)
        to, of = Cuts(out, -1), Cuts(given, -1)
        for task in tasks:
            for block in task:
                tile = program.value(block, space)
                if both or not transpose:
                    turned = tile if single else space.turn(tile)
                    _add_product(to[block.rows], of[block.columns], turned)
                if not block.diagonal if both else transpose:
                    turned = space.turn(tile) if single else tile
                    _add_product(to[block.columns], of[block.rows], turned)
        return out

    parts = _run(work, strip or slice(0, n), m, both, rhs)
    return run_alone(partial(_sum, parts), rhs.device).view(rhs.shape[-1], -1).T.contiguous()


@torch.no_grad()
def fill(embedding: Embedding, n: int, m: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """The matrix itself, (n, m)."""
    program = _program(embedding, dtype, frozenset())
    out = torch.empty(n, m, dtype=dtype, device=device)

    def work(space: Workspace, tasks: Iterator[list[Block]]) -> None:
        for task in tasks:
            for block in task:
                tile = program.value(block, space)
                if block.diagonal:
                    # Products and vector instructions round (z, z') and (z', z) differently.
                    tile = tile.add(tile.T).mul_(0.5)
                out[block.rows, block.columns] = tile
                if embedding.symmetric and not block.diagonal:
                    out[block.columns, block.rows] = tile.T

    _run(work, slice(0, n), m, embedding.symmetric, out)
    return out


@torch.no_grad()
def derivative(
    embedding: Embedding,
    adjoint: Tensor | tuple[Tensor, Tensor],
    needed: frozenset[int],
    *,
    strip: slice | None = None,
) -> list[Tensor | None]:
    """The derivative of ``Σ A ∘ K`` by the embedding's tensors; None where it is not needed.

    `strip` is as in `matmul`.

    Parameters
    ----------
    adjoint : Tensor (n, m), or a pair of Tensors (n, k) and (m, k)
        The weights A, or U and V whose product U Vᵀ they are: it is then formed tile by tile
        only.
    """
    weights = _Weights(adjoint, symmetric=embedding.symmetric)
    program = _program(embedding, weights.like.dtype, needed)

    def work(space: Workspace, tasks: Iterator[list[Block]]) -> Gradients:
        gradients = Gradients(program)
        for task in tasks:
            for block in task:
                tile = weights.write(block, space.at(block.shape)[0])
                program.accumulate(block, space, tile, gradients)
        return gradients

    rows = strip or slice(0, weights.n)
    first, *others = _run(work, rows, weights.m, embedding.symmetric, weights.like)
    for other in others:
        first.add(other, needed)
    return program.gradients(first)


class _Weights:
    """The tile of weights; in a symmetric matrix those of its mirror image are added."""

    def __init__(self, adjoint: Tensor | tuple[Tensor, Tensor], *, symmetric: bool) -> None:
        self._symmetric = symmetric
        if isinstance(adjoint, Tensor):
            self._full, self.like = adjoint, adjoint
            self.n, self.m = adjoint.shape
            return
        self._full = None
        self._left, self._right = (factor.contiguous() for factor in adjoint)
        self.like, self.n, self.m = self._left, len(self._left), len(self._right)
        if symmetric:
            self._left2 = torch.cat([self._left, self._right], dim=-1)
            self._right2 = torch.cat([self._right, self._left], dim=-1)

    def write(self, block: Block, out: Tensor) -> Tensor:
        mirrored = self._symmetric and not block.diagonal
        rows, columns = block.rows, block.columns
        if self._full is not None:
            out.copy_(self._full[rows, columns])
            return out.add_(self._full[columns, rows].T) if mirrored else out
        if mirrored:
            return torch.mm(self._left2[rows], self._right2[columns].T, out=out)
        return torch.mm(self._left[rows], self._right[columns].T, out=out)


def _program(embedding: Embedding, dtype: torch.dtype, needed: frozenset[int]) -> Program:
    device = embedding.tensors[0].device
    return run_alone(partial(Program, embedding, dtype, needed), device)


def _add_product(out: Tensor, given: Tensor, tile: Tensor) -> None:
    """Add ``tile @ vector``, or ``rows @ tile``."""
    if given.dim() == 1:
        out.addmv_(tile, given)
    else:
        out.addmm_(given, tile)


def _sum(parts: Sequence[Tensor]) -> Tensor:
    first, *others = parts
    for other in others:
        first += other
    return first


@dataclass(slots=True)
class _Shared(Iterator[T]):
    """One list of tasks for all workers; ends early when they are told to stop."""

    tasks: Iterator[T]
    lock: threading.Lock
    stop: threading.Event

    def __next__(self) -> T:
        if self.stop.is_set():
            raise StopIteration
        with self.lock:
            return next(self.tasks)


def _run(
    work: Callable[[Workspace, Iterator[list[Block]]], T],
    strip: slice,
    m: int,
    symmetric: bool,  # noqa: FBT001 - private, and every call names what it passes
    like: Tensor,
) -> list[T]:
    """Let every worker take tasks until none is left; with smaller tiles if memory is short."""
    plan = choose_tile(like.dtype, like.device)
    while True:
        tasks, lock = iter(_tasks(strip, m, symmetric, plan)), threading.Lock()

        def one(
            stop: threading.Event,
            tasks: Iterator[list[Block]] = tasks,
            lock: threading.Lock = lock,
            entries: int = plan.entries,
        ) -> T:
            # The state of autograd belongs to a thread.
            with torch.no_grad():
                return work(Workspace(entries, like), _Shared(tasks, lock, stop))

        try:
            return run_workers(one, like.device)
        except (RuntimeError, MemoryError) as error:
            if not _out_of_memory(error):
                raise
            plan = plan.halved()
            if plan.entries < _SMALLEST_TILE:
                message = (
                    f"kernel matrix of {strip.stop} x {m}: out of memory on {like.device} even "
                    f"with tiles of {2 * plan.entries} entries; free memory, or use fewer "
                    "right-hand sides."
                )
                raise MemoryError(message) from error


def _out_of_memory(error: BaseException) -> bool:
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return "allocate memory" in str(error) or "out of memory" in str(error)


def _tasks(
    whole: slice,
    m: int,
    symmetric: bool,  # noqa: FBT001
    plan: TilePlan,
) -> Iterator[list[Block]]:
    """Tiles of the rows `whole` in strips, the longest strip first.

    A strip is cut where there are too few of them to keep several workers busy to the end.
    """
    n = whole.stop - whole.start
    if n == 0:
        return
    rows, columns = plan.shape(n, m)
    for start in range(whole.start, whole.stop, rows):
        stop = min(start + rows, whole.stop)
        strip = slice(start, stop)
        blocks = [Block(strip, strip, diagonal=True)] if symmetric else []
        first = stop if symmetric else 0
        blocks += [
            Block(strip, slice(left, min(left + columns, m)), diagonal=False)
            for left in range(first, m, columns)
        ]
        length = len(blocks) if n > 16 * rows else max(1, len(blocks) // 8)
        for i in range(0, len(blocks), length):
            yield blocks[i : i + length]
