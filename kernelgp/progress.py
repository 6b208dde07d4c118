"""Progress on the terminal, and nowhere else.

Bars go to stderr, are removed when they end, however they end, and are not made at all where
nobody watches: stderr is no terminal, or ``KERNELGP_PROGRESS=0``. So a log, a pipe or a test
sees nothing of them.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn

__all__ = ["ProgressBar", "progress_bar"]


class ProgressBar:
    """One running bar, or nothing at all where none is shown; made by `progress_bar`."""

    def __init__(self, display: Progress | None, task: TaskID) -> None:
        self._display, self._task = display, task

    @property
    def visible(self) -> bool:
        return self._display is not None

    def advance(self, note: str = "", **figures: float) -> None:
        """One step further.

        Parameters
        ----------
        note
            What is being done, in a word or two.
        **figures
            Numbers worth seeing beside the bar, such as ``objective=-12.5``.
        """
        if self._display is not None:
            shown = [note, *(f"{name} {value:.6g}" for name, value in figures.items())]
            self._display.update(self._task, advance=1, figures="  ".join(filter(None, shown)))


@contextmanager
def progress_bar(
    description: str, *, total: int | None = None, visible: bool | None = None
) -> Iterator[ProgressBar]:
    """A bar with the steps done, the figures of the last one and the seconds elapsed.

    Parameters
    ----------
    description
        What is going on, in a word or two.
    total
        Number of steps; None where it is not known.
    visible
        None shows the bar on a terminal only; True and False overrule that.

    Examples
    --------
    >>> with progress_bar("fit", total=3) as bar:
    ...     for loss in (3.0, 2.0, 1.0):
    ...         bar.advance(objective=loss)
    """
    if not (_watched() if visible is None else visible):
        yield ProgressBar(None, TaskID(0))
        return
    # Bars may nest (a fit within a sweep): on one console rich stacks them.
    display = Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        TextColumn("{task.completed:g}" if total is None else "{task.completed:g}/{task.total:g}"),
        TextColumn("{task.fields[figures]}", style="dim"),
        TimeElapsedColumn(),
        console=_console(),
        transient=True,
    )
    with display:
        yield ProgressBar(display, display.add_task(description, total=total, figures=""))


@cache
def _console() -> Console:
    return Console(stderr=True)


def _watched() -> bool:
    return os.environ.get("KERNELGP_PROGRESS") != "0" and _console().is_terminal
