"""Products along one axis against einsum."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from solvers.tensors import along, along_all, evaluate_at


@given(shape=st.lists(st.integers(1, 5), min_size=1, max_size=4), seed=st.integers(0, 2**16))
def test_along_every_axis_equals_tensordot(shape, seed):
    rng = np.random.default_rng(seed)
    tensor = rng.normal(size=shape)
    for axis, n in enumerate(shape):
        matrix = rng.normal(size=(3, n))
        expected = np.moveaxis(np.tensordot(matrix, tensor, (1, axis)), 0, axis)
        np.testing.assert_allclose(along(matrix, tensor, axis), expected, atol=1e-12)


def test_what_is_beyond_the_matrices_is_a_batch():
    rng = np.random.default_rng(0)
    tensor, a, b = rng.normal(size=(3, 4, 2)), rng.normal(size=(5, 3)), rng.normal(size=(6, 4))
    expected = np.einsum("ai,bj,ijk->abk", a, b, tensor)
    np.testing.assert_allclose(along_all([a, b], tensor), expected, atol=1e-12)


@pytest.mark.parametrize("d", [1, 2, 3])
def test_evaluation_at_points_equals_einsum(d):
    rng = np.random.default_rng(d)
    tensor = rng.normal(size=(3, 4, 5)[:d])
    rows = [rng.normal(size=(7, n)) for n in tensor.shape]
    letters = "ijk"[:d]
    terms = ",".join(f"p{letter}" for letter in letters)
    expected = np.einsum(f"{terms},{letters}->p", *rows, tensor)
    np.testing.assert_allclose(evaluate_at(rows, tensor), expected, atol=1e-12)
