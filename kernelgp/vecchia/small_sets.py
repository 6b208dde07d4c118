"""Covariances of many small sets of points at once, with a graph.

Operators go through a batch matrix by matrix, a millisecond each, and thousands of sets of thirty
points are what Vecchia's approximation consists of: here the whole batch is one tensor, and a
kernel's expression runs over it.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from kernelgp.operators.expression import Leaf, Node, Product, Profile, Scaled

__all__ = ["covariances"]


def covariances(kernel: Any, x: Tensor) -> Tensor:
    """``k(x_a, x_b)`` within every set, shape (b, p, p), from x of shape (b, p, d).

    Examples
    --------
    >>> from kernelgp.kernels import Linear
    >>> covariances(Linear(), torch.tensor([[[1.0], [2.0]]])).tolist()
    [[[1.0, 2.0], [2.0, 4.0]]]
    """
    if not hasattr(kernel, "expression"):
        return kernel(x).to_dense()
    return _evaluate(kernel.expression(), x)


def _evaluate(node: Node, x: Tensor) -> Tensor:
    match node:
        case Leaf():
            return _leaf(node, x)
        case Scaled():
            return node.scale.to(x) * _evaluate(node.node, x)
        case _:
            parts = [_evaluate(part, x) for part in node.nodes]
            found = parts[0]
            for part in parts[1:]:
                found = found * part if isinstance(node, Product) else found + part
            return found


def _leaf(leaf: Leaf, x: Tensor) -> Tensor:
    profile, tensors = leaf.profile, tuple(t.to(x) for t in leaf.tensors)
    if leaf.active_dims is not None:
        x = x[..., list(leaf.active_dims)]
    if profile.shift_invariant:
        x = x - x[..., -1:, :].detach()
    z = profile.embed(x, *tensors)
    match profile.pair:
        case "sqdist":
            s = _SquaredDistances.apply(z)
        case "dot":
            s = z @ z.mT
        case "constant":
            s = z.new_ones(*z.shape[:-1], z.shape[-2])
        case _:
            s = torch.eye(z.shape[-2], dtype=z.dtype, device=z.device).expand(len(z), -1, -1)
    parameters = (p.to(x) for p in profile.parameters(*tensors))
    return _Profiled.apply(profile, s, *parameters)  # pyright: ignore[reportReturnType]


class _SquaredDistances(torch.autograd.Function):
    """``s_ab = |z_a - z_b|²``; by z_a it is ``Σ_b (G_ab + G_ba) 2 (z_a - z_b)``."""

    @staticmethod
    def forward(ctx: Any, z: Tensor) -> Tensor:
        ctx.save_for_backward(z)
        # Differences before squares: points that are near keep their digits.
        s = z.new_zeros(*z.shape[:-1], z.shape[-2])
        for column in z.unbind(-1):
            difference = column.unsqueeze(-1) - column.unsqueeze(-2)
            s.addcmul_(difference, difference)
        return s

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        (z,) = ctx.saved_tensors
        both = grad + grad.mT
        return 2 * (both.sum(dim=-1, keepdim=True) * z - both @ z)


class _Profiled(torch.autograd.Function):
    """``f(s)``; by s it is ``f'``, whose infinite values at zero count as the limit 0."""

    @staticmethod
    def forward(ctx: Any, profile: Profile, s: Tensor, *parameters: Tensor) -> Tensor:
        ctx.profile = profile
        ctx.save_for_backward(s, *parameters)
        return profile.value(s, *parameters)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        s, *parameters = ctx.saved_tensors
        by_s = grad * ctx.profile.slope(s, *parameters) if ctx.needs_input_grad[1] else None
        slopes = ctx.profile.parameter_slopes(s, *parameters) if parameters else ()
        by_parameters = (
            (grad * slope).sum().reshape(p.shape)
            for slope, p in zip(slopes, parameters, strict=True)
        )
        return None, by_s, *by_parameters
