"""Densities and sums of kernels against the sums written out; errors are what they say."""

import numpy as np
import pytest
import torch
from scipy.stats import gaussian_kde

from kernelgp.attention import density, kde, kernel_sum, near_far_density
from kernelgp.errors import ArgumentError, ArgumentTypeError, NumericalWarning


def normal(*shape, seed=0, dtype=torch.float64):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).to(dtype)


KERNELS = {
    "gaussian": lambda r: torch.exp(-(r**2) / 2),
    "laplacian": lambda r: torch.exp(-r),
    "logistic": lambda r: 1 / (r.exp() + 2 + (-r).exp()),
    "sigmoid": lambda r: 1 / (r.exp() + (-r).exp()),
}


@pytest.mark.parametrize("kernel", KERNELS)
def test_sums_are_those_written_out(kernel):
    x, y, w = normal(40, 3), normal(30, 3, seed=1), normal(40, seed=2)
    bandwidth = torch.tensor([0.5, 1.0, 2.0])
    r = torch.cdist(y / bandwidth, x / bandwidth)
    expected = KERNELS[kernel](r) @ w
    found = kernel_sum(x, y, kernel=kernel, bandwidth=bandwidth, weights=w)
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("kernel", KERNELS)
def test_densities_integrate_to_one(kernel):
    x, weights = normal(5, 1), torch.tensor([1.0, 2.0, 0.0, 3.0, 0.5], dtype=torch.float64)
    line = torch.linspace(-60, 60, 24001, dtype=torch.float64)[:, None]
    found = kde(x, line, kernel=kernel, bandwidth=0.7, weights=weights).exp()
    assert torch.trapezoid(found, line.squeeze(-1)).item() == pytest.approx(1, abs=1e-6)


def test_it_is_scipys_estimate():
    x = normal(300, 1)
    peer = gaussian_kde(x.squeeze(-1).numpy(), bw_method=0.4)
    bandwidth = float(np.sqrt(peer.covariance[0, 0]))
    found = kde(x.numpy(), bandwidth=bandwidth)
    np.testing.assert_allclose(found, peer.logpdf(x.squeeze(-1).numpy()), rtol=1e-9)


@pytest.mark.parametrize(("n", "d", "bandwidth"), [(3000, 1, 0.1), (5000, 3, 0.3), (500, 8, 2.0)])
def test_the_tree_errs_by_what_it_says(n, d, bandwidth):
    x, y = normal(n, d), torch.cat([normal(700, d, seed=1), 4 * normal(50, d, seed=2)])
    exact, zero = kde(x, y, bandwidth=bandwidth, method="exact", return_error=True)
    found, error = kde(x, y, bandwidth=bandwidth, method="tree", return_error=True)
    off = (found - exact).abs()
    assert not zero.any()
    assert off.square().mean().sqrt() < 0.05
    assert (off <= 4 * error + 1e-9).double().mean() > 0.9


def test_auto_is_within_its_tolerance_or_exact(monkeypatch):
    monkeypatch.setattr(density, "_FEW_PAIRS", 0)
    monkeypatch.setattr(density, "_FEW_POINTS", 0)
    x = normal(4000, 2)
    for bandwidth in (0.05, 0.3, 3.0):
        exact = kde(x, bandwidth=bandwidth, method="exact")
        found, error = kde(x, bandwidth=bandwidth, return_error=True)
        assert (found - exact).square().mean().sqrt() < 0.02
        assert error.square().mean().sqrt() < 0.02
    # Where leaves tell little all is summed one by one.
    monkeypatch.setattr(near_far_density, "_NEAR", 32)
    wide = normal(4000, 10)
    found, error = kde(wide, bandwidth=0.6, return_error=True)
    torch.testing.assert_close(found, kde(wide, bandwidth=0.6, method="exact"))
    assert not error.any()


def test_weights_of_any_sign_take_two_sums():
    x, w = normal(3000, 2), normal(3000, seed=1)
    exact = kernel_sum(x, bandwidth=0.5, weights=w, method="exact")
    found, error = kernel_sum(x, bandwidth=0.5, weights=w, method="tree", return_error=True)
    size = kernel_sum(x, bandwidth=0.5, weights=w.abs(), method="exact")
    off = (found - exact).abs()
    # Additive: in proportion to the sum of absolute values.
    assert (off / size).square().mean().sqrt() < 0.02
    assert (off <= 4 * error).double().mean() > 0.9


def test_a_sharper_density_may_have_weights_below_zero():
    x = normal(500, 1)
    twice = torch.cat([x, x])
    w = torch.cat([torch.full((500,), 1.2), torch.full((500,), -0.2)]).double()
    expected = kde(x, bandwidth=1.0)
    torch.testing.assert_close(kde(twice, x, bandwidth=1.0, weights=w), expected)
    with pytest.warns(NumericalWarning, match="at 1 of 2 points weights below zero prevail"):
        found = kde(torch.tensor([[0.0], [9.0]]), bandwidth=1.0, weights=torch.tensor([2.0, -1.0]))
    assert found[1] == -torch.inf


def test_far_points_keep_their_digits_and_arrays_give_arrays():
    x = normal(200, 2, dtype=torch.float32)
    near = kde(x.numpy(), bandwidth=0.3)
    assert near.dtype == np.float32
    far = kde(x.double() + 1e6, bandwidth=0.3)
    np.testing.assert_allclose(far, near, atol=1e-5)
    nowhere = kde(x, torch.full((1, 2), 1e8), bandwidth=1e-3)
    assert nowhere.isfinite().all()


def test_points_of_no_weight_count_for_nothing():
    x, w = normal(400, 2), torch.ones(400, dtype=torch.float64)
    w[100:] = 0
    for method in ("exact", "tree"):
        found = kde(x, x[:9], bandwidth=0.5, weights=w, method=method)
        torch.testing.assert_close(found, kde(x[:100], x[:9], bandwidth=0.5), atol=0.02, rtol=0)


def test_the_same_seed_gives_the_same_bytes():
    x = normal(3000, 3)
    one, two = (kde(x, bandwidth=0.3, method="tree", random_state=1) for _ in range(2))
    assert torch.equal(one, two)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"x": torch.ones(3)}, ArgumentError, r"x: got shape \(3,\); give \(n, d\)"),
        ({"y": torch.ones(3, 1)}, ArgumentError, r"y: got shape \(3, 1\); give \(m, 2\)"),
        ({"y": torch.tensor([[0.0, torch.inf]])}, ArgumentError, "y: got 1 of 2 entries not fin"),
        ({"kernel": "box"}, ArgumentError, "kernel: got 'box'; give one of 'gaussian'"),
        ({"bandwidth": -1.0}, ArgumentError, r"bandwidth: got -1\.0; give a positive, finite"),
        ({"bandwidth": "scott"}, ArgumentTypeError, "bandwidth: got 'scott'; give positive"),
        ({"weights": torch.ones(4)}, ArgumentError, r"weights: got shape \(4,\); give \(3,\)"),
        ({"weights": [1.0, 1.0, 1.0]}, ArgumentTypeError, "weights: got list; give a torch"),
        ({"weights": -torch.ones(3)}, ArgumentError, "weights: got a sum of -3; give weights of"),
        ({"method": "fft"}, ArgumentError, 'method: got \'fft\'; give "auto", "exact" or'),
        (
            {"method": "tree", "kernel": "laplacian"},
            ArgumentError,
            "method: got 'tree' with kernel='laplacian'; use 'exact' or 'auto'",
        ),
    ],
)
def test_bad_arguments_are_named(arguments, error, message):
    with pytest.raises(error, match=message):
        kde(**{"x": torch.ones(3, 2), "bandwidth": 1.0, **arguments})


def test_sums_need_weights():
    with pytest.raises(ArgumentTypeError, match="weights: got None; give a weight for each row"):
        kernel_sum(torch.ones(3, 2), bandwidth=1.0, weights=None)
