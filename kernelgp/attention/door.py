"""The door of `attention`: what was given, checked, in the one form that methods take."""

import math
from dataclasses import dataclass
from numbers import Real
from typing import Any

import torch
from torch import Tensor

from kernelgp.errors import ArgumentError, ArgumentTypeError
from kernelgp.random import RandomState, as_generator
from kernelgp.validation import check_finite, check_same

__all__ = ["Call", "check_call", "check_generator", "check_probability", "check_scale"]

_DTYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


@dataclass(frozen=True, slots=True, eq=False)
class Call:
    """Queries in groups that share keys.

    Attributes
    ----------
    q : Tensor, shape (B, G, n, d)
        B counts batch entries and key heads together, G the query heads of a key head.
    k : Tensor, shape (B, N, d)
    v : Tensor, shape (B, N, dv)
    key_padding : Tensor, shape (B, N), bool, or None
        True leaves a key out.
    mask : Tensor, broadcasting to (..., Hq, n, N), bool or the dtype of q, or None
        As given; in bool True keeps a pair.
    shape : tuple of int
        Of the output as the caller sees it.
    """

    q: Tensor
    k: Tensor
    v: Tensor
    key_padding: Tensor | None
    mask: Tensor | None
    is_causal: bool
    offset: int
    scale: float
    shape: tuple[int, ...]


def check_call(
    q: Any,
    k: Any,
    v: Any,
    *,
    is_causal: bool,
    causal_offset: int | None,
    attn_mask: Any,
    key_padding_mask: Any,
    scale: float | None,
    enable_gqa: bool,
) -> Call:
    """The call, if it can be computed.

    Raises
    ------
    ArgumentTypeError
        If something is of a wrong kind: no tensor, nested, integer, complex.
    ArgumentError
        If shapes, dtypes or devices do not fit, or values cannot be used.
    """
    for name, x in (("q", q), ("k", k), ("v", v)):
        _check_tensor(name, x)
    for name, x in (("k", k), ("v", v)):
        check_same(name, x, "q", q)
    for name, flag in (("is_causal", is_causal), ("enable_gqa", enable_gqa)):
        if not isinstance(flag, bool):
            raise ArgumentTypeError(name, repr(flag), "give True or False")
    n, N, d = q.shape[-2], k.shape[-2], q.shape[-1]
    if k.shape[-1] != d:
        raise ArgumentError("k", _shape(k), f"give (..., {N}, {d}), the head size of q")
    if v.shape[-2] != N:
        raise ArgumentError("v", _shape(v), f"give (..., {N}, dv), a value for each key of k")
    if N == 0:
        raise ArgumentError("k", _shape(k), "give at least one key")
    if d == 0 or v.shape[-1] == 0:
        name, x = ("q", q) if d == 0 else ("v", v)
        raise ArgumentError(name, _shape(x), "give a head size of at least 1")
    offset = _check_offset(n, N, causal_offset, is_causal=is_causal, masked=attn_mask is not None)
    for name, x in (("q", q), ("k", k), ("v", v)):
        check_finite(name, x)
    batch, heads, groups = _leading(q, k, v, enable_gqa=enable_gqa)
    size = math.prod(batch) * heads
    shape = (*batch, heads * groups) if enable_gqa else batch
    by_key = (*batch, heads) if enable_gqa else batch
    return Call(
        q=q.expand(*shape, n, d).reshape(size, groups, n, d),
        k=k.expand(*by_key, N, d).reshape(size, N, d),
        v=v.expand(*by_key, N, v.shape[-1]).reshape(size, N, v.shape[-1]),
        key_padding=_key_padding(key_padding_mask, q, by_key, N, size),
        mask=_check_mask(attn_mask, q, (*shape, n, N)),
        is_causal=is_causal,
        offset=offset,
        scale=d**-0.5 if scale is None else check_scale(scale),
        shape=(*shape, n, v.shape[-1]),
    )


def check_scale(scale: Any) -> float:
    """`scale`, if it is a finite number."""
    if isinstance(scale, bool) or not isinstance(scale, Real):
        raise ArgumentTypeError("scale", repr(scale), "give a number or None")
    if not math.isfinite(scale):
        raise ArgumentError("scale", str(scale), "give a finite number")
    return float(scale)


def check_probability(name: str, value: Any, *, zero: bool) -> float:
    """`value`, if it is a number between 0 (itself allowed with `zero`) and 1."""
    interval = "[0, 1)" if zero else "(0, 1)"
    if isinstance(value, bool) or not isinstance(value, Real):
        raise ArgumentTypeError(name, repr(value), f"give a number in {interval}")
    number = float(value)
    if not (0.0 < number < 1.0 or (zero and number == 0.0)):
        raise ArgumentError(name, str(value), f"give a number in {interval}")
    return number


def check_generator(generator: RandomState, device: torch.device) -> torch.Generator:
    """A generator on the CPU or on `device`; None is a generator of seed 0."""
    # The same call gives the same bytes: what an approximation draws is not the caller's affair
    # unless they say so.
    found = as_generator(0 if generator is None else generator)
    if found.device.type != "cpu" and found.device != device:
        remedy = f"give one on {device}, where q is, or on the CPU"
        raise ArgumentError("generator", f"one on {found.device}", remedy)
    return found


def _check_tensor(name: str, x: Any) -> None:
    if not isinstance(x, Tensor):
        raise ArgumentTypeError(name, type(x).__name__, "give a torch tensor")
    if x.is_nested:
        remedy = "pad it to a dense tensor and mark what is padded in key_padding_mask"
        raise ArgumentTypeError(name, "a nested tensor", remedy)
    if x.layout != torch.strided:
        raise ArgumentTypeError(name, f"a tensor of layout {x.layout}", "give a dense tensor")
    if x.dtype not in _DTYPES:
        raise ArgumentTypeError(name, str(x.dtype), "convert it to a floating dtype")
    if x.dim() < 2:
        raise ArgumentError(name, _shape(x), "give (..., length, head size), two axes at least")


def _check_offset(n: int, N: int, offset: Any, *, is_causal: bool, masked: bool) -> int:
    if is_causal and masked:
        remedy = "give one of them: put the lower triangle into the mask, or leave is_causal False"
        raise ArgumentError("attn_mask", "a mask beside is_causal=True", remedy)
    if offset is None:
        if is_causal and n != N:
            remedy = "give causal_offset: query i sees keys up to i + causal_offset"
            raise ArgumentError("is_causal", f"True with {n} queries and {N} keys", remedy)
        return 0
    if isinstance(offset, bool) or not isinstance(offset, int):
        raise ArgumentTypeError("causal_offset", repr(offset), "give a whole number or None")
    if not is_causal:
        raise ArgumentError("causal_offset", str(offset), "give it with is_causal=True only")
    return offset


def _leading(
    q: Tensor, k: Tensor, v: Tensor, *, enable_gqa: bool
) -> tuple[tuple[int, ...], int, int]:
    """Batch axes, key heads, query heads of each; without groups all leading axes are batch."""
    leads = {"q": q.shape[:-2], "k": k.shape[:-2], "v": v.shape[:-2]}
    heads = groups = 1
    if enable_gqa:
        for name, x in (("q", q), ("k", k), ("v", v)):
            if x.dim() < 3:
                raise ArgumentError(name, _shape(x), "give (..., heads, length, head size)")
        n_heads, heads = q.shape[-3], k.shape[-3]
        if v.shape[-3] != heads:
            remedy = f"give (..., {heads}, {v.shape[-2]}, {v.shape[-1]}), the heads of k"
            raise ArgumentError("v", _shape(v), remedy)
        if heads == 0 or n_heads % heads:
            remedy = f"give a number of heads in q that is a multiple of k's {heads}"
            raise ArgumentError("q", _shape(q), remedy)
        groups = n_heads // heads
        leads = {name: lead[:-1] for name, lead in leads.items()}
    batch = tuple(leads["q"])
    for name, x in (("k", k), ("v", v)):
        if leads[name] == batch:
            continue  # 25 us less: a third of what a small call takes
        try:
            batch = tuple(torch.broadcast_shapes(batch, leads[name]))
        except RuntimeError as error:
            remedy = f"give leading axes that broadcast with {batch}"
            if k.dim() >= 3 and q.dim() >= 3 and q.shape[-3] != k.shape[-3] and not enable_gqa:
                remedy += ", or enable_gqa=True where heads of q share those of k"
            raise ArgumentError(name, _shape(x), remedy) from error
    return batch, heads, groups


def _check_mask(mask: Any, q: Tensor, target: tuple[int, ...]) -> Tensor | None:
    if mask is None:
        return None
    if not isinstance(mask, Tensor):
        raise ArgumentTypeError("attn_mask", type(mask).__name__, "give a torch tensor or None")
    if mask.dtype not in (torch.bool, q.dtype):
        remedy = f"give a boolean mask (True keeps a pair) or an additive one in {q.dtype}"
        raise ArgumentTypeError("attn_mask", str(mask.dtype), remedy)
    if mask.device != q.device:
        raise ArgumentError("attn_mask", f"device {mask.device}", f"move it to {q.device}")
    if not _broadcasts(mask.shape, target):
        remedy = f"give a shape that broadcasts to {target}"
        raise ArgumentError("attn_mask", _shape(mask), remedy)
    # -inf leaves a pair out; what else is not finite has no meaning.
    if mask.dtype != torch.bool and not (mask < torch.inf).all():
        raise ArgumentError("attn_mask", "NaN or +infinity", "give finite numbers or -inf")
    return mask


def _key_padding(mask: Any, q: Tensor, by_key: tuple[int, ...], N: int, size: int) -> Tensor | None:
    if mask is None:
        return None
    if not isinstance(mask, Tensor):
        kind = type(mask).__name__
        raise ArgumentTypeError("key_padding_mask", kind, "give a torch tensor or None")
    if mask.dtype != torch.bool:
        remedy = "give a boolean mask (True leaves a key out)"
        raise ArgumentTypeError("key_padding_mask", str(mask.dtype), remedy)
    if mask.device != q.device:
        raise ArgumentError("key_padding_mask", f"device {mask.device}", f"move it to {q.device}")
    batch = by_key[:-1] if len(by_key) > 1 else by_key
    full = mask if mask.dim() in (1, len(by_key) + 1) else mask.unsqueeze(-2)
    if mask.dim() == 0 or not _broadcasts(full.shape, (*by_key, N)):
        remedy = f"give {(*batch, N)}, a flag for each key"
        raise ArgumentError("key_padding_mask", _shape(mask), remedy)
    return full.expand(*by_key, N).reshape(size, N)


def _broadcasts(shape: tuple[int, ...], target: tuple[int, ...]) -> bool:
    if len(shape) > len(target):
        return False
    pairs = zip(reversed(shape), reversed(target), strict=False)
    return all(a in (1, b) for a, b in pairs)


def _shape(x: Tensor) -> str:
    return f"shape {tuple(x.shape)}"
