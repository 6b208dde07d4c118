"""The layer against torch's own, from its state dict."""

import copy

import pytest
import torch
from torch import nn

from kernelgp.attention import KDEOptions, MultiheadAttention
from kernelgp.errors import ArgumentError


def pair(**given):
    torch.manual_seed(0)
    theirs = nn.MultiheadAttention(12, 3, **given)
    ours = MultiheadAttention(12, 3, method="exact", **given)
    ours.load_state_dict(theirs.state_dict(), strict=True)
    return theirs, ours


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


MASKS = ["none", "pairs", "heads", "additive", "padding", "soft padding", "both"]
KINDS = [
    {},
    {"bias": False},
    {"batch_first": True},
    {"add_bias_kv": True, "add_zero_attn": True},
    {"kdim": 7, "vdim": 5},
    {"kdim": 7, "add_zero_attn": True, "batch_first": True},
]


@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("kind", KINDS, ids=str)
@pytest.mark.parametrize("need_weights", [False, True])
def test_it_is_torchs_from_its_state_dict(kind, mask, need_weights):
    theirs, ours = pair(**kind)
    lead = (2, 9) if kind.get("batch_first") else (9, 2)
    key_lead = (2, 11) if kind.get("batch_first") else (11, 2)
    query = draw(*lead, 12)
    key = draw(*key_lead, kind.get("kdim", 12), seed=1)
    value = draw(*key_lead, kind.get("vdim", 12), seed=2)
    given = {}
    if mask in ("pairs", "both"):
        given["attn_mask"] = draw(9, 11, seed=3) > 1
    if mask == "heads":
        given["attn_mask"] = draw(6, 9, 11, seed=3) > 1
    if mask == "additive":
        given["attn_mask"] = draw(9, 11, seed=3)
    if mask in ("padding", "both"):
        given["key_padding_mask"] = draw(2, 11, seed=4) > 1
    if mask == "soft padding":
        given["key_padding_mask"] = draw(2, 11, seed=4)
    for average in (True, False):
        out, weights = ours(
            query, key, value, need_weights=need_weights, average_attn_weights=average, **given
        )
        expected, expected_weights = theirs(
            query, key, value, need_weights=need_weights, average_attn_weights=average, **given
        )
        assert (out - expected).abs().max() < 1e-6
        assert (weights is None) == (not need_weights)
        if need_weights:
            assert weights.shape == expected_weights.shape
            assert (weights - expected_weights).abs().max() < 1e-6


@pytest.mark.parametrize("kind", [{}, {"add_bias_kv": True, "add_zero_attn": True}], ids=str)
@pytest.mark.parametrize("need_weights", [False, True])
def test_the_causal_hint_is_the_mask(kind, need_weights):
    theirs, ours = pair(**kind)
    x = draw(9, 2, 12)
    mask = torch.ones(9, 9, dtype=torch.bool).triu(1)
    padding = torch.zeros(2, 9, dtype=torch.bool)
    padding[0, 6:] = True
    expected, _ = theirs(x, x, x, attn_mask=mask, key_padding_mask=padding)
    for given in ({}, {"attn_mask": mask}):
        out, _ = ours(
            x, x, x, is_causal=True, key_padding_mask=padding, need_weights=need_weights, **given
        )
        assert (out - expected).abs().max() < 1e-6


def test_one_sequence_without_a_batch():
    theirs, ours = pair()
    x, padding = draw(9, 12), draw(9, seed=1) > 1
    for need_weights in (False, True):
        found = ours(x, x, x, key_padding_mask=padding, need_weights=need_weights)
        expected = theirs(x, x, x, key_padding_mask=padding, need_weights=need_weights)
        assert (found[0] - expected[0]).abs().max() < 1e-6
        if need_weights:
            assert (found[1] - expected[1]).abs().max() < 1e-6


def test_its_gradients_are_torchs():
    theirs, ours = pair(add_bias_kv=True)
    x = draw(9, 2, 12)
    for layer in (theirs, ours):
        layer(x, x, x, need_weights=False)[0].square().sum().backward()
    for one, other in zip(theirs.parameters(), ours.parameters(), strict=True):
        assert (one.grad - other.grad).abs().max() < 1e-5


def test_a_sequence_without_keys_gives_the_output_of_zero_values():
    _, ours = pair(batch_first=True)
    x = draw(2, 5, 12)
    padding = torch.zeros(2, 5, dtype=torch.bool)
    padding[1] = True
    for need_weights in (False, True):
        out, _ = ours(x, x, x, key_padding_mask=padding, need_weights=need_weights)
        assert torch.equal(out[1], ours.out_proj.bias.expand(5, -1))
        assert out.isfinite().all()


@pytest.mark.parametrize("training", [True, False])
def test_a_layer_of_torchs_calls_it(training):
    torch.manual_seed(0)
    theirs = nn.TransformerEncoderLayer(12, 2, 24, dropout=0.0, batch_first=True)
    ours = copy.deepcopy(theirs)
    options = KDEOptions(block_query=8, block_key=8, leaf=8, near=1)
    ours.self_attn = MultiheadAttention(12, 2, batch_first=True, method="kde", options=options)
    ours.self_attn.load_state_dict(theirs.self_attn.state_dict())
    theirs.train(training)
    ours.train(training)
    x = draw(2, 40, 12)
    padding = torch.zeros(2, 40, dtype=torch.bool)
    padding[0, 30:] = True
    with torch.no_grad():
        approximate = ours(x, src_key_padding_mask=padding)[~padding]
        ours.self_attn.method, ours.self_attn.options = "exact", None
        found = ours(x, src_key_padding_mask=padding)[~padding]
        expected = theirs(x, src_key_padding_mask=padding)[~padding]
    assert (found - expected).abs().max() < 2e-6
    assert 1e-5 < (approximate - expected).abs().max() < 0.5


def test_dropout_falls_out_of_evaluation():
    theirs, ours = pair(dropout=0.5)
    x = draw(9, 2, 12)
    ours.train()
    torch.manual_seed(0)
    first = ours(x, x, x, need_weights=False)[0]
    ours.eval()
    theirs.eval()
    assert (ours(x, x, x)[0] - theirs(x, x, x)[0]).abs().max() < 1e-6
    assert (first - ours(x, x, x)[0]).abs().max() > 1e-2


def test_what_cannot_be_is_refused_by_name():
    layer = MultiheadAttention(12, 3, method="kde")
    x = draw(9, 2, 12)
    for says, call in (
        (r"need_weights: got True with method='kde'; give False", lambda: layer(x, x, x)),
        (r"key: got shape \(9, 2, 5\); give \(length, batch, 12\)", lambda: layer(
            x, x[..., :5], x, need_weights=False)),
        (r"query: got torch.float64; convert it to torch.float32", lambda: layer(
            x.double(), x, x, need_weights=False)),
        (r"attn_mask: got shape \(3, 3\); give \(9, 9\) or \(6, 9, 9\)", lambda: layer(
            x, x, x, need_weights=False, attn_mask=torch.zeros(3, 3))),
        (r"key_padding_mask: got shape \(3, 3\); give \(2, 9\)", lambda: layer(
            x, x, x, need_weights=False, key_padding_mask=torch.zeros(3, 3))),
        (r"method: got 'flash'", lambda: MultiheadAttention(12, 3, method="flash")),
        (r"embed_dim: got 12 with num_heads=5", lambda: MultiheadAttention(12, 5)),
        (r"dropout: got 0.1 with method='kde'", lambda: MultiheadAttention(
            12, 3, 0.1, method="kde")),
    ):  # fmt: skip
        with pytest.raises(ArgumentError, match=says):
            call()
