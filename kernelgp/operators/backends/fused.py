"""The entries of a kernel matrix whose kernel says what it is: whole expressions in one tile.

Batch dimensions end here: the backends below see one matrix at a time.
"""

import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import product
from typing import Any, Literal, TypeVar

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import Module

from kernelgp.errors import BackendWarning
from kernelgp.operators.backends import keops, tiled
from kernelgp.operators.backends.plan import choose_distances
from kernelgp.operators.backends.workers import run_alone
from kernelgp.operators.embedding import Embedding, LeafAt, ProductAt, ScaledAt, Tree, embed
from kernelgp.operators.expression import Profile
from kernelgp.operators.substitute import substitute

__all__ = ["FusedEntries"]

T = TypeVar("T")
Adjoint = Tensor | tuple[Tensor, Tensor]


@dataclass(frozen=True, slots=True, eq=False)
class FusedEntries:
    """The entries of ``K(x1, x2)`` for a kernel with an ``expression()``.

    Parameters
    ----------
    x1, x2 : Tensor, shapes (..., n, d) and (..., m, d)
        `x2` is None where it is `x1`.
    identity : pair of LongTensor (n,) and (m,), or None
        See `Embedding`.
    batch
        Batch shape of the matrix.
    strip
        Rows that take part in products and derivatives, by tiles only; see `tiled.matmul`.
    """

    kernel: Module
    x1: Tensor
    x2: Tensor | None
    identity: tuple[Tensor, Tensor] | None
    batch: torch.Size
    backend: Literal["tiled", "keops"]
    strip: slice | None = None

    @property
    def _shape(self) -> tuple[int, int]:
        x2 = self.x1 if self.x2 is None else self.x2
        return self.x1.shape[-2], x2.shape[-2]

    @torch.no_grad()
    def matmul(self, rhs: Tensor, *, transpose: bool) -> Tensor:
        """``K @ rhs`` or ``Kᵀ @ rhs``; rhs of shape (..., m, k) or (..., n, k)."""
        n, m = self._shape
        batch = torch.broadcast_shapes(self.batch, rhs.shape[:-2])
        if not self.batch and batch:
            # One matrix and many right-hand sides: more columns, not more matrices.
            columns = rhs.movedim(-2, 0).flatten(1)
            out = self.matmul(columns, transpose=transpose)
            return out.unflatten(-1, (*batch, rhs.shape[-1])).movedim(0, -2)
        embedding = self._embed().expand(batch)
        rhs = rhs.expand(*batch, *rhs.shape[-2:])
        parts = []
        for index in _indices(batch):
            one, columns = _select(embedding, index), rhs[index]
            ask = partial(keops.matmul, one, n, m, columns, transpose=transpose)
            found = self._keops(ask)
            if found is None:
                found = tiled.matmul(one, n, m, columns, transpose=transpose, strip=self.strip)
            parts.append(found)
        return _stack(parts, batch)

    def _keops(self, run: Callable[[], T]) -> T | None:
        """What KeOps finds; None where it is not asked, or fails for the first or a later time."""
        if self.backend != "keops" or keops.problem() is not None or self.strip is not None:
            return None
        try:
            return run()
        except keops.KeopsError as failure:
            message = f"backend: keops cannot be used, {failure}; tiled takes over."
            warnings.warn(message, BackendWarning, stacklevel=2)
            return None

    @torch.no_grad()
    def dense(self) -> Tensor:
        """The matrix, (..., n, m), without a graph."""
        embedding = self._embed().expand(self.batch)
        parts = [
            tiled.fill(_select(embedding, index), *self._shape, self.x1.dtype, self.x1.device)
            for index in _indices(self.batch)
        ]
        return _stack(parts, self.batch)

    def derivative(self, adjoint: Adjoint) -> tuple[Tensor | None, ...]:
        """The derivative of ``Σ A ∘ K`` by `x1`, `x2` (unless it is None), and the parameters.

        Parameters
        ----------
        adjoint : Tensor (..., n, m), or a pair of Tensors (..., n, k) and (..., m, k)
            The weights A, or U and V whose product U Vᵀ they are.
        """
        with torch.enable_grad():
            points = [x for x in (self.x1, self.x2) if x is not None]
            inputs = [
                t.detach().requires_grad_(t.requires_grad)
                for t in (*points, *self.kernel.parameters())
            ]
            parameters = inputs[len(points) :]
            copy = FusedEntries(
                substitute(self.kernel, parameters),
                inputs[0],
                None if self.x2 is None else inputs[1],
                self.identity,
                self.batch,
                self.backend,
                self.strip,
            )
            wanted = [t for t in inputs if t.requires_grad]
            factors = (adjoint,) if isinstance(adjoint, Tensor) else adjoint
            shapes = [factor.shape[:-2] for factor in factors]
            batch = torch.broadcast_shapes(self.batch, *shapes)
            embedding = copy._embed().expand(batch)
        factors = [factor.expand(*batch, *factor.shape[-2:]) for factor in factors]
        roots, grads = self._differentiate(embedding, batch, factors)
        if not roots or not wanted:
            return (None,) * len(inputs)
        pull_back = partial(torch.autograd.grad, roots, wanted, grads, allow_unused=True)
        found = iter(run_alone(pull_back, self.x1.device))
        return tuple(next(found) if t.requires_grad else None for t in inputs)

    def _differentiate(
        self, embedding: Embedding, batch: torch.Size, factors: Sequence[Tensor]
    ) -> tuple[list[Tensor], list[Tensor]]:
        """The embedding's tensors that matter, and the derivative by each."""
        needed = frozenset(i for i, t in enumerate(embedding.tensors) if t.requires_grad)
        detached = embedding.map(Tensor.detach)
        parts = []
        for index in _indices(batch):
            here = [factor[index] for factor in factors]
            one = _select(detached, index)
            found = None
            if len(here) == 2:
                found = self._keops(partial(keops.derivative, one, here[0], here[1], needed))
            if found is None:
                adjoint = here[0] if len(here) == 1 else (here[0], here[1])
                found = tiled.derivative(one, adjoint, needed, strip=self.strip)
            parts.append(found)
        roots, grads = [], []
        for i in sorted(needed):
            if parts[0][i] is not None:
                roots.append(embedding.tensors[i])
                grads.append(_stack([part[i] for part in parts], batch))
        return roots, grads

    def pairs(self, rows: Tensor, columns: Tensor, batch: tuple[Tensor, ...]) -> Tensor:
        """Entries at the indices given, which broadcast together; differentiable."""
        embedding = self._embed().expand(self.batch)
        left, right = (*batch, rows), (*batch, columns)
        same = self._same(rows, columns)
        return _walk(embedding.tree, embedding.tensors, left, right, batch, same)

    def _same(self, rows: Tensor, columns: Tensor) -> Tensor:
        if self.identity is not None:
            return self.identity[0][rows] == self.identity[1][columns]
        if self.x2 is None:
            return rows == columns
        return torch.zeros_like(rows == columns)

    def _embed(self) -> Embedding:
        return run_alone(self._embed_here, self.x1.device)

    def _embed_here(self) -> Embedding:
        node: Any = self.kernel
        node = node.expression()
        embedding = embed(node, self.x1, self.x2, self.identity, self.x1.dtype)
        distances = choose_distances(embedding, self.x1.dtype)
        if distances.dtype != self.x1.dtype:
            embedding = embed(node, self.x1, self.x2, self.identity, distances.dtype)
        return replace(embedding, distances=distances)


def _indices(batch: torch.Size) -> Iterator[tuple[int, ...]]:
    """Every index into the batch, in the order in which tensors are stored."""
    return product(*map(range, batch))


def _select(embedding: Embedding, index: tuple[int, ...]) -> Embedding:
    return embedding.map(lambda tensor: tensor[index]) if index else embedding


def _stack(parts: Sequence[Any], batch: torch.Size) -> Tensor:
    return torch.stack(list(parts)).view(*batch, *parts[0].shape) if batch else parts[0]


def _walk(
    tree: Tree,
    tensors: tuple[Tensor, ...],
    left: tuple[Tensor, ...],
    right: tuple[Tensor, ...],
    batch: tuple[Tensor, ...],
    same: Tensor,
) -> Tensor:
    """A node's covariances of single pairs, with a graph."""
    match tree:
        case LeafAt():
            s = _numbers(tree.profile, tensors[tree.rows][left], tensors[tree.columns][right], same)
            parameters = [tensors[i][batch] for i in tree.parameters]
            return _Covariance.apply(tree.profile, s, *parameters)
        case ScaledAt():
            return tensors[tree.scale][batch] * _walk(tree.node, tensors, left, right, batch, same)
        case _:
            parts = [_walk(node, tensors, left, right, batch, same) for node in tree.nodes]
            combine: Callable[[Tensor, Tensor], Tensor] = (
                torch.mul if isinstance(tree, ProductAt) else torch.add
            )
            out = parts[0]
            for part in parts[1:]:
                out = combine(out, part)
            return out


def _numbers(profile: Profile, z1: Tensor, z2: Tensor, same: Tensor) -> Tensor:
    match profile.pair:
        case "sqdist":
            return (z1 - z2).square().sum(dim=-1)
        case "dot":
            return (z1 * z2).sum(dim=-1)
        case "constant":
            return torch.ones_like(z1[..., 0])
        case "identity":
            return same.to(z1.dtype).expand(z1.shape[:-1])


class _Covariance(torch.autograd.Function):
    """``f(s)``, differentiated by the profile's own slopes, which are right at zero distance."""

    @staticmethod
    def forward(ctx: Any, profile: Profile, s: Tensor, *parameters: Tensor) -> Tensor:
        ctx.profile = profile
        ctx.save_for_backward(s, *parameters)
        return profile.value(s, *parameters)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        s, *parameters = ctx.saved_tensors
        slopes = ctx.profile.parameter_slopes(s, *parameters) if parameters else ()
        by_parameters = (
            (grad * slope).sum_to_size(parameter.shape)
            for slope, parameter in zip(slopes, parameters, strict=True)
        )
        return None, grad * ctx.profile.slope(s, *parameters), *by_parameters
