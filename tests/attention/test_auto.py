"""The choice: exact where it should be, within the tolerance where it is not, and a true report."""

import pytest
import torch

from kernelgp.attention import KDEOptions, attention
from kernelgp.attention.door import check_call
from kernelgp.attention.probes import probe
from kernelgp.errors import ArgumentError, NumericalWarning


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def gauss(n, d=8, spread=1.0, seed=0):
    """Values that have nothing to do with the keys: nothing but exact works."""
    q, k, v = torch.randn(3, n, d, generator=seeded(seed)).unbind()
    return spread**0.5 * q, spread**0.5 * k, v


def smooth(n, seed=0):
    t = torch.linspace(0, 1, n)[:, None]
    waves = 20 * torch.rand(1, 4, generator=seeded(seed)) + 1
    k = 2 * torch.cat([torch.cos(waves * t), torch.sin(waves * t)], dim=1)
    return k, k, torch.sin(3 * t + torch.arange(4.0))


def relative(found, expected):
    return ((found - expected).norm() / expected.norm()).item()


def test_what_is_smooth_is_approximated_within_what_the_report_says():
    q, k, v = smooth(8192)
    for causal in (False, True):
        out, report = attention(q, k, v, is_causal=causal, return_report=True)
        true = relative(out, attention(q, k, v, is_causal=causal, method="exact"))
        assert report.method == "kde"
        assert "leaves of" in report.reason
        assert true < 0.02
        assert true / 2 < report.estimated_error < min(2 * true, 0.02)
        low, high = report.error_band
        assert low < report.estimated_error < high
        assert report.worst_row > report.estimated_error
        assert 0 < report.near_mass < 1
        assert report.seconds > 0
        again = attention(q, k, v, is_causal=causal)
        assert torch.equal(out, again)


def test_a_tighter_tolerance_is_kept_too():
    q, k, v = smooth(8192)
    _, first = attention(q, k, v, return_report=True)
    tolerance = first.estimated_error / 2
    out, report = attention(q, k, v, tolerance=tolerance, return_report=True)
    assert report.estimated_error <= tolerance
    assert relative(out, attention(q, k, v, method="exact")) < 2 * tolerance


def test_what_nothing_works_for_is_exact_and_says_so():
    q, k, v = gauss(8192)
    out, report = attention(q, k, v, return_report=True)
    assert report.method == "exact"
    assert report.reason.startswith("kde's estimated error")
    assert report.estimated_error == 0.0
    assert torch.equal(out, attention(q, k, v, method="exact"))


def test_each_head_is_judged_by_itself():
    heads = [smooth(8192, seed=1), gauss(8192), smooth(8192, seed=2)]
    v = [values[:, :4] for _, _, values in heads]
    q, k, v = torch.stack([q for q, _, _ in heads]), torch.stack([k for _, k, _ in heads]), v
    v = torch.stack(v).requires_grad_()
    padding = torch.zeros(3, 8192, dtype=torch.bool)
    padding[:, -100:] = True
    with torch.no_grad():
        out, report = attention(q, k, v, key_padding_mask=padding, return_report=True)
        expected = attention(q, k, v, key_padding_mask=padding, method="exact")
    assert report.method == "kde"
    assert "1 of 3 key heads exact" in report.reason
    assert torch.equal(out[1], expected[1])
    for head in (0, 2):
        assert 0 < relative(out[head], expected[head]) < 0.03


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({"n": 4096}, "4096 x 4096 pairs are few"),
        ({"attn_mask": torch.ones(1, 8192, dtype=torch.bool)}, "a general mask"),
        ({"dropout_p": 0.1}, "dropout"),
        ({"scale": -1.0}, "a scale that is not positive"),
        ({"learn": True}, "gradients of keys and values"),
    ],
    ids=lambda x: x if isinstance(x, str) else "",
)
def test_where_exact_is_taken_at_once(given, reason):
    given = dict(given)
    q, k, v = (x[:, :1] for x in smooth(given.pop("n", 8192)))
    if given.pop("learn", False):
        v.requires_grad_()
    _, report = attention(q, k, v, return_report=True, **given)
    assert (report.method, report.reason) == ("exact", reason)


def test_the_estimate_is_the_error_of_a_noisy_method_too():
    ratios = []
    for seed in range(20):
        q, k, v = gauss(1500, spread=0.3, seed=seed) if seed % 2 else smooth(1500, seed=seed)
        options = KDEOptions(residual="sample", near=1, leaf=8, n_samples=100)
        out, report = attention(
            q, k, v, method="kde", options=options, generator=seed, return_report=True
        )
        true = relative(out, attention(q, k, v, method="exact"))
        ratios.append(report.estimated_error / true)
    assert min(ratios) > 0.5
    assert max(ratios) < 2


def test_figures_of_the_weights_are_those_of_the_matrix():
    q, k, v = smooth(60)
    call = check_call(
        q,
        k,
        v,
        is_causal=True,
        causal_offset=None,
        attn_mask=None,
        key_padding_mask=torch.arange(60) == 0,
        scale=2.0,
        enable_gqa=False,
    )
    found = probe(call, seeded())
    logits = (2.0 * q @ k.mT).double()
    logits[:, 0] = -torch.inf
    logits = logits.masked_fill(~torch.ones(60, 60, dtype=torch.bool).tril(), -torch.inf)
    p = logits[1:].softmax(-1)
    assert found.effective_keys == pytest.approx(
        torch.special.entr(p).sum(-1).exp().mean().item(), rel=1e-5
    )
    head = p.flatten().topk(60).values.sum()
    assert found.tail_to_head == pytest.approx(((p.sum() - head) / head).item(), rel=1e-4)
    assert (found.out[0, 0][found.rows.argsort()][1:] - p @ v.double()).abs().max() < 1e-5


def test_a_report_without_a_choice():
    q, k, v = smooth(300)
    _, report = attention(q, k, v, method="exact", return_report=True)
    assert (report.method, report.estimated_error, report.near_mass) == ("exact", 0.0, 1.0)
    assert report.effective_keys > 1
    _, report = attention(q, k, v, method="fastmax", return_report=True)
    assert report.estimated_error is None
    assert "exact" in str(attention(q[:0], k, v, return_report=True)[1])


def test_an_approximation_above_the_tolerance_warns_with_figures():
    q, k, v = gauss(600)
    options = KDEOptions(leaf=16, near=1)
    with pytest.warns(NumericalWarning, match=r"kde: estimated error .* \(asked: 0.001\)"):
        attention(q, k, v, method="kde", options=options, tolerance=0.001)
    attention(q, k, v, method="exact", tolerance=0.001)


def test_more_near_blocks_than_there_are_warn():
    q, k, v = smooth(100)
    with pytest.warns(NumericalWarning, match=r"near: got 4 with 2 blocks of 64 keys"):
        out = attention(q, k, v, method="kde")
    assert relative(out, attention(q, k, v)) < 1e-6


def test_approximations_refuse_what_is_exact_only():
    q, k, v = smooth(300)
    for given, says in (
        ({"dropout_p": 0.1}, r"dropout_p: got 0.1 with method='kde'; use method='exact'"),
        ({"attn_mask": torch.ones(300, 300, dtype=torch.bool)}, r"attn_mask: got a general mask"),
        ({"scale": 0.0}, r"scale: got 0 with method='kde'; give a positive number"),
        ({"options": 3}, r"options: got int with method='kde'; give KDEOptions"),
    ):
        with pytest.raises(ArgumentError, match=says):
            attention(q, k, v, method="kde", **given)
    with pytest.raises(ArgumentError, match=r"causal_offset: got 2 with method='fastmax'"):
        attention(q, k, v, method="fastmax", is_causal=True, causal_offset=2)


def test_gradients_pass_through_the_choice():
    q, k, v = smooth(8192)
    q = q.clone().requires_grad_()
    out, report = attention(q, k, v, return_report=True)
    assert report.method == "kde"
    (found,) = torch.autograd.grad(out.square().sum(), q)
    exact = attention(q, k, v, method="exact")
    (expected,) = torch.autograd.grad(exact.square().sum(), q)
    assert relative(found, expected) < 0.2
