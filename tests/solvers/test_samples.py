"""Which of the faces carry the solution, and what is read from them."""

import numpy as np
import pytest

from solvers import Box, Dirichlet, Problem
from solvers.samples import sample_problem

SQUARE = Box(x=(0, 1), t=(0, 2))


def imposed(equation, conditions=None):
    problem = Problem(equation, SQUARE, [Dirichlet("x + t", on=conditions)])
    samples = sample_problem(problem, (5, 7))
    return {face.name for faces in samples.faces for face in faces}, samples


@pytest.mark.parametrize(
    ("equation", "expected"),
    [
        ("u_xx + u_tt = 0", {"x-", "x+", "t-", "t+"}),
        ("u_t - u_xx = 0", {"x-", "x+", "t-"}),
        ("u_t + u_xx = 0", {"x-", "x+", "t+"}),
        ("2*u_t + u_x = 0", {"x-", "t-"}),
        ("2*u_t - u_x = 0", {"x+", "t-"}),
        ("-u_t + u_x + u = 0", {"x+", "t-"}),
        ("u_x = u_tt", {"t-", "t+", "x-"}),
    ],
)
def test_first_order_axes_start_where_the_solution_comes_from(equation, expected):
    assert imposed(equation)[0] == expected


@pytest.mark.parametrize(
    ("equation", "given", "expected"),
    [
        ("u_t + u_x = 0", ["x-", "x+", "t+"], {"x+", "t+"}),
        ("u_t - u_x = 0", ["x-", "x+", "t+"], {"x-", "t+"}),
        ("u_t + u_x = 0", ["x+", "t-"], {"x+", "t-"}),
    ],
)
def test_a_face_given_alone_is_imposed_and_decides_the_others(equation, given, expected):
    assert imposed(equation, given)[0] == expected


def test_values_have_the_shape_of_their_faces():
    _, samples = imposed("u_xx + u_tt = 0")
    assert samples.shape == (5, 7)
    assert [[v.shape for v in values] for values in samples.values] == [[(7,)] * 2, [(5,)] * 2]
    np.testing.assert_allclose(samples.values[0][1], 1 + np.linspace(0, 2, 7))
    assert [face.name for face in imposed("u_t + u_x = 0")[1].spare] == ["x+", "t+"]
