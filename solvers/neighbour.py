"""A linear equation with constant coefficients near a given one: what can be solved directly.

Coefficients that vary are replaced by the middle of their range on the grid, and a nonlinear
part by its slopes at a constant. The neighbour preconditions Newton's method, tells which end of
an axis a solution comes from, and stands for the equation in its deviations.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from solvers.faces import Face
from solvers.problem import Problem

__all__ = ["ConstantTerm", "is_its_own_neighbour", "neighbour_terms", "on_functions"]

Array = NDArray[np.float64]
ConstantTerm = tuple[tuple[int, ...], float]


def is_its_own_neighbour(problem: Problem) -> bool:
    """Whether it is linear with constant coefficients."""
    return problem.nonlinear is None and problem.operator.is_constant


def on_functions(problem: Problem) -> bool:
    """Whether source and coefficients have values everywhere, not at a grid's points only."""
    return problem.source_is_function and not any(np.ndim(v) for v in problem.data.values())


def neighbour_terms(problem: Problem, axes: Sequence[Array]) -> list[ConstantTerm]:
    """``(orders, coefficient)`` of the neighbour, each order once.

    Parameters
    ----------
    problem
    axes
        Of the grid on which coefficients are looked at.
    """
    terms = {t.orders: _middle(t.on_grid(axes)) for t in problem.operator.terms}
    if problem.nonlinear is not None:
        level = np.full([len(x) for x in axes], _level(problem.faces, axes))
        values = {
            d: level if not any(d.orders) else np.zeros_like(level)
            for d in problem.nonlinear.derivatives
        }
        for derivative, slope in problem.nonlinear.slopes_on_grid(values, axes).items():
            found = _middle(slope)
            if np.isfinite(found):
                terms[derivative.orders] = terms.get(derivative.orders, 0.0) + found
    return [(orders, c) for orders, c in terms.items() if c]


def _middle(values: float | Array) -> float:
    return float(np.min(values) + np.max(values)) / 2


def _level(faces: Sequence[Face], axes: Sequence[Array]) -> float:
    """The mean of the values on the faces: a first guess of the solution."""
    values = [
        np.mean(face.value_on_grid([x for k, x in enumerate(axes) if k != face.axis])) / face.alpha
        for face in faces
        if face.of_values
    ]
    return float(np.mean(values)) if values else 0.0
