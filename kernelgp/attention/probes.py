"""Exact attention on a few random rows, and what it says of an output and of the weights."""

from dataclasses import dataclass

import torch
from torch import Tensor

from kernelgp.attention.door import Call

__all__ = ["Probes", "probe"]

# With 64 rows one in four estimates was off by more than twice where few rows hold the error
# (clusters found by k-means); with 128 one in twenty-five, elsewhere none.
_ROWS = 128
_DRAWS = 1000
_ENTRIES = 2**24


@dataclass(frozen=True, slots=True, eq=False)
class Probes:
    """Exact rows of every head.

    Attributes
    ----------
    rows : Tensor, shape (r,), int64
        Of the queries, drawn without replacement.
    out : Tensor, shape (B, G, r, dv), float64
    effective_keys
        ``exp(entropy)`` of the weights, mean over the rows that see a key.
    tail_to_head
        Mass beyond the r largest weights of a head's rows over the mass of those.
    """

    rows: Tensor
    out: Tensor
    effective_keys: float
    tail_to_head: float

    def squared_errors(self, found: Tensor) -> Tensor:
        """Of the output `found` (B, G, n, dv): squared error of each row, (B, G, r)."""
        given = found.detach().index_select(-2, self.rows).double()
        return (given - self.out).square().sum(dim=-1)

    def errors(self, found: Tensor) -> Tensor:
        """Relative Frobenius error of each head's output, (B, G), estimated."""
        return _relative(self.squared_errors(found), self.out.square().sum(dim=-1))

    def worst_row(self, found: Tensor) -> float:
        """Largest row error over the mean row norm of its head."""
        norm = self.out.norm(dim=-1).mean(dim=-1, keepdim=True)
        errors = self.squared_errors(found).sqrt()
        return (errors / norm.clamp(min=torch.finfo(norm.dtype).tiny)).max().item()

    def band(self, found: Tensor, generator: torch.Generator) -> tuple[float, float]:
        """Between which nine in ten bootstrap estimates of the worst head lie."""
        squares = self.squared_errors(found).flatten(0, 1)
        sizes = self.out.square().sum(dim=-1).flatten(0, 1)
        worst = _relative(squares, sizes).argmax()
        count = len(self.rows)
        draws = torch.randint(
            count, (_DRAWS, count), generator=generator, device=generator.device
        ).to(squares.device)
        estimates = _relative(squares[worst][draws], sizes[worst][draws])
        ends = estimates.quantile(
            torch.tensor([0.05, 0.95], dtype=estimates.dtype).to(draws.device)
        )
        return ends[0].item(), ends[1].item()


@torch.no_grad()
def probe(call: Call, generator: torch.Generator) -> Probes:
    """Exact attention on 128 random queries of every head: 128 / n of what all cost."""
    n, N = call.q.shape[-2], call.k.shape[-2]
    rows = torch.randperm(n, generator=generator, device=generator.device)[:_ROWS]
    rows = rows.to(call.q.device)
    hidden = None
    if call.is_causal:
        hidden = torch.arange(N, device=rows.device) > rows[:, None] + call.offset
    outs, entropies, heads = [], [], []
    groups = call.q.shape[1]
    step = max(_ENTRIES // (groups * len(rows) * N), 1)
    for start in range(0, len(call.q), step):
        entry = slice(start, start + step)
        q = call.q[entry].index_select(-2, rows)
        wide = torch.float64 if q.dtype == torch.float64 else torch.float32
        k, v = (x[entry].unsqueeze(1).to(wide) for x in (call.k, call.v))
        logits = call.scale * q.to(wide) @ k.mT
        if hidden is not None:
            logits.masked_fill_(hidden, -torch.inf)
        if call.key_padding is not None:
            logits.masked_fill_(call.key_padding[entry, None, None], -torch.inf)
        p = logits.softmax(dim=-1).nan_to_num_(nan=0.0)
        outs.append((p @ v).double())
        entropies.append(torch.special.entr(p).sum(dim=-1))
        heads.append(p.flatten(-2).topk(len(rows), dim=-1).values.sum(dim=-1))
    # A row that sees one key has entropy 0; one that sees none must not count as that.
    out, entropy, head = (torch.cat(x) for x in (outs, entropies, heads))
    seen = out.abs().sum(dim=-1) > 0
    effective = entropy.exp()[seen].mean().item() if seen.any() else 0.0
    head = head.clamp(min=torch.finfo(head.dtype).tiny)
    mass = seen.sum(dim=-1)
    return Probes(rows, out, effective, ((mass - head).clamp(min=0) / head).mean().item())


def _relative(squares: Tensor, sizes: Tensor) -> Tensor:
    """``sqrt(Σ squares / Σ sizes)`` over the last axis; 0 where both are."""
    total = sizes.sum(dim=-1)
    return (squares.sum(dim=-1) / total.clamp(min=torch.finfo(total.dtype).tiny)).sqrt()
