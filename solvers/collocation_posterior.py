"""The posterior of a row-based solve: functions, fields and constants, joint."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray

from solvers.constants import Interval
from solvers.estimates import ConstantEstimate
from solvers.feature_basis import FeatureBasis
from solvers.least_squares import solve_upper
from solvers.report import SolutionReport
from solvers.rows import Space
from solvers.threads import one_thread

__all__ = ["CollocationPosterior", "FunctionPosterior"]

Array = NDArray[np.float64]
Orders = tuple[int, ...]

# Rows held at once: some tens of megabytes.
_BATCH_NUMBERS = 4_000_000


class CollocationPosterior:
    """All unknowns of a problem given its rows: a Gaussian over the coefficients of a `Space`.

    Parameters
    ----------
    space : Space
    functions : sequence of str
        Those of its unknowns that are the solution; the others are parameters.
    intervals : mapping of name to Interval
        Of its constants.
    mean : ndarray, shape (p,)
        Of the coefficients.
    scales, triangle : ndarrays, shapes (p,) and (p, p)
        D and R: their covariance is ``D (Rᵀ R)⁻¹ D``.
    report : SolutionReport
    floor : float
        What the solution misses on faces, in its unit: its deviation is nowhere below.
    """

    def __init__(
        self,
        space: Space,
        functions: Sequence[str],
        intervals: Mapping[str, Interval],
        mean: Array,
        scales: Array,
        triangle: Array,
        report: SolutionReport,
        *,
        floor: float = 0.0,
    ) -> None:
        self.space, self.functions, self.intervals = space, tuple(functions), dict(intervals)
        self.coefficients, self.scales, self.triangle = mean, scales, triangle
        self.report, self.floor = report, floor

    def of(self, name: str) -> "FunctionPosterior":
        """The posterior of one function or field."""
        return FunctionPosterior(self, name)

    def mean(self, points: Array, orders: Orders) -> Array:
        """The mean of the first function, or of a derivative, at points (m, d): shape (m,)."""
        return self.of(self.functions[0]).mean(points, orders)

    def mean_on_grid(self, axes: Sequence[Array], orders: Orders) -> Array:
        """The same on the product of the axes, shape (m1, ..., md)."""
        return self.of(self.functions[0]).mean_on_grid(axes, orders)

    def std(self, points: Array, orders: Orders) -> Array:
        """Standard deviation of the first function or of its derivative, shape (m,)."""
        return self.of(self.functions[0]).std(points, orders)

    def sample(self, points: Array, n_samples: int, generator: torch.Generator) -> Array:
        """Joint draws of the first function, shape (n_samples, m)."""
        return self.of(self.functions[0]).sample(points, n_samples, generator)

    def sample_on_grid(
        self, axes: Sequence[Array], n_samples: int, generator: torch.Generator
    ) -> Array:
        """Draws of the first function on the product of the axes, (m1, ..., md, n_samples)."""
        return self.of(self.functions[0]).sample_on_grid(axes, n_samples, generator)

    @property
    def fields(self) -> list[str]:
        """The names of unknown fields."""
        return [name for name in self.space.bases if name not in self.functions]

    @one_thread()
    def constant(self, name: str) -> ConstantEstimate:
        """An unknown constant."""
        interval = self.intervals[name]
        column = self.space.slices[name].start
        unit = np.zeros((len(self.scales), 1))
        unit[column] = self.scales[column]
        deviation = float(np.linalg.norm(solve_upper(self.triangle, unit, trans=1)))
        # No more than a priori.
        deviation = min(deviation, 1.0)
        mean, std = interval.moments(float(self.coefficients[column]), deviation)
        return ConstantEstimate(mean, std, (interval.lower, interval.upper))

    def constant_at_mode(self, name: str) -> float:
        """An unknown constant as the equation has it where it is solved."""
        column = self.space.slices[name].start
        return self.intervals[name].value(float(self.coefficients[column]))

    def draw(self, n_samples: int, generator: torch.Generator) -> Array:
        """Coefficients of all unknowns from the posterior, shape (p, n_samples)."""
        normal = torch.randn(
            n_samples, len(self.scales), generator=generator, dtype=torch.float64
        ).numpy()
        moved = self.scales[:, None] * solve_upper(self.triangle, normal.T)
        return self.coefficients[:, None] + moved

    def arrays(self) -> dict[str, Array]:
        """What `from_arrays` needs, by name."""
        arrays = {
            "coefficients": self.coefficients,
            "scales": self.scales,
            "triangle": self.triangle,
        }
        for name, basis in self.space.bases.items():
            arrays |= basis.arrays(f"basis/{name}")
        return arrays

    def meta(self) -> dict[str, Any]:
        """What `from_arrays` needs besides, fit for JSON."""
        return {
            "functions": list(self.functions),
            "bases": list(self.space.bases),
            "intervals": {n: [i.lower, i.upper] for n, i in self.intervals.items()},
            "floor": self.floor,
            "report": self.report.to_json(),
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Array], meta: Mapping[str, Any]) -> Self:
        """The posterior that `arrays` and `meta` were taken from."""
        bases = {n: FeatureBasis.from_arrays(arrays, f"basis/{n}") for n in meta["bases"]}
        intervals = {name: Interval(*ends) for name, ends in meta["intervals"].items()}
        names = ("coefficients", "scales", "triangle")
        mean, scales, triangle = (np.array(arrays[name]) for name in names)
        return cls(
            Space(bases, list(intervals)),
            meta["functions"],
            intervals,
            mean,
            scales,
            triangle,
            SolutionReport.from_json(meta["report"]),
            floor=float(meta["floor"]),
        )


@dataclass(frozen=True, eq=False)
class FunctionPosterior:
    """One function of a joint posterior.

    Draws with equal generators belong together: those of two functions are from one draw of all.
    """

    whole: CollocationPosterior
    name: str

    @property
    def report(self) -> SolutionReport:
        return self.whole.report

    @property
    def _columns(self) -> slice:
        return self.whole.space.slices[self.name]

    @property
    def _basis(self) -> FeatureBasis:
        return self.whole.space.bases[self.name]

    def mean(self, points: Array, orders: Orders) -> Array:
        """The mean, or a derivative of it, at points of shape (m, d): shape (m,)."""
        mean = self.whole.coefficients[self._columns]
        batches = [self._basis.at_points(x, orders) @ mean for x in self._batches(points)]
        return np.concatenate([np.zeros(0), *batches])

    def mean_on_grid(self, axes: Sequence[Array], orders: Orders) -> Array:
        """The same on the product of the axes, shape (m1, ..., md)."""
        mean = self.whole.coefficients[self._columns]
        return self._on_grid(axes, orders, mean[:, None])[..., 0]

    @one_thread()
    def std(self, points: Array, orders: Orders) -> Array:
        """Standard deviation of the mean or of its derivative, shape (m,); O(p²) a point."""
        whole, columns = self.whole, self._columns
        batches = []
        for x in self._batches(points):
            rows = np.zeros((len(whole.scales), len(x)))
            rows[columns] = (self._basis.at_points(x, orders) * whole.scales[columns]).T
            batches.append(np.linalg.norm(solve_upper(whole.triangle, rows, trans=1), axis=0))
        deviation = np.concatenate([np.zeros(0), *batches])
        # A misfit that varies from one grid point to the next has the largest derivatives.
        lengths = [axis.upper - axis.lower for axis in self._basis.axes]
        steps = zip(whole.report.grid, lengths, orders, strict=False)
        steepest = math.prod(((n - 1) / length) ** order for n, length, order in steps)
        return np.hypot(deviation, whole.floor * steepest)

    @one_thread()
    def sample(self, points: Array, n_samples: int, generator: torch.Generator) -> Array:
        """Joint draws, shape (n_samples, m)."""
        drawn = self.whole.draw(n_samples, generator)[self._columns]
        orders = (0,) * len(self._basis.axes)
        batches = [self._basis.at_points(x, orders) @ drawn for x in self._batches(points)]
        return np.concatenate([np.zeros((0, n_samples)), *batches]).T

    @one_thread()
    def sample_on_grid(
        self, axes: Sequence[Array], n_samples: int, generator: torch.Generator
    ) -> Array:
        """Draws on the product of the axes, shape (m1, ..., md, n_samples)."""
        drawn = self.whole.draw(n_samples, generator)[self._columns]
        return self._on_grid(axes, (0,) * len(axes), drawn)

    def _on_grid(self, axes: Sequence[Array], orders: Orders, coefficients: Array) -> Array:
        numbered = enumerate(zip(axes, orders, strict=True))
        rows = [self._basis.along(k, np.asarray(x, float), order) for k, (x, order) in numbered]
        return self._basis.combine_on_axes(rows, coefficients)

    def _batches(self, points: Array) -> list[Array]:
        size = max(_BATCH_NUMBERS // len(self.whole.scales), 1)
        return [points[i : i + size] for i in range(0, len(points), size)]
