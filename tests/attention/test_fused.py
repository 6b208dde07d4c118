"""What runs off the CPU does what the CPU's kernel does."""

from types import SimpleNamespace

import pytest
import torch

from kernelgp.attention import door, fused
from kernelgp.errors import ArgumentError


def draw(*shape, seed=0, dtype=torch.float64):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


@pytest.mark.parametrize("is_causal", [False, True])
@pytest.mark.parametrize("with_bias", [False, True])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_plain_rows_are_the_kernels(monkeypatch, is_causal, with_bias, dtype):
    monkeypatch.setattr(fused, "_PLAIN_ENTRIES", 2 * 3 * 11 * 4)  # four rows at a time
    q, k, v = (
        x.to(dtype)
        for x in (draw(2, 3, 11, 5), draw(2, 1, 11, 5, seed=1), draw(2, 1, 11, 4, seed=2))
    )
    k, v = k.expand(-1, 3, -1, -1), v.expand(-1, 3, -1, -1)
    bias = None
    if with_bias:
        bias = draw(2, 1, 1, 11, seed=3)
        bias[0, ..., :2] = -torch.inf
        bias[1] = -torch.inf
        bias = bias.to(torch.float64 if dtype == torch.float64 else torch.float32)
    given = {"scale": 0.6, "is_causal": is_causal}
    out, logsumexp = fused.attend(q, k, v, bias, **given)
    plain, plain_logsumexp = fused._plain(q, k, v, bias, 0.6, is_causal=is_causal)
    tolerance = 16 * torch.finfo(dtype).eps
    torch.testing.assert_close(plain, out, rtol=tolerance, atol=tolerance)
    torch.testing.assert_close(plain_logsumexp, logsumexp, rtol=tolerance, atol=tolerance)
    total = logsumexp.masked_fill(logsumexp == -torch.inf, torch.inf)
    grad = draw(2, 3, 11, 4, seed=4).to(dtype)
    found = fused._plain_backward(grad, q, k, v, out, total, bias, **given)
    expected = fused.attend_backward(grad, q, k, v, out, total, bias, **given)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=4 * tolerance, atol=4 * tolerance)


def test_a_generator_elsewhere_is_refused(monkeypatch):
    # There may be no second device to make one on.
    elsewhere = SimpleNamespace(device=torch.device("cuda"))
    monkeypatch.setattr(door, "as_generator", lambda _: elsewhere)
    with pytest.raises(ArgumentError, match=r"generator: got one on cuda; give one on cpu"):
        door.check_generator(1, torch.device("cpu"))
