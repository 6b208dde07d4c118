"""What a fit by Vecchia's approximation leaves behind: a latent function in the user's units."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kernelgp.estimators.coordinates import Coordinates
from kernelgp.vecchia.posterior import ResponsePosterior

__all__ = ["Trend", "VecchiaFunction"]

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Trend:
    """The mean function: nothing, a constant or a plane.

    Attributes
    ----------
    kind : "zero", "constant" or "linear"
    shift, scale : (d,)
        Of the columns, for the plane's sake.
    """

    kind: str
    shift: Array
    scale: Array

    def basis(self, X: Array) -> Array:
        """Shape (n, q): q is 0, 1 or d + 1."""
        one = np.ones((len(X), 1))
        if self.kind == "zero":
            return one[:, :0]
        return one if self.kind == "constant" else np.hstack([one, (X - self.shift) / self.scale])

    def plain(self, coefficients: Array) -> Array:
        """Coefficients of 1 and of the columns as given."""
        if self.kind != "linear":
            return coefficients.copy()
        slopes = coefficients[1:] / self.scale
        return np.concatenate([coefficients[:1] - self.shift @ slopes, slopes])


@dataclass(frozen=True, slots=True, eq=False)
class VecchiaFunction:
    """A latent function ``offset + trend(x) + g(x)``, g given responses."""

    coordinates: Coordinates
    offset: float
    trend: Trend
    coefficients: Array
    posterior: ResponsePosterior

    def marginal(self, X: Array) -> tuple[Array, Array]:
        """Mean and variance at every row by itself."""
        Z = self._embed(X)
        mean, variance = self.posterior.marginal(Z)
        return mean + self._known(Z), variance

    def covariance(self, X: Array, n_between: int) -> tuple[Array, Array]:
        """Mean (q,) and covariance (q, q) of all rows together."""
        Z = self._embed(X)
        joint = self.posterior.joint(Z, n_between)
        return joint.mean + self._known(Z), joint.covariance()

    def draw(self, X: Array, n_samples: int, n_between: int, rng: np.random.Generator) -> Array:
        """Joint draws, shape (q, n_samples)."""
        Z = self._embed(X)
        joint = self.posterior.joint(Z, n_between)
        deviations = joint.deviations(rng.standard_normal((joint.n_distinct, n_samples)))
        return (joint.mean + self._known(Z))[:, None] + deviations

    def _embed(self, X: Array) -> Array:
        self.coordinates.check(X)
        return self.coordinates.embed(X)

    def _known(self, Z: Array) -> Any:
        return self.offset + self.trend.basis(Z) @ self.coefficients
