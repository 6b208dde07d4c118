import numpy as np
import pytest

from kernelgp.vecchia.adjoints import column_slopes, incomplete_slopes
from kernelgp.vecchia.blocks import GAUSSIAN, MATERN32, RATIONAL_QUADRATIC
from kernelgp.vecchia.neighbors import nearest_previous
from kernelgp.vecchia.ordering import maximin_order
from kernelgp.vecchia.passes import fill_columns
from kernelgp.vecchia.sparse import by_rows, incomplete_cholesky


def columns(x, near, kind, lengthscale, alpha, jitter=1e-3):
    n = len(x)
    values = np.empty((n, near.shape[1] + 1))
    scaled = np.ascontiguousarray(x / lengthscale)
    fill_columns(scaled, scaled, np.ones(n), np.ones(n), near, kind, alpha, jitter, 0, n, values)
    return values


def ordered(n, m, d=2, seed=0):
    x = np.random.default_rng(seed).uniform(size=(n, d))
    x = x[maximin_order(x)[0]]
    return x, nearest_previous(x, m)


@pytest.mark.parametrize("kind", [MATERN32, GAUSSIAN, RATIONAL_QUADRATIC])
def test_slopes_by_lengthscales_are_those_of_differences(kind):
    x, near = ordered(45, 8, d=3)
    rng = np.random.default_rng(1)
    slopes = rng.normal(size=(45, 9)) * np.column_stack([near >= 0, np.ones(45)])
    lengthscale, alpha = np.array([0.4, 0.7, 0.5]), 1.3
    scaled, ones = np.ascontiguousarray(x / lengthscale), np.ones(45)
    arguments = scaled, scaled, ones, ones, near, kind, alpha, 1e-3
    # In two parts, neither a multiple of the lanes.
    found = sum(column_slopes(*arguments, *part, slopes) for part in ((0, 19), (19, 45)))

    def value(logs):
        return np.sum(slopes * columns(x, near, kind, np.exp(logs[:3]), np.exp(logs[3])))

    at = np.log([*lengthscale, alpha])
    for k in range(4 if kind == RATIONAL_QUADRATIC else 3):
        h = 1e-6 * np.eye(4)[k]
        expected = (value(at + h) - value(at - h)) / 2e-6
        np.testing.assert_allclose(found[k], expected, rtol=1e-6, atol=1e-6)


def test_slopes_of_the_incomplete_factor_are_those_of_differences():
    x, near = ordered(40, 5)
    rng = np.random.default_rng(2)
    values = columns(x, near, MATERN32, 0.4, 1.0)
    weights, seeds = rng.uniform(0, 5, 40), rng.normal(size=40)
    rows = by_rows(near)

    def value(values, weights):
        out = np.empty_like(values)
        assert incomplete_cholesky(near, values, weights, *rows, out) == 0
        return seeds @ np.log(out[:, -1]), out

    by_values, by_weights = np.empty_like(values), np.empty(40)
    factor = value(values, weights)[1]
    incomplete_slopes(near, values, factor, *rows, seeds, by_values, by_weights)
    for _ in range(3):
        du = rng.normal(size=values.shape) * np.column_stack([near >= 0, np.ones(40)])
        dw = rng.normal(size=40)
        h = 1e-6
        up, down = (value(values + s * du, weights + s * dw)[0] for s in (h, -h))
        expected = np.sum(by_values * du) + by_weights @ dw
        np.testing.assert_allclose(expected, (up - down) / (2 * h), rtol=1e-5)


def test_on_a_full_pattern_slopes_by_weights_are_the_inverse():
    x, near = ordered(30, 29)
    values = columns(x, near, MATERN32, 0.4, 1.0)
    weights = np.random.default_rng(0).uniform(0, 5, 30)
    rows, factor = by_rows(near), np.empty_like(values)
    incomplete_cholesky(near, values, weights, *rows, factor)
    by_values, variances = np.empty_like(values), np.empty(30)
    incomplete_slopes(near, values, factor, *rows, np.full(30, 2.0), by_values, variances)
    U = np.zeros((30, 30))
    for j in range(30):
        there = near[j] >= 0
        U[near[j][there], j] = values[j, :-1][there]
        U[j, j] = values[j, -1]
    exact = np.linalg.inv(U @ U.T + np.diag(weights)).diagonal()
    np.testing.assert_allclose(variances, exact, rtol=1e-9)
