"""A rough prior on one axis, conditioned exactly: every datum by its own section of the kernel.

A Matérn envelope has no short expansion, but its covariance of the data is well enough
conditioned to be factored: the second derivative of a Matérn-5/2 draw is itself rough. So the
posterior is written down as it stands in the textbook, O(n³) once and O(n²) a point. Its
variance is a difference, good to some 1e-8 of the prior's; the deviations of rough priors are
far larger.

References
----------
C. E. Rasmussen and C. K. I. Williams, *Gaussian Processes for Machine Learning*, 2006, (2.25)
and section 9.4 (derivative observations).
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import scipy.linalg
import torch
from numpy.typing import NDArray

from kernelgp.errors import NotPositiveDefiniteError
from kernelgp.kernels import SpectralMixture
from solvers.axis_basis import Component
from solvers.report import SolutionReport
from solvers.separation import AxisOperator
from solvers.threads import one_thread

__all__ = ["Functional", "LinePosterior"]

Array = NDArray[np.float64]
Orders = tuple[int, ...]

# Jitters tried, relative to the variance of each datum.
_JITTERS = (0.0, *(10.0**k for k in range(-15, -7)))
_BATCH = 2000


@dataclass(frozen=True, slots=True)
class Functional:
    """One operator observed at several points: ``Σ coefficient dᵏu/dxᵏ`` at `points`."""

    points: Array
    operator: AxisOperator


class LinePosterior:
    """A Gaussian process on a line given linear functionals of it.

    Parameters
    ----------
    components : sequence of Component
        Of a Matérn-5/2 spectral mixture.
    functionals : sequence of Functional
    values : ndarray, shape (n,)
        Of all functionals, in their order.
    report : SolutionReport, optional

    Attributes
    ----------
    jitter : float
        Added to the data's covariance, relative to its diagonal.
    amplitude : float
        Profiled standard deviation of the prior, in the unit of the solution, for `components`
        as they are.
    log_marginal_likelihood : float

    Raises
    ------
    NotPositiveDefiniteError
        If the data's covariance is singular even with a jitter of 1e-8.

    Examples
    --------
    >>> ends, inside = np.array([0.0, 1.0]), np.linspace(0, 1, 33)
    >>> data = [Functional(ends, {0: 1.0}), Functional(inside, {2: 1.0})]  # u'' = 0
    >>> posterior = LinePosterior([Component(0.0, 1.0)], data, np.array([0.0, 1.0] + 33 * [0.0]))
    >>> posterior.mean(np.array([[0.25], [0.5], [0.75]])).round(3)
    array([0.25, 0.5 , 0.75])
    """

    def __init__(
        self,
        components: Sequence[Component],
        functionals: Sequence[Functional],
        values: Array,
        report: SolutionReport | None = None,
    ) -> None:
        self.components, self.functionals = tuple(components), tuple(functionals)
        self.values, self._report = values, report
        self._kernel = SpectralMixture(
            "matern52",
            [c.frequency for c in components],
            [c.lengthscale for c in components],
            [c.weight for c in components],
        )
        gram = np.vstack([self._observed(f) for f in functionals])
        self._scale = 1 / np.sqrt(np.diag(gram))
        self.jitter, self._factor = _cholesky(self._scale[:, None] * gram * self._scale)
        scaled = self._scale * values
        white = scipy.linalg.solve_triangular(self._factor, scaled, lower=True)
        self._weights = self._scale * scipy.linalg.cho_solve((self._factor, True), scaled)
        n, quadratic = len(values), float(white @ white)
        self.amplitude = math.sqrt(quadratic / n)
        logdet = 2 * float(np.log(np.diag(self._factor)).sum() - np.log(self._scale).sum())
        self.log_marginal_likelihood = (
            -0.5 * (n * (math.log(2 * math.pi * quadratic / n) + 1) + logdet)
            if quadratic
            else math.inf
        )

    @property
    def report(self) -> SolutionReport:
        assert self._report is not None
        return self._report

    def with_report(self, report: SolutionReport) -> Self:
        self._report = report
        return self

    def mean(self, points: Array, orders: Orders | None = None) -> Array:
        """The mean, or a derivative of it, at points of shape (m, 1): shape (m,)."""
        order = (orders or (0,))[0]
        batches = [self._cross(x, order) @ self._weights for x in _batches(points[:, 0])]
        return np.concatenate([np.zeros(0), *batches])

    def mean_on_grid(self, axes: Sequence[Array], orders: Orders | None = None) -> Array:
        return self.mean(np.asarray(axes[0])[:, None], orders)

    @one_thread()
    def std(self, points: Array, orders: Orders | None = None) -> Array:
        """Standard deviation of the mean or of its derivative, shape (m,)."""
        order = (orders or (0,))[0]
        prior = self._derivative(np.zeros(1), np.zeros(1), order, order).item()
        batches = [
            np.sqrt(np.clip(prior - np.square(self._white(x, order)).sum(axis=0), 0, None))
            for x in _batches(points[:, 0])
        ]
        # What the difference cannot resolve is not claimed to be smaller.
        floor = math.sqrt(np.finfo(float).eps * prior)
        return self.amplitude * np.maximum(np.concatenate([np.zeros(0), *batches]), floor)

    @one_thread()
    def sample(self, points: Array, n_samples: int, generator: torch.Generator) -> Array:
        """Joint draws, shape (n_samples, m); O(m³)."""
        x = points[:, 0]
        white = self._white(x, 0)
        covariance = self._derivative(x, x, 0, 0) - white.T @ white
        values, vectors = np.linalg.eigh(covariance)
        drawn = torch.randn(n_samples, len(x), generator=generator, dtype=torch.float64).numpy()
        spread = vectors * np.sqrt(np.clip(values, 0, None))
        return self.mean(points) + self.amplitude * drawn @ spread.T

    def arrays(self) -> dict[str, Array]:
        """What `from_arrays` needs, by name."""
        arrays: dict[str, Any] = {"values": self.values}
        arrays["components"] = np.array(
            [(c.frequency, c.lengthscale, c.weight) for c in self.components]
        )
        return arrays | {f"points{i}": f.points for i, f in enumerate(self.functionals)}

    def meta(self) -> dict[str, Any]:
        """What `from_arrays` needs besides, fit for JSON."""
        return {
            "operators": [sorted(f.operator.items()) for f in self.functionals],
            "report": self.report.to_json(),
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Array], meta: Mapping[str, Any]) -> Self:
        """The posterior that `arrays` and `meta` were taken from."""
        functionals = [
            Functional(np.array(arrays[f"points{i}"]), {int(k): float(c) for k, c in operator})
            for i, operator in enumerate(meta["operators"])
        ]
        components = [Component(*(float(v) for v in row)) for row in arrays["components"]]
        report = SolutionReport.from_json(meta["report"])
        return cls(components, functionals, np.array(arrays["values"]), report)

    def _derivative(self, x: Array, t: Array, order: int, other: int) -> Array:
        with torch.no_grad():
            x1, x2 = (torch.from_numpy(np.array(v, float))[:, None] for v in (x, t))
            return self._kernel.derivative(x1, x2, (order,), (other,)).numpy()

    def _cross(self, x: Array, order: int) -> Array:
        """Covariance of a derivative at `x` with all data, shape (len(x), n)."""
        blocks = [
            sum(c * self._derivative(x, f.points, order, k) for k, c in f.operator.items())
            for f in self.functionals
        ]
        return np.hstack(blocks)

    def _observed(self, functional: Functional) -> Array:
        """Covariance of one functional with all data."""
        parts = [c * self._cross(functional.points, k) for k, c in functional.operator.items()]
        return np.sum(parts, axis=0)

    def _white(self, x: Array, order: int) -> Array:
        cross = self._scale[:, None] * self._cross(x, order).T
        return scipy.linalg.solve_triangular(self._factor, cross, lower=True)


def _cholesky(matrix: Array) -> tuple[float, Array]:
    """The factor of a matrix of unit diagonal, with the least jitter that lets it exist."""
    for jitter in _JITTERS:
        try:
            return jitter, scipy.linalg.cholesky(
                matrix + jitter * np.eye(len(matrix)), lower=True, check_finite=False
            )
        except np.linalg.LinAlgError:
            continue
    given = f"a covariance of the data that is singular with a jitter of {_JITTERS[-1]:.0e}"
    raise NotPositiveDefiniteError("grid", given, "give fewer points or a smoother kernel")


def _batches(x: Array) -> list[Array]:
    return [x[i : i + _BATCH] for i in range(0, len(x), _BATCH)]
