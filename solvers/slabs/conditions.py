"""What a slab is given: values on its sides, and the end of the slab before at its start."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from solvers.faces import Face
from solvers.slabs.axes import Side, SpaceAxis, TimeAxis
from solvers.slabs.layout import Layout
from solvers.slabs.piece import Piece

__all__ = [
    "Start",
    "homogeneous_part",
    "known_part",
    "misfit_on_sides",
    "read_start",
    "sides_of",
    "start_after",
]

Array = NDArray[np.float64]

_TIMES = 25


@dataclass(frozen=True, slots=True)
class Start:
    """Value, and velocity where the equation is of second order, at a slab's start.

    Attributes
    ----------
    coefficients : ndarray, shape (m, r, order)
    errors : ndarray, shape (m, r, order, k)
    misfit : ndarray, shape (m, order)
        Root mean square of what the basis cannot hold of it.
    """

    coefficients: Array
    errors: Array
    misfit: Array


def read_start(layout: Layout, space: SpaceAxis, members: int) -> Start:
    """From the problem's conditions at its beginning."""

    def levels(x: Array) -> Array:
        found = []
        for name in layout.problem.functions:
            faces = layout.starts_of(name)
            weights = np.zeros((len(faces), layout.order))
            for row, face in zip(weights, faces, strict=True):
                row[: len(face.weights)] = face.weights
            values = np.stack([np.broadcast_to(f.value_on_grid([x]), x.shape) for f in faces])
            found.append(np.linalg.solve(weights, values).T)
        return np.stack(found)

    coefficients = np.einsum("rn,mnl->mrl", space.fit, levels(space.nodes))
    fitted = np.einsum("nr,mrl->mnl", space.rows_between[0], coefficients)
    misfit = np.sqrt(np.mean(np.square(levels(space.between) - fitted), axis=1))
    return Start(coefficients, np.zeros((*coefficients.shape, members)), misfit)


def start_after(layout: Layout, space: SpaceAxis, before: Piece) -> Start:
    """From the end of the slab before, on a basis that may be another."""
    coefficients, errors = before.at_time(before.stop, layout.order - 1)
    if before.space is space.basis:
        return Start(coefficients, errors, np.zeros(coefficients.shape[::2]))
    take = space.fit @ before.space.evaluate(space.nodes)[0]
    moved = np.einsum("qr,mrl->mql", take, coefficients)
    there = before.space.evaluate(space.between)[0]
    lost = np.einsum("nr,mrl->mnl", there, coefficients) - np.einsum(
        "nr,mrl->mnl", space.rows_between[0], moved
    )
    misfit = np.sqrt(np.mean(np.square(lost), axis=1))
    return Start(moved, np.einsum("qr,mrlk->mqlk", take, errors), misfit)


def sides_of(layout: Layout, space: SpaceAxis) -> list[Side]:
    """What each function's conditions at the ends of space leave free."""
    sides = []
    for name in layout.problem.functions:
        rows = [_row(space, face) for face in layout.faces_of(name)]
        sides.append(Side.of(np.reshape(rows, (len(rows), space.rank))))
    return sides


def known_part(
    layout: Layout,
    time: TimeAxis,
    sides: Sequence[Side],
    start: Array,
) -> Array:
    """Coefficients, shape (m, r, rt), with the values given on the sides and at the start.

    Where sides and start contradict each other, the sides are right.
    """
    known = []
    for name, side, levels in zip(layout.problem.functions, sides, start, strict=True):
        faces = layout.faces_of(name)
        values = [
            np.broadcast_to(f.value_on_grid([time.fit_nodes]), time.fit_nodes.shape) for f in faces
        ]
        given = np.reshape(values, (len(faces), len(time.fit_nodes))) @ time.fit.T
        known.append(_joined(side, time, given, levels))
    return np.stack(known)


def homogeneous_part(time: TimeAxis, sides: Sequence[Side], start: Array) -> Array:
    """The same of errors, shape (m, r, rt, k): with zeros on the sides."""
    return np.stack(
        [
            np.einsum("rlk,tl->rtk", _project(side, levels), time.side.lift)
            for side, levels in zip(sides, start, strict=True)
        ]
    )


def misfit_on_sides(layout: Layout, space: SpaceAxis, time: TimeAxis, coefficients: Array) -> float:
    """The largest misfit of a condition on a side, at times between those it was fitted at."""
    times = np.linspace(time.start, time.stop, _TIMES)
    values, worst = time.basis.evaluate(times)[0], 0.0
    for name, C in zip(layout.problem.functions, coefficients, strict=True):
        for face in layout.faces_of(name):
            missed = values @ (_row(space, face) @ C) - face.value_on_grid([times])
            worst = max(worst, float(np.abs(missed).max()))
    return worst


def _project(side: Side, levels: Array) -> Array:
    flat = levels.reshape(len(levels), -1)
    return (flat - side.lift @ (side.boundary @ flat)).reshape(levels.shape)


def _joined(side: Side, time: TimeAxis, given: Array, levels: Array) -> Array:
    from_sides = side.lift @ given
    missing = levels - from_sides @ time.side.boundary.T
    return from_sides + _project(side, missing) @ time.side.lift.T


def _row(space: SpaceAxis, face: Face) -> Array:
    order = len(face.weights) - 1
    rows = space.basis.evaluate(np.array([face.coordinate]), order)[:, 0]
    return np.asarray(face.weights) @ rows
