"""Halving and thinning: half the points, near balance, far better than random ones."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from kernelgp.errors import ArgumentError, ArgumentTypeError
from kernelgp.kernels import RBF, Matern
from kernelgp.thinning import compress, halving, kernel_halve, kernel_thin, maximum_mean_discrepancy
from kernelgp.thinning.halving import PointKernel


def points(n, d=2, seed=0, dtype=torch.float64):
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def dense_halving(gram, uniform):
    """Dwivedi and Mackey's algorithm as they write it, one function value at a time."""
    n = len(gram)
    kept, met, sigma2 = [], [], 0.0
    for t in range(n // 2):
        x, other = 2 * t, 2 * t + 1
        b2 = gram[x, x] + gram[other, other] - 2 * gram[x, other]
        b = np.sqrt(b2)
        width = halving._WIDTH
        a = max(b * np.sqrt(sigma2) * width * np.sqrt(2 * np.log(2 * n / 0.5)), b2)
        sigma2 = sigma2 + b2 * max(0.0, 1 + (b2 - 2 * a) * sigma2 / a**2)
        alpha = sum(gram[y, x] - gram[y, other] for y in met)
        alpha -= 2 * sum(gram[z, x] - gram[z, other] for z in kept)
        if uniform[t] < min(1.0, 0.5 * max(0.0, 1 - alpha / a)):
            x, other = other, x
        kept.append(x)
        met += [x, other]
    return kept


@pytest.mark.parametrize("block", [256, 16])
@pytest.mark.parametrize("n", [2, 9, 60])
def test_it_is_the_algorithm_of_the_paper(n, block, monkeypatch):
    monkeypatch.setattr(halving, "_BLOCK", block)
    x = points(n)
    gram = torch.exp(-(torch.cdist(x, x) ** 2) / 2).numpy()
    generator = torch.Generator().manual_seed(3)
    uniform = torch.rand(1, n // 2, generator=generator, dtype=torch.float64)[0].numpy()
    kept = kernel_halve(x, RBF(), random_state=3)
    assert kept.tolist() == dense_halving(gram, uniform)


@given(n=st.integers(2, 50), seed=st.integers(0, 99))
def test_one_of_every_pair_is_kept(n, seed):
    kept = kernel_halve(points(n, seed=seed), RBF(), random_state=seed)
    assert (kept // 2).tolist() == list(range(n // 2))


def test_a_half_is_far_nearer_than_a_random_one():
    x, kernel = points(2000), Matern(nu=2.5)
    kept = kernel_halve(x, kernel, random_state=0)
    random = [
        torch.randperm(2000, generator=torch.Generator().manual_seed(i))[:1000] for i in range(8)
    ]
    ours = maximum_mean_discrepancy(x, x[kept], kernel)
    theirs = np.median([maximum_mean_discrepancy(x, x[i], kernel) for i in random])
    assert ours < theirs / 4


def test_thinning_beats_independent_points_and_halving_alone():
    x, kernel = points(2048), RBF()
    found = {
        "thinned": kernel_thin(x, kernel, 32, random_state=0),
        "halved": kernel_thin(x, kernel, 32, refine=False, random_state=0),
        "first": torch.arange(32),
    }
    distance = {
        name: maximum_mean_discrepancy(x, x[index], kernel) for name, index in found.items()
    }
    assert distance["thinned"] < distance["halved"] < distance["first"] / 2
    assert distance["thinned"] < distance["first"] / 6


def test_errors_fall_faster_than_those_of_random_points():
    kernel, distances = RBF(), []
    for n in (512, 8192):
        x = points(n)
        kept = kernel_thin(x, kernel, n // 8 if n < 1000 else n // 64, refine=False, random_state=0)
        distances.append(maximum_mean_discrepancy(x, x[kept], kernel))
    # Twice the points: random ones would gain 1.4.
    assert distances[0] > 1.5 * distances[1]


@given(n=st.integers(1, 70), part=st.floats(0, 1), seed=st.integers(0, 9))
def test_any_size_can_be_asked_for(n, part, seed):
    size = max(1, round(part * n))
    kept = kernel_thin(points(n, d=1, seed=seed), RBF(), size, random_state=seed)
    assert kept.shape == (size,)
    assert 0 <= int(kept.min()) <= int(kept.max()) < n


def test_all_points_stand_for_themselves():
    x = points(20)
    assert maximum_mean_discrepancy(x, x[kernel_thin(x, RBF(), 20)], RBF()) < 1e-7


def test_groups_are_halved_as_they_are_alone():
    x = torch.stack([points(40, seed=seed) for seed in range(3)])
    together, _ = halving.halve(
        PointKernel(RBF(), x), 40, generator=torch.Generator().manual_seed(0)
    )
    uniform = torch.rand(3, 20, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    for one, kept, u in zip(x, together, uniform, strict=True):
        gram = torch.exp(-(torch.cdist(one, one) ** 2) / 2).numpy()
        assert kept.tolist() == dense_halving(gram, u.numpy())


def test_compression_is_near_thinning_for_a_part_of_its_cost():
    x, kernel, seen = points(4096), RBF(), []

    def means(index):
        seen.append(index.numel() * index.shape[-1])
        return PointKernel(kernel, x[index])

    kept = compress(torch.arange(4096)[None], means, torch.Generator().manual_seed(0), 5)[0]
    assert kept.shape == (128,)
    assert len(set(kept.tolist())) == 128
    assert sum(seen) == 4 * 5 * 128**2
    random = np.median(
        [maximum_mean_discrepancy(x, x[i * 128 : (i + 1) * 128], kernel) for i in range(9)]
    )
    assert maximum_mean_discrepancy(x, x[kept], kernel) < random / 2


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_same_seed_gives_the_same_points(dtype):
    x = points(200, dtype=dtype)
    for function in (kernel_halve, lambda *a, **k: kernel_thin(*a, 20, **k)):
        one, two = (function(x, RBF(), random_state=5) for _ in range(2))
        assert torch.equal(one, two)
        assert torch.equal(one, function(x.numpy(), RBF(), random_state=5))


def test_equal_points_are_no_trouble():
    x = torch.ones(64, 3)
    assert len(kernel_halve(x, RBF(), random_state=0)) == 32
    assert len(kernel_thin(x, RBF(), 5, random_state=0)) == 5


def test_the_discrepancy_is_that_of_the_definition():
    x, y = points(30), points(20, seed=1) + 1
    both = torch.cat([x, y])
    weights = torch.cat([torch.full((30,), 1 / 30), torch.full((20,), -1 / 20)]).double()
    gram = torch.exp(-(torch.cdist(both, both) ** 2) / 2)
    expected = (weights @ gram @ weights).sqrt().item()
    assert maximum_mean_discrepancy(x, y, RBF()) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("x", "error", "message"),
    [
        (torch.ones(1, 2), ArgumentError, r"x: got shape \(1, 2\); give \(n, d\), n at least 2"),
        (torch.ones(9), ArgumentError, r"x: got shape \(9,\)"),
        (torch.ones(9, 1).int(), ArgumentError, "x: got torch.int32"),
        (np.ones((9, 1), int), ArgumentError, "x: got dtype int64"),
        ([[1.0]], ArgumentTypeError, "x: got list; give a torch tensor"),
        (torch.tensor([[1.0], [torch.inf]]), ArgumentError, "x: got 1 of 2 entries not finite"),
    ],
)
def test_bad_points_are_named(x, error, message):
    with pytest.raises(error, match=message):
        kernel_halve(x, RBF())


def test_other_bad_arguments_are_named():
    x = torch.ones(9, 2)
    with pytest.raises(ArgumentTypeError, match="kernel: got str; give a kernel"):
        kernel_halve(x, "rbf")
    with pytest.raises(ArgumentError, match="size: got 10; give an integer, 1 to 9"):
        kernel_thin(x, RBF(), 10)
    with pytest.raises(ArgumentTypeError, match=r"size: got 2\.0; give an integer"):
        kernel_thin(x, RBF(), 2.0)
