"""What a solve leaves behind besides its solution."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

__all__ = ["SolutionReport"]


@dataclass(frozen=True, slots=True, eq=False)
class SolutionReport:
    """What a solver did and how well.

    Attributes
    ----------
    method, kernel : str
    grid : tuple of int
    rank : tuple of int
        Basis functions along each axis.
    frequencies : dict of ndarrays
        For each axis the tones found or given, in cycles per unit (the angular frequency is
        2π times as much). A slow component and, where it was needed, a band of lines up to
        `band` come on top.
    band : dict of float
        For each axis the end of that band, in cycles per unit; 0 where there is none.
    residual : float
        Root mean square of what the equation leaves at random points between the grid's,
        relative to its largest term.
    boundary_error : float
        The largest on any face, relative to the largest value of the solution.
    log_marginal_likelihood : float
        Of the data, in natural units, at the profiled amplitude.
    amplitude : float
        Standard deviation of the prior, in the unit of the solution.
    nugget : float
        Standard deviation of the noise of a data row, relative to its prior deviation.
    prior : int
        The rung of the ladder that was taken, 1 for the narrowest (`solvers.prior`).
    seconds : float
    newton_steps : int
        0 where one direct solve was enough.
    noise : tuple of float
        The variance of each block of observations, as given or as learned.
    unknowns : int
        The number of coefficients of a solve by rows, all functions and parameters together; 0
        for one along the axes.
    """

    method: str
    kernel: str
    grid: tuple[int, ...]
    rank: tuple[int, ...]
    frequencies: Mapping[str, NDArray[np.float64]]
    band: Mapping[str, float]
    residual: float
    boundary_error: float
    log_marginal_likelihood: float
    amplitude: float
    nugget: float
    prior: int
    seconds: float
    newton_steps: int = 0
    noise: tuple[float, ...] = ()
    unknowns: int = 0

    def to_json(self) -> dict[str, Any]:
        """Fields as plain numbers, lists and strings."""
        found = {axis: [float(f) for f in values] for axis, values in self.frequencies.items()}
        return asdict(self) | {"frequencies": found}

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> Self:
        found = {axis: np.array(values, float) for axis, values in fields["frequencies"].items()}
        fields = {"noise": (), **fields}
        sizes = {name: tuple(fields[name]) for name in ("grid", "rank", "noise")}
        return cls(**{**fields, **sizes, "frequencies": found})

    def __str__(self) -> str:
        sizes, ranks = " x ".join(map(str, self.grid)), " x ".join(map(str, self.rank))
        tones = "; ".join(
            f"{axis}: {', '.join(f'{f:.4g}' for f in values) or 'none'}"
            + (f" and all below {self.band[axis]:.4g}" if self.band[axis] else "")
            for axis, values in self.frequencies.items()
        )
        more = f", {self.unknowns} unknowns" if self.unknowns else ""
        seen = f"\n  noise of observations {', '.join(f'{v:.3g}' for v in self.noise)}"
        return (
            f"{self.method} solve, {self.kernel} kernel, {self.seconds:.2f} s\n"
            f"  grid {sizes}, rank {ranks}{more}\n"
            f"  frequencies (cycles per unit) {tones}\n"
            f"  relative residual between the grid's points {self.residual:.1e}, "
            f"boundary error {self.boundary_error:.1e}\n"
            f"  log marginal likelihood {self.log_marginal_likelihood:.1f}, "
            f"prior amplitude {self.amplitude:.3g}, relative nugget {self.nugget:.0e}"
            + (seen if self.noise else "")
        )
