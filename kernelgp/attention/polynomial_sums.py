"""``y_i = Σ_j f(q_i·k_j) w_j`` for ``f(x) = 1 + x`` or ``1 + x + x²/2``, in linear time.

f is an inner product of features 1, q and, of second order, the products ``q_a q_b`` with
``a <= b``: half of all, as they are symmetric, with weight 1/2 on the diagonal. One pass over the
keys adds up ``Σ_j φ(k_j) w_jᵀ``, which every query then reads. Where it is causal the sum runs
along, chunk by chunk, and inside a chunk the lower triangle is computed as it stands. Few keys
are cheaper to face one by one, without features.

The derivative needs the same sums with the parts exchanged: with g_i that of y_i, what reaches
q_i is ``Σ_j (g_i·w_j) f'(q_i·k_j) k_j``, a reading of the keys' sum; what reaches k_j and w_j is
a reading of ``Σ_i φ(q_i) g_iᵀ``, which runs from the end. So nothing is kept between the passes.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

__all__ = ["polynomial_sums"]

# Features of a chunk of tokens, in numbers, that are held at a time: 16 MB of float32.
_HELD = 2**22


def polynomial_sums(
    q: Tensor, k: Tensor, w: Tensor, *, order: int, is_causal: bool, chunk: int
) -> Tensor:
    """The sums, for all keys or for those up to each query.

    Parameters
    ----------
    q : Tensor, shape (b, n, d)
    k : Tensor, shape (b, m, d)
    w : Tensor, shape (b, m, c)
    order
        1 or 2.
    is_causal
        Whether the sum ends at ``j = i``; needs m = n.
    chunk
        Tokens at a time.

    Returns
    -------
    Tensor, shape (b, n, c)
    """
    return _PolynomialSums.apply(q, k, w, order, is_causal, chunk)


class _PolynomialSums(torch.autograd.Function):
    """Derivative: see the module; O(n d) memory in both directions."""

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, w: Tensor, *settings: Any) -> Tensor:
        ctx.save_for_backward(q, k, w)
        ctx.settings = order, is_causal, chunk = settings
        y = q.new_empty(*q.shape[:-1], w.shape[-1])
        for part in _batches(q, order, chunk):
            one = _Chunked(q[part], k[part], w[part], order, is_causal, chunk)
            one.forward(y[part])
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        q, k, w = ctx.saved_tensors
        order, is_causal, chunk = ctx.settings
        results = [torch.empty_like(x) for x in (q, k, w)]
        for part in _batches(q, order, chunk):
            one = _Chunked(q[part], k[part], w[part], order, is_causal, chunk)
            one.backward(grads[0][part], *(result[part] for result in results))
        return *results, None, None, None


def _batches(q: Tensor, order: int, chunk: int) -> Iterator[slice]:
    """Parts of the batch whose features fit together."""
    size = max(1, _HELD // (n_features(q.shape[-1], order) * min(chunk, q.shape[-2])))
    for start in range(0, q.shape[0], size):
        yield slice(start, start + size)


def n_features(d: int, order: int) -> int:
    """How many features a token of size d has."""
    return 1 + d + (order == 2) * d * (d + 1) // 2


@dataclass(frozen=True, slots=True, eq=False)
class _Chunked:
    """The sums of one part of the batch, and their derivative."""

    q: Tensor
    k: Tensor
    w: Tensor
    order: int
    is_causal: bool
    chunk: int

    def forward(self, y: Tensor) -> None:
        if self.is_causal:
            features, total = self._begin(self.k, self.w)
            for i, at in enumerate(_chunks(self.q.shape[-2], self.chunk)):
                y[:, at] = self._tile(self.q[:, at], self.k[:, at], self.w[:, at])
                if i:
                    y[:, at] += features.read(self.q[:, at], total)
                if at.stop < self.q.shape[-2]:
                    features.absorb(total, self.k[:, at], self.w[:, at])
        elif self._few_keys:
            for at in _chunks(self.q.shape[-2], self.chunk):
                y[:, at] = self._tile(self.q[:, at], self.k, self.w)
        else:
            features, total = self._sum(self.k, self.w)
            for at in _chunks(self.q.shape[-2], self.chunk):
                y[:, at] = features.read(self.q[:, at], total)

    def backward(self, g: Tensor, dq: Tensor, dk: Tensor, dw: Tensor) -> None:
        n = self.q.shape[-2]
        if self.is_causal:
            features, total = self._begin(self.k, self.w)
            for i, at in enumerate(_chunks(n, self.chunk)):
                dq[:, at], dk[:, at], dw[:, at] = self._tile_backward(at, at, g)
                if i:
                    dq[:, at] += features.pull(self.q[:, at], g[:, at], total)
                if at.stop < n:
                    features.absorb(total, self.k[:, at], self.w[:, at])
            total.zero_()
            for at in reversed(list(_chunks(n, self.chunk))):
                if at.stop < n:
                    dk[:, at] += features.pull(self.k[:, at], self.w[:, at], total)
                    dw[:, at] += features.read(self.k[:, at], total)
                if at.start:
                    features.absorb(total, self.q[:, at], g[:, at])
        elif self._few_keys:
            dk.zero_()
            dw.zero_()
            everyone = slice(0, self.k.shape[-2])
            for at in _chunks(n, self.chunk):
                dq[:, at], dk_part, dw_part = self._tile_backward(at, everyone, g)
                dk += dk_part
                dw += dw_part
        else:
            features, total = self._sum(self.k, self.w)
            for at in _chunks(n, self.chunk):
                dq[:, at] = features.pull(self.q[:, at], g[:, at], total)
            features, total = self._sum(self.q, g)
            for at in _chunks(self.k.shape[-2], self.chunk):
                dk[:, at] = features.pull(self.k[:, at], self.w[:, at], total)
                dw[:, at] = features.read(self.k[:, at], total)

    @property
    def _few_keys(self) -> bool:
        """Whether a row of the matrix costs less than the features of a query and a key."""
        d, c = self.q.shape[-1], self.w.shape[-1]
        return self.k.shape[-2] * (d + c + 16) < 2 * n_features(d, self.order) * (c + 8)

    def _begin(self, tokens: Tensor, right: Tensor) -> tuple["_Features", Tensor]:
        b, _, d = tokens.shape
        longest = max(self.q.shape[-2], self.k.shape[-2])
        features = _Features(tokens, self.order, min(self.chunk, longest))
        return features, tokens.new_zeros(b, n_features(d, self.order), right.shape[-1])

    def _sum(self, tokens: Tensor, right: Tensor) -> tuple["_Features", Tensor]:
        features, total = self._begin(tokens, right)
        for at in _chunks(tokens.shape[-2], self.chunk):
            features.absorb(total, tokens[:, at], right[:, at])
        return features, total

    def _tile(self, q: Tensor, k: Tensor, w: Tensor) -> Tensor:
        value = _polynomial(q @ k.mT, self.order)
        return (value.tril_() if self.is_causal else value) @ w

    def _tile_backward(self, rows: slice, columns: slice, g: Tensor) -> tuple[Tensor, ...]:
        q, k, w, g = self.q[:, rows], self.k[:, columns], self.w[:, columns], g[:, rows]
        s = q @ k.mT
        slope = g @ w.mT
        if self.order == 2:
            slope *= 1 + s
        value = _polynomial(s, self.order)
        if self.is_causal:
            value, slope = value.tril_(), slope.tril_()
        return slope @ k, slope.mT @ q, value.mT @ g


class _Features:
    """φ of a chunk of tokens as rows of one buffer, one row for each feature.

    So laid out, the products of one coordinate with those after it are one block, and every
    step below is a matrix product or a pass over contiguous numbers.
    """

    def __init__(self, like: Tensor, order: int, chunk: int) -> None:
        b, _, d = like.shape
        self.d, self.order = d, order
        self.buffer = like.new_empty(b, n_features(d, order), chunk)
        self.weight = like.new_ones(n_features(d, order), 1)
        if order == 2:
            self.weight[[at.start for at in self._blocks()]] = 0.5

    def _blocks(self) -> Iterator[slice]:
        """Where the products of coordinate i with i, i + 1, ... stand."""
        start = 1 + self.d
        for size in range(self.d, 0, -1):
            yield slice(start, start + size)
            start += size

    def _of(self, tokens: Tensor) -> Tensor:
        phi, x = self.buffer[..., : tokens.shape[-2]], tokens.mT.contiguous()
        phi[:, 0] = 1
        phi[:, 1 : 1 + self.d] = x
        if self.order == 2:
            for i, at in enumerate(self._blocks()):
                torch.mul(x[:, i:], x[:, i : i + 1], out=phi[:, at])
        return phi

    def absorb(self, total: Tensor, tokens: Tensor, right: Tensor) -> None:
        """``total += Σ φ(tokens) rightᵀ``."""
        total.baddbmm_(self._of(tokens), right)

    def read(self, tokens: Tensor, total: Tensor) -> Tensor:
        """``φ(tokens)ᵀ total``, where f is that of sums of the other side's features."""
        return self._of(tokens).mT @ (total * self.weight)

    def pull(self, tokens: Tensor, right: Tensor, total: Tensor) -> Tensor:
        """The derivative in `tokens` of ``Σ right · read(tokens, total)``."""
        grad = (total * self.weight) @ right.mT
        x = tokens.mT.contiguous()
        pulled = grad[:, 1 : 1 + self.d].clone()
        if self.order == 2:
            for i, at in enumerate(self._blocks()):
                block = grad[:, at]
                pulled[:, i] += (block * x[:, i:]).sum(dim=1)
                pulled[:, i:].addcmul_(block, x[:, i : i + 1])
        return pulled.mT


def _polynomial(s: Tensor, order: int) -> Tensor:
    if order == 1:
        return s.add_(1)
    # Its square completed: two passes fewer, and no weight below 1/2.
    return s.add_(1).square_().add_(1).mul_(0.5)


def _chunks(n: int, size: int) -> Iterator[slice]:
    for start in range(0, n, size):
        yield slice(start, min(start + size, n))
