"""The ladder of priors that a solver climbs until the equation holds between the grid's points.

Most solutions are a few tones on a slow trend, and the narrow prior for these is the most
accurate and the smallest. Modulated, damped or neighbouring tones need wider envelopes; layers,
chirps and bumps have no tones at all and need the whole band of frequencies that the grid can
hold. One order of trial serves every problem, and the residual says when to stop.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from solvers.axis_basis import Component

__all__ = ["LADDER", "POLYNOMIALS", "PriorShape"]

# Lines closer than one to an interval represent functions that are not periodic on it
# (Fourier extension): half a cycle lets them have twice the period.
_BAND_SPACING = 0.5


@dataclass(frozen=True, slots=True)
class PriorShape:
    """Widths relative to an axis, and a band of frequencies.

    Attributes
    ----------
    slow, tone : float
        ``ρ L`` of the component of frequency zero and of each tone; the lengthscale is
        ``L / (√2 ρ L)``.
    band : float
        Share of the grid's sampling rate up to which lines fill the spectrum: 0.5 would be
        two points per wavelength.
    lines : float
        Of a periodic axis: the share of the waves that its grid can tell from one another.
    polynomial : bool
        Whether polynomials on Chebyshev points stand in place of all this, where an axis is
        not periodic and the data are functions.
    """

    slow: float
    tone: float
    band: float = 0.0
    lines: float = 1.0
    polynomial: bool = False

    def narrowed(self) -> "PriorShape":
        """A prior of lower rank, for a grid with few points."""
        return PriorShape(self.slow / 2, self.tone / 3, self.band / 2, self.lines)

    def components(
        self, length: float, points: int, frequencies: Sequence[float], *, most_lines: int
    ) -> list[Component]:
        """Components for one axis.

        Parameters
        ----------
        length : float
        points : int
            Of the grid along this axis.
        frequencies : sequence of float
            The tones, in cycles per unit.
        most_lines : int
            Bound on the lines of the band.
        """
        unit = length / math.sqrt(2)
        lines = np.arange(_BAND_SPACING, self.band * points, _BAND_SPACING)[:most_lines]
        return [
            Component(0.0, unit / self.slow),
            *(Component(float(f), unit / self.tone) for f in frequencies),
            *(Component(float(line) / length, math.inf) for line in lines),
        ]


#: From the narrowest to the widest. Measured on 50 problems in one and two dimensions: tones
#: on trends end at 1e-13 on the first rung, damped and modulated ones at 1e-11 to 1e-13 on
#: the second and third, layers, chirps and bumps at 1e-8 to 1e-12 on the last two. Envelopes
#: wider than 4 lose digits at the ends of the interval, where they vanish.
LADDER = (
    PriorShape(2.0, 0.3, lines=0.25),
    PriorShape(2.0, 1.0, lines=0.5),
    PriorShape(4.0, 2.0),
    PriorShape(2.0, 1.0, 1 / 8),
    PriorShape(2.0, 1.0, 1 / 4),
)

#: Where data are functions, tried once tones have failed: bumps, layers and chirps end as they do
#: in collocation on as many points.
POLYNOMIALS = PriorShape(0.0, 0.0, polynomial=True)
