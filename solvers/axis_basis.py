"""One axis of the prior: the functions a spectral mixture can draw, in an orthonormal basis.

A Gaussian envelope on an interval has an exact expansion in which every feature, however
small, keeps all its digits (an eigendecomposition loses those below 1e-16 of the largest).
With ``t`` the distance from the midpoint and ``ρ² = 1 / (2 lengthscale²)``,

    exp(-ρ² (t - t')²) = Σk φk(t) φk(t'),   φk(t) = exp(-ρ² t²) (√2 ρ t)^k / √k!,

and each power is a combination of Chebyshev polynomials whose coefficients are all positive,
so nothing cancels: ``φ = M T`` with ``T_j`` bounded by one. The prior standard deviation of
``T_j`` is the norm of column j of M, and says which of them matter.

References
----------
C. E. Rasmussen and C. K. I. Williams, *Gaussian Processes for Machine Learning*, 2006,
section 2.1 (the weight-space view); A. G. Wilson and R. P. Adams, *Gaussian Process Kernels
for Pattern Discovery and Extrapolation*, 2013 (spectral mixtures).
"""

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from typing import Any, ClassVar

import numpy as np
import scipy.linalg
from numpy.typing import NDArray
from scipy.special import gammaln, roots_legendre

__all__ = ["AxisBasis", "Component"]

Array = NDArray[np.float64]

# Directions whose prior standard deviation is below _NEGLIGIBLE of the largest are left out,
# and so is a column that the columns before it explain to _DEPENDENT of its own norm: at
# 1e-13 what remains of it is rounding, which the derivatives then amplify.
_NEGLIGIBLE = 1e-15
_DEPENDENT = 1e-10


@dataclass(frozen=True, slots=True)
class Component:
    """``weight exp(-d² / (2 lengthscale²)) cos(2π frequency d)`` at a distance d.

    Attributes
    ----------
    frequency : float, in cycles per unit of the axis
    lengthscale : float, in units of the axis
    weight : float
        The variance it adds.
    """

    frequency: float
    lengthscale: float
    weight: float = 1.0


class AxisBasis:
    """Functions q on ``[lower, upper]``, orthonormal in L2, that span a spectral mixture.

    The prior is ``u = q(x) c`` with ``c ~ N(0, G Gᵀ)``, G the `prior_factor`; it reproduces
    the kernel to about 3e-15. Cost O(n r²) for n quadrature nodes and rank r.

    Parameters
    ----------
    lower, upper : float
    components
        At least one. Their weights enter the prior, not the span.
    factor
        The attribute of that name of an equal basis, so that it is the same to the last digit.

    Attributes
    ----------
    factor : (int ndarray of shape (k,), ndarray of shape (r, k))
        An order of all columns, the r kept first, and R with ``columns[order] = q R``.
    rank : int
        The number r of functions.
    nodes, node_weights : ndarray, shape (n,)
        A Gauss-Legendre rule that integrates products of two basis functions exactly.

    Examples
    --------
    >>> basis = AxisBasis(0.0, 1.0, [Component(0.0, 0.5), Component(10.0, 2.0)])
    >>> features = basis.evaluate(np.array([0.2, 0.7]))[0] @ basis.prior_factor
    >>> (features @ features.T).round(12)  # the kernel: two cosines meet in phase
    array([[2.        , 1.57576389],
           [1.57576389, 2.        ]])
    """

    kind: ClassVar[str] = "gaussian"

    def __init__(
        self,
        lower: float,
        upper: float,
        components: Sequence[Component],
        *,
        factor: tuple[NDArray[np.intp], Array] | None = None,
    ) -> None:
        self.lower, self.upper, self.components = lower, upper, tuple(components)
        self._half = (upper - lower) / 2
        self._expansions = [_expansion((self._half / c.lengthscale) ** 2) for c in components]
        # Everything inside is a function of s in [-1, 1]: a box of any size and place is alike.
        s, weights = _gauss_legendre(self._node_count())
        self.nodes, self.node_weights = self._midpoint + self._half * s, self._half * weights

        if factor is None:
            factor = _factorise(np.sqrt(weights)[:, None] * self._raw(s, 0)[0])
        self.factor = factor
        self.rank = factor[1].shape[0]

    @property
    def _midpoint(self) -> float:
        return (self.lower + self.upper) / 2

    def evaluate(self, x: Array, order: int = 0) -> Array:
        """The basis and its derivatives at the points `x`.

        Parameters
        ----------
        x : ndarray, shape (n,)
        order : int
            The highest derivative.

        Returns
        -------
        ndarray, shape (order + 1, n, r)
        """
        raw = self._raw((np.asarray(x, float) - self._midpoint) / self._half, order)
        order_of_columns, triangle = self.factor
        kept = raw[:, :, order_of_columns[: self.rank]].reshape(-1, self.rank)
        # A triangular solve does not care how the columns are scaled, so that nothing is
        # ever divided by a tiny singular value.
        q = scipy.linalg.solve_triangular(
            triangle[:, : self.rank], kept.T, trans=1, check_finite=False
        ).T
        scale = self._half ** -(np.arange(order + 1) + 0.5)
        return q.reshape(order + 1, -1, self.rank) * scale[:, None, None]

    @property
    def groups(self) -> NDArray[np.intp]:
        """Components that share a weight: the lines of a band mean nothing one by one."""
        last = len(self.components)
        of = [last if math.isinf(c.lengthscale) else k for k, c in enumerate(self.components)]
        return np.unique(of, return_inverse=True)[1]

    def missing(self, x: Array, order: int) -> Array:  # noqa: ARG002 - as `SectionBasis` has it
        """Prior variance at `x` that the functions do not have: none, shape (n,)."""
        return np.zeros(len(x))

    def interpolation(self, grid: Array) -> None:
        """None: data on the grid are carried to the nodes by the functions themselves."""

    @cached_property
    def component_factors(self) -> tuple[Array, ...]:
        """One T for each component, shape (r, k): with weights w the prior is Σ w T Tᵀ."""
        columns, triangle = self.factor
        # Straight from the triangle, whose small rows keep their digits.
        coordinates_of = np.empty_like(triangle)
        coordinates_of[:, columns] = triangle
        factors, start = [], 0
        for component, (features, sd) in zip(self.components, self._expansions, strict=True):
            blocks = []
            for _ in range(2 if component.frequency else 1):
                coordinates = coordinates_of[:, start : start + len(sd)]
                blocks.append(coordinates / sd @ features.T)
                start += len(sd)
            factors.append(math.sqrt(self._half) * np.hstack(blocks))
        return tuple(factors)

    @cached_property
    def prior_factor(self) -> Array:
        """G, shape (r, r), lower triangular: the prior covariance of the coefficients is G Gᵀ."""
        weighted = [
            math.sqrt(component.weight) * factor
            for component, factor in zip(self.components, self.component_factors, strict=True)
        ]
        return np.linalg.qr(np.hstack(weighted).T).R.T

    def reweighted(self, weights: Sequence[float]) -> "AxisBasis":
        """The same functions under a prior with other weights."""
        other = copy.copy(self)
        other.__dict__.pop("prior_factor", None)
        other.components = tuple(
            replace(c, weight=float(w)) for c, w in zip(self.components, weights, strict=True)
        )
        return other

    def _node_count(self) -> int:
        """Enough for products of two columns: their degree, and the waves between the ends."""
        columns = sum(
            len(sd) * (2 if c.frequency else 1)
            for c, (_, sd) in zip(self.components, self._expansions, strict=True)
        )
        waves = max(c.frequency for c in self.components) * 2 * self._half
        return int(2 * columns + 4 * waves + 20)

    def _raw(self, s: Array, order: int) -> Array:
        """Envelope times Chebyshev polynomial times {1 | cos, sin}; derivatives in s."""
        blocks = []
        for component, (_, sd) in zip(self.components, self._expansions, strict=True):
            width = (self._half / component.lengthscale) ** 2
            envelope = _envelope(s, width, len(sd), order) * sd
            if component.frequency == 0:
                blocks.append(envelope)
                continue
            angular = 2 * math.pi * component.frequency * self._half
            for phase in (0.0, -math.pi / 2):  # cos, then sin
                wave = [
                    angular**m * np.cos(angular * s + phase + m * math.pi / 2)[:, None]
                    for m in range(order + 1)
                ]
                blocks.append(_leibniz(envelope, wave))
        return np.concatenate(blocks, axis=2)


@lru_cache(maxsize=32)
def _gauss_legendre(count: int) -> tuple[Array, Array]:
    nodes, weights = roots_legendre(count)
    for shared in (nodes, weights):
        shared.flags.writeable = False
    return nodes, weights


def _expansion(width: float) -> tuple[Array, Array]:
    """M, shape (k, j), and the norms of its columns: ``φk = exp(-width s² / 2) Σj Mkj Tj(s)``.

    In s the features are ``exp(-width s² / 2) (√width s)^k / √k!``, and
    ``s^k = 2^(1-k) Σj binom(k, (k-j)/2) Tj`` over j of the parity of k, with half of it at 0.
    """
    if width == 0:
        return np.ones((1, 1)), np.ones(1)
    count = int(width + 12 * math.sqrt(width) + 40)
    k, j = np.ogrid[:count, :count]
    half = np.clip(k - j, 0, None) // 2
    log = (
        0.5 * k * math.log(width)
        + 0.5 * gammaln(k + 1)
        + (1 - k) * math.log(2)
        - gammaln(half + 1)
        - gammaln(k - half + 1)
    )
    M = np.where((j <= k) & ((k - j) % 2 == 0), np.exp(log), 0.0)
    M[:, 0] /= 2
    sd = np.linalg.norm(M, axis=0)
    size = int(np.flatnonzero(sd > _NEGLIGIBLE * sd.max())[-1]) + 1
    rows = M.max(axis=1) > 1e-2 * _NEGLIGIBLE * sd.max()
    return M[rows, :size], sd[:size]


def _envelope(s: Array, width: float, size: int, order: int) -> Array:
    """``exp(-width s² / 2) Tj(s)`` for j below `size`, shape (order + 1, n, size)."""
    T = np.zeros((size, order + 1, len(s)))
    T[0, 0] = 1
    if size > 1:
        T[1, 0] = s
        T[1, 1:2] = 1
    m = np.arange(1, order + 1)[:, None]
    for j in range(1, size - 1):
        T[j + 1] = 2 * s * T[j] - T[j - 1]
        T[j + 1, 1:] += 2 * m * T[j, :-1]
    gaussian = [np.exp(-width * s**2 / 2)]
    for i in range(order):
        previous = i * gaussian[i - 1] if i else 0.0
        gaussian.append(-width * (s * gaussian[i] + previous))
    return _leibniz(T.transpose(1, 2, 0), [g[:, None] for g in gaussian])


def _leibniz(left: Array, right: list[Array]) -> Array:
    """Derivatives of a product from the derivatives of both factors."""
    return np.stack(
        [
            sum(
                (math.comb(m, i) * left[m - i] * right[i] for i in range(m + 1)),
                np.zeros(left.shape[1:]),
            )
            for m in range(len(left))
        ]
    )


def _factorise(columns: Array) -> tuple[NDArray[np.intp], Array]:
    """An order of the columns, those that matter first, and their coordinates on these."""
    # scipy's annotations list every combination of its switches at once.
    pivoted: Any = scipy.linalg.qr(columns, mode="r", pivoting=True, check_finite=False)
    triangle, pivots = pivoted
    size = np.abs(np.diag(triangle))
    norms = np.linalg.norm(columns, axis=0)[pivots[: len(size)]]
    matter = (size > _DEPENDENT * norms) & (size > _NEGLIGIBLE * size[0])
    matter = np.pad(matter, (0, len(pivots) - len(size)))
    order = np.concatenate([pivots[matter], pivots[~matter]])
    rank = int(matter.sum())
    return order, np.linalg.qr(columns[:, order]).R[:rank]
