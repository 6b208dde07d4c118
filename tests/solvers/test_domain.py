"""Boxes: names, bounds, grids."""

import numpy as np
import pytest

from kernelgp.errors import ArgumentError, ArgumentTypeError
from solvers.domain import Box


def test_axes_keep_their_order_and_name_the_faces():
    box = Box(t=(0, 1), x=(-1.0, 3.5))
    assert box.axes == ("t", "x")
    assert box.bounds == ((0.0, 1.0), (-1.0, 3.5))
    assert box.faces == ("t-", "t+", "x-", "x+")
    assert repr(box) == "Box(t=(0, 1), x=(-1, 3.5))"


def test_text_of_a_box_keeps_every_bit():
    box = Box(x=(0, 2 * np.pi / 7))
    assert eval(repr(box)) == box


def test_equality_minds_the_order_of_axes():
    assert Box(x=(0, 1), y=(0, 1)) == Box(x=(0, 1), y=(0, 1))
    assert Box(x=(0, 1), y=(0, 1)) != Box(y=(0, 1), x=(0, 1))


@pytest.mark.parametrize(
    ("bounds", "message"),
    [
        ({}, r"domain: got 0 axes; give one to 3, such as Box"),
        (dict.fromkeys("abcd", (0, 1)), r"domain: got 4 axes"),
        ({"x": (1, 0)}, r"domain: got x=\(1, 0\); give x=\(lower, upper\), .*lower one first"),
        ({"x": (1, 1)}, r"lower one first"),
        ({"x": (0, np.inf)}, r"finite"),
        ({"x": (np.nan, 1)}, r"finite"),
        ({"x": 3}, r"x=3; give x=\(lower, upper\)"),
        ({"x": "01"}, r"give x=\(lower, upper\)"),
        ({"x": (0, 1, 2)}, r"give x=\(lower, upper\)"),
        ({"x": ("0", 1)}, r"two real numbers"),
        ({"x": (0, 1j)}, r"two real numbers"),
        ({"a_b": (0, 1)}, r"the axis 'a_b'; give a name of letters and digits"),
        ({"lambda": (0, 1)}, r"the axis 'lambda'"),
        ({"a b": (0, 1)}, r"the axis 'a b'"),
        ({"sin": (0, 1)}, r"the axis 'sin'; choose another name"),
        ({"pi": (0, 1)}, r"the axis 'pi'; choose another name"),
    ],
)
def test_bad_box_is_named(bounds, message):
    with pytest.raises(ArgumentError, match=message):
        Box(**bounds)


@pytest.mark.parametrize("grid", [(4, 7), [4, 7], np.array([4, 7])])
def test_grid_sizes_are_whole_numbers(grid):
    assert Box(x=(0, 1), y=(0, 1)).check_grid(grid) == (4, 7)


@pytest.mark.parametrize(
    "grid",
    [(), (4,), (1, 5), (0, 5), (-3, 5), (4.0, 5.0), (True, 5), (4, 5, 6), ([0, 1], [0, 1])],
)
def test_bad_grid_is_named(grid):
    message = r"grid: got .*; give \(n, n\), the numbers of points along x, y, each at least 2"
    with pytest.raises(ArgumentError, match=message):
        Box(x=(0, 1), y=(0, 1)).check_grid(grid)


@pytest.mark.parametrize("grid", [400, "400", None, 4.0])
def test_grid_that_is_no_sequence_is_named(grid):
    with pytest.raises(
        ArgumentTypeError, match=r"grid: got .*; give \(n,\), the numbers of points"
    ):
        Box(x=(0, 1)).check_grid(grid)


def test_a_grid_of_coordinates_is_refused_with_the_remedy():
    with pytest.raises(ArgumentError, match=r"give \(n,\), the numbers of points along x"):
        Box(x=(0, 1)).check_grid((np.linspace(0, 1, 5),))


def test_random_axes_fill_every_cell_and_stay_inside():
    box, rng = Box(x=(2, 4)), np.random.default_rng(0)
    (x,) = box.random_axes((6,), 3, rng)
    counts, _ = np.histogram(x, np.linspace(2, 4, 6))
    assert (counts == 3).all()
    assert (np.diff(x) > 0).all()
