"""How far rounding moves the data of a problem, relative to their size.

A source at x = 1000 + 1/3 is one at a neighbouring number, and far from the origin, or for many
waves, that is felt: ``sin(100 x)`` is known to 1e-11 there. Data in single precision are known
to 3e-8. No solution is better than its data.
"""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from solvers.neighbour import on_functions
from solvers.problem import Problem

__all__ = ["data_rounding"]

Array = NDArray[np.float64]

# Of a number that is rounded to the nearest: uniform over one unit in the last place.
_SPREAD = 12**-0.5


def data_rounding(problem: Problem, axes: Sequence[Array]) -> float:
    """Root mean square of what rounding changes in the source or on a face, relative to it.

    Parameters
    ----------
    problem : Problem
    axes
        The points at which its data are taken.
    """
    arrays = [*problem.data.values(), *(getattr(c, "value", None) for c in problem.conditions)]
    precisions = [str(getattr(a, "dtype", "")).removeprefix("torch.") for a in arrays]
    single = float(np.finfo(np.float32).eps) * _SPREAD if "float32" in precisions else 0.0
    rng = np.random.default_rng(0)
    moved = [x * (1 + np.finfo(float).eps * _SPREAD * rng.normal(size=len(x))) for x in axes]
    changes = [_change(function, axes, moved) for function in _functions(problem)]
    return max([single, *changes])


def _functions(problem: Problem) -> Iterator[Callable[[Sequence[Array]], Array]]:
    """Data that have values everywhere, each on a product of axes."""
    if on_functions(problem):
        yield lambda axes: problem.source_on_grid(list(axes))
    for face in problem.faces:
        if face.field.is_function:
            yield lambda axes, face=face: face.value_on_grid(
                [x for k, x in enumerate(axes) if k != face.axis]
            )


def _change(
    function: Callable[[Sequence[Array]], Array], axes: Sequence[Array], moved: Sequence[Array]
) -> float:
    values = np.asarray(function(axes))
    size = float(np.sqrt(np.mean(np.square(values))))
    change = np.asarray(function(moved)) - values
    return float(np.sqrt(np.mean(np.square(change)))) / size if size else 0.0
