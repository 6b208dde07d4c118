"""A pool of Python threads in which torch is single-threaded.

Two threads that each run whole tiles keep going on a busy machine; torch's own threads, which
meet at a barrier after every small operation, do not: with two busy processes beside them the
pool slows by 2.1x, the barriers by 4.8x.
"""

import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import TypeVar

import torch

__all__ = ["run_alone", "run_workers"]

T = TypeVar("T")


def run_workers(work: Callable[[threading.Event], T], device: torch.device) -> list[T]:
    """Run `work` once in each worker, all at once, and return what each returned.

    There are as many workers as the caller has torch threads, and one for a device that is no
    CPU. `work` takes its share from something common, an iterator say, and stops between two
    pieces when the event given to it is set: when another worker failed, or the user
    interrupted.
    """
    stop = threading.Event()
    count = torch.get_num_threads() if device.type == "cpu" else 1
    if count == 1:
        return [work(stop)]
    futures = [_pool(count).submit(work, stop) for _ in range(count)]
    try:
        return [future.result() for future in futures]
    except BaseException:
        stop.set()
        for future in futures:
            if not future.cancel():
                future.exception()  # waits until it has stopped
        raise


def run_alone(work: Callable[[], T], device: torch.device) -> T:
    """Run `work` in one worker: small operations there pay for no barrier either."""
    count = torch.get_num_threads() if device.type == "cpu" else 1
    if count == 1:
        return work()
    gradients = torch.is_grad_enabled()

    def alone() -> T:
        # The state of autograd belongs to a thread.
        with torch.set_grad_enabled(gradients):
            return work()

    return _pool(count).submit(alone).result()


@cache
def _pool(count: int) -> ThreadPoolExecutor:
    everyone = threading.Barrier(count)

    def start() -> None:
        # A thread takes up the global number when torch first needs it there; only after that
        # does it keep one of its own.
        torch.get_num_threads()
        torch.set_num_threads(1)
        everyone.wait()

    pool = ThreadPoolExecutor(count, "kernelgp", initializer=start)
    futures = [pool.submit(everyone.wait) for _ in range(count)]
    for future in futures:
        future.result()
    # What a thread sets holds for itself and for threads not yet born: put back the latter.
    torch.set_num_threads(count)
    return pool


# A forked child inherits the pool, but none of its threads.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_pool.cache_clear)
