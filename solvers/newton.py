"""Newton's method for nonlinear equations and coefficients that vary, on coefficients of a basis.

The unknowns are those inside the faces. The equation's residual is taken on the grid and
projected as the data of the linear neighbour are; each step is one full GMRES, preconditioned from
the left by the direct solve of the neighbour, and shortened until the residual falls. Where the
neighbour is too far for that (a front carried by the solution itself), small systems are factored
densely. A linear equation takes one step and another that refines it.

References
----------
C. T. Kelley, *Iterative Methods for Linear and Nonlinear Equations*, SIAM, 1995.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kernelgp.errors import ArgumentError
from solvers.divergence import DivergenceError
from solvers.jacobian import GridTerm, Jacobian, grid_rows
from solvers.journal import SILENT, Journal
from solvers.problem import Problem
from solvers.samples import Samples
from solvers.structured import Data, StructuredEquation
from solvers.tensors import along_all

__all__ = ["NewtonResult", "newton"]

Array = NDArray[np.float64]

_MOST_STEPS = 20
_MOST_HALVINGS = 8
# Of a residual, so that its square is a number.
_LARGEST = 1e100
# Relative to the solution: rounding, and from where on a step that gains nothing is the last.
_CONVERGED, _NEARLY = 1e-14, 1e-7
# Of a step. A linear equation has to be solved by the first one.
_FORCING, _LINEAR_FORCING, _TIGHTEST = 1e-3, 1e-10, 1e-8


@dataclass(frozen=True, slots=True)
class NewtonResult:
    """What was found, and what it took.

    Attributes
    ----------
    coefficients : ndarray, shape (r1, ..., rd)
    left_over : ndarray, shape (n1, ..., nd)
        Of the source, on the grid.
    steps : int
    terms : list of GridTerm
        Of the equation linearised at the solution.
    """

    coefficients: Array
    left_over: Array
    steps: int
    terms: list[GridTerm]


def newton(
    problem: Problem,
    samples: Samples,
    equation: StructuredEquation,
    data: Data,
    journal: Journal = SILENT,
) -> NewtonResult:
    """Solve `problem` on the bases of its linear neighbour `equation`.

    Parameters
    ----------
    problem, samples, equation, data
    journal
        Where iterates are recorded, and gone on from.

    Raises
    ------
    ArgumentError
        If the equation is not finite at the first guess.
    DivergenceError
        If no steps solve it; its `last` are the coefficients of the last good iterate.
    """
    system = _GridSystem(problem, samples, equation)
    before = journal.recall("newton")
    if before is None:
        # The neighbour's solution is the better start, unless it is far from the equation's.
        neighbours, known = equation.solve(data), equation.of_faces(data)
        start = min(neighbours, known, key=lambda C: float(np.linalg.norm(system.residual(C))))
        before = {"iterate": start, "steps": np.zeros((), int), "ended": np.zeros((), bool)}
    C, steps = before["iterate"], int(before["steps"])
    if not before["ended"]:
        C, steps = _iterate(system, C, steps, journal)
        journal.record("newton", {"iterate": C, "steps": steps, "ended": True})
    return NewtonResult(C, system.left_over(C), steps, system.slopes(C))


def _iterate(system: "_GridSystem", C: Array, taken: int, journal: Journal) -> tuple[Array, int]:
    """Newton's method from C, and how many steps it took, those `taken` before included."""
    text, linear = system.problem.equation.text, system.problem.nonlinear is None
    residual = system.residual(C)
    if not np.isfinite(residual).all():
        given = f"{text!r}, which is not finite at a first guess"
        raise ArgumentError("equation", given, "write it so that it is defined near the faces")
    forcing = _LINEAR_FORCING if linear else _FORCING
    step, history = taken, [_relative(residual, C)]
    for step in range(taken + 1, _MOST_STEPS + 1):
        size, before = np.linalg.norm(residual), _relative(residual, C)
        try:
            move = system.step(C, forcing)
        except np.linalg.LinAlgError:
            break
        for halving in range(_MOST_HALVINGS + 1):
            new = C + move / 2**halving
            left = system.residual(new)
            if np.linalg.norm(left) < size:
                break
        else:
            if before <= _NEARLY:
                return C, step
            break
        C, residual = new, left
        now = _relative(residual, C)
        history.append(now)
        journal.record("newton", {"iterate": C, "steps": step, "ended": False}, residual=now)
        if now <= _CONVERGED or (now <= _NEARLY and now > before / 4):
            return C, step
        forcing = max(min(_FORCING, now), _TIGHTEST)
    given = f"{text!r}, where {step} steps lower the residual no further"
    remedy = "give a finer grid, or an equation nearer to linear"
    raise DivergenceError("equation", given, remedy, history, C)


def _relative(residual: Array, C: Array) -> float:
    return float(np.linalg.norm(residual) / (np.linalg.norm(C) or 1.0))


class _GridSystem:
    """The residual in the coefficients' space, preconditioned, and its slope there."""

    def __init__(self, problem: Problem, samples: Samples, equation: StructuredEquation) -> None:
        self.problem, self.samples, self.equation = problem, samples, equation
        nonlinear = problem.nonlinear
        self._unknowns = nonlinear.derivatives if nonlinear else ()
        self._is_far = False
        self._linear: list[GridTerm] = [
            (t.orders, t.on_grid(samples.axes)) for t in problem.operator.terms
        ]
        orders = [*(o for o, _ in self._linear), *(d.orders for d in self._unknowns)]
        self._rows = grid_rows(equation, orders)

    def residual(self, C: Array) -> Array:
        """What is to be added to C, to first order, by the neighbour's account."""
        with np.errstate(all="ignore"):
            left_over = self.left_over(C)
        # Too long a step may leave what an equation is defined for.
        sensible = np.abs(left_over).max() < _LARGEST
        return self._precondition(left_over) if sensible else np.full(C.shape, np.inf)

    def left_over(self, C: Array) -> Array:
        """Source minus left side on the grid."""
        left = self._apply(self._linear, C)
        if self.problem.nonlinear is not None:
            values = {d: self._derivative(C, d.orders) for d in self._unknowns}
            left = left + self.problem.nonlinear.on_grid(values, self.samples.axes)
        return self.samples.source - left

    def step(self, C: Array, forcing: float) -> Array:
        """What Newton's method adds to C."""
        jacobian = Jacobian(self.equation, self.slopes(C), self._rows, dense=self._is_far)
        left_over = jacobian.compress(self.left_over(C))
        move = jacobian.solve(left_over[..., None], forcing)[..., 0]
        self._is_far = jacobian.is_dense
        return move

    def slopes(self, C: Array) -> list[GridTerm]:
        """The terms of the equation linearised at C."""
        terms = list(self._linear)
        if self.problem.nonlinear is not None:
            values = {d: self._derivative(C, d.orders) for d in self._unknowns}
            slopes = self.problem.nonlinear.slopes_on_grid(values, self.samples.axes)
            terms += [(d.orders, slope) for d, slope in slopes.items()]
        return terms

    def _precondition(self, on_grid: Array) -> Array:
        rows = [axis.rows.T for axis in self.equation.axes]
        return self.equation.inside(along_all(rows, on_grid))

    def _apply(self, terms: Sequence[GridTerm], C: Array) -> Array:
        total = np.zeros(self.samples.shape)
        for orders, coefficient in terms:
            total = total + coefficient * self._derivative(C, orders)
        return total

    def _derivative(self, C: Array, orders: tuple[int, ...]) -> Array:
        return along_all([r[k] for r, k in zip(self._rows, orders, strict=True)], C)
