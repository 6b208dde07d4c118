"""The scale of the prior: amplitude and, in one dimension, weights, by marginal likelihood.

In one dimension the evidence is exact (`solvers.evidence`), and learning the weights of the
components takes the deviation from some 400 times the error to 10 times. On more axes the
covariance of the data has no structure to take a determinant of. There the evidence is that
of the coefficients, which determine the data of the square system one to one: their prior is
a Kronecker product, and what the noise of the data adds to each of its principal directions
is measured by solving for a few draws of noise.
"""

import math
from dataclasses import dataclass

import numpy as np
import scipy.linalg
import torch
from numpy.typing import NDArray

from solvers.deviation import NUGGET, Deviation
from solvers.evidence import Observed, learn_weights
from solvers.samples import Samples
from solvers.structured import Data, StructuredEquation
from solvers.structured_evidence import structured_evidence
from solvers.tensors import along_all

__all__ = ["Calibration", "calibrate"]

Array = NDArray[np.float64]

_NOISE_DRAWS = 16


@dataclass(frozen=True, slots=True)
class Calibration:
    """What the data say about the prior.

    Attributes
    ----------
    amplitude : float
        Standard deviation, in the unit of the solution.
    log_marginal_likelihood : float
        At that amplitude. The data of one dimension are those on the grid; of more, those of
        the square system, so that the two are not to be compared.
    """

    amplitude: float
    log_marginal_likelihood: float


def calibrate(
    equation: StructuredEquation, samples: Samples, data: Data, coefficients: Array
) -> Calibration:
    """Amplitude and evidence; the weights of `equation`'s bases are set where they are learned."""
    if not coefficients.any():
        # Data that are all zero are most likely under a prior of amplitude zero.
        return Calibration(0.0, math.inf)
    if len(equation.axes) == 1:
        return _calibrate_line(equation, samples)
    exact = structured_evidence(equation, data, coefficients)
    if math.isfinite(exact.log_marginal_likelihood):
        return Calibration(exact.amplitude, exact.log_marginal_likelihood)
    return _calibrate_coefficients(equation, coefficients)


def _calibrate_line(equation: StructuredEquation, samples: Samples) -> Calibration:
    (axis,), (values,) = equation.axes, samples.values
    factors = axis.basis.component_factors
    # The lines of a band share one weight: each by itself means nothing.
    group = [
        len(factors) if math.isinf(c.lengthscale) else k
        for k, c in enumerate(axis.basis.components)
    ]
    _, group = np.unique(group, return_inverse=True)
    features = np.hstack(factors)
    component = np.repeat(group, [f.shape[1] for f in factors])
    rows = np.vstack([axis.rows @ (axis.left @ features), axis.boundary @ features])
    data = np.concatenate([samples.source, *(np.atleast_1d(v) for v in values)])
    observed = Observed(rows, data, component, nugget=NUGGET)
    weights = observed.normalized(learn_weights(observed).tempered)
    found = observed.evidence(weights)
    axis.basis = axis.basis.reweighted(list(weights[group]))
    return Calibration(math.sqrt(found.amplitude), found.log_marginal_likelihood)


def _calibrate_coefficients(equation: StructuredEquation, coefficients: Array) -> Calibration:
    directions, variance = [], np.ones(())
    for axis in equation.axes:
        vectors, sd, _ = scipy.linalg.svd(axis.basis.prior_factor)
        directions.append(vectors.T)
        variance = np.multiply.outer(variance, sd**2)
    generator = torch.Generator().manual_seed(0)
    noise = equation.solve(Deviation(equation).draw_noise(_NOISE_DRAWS, generator))
    variance = variance + np.square(along_all(directions, noise)).mean(axis=-1)
    quadratic = float(np.mean(np.square(along_all(directions, coefficients)) / variance))
    n = variance.size
    log_density = -0.5 * (n * math.log(2 * math.pi * quadratic) + float(np.log(variance).sum()) + n)
    return Calibration(math.sqrt(quadratic), log_density - equation.logabsdet())
