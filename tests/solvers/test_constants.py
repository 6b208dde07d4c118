"""Constants on an interval as standard normal numbers."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from solvers.constants import Interval


@given(st.floats(-5, 5), st.floats(-1e6, 1e6))
def test_no_step_leaves_the_interval(xi, step):
    interval = Interval(-1.0, 3.0)
    assert -1.0 < interval.value(interval.advance(xi, step)) < 3.0


def test_a_short_step_is_one_in_c():
    interval = Interval(0.1, 5.0)
    xi = interval.position(0.3)
    step = 1e-3
    moved = interval.value(interval.advance(xi, step)) - interval.value(xi)
    assert math.isclose(moved, interval.slope(xi) * step, rel_tol=1e-9)


def test_the_slope_is_that_of_the_value():
    interval, h = Interval(2.0, 7.0), 1e-6
    slope = (interval.value(0.4 + h) - interval.value(0.4 - h)) / (2 * h)
    assert math.isclose(slope, interval.slope(0.4), rel_tol=1e-8)


@pytest.mark.parametrize(("mean", "std"), [(0.0, 1.0), (-1.0, 0.4), (1.5, 1e-6)])
def test_moments_are_those_of_draws(mean, std):
    interval = Interval(0.0, 6.0)
    drawn = [interval.value(v) for v in mean + std * np.random.default_rng(0).normal(size=4000)]
    center, spread = interval.moments(mean, std)
    assert abs(np.mean(drawn) - center) < 4 * spread / math.sqrt(4000)
    assert abs(np.std(drawn) - spread) < 0.06 * spread
