import time

import numpy as np
import pytest

from experiments.measure import alternate, alternate_outputs, peak_memory


def make_filler(mib):
    return lambda: float(np.ones(mib * 2**17).sum())


def test_functions_are_called_in_turn_after_a_warm_up():
    order = []
    alternate([lambda: order.append("a"), lambda: order.append("b")], repeats=2)
    assert "".join(order) == "ababab"


def test_one_repeat_is_one_call():
    order = []
    (measured,) = alternate_outputs([lambda: order.append("a")], 1)
    assert (len(order), len(measured.times)) == (1, 1)


def test_seconds_are_the_median(monkeypatch):
    ticks = iter([0, 9, 0, 1, 0, 7, 0, 2])
    monkeypatch.setattr(time, "perf_counter", lambda: next(ticks))
    assert alternate([lambda: None], repeats=3) == [2]


def test_the_output_is_the_last_calls():
    calls = iter(range(10))
    assert alternate_outputs([lambda: next(calls)], 3)[0].output == 3


def test_peak_memory_is_what_the_call_held_at_most():
    assert peak_memory(make_filler, 128) == pytest.approx(128, abs=24)


def test_memory_before_the_call_does_not_count():
    held = np.ones(2**23)  # 64 MiB
    (measured,) = alternate_outputs([make_filler(128)], 1)
    # The kernel may take or give pages of libraries meanwhile, but not half of what is held.
    assert measured.peak_mib == pytest.approx(128, abs=24)
    assert held.nbytes == 2**26
