"""What a solve slab by slab leaves behind besides its solution."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self

import numpy as np

__all__ = ["SlabsReport"]


@dataclass(frozen=True, slots=True, eq=False)
class SlabsReport:
    """What the march did and how well.

    Attributes
    ----------
    method, kernel : str
    grid : tuple of int
    slabs : int
        As asked for.
    times : tuple of float
        Where slabs begin and end: more than asked for where some had to be cut.
    rank : tuple of int
        Basis functions along each axis, in one slab.
    band : dict of float
        For each axis the frequency up to which lines fill the spectrum, in cycles per unit of
        the axis, stretched where it is.
    layers : tuple of (float, float)
        Center and width of what the axis is stretched for, in the last slab.
    residual : float
        What the equation leaves between the nodes, relative to its largest term: root mean square
        in the worst slab.
    boundary_error : float
        The largest on any side, relative to the largest value of the solution.
    newton_steps : int
        In all.
    seconds : float
    """

    method: str
    kernel: str
    grid: tuple[int, ...]
    slabs: int
    times: tuple[float, ...]
    rank: tuple[int, ...]
    band: Mapping[str, float]
    layers: tuple[tuple[float, float], ...]
    residual: float
    boundary_error: float
    newton_steps: int
    seconds: float

    @property
    def frequencies(self) -> dict[str, np.ndarray]:
        """No tones are looked for: a band of lines holds what there is."""
        return {axis: np.zeros(0) for axis in self.band}

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> Self:
        tuples = {name: tuple(fields[name]) for name in ("grid", "times", "rank")}
        layers = tuple((float(c), float(w)) for c, w in fields["layers"])
        return cls(**{**fields, **tuples, "layers": layers})

    def __str__(self) -> str:
        sizes, ranks = " x ".join(map(str, self.grid)), " x ".join(map(str, self.rank))
        count, cut = len(self.times) - 1, ""
        if count != self.slabs:
            cut = f", {self.slabs} of them asked for"
        steep = "".join(f"\n  stretched at {c:.4g}, {w:.2g} wide" for c, w in self.layers)
        return (
            f"{self.method} solve in {count} slabs{cut}, {self.kernel} kernel, "
            f"{self.seconds:.2f} s\n"
            f"  grid {sizes}, rank {ranks} a slab, {self.newton_steps} Newton steps{steep}\n"
            f"  relative residual between the nodes {self.residual:.1e}, "
            f"boundary error {self.boundary_error:.1e}"
        )
