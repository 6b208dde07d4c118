"""Problems: data of every form agree, manufactured sources are right, mistakes are named."""

import pickle

import numpy as np
import pytest
import sympy
import torch
from hypothesis import given
from hypothesis import strategies as st

from kernelgp.errors import ArgumentError, ArgumentTypeError, NumericalWarning
from solvers import Box, Dirichlet, Problem

LINE, SQUARE = Box(x=(0, 1)), Box(x=(0, 1), y=(0, 2))
POISSON = "u_xx + u_yy = f"
ZERO = [Dirichlet(0)]


def grid_of(box, *sizes):
    axes = box.uniform_axes(sizes)
    return axes, np.meshgrid(*axes, indexing="ij")


def test_formula_sympy_callable_and_array_give_the_same_source():
    axes, (x, y) = grid_of(SQUARE, 5, 4)
    expected = np.sin(3 * x) * y + 1
    sx, sy = sympy.symbols("x y")
    forms = [
        "sin(3*x)*y + 1",
        sympy.sin(3 * sx) * sy + 1,
        lambda x, y: np.sin(3 * x) * y + 1,
        expected,
        torch.as_tensor(expected),
        expected.tolist(),
    ]
    for form in forms:
        problem = Problem(POISSON, SQUARE, ZERO, f=form)
        np.testing.assert_allclose(problem.source_on_grid(axes), expected, rtol=1e-15)


def test_source_is_all_that_stands_apart_from_the_unknown():
    axes, (x, y) = grid_of(SQUARE, 3, 4)
    values = np.arange(12.0).reshape(3, 4)
    problem = Problem("u_xx + k*u + x = 2*f - g", SQUARE, ZERO, f=values, g=lambda x, y: y, k=3)
    np.testing.assert_allclose(problem.source_on_grid(axes), 2 * values - y - x)
    assert not problem.source_is_function
    assert [t.coefficient for t in problem.operator.terms] == [1.0, 3.0]


def test_numbers_may_be_used_by_name_in_every_formula():
    problem = Problem("u_xx = f", LINE, [Dirichlet("k")], k=7, f="sin(k*x)")
    assert problem.source(np.array([0.3]))[0] == pytest.approx(np.sin(2.1))
    assert problem.faces[0].value(np.zeros(1))[0] == 7.0


def test_a_constant_source_fills_the_grid():
    axes, _ = grid_of(SQUARE, 3, 4)
    np.testing.assert_array_equal(
        Problem(POISSON, SQUARE, ZERO, f=2.5).source_on_grid(axes), np.full((3, 4), 2.5)
    )


def test_an_array_changed_later_does_not_change_the_problem():
    values = np.ones(5)
    problem = Problem("u_xx = f", LINE, ZERO, f=values)
    values[:] = 7
    assert (problem.source_on_grid(LINE.uniform_axes((5,))) == 1).all()


def test_faces_hold_the_values_of_their_own_end():
    problem = Problem(POISSON, SQUARE, [Dirichlet("x + 10*y")], f=0)
    axes, _ = grid_of(SQUARE, 3, 3)
    found = {}
    for face in problem.faces:
        found[face.name] = face.value_on_grid([a for i, a in enumerate(axes) if i != face.axis])
        assert face.name == f"{'xy'[face.axis]}{'-+'[face.end]}"
    np.testing.assert_allclose(found["x-"], [0, 10, 20])
    np.testing.assert_allclose(found["x+"], [1, 11, 21])
    np.testing.assert_allclose(found["y-"], [0, 0.5, 1])
    np.testing.assert_allclose(found["y+"], [20, 20.5, 21])


def test_face_of_a_line_is_a_number():
    problem = Problem("u_xx = f", LINE, [Dirichlet("3*x + 1")], f=0)
    assert [float(face.value_on_grid([])) for face in problem.faces] == [1.0, 4.0]


def test_face_array_is_taken_on_its_own_grid():
    problem = Problem(POISSON, SQUARE, [Dirichlet(np.arange(4.0), on="x-")], f=0)
    (face,) = problem.faces
    assert face.value_on_grid([np.linspace(0, 2, 4)]).tolist() == [0, 1, 2, 3]
    with pytest.raises(ArgumentError, match=r"on x-: got an array of shape \(4,\); give shape \(5"):
        face.value_on_grid([np.linspace(0, 2, 5)])


@given(a=st.integers(1, 9), b=st.integers(1, 9), c=st.integers(-5, 5))
def test_manufactured_source_is_the_operator_of_the_exact_solution(a, b, c):
    problem = Problem.from_exact(
        "u_xx + 3*u_xy - u_y + c*u = f", SQUARE, f"sin({a}*x)*exp({b}*y/4)", c=c
    )
    x, y = np.random.default_rng(0).uniform(size=(2, 20))
    s, k, e = np.sin(a * x), a * np.cos(a * x), np.exp(b * y / 4)
    expected = (-(a**2) * s + 3 * k * b / 4 - s * b / 4 + c * s) * e
    np.testing.assert_allclose(problem.source(x, y), expected, rtol=1e-10, atol=1e-10)
    np.testing.assert_allclose(problem.exact(np.stack([x, y], 1)), s * e, rtol=1e-12)
    np.testing.assert_allclose(problem.faces[0].value(x, y), 0 * e, atol=1e-14)


def test_source_may_stand_anywhere_in_the_equation():
    problem = Problem.from_exact("2*g - u_xx = x", LINE, "x**3")
    assert problem.source(np.array([0.5]))[0] == pytest.approx(-3.0)


def test_without_a_source_the_exact_solution_has_to_satisfy_the_equation():
    box = Box(x=(0, 1), t=(0, 1))
    problem = Problem.from_exact("200*u_x + u_t = 0", box, "sin(x - 200*t)")
    assert problem.has_exact

    with pytest.raises(
        ArgumentError, match=r"exact: got .* defect of up to \d\.\d+e\+0[12]; give a"
    ):
        Problem.from_exact("200*u_x + u_t = 0", box, "sin(x - 100*t)")


def test_a_problem_goes_to_a_worker_process_and_computes_the_same_there():
    problem = Problem.from_exact(POISSON, SQUARE, "sin(x)*y")
    points = np.array([[0.3, 1.2]])
    expected = problem.exact(points), problem.source(*points.T)
    again = pickle.loads(pickle.dumps(problem))
    np.testing.assert_array_equal((again.exact(points), again.source(*points.T)), expected)


def test_huge_numbers_compute_as_floats():
    problem = Problem("u_xx = f + k*x", LINE, ZERO, f=1e300, k=10**25)
    assert problem.source(np.array([2.0]))[0] == pytest.approx(1e300)


def test_repr_reads_as_the_call():
    problem = Problem(POISSON, SQUARE, [Dirichlet("x", on="x-")], f="x*y")
    assert repr(problem) == (
        "Problem('u_xx + u_yy = f', Box(x=(0, 1), y=(0, 2)), "
        "conditions=[Dirichlet('x', on='x-')], f='x*y')"
    )


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"f": 1 + 2j}, r"f: got \(1\+2j\); give real numbers"),
        ({"f": np.ones(3, dtype=complex)}, r"f: got complex128 values; give real numbers"),
        ({"f": np.nan}, r"f: got nan; give a finite number"),
        ({"f": [1.0, np.inf]}, r"f: got 1 of 2 values not finite, the first at index \(1,\)"),
        ({"f": "k*x"}, r"f: got the unknown name 'k'; known here are 'x', 'y'"),
        ({"f": "u*x"}, r"f: got the unknown name 'u'"),
        ({"f": None}, r"f: got None; give a number, a formula, a callable"),
        ({"f": {"a": 1}}, r"f: got .*; give a number, a formula"),
        ({"f": [[1], [1, 2]]}, r"f: got list; give a number"),
        ({"f": ["a"]}, r"f: got list values; give a number"),
        ({"f": True}, r"f: got True; give a number"),
        ({"f": 0, "g": 1}, r"g: got data that .* does not use; leave it out"),
        ({}, r"equation: got the unknown name 'f'; .*pass data by keyword"),
        ({"f": 0, "x": 1}, r"x: got data with the name of an axis; choose another name"),
        ({"f": 0, "sin": 1}, r"sin: got a name that has another meaning"),
        ({"f": 0, "u": 1}, r"'u' as the unknown function and as data"),
    ],
)
def test_bad_data_is_named(data, message):
    with pytest.raises(ArgumentError, match=message):
        Problem(POISSON, SQUARE, ZERO, **data)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("1/x", r"f: got 1 of 3 values not finite, the first at \(0\); give data that are finite"),
        ("log(x - 1/2)", r"f: got 2 of 3 values not finite"),
        (lambda x: np.where(x > 0.7, np.nan, x), r"f: got 1 of 3 values not finite, .*\(1\)"),
        (lambda x: x[:2], r"f: got shape \(2,\) from the callable; return the broadcast .*\(3,\)"),
        (lambda x: x[None] * x, r"f: got shape \(1, 3\) from the callable"),
        (lambda x: x.astype(np.float16), r"f: got float16 values; convert them to float32"),
        (lambda x, y: x * y, r"f: got a callable that does not take 1 arrays .*; give one of one"),
        (lambda x: x * 1j, r"f: got complex128 values; give real numbers"),
    ],
)
def test_bad_source_values_are_named(source, message):
    problem = Problem("u_xx = f", LINE, ZERO, f=source)
    with pytest.raises(ArgumentError, match=message):
        problem.source_on_grid(LINE.uniform_axes((3,)))


def test_bad_boundary_values_name_the_face():
    problem = Problem(POISSON, SQUARE, [Dirichlet("1/x", on=["x-", "y-"])], f=0)
    with pytest.raises(ArgumentError, match=r"Dirichlet value on x-, y-: got 3 of 3 values not"):
        problem.faces[0].value_on_grid([np.linspace(0, 2, 3)])


def test_array_source_has_no_values_between_the_points():
    problem = Problem("u_xx = f", LINE, ZERO, f=np.ones(5))
    message = r"f: got an array of shape \(5,\); give a formula or a callable"
    with pytest.raises(ArgumentError, match=message):
        problem.source(np.array([0.3]))
    with pytest.raises(ArgumentError, match=r"f: got an array .*give shape \(7,\), as the grid"):
        problem.source_on_grid(LINE.uniform_axes((7,)))


@pytest.mark.parametrize(
    ("conditions", "message"),
    [
        ([Dirichlet(0, on="z-")], r"on: got 'z-'; give one or more of 'x-', 'x\+', 'y-', 'y\+'"),
        ([Dirichlet(0, on=["x-", "x-"])], r"on: got \['x-', 'x-'\]; .*each once"),
        ([Dirichlet(0, on=[])], r"on: got no face"),
        ([Dirichlet(0), Dirichlet(1, on="x+")], r"conditions: got more than one on x\+; give one"),
        ([Dirichlet()], r"conditions: got Dirichlet\(\) without a value; give its value: there is"),
        ([Dirichlet(0, of="v")], r"of: got 'v'; give 'u', the unknown function"),
        ([Dirichlet(np.ones(3))], r"got one array for 4 faces; give each face its own"),
        ([Dirichlet("q*x")], r"Dirichlet value on x-.*: got the unknown name 'q'"),
        ([Dirichlet(np.nan)], r"Dirichlet value on .*: got nan; give a finite number"),
        ([3], r"conditions: got 3; give conditions such as Dirichlet"),
        ("x", r"conditions: got 'x'; give a list of conditions"),
        (None, r"conditions: got None; give a list of conditions"),
    ],
)
def test_bad_conditions_are_named(conditions, message):
    with pytest.raises(ArgumentError, match=message):
        Problem(POISSON, SQUARE, conditions, f=0)


@pytest.mark.parametrize(
    ("equation", "on", "missing"),
    [
        (POISSON, ["x-", "y-", "y+"], r"none on face x\+; give one on each, .*on='x\+'"),
        (POISSON, ["x-", "x+"], r"none on faces y-, y\+; give"),
        ("u_x + u_yy = f", ["y-", "y+"], r"none on face x- or x\+"),
        ("u_x + u_y = f", ["x-"], r"none on face y- or y\+"),
    ],
)
def test_missing_faces_are_named(equation, on, missing):
    problem = Problem(equation, SQUARE, [Dirichlet(0, on=on)], f=0)
    with pytest.raises(ArgumentError, match=f"conditions: got {missing}"):
        problem.check_conditions()


@pytest.mark.parametrize(
    ("equation", "on"),
    [("u_x + u_yy = f", ["x-", "y-", "y+"]), ("u_xx = f", ["x-", "x+"]), (POISSON, None)],
)
def test_enough_faces_pass(equation, on):
    Problem(equation, SQUARE, [Dirichlet(0, on=on)], f=0).check_conditions()


def test_incompatible_corner_is_measured():
    conditions = [Dirichlet(0, on=["x-", "x+", "y-"]), Dirichlet("x + 1/4", on="y+")]
    problem = Problem(POISSON, SQUARE, conditions, f=0)
    message = r"conditions: x\+ and y\+ differ by 1\.2e\+00 at x=1, y=2, where they meet; .* agree"
    with pytest.warns(NumericalWarning, match=message):
        problem.check_conditions()


def test_incompatible_corner_of_arrays_is_measured():
    conditions = [
        Dirichlet(np.array([0.0, 1, 2]), on="x-"),
        Dirichlet(np.array([5.0, 6]), on="y+"),
        Dirichlet(np.array([0.0, 6]), on="y-"),
        Dirichlet(6, on="x+"),
    ]
    with pytest.warns(NumericalWarning, match=r"x- and y\+ differ by 3\.0e\+00 at x=0, y=2"):
        Problem(POISSON, SQUARE, conditions, f=0).check_conditions()


def test_corners_equal_up_to_rounding_pass():
    box = Box(x=(0, 2 * np.pi), y=(0, 2 * np.pi))
    faces = [Dirichlet(0, on=["x-", "x+"]), Dirichlet("cos(y)*sin(100*x)", on=["y-", "y+"])]
    Problem(POISSON, box, faces, f=0).check_conditions()


@pytest.mark.parametrize(
    ("equation", "exact", "message"),
    [
        ("u_xx = f + g", "sin(x)", r"equation: got f, g to derive; pass all but one"),
        ("u_xx = f**2", "sin(x)", r"where f is no term on its own; write the source as a term"),
        ("u_xx = x*f", "sin(x)", r"where f is no term on its own"),
        ("u_xx = f", "sin(k*x)", r"exact: got the unknown name 'k'; known here are 'x'"),
        ("u_xx = f", "abs(x - 1/2)", r"exact: got .*, which is not smooth enough for 'u_xx = f'"),
        ("u_xx = f", "sign(x)", r"exact: got 'sign\(x\)', which is not smooth enough"),
        ("u_xx = f", "sin(", r"exact: got 'sin\('; give a formula"),
    ],
)
def test_what_cannot_be_manufactured_is_named(equation, exact, message):
    with pytest.raises(ArgumentError, match=message):
        Problem.from_exact(equation, LINE, exact)


def test_exact_without_a_second_derivative_is_refused():
    message = r"exact: got 'Abs\(x - 1/3\)', which is not smooth enough"
    with pytest.raises(ArgumentError, match=message):
        Problem.from_exact("u_xx = f", LINE, "Abs(x - 1/3)")


def test_exact_as_a_callable_is_refused():
    with pytest.raises(ArgumentTypeError, match=r"exact: got .*; give a formula"):
        Problem.from_exact("u_xx = f", LINE, np.sin)


def test_a_callable_coefficient_cannot_be_manufactured_with():
    with pytest.raises(ArgumentError, match=r"c: got .*; give a number or a formula"):
        Problem.from_exact("u_xx + c*u = f", LINE, "sin(x)", c=np.sin)


def test_exact_solution_that_is_not_known_is_an_error():
    with pytest.raises(ArgumentError, match=r"problem: got one without an exact solution; make"):
        Problem("u_xx = f", LINE, ZERO, f=0).exact(np.zeros((1, 1)))


def test_domain_that_is_no_box_is_named():
    with pytest.raises(ArgumentTypeError, match=r"domain: got \(0, 1\); give a Box"):
        Problem("u_xx = f", (0, 1), ZERO, f=0)
