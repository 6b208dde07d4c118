"""What stands for the keys that are not near: leaves of a tree, or a sample.

Of a leaf with keys ``k_j = μ + δ_j`` and values ``v_j = u + η_j``, j = 1 ... m,

    log Σ_j exp(s q·k_j)  ≈  log m + s q·μ + s²/2 Σ_a q_a² var_a,
    its mean value        ≈  u + s q W,  W = cov(δ, η) pooled over the leaves,

the second-order cumulant of the leaf's mass with a diagonal covariance, and the first-order
change of its mean value with the query.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["Leaves", "Sample", "Summary", "SummaryGradient", "rows_of"]


@dataclass(frozen=True, slots=True, eq=False)
class Summary:
    """Stand-ins for keys, of which there are L.

    Attributes
    ----------
    keys : Tensor, shape (B, L, d)
    spread : Tensor, shape (B, L, d), or None
        Variance of the keys that each stands for.
    values : Tensor, shape (B, L, dv)
    slope : Tensor, shape (B, d, dv), or None
    log_weight : Tensor, shape (B, L)
        Logarithm of the number of keys each stands for; -inf where of none.
    """

    keys: Tensor
    spread: Tensor | None
    values: Tensor
    slope: Tensor | None
    log_weight: Tensor


@dataclass(frozen=True, slots=True, eq=False)
class Leaves:
    """Runs of equal length in an order of the keys.

    Attributes
    ----------
    members : Tensor, shape (B, L, m), int64
        Rows of the keys (B, N, d) flattened over the batch.
    valid : Tensor, shape (B, L, m), bool, or None
        False where a place is empty or its key left out; None where none is.
    linear : Tensor, shape (B, 1, 1), or None
        Factor of the slope, 1 or 0; None where there is none.
    """

    members: Tensor
    valid: Tensor | None
    linear: Tensor | None

    def summarize(self, k: Tensor, v: Tensor) -> Summary:
        count, total = self._counts(k)
        keys, key_parts = self._split(k)
        values, value_parts = self._split(v)
        slope = None
        if self.linear is not None:
            slope = key_parts.flatten(1, 2).mT @ value_parts.flatten(1, 2) / total
            slope = slope * self.linear
        spread = key_parts.square().sum(dim=-2) / count
        log_weight = torch.where(self._empty(count), -torch.inf, count.log()).squeeze(-1)
        return Summary(keys, spread, values, slope, log_weight)

    def backward(self, k: Tensor, v: Tensor, grad: "SummaryGradient") -> tuple[Tensor, Tensor]:
        """Each key gets its share of its leaf's gradient, and that of the spread and slope."""
        count, total = self._counts(k)
        _, key_parts = self._split(k)
        dk = (grad.keys / count).unsqueeze(-2)
        dk = dk + 2 * (grad.spread / count).unsqueeze(-2) * key_parts
        dv = (grad.values / count).unsqueeze(-2).expand(*key_parts.shape[:-1], -1)
        if self.linear is not None:
            _, value_parts = self._split(v)
            slope = self.linear * grad.slope / total
            dk = dk + (value_parts.flatten(1, 2) @ slope.mT).view_as(key_parts)
            dv = dv + (key_parts.flatten(1, 2) @ slope).view_as(value_parts)
        return self._put(dk, k), self._put(dv, v)

    def _split(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mean (B, L, c) of each leaf and what its rows differ by, (B, L, m, c)."""
        rows = rows_of(x, self.members).to(_wide(x.dtype))
        if self.valid is None:
            mean = rows.mean(dim=-2)
            return mean, rows.sub_(mean.unsqueeze(-2))
        kept = self.valid.unsqueeze(-1)
        rows *= kept
        mean = rows.sum(dim=-2) / self._counts(x)[0]
        return mean, rows.sub_(mean.unsqueeze(-2)).mul_(kept)

    def _counts(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Keys of each leaf, (B, L, 1) and at least 1, and of all, (B, 1, 1)."""
        batch, leaves, size = self.members.shape
        if self.valid is None:
            count = torch.full(
                (batch, leaves, 1), float(size), dtype=_wide(x.dtype), device=x.device
            )
        else:
            count = self.valid.sum(dim=-1, keepdim=True).to(_wide(x.dtype))
        return count.clamp(min=1), count.sum(dim=1, keepdim=True).clamp(min=1)

    def _empty(self, count: Tensor) -> Tensor:
        if self.valid is None:
            return torch.zeros_like(count, dtype=torch.bool)
        return ~self.valid.any(dim=-1, keepdim=True)

    def _put(self, gradient: Tensor, x: Tensor) -> Tensor:
        """Rows (B, L, m, c) back where the keys stood, (B, N, c)."""
        gradient = gradient.flatten(0, 2)
        found = gradient.new_zeros(x.shape[0] * x.shape[1] + 1, x.shape[2])
        index = self.members.flatten()
        if self.valid is not None:
            index = index.where(self.valid.flatten(), len(found) - 1)
        return found.index_copy_(0, index, gradient)[:-1].view(x.shape)


@dataclass(frozen=True, slots=True, eq=False)
class Sample:
    """Keys drawn with replacement, each standing for as many as its weight says.

    Attributes
    ----------
    members : Tensor, shape (B, L), int64
        Rows of the keys (B, N, d) flattened over the batch.
    log_weight : Tensor, shape (B, L)
        ``-log(p_j L)``.
    """

    members: Tensor
    log_weight: Tensor

    def summarize(self, k: Tensor, v: Tensor) -> Summary:
        wide = _wide(k.dtype)
        keys, values = (rows_of(x, self.members).to(wide) for x in (k, v))
        return Summary(keys, None, values, None, self.log_weight)

    def backward(self, k: Tensor, v: Tensor, grad: "SummaryGradient") -> tuple[Tensor, Tensor]:
        found = []
        for x, gradient in ((k, grad.keys), (v, grad.values)):
            zero = gradient.new_zeros(x.shape).flatten(0, 1)
            added = zero.index_add_(0, self.members.flatten(), gradient.flatten(0, 1))
            found.append(added.view(x.shape))
        return found[0], found[1]


class SummaryGradient:
    """Sums of the gradients of a `Summary`, to which blocks of queries add theirs."""

    def __init__(self, summary: Summary) -> None:
        self.keys = torch.zeros_like(summary.keys)
        self.spread = torch.zeros_like(summary.keys)
        self.values = torch.zeros_like(summary.values)
        d, dv = summary.keys.shape[-1], summary.values.shape[-1]
        self.slope = summary.keys.new_zeros(len(summary.keys), d, dv)


def rows_of(x: Tensor, index: Tensor) -> Tensor:
    """Rows of x (B, N, c) flattened over the batch, at `index` of any shape: (..., c)."""
    return x.reshape(-1, x.shape[-1]).index_select(0, index.flatten()).view(*index.shape, -1)


def _wide(dtype: torch.dtype) -> torch.dtype:
    return torch.float64 if dtype == torch.float64 else torch.float32
