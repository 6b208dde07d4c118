"""Attention to a coreset: fixed weights that sum to one, nearer than random keys."""

import pytest
import torch
from torch.nn.functional import scaled_dot_product_attention

from kernelgp.attention import ThinnedOptions, attention
from kernelgp.errors import ArgumentError, ArgumentTypeError


def tokens(*shape, seed=0, dtype=torch.float32):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).to(dtype)


def smooth(n, d=16):
    """Keys along a curve, values that follow it."""
    t = torch.linspace(0, 1, n)[:, None]
    waves = torch.cat([torch.sin(w * t + w) for w in torch.linspace(3, 40, d)], dim=-1)
    return 1.5 * waves, torch.cos(waves) + 0.1 * tokens(n, d)


def thinned(q, k, v, *, size, causal_leaf=4096, **more):
    options = ThinnedOptions(size, causal_leaf)
    return attention(q, k, v, method="thinned", options=options, generator=0, **more)


def relative(out, expected):
    return ((out - expected).norm() / expected.norm()).item()


@pytest.mark.parametrize("is_causal", [False, True])
def test_it_is_nearer_than_random_keys(is_causal):
    k, v = smooth(4096)
    exact = scaled_dot_product_attention(*(x[None] for x in (k, k, v)), is_causal=is_causal)[0]
    out = thinned(k, k, v, size=256, causal_leaf=512, is_causal=is_causal)
    error = relative(out, exact)
    assert error < 0.04
    if not is_causal:
        random = torch.randperm(4096, generator=torch.Generator().manual_seed(0))[:256]
        sampled = scaled_dot_product_attention(*(x[None] for x in (k, k[random], v[random])))
        assert error < relative(sampled[0], exact) / 1.3


@pytest.mark.parametrize("n", [40, 100, 517, 1000])
def test_weights_sum_to_one_for_any_number_of_keys(n):
    q, k = tokens(2, 3, 8), tokens(2, n, 8, seed=1)
    padding = torch.arange(n) >= torch.tensor([[n - 7], [30]])
    for more in ({}, {"key_padding_mask": padding}):
        out = thinned(q, k, torch.ones(2, n, 1), size=16, **more)
        torch.testing.assert_close(out, torch.ones(2, 3, 1))


def test_few_keys_are_exact():
    q, k, v = (tokens(2, 2, 50, 8, seed=seed) for seed in range(3))
    torch.testing.assert_close(thinned(q, k, v, size=50), scaled_dot_product_attention(q, k, v))


def test_keys_left_out_have_no_say():
    q, k, v = (tokens(2, 300, 8, seed=seed) for seed in range(3))
    padding = torch.arange(300) >= torch.tensor([[300], [130]])
    before = thinned(q, k, v, size=32, key_padding_mask=padding)
    k[1, 130:], v[1, 130:] = 9, -1e4
    after = thinned(q, k, v, size=32, key_padding_mask=padding)
    assert torch.equal(before, after)
    nothing = thinned(q, k, v, size=32, key_padding_mask=torch.ones(300, dtype=torch.bool))
    assert not nothing.any()


def test_the_future_is_not_seen():
    q, k, v = (tokens(1, 256, 8, seed=seed) for seed in range(3))
    before = thinned(q, k, v, size=16, causal_leaf=32, is_causal=True)
    for x in (q, k, v):
        x[:, 100:] *= 5
    after = thinned(q, k, v, size=16, causal_leaf=32, is_causal=True)
    assert torch.equal(before[:, :100], after[:, :100])


@pytest.mark.parametrize("is_causal", [False, True])
def test_gradients(is_causal):
    q, k = (tokens(24, 2, seed=seed, dtype=torch.float64).requires_grad_() for seed in (0, 1))
    v = tokens(24, 1, dtype=torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(
        lambda *x: thinned(*x, size=3, causal_leaf=8, is_causal=is_causal), (q, k, v)
    )


def test_heads_that_share_keys_and_half_precision():
    q, k, v = tokens(2, 6, 30, 4), tokens(2, 3, 200, 4, seed=1), tokens(2, 3, 200, 4, seed=2)
    out = thinned(q, k, v, size=32, enable_gqa=True)
    each = thinned(q[:, ::2], k, v, size=32)
    torch.testing.assert_close(out[:, ::2], each)
    half = thinned(*(x.bfloat16() for x in (q, k, v)), size=32, enable_gqa=True)
    assert half.dtype == torch.bfloat16
    assert relative(half.float(), out) < 0.5


def test_far_from_the_origin_the_choice_is_the_same():
    q, k, v = (tokens(400, 4, seed=seed, dtype=torch.float64) for seed in range(3))
    near = thinned(q, k, v, size=32)
    torch.testing.assert_close(thinned(q, k + 1e4, v, size=32), near, atol=1e-6, rtol=0)


def test_bad_options_are_named():
    with pytest.raises(ArgumentError, match="size: got 0; give at least 1"):
        ThinnedOptions(size=0)
    with pytest.raises(ArgumentTypeError, match=r"causal_leaf: got 1\.5; give a whole number"):
        ThinnedOptions(causal_leaf=1.5)
