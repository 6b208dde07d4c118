"""The processes of a run on `torch.distributed`, and an error that names the one that is gone.

A collective whose peer has died fails (Gloo notices the closed connection at once) or, where
the peer only hangs, does not end. What torch says then names an address, or nothing. So every
process that finds a collective broken checks in at the run's key-value store, those still
waiting look there once a second and check in too, and who has not come after a while is lost.
"""

import datetime
import time
from collections.abc import Iterable
from functools import cached_property
from typing import Any, cast

import torch
import torch.distributed as dist
from torch import Tensor

from kernelgp.errors import ArgumentError, ArgumentTypeError, LostRankError

__all__ = ["Ranks"]

# Between two looks at the store while a collective waits.
_LOOK = 1.0
# For others to come to the store after a collective broke: a process may be within a long tile.
# Once a single one is missing it is the one, but for a moment in which it may yet arrive.
_PATIENCE, _GRACE = 20.0, 2.0


class Ranks:
    """The team of a process group: vectors are whole everywhere, rows are shared out evenly.

    Parameters
    ----------
    process_group
        None for the default group, which ``torch.distributed.init_process_group`` makes. Its
        timeout bounds the wait for one collective: a process that is busy with its share of a
        product is waited for, so it must exceed the longest of these.

    Attributes
    ----------
    rank, size
        This process among how many.
    timeout : float, in seconds

    Raises
    ------
    ArgumentError
        If no group has been made, or this process is not in it.

    Examples
    --------
    >>> Ranks()
    Traceback (most recent call last):
        ...
    kernelgp.errors.ArgumentError: process_group: got None before torch.distributed was \
initialised; start with torchrun and call torch.distributed.init_process_group.
    """

    def __init__(self, process_group: Any = None) -> None:
        if not dist.is_available() or not dist.is_initialized():
            given = f"{process_group} before torch.distributed was initialised"
            remedy = "start with torchrun and call torch.distributed.init_process_group"
            raise ArgumentError("process_group", given, remedy)
        if process_group is dist.GroupMember.NON_GROUP_MEMBER:
            given = "a group to which this process does not belong"
            raise ArgumentError("process_group", given, "build the operator on its members only")
        if process_group is not None and not isinstance(process_group, dist.ProcessGroup):
            remedy = "give a torch.distributed.ProcessGroup, or None for the default one"
            raise ArgumentTypeError("process_group", type(process_group).__name__, remedy)
        self.process_group, self.timeout = process_group, _timeout(process_group)
        self.rank, self.size = dist.get_rank(process_group), dist.get_world_size(process_group)

    def rows(self, n: int) -> slice:
        """Which of n rows are kept here."""
        share = self._share(n)
        return slice(min(self.rank * share, n), min((self.rank + 1) * share, n))

    def triangle(self, n: int) -> slice:
        """Rows whose part right of the diagonal makes an equal share of the triangle."""
        bounds = [round(n * (1 - (1 - r / self.size) ** 0.5)) for r in range(self.size)]
        return slice(bounds[self.rank], [*bounds[1:], n][self.rank])

    def sum(self, part: Tensor) -> Tensor:
        """The sum over all processes, the same bits in each."""
        if self.size == 1:
            return part
        total = part.detach().clone(memory_format=torch.contiguous_format)
        self._wait(lambda: dist.all_reduce(total, group=self.process_group, async_op=True))
        return total

    def join(self, part: Tensor, n: int) -> Tensor:
        """All n rows, (..., n, k), of which `part` has those that are kept here."""
        if self.size == 1:
            return part
        own = part.detach().movedim(-2, 0)
        padded = own.new_zeros(self._share(n), *own.shape[1:])
        padded[: len(own)] = own
        parts = [torch.empty_like(padded) for _ in range(self.size)]
        self._wait(lambda: dist.all_gather(parts, padded, group=self.process_group, async_op=True))
        return torch.cat(parts)[:n].movedim(0, -2)

    def _share(self, n: int) -> int:
        return -(-n // self.size)

    def _wait(self, begin: Any) -> None:
        try:
            self._wait_for(begin())
        except RuntimeError as failure:
            if isinstance(failure, torch.OutOfMemoryError):
                raise
            raise self._find_lost(failure) from None

    def _wait_for(self, work: Any) -> None:
        started = time.monotonic()
        while not self._ended(work):
            if self._store is not None and self._store.check([_BROKEN]):
                raise RuntimeError("another process found the run broken")
            if time.monotonic() - started > self.timeout:
                raise RuntimeError(f"no answer within {self.timeout:g} s")

    def _ended(self, work: Any) -> bool:
        """Wait for a while; whether the work is done. Raises what it raised."""
        if dist.get_backend(self.process_group) != "gloo":
            # Elsewhere `wait` only orders streams.
            until = time.monotonic() + _LOOK
            while not work.is_completed() and time.monotonic() < until:
                time.sleep(1e-4)
            return work.is_completed() and (work.wait() or True)
        try:
            work.wait(datetime.timedelta(seconds=_LOOK))
        except RuntimeError:
            if work.is_completed():
                raise
            return False
        return True

    @cached_property
    def _store(self) -> Any:
        """The key-value store of the run."""
        store = cast(Any, dist.distributed_c10d)._get_default_store()
        return cast(Any, dist).PrefixStore("kernelgp", store)

    def _find_lost(self, failure: RuntimeError) -> LostRankError:
        """Check in, wait for the others, and name those that do not come."""
        others = [r for r in range(self.size) if r != self.rank]
        missing, reason = others, str(failure).split("] ", 1)[-1].split(". ")[0]
        if self.size > 2:
            try:
                missing = self._wait_at_store(others)
            except RuntimeError:  # the process that kept the store is gone
                missing = [0] if self.rank else others
        ranks = ", ".join(map(str, self._global(missing))) or "unknown"
        return LostRankError(ranks, dist.get_world_size(), reason)

    def _wait_at_store(self, others: Iterable[int]) -> list[int]:
        self._store.set(_BROKEN, b"1")
        self._store.set(f"here/{self.rank}", b"1")
        until, missing = time.monotonic() + _PATIENCE, list(others)
        while missing and time.monotonic() < until:
            time.sleep(0.05)
            before, missing = missing, [r for r in missing if not self._store.check([f"here/{r}"])]
            if len(missing) == 1 < len(before):
                until = min(until, time.monotonic() + _GRACE)
        return missing

    def _global(self, ranks: Iterable[int]) -> list[int]:
        group = self.process_group
        return [r if group is None else dist.get_global_rank(group, r) for r in ranks]

    def __repr__(self) -> str:
        return f"Ranks(rank={self.rank}, size={self.size})"


_BROKEN = "broken"


def _timeout(process_group: Any) -> float:
    """The group's own, which torch keeps with its backend."""
    group: Any = process_group or dist.group.WORLD
    for device in ("cpu", "cuda"):
        try:
            return group._get_backend(torch.device(device)).options._timeout.total_seconds()
        except (RuntimeError, AttributeError):  # none for this device, or it has no options
            continue
    return 1800.0  # torch's own default
