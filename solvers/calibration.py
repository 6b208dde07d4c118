"""How sure a posterior may be: amplitude and weights, first from the data, then held out.

The amplitude, and the weights of tones in one dimension, maximise the marginal likelihood, which
is exact (`solvers.evidence`, `solvers.structured_evidence`); learning the weights takes the
deviation from some 400 times the error to 10 times. Elsewhere the weights are read from the
solution (`solvers.spectral_weights`). Where the exact evidence is too large to compute it is
replaced by that of the coefficients, which determine the data of the square system one to one:
their prior is a Kronecker product, and what the noise of the data adds to each of its principal
directions is measured by solving for a few draws of noise.

A solution outside the prior (a layer, a kink) is not found out by its data. So where the
equation does not hold to rounding between the grid's points, the residual there is compared
with the deviation that the posterior claims for it, and the amplitude raised to match; a misfit
on the faces is a deviation that nothing inside can be below.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy.linalg
import torch
from numpy.typing import NDArray

from solvers.axis_basis import AxisBasis
from solvers.defect import defect
from solvers.deviation import NUGGET, Deviation
from solvers.evidence import Observed, learn_weights
from solvers.jacobian import GridTerm
from solvers.jacobian_deviation import JacobianDeviation, deviation_of
from solvers.neighbour import on_functions
from solvers.periodic_axis import PeriodicAxis
from solvers.problem import Problem
from solvers.resolution import Resolution
from solvers.rounding import data_rounding
from solvers.row_sizes import row_sizes
from solvers.samples import Samples
from solvers.section_basis import SectionBasis
from solvers.spectral_weights import reweight
from solvers.structured import Axis, Data, StructuredEquation
from solvers.structured_evidence import structured_evidence
from solvers.tensors import along_all, evaluate_at

__all__ = ["Calibration", "calibrate"]

Array = NDArray[np.float64]

_NOISE_DRAWS = 16
# What evaluating a sum of products loses, in roundings of the largest value.
_EVALUATION = 8 * np.finfo(float).eps
# Where the equation holds to this, what is left is rounding, of which the nugget knows.
_ROUNDING = 1e-11
_HELD_OUT = 64
_MOST_LEARNED = 400


@dataclass(frozen=True, slots=True)
class Calibration:
    """What the data say about the prior.

    Attributes
    ----------
    amplitude : float
        Standard deviation of the prior, in the unit of the solution.
    floor : float
        What the solution misses on the faces, or its evaluation by rounding, in its unit: no
        deviation is below.
    log_marginal_likelihood : float
        At the amplitude that maximises it. The data are those on the grid in one dimension, the
        compressed ones in more.
    scales : list of ndarrays or None
        Sizes of the data rows at amplitude one; None is what the prior says.
    defect : ndarray or None
        Coefficients of what sampling the source on the grid has missed.
    """

    amplitude: float
    floor: float
    log_marginal_likelihood: float
    scales: list[Array] | None = None
    defect: Array | None = None


def calibrate(
    problem: Problem,
    samples: Samples,
    equation: StructuredEquation,
    data: Data,
    coefficients: Array,
    resolution: Resolution,
    *,
    terms: Sequence[GridTerm] | None = None,
    seed: int = 0,
) -> Calibration:
    """Amplitude and evidence; weights of `equation`'s bases are set where learned."""
    if not coefficients.any():
        # Data that are all zero are most likely under a prior of amplitude zero.
        return Calibration(0.0, 0.0, math.inf)
    rounding = data_rounding(problem, samples.axes)
    noise = max(NUGGET, rounding)
    if len(equation.axes) == 1 and equation.axes[0].basis.kind == AxisBasis.kind:
        amplitude, evidence = _line_evidence(equation, samples, noise)
    else:
        reweight(equation.axes, coefficients)
        amplitude, evidence = _tensor_evidence(equation, data, coefficients, noise)
    scales, missed = None, None
    if all(axis.basis.kind != SectionBasis.kind for axis in equation.axes):
        prior = deviation_of(equation, terms).scales
        scales = row_sizes(equation, data, coefficients, amplitude, terms, prior, rounding)
        missed = defect(problem, equation, coefficients, terms)
    rounded = float(_EVALUATION * resolution.size)
    if resolution.worst <= _ROUNDING or not on_functions(problem):
        return Calibration(amplitude, rounded, evidence, scales, missed)
    deviation = deviation_of(equation, terms, scales=scales)
    surprise = _held_out_surprise(problem, deviation, coefficients, amplitude, seed)
    amplitude *= max(1.0, surprise)
    floor = max(resolution.misfit, rounded)
    return Calibration(amplitude, floor, evidence, scales, missed)


def _line_evidence(
    equation: StructuredEquation, samples: Samples, nugget: float
) -> tuple[float, float]:
    (axis,), (values,) = equation.axes, samples.values
    factors, group = axis.basis.component_factors, axis.basis.groups
    features = np.hstack(factors)
    component = np.repeat(group, [f.shape[1] for f in factors])
    # Both ends of a periodic axis are one point.
    points = len(axis.grid) - isinstance(axis, PeriodicAxis)
    rows = np.vstack([axis.lift[:points] @ (axis.left @ features), axis.boundary @ features])
    data = np.concatenate([samples.source[:points], *(np.atleast_1d(v) for v in values)])
    observed = Observed(rows, data, component, nugget=nugget)
    # An evaluation takes the cube of the features; a band of some hundred lines has no weights
    # worth a minute.
    learned = features.shape[1] <= _MOST_LEARNED
    weights = learn_weights(observed).tempered if learned else np.ones(observed.n_components)
    weights = observed.normalized(weights)
    found = observed.evidence(weights)
    axis.reweight(list(weights[group]))
    return math.sqrt(found.amplitude), found.log_marginal_likelihood


def _tensor_evidence(
    equation: StructuredEquation, data: Data, coefficients: Array, nugget: float
) -> tuple[float, float]:
    # Of a rough prior the basis holds a part only; the rest would be taken for noise, and the
    # nugget for a 1e-13 of it.
    if all(axis.basis.kind != SectionBasis.kind for axis in equation.axes):
        found = structured_evidence(equation, data, coefficients, nugget=nugget)
        if math.isfinite(found.log_marginal_likelihood):
            return found.amplitude, found.log_marginal_likelihood
    return _coefficient_evidence(equation, coefficients, nugget)


def _coefficient_evidence(
    equation: StructuredEquation, coefficients: Array, nugget: float = NUGGET
) -> tuple[float, float]:
    directions, variance = [], np.ones(())
    for axis in equation.axes:
        vectors, sd, _ = scipy.linalg.svd(axis.basis.prior_factor)
        directions.append(vectors.T)
        variance = np.multiply.outer(variance, sd**2)
    generator = torch.Generator().manual_seed(0)
    noise = equation.solve(Deviation(equation, nugget).draw_noise(_NOISE_DRAWS, generator))
    variance = variance + np.square(along_all(directions, noise)).mean(axis=-1)
    quadratic = float(np.mean(np.square(along_all(directions, coefficients)) / variance))
    n = variance.size
    log_density = -0.5 * (n * math.log(2 * math.pi * quadratic) + float(np.log(variance).sum()) + n)
    return math.sqrt(quadratic), log_density - equation.logabsdet()


def _held_out_surprise(
    problem: Problem,
    deviation: Deviation | JacobianDeviation,
    coefficients: Array,
    amplitude: float,
    seed: int,
) -> float:
    """Root mean square of the residual at random points, over the deviation claimed for it."""
    # Other points than those that the prior was chosen by.
    rng = np.random.default_rng([seed, 1])
    points = [rng.uniform(lo, hi, _HELD_OUT) for lo, hi in problem.domain.bounds]
    axes = deviation.equation.axes

    def mean(orders: tuple[int, ...]) -> Array:
        return evaluate_at(_rows(axes, points, orders), coefficients)

    terms = [(t.orders, np.broadcast_to(t(*points), _HELD_OUT)) for t in problem.operator.terms]
    left = np.sum([c * mean(orders) for orders, c in terms], axis=0)
    if problem.nonlinear is not None:
        values = {d: mean(d.orders) for d in problem.nonlinear.derivatives}
        left = left + problem.nonlinear(values, *points)
        slopes = problem.nonlinear.slopes(values, *points)
        terms += [(d.orders, np.broadcast_to(s, _HELD_OUT)) for d, s in slopes.items()]
    residual = left - np.asarray(problem.source(*points))
    rows = []
    for orders, c in terms:
        first, *rest = _rows(axes, points, orders)
        rows.append([c[:, None] * first, *rest])
    # An upper bound: the terms are taken to miss the same.
    left_out = [abs(c) * deviation.left_out(points, orders) for orders, c in terms]
    claimed = amplitude * np.hypot(deviation.std(rows), np.sum(left_out, axis=0))
    return float(np.sqrt(np.mean(np.square(residual / claimed))))


def _rows(axes: Sequence[Axis], points: Sequence[Array], orders: tuple[int, ...]) -> list[Array]:
    return [
        axis.basis.evaluate(x, order)[order]
        for axis, x, order in zip(axes, points, orders, strict=True)
    ]
