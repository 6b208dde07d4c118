"""How large the data of a solution are, row by row: what their rounding is relative to.

A prior that fits says it too, but where a solution has content that its frequencies hardly
reach, the amplitude comes out hundreds of times as large, and noise relative to it would be
far above any rounding.
"""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from solvers.deviation import NUGGET
from solvers.jacobian import GridTerm, Jacobian
from solvers.structured import Axis, Data, StructuredEquation
from solvers.tensors import along_all

__all__ = ["row_sizes"]

Array = NDArray[np.float64]

# Where a face value is zero, the solution still meets it by rounding only: relative to what the
# prior says of it.
_LEAST = 2e-3
# From an axis with all conditions at one end, such as time, rounding is carried on. Waves that
# travel without damping had 0.87 to 0.91 of their errors covered without this; deviations after
# Newton's method are wider.
_MARCHING = 1.5


def row_sizes(
    equation: StructuredEquation,
    data: Data,
    coefficients: Array,
    amplitude: float,
    terms: Sequence[GridTerm] | None,
    scales: Sequence[Array],
    rounding: float,
) -> list[Array]:
    """Sizes of the data rows over `amplitude`, shaped as `scales`.

    They are no larger than these, but where rounding is known to be above the nugget, or carried
    on in time.

    Parameters
    ----------
    equation, data, coefficients
    amplitude : float
        Of the prior.
    terms : sequence of GridTerm or None
        Of the linearised equation, where `equation` is a neighbour only.
    scales
        Prior deviations of the rows at amplitude one.
    rounding : float
        Of the data, relative to their size.
    """
    points = math.prod(axis.rows.shape[1] for axis in equation.axes)
    # At every point of the grid rounding is its own: the row spaces average over them.
    averaged = math.prod(a.rows.shape[1] / len(a.grid) for a in equation.axes)
    known = rounding * math.sqrt(averaged) / NUGGET if rounding > NUGGET else 0.0
    carried = terms is None and any(_is_marching(axis) for axis in equation.axes)
    usual = _MARCHING if carried else 1.0
    source = max(np.linalg.norm(t) for t in _terms(equation, coefficients, terms))
    source = max(source, float(np.linalg.norm(data.source))) / math.sqrt(points)
    found = source / amplitude
    sizes = [np.hypot(usual * np.minimum(scales[0], found), known * found)]
    for i, (values, scale) in enumerate(zip(data.faces, scales[1:], strict=True)):
        others = tuple(k for k in range(values.ndim) if k != i)
        found = np.sqrt(np.mean(np.square(values), axis=others)).reshape(scale.shape)
        found = found / amplitude
        sizes.append(np.hypot(usual * np.clip(found, _LEAST * scale, scale), known * found))
    return sizes


def _is_marching(axis: Axis) -> bool:
    return len({condition.end for condition in axis.conditions}) == 1


def _terms(
    equation: StructuredEquation, coefficients: Array, terms: Sequence[GridTerm] | None
) -> list[Array]:
    if terms is None:
        return [along_all(product, coefficients) for product in equation.products]
    return [Jacobian(equation, [term]).apply(coefficients) for term in terms]
