"""GMRES for several columns against a dense solve."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from solvers.krylov import gmres_together


@given(st.integers(1, 12), st.integers(1, 4), st.integers(0, 10_000))
def test_it_solves_what_a_dense_solve_solves(n, k, seed):
    rng = np.random.default_rng(seed)
    A, b = np.eye(n) + 0.3 * rng.normal(size=(n, n)) / np.sqrt(n), rng.normal(size=(n, k))
    x, residual = gmres_together(lambda v: A @ v, b, rtol=1e-12, max_iterations=n)
    assert residual <= 1e-10
    np.testing.assert_allclose(A @ x, b, atol=1e-9)


def test_a_column_of_zeros_stays_zero_beside_others():
    A, b = np.diag([1.0, 2.0, 5.0]), np.array([[0.0, 1.0], [0.0, 1.0], [0.0, 1.0]])
    x, _ = gmres_together(lambda v: A @ v, b, rtol=1e-12, max_iterations=3)
    np.testing.assert_allclose(x, np.linalg.solve(A, b), atol=1e-12)


def test_the_residual_it_gives_is_the_true_one_where_it_ends_early():
    rng = np.random.default_rng(0)
    A, b = rng.normal(size=(30, 30)) + 6 * np.eye(30), rng.normal(size=(30, 3))
    x, residual = gmres_together(lambda v: A @ v, b, rtol=1e-14, max_iterations=8)
    true = np.linalg.norm(b - A @ x, axis=0) / np.linalg.norm(b, axis=0)
    assert 1e-10 < residual < 1
    np.testing.assert_allclose(true.max(), residual, rtol=1e-6)
