"""Near blocks exactly, far leaves in bulk: against what that means, written out in float64."""

from itertools import product

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from kernelgp.attention import KDEOptions
from kernelgp.attention.exact import exact
from kernelgp.attention.near_far import kde, kde_parts
from kernelgp.attention.tiles import sum_parts

SMALL = KDEOptions(block_query=8, block_key=8, leaf=2, near=2, causal_leaf=16)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def draw(*shape, seed=0, dtype=torch.float64):
    return torch.randn(*shape, generator=seeded(seed), dtype=dtype)


def qkv(n, N, d=5, dv=4, batch=2, groups=1, seed=0, dtype=torch.float64):
    return (
        draw(batch, groups, n, d, seed=seed, dtype=dtype),
        draw(batch, N, d, seed=seed + 1, dtype=dtype),
        draw(batch, N, dv, seed=seed + 2, dtype=dtype),
    )


def run(q, k, v, options, *, is_causal=False, key_padding=None, scale=0.7, offset=0):
    return kde(
        q,
        k,
        v,
        is_causal=is_causal,
        scale=scale,
        key_padding=key_padding,
        options=options,
        generator=seeded(),
        offset=offset,
    )


def run_exact(q, k, v, *, is_causal=False, key_padding=None, scale=0.7, offset=0):
    return exact(
        q,
        k,
        v,
        is_causal=is_causal,
        scale=scale,
        key_padding=key_padding,
        offset=offset,
        with_logsumexp=True,
    )


def as_written(q, k, v, blocks, scale):
    """Output of `Blocks` for one entry and head, a query and a leaf at a time."""
    leaves = blocks.far.members[0]
    kept = torch.ones_like(leaves, dtype=torch.bool)
    if blocks.far.valid is not None:
        kept = blocks.far.valid[0]
    linear = 0.0 if blocks.far.linear is None else blocks.far.linear.item()
    slope = torch.zeros(q.shape[1], v.shape[1], dtype=q.dtype)
    for leaf, there in zip(leaves, kept, strict=True):
        keys, values = k[leaf[there]], v[leaf[there]]
        if len(keys):
            slope += linear * (keys - keys.mean(0)).T @ (values - values.mean(0)) / kept.sum()
    out = torch.zeros(len(q), v.shape[1], dtype=q.dtype)
    for queries, near in zip(blocks.queries[0], blocks.near[0], strict=True):
        queries = queries[queries < len(q)]
        squares = q[queries].square().mean(0) if len(queries) else None
        for i in queries:
            mass, total = 0.0, torch.zeros_like(out[0])
            for c, (leaf, there) in enumerate(zip(leaves, kept, strict=True)):
                keys, values = k[leaf[there]], v[leaf[there]]
                if not len(keys):
                    continue
                if blocks.far_block[0, c] in near:
                    p = torch.exp(scale * keys @ q[i])
                    mass, total = mass + p.sum(), total + p @ values
                else:
                    center, spread = keys.mean(0), keys.var(0, correction=0)
                    p = len(keys) * torch.exp(
                        scale * center @ q[i] + scale**2 / 2 * squares @ spread
                    )
                    mass, total = mass + p, total + p * (values.mean(0) + scale * q[i] @ slope)
            out[i] = total / mass
    return out


@pytest.mark.parametrize("grouping", ["tree", "kmeans", "lsh"])
@pytest.mark.parametrize("linear", [True, False])
@pytest.mark.parametrize("padded", [True, False])
def test_it_is_what_it_says(grouping, linear, padded):
    q, k, v = qkv(37, 61, batch=1)
    options = KDEOptions(
        block_query=8, block_key=8, leaf=4, near=2, grouping=grouping, linear=linear
    )
    padding = draw(1, 61, seed=9) > 0.8 if padded else None
    given = {"is_causal": False, "scale": 0.7, "key_padding": padding, "options": options}
    (blocks,) = kde_parts(q, k, v, generator=seeded(), **given)
    expected = as_written(q[0, 0], k[0], v[0], blocks, 0.7)
    found = kde(q, k, v, generator=seeded(), **given)
    assert (found.out[0, 0] - expected).abs().max() < 1e-12


@given(
    n=st.integers(1, 90),
    N=st.integers(1, 90),
    seed=st.integers(0, 99),
    grouping=st.sampled_from(["tree", "kmeans", "lsh"]),
    offset=st.one_of(st.none(), st.integers(-5, 95)),
    padded=st.booleans(),
)
def test_leaves_of_one_key_are_exact(n, N, seed, grouping, offset, padded):
    q, k, v = qkv(n, N, seed=seed, groups=2)
    options = KDEOptions(
        block_query=8, block_key=4, leaf=1, near=1, grouping=grouping, causal_leaf=16
    )
    padding = draw(2, N, seed=seed + 3) > 0.5 if padded else None
    given = {"is_causal": offset is not None, "offset": offset or 0, "key_padding": padding}
    found, expected = run(q, k, v, options, **given), run_exact(q, k, v, **given)
    assert (found.out - expected.out).abs().max() < 1e-12
    seen = expected.logsumexp < torch.inf
    assert torch.equal(seen, found.logsumexp < torch.inf)
    assert (found.logsumexp - expected.logsumexp)[seen].abs().amax() < 1e-12 or not seen.any()


def test_all_blocks_near_is_exact_and_nothing_is_far():
    q, k, v = qkv(50, 64)
    options = KDEOptions(block_query=16, block_key=16, leaf=4, near=4)
    found = run(q, k, v, options)
    assert (found.out - run_exact(q, k, v).out).abs().max() < 1e-12
    assert (found.far_logsumexp == -torch.inf).all()


def test_near_and_far_mass_are_all_the_mass():
    q, k, v = qkv(40, 64)
    found = run(q, k, v, KDEOptions(block_query=8, block_key=8, leaf=1, near=1))
    (blocks,) = kde_parts(
        q,
        k,
        v,
        is_causal=False,
        scale=0.7,
        key_padding=None,
        options=KDEOptions(block_query=8, block_key=8, leaf=1, near=1, residual="none"),
        generator=seeded(),
    )
    near = sum_parts(q, k, v, [blocks]).logsumexp
    together = torch.logaddexp(near, found.far_logsumexp)
    assert (together - found.logsumexp).abs().max() < 1e-12


def test_padded_keys_count_for_nothing():
    q, k, v = qkv(40, 64)
    padding = draw(2, 64, seed=5) > 0
    other = torch.where(padding[..., None], 1e3 * draw(2, 64, 5, seed=6), k)
    values = torch.where(padding[..., None], 1e6, v)
    options = KDEOptions(block_query=8, block_key=8, leaf=4, near=1)
    for causal in (False, True):
        q_n, given = (q, {}) if not causal else (draw(2, 1, 64, 5), {"is_causal": True})
        first = run(q_n, k, v, options, key_padding=padding, **given).out
        assert torch.allclose(
            first, run(q_n, other, values, options, key_padding=padding, **given).out
        )


def test_an_entry_without_keys_is_zero_and_has_no_gradient():
    q, k, v = (x.requires_grad_() for x in qkv(20, 24))
    padding = torch.zeros(2, 24, dtype=torch.bool)
    padding[1] = True
    for residual in ("leaf", "sample"):
        options = KDEOptions(block_query=8, block_key=8, leaf=4, near=1, residual=residual)
        out = run(q, k, v, options, key_padding=padding).out
        assert out[0].abs().min() > 0
        assert torch.equal(out[1], torch.zeros_like(out[1]))
        for gradient in torch.autograd.grad(out.sum() + out.square().sum(), (q, k, v)):
            assert gradient[0].abs().sum() > 0
            assert torch.equal(gradient[1], torch.zeros_like(gradient[1]))


def test_heads_of_a_group_are_heads_with_the_same_keys():
    q, k, v = qkv(40, 64, groups=3)
    found = run(q, k, v, SMALL).out
    for g in range(3):
        assert (found[:, g] - run(q[:, [g]], k, v, SMALL).out[:, 0]).abs().max() < 1e-12


def test_entries_do_not_see_each_other():
    q, k, v = qkv(40, 64)
    found = run(q, k, v, SMALL).out
    for b in range(2):
        one = run(q[[b]], k[[b]], v[[b]], SMALL).out
        assert (found[b] - one[0]).abs().max() < 1e-12


@pytest.mark.parametrize(
    ("residual", "linear", "causal", "padded"),
    [
        ("leaf", True, False, False),
        ("leaf", True, True, True),
        ("leaf", False, False, True),
        ("sample", True, True, False),
        ("none", True, False, False),
    ],
)
def test_the_gradient_is_that_of_what_was_computed(residual, linear, causal, padded):
    q, k, v = (x.requires_grad_() for x in qkv(13, 13, d=2, dv=2, groups=2, batch=1))
    padding = draw(1, 13, seed=7) > 0.7 if padded else None
    options = KDEOptions(
        block_query=3,
        block_key=2,
        leaf=2,
        near=1,
        residual=residual,
        n_samples=6,
        sampling="mass",
        linear=linear,
        causal_leaf=6,
    )
    parts = kde_parts(
        q,
        k,
        v,
        is_causal=causal,
        scale=0.7,
        key_padding=padding,
        options=options,
        generator=seeded(),
    )
    assert torch.autograd.gradcheck(lambda *x: sum_parts(*x, parts).out, (q, k, v))


@pytest.mark.parametrize("sampling", ["values", "uniform", "mass"])
def test_a_large_sample_comes_to_the_exact_product(sampling):
    q, k, v = qkv(32, 64, batch=2)
    errors = []
    padding = torch.zeros(2, 64, dtype=torch.bool)
    padding[1, 40:] = True
    expected = run_exact(q, k, v, scale=0.2, key_padding=padding).out
    for n_samples in (400, 40_000):
        options = KDEOptions(
            block_query=8,
            block_key=8,
            leaf=8,
            near=1,
            residual="sample",
            sampling=sampling,
            n_samples=n_samples,
        )
        found = run(q, k, v, options, scale=0.2, key_padding=padding).out
        errors.append(((found - expected).norm() / expected.norm()).item())
    # Of 60 keys, sqrt(60 / 40 000) of their mean, over outputs a third of a value's size.
    assert errors[1] < 0.1
    # Ten times less, but for luck.
    assert errors[1] < errors[0] / 4


def test_more_leaves_err_less():
    t = torch.linspace(0, 1, 2000, dtype=torch.float64)[:, None]
    waves = torch.arange(1, 5) * 6.0
    k = torch.cat([torch.cos(waves * t), torch.sin(waves * t)], dim=1)[None]
    v = torch.sin(5 * t + torch.arange(3))[None]
    expected = run_exact(k[:, None], k, v, scale=3.0).out
    errors = []
    for leaf, near in product((32, 8), (1, 4)):
        options = KDEOptions(block_query=64, block_key=32, leaf=leaf, near=near)
        found = run(k[:, None], k, v, options, scale=3.0).out
        errors.append(((found - expected).norm() / expected.norm()).item())
    assert errors[3] < errors[1] < errors[0]
    assert errors[3] < errors[0] / 4


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_lower_precision_rounds_what_double_computes(dtype):
    q, k, v = (x.to(dtype) for x in qkv(200, 200, d=8, dv=6, dtype=torch.float32))
    options = KDEOptions(block_query=32, block_key=16, leaf=4, near=2, causal_leaf=64)
    for x in (q, k, v):
        x.requires_grad_()
    found = run(q, k, v, options, is_causal=True).out
    wide = [x.detach().double().requires_grad_() for x in (q, k, v)]
    expected = run(*wide, options, is_causal=True).out
    assert found.dtype == dtype
    eps = torch.finfo(dtype).eps
    # The order of queries may differ by a rounding: the far field changes by what it errs.
    assert (found - expected).norm() < 16 * eps * expected.norm()
    weight = draw(*found.shape)
    theirs = torch.autograd.grad((expected * weight).sum(), wide)
    ours = torch.autograd.grad((found.double() * weight).sum(), (q, k, v))
    for one, other in zip(ours, theirs, strict=True):
        assert one.dtype == dtype
        assert (one - other).norm() < 32 * eps * other.norm()


def test_the_same_generator_gives_the_same_bytes():
    q, k, v = qkv(300, 300, d=20, dtype=torch.float32)
    for options in (SMALL, KDEOptions(leaf=8, near=2, residual="sample", grouping="lsh")):
        first, second = run(q, k, v, options), run(q, k, v, options)
        assert torch.equal(first.out, second.out)
        assert torch.equal(first.logsumexp, second.logsumexp)


def test_what_comes_in_is_not_written_to():
    q, k, v = qkv(40, 64)
    before = [x.clone() for x in (q, k, v)]
    run(q, k, v, SMALL)
    assert all(torch.equal(x, y) for x, y in zip((q, k, v), before, strict=True))


def test_sharp_logits_stay_in_the_hull_of_the_values():
    q, k, v = qkv(200, 400)
    options = KDEOptions(block_query=16, block_key=16, leaf=8, near=2)
    for factor, inside in ((1.0, False), (30.0, True)):
        (blocks,) = kde_parts(
            factor * q,
            factor * k,
            v,
            is_causal=False,
            scale=0.7,
            key_padding=None,
            options=options,
            generator=seeded(),
        )
        assert (blocks.far.linear == 0).all() == inside
        out = run(factor * q, factor * k, v, options).out
        assert out.abs().max() <= v.abs().max()


def test_rows_that_coincide_are_one_key_many_times():
    q, k, v = qkv(40, 1)
    found = run(q, k.expand(-1, 64, -1), v.expand(-1, 64, -1), SMALL)
    assert (found.out - v[:, None]).abs().max() < 1e-12
    expected = 0.7 * (q @ k[:, None].mT).squeeze(-1) + torch.tensor(64.0).log()
    assert (found.logsumexp - expected).abs().max() < 1e-6
