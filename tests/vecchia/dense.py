"""Covariances as their formulas say."""

import numpy as np
from scipy.spatial.distance import cdist

from kernelgp.vecchia.blocks import EXPONENTIAL, GAUSSIAN, MATERN32, MATERN52


def covariance(kind, alpha, scaled, other=None):
    """Unit variance, no nugget."""
    r = cdist(scaled, scaled if other is None else other)
    if kind == EXPONENTIAL:
        return np.exp(-r)
    if kind == MATERN32:
        return (1 + np.sqrt(3) * r) * np.exp(-np.sqrt(3) * r)
    if kind == MATERN52:
        return (1 + np.sqrt(5) * r + 5 / 3 * r**2) * np.exp(-np.sqrt(5) * r)
    if kind == GAUSSIAN:
        return np.exp(-(r**2) / 2)
    return (1 + r**2 / (2 * alpha)) ** -alpha
