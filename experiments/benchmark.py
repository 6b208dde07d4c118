"""What a folder of `experiments/` says of itself, so that one command can run and show them all."""

import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from experiments.harness import Options, Task
from experiments.runs import Run

__all__ = ["NAMES", "Benchmark", "Published", "load"]

NAMES = ("operators", "pde", "regression", "vecchia", "features", "attention")
"""Folders that have a module ``benchmark`` with a ``BENCHMARK``, in the order of the report."""


@dataclass(frozen=True, slots=True)
class Published:
    """A figure from a paper or a peer's own pages, to read beside ours."""

    what: str
    value: str
    source: str


@dataclass(frozen=True, slots=True)
class Benchmark:
    """One question, with what answers it.

    Attributes
    ----------
    question
        What its pictures answer, in a sentence or two.
    ours
        Our method's name: the one that ratios refer to.
    tasks
        Everything that ``python -m experiments.NAME`` runs, once, and prints by `report`.
    sweep
        Tasks of growing size (``params["n"]``) with our method and peers, run on several
        seeds: what the pictures of the report are drawn from. Each scores a figure `error`.
    error
        What that figure is, for the axis of a picture.
    """

    name: str
    title: str
    question: str
    ours: str
    tasks: Callable[[Options], Sequence[Task]]
    report: Callable[[Sequence[Run], Options], None]
    sweep: Callable[[Options], Sequence[Task]]
    error: str
    published: Sequence[Published] = ()


def load(name: str) -> Benchmark:
    """The benchmark of a folder; only then is what it measures imported."""
    return importlib.import_module(f"experiments.{name}.benchmark").BENCHMARK
