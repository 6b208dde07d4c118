import io

import pytest
from rich.console import Console

from kernelgp import progress
from kernelgp.progress import progress_bar


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_bars_go_to_stderr():
    assert progress._console().stderr


@pytest.fixture
def terminal(monkeypatch):
    for name in ("KERNELGP_PROGRESS", "TTY_COMPATIBLE"):
        monkeypatch.delenv(name, raising=False)
    console = Console(file=Terminal(), force_terminal=True, width=120)
    monkeypatch.setattr(progress, "_console", lambda: console)
    return console.file


def test_a_terminal_sees_the_step_the_objective_and_the_seconds(terminal):
    with progress_bar("fit", total=3) as bar:
        assert bar.visible
        bar.advance("polish", objective=-12.5)
    shown = terminal.getvalue()
    for part in ("fit", "1/3", "polish", "objective -12.5", "0:00:00"):
        assert part in shown


def test_a_pipe_sees_nothing(capfd):
    with progress_bar("fit", total=3) as bar:
        assert not bar.visible
        bar.advance(objective=1.0)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("how", ["environment", "argument"])
def test_progress_can_be_switched_off_on_a_terminal(terminal, monkeypatch, how):
    if how == "environment":
        monkeypatch.setenv("KERNELGP_PROGRESS", "0")
    with progress_bar("fit", visible=False if how == "argument" else None) as bar:
        bar.advance()
    assert terminal.getvalue() == ""


def test_an_interrupt_passes_through_and_gives_the_cursor_back(terminal):
    hide, show = "\x1b[?25l", "\x1b[?25h"

    def interrupted():
        with progress_bar("fit") as bar:
            bar.advance()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    shown = terminal.getvalue()
    assert shown.count(hide) == shown.count(show) == 1
    assert shown.rindex(show) > shown.rindex(hide)


def test_bars_nest(terminal):
    with progress_bar("sweep", total=2) as outer:
        for sweep in ("a", "b"):
            with progress_bar("fit", total=1) as inner:
                inner.advance(note=sweep)
            outer.advance()
    assert "2/2" in terminal.getvalue()
