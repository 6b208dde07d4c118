"""The posterior of a structured solve: mean, deviation and samples anywhere in the box."""

import math
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray

from solvers.axis_basis import AxisBasis, Component
from solvers.deviation import Deviation
from solvers.discretisation import AxisDiscretisation, Condition
from solvers.fourier_basis import FourierBasis
from solvers.periodic_axis import PeriodicAxis
from solvers.report import SolutionReport
from solvers.section_basis import SectionBasis
from solvers.separation import Separation
from solvers.structured import Axis, StructuredEquation
from solvers.tensors import along_all, evaluate_at
from solvers.threads import one_thread

__all__ = ["GPPosterior"]

Array = NDArray[np.float64]
Orders = tuple[int, ...]

# Points evaluated at once: their basis rows stay within some ten megabytes.
_BATCH = 5000


class GPPosterior:
    """A Gaussian process conditioned on an equation and its conditions.

    Parameters
    ----------
    equation : StructuredEquation
    coefficients : ndarray, shape (r1, ..., rd)
        Of the mean.
    report : SolutionReport
        Amplitude and nugget are taken from it.
    floor : float
        What the solution misses on the faces, in its unit: its deviation is nowhere below.
    """

    def __init__(
        self,
        equation: StructuredEquation,
        coefficients: Array,
        report: SolutionReport,
        *,
        floor: float = 0.0,
    ) -> None:
        self.equation, self.coefficients = equation, coefficients
        self.report, self.floor = report, floor

    @property
    def amplitude(self) -> float:
        """Standard deviation of the prior, in the unit of the solution."""
        return self.report.amplitude

    def mean(self, points: Array, orders: Orders | None = None) -> Array:
        """The mean, or a derivative of it, at points of shape (m, d): shape (m,)."""
        batches = [
            evaluate_at(self._rows(batch.T, orders), self.coefficients)
            for batch in _batches(points)
        ]
        return np.concatenate([np.zeros(0), *batches])

    def mean_on_grid(self, axes: Sequence[Array], orders: Orders | None = None) -> Array:
        """The same on the product of the axes, shape (m1, ..., md)."""
        return along_all(self._rows(axes, orders), self.coefficients)

    @one_thread()
    def std(self, points: Array, orders: Orders | None = None) -> Array:
        """Standard deviation of the mean or of its derivative, shape (m,); O(r³) a point."""
        batches = []
        for batch in _batches(points):
            held = self._deviation.std([self._rows(batch.T, orders)])
            batches.append(
                np.hypot(held, self._deviation.left_out(batch.T, orders or (0,) * batch.shape[1]))
            )
        deviation = self.amplitude * np.concatenate([np.zeros(0), *batches])
        # A misfit that varies from one grid point to the next has the largest derivatives.
        steepest = math.prod(
            ((len(axis.grid) - 1) / (axis.basis.upper - axis.basis.lower)) ** order
            for axis, order in zip(self.equation.axes, orders or (), strict=False)
        )
        return np.hypot(deviation, self.floor * steepest)

    @one_thread()
    def sample(self, points: Array, n_samples: int, generator: torch.Generator) -> Array:
        """Joint draws, shape (n_samples, m); one solve each, whatever the number of points."""
        errors = self.amplitude * self._deviation.sample_errors(n_samples, generator)
        drawn = self.coefficients[..., None] + errors
        batches = [
            np.stack([evaluate_at(rows, drawn[..., i]) for i in range(n_samples)])
            for rows in (self._rows(batch.T, None) for batch in _batches(points))
        ]
        return np.concatenate([np.zeros((n_samples, 0)), *batches], axis=1)

    @one_thread()
    def sample_on_grid(
        self, axes: Sequence[Array], n_samples: int, generator: torch.Generator
    ) -> Array:
        """Draws on the product of the axes, shape (m1, ..., md, n_samples)."""
        errors = self.amplitude * self._deviation.sample_errors(n_samples, generator)
        return along_all(self._rows(axes, None), self.coefficients[..., None] + errors)

    def arrays(self) -> dict[str, Array]:
        """What `from_arrays` needs, by name."""
        arrays: dict[str, Any] = {"coefficients": self.coefficients}
        for i, axis in enumerate(self.equation.axes):
            arrays[f"grid{i}"] = axis.grid
            arrays[f"factor{i}_0"], arrays[f"factor{i}_1"] = axis.basis.factor
            arrays[f"components{i}"] = np.array(
                [(c.frequency, c.lengthscale, c.weight) for c in axis.basis.components]
            )
        return arrays

    def meta(self) -> dict[str, Any]:
        """What `from_arrays` needs besides, fit for JSON."""
        separation = self.equation.separation
        return {
            "bases": [axis.basis.kind for axis in self.equation.axes],
            "bounds": [[axis.basis.lower, axis.basis.upper] for axis in self.equation.axes],
            "conditions": [
                [[c.end, c.alpha, c.beta] for c in axis.conditions] for axis in self.equation.axes
            ],
            "left": [sorted(op.items()) for op in separation.left],
            "right": [sorted(op.items()) for op in separation.right],
            "mixed": [[list(orders), c] for orders, c in separation.mixed.items()],
            "free_constant": self.equation.free_constant,
            "floor": self.floor,
            "report": self.report.to_json(),
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Array], meta: Mapping[str, Any]) -> Self:
        """The posterior that `arrays` and `meta` were taken from."""
        separation = Separation(
            tuple({int(k): float(c) for k, c in op} for op in meta["left"]),
            tuple({int(k): float(c) for k, c in op} for op in meta["right"]),
            {tuple(orders): float(c) for orders, c in meta["mixed"]},
        )
        axes: list[Axis] = []
        for i, (kind, bounds, conditions) in enumerate(
            zip(meta["bases"], meta["bounds"], meta["conditions"], strict=True)
        ):
            components = [
                Component(*(float(number) for number in row)) for row in arrays[f"components{i}"]
            ]
            first, second = np.array(arrays[f"factor{i}_0"]), np.array(arrays[f"factor{i}_1"])
            grid = np.array(arrays[f"grid{i}"])
            if kind == FourierBasis.kind:
                basis = FourierBasis(bounds[0], bounds[1], components)
                axes.append(PeriodicAxis(basis, grid, separation, i))
                continue
            if kind == AxisBasis.kind:
                factor = first.astype(np.intp), second
                basis = AxisBasis(bounds[0], bounds[1], components, factor=factor)
            else:
                factor = first, second
                basis = SectionBasis(bounds[0], bounds[1], components, len(second), factor=factor)
            ends = [Condition(int(end), alpha, beta) for end, alpha, beta in conditions]
            axes.append(AxisDiscretisation(basis, grid, ends, separation, i))
        return cls(
            StructuredEquation(axes, separation, free_constant=bool(meta.get("free_constant"))),
            np.array(arrays["coefficients"]),
            SolutionReport.from_json(meta["report"]),
            floor=float(meta["floor"]),
        )

    @cached_property
    def _deviation(self) -> Deviation:
        return Deviation(self.equation, self.report.nugget)

    def _rows(self, coordinates: Sequence[Array] | Array, orders: Orders | None) -> list[Array]:
        orders = orders or (0,) * len(self.equation.axes)
        return [
            axis.basis.evaluate(x, order)[order]
            for axis, x, order in zip(self.equation.axes, coordinates, orders, strict=True)
        ]


def _batches(points: Array) -> list[Array]:
    return [points[i : i + _BATCH] for i in range(0, len(points), _BATCH)]
