"""The two axes of a slab: functions along them, where the equation is held, and test spaces.

In x the equation is held against test functions like the trial ones (Galerkin), in t against their
velocities. Products are taken at the nodes of a Gauss rule; on a periodic
axis, at equidistant ones.
"""

import math
from dataclasses import dataclass

import numpy as np
import scipy.linalg
from numpy.typing import NDArray
from scipy.special import roots_legendre

from solvers.axis_basis import AxisBasis, Component
from solvers.fourier_basis import FourierBasis
from solvers.slabs.warp import Warp, WarpedBasis

__all__ = ["Side", "SpaceAxis", "TimeAxis"]

Array = NDArray[np.float64]

# ρ L of the slow component, and the share of the nodes up to which lines fill the spectrum:
# of a periodic axis a third, which leaves no product of two functions aliased.
_SLOW, _BAND, _PERIODIC_BAND = 2.0, 0.25, 1 / 3
_SPACING = 0.5
# Narrowed until there are fewer functions than this share of the nodes.
_MOST_FILL, _NARROWEST = 0.8, 1e-3
_MOST_BETWEEN = 400
# ρ L of a slab's time, narrowed until there are as many functions as nodes and one.
_TIME_WIDTH = 3.0


class SpaceAxis:
    """The axis of space: a basis, and nodes at which the equation is looked at.

    Attributes
    ----------
    basis : WarpedBasis, of rank r
    nodes, weights : ndarrays, shape (n,)
        A rule for integrals over x.
    rows : ndarray, shape (order + 1, n, r)
    fit : ndarray, shape (r, n)
        Takes values at the nodes to coefficients.
    between, rows_between
        Other places, and the basis there.
    """

    def __init__(self, warp: Warp, n: int, order: int, *, basis: WarpedBasis | None = None) -> None:
        lower, length = warp.lower, warp.upper - warp.lower
        if basis is None:
            basis = WarpedBasis(_functions(warp, n), warp)
        self.basis = basis
        if warp.periodic:
            s, weights = lower + length * np.arange(n) / n, np.full(n, length / n)
        else:
            s, weights = roots_legendre(n)
            s, weights = lower + length * (s + 1) / 2, length / 2 * weights
        self.nodes = warp.inverse(s)
        self.weights = weights / warp.derivatives(self.nodes, 1)[1]
        self.rows = self.basis.evaluate(self.nodes, order)
        root = np.sqrt(weights)[:, None]
        q, triangle = np.linalg.qr(root * self.rows[0])
        self.fit = scipy.linalg.solve_triangular(triangle, (root * q).T)
        places = np.random.default_rng(0).uniform(size=min(n, _MOST_BETWEEN))
        self.between = warp.inverse(lower + length * np.sort(places))
        self.rows_between = self.basis.evaluate(self.between, order)

    @property
    def rank(self) -> int:
        return self.basis.rank


@dataclass(frozen=True, slots=True)
class Side:
    """What the conditions of one function leave free on an axis.

    Attributes
    ----------
    boundary : ndarray, shape (m, r)
    free : ndarray, shape (r, r - m)
    lift : ndarray, shape (r, m)
        Coefficients of functions that have the value one in one condition, zero in the others.
    """

    boundary: Array
    free: Array
    lift: Array

    @classmethod
    def of(cls, boundary: Array) -> "Side":
        m = len(boundary)
        q, triangle = np.linalg.qr(boundary.T, mode="complete")
        inverse = scipy.linalg.solve_triangular(triangle[:m].T, np.eye(m), lower=True)
        return cls(boundary, q[:, m:], q[:, :m] @ inverse)


class TimeAxis:
    """Time within a slab, from data at its start.

    Attributes
    ----------
    basis : AxisBasis, of rank r
    nodes, weights : ndarrays, shape (n,)
    rows : ndarray, shape (order + 1, n, r)
    side : Side
        Of value, and velocity where the equation is of second order, at the start.
    project : ndarray, shape (r - order, n)
        Takes values at the nodes to products with the test functions.
    fit : ndarray, shape (r, k)
        Takes values at `fit_nodes` to coefficients.
    end : ndarray, shape (order + 1, r)
        Value and derivatives at the end.
    """

    def __init__(self, start: float, stop: float, n: int, order: int, highest: int) -> None:
        self.start, self.stop, length = start, stop, stop - start
        width = _TIME_WIDTH
        while True:
            lengthscale = length / (math.sqrt(2) * width)
            self.basis = AxisBasis(start, stop, [Component(0.0, lengthscale)])
            # The rule is then exact for a function times a velocity.
            if self.basis.rank <= n + 1 or width < _NARROWEST:
                break
            width *= 0.7
        s, weights = roots_legendre(n)
        self.nodes, self.weights = start + length * (s + 1) / 2, length / 2 * weights
        self.rows = self.basis.evaluate(self.nodes, max(order, highest))
        ends = self.basis.evaluate(np.array([start, stop]), order)
        self.side = Side.of(ends[:order, 0])
        self.end = ends[:, 1]
        root = np.sqrt(self.weights)[:, None]
        # Against the velocity: of a wave that is its energy, which then cannot grow. Against the
        # acceleration, fast waves would.
        test, _ = np.linalg.qr(root * (self.rows[1] @ self.side.free))
        self.project = (root * test).T
        self.fit_nodes = self.basis.nodes
        values = self.basis.evaluate(self.fit_nodes)[0]
        self.fit = (self.basis.node_weights[:, None] * values).T

    @property
    def rank(self) -> int:
        return self.basis.rank


def _functions(warp: Warp, n: int) -> AxisBasis | FourierBasis:
    lower, upper, length = warp.lower, warp.upper, warp.upper - warp.lower
    if warp.periodic:
        return FourierBasis.up_to(max(int(_PERIODIC_BAND * n), 1), lower, upper)
    width, band = _SLOW, _BAND
    while True:
        lines = np.arange(_SPACING, band * n, _SPACING) / length
        slow = Component(0.0, length / (math.sqrt(2) * width))
        components = [slow, *(Component(float(f), math.inf) for f in lines)]
        basis = AxisBasis(lower, upper, components)
        if basis.rank <= _MOST_FILL * n or width < _NARROWEST:
            return basis
        width, band = 0.7 * width, 0.8 * band
