"""Named problems with known solutions, and what was published on them: `gallery`.

The file is not called after it, or `solvers.gallery` would be the module or the mapping,
whichever was imported last. First come the problems of GP-HM's paper, then others that its
method does not take; each is built when it is first asked for.

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
from solvers.conditions import Condition, Dirichlet, Initial, Neumann
from solvers.domain import Box
from solvers.problem import Problem

__all__ = ["Entry", "Gallery", "UnknownProblemError", "gallery"]

_PAPER = "Fang et al., ICLR 2024"
_PINNACLE = "after the multi-scale heat equation of PINNacle, Hao et al., 2023"


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
    published : float or None
        Relative L2 error, the better one of GP-HM's two kernels; None where nothing was.
    published_seconds : float or None
        What that run took on the authors' GPU.
    label : str
        A short name, such as ``"P1"``.
    source : str
        Where it is from; empty where it is ours.
    conditions : tuple of conditions or None
        None is Dirichlet on every face.
    problem : Problem
        Made on first use.
    """

    name: str
    description: str
    equation: str
    exact: str
    domain: Box
    grid: tuple[int, ...]
    published: float | None
    published_seconds: float | None
    label: str
    source: str = _PAPER
    conditions: tuple[Condition, ...] | None = None

    @cached_property
    def problem(self) -> Problem:
        return Problem.from_exact(self.equation, self.domain, self.exact, self.conditions)


class UnknownProblemError(ArgumentError, KeyError):
    """A name that the gallery does not have; a `KeyError` too, as a mapping's `get` expects."""


class Gallery(Mapping[str, Entry]):
    """Problems by name, those of the paper first.

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
_ALLEN_CAHN = "u_xx + u*(u**2 - 1) = f"
_STRONG = "(sin({0}) + sin(20*{0})/10 + cos(100*{0}))"
_UNIT, _PLANE = Box(x=(0, 1), t=(0, 1)), Box(x=(0, 1), y=(0, 1))
_START = (Initial(), Dirichlet(on=["x-", "x+"]))


def _ours(
    name: str,
    description: str,
    equation: str,
    exact: str,
    domain: Box,
    grid: tuple[int, ...],
    conditions: tuple[Condition, ...] | None = None,
    source: str = "",
) -> Entry:
    """A problem of which the paper publishes nothing."""
    return Entry(
        name, description, equation, exact, domain, grid, None, None, name, source, conditions
    )


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
        Entry("allen-cahn-1d-sin100", "nonlinear, one high frequency", _ALLEN_CAHN, "sin(100*x)",
              Box(x=(0, _CIRCLE)), (400,), 7.71e-7, 1_998, "A1"),
        Entry("allen-cahn-1d-sin6cos100", "nonlinear, a slow wave times a fast one", _ALLEN_CAHN,
              "sin(6*x)*cos(100*x)", Box(x=(0, _CIRCLE)), (400,), 4.24e-6, 1_996, "A2"),
        Entry("allen-cahn-2d", "nonlinear, three scales in both directions",
              "u_xx + u_yy + u*(u**2 - 1) = f", f"{_STRONG.format('x')}*{_STRONG.format('y')}",
              _PLANE, (200, 200), 2.58e-3, 15_926, "A3"),
        Entry("advection-200", "from the start and the inflow only; published with all four sides",
              "200*u_x + u_t = 0", "sin(x - 200*t)", _UNIT, (200, 200), 1.43e-4, 11_152, "V",
              conditions=(Initial(), Dirichlet(on="x-"))),
        _ours("helmholtz-2d-64pi", "indefinite, 45 waves a side and a slow part",
              "u_xx + u_yy + (64*pi)**2*u = f",
              "sin(64*pi/sqrt(2)*x)*cos(64*pi/sqrt(2)*y) + exp(-x - y)", _PLANE, (100, 100)),
        _ours("poisson-3d-sin32pi", "three dimensions, half a million points",
              "u_xx + u_yy + u_zz = f", "sin(32*pi*x)*sin(32*pi*y)*sin(32*pi*z)",
              Box(x=(0, 1), y=(0, 1), z=(0, 1)), (80, 80, 80)),
        _ours("wave-1d", "from value and velocity at the start", "u_tt = 4*u_xx",
              "sin(10*pi*x)*cos(20*pi*t)", _UNIT, (60, 100), _START),
        _ours("heat-1d", "from the start", "u_t = u_xx/100", "sin(10*pi*x)*exp(-pi**2*t)",
              _UNIT, (60, 60), _START),
        _ours("heat-2d-multiscale", "diffusion of two sizes, 250 000 to 1",
              "u_t = u_xx/(500*pi)**2 + u_yy/pi**2",
              "sin(20*pi*x)*sin(pi*y)*exp(-626*t/625)", Box(x=(0, 1), y=(0, 1), t=(0, 5)),
              (60, 20, 40), (Initial(), Dirichlet(on=["x-", "x+", "y-", "y+"])), _PINNACLE),
        _ours("burgers-1d", "nonlinear, a travelling wave", "u_t + u*u_x = u_xx/10 + f",
              "1 + sin(40*x - 30*t)/5", _UNIT, (80, 60), _START),
        _ours("kdv-1d", "nonlinear and of third order, a travelling wave",
              "u_t + 6*u*u_x + u_xxx = f", "cos(30*x - 20*t)", _UNIT, (60, 60),
              (*_START, Neumann(on="x+"))),
        _ours("biharmonic-1d", "of fourth order, two conditions at each end", "u_xxxx = f",
              "sin(40*x) + x**2", Box(x=(0, 2)), (120,), (Dirichlet(), Neumann())),
        _ours("variable-2d", "coefficients that vary, one axis each",
              "(2 + cos(5*x))*u_xx + (1 + y**2)*u_yy = f", "sin(40*x)*cos(30*y)", _PLANE,
              (100, 100)),
        _ours("variable-2d-mixed", "coefficients that vary along both axes together",
              "(2 + cos(5*x + 3*y))*u_xx + (1 + sin(4*x*y)/2)*u_yy + 30*x*u_x = f",
              "sin(40*x)*cos(30*y)", _PLANE, (100, 100)),
    )
)  # fmt: skip
"""P1 to P7, A1 to A3 and V of the paper, one more of its repository's, and others of ours."""
