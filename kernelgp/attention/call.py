"""The call that users of torch know, and the choice of what computes it."""

import time
import warnings
from typing import Any, Literal, overload

import torch
from torch import Tensor

from kernelgp.attention.auto import Outcome, choose, why_exact
from kernelgp.attention.door import Call, check_call, check_generator, check_probability
from kernelgp.attention.exact import exact, masked
from kernelgp.attention.methods import METHODS
from kernelgp.attention.probes import probe
from kernelgp.attention.report import AttentionReport, Found
from kernelgp.errors import ArgumentError, ArgumentTypeError, NumericalWarning
from kernelgp.random import RandomState

__all__ = ["attention", "check_method"]

_TOLERANCE = 0.02


@overload
def attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    *,
    method: str = ...,
    is_causal: bool = ...,
    causal_offset: int | None = ...,
    attn_mask: Tensor | None = ...,
    key_padding_mask: Tensor | None = ...,
    scale: float | None = ...,
    dropout_p: float = ...,
    enable_gqa: bool = ...,
    tolerance: float | None = ...,
    options: Any = ...,
    generator: RandomState = ...,
    return_report: Literal[False] = ...,
) -> Tensor: ...
@overload
def attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    *,
    method: str = ...,
    is_causal: bool = ...,
    causal_offset: int | None = ...,
    attn_mask: Tensor | None = ...,
    key_padding_mask: Tensor | None = ...,
    scale: float | None = ...,
    dropout_p: float = ...,
    enable_gqa: bool = ...,
    tolerance: float | None = ...,
    options: Any = ...,
    generator: RandomState = ...,
    return_report: Literal[True],
) -> tuple[Tensor, AttentionReport]: ...
def attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    *,
    method: str = "auto",
    is_causal: bool = False,
    causal_offset: int | None = None,
    attn_mask: Tensor | None = None,
    key_padding_mask: Tensor | None = None,
    scale: float | None = None,
    dropout_p: float = 0.0,
    enable_gqa: bool = False,
    tolerance: float | None = None,
    options: Any = None,
    generator: RandomState = None,
    return_report: bool = False,
) -> Tensor | tuple[Tensor, AttentionReport]:
    """``softmax(scale q kᵀ) v``, exactly or faster within a tolerance that is checked.

    Shapes, masks and grouped heads are those of
    `torch.nn.functional.scaled_dot_product_attention`; a query that may see no key gives zeros
    and has no gradient.

    Parameters
    ----------
    q : Tensor, shape (..., n, d), float16, bfloat16, float32 or float64
    k : Tensor, shape (..., N, d)
    v : Tensor, shape (..., N, dv)
        Leading axes broadcast.
    method
        "exact", or an approximation: "kde" (near blocks of keys exactly, the rest by leaves of
        a tree). "auto" takes the exact product where it is as fast, else "kde" if exact
        attention on probe rows finds its error within `tolerance`, for each head.
    is_causal
        Query i sees keys up to i; with `causal_offset` up to ``i + causal_offset``, which has
        to be given where n and N differ.
    attn_mask : Tensor, broadcasting to (..., n, N), or None
        Boolean (True keeps a pair) or added to the logits. Exact only.
    key_padding_mask : Tensor of bool, shape (..., N) without the axis of heads, or None
        True leaves a key out.
    scale
        ``d**-0.5`` by default.
    dropout_p
        Exact only; drawn from torch's global generator.
    enable_gqa
        Axis -3 of q, k and v counts heads, of which q may have a multiple.
    tolerance
        Bound on the estimated relative error of the output; 0.02 for "auto". With an
        approximation named by `method` nothing is replaced: an estimate above it warns.
    options
        Of the method named, such as `KDEOptions`; those of "kde" for "auto".
    generator : torch Generator, int, or None
        For all that is drawn; None is seed 0, so that a call repeats its bytes.
    return_report
        Return also an `AttentionReport`.

    Returns
    -------
    out : Tensor, shape (..., n, dv)
    report : AttentionReport, if asked for

    Raises
    ------
    ArgumentError
        If shapes, dtypes, devices or values cannot be used, or NaN or infinity is in q, k or v.
    ArgumentTypeError
        If something is of a wrong kind.

    Warns
    -----
    NumericalWarning
        If `method` names an approximation and its estimated error is above `tolerance`.

    Examples
    --------
    >>> q, k, v = torch.randn(3, 2, 100, 16).unbind()
    >>> out, report = attention(q, k, v, is_causal=True, return_report=True)
    >>> out.shape, report.method, report.estimated_error
    (torch.Size([2, 100, 16]), 'exact', 0.0)
    """
    started = time.perf_counter()
    call = check_call(
        q,
        k,
        v,
        is_causal=is_causal,
        causal_offset=causal_offset,
        attn_mask=attn_mask,
        key_padding_mask=key_padding_mask,
        scale=scale,
        enable_gqa=enable_gqa,
    )
    check_probability("dropout_p", dropout_p, zero=True)
    if tolerance is not None:
        check_probability("tolerance", tolerance, zero=False)
    options = check_method(method, call, dropout_p, options)
    random = check_generator(generator, call.q.device)
    outcome = _run(method, call, dropout_p, options, tolerance, random)
    out = outcome.found.out.reshape(call.shape)
    if not return_report and (tolerance is None or method in ("auto", "exact")):
        return out
    report = _report(outcome, call, dropout_p, random, started)
    error = report.estimated_error
    if tolerance is not None and error is not None and error > tolerance:
        given = f"{method}: estimated error {error:.2g} (asked: {tolerance:g})"
        warnings.warn(f"{given}; refine its options or use 'auto'.", NumericalWarning, stacklevel=2)
    return (out, report) if return_report else out


def _run(
    method: str,
    call: Call,
    dropout_p: float,
    options: Any,
    tolerance: float | None,
    generator: torch.Generator,
) -> Outcome:
    if call.q.numel() == 0 or call.k.numel() == 0:
        # No row, or no head: a product that is empty too and keeps the graph.
        empty = call.q @ call.q.new_zeros(call.q.shape[-1], call.v.shape[-1])
        return Outcome(Found(empty), "exact", "there is no query")
    if method == "exact":
        return Outcome(_exact(call, dropout_p), "exact", "asked for")
    if method == "auto":
        reason = why_exact(call, dropout_p)
        if reason is not None:
            return Outcome(_exact(call, dropout_p), "exact", reason)
        return choose(call, options, _TOLERANCE if tolerance is None else tolerance, generator)
    entry = METHODS[method]
    extra = {"offset": call.offset} if entry.offset else {}
    found = entry.function(
        call.q,
        call.k,
        call.v,
        is_causal=call.is_causal,
        scale=call.scale,
        key_padding=call.key_padding,
        options=options,
        generator=generator,
        **extra,
    )
    return Outcome(found, method, "asked for")


def _report(
    outcome: Outcome, call: Call, dropout_p: float, generator: torch.Generator, started: float
) -> AttentionReport:
    """With exact rows, where those can be had: not with a general mask, dropout or no row."""
    found, probes = outcome.found, outcome.probes
    plain = call.mask is None and dropout_p == 0.0 and found.out.numel() > 0
    if probes is None and plain:
        probes = probe(call, generator)
    exactly = outcome.method == "exact"
    judged = probes if METHODS[outcome.method].approximates else None
    unjudged = 0.0 if exactly else None
    seconds = time.perf_counter() - started
    return AttentionReport(
        method=outcome.method,
        reason=outcome.reason,
        estimated_error=judged.errors(found.out).max().item() if judged else unjudged,
        error_band=judged.band(found.out, generator) if judged else None,
        worst_row=judged.worst_row(found.out) if judged else unjudged,
        effective_keys=None if probes is None else probes.effective_keys,
        near_mass=_near_mass(found) if not exactly else 1.0,
        tail_to_head=None if probes is None else probes.tail_to_head,
        seconds=seconds,
    )


def _near_mass(found: Found) -> float | None:
    """Mean share of a query's mass that was summed one by one, of queries that see a key."""
    if found.far_logsumexp is None or found.logsumexp is None:
        return None
    seen = found.logsumexp < torch.inf
    far = (found.far_logsumexp - found.logsumexp).exp()
    return 1 - far[seen].mean().item() if seen.any() else None


def check_method(method: str, call: Call, dropout_p: float, options: Any) -> Any:
    """The method's options, if it can do what is asked."""
    if method != "auto" and method not in METHODS:
        known = ", ".join(map(repr, ("auto", *METHODS)))
        raise ArgumentError("method", repr(method), f"give one of {known}")
    kind = METHODS["kde" if method == "auto" else method].options
    if options is not None and (kind is None or not isinstance(options, kind)):
        remedy = f"give {kind.__name__}" if kind else "leave it None: there are none"
        given = f"{type(options).__name__} with method={method!r}"
        raise ArgumentTypeError("options", given, remedy)
    if method not in ("auto", "exact"):
        exact_only = "use method='exact' or 'auto'"
        if dropout_p > 0:
            raise ArgumentError("dropout_p", f"{dropout_p} with method={method!r}", exact_only)
        if call.mask is not None:
            given = f"a general mask with method={method!r}"
            remedy = f"{exact_only}, or key_padding_mask where whole keys are left out"
            raise ArgumentError("attn_mask", given, remedy)
        if call.scale <= 0:
            given = f"{call.scale:g} with method={method!r}"
            raise ArgumentError("scale", given, f"give a positive number, or {exact_only}")
        uneven = call.is_causal and (call.offset or call.q.shape[-2] != call.k.shape[-2])
        if uneven and not METHODS[method].offset:
            given = f"{call.offset} with method={method!r}"
            raise ArgumentError("causal_offset", given, exact_only)
    return kind() if options is None and kind else options


def _exact(call: Call, dropout_p: float) -> Found:
    if call.mask is not None or dropout_p > 0:
        return masked(call, dropout_p)
    return exact(
        call.q,
        call.k,
        call.v,
        is_causal=call.is_causal,
        offset=call.offset,
        scale=call.scale,
        key_padding=call.key_padding,
    )
