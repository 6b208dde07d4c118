"""Whether the conditions on two faces agree where the faces meet."""

import itertools
import warnings
from collections.abc import Sequence
from typing import cast

import numpy as np

from kernelgp.errors import NumericalWarning
from solvers.data import ArrayField, LostField
from solvers.domain import Box
from solvers.faces import Face

__all__ = ["check_corners"]

# A formula evaluated at a corner in two ways differs by rounding, far below these; a misfit
# above them is felt by the solution.
_RTOL = 1e-8
_ATOL = 1e-12


def check_corners(faces: Sequence[Face], box: Box) -> None:
    """Warn where two faces ask for different values in a corner they share.

    Warns
    -----
    NumericalWarning
        It holds the greatest misfit, the two faces and the place.
    """
    # Slopes on two faces are along different axes, so only values can be compared.
    faces = [f for f in faces if f.of_values and not isinstance(f.field, LostField)]
    worst, where = 0.0, ""
    for one, other in itertools.combinations(faces, 2):
        if one.axis == other.axis or one.function != other.function:
            continue
        for corner in itertools.product((0, 1), repeat=box.dimension):
            if corner[one.axis] != one.end or corner[other.axis] != other.end:
                continue
            place = [bounds[end] for bounds, end in zip(box.bounds, corner, strict=True)]
            if not box.contains(np.array([place]))[0]:
                continue
            values = [_at_corner(face, corner, box) / face.alpha for face in (one, other)]
            misfit = abs(values[0] - values[1])
            if misfit > worst:
                named = zip(box.axes, place, strict=True)
                point = ", ".join(f"{axis}={coordinate:.6g}" for axis, coordinate in named)
                worst, where = (
                    misfit,
                    f"{one.name} and {other.name} differ by {misfit:.1e} at {point}",
                )
    if worst > _ATOL and worst > _RTOL * max(_size(face, box) / abs(face.alpha) for face in faces):
        warnings.warn(
            f"conditions: {where}, where they meet; no smooth solution takes both values: make "
            f"them agree, or expect an error of that size near there.",
            NumericalWarning,
            stacklevel=4,  # past `Problem.check_conditions` and the solver, to who called it
        )


def _at_corner(face: Face, corner: tuple[int, ...], box: Box) -> float:
    if face.field.is_function:
        axes = [np.array([b[end]]) for b, end in zip(box.bounds, corner, strict=True)]
        return float(face.value(*axes)[0])
    # The first or the last value along each of the other axes: index -1 is the upper end.
    index = tuple(-end for axis, end in enumerate(corner) if axis != face.axis)
    return float(cast(ArrayField, face.field).values[index])


def _size(face: Face, box: Box) -> float:
    """The greatest value on a face, from a coarse sample of it."""
    if not face.field.is_function:
        return float(np.abs(cast(ArrayField, face.field).values).max())
    axes = box.uniform_axes([17] * box.dimension)
    axes[face.axis] = np.array([face.coordinate])
    points = np.stack([c.ravel() for c in np.meshgrid(*axes, indexing="ij")], axis=1)
    return float(np.abs(face.value(*points[box.contains(points)].T)).max(initial=0.0))
