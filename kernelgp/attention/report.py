"""What a call of `attention` says of itself, and what its methods hand back."""

from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor

__all__ = ["AttentionReport", "Found"]


class Found(NamedTuple):
    """What a method found.

    Attributes
    ----------
    out : Tensor, shape (B, G, n, dv)
        Differentiable in queries, keys and values.
    logsumexp : Tensor, shape (B, G, n), or None
        Logarithm of each query's normaliser, without gradient; +inf where no key is allowed.
        None where the method has none.
    far_logsumexp : Tensor, shape (B, G, n), or None
        The same of the keys that were not summed one by one; -inf where of none.
    """

    out: Tensor
    logsumexp: Tensor | None = None
    far_logsumexp: Tensor | None = None


@dataclass(frozen=True, slots=True)
class AttentionReport:
    """How an attention output was computed and how far off it may be.

    Attributes
    ----------
    method
        What ran: "exact", "kde", ...
    reason
        Why that one.
    estimated_error
        Relative Frobenius error of the output, from exact attention on probe rows: the worst
        head's where there are several. 0 for exact; None where the method does not
        approximate softmax attention.
    error_band
        What the estimate would be for nine in ten draws of the probe rows (bootstrap).
    worst_row
        Largest probe row's error over the mean row norm: a lower bound of the largest of all.
    effective_keys
        Keys a query averages, ``exp(entropy)``, mean over probe rows.
    near_mass
        Mean share of a query's mass that was summed key by key.
    tail_to_head
        Mass beyond the largest entries, as many as there are rows, over the mass of those: what
        is small where few pairs matter.
    seconds
        Of the whole call, probing and attempts that were given up included.
    """

    method: str
    reason: str
    estimated_error: float | None
    error_band: tuple[float, float] | None
    worst_row: float | None
    effective_keys: float | None
    near_mass: float | None
    tail_to_head: float | None
    seconds: float

    def __str__(self) -> str:
        error = (
            "" if self.estimated_error is None else f"relative error {self.estimated_error:.1e}, "
        )
        return f"{self.method} ({self.reason}): {error}{self.seconds:.3g} s"
