"""Weights of a prior's components, read from the coefficients of a solution.

Where a solution is known to many digits, so is its power in each component, which is what the
evidence would make of the weight. A component that the solution does not hold keeps enough of
it that the data, not the prior, determine it.
"""

from collections.abc import Sequence

import numpy as np
import scipy.linalg
from numpy.typing import NDArray

from solvers.structured import Axis

__all__ = ["reweight", "spectral_weights"]

Array = NDArray[np.float64]

# Directions of the features below this share of the largest are rounding.
_NEGLIGIBLE = 1e-11
# What a component is left with: this share of the variance of the data, or of the solution.
_FLOOR = 1e-4


def spectral_weights(axis: Axis, coefficients: Array, place: int) -> list[float]:
    """One weight for each component of an axis, with a mean of about one.

    Parameters
    ----------
    axis
        Its components have weight one.
    coefficients : ndarray, shape (r1, ..., rd)
        Of the solution.
    place : int
        Which of the axes it is.
    """
    factors, groups = axis.basis.component_factors, axis.basis.groups
    features = np.hstack(factors)
    component = np.repeat(groups, [f.shape[1] for f in factors])
    columns = np.moveaxis(coefficients, place, 0).reshape(len(features), -1)
    white, known = _whitened(features, columns)
    power = np.bincount(component, np.square(white).sum(axis=1))
    determined = np.bincount(component, known)
    weights = power / np.maximum(determined, _NEGLIGIBLE)

    floor = np.full(len(weights), np.inf)
    for matrix in (axis.left, axis.right, axis.value):
        share = np.bincount(component, np.square(matrix @ features).sum(axis=0))
        held = share > 0
        floor[held] = np.minimum(floor[held], _FLOOR * (weights @ share) / share[held])
    weights = np.maximum(weights, floor)
    scale = (weights @ determined) / determined.sum()
    return [float(w) for w in (weights / scale)[groups]]


def _whitened(features: Array, columns: Array) -> tuple[Array, Array]:
    """What the features contribute to the columns, and how far each of them is determined."""
    if features.shape[0] == features.shape[1]:  # no feature is a combination of others
        return scipy.linalg.solve(features, columns), np.ones(len(features))
    u, s, vt = scipy.linalg.svd(features, full_matrices=False)
    kept = s > _NEGLIGIBLE * s[0]
    white = vt[kept].T @ ((u[:, kept].T @ columns) / s[kept, None])
    return white, np.square(vt[kept]).sum(axis=0)


def reweight(axes: Sequence[Axis], coefficients: Array) -> None:
    """Give every axis the weights that the solution's coefficients suggest."""
    for place, axis in enumerate(axes):
        axis.reweight(spectral_weights(axis, coefficients, place))
