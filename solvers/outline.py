"""The conditions of a problem at points: on the faces of its box, and on the edges of its region.

Where a box is filled by a grid, faces are products of axes, and solvers use that. Where points are
scattered, or part of the box is cut away, conditions are held at points like anything else.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from solvers.data import ArrayField
from solvers.edge_points import find_edge
from solvers.edges import Edge
from solvers.faces import Face
from solvers.problem import Problem

__all__ = ["Held", "outline"]

Array = NDArray[np.float64]
Orders = tuple[int, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Held:
    """``Σ coefficient ∂^orders u = values`` at points: one condition in one place.

    Attributes
    ----------
    name : str
        Of the face or edge.
    function : str
    points : ndarray, shape (m, d)
    terms : tuple of (orders, coefficient)
        A coefficient is a number, or one for each point.
    values : ndarray, shape (m,)
    on_functions : bool
        Whether the values are known everywhere, not at the grid's points only.
    """

    name: str
    function: str
    points: Array
    terms: tuple[tuple[Orders, float | Array], ...]
    values: Array
    on_functions: bool = True


def outline(problem: Problem, axes: Sequence[Array]) -> list[Held]:
    """Every condition, where the lines of a grid meet the boundary; none where they do not.

    Parameters
    ----------
    problem
    axes
        Of the grid, ends included.
    """
    held = [_on_face(problem, face, axes) for face in problem.faces]
    if problem.domain.region is not None:
        held += _on_edges(problem, axes)
    return [one for one in held if len(one.points)]


def _on_face(problem: Problem, face: Face, axes: Sequence[Array]) -> Held:
    here = list(axes)
    here[face.axis] = np.array([face.coordinate])
    points = np.stack([c.ravel() for c in np.meshgrid(*here, indexing="ij")], axis=1)
    inside = problem.domain.contains(points)
    points = points[inside]
    on_functions = not isinstance(face.field, ArrayField)
    if on_functions:
        values = np.zeros(0) if not len(points) else face.value(*points.T)
    else:
        others = [x for k, x in enumerate(axes) if k != face.axis]
        values = np.asarray(face.value_on_grid(others)).ravel()[inside]
    d = len(here)
    terms = tuple(
        (tuple(order if k == face.axis else 0 for k in range(d)), weight)
        for order, weight in enumerate(face.weights)
        if weight
    )
    return Held(face.name, face.function, points, terms, values, on_functions)


def _on_edges(problem: Problem, axes: Sequence[Array]) -> Iterator[Held]:
    region = problem.domain.region
    assert region is not None
    found = find_edge(region, axes)
    for edge in problem.edges:
        here = found.pieces == edge.piece
        points, normals = found.points[here], found.normals[here]
        values = edge.value(points, normals) if len(points) else np.zeros(0)
        terms = _edge_terms(edge, normals)
        yield Held(edge.name, edge.function, points, terms, values)


def _edge_terms(edge: Edge, normals: Array) -> tuple[tuple[Orders, float | Array], ...]:
    d = normals.shape[1]
    terms: list[tuple[Orders, float | Array]] = []
    if edge.alpha:
        terms.append(((0,) * d, edge.alpha))
    if edge.beta:
        units = [tuple(int(k == j) for k in range(d)) for j in range(d)]
        terms += [(unit, edge.beta * n) for unit, n in zip(units, normals.T, strict=True)]
    return tuple(terms)
