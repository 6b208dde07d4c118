"""The call that users of torch know, and the choice of what computes it."""

import time
from typing import Any, Literal, overload

import torch
from torch import Tensor

from kernelgp.attention.door import Call, check_call, check_generator, check_probability
from kernelgp.attention.exact import exact, masked
from kernelgp.attention.methods import METHODS
from kernelgp.attention.report import AttentionReport, Found
from kernelgp.errors import ArgumentError, ArgumentTypeError
from kernelgp.random import RandomState

__all__ = ["attention"]


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
    options = _check_method(method, call, dropout_p, options)
    random = check_generator(generator, call.q.device)
    found = _run(method, call, dropout_p, options, random)
    out = found.out.reshape(call.shape)
    if not return_report:
        return out
    seconds = time.perf_counter() - started
    return out, AttentionReport("exact", "asked for", 0.0, None, None, None, None, None, seconds)


def _run(
    method: str, call: Call, dropout_p: float, options: Any, generator: torch.Generator
) -> Found:
    if call.q.numel() == 0 or call.k.numel() == 0:
        # No row, or no head: a product that is empty too and keeps the graph.
        return Found(call.q @ call.q.new_zeros(call.q.shape[-1], call.v.shape[-1]))
    if method in ("auto", "exact"):
        return _exact(call, dropout_p)
    entry = METHODS[method]
    extra = {"offset": call.offset} if entry.offset else {}
    return entry.function(
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


def _check_method(method: str, call: Call, dropout_p: float, options: Any) -> Any:
    """The method's options, if it can do what is asked."""
    if method != "auto" and method not in METHODS:
        known = ", ".join(map(repr, ("auto", *METHODS)))
        raise ArgumentError("method", repr(method), f"give one of {known}")
    kind = None if method == "auto" else METHODS[method].options
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
