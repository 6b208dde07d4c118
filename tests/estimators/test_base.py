"""What estimators read: arrays, frames and tensors, kernels of three libraries, noise."""

import gpytorch
import numpy as np
import pytest
import torch
from sklearn.base import BaseEstimator
from sklearn.gaussian_process import kernels as sk

from kernelgp.errors import ArgumentError, ArgumentTypeError
from kernelgp.estimators.base import (
    Scales,
    as_device,
    as_dtype,
    as_kernel,
    check_choice,
    read_features,
    read_noise,
    read_training,
    rescaled_start,
)
from kernelgp.kernels import RBF, Linear, Matern, Periodic, White


class Reader(BaseEstimator):
    pass


def read(X, y, weights=None, **options):
    return read_training(Reader(), X, y, weights, **options)


X, Y = np.arange(6.0).reshape(3, 2), np.array([1.0, 2.0, 4.0])


@pytest.mark.parametrize(
    ("dtype_x", "dtype_y", "expected"),
    [
        ("int64", "int64", torch.float64),
        ("bool", "float64", torch.float64),
        ("float32", "float32", torch.float32),
        ("float32", "int64", torch.float32),
        ("float32", "float64", torch.float64),
        ("float16", "float64", torch.float64),
    ],
)
def test_dtypes_are_promoted_once(dtype_x, dtype_y, expected):
    data = read(X.astype(dtype_x), Y.astype(dtype_y))
    assert data.x.dtype == data.y.dtype == expected


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_frames_name_their_columns(library):
    frame = pytest.importorskip(library).DataFrame(dict(zip("ab", X.T, strict=True)))
    reader = Reader()
    read_training(reader, frame, Y)
    assert list(reader.feature_names_in_) == ["a", "b"]
    read_features(reader, frame, dtype=torch.float64, device="cpu")
    with pytest.raises(ValueError, match="feature names"):
        read_features(reader, frame[["b", "a"]], dtype=torch.float64, device="cpu")


def test_tensors_lose_their_graph():
    tensor = torch.tensor(X, requires_grad=True)
    assert not read(tensor, torch.tensor(Y)).x.requires_grad


def test_rows_of_weight_zero_are_dropped():
    data = read(X, Y, [1.0, 0.0, 2.0])
    assert data.x.tolist() == X[[0, 2]].tolist()
    assert data.weights.tolist() == [1.0, 2.0]


@pytest.mark.parametrize(
    ("weights", "message"),
    [([1, -1, 1], "smallest value of -1"), ([0, 0, 0], "zeros only"), ([1, 2], r"shape \(2,\)")],
)
def test_bad_weights_are_refused(weights, message):
    with pytest.raises(ArgumentError, match=f"sample_weight: got .*{message}"):
        read(X, Y, weights)


def test_missing_targets_only_where_they_are_allowed():
    gaps = np.array([1.0, np.nan, 2.0])
    assert read(X, gaps, missing=True).y.isnan().tolist() == [False, True, False]
    with pytest.raises(ValueError, match="y contains NaN"):
        read(X, gaps)
    with pytest.raises(ValueError, match="y contains infinity"):
        read(X, [1.0, np.inf, 2.0], missing=True)


def test_scales_of_weighted_rows_are_those_of_repeated_ones():
    rng = np.random.default_rng(0)
    x, y, w = rng.normal(size=(9, 2)) + 1e8, rng.normal(size=9), rng.integers(1, 4, size=9)
    one = Scales.of(read(x, y, w), normalize_x=True, normalize_y=True)
    other = Scales.of(read(x.repeat(w, 0), y.repeat(w)), normalize_x=True, normalize_y=True)
    torch.testing.assert_close(one.x_scale, other.x_scale)
    torch.testing.assert_close(one.y_scale, other.y_scale)
    np.testing.assert_allclose(one.x_scale, x.repeat(w, 0).std(0), rtol=1e-6)


def test_constant_columns_and_targets_have_scale_one():
    scales = Scales.of(
        read(np.array([[0.1, 1.0], [0.1, 2.0]]), [0.3, 0.3]), normalize_x=True, normalize_y=True
    )
    assert scales.x_scale.tolist() == [1.0, 0.5]
    assert (scales.y_scale.tolist(), scales.constant.tolist()) == ([1.0], [True])


def test_kernels_of_three_libraries_become_ours_and_are_copies():
    scale = torch.ones(2, dtype=torch.float64)
    mine = RBF(0.5)
    assert as_kernel(mine, scale) is not mine
    assert repr(as_kernel(sk.RBF(0.5), scale)) == "RBF(lengthscale=0.5)"
    theirs = gpytorch.kernels.RBFKernel().double()
    theirs.lengthscale = 0.5
    assert repr(as_kernel(theirs, scale)) == "RBF(lengthscale=0.5)"
    default = as_kernel(None, torch.tensor([1.0, 100.0]))
    assert repr(default) == "1.0 * Matern(nu=2.5, lengthscale=[0.707107, 70.7107])"
    with pytest.raises(ArgumentTypeError, match=r"kernel: got str; give a kernel of"):
        as_kernel("rbf", scale)


def test_a_gpytorch_kernel_with_priors_stays_what_it_is():
    prior = gpytorch.priors.GammaPrior(3.0, 6.0)
    theirs = gpytorch.kernels.RBFKernel(lengthscale_prior=prior)
    kept = as_kernel(theirs, torch.ones(1))
    assert type(kept) is gpytorch.kernels.RBFKernel
    assert kept.lengthscale.dtype == torch.float64
    assert theirs.lengthscale.dtype == torch.float32


def test_a_start_for_standardised_data_is_told_in_the_users_units():
    kernel = 2.0 * Matern(lengthscale=[1.0, 1.0]) + Periodic() * Linear() + White(0.1)
    scaled = rescaled_start(kernel, torch.tensor([3.0, 10.0]).double(), 2.0)
    assert repr(scaled.kernels[0]) == "8.0 * Matern(nu=2.5, lengthscale=[3.0, 10.0])"
    assert repr(scaled.kernels[1]).startswith("4.0 * Periodic(period=5.47")
    assert not scaled.kernels[1].raw_outputscale.requires_grad
    assert repr(scaled.kernels[2]) == "White(noise=0.4)"
    assert repr(kernel.kernels[2]) == "White(noise=0.1)"


def test_what_the_user_fixed_is_not_rescaled():
    kernel = 2.0 * RBF(0.3)
    kernel.base_kernel.raw_lengthscale.requires_grad = False
    scaled = rescaled_start(kernel, torch.tensor([10.0]).double(), 2.0)
    assert repr(scaled) == "8.0 * RBF(lengthscale=0.3)"


def test_noise_is_learned_or_a_variance_or_one_per_row():
    kept = torch.tensor([True, False, True])
    assert read_noise("learn", 3, kept) is None
    assert read_noise(0.1, 3, kept).item() == 0.1
    assert read_noise([0.1, 0.2, 0.3], 3, kept).tolist() == [0.1, 0.3]
    for bad in ("estimate", -0.1, [0.1, 0.2], float("nan")):
        with pytest.raises(ArgumentError, match="noise: got"):
            read_noise(bad, 3, kept)


def test_choices_dtypes_and_devices_are_checked():
    assert as_dtype("float32") is as_dtype(np.float32) is torch.float32
    for bad in ("half", np.int64):
        with pytest.raises(ArgumentError, match="dtype: got"):
            as_dtype(bad)
    with pytest.raises(ArgumentError, match="device: got 'gpu'"):
        as_device("gpu")
    with pytest.raises(ArgumentError, match="optimizer: got 'adam'; give \"lbfgs\" or None"):
        check_choice("optimizer", "adam", ["lbfgs", None])


def test_kernels_that_cannot_take_the_columns_or_are_many_are_refused():
    scale = torch.ones(2, dtype=torch.float64)
    with pytest.raises(ArgumentError, match="active_dims: got"):
        as_kernel(RBF(active_dims=[5]), scale)
    with pytest.raises(ArgumentError, match="kernel: got one with a batch"):
        as_kernel(RBF(torch.ones(2, 1, 2)), scale)


@pytest.mark.parametrize("factor", [1e200, 1e-200])
def test_numbers_whose_squares_overflow_are_refused(factor):
    for x, y, name in ((factor * X, Y, "X"), (X, factor * Y, "y")):
        with pytest.raises(ArgumentError, match=f"{name}: got values up to"):
            Scales.of(read(x, y), normalize_x=True, normalize_y=True)
