"""The oracle of these tests: an expression evaluated slowly and obviously."""

import pytest
import torch

from kernelgp.operators.expression import Leaf, Product, Scaled, Sum


@pytest.fixture
def dense():
    """``dense(kernel, x1, x2=None)``: the covariance matrix, shape (..., n, m)."""

    def function(kernel, x1, x2=None):
        other = x1 if x2 is None else x2
        return evaluate(kernel.expression(), x1, other, symmetric=x2 is None)

    return function


def evaluate(node, x1, x2, *, symmetric):
    if isinstance(node, Scaled):
        inner = evaluate(node.node, x1, x2, symmetric=symmetric)
        return node.scale.to(x1)[..., None, None] * inner
    if isinstance(node, Sum):
        return sum(evaluate(child, x1, x2, symmetric=symmetric) for child in node.nodes)
    if isinstance(node, Product):
        result = torch.ones((), dtype=x1.dtype)
        for child in node.nodes:
            result = result * evaluate(child, x1, x2, symmetric=symmetric)
        return result
    assert isinstance(node, Leaf)
    tensors = [tensor.to(x1) for tensor in node.tensors]
    if node.active_dims is not None:
        x1, x2 = x1[..., list(node.active_dims)], x2[..., list(node.active_dims)]
    z1, z2 = (node.profile.embed(x, *tensors) for x in (x1, x2))
    shape = (*x1.shape[:-2], x1.shape[-2], x2.shape[-2])
    match node.profile.pair:
        case "sqdist":
            s = (z1.unsqueeze(-2) - z2.unsqueeze(-3)).square().sum(dim=-1)
        case "dot":
            s = z1 @ z2.mT
        case "constant":
            s = x1.new_ones(shape)
        case "identity":
            eye = torch.eye(*shape[-2:], dtype=x1.dtype)
            s = (eye if symmetric else torch.zeros_like(eye)).expand(shape)
    parameters = [p[..., None, None] for p in node.profile.parameters(*tensors)]
    return Covariance.apply(node.profile, s, *parameters)


class Covariance(torch.autograd.Function):
    """value(s) with gradient slope(s): what every backend promises, zero distance included."""

    @staticmethod
    def forward(ctx, profile, s, *parameters):
        ctx.profile = profile
        ctx.save_for_backward(s, *parameters)
        return profile.value(s, *parameters)

    @staticmethod
    def backward(ctx, grad):
        s, *parameters = ctx.saved_tensors
        slopes = ctx.profile.parameter_slopes(s, *parameters)
        to_parameters = [
            (grad * slope).sum_to_size(p.shape) for slope, p in zip(slopes, parameters, strict=True)
        ]
        return None, grad * ctx.profile.slope(s, *parameters), *to_parameters
