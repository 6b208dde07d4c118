"""torch's `MultiheadAttention` with another way to compute its attention."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import dropout, linear
from typing_extensions import override

from kernelgp.attention.call import attention
from kernelgp.attention.methods import METHODS
from kernelgp.errors import ArgumentError, ArgumentTypeError
from kernelgp.random import RandomState

__all__ = ["MultiheadAttention"]


class MultiheadAttention(nn.MultiheadAttention):
    """`torch.nn.MultiheadAttention`, computed by `attention`.

    Parameters, forward and masks are torch's, and so are the names of the weights: either loads
    the other's state dict. In a mask of the forward True leaves out, unlike in `attention`.
    A query that sees no key gives the output of zero values, not NaN.

    Parameters
    ----------
    embed_dim, num_heads, dropout, bias, add_bias_kv, add_zero_attn, kdim, vdim, batch_first
        As for torch's.
    method, tolerance, options, generator
        As for `attention`. With "auto" long sequences are approximated within `tolerance`
        where nothing forbids it: a general mask, dropout in training, and weights do.

    Raises
    ------
    ArgumentError
        If `method` is unknown; if it is an approximation and there is dropout; in the forward
        if it is one and `need_weights`.

    Examples
    --------
    >>> layer = MultiheadAttention(32, num_heads=4, batch_first=True)
    >>> _ = layer.load_state_dict(nn.MultiheadAttention(32, 4).state_dict())
    >>> x = torch.randn(2, 100, 32)
    >>> layer(x, x, x, need_weights=False, is_causal=True)[0].shape
    torch.Size([2, 100, 32])
    """

    def __init__(
        self,
        embed_dim: int,
        num_heads: int,
        dropout: float = 0.0,
        bias: bool = True,  # noqa: FBT001, FBT002 - in torch's order
        add_bias_kv: bool = False,  # noqa: FBT001, FBT002
        add_zero_attn: bool = False,  # noqa: FBT001, FBT002
        kdim: int | None = None,
        vdim: int | None = None,
        batch_first: bool = False,  # noqa: FBT001, FBT002
        device: Any = None,
        dtype: torch.dtype | None = None,
        *,
        method: str = "auto",
        tolerance: float | None = None,
        options: Any = None,
        generator: RandomState = None,
    ) -> None:
        if method != "auto" and method not in METHODS:
            known = ", ".join(map(repr, ("auto", *METHODS)))
            raise ArgumentError("method", repr(method), f"give one of {known}")
        if num_heads < 1 or embed_dim < 1 or embed_dim % num_heads:
            given = f"{embed_dim} with num_heads={num_heads}"
            raise ArgumentError("embed_dim", given, "give a positive multiple of num_heads")
        if dropout > 0 and method not in ("auto", "exact"):
            remedy = "give 0, or method='exact' or 'auto'"
            raise ArgumentError("dropout", f"{dropout} with method={method!r}", remedy)
        super().__init__(
            embed_dim,
            num_heads,
            dropout,
            bias,
            add_bias_kv,
            add_zero_attn,
            kdim,
            vdim,
            batch_first,
            device,
            dtype,
        )
        self.method, self.tolerance = method, tolerance
        self.options, self.generator = options, generator
        # In evaluation torch's TransformerEncoderLayer passes the weights to a kernel of its own
        # and never calls this module, unless something is hooked to it.
        self.register_forward_pre_hook(_be_called)

    @override
    def forward(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        key_padding_mask: Tensor | None = None,
        need_weights: bool = True,
        attn_mask: Tensor | None = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        """Output and, where `need_weights`, the weights, exactly.

        Parameters
        ----------
        query : Tensor, shape (L, E) or (L, B, E), with `batch_first` (B, L, E)
        key, value : Tensor, the same with S, kdim and vdim
        key_padding_mask : Tensor, shape (S,) or (B, S)
            Boolean (True leaves a key out), or added to the logits.
        need_weights
            Forms the matrix; methods other than "exact" and "auto" refuse.
        attn_mask : Tensor, shape (L, S) or (B num_heads, L, S)
            Boolean (True leaves a pair out), or added to the logits.
        is_causal
            That query i sees keys up to i. An `attn_mask` beside it is taken to say the same,
            as by torch, and not read.

        Returns
        -------
        out : Tensor, shape of `query`
        weights : Tensor, shape (L, S) or (B, L, S), or (..., num_heads, L, S) if not averaged
        """
        if need_weights and self.method not in ("auto", "exact"):
            given = f"True with method={self.method!r}"
            raise ArgumentError("need_weights", given, "give False: only 'exact' has weights")
        for name, x in (("query", query), ("key", key), ("value", value)):
            self._check(name, x)
        batched = query.dim() == 3
        if not batched:
            query, key, value = (x.unsqueeze(0) for x in (query, key, value))
        elif not self.batch_first:
            query, key, value = (x.transpose(0, 1) for x in (query, key, value))
        q, k, v = self._heads(query, key, value)
        n, S = q.shape[-2], key.shape[1]
        extra = k.shape[-2] - S
        keep, padding = self._masks(key_padding_mask, attn_mask, q, S, extra, is_causal=is_causal)
        p = self.dropout if self.training else 0.0
        weights = None
        if need_weights:
            if is_causal:
                keep = torch.ones(n, k.shape[-2], dtype=torch.bool, device=q.device).tril(extra)
            out, weights = _with_weights(q, k, v, keep, padding, p)
            # torch puts what it adds behind the keys.
            weights = weights.roll(-extra, dims=-1)
            weights = weights.mean(dim=1) if average_attn_weights else weights
            weights = weights if batched else weights.squeeze(0)
        else:
            out = attention(
                q,
                k,
                v,
                method=self.method,
                is_causal=is_causal,
                causal_offset=extra if is_causal else None,
                attn_mask=keep,
                key_padding_mask=padding,
                dropout_p=p,
                tolerance=self.tolerance,
                options=self.options,
                generator=self.generator,
            )
        out = self.out_proj(out.transpose(1, 2).flatten(-2))
        if not batched:
            out = out.squeeze(0)
        elif not self.batch_first:
            out = out.transpose(0, 1)
        return out, weights

    def _check(self, name: str, x: Any) -> None:
        if not isinstance(x, Tensor):
            raise ArgumentTypeError(name, type(x).__name__, "give a torch tensor")
        if x.is_nested:
            remedy = (
                "pad it and give key_padding_mask (TransformerEncoder: enable_nested_tensor=False)"
            )
            raise ArgumentTypeError(name, "a nested tensor", remedy)
        size = {"query": self.embed_dim, "key": self.kdim, "value": self.vdim}[name]
        if x.dim() not in (2, 3) or x.shape[-1] != size:
            layout = "batch, length" if self.batch_first else "length, batch"
            remedy = f"give ({layout}, {size}), or (length, {size})"
            raise ArgumentError(name, f"shape {tuple(x.shape)}", remedy)
        if x.dtype != self.out_proj.weight.dtype:
            remedy = f"convert it to {self.out_proj.weight.dtype}, the dtype of the weights"
            raise ArgumentError(name, str(x.dtype), remedy)

    def _heads(self, query: Tensor, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Projections (B, num_heads, length, head_dim), what is added to the keys in front."""
        if self.in_proj_weight is not None:
            weights = self.in_proj_weight.chunk(3)
        else:
            weights = self.q_proj_weight, self.k_proj_weight, self.v_proj_weight
        bias = self.in_proj_bias
        biases = (None,) * 3 if bias is None else bias.chunk(3)
        if self.in_proj_weight is not None and query is key is value:
            q, k, v = linear(query, self.in_proj_weight, bias).chunk(3, dim=-1)
        else:
            inputs = query, key, value
            q, k, v = (linear(*x) for x in zip(inputs, weights, biases, strict=True))
        front_k, front_v = [], []
        if self.bias_k is not None and self.bias_v is not None:
            front_k.append(self.bias_k.expand(len(k), 1, -1))
            front_v.append(self.bias_v.expand(len(v), 1, -1))
        if self.add_zero_attn:
            front_k.append(torch.zeros_like(k[:, :1]))
            front_v.append(torch.zeros_like(v[:, :1]))
        k, v = torch.cat([*front_k, k], dim=1), torch.cat([*front_v, v], dim=1)
        split = (self.num_heads, self.head_dim)
        q, k, v = (x.unflatten(-1, split).transpose(1, 2) for x in (q, k, v))
        return q, k, v

    def _masks(
        self,
        key_padding_mask: Tensor | None,
        attn_mask: Tensor | None,
        q: Tensor,
        S: int,
        extra: int,
        *,
        is_causal: bool,
    ) -> tuple[Tensor | None, Tensor | None]:
        """A mask of pairs in the sense of `attention`, and one of keys, with what is added."""
        batch, n = len(q), q.shape[-2]
        pairs = None
        if attn_mask is not None and not is_causal:
            pairs = attn_mask
            if pairs.shape == (batch * self.num_heads, n, S):
                pairs = pairs.unflatten(0, (batch, self.num_heads))
            elif pairs.shape != (n, S):
                remedy = f"give ({n}, {S}) or ({batch * self.num_heads}, {n}, {S})"
                raise ArgumentError("attn_mask", f"shape {tuple(pairs.shape)}", remedy)
            pairs = _extended(~pairs if pairs.dtype == torch.bool else pairs, extra)
        if key_padding_mask is None:
            return pairs, None
        padding = key_padding_mask.unsqueeze(0) if key_padding_mask.dim() == 1 else key_padding_mask
        if padding.shape != (batch, S):
            remedy = f"give ({batch}, {S}), a flag for each key"
            raise ArgumentError("key_padding_mask", f"shape {tuple(padding.shape)}", remedy)
        if padding.dtype == torch.bool:
            return pairs, ~_extended(~padding, extra)
        # Layers of torch hand on what was boolean as 0 and -inf.
        if ((padding == 0) | (padding == -torch.inf)).all():
            return pairs, ~_extended(padding == 0, extra)
        if is_causal:
            given = "an additive mask beside is_causal=True"
            raise ArgumentError("key_padding_mask", given, "give a boolean one")
        added = _extended(padding, extra)[:, None, None]
        if pairs is None:
            return added.expand(-1, 1, n, -1), None
        if pairs.dtype == torch.bool:
            return added.masked_fill(~pairs, -torch.inf), None
        return pairs + added, None


def _extended(mask: Tensor, extra: int) -> Tensor:
    """The mask with `extra` keys in front that every query sees."""
    if extra == 0:
        return mask
    seen = mask.new_ones if mask.dtype == torch.bool else mask.new_zeros
    return torch.cat([seen(*mask.shape[:-1], extra), mask], dim=-1)


def _with_weights(
    q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, padding: Tensor | None, p: float
) -> tuple[Tensor, Tensor]:
    """Output and weights (B, H, n, N), zero in rows that see no key."""
    logits = q.shape[-1] ** -0.5 * q @ k.mT
    if mask is not None:
        boolean = mask.dtype == torch.bool
        logits = logits.masked_fill(~mask, -torch.inf) if boolean else logits + mask
    if padding is not None:
        logits = logits.masked_fill(padding[:, None, None], -torch.inf)
    empty = (logits == -torch.inf).all(dim=-1, keepdim=True)
    # Filled before the softmax: the gradient of a NaN that is replaced is NaN.
    weights = logits.masked_fill(empty, 0.0).softmax(dim=-1).masked_fill(empty, 0.0)
    weights = dropout(weights, p) if p > 0 else weights
    return weights @ v, weights


def _be_called(module: nn.Module, arguments: tuple[Any, ...]) -> None:
    del module, arguments
