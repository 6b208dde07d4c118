"""A balanced tree over rows: nested groups of equal size that are close together.

Every pass sorts the rows of each node along the node's leading direction and cuts them into as
many equal parts as its arity says. Rows are projected on their leading principal directions
first: beyond a few of these nothing separates, and a pass costs what the columns cost.
"""

import math

import torch
from torch import Tensor

__all__ = ["arities", "tree_order"]

_DIRECTIONS = 16
_SAMPLE = 1024
_NODE_SAMPLE = 256
_WIDEST = 8


def arities(parts: int) -> list[int]:
    """Factors of at most 8 whose product is the least possible and at least `parts`.

    Examples
    --------
    >>> arities(250)
    [5, 5, 5, 2]
    """
    size = parts
    while True:
        factors, rest = [], size
        for prime in (2, 3, 5, 7):
            while rest % prime == 0:
                factors.append(prime)
                rest //= prime
        if rest == 1:
            break
        size += 1
    merged: list[int] = []
    for factor in sorted(factors, reverse=True):
        fit = [i for i, product in enumerate(merged) if product * factor <= _WIDEST]
        if fit:
            merged[fit[0]] *= factor
        else:
            merged.append(factor)
    return sorted(merged, reverse=True)


def tree_order(
    x: Tensor, left_out: Tensor | None, sizes: list[int], leaf: int, generator: torch.Generator
) -> Tensor:
    """Rows in the order of the leaves of a balanced tree.

    Parameters
    ----------
    x : Tensor, shape (B, n, d)
    left_out : Tensor, shape (B, n), bool, or None
        Rows that go to the end.
    sizes
        Arities from the root down; with `leaf` they make at least n places.
    leaf
        Rows of a leaf.

    Returns
    -------
    Tensor of int64, shape (B, places)
        A permutation of the places; those from n on are empty and stand behind all rows that
        are not left out.
    """
    batch, n, _ = x.shape
    places = math.prod(sizes) * leaf
    x = _principal(x, left_out, generator)
    if places > n:
        x = torch.cat([x, x.new_zeros(batch, places - n, x.shape[-1])], dim=1)
    last = torch.arange(places, device=x.device) >= n
    last = last.expand(batch, places)
    if left_out is not None:
        last = torch.cat([left_out, last[:, n:]], dim=1)
    order = torch.arange(places, device=x.device).expand(batch, places)
    ragged = places > n or left_out is not None
    nodes, size = 1, places
    for arity in sizes:
        # (B nodes, size, directions): the rows of each node together.
        x = x.reshape(batch * nodes, size, -1)
        gone = last.reshape(batch * nodes, size)
        along = (x @ _leading(x, gone if ragged else None)).squeeze(-1)
        if ragged:
            along = along.masked_fill(gone, torch.inf)
        within = along.argsort(dim=-1)
        flat = within + torch.arange(0, batch * places, size, device=x.device)[:, None]
        x = x.flatten(0, 1).index_select(0, flat.flatten())
        order = order.reshape(-1).index_select(0, flat.flatten())
        last = last.reshape(-1).index_select(0, flat.flatten())
        nodes, size = nodes * arity, size // arity
    return order.reshape(batch, places)


def _principal(x: Tensor, left_out: Tensor | None, generator: torch.Generator) -> Tensor:
    """Coordinates of the rows on the leading eigenvectors of their covariance, from a sample."""
    if x.shape[-1] <= _DIRECTIONS:
        return x
    n = x.shape[1]
    rows = torch.randint(n, (min(n, _SAMPLE),), generator=generator, device=generator.device)
    rows = rows.to(x.device)
    sample = x.index_select(1, rows)
    if left_out is not None:
        sample = sample * ~left_out.index_select(1, rows)[..., None]
    sample = sample - sample.mean(dim=1, keepdim=True)
    _, vectors = torch.linalg.eigh(sample.mT @ sample)
    return x @ vectors[..., -_DIRECTIONS:]


def _leading(x: Tensor, gone: Tensor | None) -> Tensor:
    """About the leading direction of each node, (nodes, directions, 1), from some of its rows."""
    step = -(-x.shape[1] // _NODE_SAMPLE)
    sample = x[:, ::step]
    if gone is None:
        sample = sample - sample.mean(dim=1, keepdim=True)
    else:
        kept = (~gone[:, ::step]).to(x.dtype)[..., None]
        count = kept.sum(dim=1, keepdim=True).clamp(min=1)
        sample = (sample - (sample * kept).sum(dim=1, keepdim=True) / count) * kept
    covariance = sample.mT @ sample
    # Two power steps from the column of the coordinate that varies most.
    widest = covariance.diagonal(dim1=-2, dim2=-1).argmax(dim=-1)
    direction = covariance[torch.arange(len(x), device=x.device), widest][..., None]
    for _ in range(2):
        direction = torch.nn.functional.normalize(covariance @ direction, dim=1)
    return direction
