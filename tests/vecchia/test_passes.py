"""The compiled passes against dense algebra, where every point has all those before it."""

import numpy as np
import pytest
from scipy.spatial.distance import cdist

from kernelgp.vecchia.blocks import (
    EXPONENTIAL,
    GAUSSIAN,
    MATERN32,
    MATERN52,
    RATIONAL_QUADRATIC,
)
from kernelgp.vecchia.passes import fill_columns, sum_likelihood
from tests.vecchia.dense import covariance

KINDS = [EXPONENTIAL, MATERN32, MATERN52, GAUSSIAN, RATIONAL_QUADRATIC]


def all_before(n):
    return np.array([[j if j < i else -1 for j in range(n - 1)] for i in range(n)])


def nearest_before(x, m):
    distances = cdist(x, x)
    lists = [np.argsort(distances[i, :i], kind="stable")[:m] for i in range(len(x))]
    return np.array([np.pad(near, (0, m - len(near)), constant_values=-1) for near in lists])


def problem(n, d, seed):
    rng = np.random.default_rng(seed)
    return rng.uniform(size=(n, d)), rng.normal(size=n), np.exp(rng.normal(size=d) - 1)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("n", "d"), [(13, 1), (24, 3), (8, 2)])
def test_with_all_points_before_it_the_likelihood_is_the_exact_one(kind, n, d):
    x, y, lengthscale = problem(n, d, n)
    means = np.ones((n, 1))
    totals, *_, cross = sum_likelihood(
        x / lengthscale, np.ones(n), all_before(n), y, means, np.arange(d), kind, 1.7, 0.05, 0, n
    )
    R = covariance(kind, 1.7, x / lengthscale) + 0.05 * np.eye(n)
    np.testing.assert_allclose(totals[0], y @ np.linalg.solve(R, y), rtol=1e-11)
    np.testing.assert_allclose(totals[1], np.linalg.slogdet(R)[1] / 2, rtol=1e-11)
    whitened = np.linalg.solve(R, np.column_stack([means, y]))
    np.testing.assert_allclose(cross.reshape(1, 2), means.T @ whitened, rtol=1e-10)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("isotropic", [False, True])
def test_slopes_are_those_of_central_differences(kind, isotropic):
    """Of the squares and of the log of the pivots apart: -2B and A / 2."""
    x, y, lengthscale = problem(40, 2, 1)
    if isotropic:
        lengthscale = np.full(2, 0.4)
    near = nearest_before(x, 7)
    none = np.empty((40, 0))

    def sums(log_scales, nugget, log_alpha):
        scaled = x / np.exp(log_scales)
        arguments = (
            scaled,
            np.ones(40),
            near,
            y,
            none,
            np.zeros(2, np.int64) if isotropic else np.arange(2),
            kind,
            np.exp(log_alpha),
            nugget,
            0,
            40,
        )
        return sum_likelihood(*arguments)

    at = [np.log(lengthscale), 0.1, np.log(1.3)]
    _, A, B, *_ = sums(*at)
    h = 1e-5
    moves = [[np.eye(2)[k] * h, 0, 0] for k in range(2)]
    moves = [[np.ones(2) * h, 0, 0]] if isotropic else moves
    moves.append([0, h, 0])
    if kind == RATIONAL_QUADRATIC:
        moves.append([0, 0, h])
    assert len(A) == len(moves)
    for j, move in enumerate(moves):
        up, *_ = sums(*(a + b for a, b in zip(at, move, strict=True)))
        down, *_ = sums(*(a - b for a, b in zip(at, move, strict=True)))
        slope = (up - down) / (2 * h)
        np.testing.assert_allclose(
            [-2 * B[j], A[j] / 2], [slope[0], slope[1]], rtol=2e-6, atol=1e-7
        )


@pytest.mark.parametrize("kind", KINDS)
def test_information_is_half_the_trace_of_the_exact_model(kind):
    n, h = 18, 1e-6
    x, y, lengthscale = problem(n, 2, 5)
    *_, information, _ = sum_likelihood(
        x / lengthscale,
        np.ones(n),
        all_before(n),
        y,
        np.empty((n, 0)),
        np.arange(2),
        kind,
        1.3,
        0.2,
        0,
        n,
    )

    def dense(log_scales, nugget, log_alpha):
        scaled = x / np.exp(log_scales)
        return covariance(kind, np.exp(log_alpha), scaled) + nugget * np.eye(n)

    at = np.array([*np.log(lengthscale), 0.2, np.log(1.3)])
    P = 4 if kind == RATIONAL_QUADRATIC else 3
    slopes = []
    for j in range(P):
        move = h * np.eye(4)[j]
        up, down = at + move, at - move
        slopes.append((dense(up[:2], *up[2:]) - dense(down[:2], *down[2:])) / (2 * h))
    inverse = np.linalg.inv(dense(at[:2], *at[2:]))
    expected = [[np.trace(inverse @ a @ inverse @ b) / 2 for b in slopes] for a in slopes]
    found = information.reshape(P, P)
    np.testing.assert_allclose(np.tril(found), np.tril(expected), rtol=1e-6, atol=1e-7)


def test_ranges_add_up_to_the_whole_even_where_they_are_no_multiple_of_the_lanes():
    x, y, lengthscale = problem(53, 3, 2)
    near = nearest_before(x, 6)
    arguments = (
        x / lengthscale,
        np.ones(53),
        near,
        y,
        np.ones((53, 1)),
        np.arange(3),
        MATERN32,
        1.0,
        0.1,
    )
    whole = sum_likelihood(*arguments, 0, 53)
    parts = [sum_likelihood(*arguments, a, b) for a, b in ((0, 11), (11, 12), (12, 53))]
    for one, *others in zip(whole, *parts, strict=True):
        np.testing.assert_allclose(one, sum(others), rtol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_columns_are_the_last_ones_of_inverse_factors(kind):
    x, _, lengthscale = problem(31, 3, 3)
    near = nearest_before(x, 5)
    out = np.full((31, 6), np.nan)
    one = np.ones(31)
    fill_columns(x / lengthscale, x / lengthscale, one, one, near, kind, 0.8, 1e-3, 0, 31, out)
    for i in range(31):
        there = near[i] >= 0
        inside = x[[*near[i][there], i]] / lengthscale
        K = covariance(kind, 0.8, inside) + 1e-3 * np.eye(len(inside))
        b = np.linalg.solve(K, np.eye(len(inside))[-1])
        expected = np.zeros(6)
        expected[[*np.flatnonzero(there), 5]] = b / np.sqrt(b[-1])
        np.testing.assert_allclose(out[i], expected, rtol=1e-9, atol=1e-9)


def test_coincident_points_are_held_apart_by_the_nugget_only():
    x = np.zeros((9, 2))
    out = np.empty((9, 4))
    fill_columns(
        x, x, np.ones(9), np.ones(9), nearest_before(x, 3), EXPONENTIAL, 1.0, 0.5, 0, 9, out
    )
    K = np.ones((4, 4)) + 0.5 * np.eye(4)
    b = np.linalg.solve(K, np.eye(4)[-1])
    np.testing.assert_allclose(out[-1], b / np.sqrt(b[-1]), rtol=1e-12)
