"""The posterior of a structured solve: mean, deviation and samples anywhere in the box."""

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray

from solvers.axis_basis import AxisBasis, Component
from solvers.deviation import Deviation
from solvers.discretisation import AxisDiscretisation, Condition
from solvers.report import SolutionReport
from solvers.separation import Separation
from solvers.structured import StructuredEquation
from solvers.tensors import along_all, evaluate_at

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
    amplitude : float
        Standard deviation of the prior, in the unit of the solution.
    report : SolutionReport
    """

    def __init__(
        self,
        equation: StructuredEquation,
        coefficients: Array,
        amplitude: float,
        report: SolutionReport,
    ) -> None:
        self.equation, self.coefficients = equation, coefficients
        self.amplitude, self.report = amplitude, report

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

    def std(self, points: Array, orders: Orders | None = None) -> Array:
        """Standard deviation of the mean or of its derivative, shape (m,); O(r³) a point."""
        batches = [self._deviation.std([self._rows(batch.T, orders)]) for batch in _batches(points)]
        return self.amplitude * np.concatenate([np.zeros(0), *batches])

    def sample(self, points: Array, n_samples: int, generator: torch.Generator) -> Array:
        """Joint draws, shape (n_samples, m); one solve each, whatever the number of points."""
        errors = self.amplitude * self._deviation.sample_errors(n_samples, generator)
        drawn = self.coefficients[..., None] + errors
        batches = [
            np.stack([evaluate_at(rows, drawn[..., i]) for i in range(n_samples)])
            for rows in (self._rows(batch.T, None) for batch in _batches(points))
        ]
        return np.concatenate([np.zeros((n_samples, 0)), *batches], axis=1)

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
            arrays[f"columns{i}"], arrays[f"triangle{i}"] = axis.basis.factor
            arrays[f"components{i}"] = np.array(
                [(c.frequency, c.lengthscale, c.weight) for c in axis.basis.components]
            )
        return arrays

    def meta(self) -> dict[str, Any]:
        """What `from_arrays` needs besides, fit for JSON."""
        separation = self.equation.separation
        return {
            "amplitude": self.amplitude,
            "bounds": [[axis.basis.lower, axis.basis.upper] for axis in self.equation.axes],
            "conditions": [
                [[c.end, c.alpha, c.beta] for c in axis.conditions] for axis in self.equation.axes
            ],
            "left": [sorted(op.items()) for op in separation.left],
            "right": [sorted(op.items()) for op in separation.right],
            "mixed": [[list(orders), c] for orders, c in separation.mixed.items()],
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
        axes = []
        for i, (bounds, conditions) in enumerate(
            zip(meta["bounds"], meta["conditions"], strict=True)
        ):
            components = [
                Component(*(float(number) for number in row)) for row in arrays[f"components{i}"]
            ]
            columns = np.array(arrays[f"columns{i}"]).astype(np.intp)
            factor = columns, np.array(arrays[f"triangle{i}"])
            basis = AxisBasis(bounds[0], bounds[1], components, factor=factor)
            ends = [Condition(int(end), alpha, beta) for end, alpha, beta in conditions]
            grid = np.array(arrays[f"grid{i}"])
            axes.append(AxisDiscretisation(basis, grid, ends, separation, i))
        return cls(
            StructuredEquation(axes, separation),
            np.array(arrays["coefficients"]),
            float(meta["amplitude"]),
            SolutionReport.from_json(meta["report"]),
        )

    @cached_property
    def _deviation(self) -> Deviation:
        return Deviation(self.equation)

    def _rows(self, coordinates: Sequence[Array] | Array, orders: Orders | None) -> list[Array]:
        orders = orders or (0,) * len(self.equation.axes)
        return [
            axis.basis.evaluate(x, order)[order]
            for axis, x, order in zip(self.equation.axes, coordinates, orders, strict=True)
        ]


def _batches(points: Array) -> list[Array]:
    return [points[i : i + _BATCH] for i in range(0, len(points), _BATCH)]
