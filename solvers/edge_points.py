"""Points on the edge of a region, to machine precision, with the outward normal at each.

Between a point of a grid that is inside and a neighbour that is not, the edge is found by
bisection. The normal is the gradient of the formula whose sign changes there; where there is no
formula, the edge is found again on lines beside the first, and its slope taken from that.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kernelgp.errors import ArgumentError
from solvers.region import FormulaPiece, MaskPiece, Piece, Region

__all__ = ["EdgePoints", "find_edge"]

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]

# Halvings of a cell: no interval of float64 survives more.
_HALVINGS = 64
# Of the box: lines beside the first for a slope of fourth order, whose error is its fourth
# power against rounding divided by it; and how far along them the edge is looked for.
_ASIDE, _REACH = 1e-4, 2e-3


@dataclass(frozen=True, slots=True, eq=False)
class EdgePoints:
    """Where a region ends.

    Attributes
    ----------
    points, normals : ndarray, shape (m, d)
        The normals point out of the region and have length one.
    pieces : int ndarray, shape (m,)
        The number of the piece of the region that ends there.
    """

    points: Array
    normals: Array
    pieces: NDArray[np.intp]


def find_edge(region: Region, axes: Sequence[Array]) -> EdgePoints:
    """Where the lines of a grid cross the edge of a region.

    What fits between two lines of the grid is not seen.

    Parameters
    ----------
    region
    axes
        Coordinates of the grid along each axis.

    Examples
    --------
    >>> from solvers import Box
    >>> disk = Box(x=(-1, 1), y=(-1, 1), inside="x**2 + y**2 < 0.5")
    >>> edge = find_edge(disk.region, disk.uniform_axes((9, 9)))
    >>> bool(np.allclose(np.square(edge.points).sum(axis=1), 0.5, atol=1e-15))
    True
    >>> bool(np.allclose(edge.normals, edge.points / np.sqrt(0.5)))
    True
    """
    mesh = np.meshgrid(*axes, indexing="ij", sparse=True)
    inside = region.contains(*mesh)
    if not inside.any():
        given = f"a region that holds none of {' x '.join(map(str, inside.shape))} points"
        raise ArgumentError("inside", given, "give a finer grid, or a larger region")
    found = [_crossings(region, axes, inside, k) for k in range(len(axes))]
    return EdgePoints(
        np.concatenate([e.points for e in found]),
        np.concatenate([e.normals for e in found]),
        np.concatenate([e.pieces for e in found]),
    )


def _crossings(region: Region, axes: Sequence[Array], inside: Mask, k: int) -> EdgePoints:
    """Those on lines along axis k."""
    before = np.take(inside, range(inside.shape[k] - 1), axis=k)
    after = np.take(inside, range(1, inside.shape[k]), axis=k)
    lower = np.stack(np.nonzero(before != after), axis=1)
    upper = lower + (np.arange(len(axes)) == k)
    leaving = before[tuple(lower.T)]
    first, last = (
        np.stack([x[i] for x, i in zip(axes, cell.T, strict=True)], axis=1)
        for cell in (lower, upper)
    )
    within = np.where(leaving[:, None], first, last)
    beyond = np.where(leaving[:, None], last, first)
    within, beyond = _bisect(region.contains, within, beyond, k)
    held = np.stack([piece.contains(*beyond.T) for piece in region.pieces])
    # Where two end at one point, the first is taken.
    pieces = held.argmin(axis=0)
    middle = (within + beyond) / 2
    signs = np.where(leaving, 1.0, -1.0)
    normals = np.zeros_like(middle)
    for i, piece in enumerate(region.pieces):
        here = pieces == i
        normals[here] = _normals(piece, region, middle[here], k, signs[here])
    return EdgePoints(middle, normals, pieces)


def _bisect(
    contains: Callable[..., Mask], within: Array, beyond: Array, k: int
) -> tuple[Array, Array]:
    """Neighbouring numbers along axis k between which the points leave."""
    for _ in range(_HALVINGS if len(within) else 0):
        middle = within.copy()
        middle[:, k] = (within[:, k] + beyond[:, k]) / 2
        held = contains(*middle.T)[:, None]
        within, beyond = np.where(held, middle, within), np.where(held, beyond, middle)
    return within, beyond


def _normals(piece: Piece, region: Region, points: Array, k: int, signs: Array) -> Array:
    along = np.zeros_like(points)
    along[:, k] = signs
    if isinstance(piece, MaskPiece) or not len(points):
        return along
    normals = np.full_like(points, np.nan)
    if isinstance(piece, FormulaPiece):
        try:
            slopes = -piece.level.gradient(*points.T).T
        except ArgumentError:  # a formula that has no derivative
            slopes = normals
        size = np.linalg.norm(slopes, axis=1, keepdims=True)
        with np.errstate(all="ignore"):
            normals = slopes / size
        # It has to lead out; a gradient that is zero on the edge does not.
        normals[~((normals * along).sum(axis=1) >= 0)] = np.nan
    lost = ~np.isfinite(normals).all(axis=1)
    if lost.any():
        normals[lost] = _bisected_normals(piece, region, points[lost], along[lost])
    return normals


def _bisected_normals(piece: Piece, region: Region, points: Array, fallback: Array) -> Array:
    """From the slopes of the edge as a graph over the other axes, along its steepest axis."""
    d = points.shape[1]
    lengths = [hi - lo for lo, hi in region.bounds]
    normals, steepest = fallback, np.zeros(len(points))
    for axis in range(d):
        gradient = np.zeros_like(points)
        gradient[:, axis] = 1.0
        step = _REACH * lengths[axis] * gradient
        rising = piece.contains(*(points - step).T)
        for j in (j for j in range(d) if j != axis):
            aside = _ASIDE * lengths[j]
            before, near, next_to, after = (
                _height(piece, points, axis, j, shift * aside, step, rising)
                for shift in (-2, -1, 1, 2)
            )
            gradient[:, j] = -(before - 8 * near + 8 * next_to - after) / (12 * aside)
        gradient *= np.where(rising, 1.0, -1.0)[:, None] / np.linalg.norm(gradient, axis=1)[:, None]
        # Where the edge is no graph over an axis this is NaN, which is never larger.
        better = abs(gradient[:, axis]) > steepest
        normals = np.where(better[:, None], gradient, normals)
        steepest = np.where(better, abs(gradient[:, axis]), steepest)
    return normals


def _height(
    piece: Piece, points: Array, axis: int, j: int, shift: float, step: Array, rising: Mask
) -> Array:
    """Where along `axis` the edge is, beside `points` by `shift` along axis j; NaN if nowhere."""
    beside = points.copy()
    beside[:, j] += shift
    low, high = beside - step, beside + step
    found = (piece.contains(*low.T) == rising) & (piece.contains(*high.T) != rising)
    within, beyond = np.where(rising[:, None], low, high), np.where(rising[:, None], high, low)
    within, beyond = _bisect(piece.contains, within, beyond, axis)
    return np.where(found, (within[:, axis] + beyond[:, axis]) / 2, math.nan)
