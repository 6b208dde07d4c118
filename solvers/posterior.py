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
from solvers.jacobian import GridTerm
from solvers.jacobian_deviation import JacobianDeviation, deviation_of
from solvers.periodic_axis import PeriodicAxis
from solvers.polynomial_basis import PolynomialBasis
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
# For one, two and three axes, a second or two of work: deviations computed by transposed direct
# solves, and by transposed Krylov solves. More points than that get their deviations from draws.
_MOST_EXACT = {1: 100_000, 2: 200, 3: 20}
_MOST_KRYLOV = {1: 20_000, 2: 32, 3: 8}
_DRAWS, _DRAWN = {1: 64, 2: 64, 3: 32}, 16


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
    terms : sequence of GridTerm, optional
        Of the equation linearised at the solution, where `equation` is a neighbour only.
    scales : sequence of ndarrays, optional
        The sizes of the data rows that their noise is relative to, as `Deviation` has them.
    defect : ndarray, shape (r1, ..., rd), optional
        What sampling the source on the grid has missed, in the unit of the solution: a deviation
        to add.
    """

    def __init__(
        self,
        equation: StructuredEquation,
        coefficients: Array,
        report: SolutionReport,
        *,
        floor: float = 0.0,
        terms: Sequence[GridTerm] | None = None,
        scales: Sequence[Array] | None = None,
        defect: Array | None = None,
    ) -> None:
        self.equation, self.coefficients = equation, coefficients
        self.report, self.floor = report, floor
        self.terms, self.scales = terms, scales
        self.defect = np.zeros_like(coefficients) if defect is None else defect

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
        """Standard deviation of the mean or of its derivative, shape (m,).

        It is computed where that takes a second or two, O(r³) a point in two dimensions; for
        more points it is the root mean square of draws, one solve each: of 64, which is right to
        9 % (one standard error), in three dimensions of 32.
        """
        orders = orders or (0,) * len(self.equation.axes)
        exact = len(points) <= self._most_exact
        batches = []
        for batch in _batches(points):
            rows = self._rows(batch.T, orders)
            held = self._deviation.std([rows]) if exact else _root_mean_square(rows, self._errors)
            held = self.amplitude * np.hypot(held, self._deviation.left_out(batch.T, orders))
            batches.append(np.hypot(held, evaluate_at(rows, self.defect)))
        return np.hypot(np.concatenate([np.zeros(0), *batches]), self._floor_of(orders))

    @one_thread()
    def std_on_grid(self, axes: Sequence[Array], orders: Orders | None = None) -> Array:
        """The same on the product of the axes, shape (m1, ..., md)."""
        orders = orders or (0,) * len(self.equation.axes)
        shape = tuple(len(x) for x in axes)
        if math.prod(shape) <= self._most_exact or not self._is_smooth:
            points = np.stack([c.ravel() for c in np.meshgrid(*axes, indexing="ij")], axis=1)
            return self.std(points, orders).reshape(shape)
        rows, total = self._rows(axes, orders), np.zeros(shape)
        for i in range(self._errors.shape[-1]):
            total += np.square(along_all(rows, self._errors[..., i]))
        held = np.sqrt(total / self._errors.shape[-1])
        deviation = self.amplitude * np.hypot(held, self._deviation.left_out_on_grid(axes, orders))
        deviation = np.hypot(deviation, along_all(rows, self.defect))
        return np.hypot(deviation, self._floor_of(orders))

    @one_thread()
    def sample(
        self,
        points: Array,
        n_samples: int,
        generator: torch.Generator,
        orders: Orders | None = None,
    ) -> Array:
        """Joint draws, shape (n_samples, m); one solve each, whatever the number of points."""
        drawn = self._draws(n_samples, generator)
        batches = [
            np.stack([evaluate_at(rows, drawn[..., i]) for i in range(n_samples)])
            for rows in (self._rows(batch.T, orders) for batch in _batches(points))
        ]
        return np.concatenate([np.zeros((n_samples, 0)), *batches], axis=1)

    @one_thread()
    def sample_on_grid(
        self, axes: Sequence[Array], n_samples: int, generator: torch.Generator
    ) -> Array:
        """Draws on the product of the axes, shape (m1, ..., md, n_samples)."""
        return along_all(self._rows(axes, None), self._draws(n_samples, generator))

    def arrays(self) -> dict[str, Array]:
        """What `from_arrays` needs, by name."""
        arrays: dict[str, Any] = {"coefficients": self.coefficients, "defect": self.defect}
        for i, (_, coefficient) in enumerate(self.terms or ()):
            arrays[f"term{i}"] = np.asarray(coefficient, dtype=np.float64)
        for i, scale in enumerate(self.scales or ()):
            arrays[f"scale{i}"] = scale
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
            "scales": len(self.scales or ()),
            "terms": None if self.terms is None else [list(orders) for orders, _ in self.terms],
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
            if kind == PolynomialBasis.kind:
                basis = PolynomialBasis(bounds[0], bounds[1], components)
            elif kind == AxisBasis.kind:
                factor = first.astype(np.intp), second
                basis = AxisBasis(bounds[0], bounds[1], components, factor=factor)
            else:
                factor = first, second
                basis = SectionBasis(bounds[0], bounds[1], components, len(second), factor=factor)
            ends = [Condition(int(end), alpha, beta) for end, alpha, beta in conditions]
            axes.append(AxisDiscretisation(basis, grid, ends, separation, i))
        terms = [
            (tuple(orders), _coefficient(arrays[f"term{i}"]))
            for i, orders in enumerate(meta.get("terms") or ())
        ]
        scales = [np.array(arrays[f"scale{i}"]) for i in range(meta.get("scales", 0))]
        return cls(
            StructuredEquation(axes, separation, free_constant=bool(meta.get("free_constant"))),
            np.array(arrays["coefficients"]),
            SolutionReport.from_json(meta["report"]),
            floor=float(meta["floor"]),
            terms=terms or None,
            scales=scales or None,
            defect=np.array(arrays["defect"]) if "defect" in arrays else None,
        )

    @cached_property
    def _deviation(self) -> Deviation | JacobianDeviation:
        return deviation_of(self.equation, self.terms, self.report.nugget, self.scales)

    @property
    def _is_smooth(self) -> bool:
        return all(axis.basis.kind != SectionBasis.kind for axis in self.equation.axes)

    @property
    def _most_exact(self) -> int:
        """Points up to which a deviation is computed, not drawn."""
        d = len(self.equation.axes)
        return _MOST_KRYLOV[d] if self.terms is not None else _MOST_EXACT[d]

    @cached_property
    def _errors(self) -> Array:
        """Draws of the error at amplitude one, always the same, along the last axis."""
        generator, times = torch.Generator().manual_seed(0), _DRAWS[len(self.equation.axes)]
        draws = [self._deviation.sample_errors(_DRAWN, generator) for _ in range(times // _DRAWN)]
        return np.concatenate(draws, axis=-1)

    def _draws(self, n_samples: int, generator: torch.Generator) -> Array:
        """Coefficients of draws of the solution, with a trailing axis."""
        errors = self.amplitude * self._deviation.sample_errors(n_samples, generator)
        signs = torch.randn(n_samples, generator=generator, dtype=torch.float64).numpy()
        return self.coefficients[..., None] + errors + self.defect[..., None] * signs

    def _floor_of(self, orders: Orders) -> float:
        # A misfit that varies from one grid point to the next has the largest derivatives.
        return self.floor * math.prod(
            ((len(axis.grid) - 1) / (axis.basis.upper - axis.basis.lower)) ** order
            for axis, order in zip(self.equation.axes, orders, strict=True)
        )

    def _rows(self, coordinates: Sequence[Array] | Array, orders: Orders | None) -> list[Array]:
        orders = orders or (0,) * len(self.equation.axes)
        return [
            axis.basis.evaluate(x, order)[order]
            for axis, x, order in zip(self.equation.axes, coordinates, orders, strict=True)
        ]


def _coefficient(stored: Array) -> float | Array:
    return np.array(stored) if stored.ndim else float(stored)


def _root_mean_square(rows: Sequence[Array], errors: Array) -> Array:
    draws = [evaluate_at(rows, errors[..., i]) for i in range(errors.shape[-1])]
    return np.sqrt(np.mean(np.square(draws), axis=0))


def _batches(points: Array) -> list[Array]:
    return [points[i : i + _BATCH] for i in range(0, len(points), _BATCH)]
