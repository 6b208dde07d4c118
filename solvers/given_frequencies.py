"""Whether frequencies that a user gives are near those of the data."""

import math
import warnings
from collections.abc import Mapping, Sequence

from kernelgp.errors import NumericalWarning
from solvers.problem import Problem
from solvers.resolution import signals_along
from solvers.samples import Samples
from solvers.spectrum import peaks

__all__ = ["check_given"]

# Radians in the whole interval that the widest envelope of a tone covers: 13 cost nothing, 25
# some six digits.
_COVERED = 18.0
_FLOOR = 1e-4


def check_given(problem: Problem, samples: Samples, given: Mapping[str, Sequence[float]]) -> None:
    """Warn where the main wave of the source or of a face is far from every frequency given.

    Warns
    -----
    NumericalWarning
        It names the axis, the wave and the distance.
    """
    for i, (axis, length) in enumerate(zip(problem.axes, problem.domain.lengths, strict=True)):
        if axis not in given or i in problem.periodic:
            continue
        for signal in signals_along(samples, i):
            strongest = peaks([signal], length, floor=_FLOOR)
            if not strongest:
                continue
            main = strongest[0][1]
            nearest = min((abs(main - f) for f in given[axis]), default=main)
            distance = 2 * math.pi * nearest * length
            if distance > _COVERED:
                warnings.warn(
                    f"solve: the data's main wave along {axis} has {main:.4g} cycles per unit, "
                    f"{nearest:.2g} from the nearest of frequencies[{axis!r}]: that is "
                    f"{distance:.0f} rad in the whole interval, and tones cover {_COVERED:.0f}. "
                    f"Add {main:.4g}, or leave {axis!r} out to have it found.",
                    NumericalWarning,
                    stacklevel=4,  # past the solver's own steps, to who called it
                )
                break
