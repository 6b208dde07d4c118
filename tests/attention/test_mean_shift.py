"""Modes: stationary points of the density, the same from few directions as from all."""

import numpy as np
import pytest
import torch
from scipy.integrate import quad

from kernelgp.attention import find_modes
from kernelgp.attention.radial import RADIAL_KERNELS
from kernelgp.errors import ArgumentError, ArgumentTypeError, ConvergenceWarning, NumericalWarning


def clusters(n=2000, d=50, k=4, spread=3.0, seed=0, dtype=torch.float64):
    g = torch.Generator().manual_seed(seed)
    centers = spread * torch.randn(k, d, generator=g, dtype=torch.float64)
    label = torch.randint(k, (n,), generator=g)
    return (centers[label] + torch.randn(n, d, generator=g, dtype=torch.float64)).to(dtype), label


def log_density(x, y, kernel, bandwidth):
    r = torch.cdist(y.double(), x.double()) / bandwidth
    log_kernel = {
        "gaussian": lambda r: -r.square() / 2,
        "laplacian": lambda r: -r,
        "logistic": lambda r: -torch.log(r.exp() + 2 + (-r).exp()),
        "sigmoid": lambda r: -torch.log(r.exp() + (-r).exp()),
    }[kernel]
    return log_kernel(r).logsumexp(dim=-1)


def mean_shift(x, y, bandwidth, steps=300):
    for _ in range(steps):
        sqdist = torch.cdist(y, x).square()
        y = torch.softmax(-sqdist / 2 / bandwidth**2, dim=-1) @ x
    return y


@pytest.mark.parametrize("kernel", RADIAL_KERNELS)
@pytest.mark.parametrize("d", [1, 2, 3])
def test_kernels_integrate_to_their_constants(kernel, d):
    radial = RADIAL_KERNELS[kernel]

    def shell(r):
        return r ** (d - 1) * float(radial.log_value(torch.tensor(r**2).double()).exp())

    sphere = {1: 2, 2: 2 * np.pi, 3: 4 * np.pi}[d]
    assert sphere * quad(shell, 0, 60)[0] == pytest.approx(np.exp(radial.log_integral(d)))


@pytest.mark.parametrize("kernel", RADIAL_KERNELS)
def test_weights_are_the_slopes_of_kernels(kernel):
    radial = RADIAL_KERNELS[kernel]
    s = torch.linspace(0.01, 30, 50, dtype=torch.float64).requires_grad_()
    (slope,) = torch.autograd.grad(radial.log_value(s).exp().sum(), s)
    ratio = radial.log_weight(s.detach()).exp() / -slope
    torch.testing.assert_close(ratio, ratio[:1].expand(50))


@pytest.mark.parametrize("kernel", RADIAL_KERNELS)
def test_modes_are_maxima(kernel):
    x, _ = clusters(d=3)
    modes, log_densities, _ = find_modes(x, kernel=kernel, bandwidth=1.0, random_state=0)
    assert (log_densities.diff() <= 0).all()
    top = log_density(x, modes, kernel, 1.0)
    g = torch.Generator().manual_seed(1)
    for _ in range(20):
        near = modes + 1e-3 * torch.randn(modes.shape, generator=g, dtype=torch.float64)
        assert (log_density(x, near, kernel, 1.0) < top + 1e-12).all()


@pytest.mark.parametrize("n_components", ["auto", 10, 49])
def test_projected_climbs_end_where_whole_ones_do(n_components):
    x, _ = clusters()
    modes, _, basins = find_modes(x, bandwidth=4.0, n_components=n_components, random_state=0)
    starts = (basins >= 0).nonzero().squeeze(-1)
    ends = mean_shift(x, x[starts], 4.0)
    whole, ours = (log_density(x, y, "gaussian", 4.0) for y in (ends, modes[basins[starts]]))
    # Densities within 0.1 percent of the whole climb's.
    assert (ours - whole).min() > np.log(0.999)
    assert len(modes) == 4


def test_basins_are_clusters():
    x, label = clusters(n=400)
    modes, _, basins = find_modes(x, bandwidth=3.0, n_starts=400, random_state=0)
    assert (basins >= 0).all()
    for cluster in range(4):
        assert len(basins[label == cluster].unique()) == 1
    assert len(modes) == 4


def test_log_densities_are_of_the_density_in_the_units_of_x():
    x, _ = clusters(d=2)
    bandwidth = torch.tensor([0.8, 1.6], dtype=torch.float64)
    modes, log_densities, _ = find_modes(x, bandwidth=bandwidth, random_state=0)
    scaled = log_density(x / bandwidth, modes / bandwidth, "gaussian", 1.0)
    expected = scaled - np.log(len(x)) - np.log(2 * np.pi) - bandwidth.log().sum()
    torch.testing.assert_close(log_densities, expected)


def test_arrays_give_arrays_and_far_points_keep_their_digits():
    x, _ = clusters(d=3, dtype=torch.float32)
    found = find_modes(x.numpy(), bandwidth=1.5, random_state=0)
    assert all(isinstance(part, np.ndarray) for part in found)
    assert found.modes.dtype == np.float32
    far = find_modes(x.double() + 1e6, bandwidth=1.5, random_state=0)
    np.testing.assert_allclose(far.modes - 1e6, found.modes, atol=1e-5)


def test_one_point_is_its_own_mode():
    modes, _, basins = find_modes(torch.ones(1, 2), bandwidth=1.0)
    assert modes.tolist() == [[1.0, 1.0]]
    assert basins.tolist() == [0]


def test_trouble_is_said():
    x, _ = clusters(n=50, d=3)
    with pytest.warns(NumericalWarning, match="n_components: got 3 for 3 columns; nothing is proj"):
        find_modes(x, bandwidth=1.0, n_components=3)
    line = torch.linspace(0, 300, 4001, dtype=torch.float64)[:, None]
    with pytest.warns(ConvergenceWarning, match="climbs still moved by more than 1e-07 bandwidths"):
        find_modes(line, bandwidth=1.0, random_state=0)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"x": torch.ones(3)}, ArgumentError, r"x: got shape \(3,\); give \(n, d\)"),
        ({"x": np.ones((3, 2), int)}, ArgumentError, "x: got dtype int64; convert it"),
        ({"x": [[1.0]]}, ArgumentTypeError, "x: got list; give a torch tensor"),
        ({"x": torch.tensor([[torch.nan]])}, ArgumentError, "x: got 1 of 1 entries not finite"),
        ({"kernel": "box"}, ArgumentError, "kernel: got 'box'; give one of 'gaussian', 'lap"),
        ({"bandwidth": 0.0}, ArgumentError, r"bandwidth: got 0\.0; give a positive, finite number"),
        ({"bandwidth": [1.0, 2.0, 3.0]}, ArgumentError, r"bandwidth: got shape \(3,\); give a n"),
        ({"n_starts": 0}, ArgumentError, "n_starts: got 0; give a positive whole number"),
        ({"n_components": "pca"}, ArgumentError, "n_components: got 'pca'; give a number or"),
        ({"n_components": 0}, ArgumentError, "n_components: got 0; give a positive whole"),
    ],
)
def test_bad_arguments_are_named(arguments, error, message):
    with pytest.raises(error, match=message):
        find_modes(**{"x": torch.ones(3, 2), "bandwidth": 1.0, **arguments})
