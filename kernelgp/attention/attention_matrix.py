"""One fixed attention matrix, whatever the method: its product, its adjoint and its normaliser."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from typing_extensions import override

from kernelgp.attention.call import check_method
from kernelgp.attention.door import Call
from kernelgp.attention.exact import causal_tiles
from kernelgp.attention.methods import METHODS
from kernelgp.attention.near_far import kde_parts
from kernelgp.attention.report import Found
from kernelgp.attention.thinned import thinned_parts
from kernelgp.attention.tiles import Part, Tile, sum_parts
from kernelgp.errors import ArgumentError, ArgumentTypeError

__all__ = ["AttentionMatrix", "choose_matrix"]

# What chooses parts of the matrix from queries and keys, for methods that do.
_CHOOSERS: dict[str, Callable[..., list[Part]]] = {"kde": kde_parts, "thinned": thinned_parts}


@dataclass(frozen=True, slots=True, eq=False)
class AttentionMatrix:
    """A matrix of queries (B, n, d) and keys (B, N, d), linear in what it multiplies.

    Attributes
    ----------
    parts
        What was chosen, or the tiles of the exact product; None for methods that are a function.
    seed
        Of what a function draws, the same at every call.
    """

    method: str
    is_causal: bool
    scale: float
    options: Any
    parts: tuple[Part, ...] | None
    seed: int

    @property
    def is_exact(self) -> bool:
        return self.method == "exact"

    def product(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """``A v``, (B, n, c), of values (B, N, c); differentiable."""
        return self._found(q, k, v).out.squeeze(1)

    def adjoint(self, q: Tensor, k: Tensor, g: Tensor) -> Tensor:
        """``Aᵀ g``, (B, N, c), of (B, n, c): the gradient of values; without a graph."""
        q, k, g = q.detach(), k.detach(), g.detach()
        if self.parts is not None:
            return _adjoint_of_parts(q.unsqueeze(1), k, g.unsqueeze(1), self.parts)
        v = g.new_zeros(*k.shape[:-1], g.shape[-1], requires_grad=True)
        with torch.enable_grad():
            out = self.product(q, k, v)
        return torch.autograd.grad(out, v, g)[0]

    def logsumexp(self, q: Tensor, k: Tensor) -> Tensor:
        """Logarithm of the rows' normalisers, (B, n); of the exact matrix with a graph."""
        if self.is_exact and self.parts is not None:
            return _LogSumExp.apply(q, k, self)  # pyright: ignore[reportReturnType]  # torch: Any
        found = self._found(q.detach(), k.detach(), k.new_zeros(*k.shape[:-1], 1)).logsumexp
        if found is None:
            given = f"{self.method!r}, which has no log-sum-exp"
            raise ArgumentError("method", given, "use 'exact', 'kde' or 'thinned'")
        return found.squeeze(1).to(q.dtype)

    def _found(self, q: Tensor, k: Tensor, v: Tensor) -> Found:
        if self.parts is not None:
            return sum_parts(q.unsqueeze(1), k, v, self.parts)
        return METHODS[self.method].function(
            q.unsqueeze(1),
            k,
            v,
            is_causal=self.is_causal,
            scale=self.scale,
            key_padding=None,
            options=self.options,
            generator=torch.Generator().manual_seed(self.seed),
        )


def choose_matrix(
    call: Call,
    method: str,
    options: Any,
    generator: torch.Generator,
    parts: Sequence[Part] | None,
) -> AttentionMatrix:
    """The matrix of a checked call; what a method chooses is chosen here, unless it is given."""
    method = "exact" if method == "auto" else method
    options = check_method(method, call, 0.0, options)
    if parts is not None and method not in _CHOOSERS:
        given = f"blocks with method={method!r}"
        raise ArgumentTypeError("blocks", given, "leave it None: there are none")
    n, N = call.q.shape[-2], call.k.shape[-2]
    if method == "exact":
        whole = [Tile(slice(0, n), slice(0, N), call.scale)]
        parts = causal_tiles(n, N, 0, n, call.scale) if call.is_causal else whole
    elif method in _CHOOSERS and parts is None:
        if len(call.q) != 1:
            given = f"shape {call.shape[:-1]} with method={method!r}"
            raise ArgumentError("q", given, "give one head at a time, (n, d)")
        parts = _CHOOSERS[method](
            call.q,
            call.k,
            None,
            is_causal=call.is_causal,
            scale=call.scale,
            key_padding=None,
            options=options,
            generator=generator,
        )
    seed = int(torch.randint(2**62, (), generator=generator, device=generator.device))
    chosen = None if parts is None else tuple(parts)
    return AttentionMatrix(method, call.is_causal, call.scale, options, chosen, seed)


def _adjoint_of_parts(q: Tensor, k: Tensor, g: Tensor, parts: Sequence[Part]) -> Tensor:
    v = g.new_zeros(*k.shape[:-1], g.shape[-1])
    with torch.no_grad():
        logsumexp = sum_parts(q, k, v[..., :1], parts).logsumexp
    assert logsumexp is not None  # a sum of parts has one
    # That of the values needs neither values nor outputs: zeros stand for them.
    out, total = torch.zeros_like(g), torch.zeros_like(v, dtype=logsumexp.dtype)
    for part in parts:
        rows = part.rows
        _, (keys, _, dv) = part.backward(
            g[..., rows, :].contiguous(), q, k, v, out[..., rows, :], logsumexp[..., rows]
        )
        total[:, keys] += dv
    return total.to(g.dtype)


class _LogSumExp(torch.autograd.Function):
    """``L_i = log Σ_j exp(s q_i·k_j)``: its slopes are ``s (A k)_i`` and ``s Aᵀ (g q)``."""

    @staticmethod
    @override
    def forward(ctx: Any, q: Tensor, k: Tensor, matrix: AttentionMatrix) -> Tensor:
        ctx.save_for_backward(q, k)
        ctx.matrix = matrix
        found = matrix._found(q, k, k.new_zeros(*k.shape[:-1], 1)).logsumexp
        assert found is not None  # a sum of parts has one
        return found.squeeze(1).to(q.dtype)

    @staticmethod
    @override
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, None]:
        q, k = ctx.saved_tensors
        matrix, g = ctx.matrix, grads[0].unsqueeze(-1) * ctx.matrix.scale
        return g * matrix.product(q, k, k), matrix.adjoint(q, k, g * q), None
