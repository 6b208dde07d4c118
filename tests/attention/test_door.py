"""What attention refuses, and what it says."""

import pytest
import torch

from kernelgp.attention import KDEOptions, attention
from kernelgp.errors import ArgumentError, ArgumentTypeError


def x(*shape, dtype=torch.float32):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0), dtype=dtype)


def with_entry(value):
    y = x(2, 6, 4)
    y[1, 2, 3] = value
    return y


CASES = [
    # (given, kind, what the message says)
    ({"q": [[1.0]]}, TypeError, r"q: got list; give a torch tensor"),
    ({"k": x(2, 6, 5)}, ValueError, r"k: got shape \(2, 6, 5\); give \(..., 6, 4\), the head size"),
    ({"v": x(2, 7, 4)}, ValueError, r"v: got shape \(2, 7, 4\); give \(..., 6, dv\)"),
    ({"q": x(4)}, ValueError, r"q: got shape \(4,\); .*two axes"),
    ({"k": x(2, 0, 4), "v": x(2, 0, 4)}, ValueError, r"k: got shape \(2, 0, 4\); .*one key"),
    ({"v": x(2, 6, 0)}, ValueError, r"v: got shape \(2, 6, 0\); give a head size"),
    ({"k": x(2, 6, 4).double()}, ValueError, r"k: got torch.float64; convert it to torch.float32"),
    ({"v": x(2, 6, 4).to("meta")}, ValueError, r"v: got device meta; move it to cpu"),
    ({"q": torch.ones(2, 6, 4, dtype=torch.long)}, TypeError, r"q: got torch.int64; convert"),
    ({"q": x(2, 6, 4).to(torch.complex64)}, TypeError, r"q: got torch.complex64; convert"),
    ({"q": x(2, 6, 4).to_sparse()}, TypeError, r"q: got .*sparse_coo; give a dense"),
    ({"k": x(3, 6, 4)}, ValueError, r"k: got shape \(3, 6, 4\); .*broadcast with \(2,\)"),
    (
        {"k": x(3, 2, 6, 4), "v": x(3, 2, 6, 4), "q": x(3, 4, 6, 4)},
        ValueError,
        r"k: got .*enable_gqa=True",
    ),
    (
        {"q": x(3, 6, 4), "enable_gqa": True},
        ValueError,
        r"q: got shape \(3, 6, 4\); .*multiple of k's 2",
    ),
    (
        {"v": x(1, 6, 4), "enable_gqa": True},
        ValueError,
        r"v: got shape \(1, 6, 4\); give \(..., 2, 6",
    ),
    (
        {"q": x(6, 4), "k": x(6, 4), "v": x(6, 4), "enable_gqa": True},
        ValueError,
        r"q: got shape \(6, 4\); give \(..., heads",
    ),
    (
        {"is_causal": True, "attn_mask": torch.ones(6, 6, dtype=torch.bool)},
        ValueError,
        r"attn_mask: got a mask beside is_causal=True; give one of them",
    ),
    ({"q": x(2, 5, 4), "is_causal": True}, ValueError, r"True with 5 queries and 6 keys; .*offset"),
    ({"causal_offset": 1}, ValueError, r"causal_offset: got 1; give it with is_causal"),
    ({"causal_offset": 1.5, "is_causal": True}, TypeError, r"causal_offset: got 1.5; give a whole"),
    ({"is_causal": 1}, TypeError, r"is_causal: got 1; give True or False"),
    (
        {"attn_mask": torch.ones(5, 6, dtype=torch.bool)},
        ValueError,
        r"attn_mask: got shape \(5, 6\); .*broadcasts to \(2, 6, 6\)",
    ),
    ({"attn_mask": torch.ones(6, 6, dtype=torch.long)}, TypeError, r"attn_mask: got torch.int64"),
    ({"attn_mask": torch.ones(6, 6).double()}, TypeError, r"attn_mask: got torch.float64"),
    ({"attn_mask": torch.full((6, 6), torch.nan)}, ValueError, r"attn_mask: got NaN"),
    ({"attn_mask": "causal"}, TypeError, r"attn_mask: got str"),
    ({"key_padding_mask": torch.zeros(2, 6)}, TypeError, r"key_padding_mask: got torch.float32"),
    (
        {"key_padding_mask": torch.zeros(3, 6, dtype=torch.bool)},
        ValueError,
        r"key_padding_mask: got shape \(3, 6\); give \(2, 6\)",
    ),
    ({"dropout_p": 1.0}, ValueError, r"dropout_p: got 1.0; give a number in \[0, 1\)"),
    ({"dropout_p": -0.1}, ValueError, r"dropout_p: got -0.1; give a number in \[0, 1\)"),
    ({"scale": float("inf")}, ValueError, r"scale: got inf; give a finite number"),
    ({"scale": "auto"}, TypeError, r"scale: got 'auto'; give a number"),
    ({"tolerance": 0.0}, ValueError, r"tolerance: got 0.0; give a number in \(0, 1\)"),
    ({"tolerance": 1.0}, ValueError, r"tolerance: got 1.0; give a number in \(0, 1\)"),
    ({"method": "flash"}, ValueError, r"method: got 'flash'; give one of 'auto', 'exact'"),
    ({"options": 3, "method": "exact"}, TypeError, r"options: got int with method='exact'"),
    ({"generator": 1.5}, TypeError, r"random_state: got 1.5; give an int"),
    ({"q": with_entry(torch.nan)}, ValueError, r"q: got 1 of 48 .*\(1, 2, 3\); remove"),
    ({"k": with_entry(torch.inf)}, ValueError, r"k: got 1 of 48 .*\(1, 2, 3\); remove"),
    ({"v": with_entry(-torch.inf)}, ValueError, r"v: got 1 of 48 .*\(1, 2, 3\); remove"),
]


@pytest.mark.parametrize(("given", "kind", "says"), CASES, ids=[case[2][:40] for case in CASES])
def test_it_is_refused_by_name_with_what_was_given(given, kind, says):
    call = {"q": x(2, 6, 4), "k": x(2, 6, 4), "v": x(2, 6, 4)} | given
    with pytest.raises(ArgumentError, match=says) as caught:
        attention(call.pop("q"), call.pop("k"), call.pop("v"), **call)
    assert isinstance(caught.value, kind)


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors:UserWarning")
def test_nested_tensors_are_told_of_the_padding_mask():
    nested = torch.nested.nested_tensor([x(3, 4), x(5, 4)])
    with pytest.raises(ArgumentTypeError, match=r"q: got a nested tensor; .*key_padding_mask"):
        attention(nested, nested, nested)


def test_options_say_which_of_them_cannot_be():
    for given, says in (
        ({"leaf": 24}, r"leaf: got 24; give a divisor of block_key = 64"),
        ({"near": 0}, r"near: got 0; give at least 1"),
        ({"block_query": 1.5}, r"block_query: got 1.5; give a whole number"),
        ({"grouping": "sort"}, r"grouping: got 'sort'; give one of 'tree', 'kmeans', 'lsh'"),
        ({"residual": "all"}, r"residual: got 'all'; give one of 'leaf', 'sample', 'none'"),
        ({"linear": 1}, r"linear: got 1; give True or False"),
    ):
        with pytest.raises(ArgumentError, match=says):
            KDEOptions(**given)
