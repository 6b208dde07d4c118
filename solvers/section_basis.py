"""One axis of a prior with a rough envelope: its principal functions, from sections of the kernel.

A Matérn envelope has no exact expansion, and its draws need infinitely many functions. The
first eigenfunctions of the kernel (Karhunen and Loève) are the best few; with the weights w of
a Gauss rule they are combinations of sections of the kernel at its nodes (Nyström),

    q_i(x) = Σj k(x, x_j) √w_j U_ji / λ_i,     √W K √W = U Λ Uᵀ,

which are orthonormal and can be differentiated as often as the kernel. What they leave out is
not nothing, as it is for a Gaussian envelope: it is the roughness of the prior, and stands in
the deviation as noise.

References
----------
C. E. Rasmussen and C. K. I. Williams, *Gaussian Processes for Machine Learning*, 2006, 4.3.2.
"""

import copy
import math
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import roots_legendre

from kernelgp.kernels import SpectralMixture
from solvers.axis_basis import Component

__all__ = ["SectionBasis"]

Array = NDArray[np.float64]

# Below this share of the largest eigenvalue an eigenfunction is rounding.
_NEGLIGIBLE = 1e-13
_JITTER = 1e-14


class SectionBasis:
    """The first eigenfunctions of a Matérn-5/2 spectral mixture on an interval.

    It has the attributes of `AxisBasis`, and is its counterpart for a rough kernel.

    Parameters
    ----------
    lower, upper : float
    components
        With finite lengthscales.
    limit : int
        Bound on the number of functions.
    factor
        The attribute of that name of an equal basis, so that it is the same to the last digit.

    Attributes
    ----------
    factor : (ndarray of shape (n, r), ndarray of shape (r,))
        What combines sections into functions, and the prior deviation of each.

    Examples
    --------
    >>> basis = SectionBasis(0.0, 1.0, [Component(0.0, 0.5)], 20)
    >>> values = basis.evaluate(basis.nodes)[0]
    >>> gram = (values * basis.node_weights[:, None]).T @ values
    >>> bool(np.allclose(gram, np.eye(basis.rank), atol=1e-8))
    True
    """

    kind: ClassVar[str] = "matern52"

    def __init__(
        self,
        lower: float,
        upper: float,
        components: Sequence[Component],
        limit: int,
        *,
        factor: tuple[Array, Array] | None = None,
    ) -> None:
        self.lower, self.upper, self.components = lower, upper, tuple(components)
        half = (upper - lower) / 2
        self._kernel = SpectralMixture(
            "matern52",
            [c.frequency for c in components],
            [c.lengthscale for c in components],
            [c.weight for c in components],
        )
        # Twice as many nodes as functions, and four to a wave.
        waves = max(c.frequency for c in components) * 2 * half
        count = int(2 * (limit if factor is None else len(factor[1])) + 4 * waves + 20)
        s, weights = roots_legendre(count)
        self.nodes, self.node_weights = lower + half * (s + 1), half * weights
        self.factor = self._eigenfunctions(limit) if factor is None else factor
        self.rank = len(self.factor[1])

    def evaluate(self, x: Array, order: int = 0) -> Array:
        """The functions and their derivatives at the points `x`, shape (order + 1, n, r)."""
        return np.stack([self._sections(x, m) @ self.factor[0] for m in range(order + 1)])

    @property
    def component_factors(self) -> tuple[Array, ...]:
        """The whole prior as one component: its parts share their functions."""
        return (self.prior_factor,)

    @property
    def groups(self) -> NDArray[np.intp]:
        return np.zeros(1, dtype=np.intp)

    @cached_property
    def prior_factor(self) -> Array:
        return np.diag(self.factor[1])

    def reweighted(self, weights: Sequence[float]) -> "SectionBasis":
        """The same functions under a prior that is `weights`, one number, times as large."""
        (weight,) = weights
        components = [replace(c, weight=c.weight * float(weight)) for c in self.components]
        other = copy.copy(self)
        other.__dict__.pop("prior_factor", None)
        other.components = tuple(components)
        other.factor = self.factor[0], self.factor[1] * math.sqrt(weight)
        return other

    def interpolation(self, grid: Array) -> Array:
        """Takes values on the grid to the nodes, shape (nodes, n), as the kernel interpolates.

        Fitting the functions to the values instead would meet them in the mean over the
        grid's points, which for rough functions is not the mean over the interval.
        """
        points = torch.from_numpy(np.array(grid, float))[:, None]
        with torch.no_grad():
            gram = self._kernel.derivative(points, points).numpy()
        jitter = _JITTER * np.trace(gram) / len(grid) * np.eye(len(grid))
        return np.linalg.solve(gram + jitter, self._sections(grid, 0)).T

    def missing(self, x: Array, order: int) -> Array:
        """Prior variance of a derivative at `x` that the functions do not have, shape (n,)."""
        held = np.square(self.evaluate(x, order)[order] * self.factor[1]).sum(axis=1)
        total = sum(c.weight for c in self.components) / self._kernel.variance.item()
        origin = torch.zeros(1, 1, dtype=torch.float64)
        variance = self._kernel.derivative(origin, origin, (order,), (order,)).item()
        return np.clip(variance * total - held, 0, None)

    def _sections(self, x: Array, order: int) -> Array:
        points, nodes = torch.from_numpy(np.array(x, float)), torch.from_numpy(self.nodes)
        with torch.no_grad():
            values = self._kernel.derivative(points[:, None], nodes[:, None], (order,), (0,))
        return values.numpy()

    def _eigenfunctions(self, limit: int) -> tuple[Array, Array]:
        root = np.sqrt(self.node_weights)
        values, vectors = np.linalg.eigh(root[:, None] * self._sections(self.nodes, 0) * root)
        largest = np.argsort(values)[::-1][:limit]
        largest = largest[values[largest] > _NEGLIGIBLE * values.max()]
        values, vectors = values[largest], vectors[:, largest]
        return root[:, None] * vectors / values, np.sqrt(values)
