import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kernelgp.errors import ArgumentError, ArgumentTypeError
from kernelgp.vecchia import maximin_order


def check_maximin(x, order, distances, first):
    """Every point is the farthest of its class from those before it, by all distances."""
    nearest = np.full(len(x), np.inf)
    for k, (i, distance) in enumerate(zip(order, distances, strict=True)):
        if k:
            todo = order[k:first] if k < first else order[k:]
            assert distance == pytest.approx(nearest[i], rel=1e-12)
            assert nearest[i] >= nearest[todo].max() * (1 - 1e-12)
        nearest = np.minimum(nearest, np.linalg.norm(x - x[i], axis=1))


@settings(max_examples=30, deadline=None)
@given(n=st.integers(1, 300), d=st.integers(1, 6), seed=st.integers(0, 99), part=st.floats(0.1, 1))
def test_every_point_is_the_farthest_that_is_left(n, d, seed, part):
    x = np.random.default_rng(seed).normal(size=(n, d))
    first = max(1, int(part * n))
    order, distances = maximin_order(x, None if first == n else first)
    assert sorted(order) == list(range(n))
    assert set(order[:first]) == set(range(first))
    check_maximin(x, order, distances, first)


def test_grids_and_repeated_points_are_ordered_too():
    grid = np.stack(np.meshgrid(np.arange(9.0), np.arange(9.0)), axis=-1).reshape(-1, 2)
    x = np.concatenate([grid, grid[:20]])
    order, distances = maximin_order(x)
    check_maximin(x, order, distances, len(x))
    assert (distances[-20:] == 0).all()


def test_it_begins_nearest_to_the_mean_and_one_point_is_alone():
    x = np.random.default_rng(0).uniform(size=(200, 2))
    order, distances = maximin_order(x)
    assert order[0] == np.argmin(np.linalg.norm(x - x.mean(axis=0), axis=1))
    assert distances[0] == distances[1]
    order, distances = maximin_order(x[:1])
    assert (order, distances) == ([0], [np.inf])


@pytest.mark.parametrize("bad", [[1.0, 2.0], np.ones((0, 2)), [[np.nan, 1.0]], [[1.0, np.inf]]])
def test_points_that_are_none_are_refused(bad):
    with pytest.raises(ArgumentError, match="X: got"):
        maximin_order(bad)


def test_text_and_counts_out_of_range_are_refused():
    with pytest.raises(ArgumentTypeError, match="X: got dtype <U1"):
        maximin_order([["a"]])
    for bad in (0, 3, 1.5, True):
        with pytest.raises(ArgumentError, match="n_first"):
            maximin_order([[0.0], [1.0]], n_first=bad)
