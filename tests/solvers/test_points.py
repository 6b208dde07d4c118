"""Points: every kind that is accepted, and each mistake by its name."""

import numpy as np
import pytest
import torch

from kernelgp.errors import ArgumentError, ArgumentTypeError
from solvers import Box
from solvers.points import read_points

SQUARE, LINE = Box(x=(0, 1), y=(-2, 2)), Box(x=(0, 2 * np.pi))


@pytest.mark.parametrize(
    "points",
    [
        [[0.5, 1.0]],
        np.array([[0.5, 1.0]], dtype=np.float32),
        torch.tensor([[0.5, 1.0]], requires_grad=True),
        torch.tensor([[0.5, 1.0]], dtype=torch.float64),
    ],
)
def test_every_kind_becomes_the_same_points(points):
    values, give_back = read_points(points, SQUARE)
    assert values.dtype == np.float64
    assert values.tolist() == [[0.5, 1.0]]
    kind = torch.Tensor if isinstance(points, torch.Tensor) else np.ndarray
    assert isinstance(give_back(np.ones(1)), kind)


def test_tensors_come_back_in_the_precision_asked_for():
    _, give_back = read_points(torch.tensor([[0.5, 1.0]]), SQUARE, torch.float32)
    assert give_back(np.ones(2)).dtype == torch.float32


def test_a_line_takes_points_without_a_column():
    values, _ = read_points(np.array([0, 3]), LINE)
    assert values.tolist() == [[0.0], [3.0]]


def test_a_bound_rounded_to_float32_is_inside():
    values, _ = read_points(np.array([2 * np.pi], dtype=np.float32), LINE)
    assert values[0, 0] == 2 * np.pi
    assert float(np.float32(2 * np.pi)) > 2 * np.pi


@pytest.mark.parametrize(
    ("points", "message"),
    [
        (
            np.ones((3, 1)),
            r"points: got shape \(3, 1\); give \(m, 2\), one column for each of x, y",
        ),
        (np.ones(3), r"points: got shape \(3,\); give \(m, 2\)"),
        (np.ones((3, 2, 1)), r"points: got shape \(3, 2, 1\)"),
        (np.float64(0.5), r"points: got shape \(\)"),
        (np.ones((0, 2)), r"points: got shape \(0, 2\); give at least one point"),
        ([[0.5, np.nan], [1, 1]], r"points: got 1 of 2 points not finite, the first at row 0"),
        ([[0.5, 1], [np.inf, 1]], r"1 of 2 points not finite, the first at row 1; remove them"),
        (
            [[0.5, 1], [1.5, 1]],
            r"1 of 2 points outside, the first \(1\.5, 1\) at row 1; give points",
        ),
        (np.ones((3, 2), np.float16), r"points: got float16 values; convert them to float32 or"),
        (torch.ones(3, 2).half(), r"points: got float16 values; convert them to float32 or"),
        (torch.ones(3, 2).bfloat16(), r"points: got bfloat16 values; convert them to float32 or"),
        ([[0.5, -2.1]], r"outside, .* give points in Box\(x=\(0, 1\), y=\(-2, 2\)\)"),
    ],
)
def test_bad_points_are_named(points, message):
    with pytest.raises(ArgumentError, match=message):
        read_points(points, SQUARE)


@pytest.mark.parametrize(
    "points", [[[1j, 0]], [["a", "b"]], None, [[0.5, 1], [1]], [[True, False]]]
)
def test_what_are_no_numbers_is_refused(points):
    with pytest.raises(ArgumentTypeError, match=r"points: got .*; give (real numbers|rows)"):
        read_points(points, SQUARE)


def test_a_line_names_both_shapes():
    with pytest.raises(ArgumentError, match=r"give \(m, 1\) or \(m,\), one column for each of x"):
        read_points(np.ones((3, 2)), LINE)
