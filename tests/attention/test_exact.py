"""Exact attention against the formula in float64."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from kernelgp.attention import attention
from kernelgp.attention.exact import exact


def oracle(q, k, v, *, allowed=None, bias=None, scale=None, groups=1):
    """Softmax attention as it is written, in float64; rows that see no key are zero."""
    q, k, v = q.double(), k.double(), v.double()
    if groups > 1:
        k, v = (x.repeat_interleave(groups, dim=-3) for x in (k, v))
    logits = q @ k.mT * (q.shape[-1] ** -0.5 if scale is None else scale)
    if bias is not None:
        logits = logits + bias.double()
    if allowed is not None:
        logits = logits.masked_fill(~allowed, -torch.inf)
    p = torch.exp(logits - logits.amax(-1, keepdim=True).clamp(min=-1e300))
    total = p.sum(-1, keepdim=True)
    return (p / total.where(total > 0, 1.0)) @ v


def draw(*shape, seed=0, dtype=torch.float32):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def qkv(n, N, d, dv, lead=(2, 4), key_lead=None, dtype=torch.float32):
    key_lead = lead if key_lead is None else key_lead
    return (
        draw(*lead, n, d, dtype=dtype),
        draw(*key_lead, N, d, seed=1, dtype=dtype),
        draw(*key_lead, N, dv, seed=2, dtype=dtype),
    )


TOLERANCE = {torch.float32: 2e-6, torch.float64: 1e-12}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("kind", ["none", "causal", "boolean", "additive", "padding", "both"])
@pytest.mark.parametrize(("n", "N", "d", "dv"), [(40, 40, 16, 16), (70, 33, 8, 24), (5, 90, 24, 3)])
def test_it_is_the_formula(dtype, kind, n, N, d, dv):
    q, k, v = qkv(n, N, d, dv, dtype=dtype)
    allowed, bias, given = torch.ones(n, N, dtype=torch.bool), None, {}
    random = torch.rand(2, 1, n, N, generator=torch.Generator().manual_seed(3), dtype=dtype)
    padding = random[:, 0, 0, :] < 0.3
    padding[1] = True  # a whole entry without keys
    if kind == "causal":
        given = {"is_causal": True, "causal_offset": N - n}
        allowed = allowed.tril(N - n)
    if kind in ("boolean", "both"):
        allowed = random > 0.5
        allowed[..., 3, :] = False
        given = {"attn_mask": allowed}
    if kind == "additive":
        bias = random.log()
        bias[..., 2, :] = -torch.inf
        given = {"attn_mask": bias}
    if kind in ("padding", "both"):
        given["key_padding_mask"] = padding
        allowed = allowed & ~padding[:, None, None, :]
    found = attention(q, k, v, method="exact", **given)
    expected = oracle(q, k, v, allowed=allowed, bias=bias)
    assert found.dtype == dtype
    assert (found - expected).abs().max() <= TOLERANCE[dtype]
    assert torch.equal(attention(q, k, v, **given), found)


@given(
    n=st.integers(1, 70),
    N=st.integers(1, 70),
    offset=st.integers(-80, 80),
    seed=st.integers(0, 99),
)
def test_any_offset_is_a_triangle_of_the_mask(n, N, offset, seed):
    q, k, v = draw(2, n, 4, seed=seed), draw(2, N, 4, seed=seed + 1), draw(2, N, 4, seed=seed + 2)
    allowed = torch.ones(n, N, dtype=torch.bool).tril(offset)
    found = attention(q, k, v, is_causal=True, causal_offset=offset)
    assert (found - oracle(q, k, v, allowed=allowed)).abs().max() <= 2e-6


@pytest.mark.parametrize("lead", [(), (3,), (2, 4), (2, 1, 3)])
def test_any_leading_axes(lead):
    q, k, v = qkv(9, 7, 4, 5, lead)
    mask = draw(*lead, 9, 7, seed=3) > 0
    assert (attention(q, k, v) - oracle(q, k, v)).abs().max() <= 2e-6
    found = attention(q, k, v, attn_mask=mask)
    assert (found - oracle(q, k, v, allowed=mask)).abs().max() <= 2e-6


def test_a_mask_broadcasts_over_batch_axes():
    q, k, v = qkv(9, 7, 4, 5, (2, 3, 4))
    for lead in ((), (1,), (4,), (1, 4), (3, 1), (3, 4), (2, 1, 1), (2, 3, 1), (1, 1, 4)):
        mask = draw(*lead, 9, 7, seed=3) > 0
        found = attention(q, k, v, attn_mask=mask)
        assert (found - oracle(q, k, v, allowed=mask)).abs().max() <= 2e-6
        padding = draw(2, 3, 7, seed=4) > 0
        found = attention(q, k, v, attn_mask=mask, key_padding_mask=padding)
        allowed = mask & ~padding[:, :, None, None]
        assert (found - oracle(q, k, v, allowed=allowed)).abs().max() <= 2e-6


def test_leading_axes_broadcast():
    q, k, v = qkv(9, 7, 4, 5, (2, 3), key_lead=(3,))
    assert (attention(q, k, v) - oracle(q, k, v)).abs().max() <= 2e-6
    assert (attention(k, q, q) - oracle(k, q, q)).abs().max() <= 2e-6


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("causal", [False, True])
def test_heads_in_groups_share_keys(masked, causal):
    q, k, v = qkv(30, 30, 8, 6, (2, 6), key_lead=(2, 2))
    allowed = torch.ones(30, 30, dtype=torch.bool)
    given = {}
    if causal:
        allowed, given = allowed.tril(), {"is_causal": True}
    elif masked:
        allowed = draw(2, 6, 30, 30, seed=4) > 0
        given = {"attn_mask": allowed}
    if masked:
        padding = torch.zeros(2, 30, dtype=torch.bool)
        padding[0, 10:] = True
        allowed, given = allowed & ~padding[:, None, None], given | {"key_padding_mask": padding}
    found = attention(q, k, v, enable_gqa=True, **given)
    assert (found - oracle(q, k, v, allowed=allowed, groups=3)).abs().max() <= 2e-6


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_rounded_and_no_more(dtype):
    q, k, v = (x.to(dtype) for x in qkv(50, 50, 16, 8))
    found = attention(q, k, v, is_causal=True)
    expected = oracle(q, k, v, allowed=torch.ones(50, 50, dtype=torch.bool).tril())
    assert found.dtype == dtype
    assert (found - expected).abs().max() <= 4 * torch.finfo(dtype).eps


def test_large_logits_do_not_overflow():
    q, k, v = qkv(50, 50, 16, 8)
    found = attention(100 * q, 100 * k, v, is_causal=True)
    expected = oracle(100 * q, 100 * k, v, allowed=torch.ones(50, 50, dtype=torch.bool).tril())
    # A logit of 1e5 is rounded by 1e-2 in float32.
    assert (found - expected).norm() <= 2e-2 * expected.norm()


def two_threads(function):
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        return function()
    finally:
        torch.set_num_threads(before)


def test_halves_of_a_causal_product_merge_to_the_whole():
    q, k, v = qkv(4501, 4501, 8, 8, lead=())
    found = two_threads(lambda: attention(q, k, v, is_causal=True))
    one = attention(q, k, v, is_causal=True)
    assert not torch.equal(found, one)  # or it was not cut
    assert (found - one).abs().max() <= 1e-6


def test_parts_of_the_keys_merge_to_the_whole():
    q, k, v = qkv(3, 8195, 8, 8, lead=())
    found = two_threads(lambda: attention(q, k, v))
    assert (found - oracle(q, k, v)).abs().max() <= 2e-6


@pytest.mark.parametrize("key_padding", [False, True])
def test_the_gradient_of_parts_is_that_of_the_whole(key_padding):
    q, k, v = (x.double().requires_grad_() for x in qkv(12, 12, 3, 2, lead=(2,)))
    padding = torch.zeros(2, 12, dtype=torch.bool)
    padding[0, :4] = padding[1] = True

    def parts(q, k, v):
        given = {"scale": 0.7, "key_padding": padding if key_padding else None}
        found = exact(q[:, None], k, v, is_causal=True, offset=-1, **given)
        return found.out[:, 0]

    assert torch.autograd.gradcheck(parts, (q, k, v))


def test_a_row_without_keys_has_no_gradient():
    for masks in (
        {"key_padding_mask": torch.ones(6, dtype=torch.bool)},
        {"attn_mask": torch.zeros(6, 6, dtype=torch.bool)},
        {"is_causal": True, "causal_offset": -6},
    ):
        q, k, v = (x.requires_grad_() for x in qkv(6, 6, 4, 4, lead=(2,)))
        out = attention(q, k, v, **masks)
        out.sum().backward()
        for x in (out, q.grad, k.grad, v.grad):
            assert torch.equal(x, torch.zeros_like(x))


def test_the_logsumexp_is_the_normaliser():
    q, k, v = qkv(20, 20, 4, 4, lead=(2, 1))
    padding = torch.zeros(2, 20, dtype=torch.bool)
    padding[0, :3] = True
    found = exact(
        q, k[:, 0], v[:, 0], is_causal=True, scale=0.5, key_padding=padding, with_logsumexp=True
    )
    logits = (q.double() @ k.double().mT * 0.5).masked_fill(padding[:, None, None], -torch.inf)
    logits = logits.masked_fill(~torch.ones(20, 20, dtype=torch.bool).tril(), -torch.inf)
    expected = logits.logsumexp(-1)
    seen = expected > -torch.inf
    assert (found.logsumexp[seen] - expected[seen]).abs().max() <= 2e-6
    assert (found.logsumexp[~seen] == torch.inf).all()
    assert (found.out[~seen] == 0).all()


def test_no_query_gives_an_empty_output():
    q, k, v = qkv(0, 7, 4, 5)
    assert attention(q, k, v).shape == (2, 4, 0, 5)
    assert attention(q[:0], k[:0], v[:0]).shape == (0, 4, 0, 5)


def test_dropout_is_torchs():
    q, k, v = qkv(30, 30, 8, 8)
    torch.manual_seed(0)
    found = attention(q, k, v, dropout_p=0.5, is_causal=True)
    torch.manual_seed(0)
    expected = torch.nn.functional.scaled_dot_product_attention(
        q, k, v, dropout_p=0.5, is_causal=True
    )
    assert (found - expected).abs().max() <= 2e-6
    assert (found - attention(q, k, v, is_causal=True)).abs().max() > 0.1
