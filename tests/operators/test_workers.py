"""The pool of workers: single-threaded inside, and nothing changed outside."""

import threading

import pytest
import torch

from kernelgp.operators.backends.workers import run_alone, run_workers

CPU = torch.device("cpu")


@pytest.fixture(params=[1, 2, 3])
def threads(request):
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(1)


def test_workers_are_single_threaded_and_as_many_as_threads(threads):
    assert run_workers(lambda stop: torch.get_num_threads(), CPU) == [1] * threads


def test_the_callers_setting_and_that_of_new_threads_stay(threads):
    run_workers(lambda stop: None, CPU)
    assert torch.get_num_threads() == threads
    found = []
    other = threading.Thread(target=lambda: found.append(torch.get_num_threads()))
    other.start()
    other.join()
    assert found == [threads]


def test_other_devices_get_one_worker(threads):
    assert run_workers(lambda stop: None, torch.device("meta")) == [None]


def test_an_error_stops_the_others():
    torch.set_num_threads(2)
    first = threading.Lock()

    def work(stop):
        if first.acquire(blocking=False):
            raise ValueError("a bug")
        assert stop.wait(timeout=30)

    try:
        with pytest.raises(ValueError, match="a bug"):
            run_workers(work, CPU)
    finally:
        torch.set_num_threads(1)


def test_workers_may_ask_for_workers():
    torch.set_num_threads(2)
    try:
        nested = run_workers(lambda stop: run_workers(lambda inner: 1, CPU), CPU)
    finally:
        torch.set_num_threads(1)
    assert nested == [[1], [1]]


def test_alone_is_one_thread_and_keeps_the_state_of_autograd(threads):
    def work():
        return torch.get_num_threads(), torch.is_grad_enabled()

    assert run_alone(work, CPU) == (1, True)
    with torch.no_grad():
        assert run_alone(work, CPU) == (1, False)
