import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kernelgp.errors import ArgumentError
from kernelgp.vecchia import (
    maximin_order,
    nearest,
    nearest_in_balls,
    nearest_previous,
    reduced_ancestors,
)
from kernelgp.vecchia import neighbors as module


def brute_previous(x, m):
    distances = np.linalg.norm(x[:, None] - x, axis=-1)
    out = np.full((len(x), m), -1)
    for i in range(1, len(x)):
        near = np.argsort(distances[i, :i], kind="stable")[:m]
        out[i, : len(near)] = near
    return out


@settings(max_examples=30, deadline=None)
@given(n=st.integers(1, 200), d=st.integers(1, 7), m=st.integers(1, 40), seed=st.integers(0, 99))
def test_pairs_and_trees_find_what_all_distances_say(n, d, m, seed):
    x = np.random.default_rng(seed).normal(size=(n, d))
    expected = brute_previous(x, m)
    np.testing.assert_array_equal(nearest_previous(x, m), expected)


def test_trees_on_growing_prefixes_give_the_same_lists():
    x = np.random.default_rng(1).uniform(size=(5000, 3))
    np.testing.assert_array_equal(module._by_trees(x, 7), nearest_previous(x, 7))


@settings(max_examples=20, deadline=None)
@given(n=st.integers(1, 100), q=st.integers(1, 30), m=st.integers(1, 120), seed=st.integers(0, 99))
def test_nearest_of_all_are_those_of_all_distances(n, q, m, seed):
    rng = np.random.default_rng(seed)
    x, queries = rng.normal(size=(n, 2)), rng.normal(size=(q, 2))
    distances = np.linalg.norm(queries[:, None] - x, axis=-1)
    expected = np.argsort(distances, axis=1, kind="stable")[:, : min(m, n)]
    np.testing.assert_array_equal(nearest(x, queries, m), expected)


@settings(max_examples=20, deadline=None)
@given(n=st.integers(2, 120), d=st.integers(1, 3), rho=st.floats(0.5, 4), seed=st.integers(0, 99))
def test_balls_and_ancestors_are_what_their_definitions_say(n, d, rho, seed):
    x = np.random.default_rng(seed).uniform(size=(n, d))
    first = max(1, 2 * n // 3)
    order, lengths = maximin_order(x, first)
    x = x[order]
    distances = np.linalg.norm(x[:, None] - x, axis=-1)
    before = np.tri(n, k=-1, dtype=bool)
    for function, radii in (
        (nearest_in_balls, rho * lengths[:, None]),
        (reduced_ancestors, rho * lengths[None, :]),
    ):
        expected = before & (distances <= radii * (1 + 1e-12))
        found = function(x, lengths, rho)
        for j in range(n):
            members = found[j][found[j] >= 0]
            assert set(members) == set(np.flatnonzero(expected[j]))
            assert (np.diff(distances[j, members]) >= -1e-15).all()


def test_bad_counts_and_shapes_are_refused():
    x = np.ones((4, 2))
    for m in (0, 2.5, True):
        with pytest.raises(ArgumentError, match="m: got"):
            nearest_previous(x, m)
    with pytest.raises(ArgumentError, match="queries: got 3 columns; give 2"):
        nearest(x, np.ones((1, 3)), 2)
    with pytest.raises(ArgumentError, match="distances: got shape"):
        nearest_in_balls(x, [1.0])
    with pytest.raises(ArgumentError, match="rho: got -1"):
        reduced_ancestors(x, np.ones(4), rho=-1)
