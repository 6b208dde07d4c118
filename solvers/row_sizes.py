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
from solvers.structured import Data, StructuredEquation
from solvers.tensors import along_all

__all__ = ["row_sizes"]

Array = NDArray[np.float64]

# Where a face value is zero, the solution still meets it by rounding only: relative to what the
# prior says of it.
_LEAST = 2e-3


def row_sizes(
    equation: StructuredEquation,
    data: Data,
    coefficients: Array,
    amplitude: float,
    terms: Sequence[GridTerm] | None,
    scales: Sequence[Array],
) -> list[Array]:
    """Sizes of the data rows over `amplitude`, nowhere above `scales`, and shaped as they are.

    Parameters
    ----------
    equation, data, coefficients
    amplitude : float
        Of the prior.
    terms : sequence of GridTerm or None
        Of the linearised equation, where `equation` is a neighbour only.
    scales
        Prior deviations of the rows at amplitude one.
    """
    points = math.prod(axis.rows.shape[1] for axis in equation.axes)
    far = _coordinate_rounding(equation)
    scales = [far * scale for scale in scales]
    source = max(np.linalg.norm(t) for t in _terms(equation, coefficients, terms))
    source = max(source, float(np.linalg.norm(data.source))) / math.sqrt(points)
    sizes = [np.minimum(scales[0], far * source / amplitude)]
    for i, (values, scale) in enumerate(zip(data.faces, scales[1:], strict=True)):
        others = tuple(k for k in range(values.ndim) if k != i)
        found = np.sqrt(np.mean(np.square(values), axis=others)).reshape(scale.shape)
        found = far * found / amplitude
        sizes.append(np.clip(found, _LEAST * scale, scale))
    return sizes


def _coordinate_rounding(equation: StructuredEquation) -> float:
    """How much more than the nugget a source is rounded far from the origin.

    A coordinate x has an error of ``ε x``, a wave there one of ``2π f ε x``, at every point of
    the grid its own: the row spaces average over them.
    """
    relative = [
        2 * math.pi * max(c.frequency for c in a.basis.components) * float(np.abs(a.grid).max())
        for a in equation.axes
    ]
    averaged = math.prod(a.rows.shape[1] / len(a.grid) for a in equation.axes)
    extra = np.finfo(float).eps * np.linalg.norm(relative) * math.sqrt(averaged) / NUGGET
    return math.hypot(1.0, float(extra))


def _terms(
    equation: StructuredEquation, coefficients: Array, terms: Sequence[GridTerm] | None
) -> list[Array]:
    if terms is None:
        return [along_all(product, coefficients) for product in equation.products]
    return [Jacobian(equation, [term]).apply(coefficients) for term in terms]
