"""Systems and unknown parameters: read into a matrix of operators, carried, put in."""

import numpy as np
import pytest

from kernelgp.errors import ArgumentError
from solvers import Box, ChebyshevSolver, Dirichlet, Initial, Observations, Problem, Solution
from solvers.equation import Derivative
from solvers.interpolant import ChebyshevInterpolant, ChebyshevReport
from solvers.needs import Need
from tests.solvers.test_nonlinear import left_sides, random_points

LINE = Box(x=(0, 1))
SPACETIME = Box(x=(0, 1), t=(0, 1))
FIRST_ORDER = ["u_x = v", "v_x + 900*u = f"]
EXACT = {"u": "sin(50*x)", "v": "50*cos(50*x)"}


def first_order(**options):
    conditions = options.pop("conditions", [Dirichlet(on="x-")])
    return Problem.from_exact(
        FIRST_ORDER, LINE, EXACT, functions=["u", "v"], conditions=conditions, **options
    )


def test_a_system_is_a_matrix_of_operators():
    problem = first_order()
    found = [[{t.orders[0]: t.coefficient for t in o.terms} for o in r] for r in problem.operators]
    assert found == [[{1: 1.0}, {0: -1.0}], [{0: 900.0}, {1: 1.0}]]
    assert problem.functions == ("u", "v")
    assert problem.orders_of == {"u": (1,), "v": (1,)}
    assert [(f.name, f.function) for f in problem.faces] == [("x-", "u"), ("x-", "v")]
    assert [float(f.value_on_grid([])) for f in problem.faces] == [0.0, 50.0]
    assert problem.needs == {Need.SYSTEM}
    problem.check_conditions()


@pytest.mark.parametrize(
    ("equations", "box", "exact"),
    [
        (FIRST_ORDER, LINE, EXACT),
        (["u_t + u*v_x = f", "v_t + v*u_x + u_xx = g"], SPACETIME, {"u": "x*t", "v": "sin(x+t)"}),
        (["u_xx + x*v = f", "v_xx - f + u**2*v = 0"], LINE, {"u": "x**4", "v": "x**2 - x**6"}),
    ],
)
def test_every_equation_of_a_system_is_manufactured(equations, box, exact):
    if "u**2*v" in equations[1]:
        with pytest.raises(ArgumentError, match=r"exact: got .* leaves a defect"):
            Problem.from_exact(equations, box, exact, functions=["u", "v"])
        return
    problem = Problem.from_exact(equations, box, exact, functions=["u", "v"])
    at = random_points(problem)
    for left, source in zip(left_sides(problem, at), problem.sources, strict=True):
        np.testing.assert_allclose(left, source(*at), rtol=1e-12, atol=1e-11)
    np.testing.assert_allclose(problem.exact(at.T, of="v"), problem.exact(at.T, "v"))


def test_the_order_of_a_system_is_that_of_its_determinant():
    with pytest.raises(ArgumentError, match=r"conditions: got none on face x\+; give one"):
        first_order(conditions=[Dirichlet(on="x-", of="u")]).check_conditions()
    first_order(conditions=[Dirichlet(of="u")]).check_conditions()
    wave = Problem(
        ["u_t = v_x", "v_t = u_x"],
        SPACETIME,
        [Initial("x*(1 - x)", of="u"), Initial(0, of="v"), Dirichlet(0, of="u", on=["x-", "x+"])],
        functions=["u", "v"],
    )
    wave.check_conditions()


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        ((FIRST_ORDER, LINE), {"f": 0}, r"functions: got None for 2 equations; name them"),
        (("u_x = v", LINE), {"functions": ["u", "v"]}, r"equation: got 1 for 2 functions; give"),
        ((FIRST_ORDER, LINE), {"functions": ["u", "u"]}, r"functions: got .*different names"),
        ((FIRST_ORDER, LINE), {"functions": "uv"}, r"functions: got 'uv'; give a list"),
        ((["u_x = 1", "u_x = 2"], LINE), {"functions": ["u", "v"]}, r"functions: got 'v', which"),
        ((["u_x = 1", "w_x = 2"], LINE), {"functions": ["u", "v"]}, r"derivatives of w; give eq"),
        ((FIRST_ORDER, LINE, [Dirichlet(0)]), {"functions": ["u", "v"], "f": 0}, r"of: got .* sev"),
        (
            (FIRST_ORDER, LINE, [Observations([[0.5]], [1.0])]),
            {"functions": ["u", "v"], "f": 0},
            r"of: got None .*; say which was seen: 'u' or 'v'",
        ),
    ],
)
def test_a_system_that_does_not_fit_is_named(arguments, options, message):
    with pytest.raises(ArgumentError, match=message):
        Problem(*arguments, **options)


@pytest.mark.parametrize(
    ("exact", "message"),
    [
        ("sin(x)", r"exact: got 'sin\(x\)'; give a mapping of u, v to formulas"),
        ({"u": "x"}, r"exact: got formulas for u; give one for each of u, v"),
        ({"u": "x", "v": "q"}, r"exact\['v'\]: got the unknown name 'q'"),
    ],
)
def test_an_exact_system_that_does_not_fit_is_named(exact, message):
    with pytest.raises(ArgumentError, match=message):
        Problem.from_exact(FIRST_ORDER, LINE, exact, functions=["u", "v"])


def test_what_is_of_one_equation_says_where_the_others_are():
    problem = first_order()
    with pytest.raises(ArgumentError, match=r"a system of 2 equations; use problem\.operators"):
        _ = problem.operator
    with pytest.raises(ArgumentError, match=r"several unknown functions, which Cheb.* does not"):
        ChebyshevSolver().solve(problem, (50,))


def test_an_unknown_constant_is_carried_and_can_be_put_in():
    where, seen = np.array([[0.5, 0.5]]), np.array([1.0])
    problem = Problem(
        "u_t + c*u_x = 0", SPACETIME, [Observations(where, seen)], unknown={"c": (0.1, 5.0)}
    )
    problem.check_conditions()
    assert problem.unknown == {"c": (0.1, 5.0)}
    assert problem.needs == {Need.UNKNOWN, Need.NONLINEAR, Need.OBSERVATIONS}
    speed, slope = Derivative("c", (0, 0)), Derivative("u", (1, 0))
    assert set(problem.nonlinear.derivatives) == {speed, slope}
    values = {speed: np.array([3.0]), slope: np.array([2.0])}
    at = np.zeros((2, 1))
    assert problem.nonlinear(values, *at) == 6.0
    assert problem.nonlinear.slopes(values, *at) == {speed: 2.0, slope: 3.0}

    forward = problem.with_parameters({"c": 3})
    assert {t.orders: t.coefficient for t in forward.operator.terms} == {(0, 1): 1.0, (1, 0): 3.0}
    assert (forward.unknown, forward.nonlinear) == ({}, None)


def test_an_unknown_field_may_have_derivatives_and_an_amplitude_is_linear():
    problem = Problem.from_exact(
        "a*u_xx + a_x*u_x + s*exp(x) = f",
        LINE,
        {"u": "sin(9*x)", "a": "2 + x**2", "s": 3},
        unknown={"a": "field", "s": (0, 9)},
    )
    (amplitude,) = problem.parameter_operators[0]["s"].terms
    np.testing.assert_allclose(amplitude(np.array([0.5])), np.exp(0.5))
    at = random_points(problem)
    (left,) = left_sides(problem, at)
    np.testing.assert_allclose(left, problem.source(*at), rtol=1e-12, atol=1e-11)
    np.testing.assert_allclose(problem.exact(at.T, of="a"), 2 + at[0] ** 2)


@pytest.mark.parametrize(
    ("unknown", "message"),
    [
        ({"c": (5, 1)}, r"unknown: got c: \(5, 1\); give \(lower, upper\), the lower one first"),
        ({"c": (0, np.inf)}, r"unknown: got c: \(0, inf\); give"),
        ({"c": "function"}, r"unknown: got c: 'function'; give .* or 'field'"),
        ({"c": 3}, r"unknown: got c: 3; give"),
        ({"sin": (0, 1)}, r"unknown: got 'sin'; give a name that means nothing else"),
        ({"q": (0, 1)}, r"unknown: got 'q', which 'u_t \+ c\*u_x = 0' does not hold"),
        ({"u": (0, 1)}, r"got"),
        ({"x": (0, 1)}, r"'x' as an unknown parameter and as an axis"),
        ([1], r"unknown: got \[1\]; give a mapping"),
    ],
)
def test_unknowns_that_do_not_fit_are_named(unknown, message):
    with pytest.raises(ArgumentError, match=message):
        Problem("u_t + c*u_x = 0", SPACETIME, unknown=unknown)


def test_values_of_what_is_not_unknown_are_refused():
    with pytest.raises(ArgumentError, match=r"values: got 'k'; give values of none: nothing is"):
        first_order().with_parameters({"k": 1})


def test_systems_and_unknowns_come_back_from_a_file(tmp_path):
    problem = Problem.from_exact(
        ["u_x = v", "v_x + c*u = f"],
        LINE,
        EXACT | {"c": 900},
        functions=["u", "v"],
        unknown={"c": (1, 1000.0)},
        conditions=[Dirichlet(on="x-")],
    )
    report = ChebyshevReport(0.1, "dense", 3)
    posterior = ChebyshevInterpolant(np.ones(5), LINE.bounds, report)
    again = Solution.load(Solution(problem, posterior, (5,)).save(tmp_path / "u.gp")).problem
    assert repr(again) == repr(problem)
    assert again.unknown == {"c": (1.0, 1000.0)}
    at = np.array([[0.3]])
    assert again.exact(at, of="v") == problem.exact(at, of="v")
