"""Regions inside a box: how they are given, what conditions on their edges say."""

import numpy as np
import pytest
import torch

from kernelgp.errors import ArgumentError, ArgumentTypeError
from solvers import Box, Dirichlet, Neumann, Problem, Robin
from solvers.edge_points import find_edge
from solvers.points import read_points

RING = {"rim": "x**2 + y**2 < 0.8", "hole": "x**2 + y**2 > 0.1"}


def ring(**inside):
    return Box(x=(-1, 1), y=(-1, 1), inside=inside or RING)


def test_text_of_a_box_keeps_its_region():
    for box in (ring(), Box(x=(-1, 1), inside="abs(x) < 0.5")):
        assert eval(repr(box)) == box
        assert hash(eval(repr(box))) == hash(box)
    assert Box(x=(-1, 1)) != Box(x=(-1, 1), inside="x < 0")


def test_formula_callable_and_array_hold_the_same_points():
    axes = ring().uniform_axes((31, 31))
    x, y = np.meshgrid(*axes, indexing="ij")
    mask = x**2 + y**2 < 0.5
    shapes = ["x**2 + y**2 < 0.5", lambda x, y: x**2 + y**2 < 0.5, mask, torch.as_tensor(mask)]
    for inside in shapes:
        box = Box(x=(-1, 1), y=(-1, 1), inside=inside)
        assert np.array_equal(box.contains_on_grid(axes), mask)


def test_points_on_the_edge_count_as_inside_and_others_are_refused():
    points, _ = read_points([[np.sqrt(0.8), 0.0], [0.5, 0.5]], ring())
    assert len(points) == 2
    with pytest.raises(ArgumentError, match=r"1 of 2 points, the first \(0, 0.1\) at row 1, outs"):
        read_points([[0.5, 0.5], [0.0, 0.1]], ring())


def test_random_points_fill_the_region_evenly():
    points = ring().random_points(20_000, np.random.default_rng(0))
    square = np.square(points).sum(axis=1)
    # Uniform over a ring is uniform in the square of the radius: four standard errors.
    assert abs(square.mean() - 0.45) < 4 * 0.7 / np.sqrt(12 * 20_000)
    assert square.min() > 0.1
    assert square.max() < 0.8


def test_a_region_too_small_to_draw_from_is_an_error():
    box = Box(x=(0, 1), y=(0, 1), inside="(x - 0.5)**2 + (y - 0.5)**2 < 1e-12")
    with pytest.raises(ArgumentError, match="give a box that is closer to the region"):
        box.random_points(10, np.random.default_rng(0))


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        (Dirichlet, lambda p, n: p[:, 0] ** 2 * p[:, 1]),
        (Neumann, lambda p, n: n[:, 0] * 2 * p[:, 0] * p[:, 1] + n[:, 1] * p[:, 0] ** 2),
    ],
)
def test_values_on_an_edge_come_from_the_exact_solution(condition, expected):
    problem = Problem.from_exact("u_xx + u_yy = f", ring(), "x**2*y", [condition()])
    edge = find_edge(problem.domain.region, problem.domain.uniform_axes((12, 12)))
    assert [e.name for e in problem.edges] == ["rim", "hole"]
    for one in problem.edges:
        here = edge.pieces == one.piece
        points, normals = edge.points[here], edge.normals[here]
        assert np.allclose(one.value(points, normals), expected(points, normals), atol=1e-14)


def test_edges_take_conditions_by_name():
    conditions = [Dirichlet("x", on=["rim", "x-"]), Robin(2, 3, lambda x, y: x + y, on="hole")]
    problem = Problem("u_xx + u_yy = 0", ring(), conditions)
    assert [(e.name, e.alpha, e.beta) for e in problem.edges] == [("rim", 1, 0), ("hole", 2, 3)]
    assert [face.name for face in problem.faces] == ["x-"]
    at = np.array([[0.5, 0.1]])
    assert problem.edges[1].value(at, at)[0] == pytest.approx(0.6)
    problem.check_conditions()


def test_faces_that_the_region_does_not_reach_need_no_condition():
    Problem("u_xx + u_yy = 0", ring(), Dirichlet(0, on=["rim", "hole"])).check_conditions()
    half = Box(x=(-1, 1), y=(-1, 1), inside="x < 0")
    with pytest.raises(ArgumentError, match=r"none on faces x-, y-, y\+"):
        Problem("u_xx + u_yy = 0", half, Dirichlet(0, on="edge")).check_conditions()
    edge_only = Problem("u_xx + u_yy = 0", half, Dirichlet(0, on=["x-", "y-", "y+"]))
    with pytest.raises(ArgumentError, match=r"none on edge; .*Dirichlet\(0, on='edge'\)"):
        edge_only.check_conditions()


def test_corners_outside_the_region_do_not_have_to_agree():
    cut = Box(x=(0, 1), y=(0, 1), inside="x + y > 0.5")
    conditions = [
        Dirichlet("x", on=["x-", "x+"]),
        Dirichlet("x + (1 - x)*(1 - y)", on=["y-", "y+", "edge"]),
    ]
    Problem("u_xx + u_yy = 0", cut, conditions).check_conditions()  # they differ at (0, 0)


def test_slopes_alone_leave_a_constant_free():
    assert Problem("u_xx + u_yy = 0", ring(), Neumann(0)).constant_is_free
    mixed = [Neumann(0, on=["x-", "x+", "y-", "y+", "rim"]), Dirichlet(0, on="hole")]
    assert not Problem("u_xx + u_yy = 0", ring(), mixed).constant_is_free


@pytest.mark.parametrize(
    ("inside", "message"),
    [
        (3, r"inside: got 3; give a comparison .*, a callable or a boolean array"),
        ({}, r"inside: got an empty mapping"),
        ({"x-": "x < 0"}, r"the name 'x-'"),
        ({"for": "x < 0"}, r"the name 'for'"),
        (np.ones((4, 4)), r"float64 values; give booleans"),
        (np.ones(4, bool), r"boolean array of shape \(4,\); .* with 2 dimensions"),
        (np.zeros((4, 4), bool), r"nowhere true"),
        ([[True], [True, False]], r"list; give a boolean array"),
    ],
)
def test_a_bad_region_is_named(inside, message):
    with pytest.raises(ArgumentError, match=message):
        Box(x=(-1, 1), y=(-1, 1), inside=inside)


def test_a_callable_of_too_few_arrays_is_named():
    box = Box(x=(-1, 1), y=(-1, 1), inside=lambda x: x < 0)
    with pytest.raises(ArgumentTypeError, match="does not take 2 arrays"):
        box.contains_on_grid(box.uniform_axes((4, 4)))


@pytest.mark.parametrize(
    ("conditions", "message"),
    [
        ([Dirichlet(0, on="hloe")], r"on: got 'hloe'; give one or more of .*'rim', 'hole'"),
        ([Dirichlet(0), Dirichlet(1, on="rim")], r"more than one on rim"),
        ([Dirichlet(0), Robin(2, 0, 1, on="hole")], r"more than one on hole"),
        ([Dirichlet(on="rim")], r"Dirichlet\(on='rim'\) without a value"),
        ([Dirichlet(np.zeros(3), on="rim")], r"array of shape \(3,\); .* no points on an edge"),
    ],
)
def test_bad_conditions_on_edges_are_named(conditions, message):
    with pytest.raises(ArgumentError, match=message):
        Problem("u_xx + u_yy = 0", ring(), conditions)
