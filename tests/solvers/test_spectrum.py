"""Frequencies found in signals whose frequencies are known."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from solvers.spectrum import characteristic_frequencies, merge_frequencies, peaks


@given(cycles=st.floats(5.0, 85.0), phase=st.floats(0.0, 6.0), length=st.sampled_from([1e-3, 7.0]))
def test_a_tone_is_found_to_a_tenth_of_a_cycle(cycles, phase, length):
    s = np.linspace(0, 1, 200)
    signal = np.sin(2 * np.pi * cycles * s + phase)[None]
    found = [frequency * length for _, frequency in peaks([signal], length, floor=1e-13)]
    assert len(found) == 1
    assert found[0] == pytest.approx(cycles, abs=0.1)


def test_a_weak_tone_beside_a_strong_one_is_found():
    s = np.linspace(0, 1, 400)
    signal = np.sin(300 * s) + 1e-5 * np.sin(700 * s + 1)
    found = peaks([signal[None]], 1.0, floor=1e-13)
    assert [round(2 * np.pi * f / 10) for _, f in found] == [30, 70]
    assert found[1][0] == pytest.approx(1e-10, rel=0.1)


def test_a_boundary_value_is_not_drowned_by_a_large_source():
    s = np.linspace(0, 1, 200)
    source, trace = 1e9 * np.exp(s)[None], 1e-9 * np.sin(200 * s)[None]
    [(power, frequency)] = peaks([source, trace], 1.0, floor=1e-9)
    assert power == 1.0
    assert 2 * np.pi * frequency == pytest.approx(200, abs=1)


@pytest.mark.parametrize("signal", [np.zeros((1, 50)), np.ones((3, 50)), np.arange(50.0)[None]])
def test_signals_without_waves_have_no_peaks(signal):
    assert peaks([signal], 1.0, floor=1e-13) == []


def test_a_frequency_too_near_to_a_stronger_one_is_dropped():
    assert merge_frequencies([20.0, 20.9, 40.0, 19.2, 2.0], 1.0, limit=9) == [20.0, 40.0]
    assert merge_frequencies([20.0, 40.0, 60.0], 1.0, known=[41.0], limit=2) == [41.0, 20.0]


def test_homogeneous_equations_show_their_own_frequencies():
    omega = 40.0
    assert characteristic_frequencies(np.array([omega**2, 0, 1]), 3.0) == pytest.approx(
        [omega / 2 / np.pi]
    )
    assert characteristic_frequencies(np.array([-(omega**2), 0, 1]), 3.0) == []
    assert characteristic_frequencies(np.array([1.0]), 3.0) == []
    assert characteristic_frequencies(np.array([0.0, 0.0, 1.0]), 3.0) == []
    # u_t + 200 u_x = 0 with exp(i x): along t it is exp(-200 i t).
    assert characteristic_frequencies(np.array([200j, 1]), 1.0) == pytest.approx([100 / np.pi])
