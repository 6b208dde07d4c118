import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kernelgp.vecchia.blocks import MATERN32
from kernelgp.vecchia.neighbors import nearest_previous
from kernelgp.vecchia.ordering import maximin_order
from kernelgp.vecchia.passes import fill_columns
from kernelgp.vecchia.sparse import (
    by_rows,
    incomplete_cholesky,
    solve_precision,
    substitute_lower,
    substitute_upper,
)


def factor(n, d, m, lengthscale=0.3, seed=0):
    x = np.random.default_rng(seed).uniform(size=(n, d))
    x = x[maximin_order(x)[0]] / lengthscale
    near = nearest_previous(x, m)
    values = np.empty((n, near.shape[1] + 1))
    fill_columns(x, x, np.ones(n), np.ones(n), near, MATERN32, 1.0, 1e-6, 0, n, values)
    return near, values


def dense(near, values):
    n, m = near.shape
    U = np.zeros((n, n))
    for j in range(n):
        for a in range(m):
            if near[j, a] >= 0:
                U[near[j, a], j] = values[j, a]
        U[j, j] = values[j, m]
    return U


@settings(max_examples=15, deadline=None)
@given(n=st.integers(2, 60), m=st.integers(1, 12), k=st.integers(1, 3), seed=st.integers(0, 50))
def test_substitution_and_rows_are_those_of_the_dense_factor(n, m, k, seed):
    near, values = factor(n, 2, m, seed=seed)
    U = dense(near, values)
    x = np.random.default_rng(seed).normal(size=(n, k))
    upper, lower = x.copy(), x.copy()
    substitute_upper(near, values, upper)
    substitute_lower(near, values, lower)
    np.testing.assert_allclose(U @ upper, x, atol=1e-8)
    np.testing.assert_allclose(U.T @ lower, x, atol=1e-8)
    starts, places = by_rows(near)
    for i in range(n):
        columns, positions = np.divmod(places[starts[i] : starts[i + 1]], near.shape[1])
        assert set(columns) == set(np.flatnonzero(U[i])) - {i}
        assert (near[columns, positions] == i).all()


@settings(max_examples=15, deadline=None)
@given(n=st.integers(2, 60), m=st.integers(1, 10), seed=st.integers(0, 50))
def test_incomplete_cholesky_meets_the_matrix_on_its_pattern(n, m, seed):
    near, values = factor(n, 2, m, seed=seed)
    U, weights = dense(near, values), np.random.default_rng(seed).uniform(0, 9, n)
    out = np.empty_like(values)
    raised = incomplete_cholesky(near, values, weights, *by_rows(near), out)
    V = dense(near, out)
    target = U @ U.T + np.diag(weights)
    assert raised == 0
    difference = np.abs(V @ V.T - target)[U != 0]
    assert difference.max() < 1e-9 * np.abs(target).max()


def test_with_a_full_pattern_it_is_the_complete_factor():
    near, values = factor(40, 2, 39)
    U, weights = dense(near, values), np.full(40, 3.0)
    out = np.empty_like(values)
    incomplete_cholesky(near, values, weights, *by_rows(near), out)
    V = dense(near, out)
    target = U @ U.T + np.diag(weights)
    np.testing.assert_allclose(V @ V.T, target, atol=1e-10 * np.abs(target).max())


@pytest.mark.parametrize(("d", "noise"), [(2, 0.1), (2, 1.0), (5, 0.01)])
def test_conjugate_gradients_take_a_few_steps(d, noise):
    """The source's figures: 4 to 7 iterations to 1e-6 where Jacobi takes hundreds."""
    near, values = factor(3000, d, 30, lengthscale=0.3 if d == 2 else 1.0)
    weights = np.full(3000, 1 / noise)
    out = np.empty_like(values)
    assert incomplete_cholesky(near, values, weights, *by_rows(near), out) == 0
    rhs = np.random.default_rng(0).normal(size=(3000, 2))
    x = np.zeros_like(rhs)
    iterations, residual = solve_precision(near, values, weights, out, rhs, x, 1e-6, 100)
    assert iterations <= 9
    U = dense(near, values)
    left = rhs - U @ (U.T @ x) - weights[:, None] * x
    worst = (np.linalg.norm(left, axis=0) / np.linalg.norm(rhs, axis=0)).max()
    assert worst <= 1.1e-6
    np.testing.assert_allclose(worst, residual, rtol=0.05, atol=1e-9)
