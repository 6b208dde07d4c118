"""``method="auto"``: the approximation where it pays and keeps its promise, else the exact one.

Each head is judged by exact attention on its own probe rows. What errs too much is tried with
finer leaves, once with k-means, and then computed exactly.
"""

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from kernelgp.attention.blocks import Blocks
from kernelgp.attention.door import Call
from kernelgp.attention.exact import exact
from kernelgp.attention.near_far import default_leaf, kde_parts
from kernelgp.attention.options import KDEOptions
from kernelgp.attention.probes import Probes, probe
from kernelgp.attention.report import Found
from kernelgp.attention.tiles import Part, sum_parts
from kernelgp.attention.trial import trial_errors

__all__ = ["Outcome", "choose", "why_exact"]

_PAYS = 8192**2
_FEWEST_QUERIES = 1024
_TRAINING = 16_384
_FINEST = 8
# A look at a few blocks is off by a factor; of a causal product it sees the worse half.
_HOPELESS = 3.0
# k-means was never seen to gain more than 8 times, and costs as much as a quarter of exact.
_UNCLUSTERED = 10.0


@dataclass(frozen=True, slots=True, eq=False)
class Outcome:
    """What ran and why; `probes` where rows were probed."""

    found: Found
    method: str
    reason: str
    probes: Probes | None = None


def why_exact(call: Call, dropout_p: float) -> str | None:
    """Why only the exact product comes into question; None where others do."""
    n, N = call.q.shape[-2], call.k.shape[-2]
    if call.mask is not None:
        return "a general mask"
    if dropout_p > 0:
        return "dropout"
    if call.scale <= 0:
        return "a scale that is not positive"
    if n * N < _PAYS or n < _FEWEST_QUERIES:
        return f"{n} x {N} pairs are few"
    if call.q.device.type != "cpu":
        return f"no approximation is measured on {call.q.device.type}"
    learns = torch.is_grad_enabled() and (call.k.requires_grad or call.v.requires_grad)
    if learns and n <= _TRAINING:
        return "gradients of keys and values"
    return None


def choose(
    call: Call, options: KDEOptions, tolerance: float, generator: torch.Generator
) -> Outcome:
    """The cheapest of the attempts that is within `tolerance`, for every entry of the batch."""
    probes = probe(call, generator)
    left = torch.arange(len(call.q), device=call.q.device)
    done: list[tuple[Tensor, Found]] = []
    worst, last = 0.0, torch.inf
    accepted: list[str] = []
    for attempt, name in _attempts(options, call.k.shape[-2]):
        if attempt.grouping != options.grouping and last > _UNCLUSTERED * tolerance:
            break
        part = _entries(call, left)
        parts = kde_parts(
            part.q,
            part.k,
            part.v,
            is_causal=part.is_causal,
            scale=part.scale,
            key_padding=part.key_padding,
            options=attempt,
            generator=generator,
            offset=part.offset,
        )
        expected = _expected_error(part, parts, generator)
        if expected > _HOPELESS * tolerance:
            last = min(last, expected)
            continue
        found = sum_parts(part.q, part.k, part.v, parts)
        errors = _entries_of(probes, left).errors(found.out).amax(dim=-1)
        kept = errors <= tolerance
        last = min(last, errors.min().item())
        if kept.any():
            worst = max(worst, errors[kept].max().item())
            accepted.append(name)
            done.append((left[kept], _pick(found, kept)))
        left = left[~kept]
        if not len(left):
            break
    total = len(call.q)
    if len(left):
        part = _entries(call, left)
        done.append((left, _exact(part)))
    if not accepted:
        reason = f"kde's estimated error {last:.2g} is above the tolerance {tolerance:g}"
        return Outcome(done[0][1], "exact", reason, probes)
    reason = (
        f"estimated error {worst:.2g} within the tolerance {tolerance:g}; {', '.join(accepted)}"
    )
    if len(left):
        reason += f"; {len(left)} of {total} key heads exact"
    return Outcome(_join(done), "kde", reason, probes)


def _attempts(options: KDEOptions, N: int) -> Iterator[tuple[KDEOptions, str]]:
    """Leaves from those asked for down to 8 keys, and k-means once."""
    leaf = options.leaf or default_leaf(N, options.block_key)
    while True:
        yield dataclasses.replace(options, leaf=leaf), f"leaves of {leaf}"
        if leaf % 2 or leaf // 2 < _FINEST:
            break
        leaf //= 2
    if options.grouping != "kmeans":
        again = dataclasses.replace(options, leaf=leaf, near=2 * options.near, grouping="kmeans")
        yield again, f"leaves of {leaf} by k-means"


def _expected_error(call: Call, parts: Sequence[Part], generator: torch.Generator) -> float:
    """Least error of any entry, from a look at the largest part that is not exact."""
    blocks = [part for part in parts if isinstance(part, Blocks)]
    if not blocks:
        return 0.0
    largest = max(blocks, key=lambda part: part.rows.stop - part.rows.start)
    errors = trial_errors(largest, call.q, call.k, call.v, call.key_padding, generator)
    return errors.min().item()


def _exact(call: Call) -> Found:
    return exact(
        call.q,
        call.k,
        call.v,
        is_causal=call.is_causal,
        scale=call.scale,
        key_padding=call.key_padding,
        offset=call.offset,
    )


def _entries(call: Call, index: Tensor) -> Call:
    """Some entries of the batch."""
    if len(index) == len(call.q):
        return call
    padding = None if call.key_padding is None else call.key_padding[index]
    return dataclasses.replace(
        call, q=call.q[index], k=call.k[index], v=call.v[index], key_padding=padding
    )


def _entries_of(probes: Probes, index: Tensor) -> Probes:
    return dataclasses.replace(probes, out=probes.out[index])


def _pick(found: Found, kept: Tensor) -> Found:
    if kept.all():
        return found
    rest = (None if x is None else x[kept] for x in (found.logsumexp, found.far_logsumexp))
    return Found(found.out[kept], *rest)


def _join(done: list[tuple[Tensor, Found]]) -> Found:
    """Entries back in their order; log-sum-exps only where all have them."""
    if len(done) == 1:
        return done[0][1]
    back = torch.cat([index for index, _ in done]).argsort()
    lists = list(zip(*(found for _, found in done), strict=True))
    logsumexps = (
        torch.cat([x for x in fields if x is not None])[back] if None not in fields else None
        for fields in lists[1:]
    )
    return Found(torch.cat([found.out for _, found in done])[back], *logsumexps)
