"""Targets as a latent fit takes them: rows at one place see one latent value.

Two latent values at one place would make the prior singular; merged, all their observations bear
on one. Missing targets and weights of zero leave their rows out.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from kernelgp.errors import ArgumentError, ArgumentTypeError
from kernelgp.vecchia.latent import Observed
from kernelgp.vecchia.merging import distinct_rows
from kernelgp.vecchia.points import as_points

__all__ = ["MeanFunctions", "Observations"]

Array = NDArray[np.float64]
Index = NDArray[np.int64]

_KINDS = ("zero", "constant", "linear")


@dataclass(frozen=True, slots=True, eq=False)
class MeanFunctions:
    """What the latent mean is linear in: nothing, 1, or 1 and every standardised column.

    Attributes
    ----------
    kind : "zero", "constant" or "linear"
    center, spread : (d,)
    """

    kind: str
    center: Array
    spread: Array

    @classmethod
    def of(cls, kind: str, points: Array) -> "MeanFunctions":
        if kind not in _KINDS:
            raise ArgumentError("mean", repr(kind), f"give one of {', '.join(map(repr, _KINDS))}")
        spread = points.std(axis=0)
        # A constant column says no more than the intercept: its coefficient stays 0.
        return cls(kind, points.mean(axis=0), np.where(spread > 0, spread, np.inf))

    def __call__(self, points: Array) -> Array:
        """At points (n, d): (n, q)."""
        one = np.ones((len(points), 1))
        if self.kind == "linear":
            return np.hstack([one, (points - self.center) / self.spread])
        return one[:, : int(self.kind == "constant")]

    def in_units(self, coefficients: Array) -> Array:
        """Coefficients of 1 and of the columns as they are, from those of these functions."""
        if self.kind != "linear":
            return coefficients.copy()
        slopes = coefficients[1:] / self.spread
        return np.concatenate([[coefficients[0] - slopes @ self.center], slopes])


@dataclass(frozen=True, slots=True, eq=False)
class Observations:
    """Distinct points and what is observed at them.

    Attributes
    ----------
    points : (n, d)
    observed : Observed
    mean : MeanFunctions
    """

    points: Array
    observed: Observed
    mean: MeanFunctions

    @classmethod
    def of(
        cls,
        X: ArrayLike,
        y: ArrayLike,
        *,
        offset: ArrayLike | None = None,
        weights: ArrayLike | None = None,
        mean: str = "constant",
    ) -> "Observations":
        """Read a table.

        Parameters
        ----------
        X : array, shape (N, d)
            Rows that are equal see one latent value.
        y : array, shape (N,)
            NaN where the target is missing.
        offset : array, shape (N,), optional
            Added to the latent value: of counts, the log of the exposure.
        weights : array, shape (N,), optional
            From 0; of each observation's log density.
        mean : "constant", "zero" or "linear"
            Of the latent function.

        Raises
        ------
        ArgumentError, ArgumentTypeError
            If shapes do not fit, numbers are not finite or negative, or no target is left.

        Examples
        --------
        >>> seen = Observations.of([[0.0], [1.0], [0.0]], [2.0, float("nan"), 3.0])
        >>> seen.points, seen.observed.y, seen.observed.site
        (array([[0.]]), array([2., 3.]), array([0, 0]))
        """
        points = as_points("X", X)
        targets = _column("y", y, len(points), finite=False)
        if np.isinf(targets).any():
            raise ArgumentError("y", "infinity", "leave those rows out, or give NaN for missing")
        given = np.zeros(len(points)) if offset is None else offset
        shift = _column("offset", given, len(points))
        given = np.ones(len(points)) if weights is None else weights
        weight = _column("weights", given, len(points))
        if (weight < 0).any():
            raise ArgumentError("weights", f"{weight.min():g}", "give numbers from 0")
        kept = ~np.isnan(targets) & (weight > 0)
        if not kept.any():
            given = f"{len(points)} rows, all missing or of weight 0"
            raise ArgumentError("y", given, "give at least one target")
        first, site = distinct_rows(points[kept])
        distinct = points[kept][first]
        observed = _merged(Observed(targets[kept], shift[kept], weight[kept], site))
        return cls(distinct, observed, MeanFunctions.of(mean, distinct))

    def ordered(self, order: Index) -> "Observations":
        """The points in another order, or a part of them with what is observed there."""
        place = np.full(len(self.points), -1)
        place[order] = np.arange(len(order))
        site = place[self.observed.site]
        kept = site >= 0
        o = self.observed
        seen = Observed(o.y[kept], o.offset[kept], o.weights[kept], site[kept])
        return Observations(self.points[order], seen, self.mean)


def _merged(seen: Observed) -> Observed:
    """Equal observations of one latent value as one: a weight of two is the row given twice.

    Sums then run in the same order however the rows came, so that both fits are the same fit.
    """
    rows = np.stack([seen.site.astype(np.float64), seen.y, seen.offset], axis=-1)
    first, which = distinct_rows(rows)
    weights = np.bincount(which, seen.weights).astype(np.float64)
    return Observed(seen.y[first], seen.offset[first], weights, seen.site[first])


def _column(name: str, values: ArrayLike, n: int, *, finite: bool = True) -> Array:
    given = np.asarray(values)
    if given.dtype.kind not in "fiub":
        raise ArgumentTypeError(name, f"dtype {given.dtype}", "give real numbers")
    if given.shape != (n,):
        raise ArgumentError(name, f"shape {given.shape}", f"give ({n},), a number for each row")
    out = given.astype(np.float64)
    if finite and not np.isfinite(out).all():
        raise ArgumentError(name, "NaN or infinity", "give finite numbers")
    return out
