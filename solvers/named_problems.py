"""Named problems with known solutions, and what was published on them: `gallery`.

The file is not called after it, or `solvers.gallery` would be the module or the mapping,
whichever was imported last. The problems are the linear ones of GP-HM's paper; each is built
when it is first asked for.

References
----------
Fang, Cooley, Long, Li, Kirby, Zhe, *Solving High Frequency and Multi-Scale PDEs with Gaussian
Processes*, ICLR 2024. The published figures are from its authors' own run logs: the least
relative L2 error over 20 checkpoints, measured against the exact solution.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType

from kernelgp.errors import ArgumentError
from solvers.domain import Box
from solvers.problem import Problem

__all__ = ["Entry", "Gallery", "UnknownProblemError", "gallery"]

_PAPER = "Fang et al., ICLR 2024"


@dataclass(frozen=True)
class Entry:
    """A problem, the grid it was published on, and what was reached there.

    Attributes
    ----------
    name : str
    description : str
    equation, exact : str
    domain : Box
    grid : tuple of int
    published : float
        Relative L2 error, the better one of GP-HM's two kernels.
    published_seconds : float
        What that run took on the authors' GPU.
    label : str
        A short name, such as ``"P1"``.
    source : str
    problem : Problem
        Dirichlet conditions on every face; made on first use.
    """

    name: str
    description: str
    equation: str
    exact: str
    domain: Box
    grid: tuple[int, ...]
    published: float
    published_seconds: float
    label: str
    source: str = _PAPER

    @cached_property
    def problem(self) -> Problem:
        return Problem.from_exact(self.equation, self.domain, self.exact)


class UnknownProblemError(ArgumentError, KeyError):
    """A name that the gallery does not have; a `KeyError` too, as a mapping's `get` expects."""


class Gallery(Mapping[str, Entry]):
    """Problems by name, in the order of the paper.

    Raises
    ------
    UnknownProblemError
        For a name that it does not have; it lists those it has.

    Examples
    --------
    >>> entry = gallery["poisson-1d-sin100"]
    >>> entry.grid, entry.published
    ((400,), 3.99e-07)
    >>> entry.problem
    Problem('u_xx = f', Box(x=(0, 6.283185307179586)), conditions=[Dirichlet()], \
f='-10000*sin(100*x)')
    """

    def __init__(self, entries: tuple[Entry, ...]) -> None:
        self._entries = MappingProxyType({entry.name: entry for entry in entries})

    def __getitem__(self, name: str) -> Entry:
        if name not in self._entries:
            remedy = f"give one of {', '.join(self._entries)}"
            raise UnknownProblemError("name", repr(name), remedy)
        return self._entries[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def __repr__(self) -> str:
        return f"Gallery({', '.join(self._entries)})"


_LINE, _SQUARE = "u_xx = f", "u_xx + u_yy = f"
_CIRCLE = 2 * math.pi
_MULTISCALE = "sin(x) + sin(20*x)/10 + sin(100*x)/20"

gallery = Gallery(
    (
        Entry("poisson-1d-sin100", "one high frequency", _LINE, "sin(100*x)",
              Box(x=(0, _CIRCLE)), (400,), 3.99e-7, 1_329, "P1"),
        Entry("poisson-1d-multiscale", "three scales", _LINE, _MULTISCALE,
              Box(x=(0, _CIRCLE)), (900,), 2.13e-3, 4_452, "P2"),
        Entry("poisson-1d-multiscale-unit", "three scales, on [0, 1]", _LINE, _MULTISCALE,
              Box(x=(0, 1)), (200,), 3.51e-4, 4_667, "P2 [0, 1]"),
        Entry("poisson-1d-sin6cos100", "a slow wave times a fast one", _LINE, "sin(6*x)*cos(100*x)",
              Box(x=(0, _CIRCLE)), (400,), 1.52e-6, 1_329, "P3"),
        Entry("poisson-1d-xsin200", "a tone that grows", _LINE, "x*sin(200*x)",
              Box(x=(0, _CIRCLE)), (900,), 8.98e-7, 7_451, "P4"),
        Entry("poisson-1d-sin500", "a tone on a parabola", _LINE, "sin(500*x) - 2*(x - 1/2)**2",
              Box(x=(0, 1)), (200,), 4.22e-4, 5_705, "P5"),
        Entry("poisson-2d-sin100", "one high frequency in both directions", _SQUARE,
              "sin(100*x)*sin(100*y)", Box(x=(0, _CIRCLE), y=(0, _CIRCLE)), (400, 400),
              6.46e-5, 5_586, "P6"),
        Entry("poisson-2d-sin6cos20", "two scales, a sum over the directions", _SQUARE,
              "sin(6*x)*cos(20*x) + sin(6*y)*cos(20*y)", Box(x=(0, _CIRCLE), y=(0, _CIRCLE)),
              (200, 200), 1.02e-3, 6_627, "P7"),
        Entry("poisson-2d-sin100cos100", "one high frequency, fast on the faces too", _SQUARE,
              "sin(100*x)*cos(100*y)", Box(x=(0, 1), y=(0, 1)), (200, 200),
              2.23e-4, 20_631, "extra"),
    )
)  # fmt: skip
"""The problems P1 to P7 of the paper, and one more of its repository's."""
