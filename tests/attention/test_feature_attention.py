"""Attention by positive features: weights that sum to one, nothing lost far from the origin."""

import pytest
import torch
from torch.nn.functional import scaled_dot_product_attention

from kernelgp.attention import AttentionOperator, FeatureOptions, attention
from kernelgp.errors import ArgumentError, ArgumentTypeError


def tokens(*shape, seed=0, dtype=torch.float64, spread=0.7):
    generator = torch.Generator().manual_seed(seed)
    return spread * torch.randn(*shape, generator=generator, dtype=torch.float64).to(dtype)


def features(q, k, v, n_components=256, *, generator=0, **more):
    names = ("coupling", "center", "chunk")
    options = FeatureOptions(n_components, **{x: more.pop(x) for x in names if x in more})
    return attention(q, k, v, method="features", options=options, generator=generator, **more)


def relative(out, expected):
    return ((out - expected).norm() / expected.norm()).item()


@pytest.mark.parametrize("is_causal", [False, True])
def test_many_features_come_to_softmax(is_causal):
    q, k = (tokens(2, 3, 80, 4, seed=seed, spread=0.4) for seed in range(2))
    v = 1 + tokens(2, 3, 80, 4, seed=2)
    exact = scaled_dot_product_attention(q, k, v, is_causal=is_causal)
    errors = [
        relative(features(q, k, v, n, is_causal=is_causal, chunk=16), exact) for n in (64, 8192)
    ]
    assert errors[1] < 0.01
    # One over the root of 128 times as many, give or take.
    assert errors[1] < errors[0] / 5


def test_means_are_no_matter():
    q, k, v = tokens(60, 8) + 3, tokens(90, 8, seed=1) - 5, 1 + tokens(90, 4, seed=2)
    exact = scaled_dot_product_attention(*(x[None] for x in (q, k, v)))[0]
    error = relative(features(q, k, v, 1024), exact)
    assert error < 0.04
    assert relative(features(q, k, v, 1024, center=False), exact) > 2 * error


@pytest.mark.parametrize("is_causal", [False, True])
def test_tokens_far_out_are_finite_in_single_precision(is_causal):
    q, k, v = (tokens(1, 50, 8, seed=seed, dtype=torch.float32, spread=20) for seed in range(3))
    out = features(q, k, torch.ones_like(v), is_causal=is_causal)
    torch.testing.assert_close(out, torch.ones_like(v))


def test_chunks_do_not_matter():
    q, k, v = (tokens(1, 70, 4, seed=seed) for seed in range(3))
    one, *others = (features(q, k, v, is_causal=True, chunk=c) for c in (70, 32, 7))
    for other in others:
        torch.testing.assert_close(other, one, rtol=1e-9, atol=1e-12)


def test_the_future_is_not_seen():
    q, k, v = (tokens(1, 50, 4, seed=seed) for seed in range(3))
    before = features(q, k, v, is_causal=True, chunk=8)
    for x in (q, k, v):
        x[:, 30:] += 2
    after = features(q, k, v, is_causal=True, chunk=8)
    torch.testing.assert_close(before[:, :30], after[:, :30], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("is_causal", [False, True])
def test_keys_left_out_have_no_say(is_causal):
    q, k, v = (tokens(2, 40, 4, seed=seed) for seed in range(3))
    padding = torch.arange(40) >= torch.tensor([[40], [13]])
    before = features(q, k, v, key_padding_mask=padding, is_causal=is_causal)
    k[1, 13:], v[1, 13:] = 9, -1e4
    after = features(q, k, v, key_padding_mask=padding, is_causal=is_causal)
    torch.testing.assert_close(before, after, rtol=1e-9, atol=1e-12)
    none = features(q, k, v, key_padding_mask=torch.ones(40, dtype=torch.bool))
    assert not none.any()


@pytest.mark.parametrize("is_causal", [False, True])
def test_gradients(is_causal):
    q, k, v = (tokens(5, 2, seed=seed).requires_grad_() for seed in range(3))
    assert torch.autograd.gradcheck(
        lambda *x: features(*x, 4, is_causal=is_causal, chunk=3), (q, k, v)
    )


def test_heads_that_share_keys_and_half_precision():
    q, k = tokens(2, 6, 30, 4, spread=0.4), tokens(2, 3, 20, 4, seed=1, spread=0.4)
    v = 1 + tokens(2, 3, 20, 5, seed=2)
    out = features(q, k, v, 4096, enable_gqa=True)
    exact = scaled_dot_product_attention(q, k, v, enable_gqa=True)
    assert relative(out, exact) < 0.05
    half = features(*(x.bfloat16() for x in (q, k, v)), enable_gqa=True)
    assert half.dtype == torch.bfloat16


def test_it_is_one_matrix():
    q, k = tokens(30, 4), tokens(40, 4, seed=1)
    A = AttentionOperator(q, k, method="features")
    v, g = tokens(40, 2), tokens(30, 2)
    torch.testing.assert_close((g * (A @ v)).sum(), ((A.mT @ g) * v).sum())
    torch.testing.assert_close(A.to_dense().sum(dim=-1), torch.ones(30, dtype=torch.float64))
    torch.testing.assert_close(A.rows(torch.tensor([2])), A.to_dense()[[2]])
    assert (A.to_dense() > 0).all()


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"n_components": 0}, ArgumentError, "n_components: got 0; give a positive whole"),
        ({"coupling": "best"}, ArgumentError, "coupling: got 'best'; give"),
        ({"center": 1}, ArgumentTypeError, "center: got 1; give True or False"),
        ({"chunk": 0.5}, ArgumentError, r"chunk: got 0\.5; give a positive whole"),
    ],
)
def test_bad_options_are_named(arguments, error, message):
    with pytest.raises(error, match=message):
        FeatureOptions(**arguments)
