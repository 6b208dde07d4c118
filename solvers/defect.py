"""What a solution misses because its source was sampled on a grid only, to first order.

Between the grid's points the equation leaves a residual. Taken at the quadrature nodes of the
bases, which are finer, and projected in exact products, it is the data of a correction: for a
wave on a grid that is just too coarse it agrees with the true error to two digits. It is
no part of the solution, which is that of the data on the grid, but belongs to its deviation.
"""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from kernelgp.errors import ArgumentError
from solvers.jacobian import GridTerm, Jacobian
from solvers.neighbour import on_functions
from solvers.problem import Problem
from solvers.structured import StructuredEquation
from solvers.tensors import along_all

__all__ = ["defect"]

Array = NDArray[np.float64]

# Nodes at which the source is evaluated, at most: a few tenths of a second.
_MOST_NODES = 1_000_000
_RTOL = 1e-3


def defect(
    problem: Problem,
    equation: StructuredEquation,
    coefficients: Array,
    terms: Sequence[GridTerm] | None,
) -> Array:
    """Coefficients of the correction; zero where data have values on the grid only.

    Parameters
    ----------
    problem, equation, coefficients
    terms : sequence of GridTerm or None
        Of the linearised equation, where `equation` is a neighbour only.

    Returns
    -------
    ndarray, shape (r1, ..., rd)
    """
    axes = [axis.quadrature[0] for axis in equation.axes]
    many = math.prod(len(x) for x in axes) > _MOST_NODES
    if many or not on_functions(problem):
        return np.zeros_like(coefficients)
    try:
        residual = problem.source_on_grid(axes) - _left_side(problem, equation, coefficients, axes)
    except ArgumentError:
        # A source that is finite on the grid need not be so between its points.
        return np.zeros_like(coefficients)
    if not np.isfinite(residual).all():
        return np.zeros_like(coefficients)
    projected = along_all([a.quadrature[1].T for a in equation.axes], residual)[..., None]
    if terms is not None:
        return Jacobian(equation, terms).solve_tested(projected, _RTOL)[..., 0]
    free = [a.rotation[:, a.n_conditions :] for a in equation.axes]
    return equation.centre(along_all(free, equation.system.solve(projected))[..., 0])


def _left_side(
    problem: Problem, equation: StructuredEquation, coefficients: Array, axes: Sequence[Array]
) -> Array:
    def mean(orders: tuple[int, ...]) -> Array:
        rows = [
            a.basis.evaluate(x, k)[k] for a, x, k in zip(equation.axes, axes, orders, strict=True)
        ]
        return along_all(rows, coefficients)

    left = np.zeros([len(x) for x in axes])
    for term in problem.operator.terms:
        left = left + term.on_grid(axes) * mean(term.orders)
    if problem.nonlinear is not None:
        values = {d: mean(d.orders) for d in problem.nonlinear.derivatives}
        left = left + problem.nonlinear.on_grid(values, axes)
    return left
