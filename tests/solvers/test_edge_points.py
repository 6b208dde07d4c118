"""The edge of a region: on it to machine precision, with its outward normal."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernelgp.errors import ArgumentError
from solvers import Box
from solvers.edge_points import find_edge

CENTRE = np.array([0.1, -0.2, 0.05])


def ball(kind, d, radius):
    """A ball in d dimensions, given as a formula, as booleans or as a level set."""
    names = "xyz"[:d]
    squares = " + ".join(f"({a} - {c})**2" for a, c in zip(names, CENTRE, strict=False))

    def distance(*x):
        return sum((a - c) ** 2 for a, c in zip(x, CENTRE, strict=False))

    inside = {
        "formula": f"{squares} < {radius}**2",
        "degenerate": f"({radius}**2 - ({squares}))**3",
        "booleans": lambda *x: distance(*x) < radius**2,
        "level": lambda *x: radius**2 - distance(*x),
    }[kind]
    return Box(inside=inside, **dict.fromkeys(names, (-1, 1)))


@pytest.mark.parametrize("kind", ["formula", "degenerate", "booleans", "level"])
@pytest.mark.parametrize("d", [1, 2, 3])
def test_points_and_normals_of_a_ball(kind, d):
    radius = 0.65
    box = ball(kind, d, radius)
    edge = find_edge(box.region, box.uniform_axes([17] * d))
    outward = edge.points - CENTRE[:d]
    assert np.allclose(np.linalg.norm(outward, axis=1), radius, atol=3e-15)
    assert np.allclose(edge.normals, outward / radius, atol=1e-10)
    assert len(edge.points) >= (2 if d == 1 else 40)
    assert box.contains(edge.points).all()


def test_every_line_of_the_grid_meets_a_convex_edge_twice_or_not():
    box = ball("formula", 2, 0.65)
    axes = box.uniform_axes((23, 31))
    edge = find_edge(box.region, axes)
    inside = box.contains_on_grid(axes)
    assert len(edge.points) == 2 * inside.any(axis=0).sum() + 2 * inside.any(axis=1).sum()


def test_an_edge_on_the_lines_of_the_grid_is_found_exactly():
    box = Box(x=(-1, 1), y=(-1, 1), inside="x < 0 or y < 0")
    edge = find_edge(box.region, box.uniform_axes((21, 21)))
    assert np.abs(edge.points).min(axis=1).max() < 1e-15
    assert (edge.normals[:, 0] * (edge.points[:, 1] > 0) >= 0).all()
    assert set(map(tuple, np.abs(edge.normals))) == {(1.0, 0.0), (0.0, 1.0)}


def test_an_array_ends_halfway_to_the_next_point():
    mask = np.zeros((11, 11), dtype=bool)
    mask[3:7, 2:9] = True
    box = Box(x=(0, 1), y=(0, 1), inside=mask)
    edge = find_edge(box.region, box.uniform_axes((11, 11)))
    on_x = np.isclose(edge.points[:, 0], 0.25) | np.isclose(edge.points[:, 0], 0.65)
    on_y = np.isclose(edge.points[:, 1], 0.15) | np.isclose(edge.points[:, 1], 0.85)
    assert (on_x | on_y).all()
    assert np.array_equal(np.abs(edge.normals).argmax(axis=1) == 0, on_x)


def test_each_point_knows_the_piece_that_ends_there():
    ring = {"rim": "x**2 + y**2 < 0.8", "hole": "x**2 + y**2 > 0.1"}
    box = Box(x=(-1, 1), y=(-1, 1), inside=ring)
    edge = find_edge(box.region, box.uniform_axes((24, 24)))
    radius = np.square(edge.points).sum(axis=1)
    assert np.allclose(radius, np.where(edge.pieces == 0, 0.8, 0.1), atol=1e-14)
    outward = (edge.points * edge.normals).sum(axis=1)
    assert np.array_equal(outward > 0, edge.pieces == 0)


@given(angle=st.floats(0.05, 1.5), offset=st.floats(-0.3, 0.3), as_booleans=st.booleans())
def test_the_normal_of_a_half_plane_is_its_direction(angle, offset, as_booleans):
    n = np.array([np.cos(angle), np.sin(angle)])
    inside = f"{float(n[0])!r}*x + {float(n[1])!r}*y < {offset!r}"
    if as_booleans:
        inside = lambda x, y: n[0] * x + n[1] * y < offset  # noqa: E731
    box = Box(x=(-1, 1), y=(-1, 1), inside=inside)
    edge = find_edge(box.region, box.uniform_axes((9, 9)))
    assert np.allclose(edge.points @ n, offset, atol=1e-14)
    assert np.allclose(edge.normals, n, atol=1e-9)


def test_a_region_between_the_points_of_the_grid_is_an_error():
    box = ball("formula", 2, 0.01)
    with pytest.raises(ArgumentError, match=r"inside: got .*none of 6 x 6 points; give a finer"):
        find_edge(box.region, box.uniform_axes((6, 6)))
