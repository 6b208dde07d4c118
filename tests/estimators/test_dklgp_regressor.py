"""`DKLGPRegressor` against exact regression, and its own promises."""

import pickle

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process import kernels as sk
from sklearn.utils.estimator_checks import parametrize_with_checks

from kernelgp import DKLGPRegressor, GPRegressor
from kernelgp.errors import ArgumentError
from kernelgp.kernels import RBF, Linear, Matern


@parametrize_with_checks([DKLGPRegressor(random_state=0)])
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.SkipTestWarning")
def test_scikit_learn_conventions(estimator, check):
    check(estimator)


def problem(n=300, d=2, seed=0, noise=0.1):
    rng = np.random.default_rng(seed)
    X = rng.uniform(size=(n, d))
    y = np.sin(6 * X[:, 0]) + X[:, -1] + noise * rng.normal(size=n)
    return X, y, rng.uniform(size=(15, d))


@pytest.mark.parametrize(
    "kernel",
    [
        2.0 * sk.Matern([0.3, 0.7], nu=1.5),
        2.0 * sk.RationalQuadratic(0.5, 0.8),
        1.0 * sk.RBF(0.4) + sk.ConstantKernel(0.5) * sk.DotProduct(0.3),
    ],
    ids=str,
)
def test_with_all_rows_as_neighbors_it_is_exact(kernel):
    X, y, new = problem(60)
    peer = GaussianProcessRegressor(kernel, alpha=0.02, optimizer=None).fit(X, y)
    ours = DKLGPRegressor(kernel, noise=0.02, optimizer=None, n_neighbors=60).fit(X, y)
    for options in ({"return_std": True}, {"return_cov": True}):
        for a, b in zip(
            peer.predict(new, **options), ours.predict(new, latent=True, **options), strict=True
        ):
            np.testing.assert_allclose(b, a, rtol=1e-6, atol=1e-6)
    assert ours.log_marginal_likelihood_value_ == pytest.approx(
        peer.log_marginal_likelihood_value_, rel=1e-6
    )


@pytest.mark.parametrize("kernel", [None, Matern(nu=1.5) + Linear()])
def test_it_finds_what_an_exact_fit_finds(kernel):
    X, y, new = problem(250, d=1)
    exact = GPRegressor(kernel or 1.0 * Matern(nu=1.5, lengthscale=[0.5]), random_state=0).fit(X, y)
    ours = DKLGPRegressor(kernel, random_state=0).fit(X, y)
    mean, std = exact.predict(new, return_std=True, latent=True)
    found, deviation = ours.predict(new, return_std=True, latent=True)
    assert np.abs(found - mean).max() < 0.3 * std.max()
    np.testing.assert_allclose(deviation, std, rtol=0.3)
    assert ours.noise_ == pytest.approx(exact.noise_, rel=0.1)
    truth = exact.log_marginal_likelihood_value_
    assert ours.log_marginal_likelihood_value_ == pytest.approx(truth, abs=3)


@pytest.mark.parametrize("scale", [1e-20, 1e20])
@pytest.mark.parametrize("kernel", [None, RBF([1.0, 1.0]) + Matern(0.5, [1.0, 1.0])])
def test_units_change_nothing_but_units(scale, kernel):
    X, y, new = problem()
    one = DKLGPRegressor(kernel, random_state=0).fit(X, y)
    stretch = np.array([1e3, 1e-4])
    other = DKLGPRegressor(kernel, random_state=0).fit(X * stretch, scale * y)
    for a, b in zip(
        one.predict(new, return_std=True),
        other.predict(new * stretch, return_std=True),
        strict=True,
    ):
        np.testing.assert_allclose(b / scale, a, rtol=2e-2, atol=1e-2)
    expected = one.log_marginal_likelihood_value_ - len(y) * np.log(scale)
    assert other.log_marginal_likelihood_value_ == pytest.approx(expected, abs=0.5)


def test_joint_and_single_predictions_agree_and_draws_have_their_moments():
    X, y, new = problem(1000)
    new = np.concatenate([new, new[:2]])  # two points twice
    gp = DKLGPRegressor(random_state=0).fit(X, y)
    mean, std = gp.predict(new, return_std=True, latent=True)
    joint, covariance = gp.predict(new, return_cov=True, latent=True)
    assert covariance[0, 15] == pytest.approx(covariance[0, 0], rel=1e-6)
    exact = GPRegressor(gp.kernel_, noise=gp.noise_, optimizer=None).fit(X, y - gp.mean_[0])
    truth, peer = exact.predict(new, return_cov=True, latent=True)
    truth, deviation = truth + gp.mean_[0], np.sqrt(np.diag(peer))
    assert np.abs((mean - truth) / deviation).max() < 0.6
    # Points that know of each other hear of more of the rows.
    assert np.abs((joint - truth) / deviation).max() < 0.25
    np.testing.assert_allclose(std, deviation, rtol=0.07)
    np.testing.assert_allclose(np.sqrt(np.diag(covariance)), deviation, rtol=0.07)
    np.testing.assert_allclose(covariance, peer, atol=0.1 * peer.max())
    draws = gp.sample_y(new, 4000, random_state=1)
    np.testing.assert_allclose(draws.mean(axis=1), joint, atol=5 * std.max() / 4000**0.5)
    np.testing.assert_allclose(np.cov(draws), covariance, atol=0.1 * covariance.max())
    noisy = gp.sample_y(new, 4000, latent=False)
    np.testing.assert_allclose(noisy.var(axis=1), std**2 + gp.noise_, rtol=0.15)
    _, quantiles = gp.predict(new, return_quantiles=[0.025, 0.975])
    _, response = gp.predict(new, return_std=True)
    np.testing.assert_allclose(np.diff(quantiles)[:, 0], 2 * 1.959964 * response, rtol=1e-6)


def test_repeated_rows_are_merged_and_count_as_often_as_they_stand():
    X, y, new = problem(120)
    counts = np.random.default_rng(0).integers(1, 4, 120)
    rows = np.repeat(np.arange(120), counts)
    noisy = y[rows] + 0.2 * np.random.default_rng(1).normal(size=len(rows))
    peer = GaussianProcessRegressor(2.0 * sk.Matern(0.5, nu=1.5), alpha=0.05, optimizer=None)
    peer.fit(X[rows], noisy)
    ours = DKLGPRegressor(peer.kernel, noise=0.05, optimizer=None, n_neighbors=120)
    ours.fit(X[rows], noisy)
    assert ours.report_.n_merged == len(rows) - 120
    np.testing.assert_allclose(ours.predict(new), peer.predict(new), atol=1e-6)
    assert ours.log_marginal_likelihood_value_ == pytest.approx(
        peer.log_marginal_likelihood_value_, rel=1e-6
    )
    learned = DKLGPRegressor(random_state=0).fit(X[rows], noisy)
    assert learned.noise_ == pytest.approx(0.05, rel=0.3)


def test_one_variance_per_row_and_weights():
    X, y, new = problem(80)
    variances = np.linspace(0.01, 0.5, 80)
    kernel = 2.0 * sk.Matern(0.4, nu=2.5)
    peer = GaussianProcessRegressor(kernel, alpha=variances, optimizer=None).fit(X, y)
    ours = DKLGPRegressor(kernel, noise=variances, optimizer=None, n_neighbors=80).fit(X, y)
    found = ours.predict(new, return_std=True, latent=True)
    np.testing.assert_allclose(found, peer.predict(new, return_std=True), atol=1e-6)
    assert ours.log_marginal_likelihood_value_ == pytest.approx(
        peer.log_marginal_likelihood_value_, rel=1e-6
    )
    weights = 1 / variances
    weighted = DKLGPRegressor(kernel, noise=1.0, optimizer=None).fit(X, y, sample_weight=weights)
    np.testing.assert_allclose(weighted.predict(new), ours.predict(new), atol=1e-6)
    fitted = DKLGPRegressor(noise=variances, random_state=0).fit(X, y)
    np.testing.assert_array_equal(fitted.noise_, variances)


def test_a_plane_is_found_and_goes_on_outside():
    X, y, _ = problem(400)
    y = y + 100 + 50 * X[:, 1]
    gp = DKLGPRegressor(mean="linear", random_state=0).fit(X, y)
    assert gp.mean_.shape == (3,)
    far = gp.predict([[0.5, 6.0], [0.5, 5.0]])
    assert far[0] - far[1] == pytest.approx(51, rel=0.1)
    zero = DKLGPRegressor(mean="zero", normalize_y=False, random_state=0).fit(X, y)
    assert zero.mean_.shape == (0,)


def test_missing_targets_are_left_out():
    X, y, new = problem()
    gappy = np.where(np.arange(300) % 3 == 0, np.nan, y)
    kernel = 2.0 * RBF(0.4)
    one = DKLGPRegressor(kernel, noise=0.01, optimizer=None).fit(X, gappy)
    rows = ~np.isnan(gappy)
    other = DKLGPRegressor(kernel, noise=0.01, optimizer=None).fit(X[rows], y[rows])
    assert one.report_.n_missing == 100
    np.testing.assert_allclose(one.predict(new), other.predict(new), atol=1e-9)
    with pytest.raises(ArgumentError, match="y: got NaN only; give some targets"):
        DKLGPRegressor().fit(X, np.full(300, np.nan))


def sphere(n, seed=0):
    rng = np.random.default_rng(seed)
    place = rng.normal(size=(n, 3))
    place /= np.linalg.norm(place, axis=1, keepdims=True)
    degrees = np.degrees(np.arcsin(place[:, 2])), np.degrees(np.arctan2(place[:, 1], place[:, 0]))
    return np.column_stack(degrees), place


def test_on_a_sphere_neighbors_are_those_across_the_date_line_and_the_poles():
    X, place = sphere(1500)
    y = np.sin(3 * place[:, 0]) + place[:, 2]
    gp = DKLGPRegressor(coordinates="spherical", random_state=0).fit(X, y)
    scales = gp.kernel_.base_kernel.lengthscale.detach().numpy()[0]
    np.testing.assert_allclose(scales, scales[0])
    here = gp.predict([[10.0, 180.0], [90.0, 0.0]])
    np.testing.assert_allclose(here, gp.predict([[10.0, -180.0], [90.0, 77.0]]), rtol=1e-6)
    assert here == pytest.approx([np.sin(-3 * np.cos(np.radians(10))) + np.sin(np.radians(10)), 1],
                                 abs=0.01)  # fmt: skip
    timed = DKLGPRegressor(coordinates="spherical", random_state=0)
    timed.fit(np.column_stack([X, X[:, 0] / 100]), y)
    assert len(set(timed.kernel_.base_kernel.lengthscale.detach().numpy()[0])) == 2


def test_space_and_time_have_a_lengthscale_each():
    rng = np.random.default_rng(0)
    X = rng.uniform(size=(600, 3)) * [1, 1, 100]
    y = np.sin(5 * X[:, 0]) * np.cos(5 * X[:, 1]) + np.sin(X[:, 2] / 20)
    for kernel in (None, Matern(nu=2.5), 2.0 * Matern(nu=1.5, lengthscale=[0.3, 0.5, 9.0])):
        gp = DKLGPRegressor(kernel, coordinates="space-time", random_state=0).fit(X, y)
        space, other, time = gp.kernel_.base_kernel.lengthscale.detach().numpy()[0]
        assert space == other
        assert time > 20 * space


def test_a_kernel_may_look_at_some_columns_only():
    X, y, new = problem(300, d=3)
    gp = DKLGPRegressor(Matern(nu=1.5, active_dims=[0, 2]), random_state=0).fit(X, y)
    moved = new + np.array([0, 7.0, 0])
    np.testing.assert_allclose(gp.predict(moved), gp.predict(new))
    other = DKLGPRegressor(Matern(nu=1.5), random_state=0).fit(X[:, [0, 2]], y)
    np.testing.assert_allclose(gp.predict(new), other.predict(new[:, [0, 2]]), rtol=1e-6)


def test_files_and_pickles_predict_the_same(tmp_path):
    X, y, new = problem()
    for kernel in (None, RBF() + Linear()):
        gp = DKLGPRegressor(kernel, coordinates="space-time", random_state=0).fit(X, y)
        gp.save(tmp_path / "m.gp")
        for again in (DKLGPRegressor.load(tmp_path / "m.gp"), pickle.loads(pickle.dumps(gp))):
            for options in ({"return_std": True}, {"return_cov": True}):
                for a, b in zip(
                    again.predict(new, **options), gp.predict(new, **options), strict=True
                ):
                    np.testing.assert_array_equal(a, b)
            assert str(again.report_) == str(gp.report_)


def test_frames_and_tensors_come_back_as_what_they_were():
    X, y, new = problem()
    frame = pd.DataFrame(X, columns=["a", "b"])
    gp = DKLGPRegressor(random_state=0).fit(frame, pd.Series(y))
    assert list(gp.feature_names_in_) == ["a", "b"]
    tensors = (torch.tensor(a, dtype=torch.float32) for a in (X, y))
    other = DKLGPRegressor(random_state=0).fit(*tensors)
    mean, std = other.predict(torch.tensor(new, dtype=torch.float32), return_std=True)
    assert mean.dtype == std.dtype == torch.float32
    np.testing.assert_allclose(mean.numpy(), gp.predict(pd.DataFrame(new, columns=["a", "b"])),
                               atol=1e-2)  # fmt: skip


FIFTY = np.random.default_rng(0).uniform(size=(200, 50))[:, :3].sum(axis=1)


@pytest.mark.parametrize(
    ("X", "y"),
    [
        (np.ones((40, 2)), np.random.default_rng(0).normal(size=40)),
        (np.random.default_rng(0).uniform(size=(40, 2)), np.ones(40)),
        (np.linspace(0, 1, 5)[:, None], np.arange(5.0)),
        (np.array([[1.0], [2.0]]), np.array([0.0, 1.0])),
        (np.random.default_rng(0).uniform(size=(200, 50)), FIFTY),
        (np.column_stack([np.linspace(0, 1, 90), np.full(90, 3.0)]), np.linspace(0, 1, 90) ** 2),
        (np.repeat(np.random.default_rng(0).uniform(size=(60, 2)), 3, 0)
         + 1e-13 * np.random.default_rng(1).normal(size=(180, 2)),
         np.random.default_rng(1).normal(size=180)),
    ],
    ids=["one place", "constant", "n < m", "two rows", "fifty columns", "constant column", "near"],
)  # fmt: skip
def test_unkind_data_are_fitted(X, y):
    for mean in ("constant", "linear"):
        gp = DKLGPRegressor(mean=mean, random_state=0).fit(X, y)
        found, std = gp.predict(X, return_std=True)
        assert np.isfinite(found).all()
        assert (std > 0).all()
        assert np.isfinite(gp.predict(X[:5], return_cov=True)[1]).all()
        assert np.isfinite(gp.log_marginal_likelihood_value_)


@pytest.mark.parametrize("kernel", [RBF(5.0), RBF(5.0) + Linear()])
def test_without_noise_it_goes_through_the_rows_even_where_their_covariance_is_singular(kernel):
    X = np.linspace(0, 1, 400)[:, None]
    gp = DKLGPRegressor(kernel, noise=0.0, optimizer=None).fit(X, X[:, 0])
    found, std = gp.predict([[0.5], [0.50101]], return_std=True)
    np.testing.assert_allclose(found, [0.5, 0.50101], atol=1e-4)
    assert (std < 1e-3).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_neighbors": 0}, "n_neighbors: got 0; give a whole number from 1"),
        ({"n_neighbors_predict": 1.5}, "n_neighbors_predict: got 1.5"),
        ({"mean": "cubic"}, 'mean: got \'cubic\'; give "constant", "zero" or "linear"'),
        ({"coordinates": "polar"}, "coordinates: got 'polar'"),
        ({"coordinates": "spherical"}, "X: got latitudes from .* give degrees from -90 to 90"),
        ({"optimizer": None}, 'noise: got "learn" without an optimizer'),
        ({"noise": -1.0}, "noise: got"),
        ({"noise": np.ones(3)}, r"noise: got shape \(3,\)"),
        ({"kernel": "rbf"}, "kernel: got str"),
        ({"dtype": "int32"}, "dtype: got 'int32'"),
    ],
)
def test_arguments_that_cannot_be_used_are_refused(options, message):
    X, y, _ = problem()
    with pytest.raises(ArgumentError, match=message):
        DKLGPRegressor(**options).fit(1000 * X, y)


def test_questions_that_cannot_be_answered_are_refused():
    X, y, new = problem()
    gp = DKLGPRegressor(random_state=0).fit(X, y)
    with pytest.raises(ArgumentError, match="one of std, cov and quantiles"):
        gp.predict(new, return_std=True, return_cov=True)
    with pytest.raises(ArgumentError, match="return_quantiles: got"):
        gp.predict(new, return_quantiles=[1.5])
    with pytest.raises(ArgumentError, match="n_samples: got 0"):
        gp.sample_y(new, 0)
    with pytest.raises(ArgumentError, match="return_cov: got True for 30000 rows"):
        gp.predict(np.zeros((30_000, 2)), return_cov=True)
