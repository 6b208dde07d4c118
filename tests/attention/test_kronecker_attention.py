"""Kronecker attention against dense attention over the means, written out cell by cell."""

import pytest
import torch

from kernelgp.attention import KroneckerAttention, KroneckerAttention2d
from kernelgp.errors import ArgumentError, ArgumentTypeError


def softmax_attention(q, k, v):
    return torch.softmax(q @ k.T / q.shape[-1] ** 0.5, dim=-1) @ v


def oracle(module, x):
    """One map (C, n1, ..., nr) in float64, head by head and cell by cell."""
    x = x.double()
    channels, grid = x.shape[0], x.shape[1:]
    means = []
    for axis, size in enumerate(grid):
        for i in range(size):
            means.append(x.select(axis + 1, i).reshape(channels, -1).mean(dim=1))
    means, cells = torch.stack(means), x.reshape(channels, -1).T

    def project(name, tokens):
        layer = getattr(module, name)
        return tokens if layer is None else tokens @ layer.weight.double().T + layer.bias.double()

    queries = cells if module.mode == "kv" else means
    q, k, v = project("query", queries), project("key", means), project("value", means)
    heads = [
        softmax_attention(*parts)
        for parts in zip(*(t.chunk(module.num_heads, dim=-1) for t in (q, k, v)), strict=True)
    ]
    out = torch.cat(heads, dim=-1)
    if module.mode == "qkv":
        places = torch.cartesian_prod(*(torch.arange(n) for n in grid)).reshape(-1, len(grid))
        starts = torch.tensor([sum(grid[:axis]) for axis in range(len(grid))])
        out = out[places + starts].sum(dim=1)
    return project("out", out).T.reshape(x.shape)


@pytest.mark.parametrize("mode", ["kv", "qkv"])
@pytest.mark.parametrize("grid", [(7,), (6, 5), (1, 9), (4, 3, 5)])
@pytest.mark.parametrize("projections", [True, False])
def test_it_is_dense_attention_over_the_means(mode, grid, projections):
    torch.manual_seed(0)
    module = KroneckerAttention(12, 3, mode, axes=len(grid), projections=projections)
    x = torch.randn(2, 12, *grid)
    expected = torch.stack([oracle(module, one) for one in x])
    torch.testing.assert_close(module(x).double(), expected, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("mode", ["kv", "qkv"])
def test_a_batch_is_its_maps_one_by_one(mode):
    module = KroneckerAttention2d(8, 2, mode).double()
    x = torch.randn(2, 3, 8, 4, 5, dtype=torch.float64)
    one_by_one = torch.stack([torch.stack([module(y) for y in row]) for row in x])
    torch.testing.assert_close(module(x), one_by_one)


@pytest.mark.parametrize("mode", ["kv", "qkv"])
def test_gradients_reach_maps_and_parameters(mode):
    module = KroneckerAttention2d(4, 2, mode).double()
    x = torch.randn(1, 4, 3, 2, dtype=torch.float64, requires_grad=True)
    parameters = dict(module.named_parameters())

    def run(x, *values):
        return torch.func.functional_call(module, dict(zip(parameters, values, strict=True)), (x,))

    assert torch.autograd.gradcheck(run, (x, *parameters.values()))


def test_without_projections_there_is_nothing_to_learn():
    assert not list(KroneckerAttention2d(4, projections=False).parameters())
    assert "mode='kv', axes=2" in repr(KroneckerAttention2d(4))


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"channels": 0}, ArgumentError, "channels: got 0; give a positive integer"),
        ({"channels": 8.0}, ArgumentTypeError, r"channels: got 8\.0; give a positive integer"),
        ({"num_heads": 3}, ArgumentError, "num_heads: got 3; give one that divides channels, 8"),
        ({"mode": "q"}, ArgumentError, 'mode: got \'q\'; give "kv" or "qkv"'),
        ({"axes": -1}, ArgumentError, "axes: got -1; give a positive integer"),
    ],
)
def test_bad_arguments_are_named(arguments, error, message):
    with pytest.raises(error, match=message):
        KroneckerAttention(**{"channels": 8, "axes": 2, **arguments})


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (torch.ones(1, 7, 3, 3), r"x: got shape \(1, 7, 3, 3\); give \(\.\.\., 8, n1, n2\)"),
        (torch.ones(3, 3), r"x: got shape \(3, 3\)"),
        (torch.ones(1, 8, 0, 3), r"x: got shape \(1, 8, 0, 3\)"),
        (torch.ones(1, 8, 3, 3).double(), "x: got torch.float64; convert it to torch.float32"),
        (torch.ones(1, 8, 3, 3).int(), "x: got torch.int32"),
        (torch.full((1, 8, 2, 2), torch.nan), "x: got 32 of 32 entries not finite"),
    ],
)
def test_bad_maps_are_named(x, message):
    with pytest.raises(ArgumentError, match=message):
        KroneckerAttention2d(8)(x)
