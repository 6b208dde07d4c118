"""One thread for linear algebra on small matrices.

The matrices of an axis have some hundred rows: sharing such a product among threads costs more
than it saves, and on a busy machine the threads wait for each other (measured on two loaded
cores: 0.09 s on one thread against 1.4 to 11 s on two, for 900 points in one dimension).
"""

from collections.abc import Iterator
from contextlib import contextmanager

from threadpoolctl import threadpool_limits

__all__ = ["one_thread"]


@contextmanager
def one_thread() -> Iterator[None]:
    """BLAS and OpenMP use one thread in this block, or function, and what was set after it.

    Examples
    --------
    >>> from threadpoolctl import threadpool_info
    >>> with one_thread():
    ...     {pool["num_threads"] for pool in threadpool_info()}
    {1}
    """
    with threadpool_limits(limits=1):
        yield
