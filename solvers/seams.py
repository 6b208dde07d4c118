"""Whether data agree at both ends of a periodic axis, which are one point."""

import warnings

import numpy as np
from numpy.typing import NDArray

from kernelgp.errors import NumericalWarning
from solvers.problem import Problem
from solvers.samples import Samples

__all__ = ["check_seams"]

Array = NDArray[np.float64]

# The ends of an axis such as (0, 2 pi) are rounded, which a fast wave feels.
_RTOL = 1e-8


def check_seams(problem: Problem, samples: Samples) -> None:
    """Warn where the source, or a value on a face, jumps from one end of a period to the other.

    Warns
    -----
    NumericalWarning
        It holds the greatest jump and where it is.
    """
    worst, where, size = 0.0, "", 0.0
    for axis in problem.periodic:
        signals = [("the source", samples.source, axis)]
        for other, (faces, values) in enumerate(zip(samples.faces, samples.values, strict=True)):
            place = axis - (other < axis)
            signals += [
                (f"the condition on {face.name}", v, place)
                for face, v in zip(faces, values, strict=True)
                if other != axis
            ]
        for name, signal, place in signals:
            ends = np.take(signal, [0, -1], axis=place)
            jump, largest = np.ptp(ends, axis=place).max(), np.abs(signal).max()
            if jump > _RTOL * largest and jump * size >= worst * largest:
                worst, size = float(jump), float(largest)
                where = f"{name} differs by {worst:.1e} at the ends of {problem.axes[axis]}"
    if where:
        warnings.warn(
            f"solve: {where}, which is periodic; no smooth solution answers to that: make both "
            "ends agree, or expect an error of that size near there.",
            NumericalWarning,
            stacklevel=4,  # past the solver, to who called it
        )
