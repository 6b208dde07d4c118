"""Fastmax against the polynomial written out entry by entry."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from kernelgp.attention import FastmaxOptions, attention
from kernelgp.errors import ArgumentError


def fastmax(q, k, v, *, is_causal=False, scale=None, key_padding=None, options=None):
    return attention(
        q,
        k,
        v,
        method="fastmax",
        is_causal=is_causal,
        scale=scale,
        key_padding_mask=key_padding,
        options=options,
    )


def dense(q, k, v, *, order, is_causal=False, key_padding=None):
    q, k, v = q.double(), k.double(), v.double()
    d = q.shape[-1]
    norm = d**0.5 if order == 2 else d**0.25
    q, k = (x - x.mean(-1, keepdim=True) for x in (q, k))
    q, k = (norm * x / x.norm(dim=-1, keepdim=True) for x in (q, k))
    s = q @ k.mT / d**0.5
    f = 1 + s + (s**2 / 2 if order == 2 else 0)
    if is_causal:
        f = f.tril()
    if key_padding is not None:
        f = f.masked_fill(key_padding.unsqueeze(-2), 0)
    return (f @ v) / f.sum(dim=-1, keepdim=True)


def tokens(*shape, dtype=torch.float32, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).to(dtype)


@pytest.mark.parametrize("order", [1, 2])
@pytest.mark.parametrize("is_causal", [False, True])
@pytest.mark.parametrize("n", [5, 700])  # by tiles, and by features
def test_it_is_the_dense_polynomial(order, is_causal, n):
    q, k = (tokens(2, 3, n, 8, seed=seed) for seed in (0, 1))
    v = tokens(2, 3, n, 5, seed=2)
    options = FastmaxOptions(order, chunk=64)
    out = fastmax(q, k, v, is_causal=is_causal, options=options)
    expected = dense(q, k, v, order=order, is_causal=is_causal)
    torch.testing.assert_close(out.double(), expected, atol=1e-5, rtol=1e-5)


@given(
    n=st.integers(1, 40),
    m=st.integers(1, 90),
    chunk=st.integers(1, 50),
    order=st.sampled_from([1, 2]),
    seed=st.integers(0, 9),
)
def test_padding_and_other_lengths(n, m, chunk, order, seed):
    q, k, v = tokens(2, n, 3, seed=seed), tokens(2, m, 3, seed=seed + 1), tokens(1, m, 2)
    padding = torch.arange(m) >= torch.tensor([[m], [(m + 1) // 2]])
    options = FastmaxOptions(order, chunk=chunk)
    out = fastmax(q, k, v, key_padding=padding, options=options)
    expected = dense(q, k, v, order=order, key_padding=padding)
    torch.testing.assert_close(out.double(), expected, atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize("order", [1, 2])
def test_the_sum_over_chunks_is_that_of_one_pass(order):
    q, k, v = (tokens(1, 257, 6, seed=seed, dtype=torch.float64) for seed in range(3))
    one, *others = (
        fastmax(q, k, v, is_causal=True, options=FastmaxOptions(order, chunk=chunk))
        for chunk in (257, 256, 64, 7)
    )
    for other in others:
        torch.testing.assert_close(other, one, atol=1e-13, rtol=1e-12)


@pytest.mark.parametrize("order", [1, 2])
@pytest.mark.parametrize(("is_causal", "n", "m"), [(True, 7, 7), (False, 4, 3), (False, 3, 20)])
def test_gradients(order, is_causal, n, m):
    q, k = (tokens(1, size, 3, dtype=torch.float64, seed=size).requires_grad_() for size in (n, m))
    v = tokens(1, m, 2, dtype=torch.float64).requires_grad_()
    padding = torch.arange(m) == 1
    options = FastmaxOptions(order, chunk=3)
    assert torch.autograd.gradcheck(
        lambda *x: fastmax(*x, is_causal=is_causal, key_padding=padding, options=options),
        (q, k, v),
    )


def test_many_heads_are_those_one_by_one():
    # More than are held at a time.
    q, k, v = (tokens(40, 300, 32, seed=seed) for seed in range(3))
    out = fastmax(q, k, v, is_causal=True)
    one = fastmax(q[39], k[39], v[39], is_causal=True)
    torch.testing.assert_close(out[39], one)


def test_the_future_is_not_seen():
    q, k, v = (tokens(1, 50, 4, seed=seed) for seed in range(3))
    options = FastmaxOptions(chunk=8)
    before = fastmax(q, k, v, is_causal=True, options=options)
    for x in (q, k, v):
        x[:, 30:] += 7
    after = fastmax(q, k, v, is_causal=True, options=options)
    assert torch.equal(before[:, :30], after[:, :30])


def test_small_logits_give_softmax():
    q, k, v = (tokens(1, 100, 8, seed=seed, dtype=torch.float64) for seed in range(3))
    softmax = torch.nn.functional.scaled_dot_product_attention(q, k, v, scale=0.01)
    for order, error in ((1, 2e-3), (2, 4e-5)):
        out = fastmax(q, k, v, scale=0.01, options=FastmaxOptions(order, normalize=False))
        torch.testing.assert_close(out, softmax, atol=error, rtol=0)


@pytest.mark.parametrize("order", [1, 2])
def test_rows_without_keys_and_tokens_without_spread_are_finite(order):
    q = torch.ones(1, 3, 4).requires_grad_()
    k, v = torch.zeros(1, 2, 4), tokens(1, 2, 2)
    options = FastmaxOptions(order)
    out = fastmax(q, k, v, options=options)
    torch.testing.assert_close(out, v.mean(dim=1, keepdim=True).expand(1, 3, 2))
    none = fastmax(q, k, v, key_padding=torch.ones(2, dtype=torch.bool), options=options)
    assert not none.any()
    (out.sum() + none.sum()).backward()
    assert q.grad is not None
    assert q.grad.isfinite().all()


def test_memory_of_a_gradient_is_linear():
    # Neither n^2 = 67 million numbers nor 561 features of every token are held.
    q, k, v = (tokens(1, 8192, 32, seed=seed).requires_grad_() for seed in range(3))
    held = []

    def hold(x):
        held.append(x.numel())
        return x

    with torch.autograd.graph.saved_tensors_hooks(hold, lambda x: x):
        fastmax(q, k, v, is_causal=True).sum().backward()
    assert sum(held) < 20 * q.numel()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"order": 3}, "order: got 3; give 1 or 2"),
        ({"order": "2"}, "order: got '2'; give 1 or 2"),
        ({"chunk": 0}, "chunk: got 0; give at least 1"),
    ],
)
def test_bad_options_are_named(arguments, message):
    with pytest.raises(ArgumentError, match=message):
        FastmaxOptions(**arguments)


def test_negative_weights_of_order_one_are_refused():
    q = tokens(1, 9, 4)
    with pytest.raises(ArgumentError, match=r"scale: got 0\.6; give at most 0\.5, 1/sqrt\(d\)"):
        fastmax(q, q, q, scale=0.6, options=FastmaxOptions(1))
    with pytest.raises(ArgumentError, match="q: got queries and keys whose weights 1 \\+ s sum"):
        fastmax(10 * q, -10 * q, q, is_causal=True, options=FastmaxOptions(1, normalize=False))


def test_half_precision_is_computed_in_single():
    q, k, v = (tokens(1, 2, 40, 8, seed=seed).bfloat16() for seed in range(3))
    out = fastmax(q, k, v)
    assert out.dtype == torch.bfloat16
    torch.testing.assert_close(out, fastmax(q.float(), k.float(), v.float()).bfloat16())


def test_heads_that_share_keys():
    q, k, v = tokens(2, 6, 30, 4), tokens(2, 3, 20, 4, seed=1), tokens(2, 3, 20, 5, seed=2)
    out = attention(q, k, v, method="fastmax", enable_gqa=True)
    each = fastmax(q, k.repeat_interleave(2, dim=1), v.repeat_interleave(2, dim=1))
    torch.testing.assert_close(out, each)
