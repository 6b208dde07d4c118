"""Frequencies of values at scattered points."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from solvers.scattered_spectrum import nonuniform_fft, scattered_tones


def slow_transform(x, values, sizes):
    """The sum as it is written."""
    waves = [np.exp(-2j * np.pi * np.outer(x[:, k], np.arange(-m, m + 1))) for k, m in sizes]
    letters = "abc"[: len(waves)]
    subscripts = ",".join(["j", *(f"j{c}" for c in letters)]) + "->" + letters
    return np.einsum(subscripts, values, *waves)


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 10**6), sizes=st.lists(st.integers(1, 9), min_size=1, max_size=3))
def test_the_fast_transform_is_the_sum(seed, sizes):
    rng = np.random.default_rng(seed)
    x, values = rng.uniform(size=(30, len(sizes))), rng.normal(size=30)
    exact = slow_transform(x, values, list(enumerate(sizes)))
    assert np.abs(nonuniform_fft(x, values, sizes) - exact).max() < 3e-6 * np.abs(values).sum()


@pytest.mark.parametrize("seed", range(5))
def test_a_weak_tone_is_found_below_the_noise_of_a_strong_one(seed):
    x = np.random.default_rng(seed).uniform(0, 2 * np.pi, size=(400, 1))
    values = np.sin(100 * x[:, 0]) + 1e-6 * np.cos(50 * x[:, 0])
    (found,) = scattered_tones(x, values, [(0, 2 * np.pi)], limit=8)
    assert np.allclose(np.array(found) * 2 * np.pi, [100, 50], atol=0.5)


def test_in_two_dimensions_each_axis_has_its_own():
    x = np.random.default_rng(0).uniform(size=(1500, 2))
    values = np.sin(100 * x[:, 0]) * np.cos(60 * x[:, 1])
    on_x, on_y = scattered_tones(x, values, [(0, 1), (0, 1)], limit=4)
    assert abs(on_x[0] * 2 * np.pi - 100) < 0.5
    assert abs(on_y[0] * 2 * np.pi - 60) < 0.5


def test_a_tone_is_found_in_noise():
    rng = np.random.default_rng(3)
    x = rng.uniform(0, 5, size=(500, 1))
    values = np.sin(2 * np.pi * 13 * x[:, 0]) + 0.5 * rng.normal(size=500)
    (found,) = scattered_tones(x, values, [(0, 5)], limit=8)
    assert len(found) == 1
    assert abs(found[0] - 13) < 0.05


@pytest.mark.parametrize("seed", range(8))
def test_noise_has_no_tones(seed):
    rng = np.random.default_rng(seed)
    assert scattered_tones(rng.uniform(size=(300, 1)), rng.normal(size=300), [(0, 1)], limit=8) == [
        []
    ]


@pytest.mark.parametrize("values", [np.zeros_like, np.ones_like, np.exp, lambda x: x**3])
def test_what_is_slow_has_no_tones(values):
    x = np.random.default_rng(0).uniform(size=(300, 1))
    assert scattered_tones(x, values(x[:, 0]), [(0, 1)], limit=8) == [[]]
