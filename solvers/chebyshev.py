"""Chebyshev collocation: the baseline that a Gaussian process has to be compared with.

Where a solution is smooth and the grid resolves it (some 3.5 points to a wavelength), nothing
is more accurate for as many points; below π points to a wavelength it has nothing. In 2-D the
interior values solve a Sylvester equation, O(n³), where no mixed derivative stands between.

References
----------
L. N. Trefethen, *Spectral Methods in MATLAB*, SIAM 2000, chapters 7 and 9.
R. H. Bartels and G. W. Stewart, *Solution of the matrix equation AX + XB = C*, 1972.
"""

import math
import time
from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import scipy.linalg
from numpy.typing import NDArray

from kernelgp.errors import ArgumentError, NotPositiveDefiniteError
from solvers.data import ArrayField
from solvers.interpolant import (
    ChebyshevInterpolant,
    ChebyshevReport,
    chebyshev_nodes,
    differentiation_matrix,
)
from solvers.needs import Need
from solvers.problem import Problem
from solvers.solution import Solution

__all__ = ["ChebyshevSolver"]

Array = NDArray[np.float64]
Indices = list[NDArray[np.intp]]

# A mixed derivative couples every unknown with every other: 0.2 GB, and three copies.
_MAX_DENSE = 5_000


class ChebyshevSolver:
    """Collocation at Chebyshev points, for 1-D and 2-D problems; no deviation.

    Examples
    --------
    >>> from solvers import Box, Problem
    >>> problem = Problem.from_exact("u_xx = f", Box(x=(0, 6)), "sin(6*x)*cos(20*x)")
    >>> solution = ChebyshevSolver().solve(problem, grid=(150,))
    >>> bool(solution.error() < 1e-11)
    True
    """

    #: What it solves beyond linear second-order equations with values on the faces.
    supported: ClassVar[frozenset[Need]] = frozenset()

    def solve(self, problem: Problem, grid: Sequence[int]) -> Solution:
        """The solution on as many Chebyshev points along each axis as `grid` says.

        Parameters
        ----------
        problem
            Its source and boundary values are evaluated at Chebyshev points, so they have to
            be formulas or callables.
        grid : (n1, ...), each at least 3

        Raises
        ------
        ArgumentError
            If the problem has three dimensions, lacks conditions or has arrays as data, or
            `grid` is too large for a mixed derivative.
        NotPositiveDefiniteError
            If the equation has no unique solution.
        """
        start = time.perf_counter()
        if not isinstance(problem, Problem):
            raise ArgumentError("problem", type(problem).__name__, "give a solvers.Problem")
        if problem.dimension > 2:
            given = f"{problem.dimension} dimensions"
            raise ArgumentError("problem", given, "give one or two: GPSolver goes further")
        problem.require(self.supported, "ChebyshevSolver")
        sizes = problem.domain.check_grid(grid, minimum=3)
        problem.check_conditions()
        if problem.source_shape is not None:
            raise _array_data(problem, "the source")
        nodes = [chebyshev_nodes(n, *b) for n, b in zip(sizes, problem.domain.bounds, strict=True)]
        source = problem.source_on_grid(nodes)
        values, free = _boundary_values(problem, nodes)
        mixed = any(np.count_nonzero(term.orders) > 1 for term in problem.operator.terms)
        with np.errstate(all="ignore"):
            solve = _solve_dense if mixed or len(sizes) == 1 else _solve_sylvester
            try:
                solve(problem, source, values, free)
            except np.linalg.LinAlgError as error:
                raise _singular(problem) from error
        if not np.isfinite(values).all():
            raise _singular(problem)
        method = "sylvester" if solve is _solve_sylvester else "dense"
        unknowns = math.prod(map(len, free))
        report = ChebyshevReport(time.perf_counter() - start, method, unknowns)
        posterior = ChebyshevInterpolant(values, problem.domain.bounds, report)
        return Solution(problem, posterior, sizes)

    def __repr__(self) -> str:
        return "ChebyshevSolver()"


def _boundary_values(problem: Problem, nodes: Sequence[Array]) -> tuple[Array, Indices]:
    """Known values on the conditioned faces, zero inside, and along each axis the free nodes."""
    values = np.zeros([len(x) for x in nodes])
    known = [np.zeros(len(x), dtype=bool) for x in nodes]
    for face in problem.faces:
        if isinstance(face.field, ArrayField):
            raise _array_data(problem, f"the condition on {face.name}")
        others = [x for k, x in enumerate(nodes) if k != face.axis]
        index = (slice(None),) * face.axis + (-face.end,)
        values[index] = face.value_on_grid(others)
        known[face.axis][-face.end] = True
    free: Indices = [np.flatnonzero(~k) for k in known]
    return values, free


def _axis_operator(problem: Problem, axis: int, n: int) -> Array:
    """The terms that differentiate along `axis` alone; axis 0 takes the undifferentiated one."""
    lower, upper = problem.domain.bounds[axis]
    first = differentiation_matrix(n, upper - lower)
    operator = np.zeros((n, n))
    for term in problem.operator.terms:
        others = sum(term.orders) - term.orders[axis]
        if others == 0 and (term.orders[axis] > 0 or axis == 0):
            operator += term.coefficient * np.linalg.matrix_power(first, term.orders[axis])
    return operator


def _solve_sylvester(problem: Problem, source: Array, values: Array, free: Indices) -> None:
    """``Ax U + U Ayᵀ = F`` for the free nodes, into `values`."""
    left, right = (_axis_operator(problem, k, n) for k, n in enumerate(source.shape))
    inside = np.ix_(*free)
    rhs = source[inside] - (left @ values + values @ right.T)[inside]
    values[inside] = scipy.linalg.solve_sylvester(
        left[np.ix_(free[0], free[0])], right[np.ix_(free[1], free[1])].T, rhs
    )


def _solve_dense(problem: Problem, source: Array, values: Array, free: Indices) -> None:
    """One dense system for the free nodes, into `values`."""
    unknowns = math.prod(map(len, free))
    if unknowns > _MAX_DENSE:
        given = f"{source.shape}, which are {unknowns} unknowns in one dense matrix"
        remedy = f"give a smaller grid: a mixed derivative or one axis allows {_MAX_DENSE}"
        raise ArgumentError("grid", given, remedy)
    firsts = [
        differentiation_matrix(n, hi - lo)
        for n, (lo, hi) in zip(source.shape, problem.domain.bounds, strict=True)
    ]
    matrix = np.zeros((unknowns, unknowns))
    rhs = source[np.ix_(*free)].copy()
    for term in problem.operator.terms:
        rows = [
            np.linalg.matrix_power(first, order)[index]
            for first, order, index in zip(firsts, term.orders, free, strict=True)
        ]
        block = np.ones((1, 1))
        known = values
        for k, (row, index) in enumerate(zip(rows, free, strict=True)):
            block = np.kron(block, row[:, index])
            known = np.moveaxis(np.tensordot(row, known, axes=(1, k)), 0, k)
        matrix += term.coefficient * block
        rhs -= term.coefficient * known
    values[np.ix_(*free)] = np.linalg.solve(matrix, rhs.ravel()).reshape(rhs.shape)


def _array_data(problem: Problem, what: str) -> ArgumentError:
    given = f"{what} of {problem.equation.text!r} as an array"
    remedy = "give a formula or a callable: it is evaluated at Chebyshev points"
    return ArgumentError("problem", given, remedy)


def _singular(problem: Problem) -> NotPositiveDefiniteError:
    given = f"{problem.equation.text!r}, which has no finite solution on this grid"
    remedy = "check that it has one solution, and the size of its data"
    return NotPositiveDefiniteError("equation", given, remedy)
