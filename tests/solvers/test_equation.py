"""Equations: text and sympy read alike, and every mistake named."""

import pytest
import sympy
from hypothesis import given
from hypothesis import strategies as st

from kernelgp.errors import ArgumentError, ArgumentTypeError
from solvers.equation import check_data_names, parse_derivative, read_equation
from solvers.expression import parse_expression
from solvers.operator import Term, make_operator

AXES = ("x", "y")
x, y = sympy.symbols("x y")
u, f = sympy.Function("u"), sympy.Function("f")


def operator_of(equation, axes=AXES, data=("f",)):
    form = read_equation(equation, axes, data).form({})
    return make_operator(form.coefficients_of("u"), axes, {})


@given(
    coefficients=st.dictionaries(
        st.sampled_from([(2, 0), (1, 1), (0, 2), (1, 0), (0, 1), (0, 0)]),
        st.floats(0.1, 9) | st.integers(-9, -1),
        min_size=2,
    )
)
def test_terms_are_those_written(coefficients):
    def name(orders):
        return "u_" + "x" * orders[0] + "y" * orders[1] if sum(orders) else "u"

    text = " + ".join(f"({value})*{name(orders)}" for orders, value in coefficients.items())
    terms = operator_of(f"{text} = f").terms
    assert {t.orders: t.coefficient for t in terms} == {
        k: float(v) for k, v in coefficients.items()
    }


@pytest.mark.parametrize(
    ("text", "equation"),
    [
        ("u_xx + u_yy = f", sympy.Eq(u(x, y).diff(x, 2) + u(x, y).diff(y, 2), f(x, y))),
        ("u_xy + 3*u = f", sympy.Eq(u(x, y).diff(x, y) + 3 * u(x, y), sympy.Symbol("f"))),
        ("u_xx = f", sympy.Eq(sympy.Derivative(sympy.Symbol("u"), (x, 2)), f(x, y))),
        ("u_xx = f", sympy.Eq(sympy.Symbol("u_xx"), sympy.Symbol("f"))),
    ],
)
def test_sympy_reads_as_text_does(text, equation):
    assert operator_of(equation) == operator_of(text)


def test_terms_on_both_sides_are_collected_and_the_source_changes_sides():
    form = read_equation("u_yy + sin(x) = 4*u_xx - 2*u + f", AXES, ["f"]).form({})
    assert form.coefficients_of("u") == {(0, 0): 2, (2, 0): -4, (0, 2): 1}
    assert form.source == parse_expression("", "f - sin(x)")


def test_mixed_derivatives_written_both_ways_are_one():
    assert operator_of("u_xy + u_yx + u_xx = f").terms == (Term((2, 0), 1.0), Term((1, 1), 2.0))


def test_orders_are_the_highest_along_each_axis():
    assert operator_of("u_xx + u_y + u = f").orders == (2, 1)


def test_the_unknown_function_is_the_name_with_subscripts():
    equation = read_equation("phi_xx + f = 0", AXES, ["f"])
    assert equation.function == "phi"
    assert equation.data_names == ("f",)


def test_axes_with_long_names_are_told_apart():
    equation = read_equation("u_thetatheta + u_t = 0", ("t", "theta"), [])
    assert {d.orders for d in equation.unknowns.values()} == {(0, 2), (1, 0)}


def test_data_with_an_underscore_is_no_derivative():
    equation = read_equation("u_xx = k_x", AXES, ["k_x"])
    assert equation.data_names == ("k_x",)


@pytest.mark.parametrize(
    ("equation", "message"),
    [
        ("u_xx = f = 2", r"equation: got 'u_xx = f = 2'; give an equation with one ="),
        ("u_xx", r"equation: got 'u_xx'; give an equation with one ="),
        ("u_xx == f", r"give an equation with one ="),
        ("u_xx <= f", r"give an equation with one ="),
        ("u_xx = ", r"it is empty"),
        ("u = f", r"equation: got 'u = f', which holds no derivative; write .* such as u_xx"),
        ("0*u_xx + u = f", r"holds no derivative"),
        ("u_zz = f", r"unknown name 'u_zz'; .* the axes are x, y"),
        ("u_xxxxxxxxx = f", r"equation: got one of order 9 in u; give one of order 1 to 8"),
        ("u_xxxxxyyyy = f", r"got one of order 9"),
        ("u_xx + v_xx = f", r"derivatives of u, v; give an equation of one"),
        ("x_yy = f", r"'x' as the unknown function and as an axis"),
        ("f_xx = f", r"'f' as the unknown function and as data"),
        ("u_xx = 2j", r"complex ones are not supported"),
        ("u_xx = __import__('os')", r"use numbers, names"),
        ("lambda*u_xx = f", r"give a formula such as"),
        (sympy.Eq(u(2 * x, y).diff(x), 0), r"write derivatives of a function of the axes only"),
    ],
)
def test_bad_equation_is_named(equation, message):
    with pytest.raises(ArgumentError, match=message):
        operator_of(equation)


@pytest.mark.parametrize("equation", [3, None, sympy.true, sympy.Symbol("u_xx")])
def test_what_is_no_equation_is_refused(equation):
    with pytest.raises(ArgumentTypeError, match=r"equation: got .*; give text such as 'u_xx = f'"):
        read_equation(equation, AXES, [])


def test_unknown_symbol_is_named_with_the_known_ones_and_the_remedy():
    equation = read_equation("u_xx = g + f", AXES, ["f"])
    message = r"equation: got the unknown name 'g'; .*'x', 'y', 'u', 'u_xx', 'f'; pass data by key"
    with pytest.raises(ArgumentError, match=message):
        check_data_names([equation], ["f"], [])


def test_unused_data_is_named():
    equation = read_equation("u_xx = f", AXES, ["f", "g"])
    with pytest.raises(ArgumentError, match=r"g: got data that 'u_xx = f' does not use; leave it"):
        check_data_names([equation], ["f", "g"], [])


@pytest.mark.parametrize(
    ("text", "orders"), [("u", (0, 0)), ("u_x", (1, 0)), ("u_xxy", (2, 1)), ("u_yx", (1, 1))]
)
def test_derivative_labels(text, orders):
    assert parse_derivative("derivative", text, "u", AXES) == orders


@pytest.mark.parametrize("text", ["v_x", "u_", "u_z", "ux", "", 3, "u_x_y"])
def test_bad_derivative_label_is_named(text):
    message = r"derivative: got .*; give 'u' with subscripts of x, y, such as 'u_xx'"
    with pytest.raises(ArgumentError, match=message):
        parse_derivative("derivative", text, "u", AXES)
