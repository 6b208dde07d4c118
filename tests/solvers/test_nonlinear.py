"""Nonlinear and variable-coefficient equations: split, evaluated and manufactured rightly."""

import pickle

import numpy as np
import pytest
import sympy

from kernelgp.errors import ArgumentError
from solvers import Box, ChebyshevSolver, Dirichlet, Problem, Solution
from solvers.equation import Derivative
from solvers.interpolant import ChebyshevInterpolant, ChebyshevReport
from solvers.needs import Need

LINE, SQUARE = Box(x=(0, 1)), Box(x=(0, 1), y=(0, 2))
SPACETIME = Box(x=(0, 1), t=(0, 1))
ZERO = [Dirichlet(0)]
X, Y = sympy.symbols("x y", real=True)


def exact_derivatives(problem, derivatives, at):
    """Values of derivatives of the exact solutions at points of shape (d, m), by sympy."""
    symbols = sympy.symbols(problem.axes, real=True)
    values = {}
    for name, orders in derivatives:
        formula = problem.exact_formulas[name].diff(*zip(symbols, orders, strict=True))
        function = sympy.lambdify(symbols, formula, "numpy")
        values[Derivative(name, orders)] = np.broadcast_to(function(*at), at.shape[1:])
    return values


def left_sides(problem, at):
    """Linear plus nonlinear part of every equation at the exact solution."""
    for i, nonlinear in enumerate(problem.nonlinears):
        total = np.zeros(at.shape[1:])
        columns = [*zip(problem.functions, problem.operators[i], strict=True)]
        for name, operator in [*columns, *problem.parameter_operators[i].items()]:
            for term in operator.terms:
                wanted = Derivative(name, term.orders)
                total = total + term(*at) * exact_derivatives(problem, [wanted], at)[wanted]
        if nonlinear is not None:
            total = total + nonlinear(exact_derivatives(problem, nonlinear.derivatives, at), *at)
        yield total


def random_points(problem, m=25):
    rng = np.random.default_rng(0)
    return np.stack([rng.uniform(lo, hi, m) for lo, hi in problem.domain.bounds])


@pytest.mark.parametrize(
    ("equation", "box", "exact"),
    [
        ("u_xx + u*(u**2 - 1) = f", LINE, "sin(9*x)"),
        ("u_xx + u_yy - 50*sin(u) = f", SQUARE, "sin(3*x)*y"),
        ("u_t + u*u_x = 0.01*u_xx + f", SPACETIME, "sin(3*x - t) + 2"),
        ("u_t + 6*u*u_x + u_xxx = f", SPACETIME, "cos(5*x - t)"),
        ("(1 + u**2)*u_xx + 2*u*u_x**2 + exp(u + x) = f", LINE, "x**3"),
        ("u_xx*u_yy - u_xy*u_yx = f", SQUARE, "exp(x)*y**2"),
        ("u_xx + abs(u)*u = f", LINE, "sin(9*x)"),
        ("(2 + cos(5*x + 3*y))*u_xx + (1 + y**2)*u_yy + 30*x*u_x = f", SQUARE, "sin(3*x)*y"),
        ("k*(u_xx + u) + x*(u - 1)**2 = f + (x - 1/2)**2", LINE, "x**2"),
        ("u_xxxx + x*u_x + sqrt(u) = f", LINE, "2 + x**5"),
    ],
)
def test_the_manufactured_solution_leaves_no_residual(equation, box, exact):
    data = {"k": 3.5} if "k*" in equation else {}
    problem = Problem.from_exact(equation, box, exact, **data)
    at = random_points(problem)
    (left,) = left_sides(problem, at)
    np.testing.assert_allclose(left, problem.source(*at), rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("equation", ["u*u_x + u_xx*sin(u_x) = f", "u_xx + abs(u)**3 + x*u**4 = f"])
def test_slopes_are_those_of_differences(equation):
    problem = Problem(equation, LINE, ZERO, f=0)
    nonlinear, rng = problem.nonlinear, np.random.default_rng(0)
    x = rng.uniform(size=20)
    values = {d: rng.normal(size=20) for d in nonlinear.derivatives}
    slopes = nonlinear.slopes(values, x)
    assert set(slopes) == set(values)
    for derivative, slope in slopes.items():
        up, down = (values | {derivative: values[derivative] + s} for s in (1e-6, -1e-6))
        expected = (nonlinear(up, x) - nonlinear(down, x)) / 2e-6
        np.testing.assert_allclose(slope, expected, rtol=1e-6, atol=1e-6)


def test_what_is_linear_stays_in_the_operator_and_the_source_is_not_multiplied_out():
    problem = Problem("u_xx + u*(u**2 - 1) = (x - 1/2)**2", LINE, ZERO)
    assert {t.orders: t.coefficient for t in problem.operator.terms} == {(2,): 1.0, (0,): -1.0}
    u = sympy.Symbol("u", real=True)
    assert problem.nonlinear.expression == u**3
    assert problem.nonlinear.slope_expressions == {Derivative("u", (0,)): 3 * u**2}
    assert problem.sources[0].expression == (X - sympy.Rational(1, 2)) ** 2
    assert problem.needs == {Need.NONLINEAR}


def test_on_a_grid_data_in_a_nonlinear_term_may_be_an_array():
    values = np.random.default_rng(0).normal(size=(4, 3))
    problem = Problem("u_xx + u_yy + a*u**2 = f", SQUARE, ZERO, a=values, f=lambda x, y: x + y)
    u = {Derivative("u", (0, 0)): np.full((4, 3), 2.0)}
    axes = SQUARE.uniform_axes((4, 3))
    np.testing.assert_allclose(problem.nonlinear.on_grid(u, axes), 4 * values)
    (slope,) = problem.nonlinear.slopes_on_grid(u, axes).values()
    np.testing.assert_allclose(slope, 4 * values)


@pytest.mark.parametrize(
    ("coefficient", "separable"),
    [
        ("(2 + cos(5*x))*(1 + y**2)", True),
        ("x*y + x + y + 1", True),
        ("1 + y**2", True),
        ("exp(x + y)", True),
        ("2 + cos(5*x + 3*y)", False),
        ("x + y", False),
    ],
)
def test_separable_coefficients_come_as_factors(coefficient, separable):
    problem = Problem(f"({coefficient})*u_xx + u_yy = f", SQUARE, ZERO, f=0)
    (term,) = (t for t in problem.operator.terms if t.orders == (2, 0))
    axes = SQUARE.uniform_axes((5, 4))
    x, y = np.meshgrid(*axes, indexing="ij")
    oracle = sympy.lambdify((X, Y), sympy.sympify(coefficient, locals={"x": X, "y": Y}))
    expected = np.broadcast_to(oracle(x, y), (5, 4))
    assert np.isnan(term.coefficient)
    np.testing.assert_allclose(term(x, y), expected, rtol=1e-14)
    np.testing.assert_allclose(term.on_grid(axes), expected, rtol=1e-14)
    assert (term.factors is not None) is separable
    if separable:
        product = np.outer(*(f(a) for f, a in zip(term.factors, axes, strict=True)))
        np.testing.assert_allclose(product, expected, rtol=1e-13)


def test_coefficients_may_be_callables_and_arrays():
    values = np.arange(1.0, 13.0).reshape(4, 3)
    problem = Problem(
        "a*u_xx + 2*b*u_yy + k*u = f", SQUARE, ZERO, a=lambda x, y: x * y, b=values, k=3, f=1
    )
    axes = SQUARE.uniform_axes((4, 3))
    first, second, third = problem.operator.terms
    np.testing.assert_allclose(first.on_grid(axes), np.outer(*axes))
    np.testing.assert_allclose(second.on_grid(axes), 2 * values)
    assert (third(*axes), first.factors, problem.needs) == (3.0, None, {Need.VARIABLE})
    with pytest.raises(ArgumentError, match=r"b: got an array .*; give shape \(5, 3\)"):
        second.on_grid(SQUARE.uniform_axes((5, 3)))


def test_a_nonlinear_problem_goes_to_a_worker_process():
    problem = Problem("u_xx + x*u**3 = f", LINE, ZERO, f=0)
    u, x = {Derivative("u", (0,)): np.array([2.0])}, np.array([0.5])
    problem.nonlinear(u, x)
    again = pickle.loads(pickle.dumps(problem))
    assert again.nonlinear(u, x) == problem.nonlinear(u, x) == 4.0


@pytest.mark.parametrize("term", ["sign(u)", "u*sign(u_x)", "abs(u)*sign(u)"])
def test_what_has_no_slope_is_named(term):
    with pytest.raises(ArgumentError, match=r"which has no derivative in u.*; give something smoo"):
        Problem(f"u_xx + {term} = f", LINE, ZERO, f=0)


def test_a_step_of_sympy_is_named_too():
    u = sympy.Function("u")(X)
    with pytest.raises(ArgumentError, match=r"Heaviside.* has no derivative in u; give something"):
        Problem(sympy.Eq(u.diff(X, 2) + sympy.Heaviside(u), 0), LINE, ZERO)


@pytest.mark.parametrize(
    ("equation", "what"), [("u_xx + u**2 = f", "nonlinear terms"), ("x*u_xx = f", "variable coef")]
)
def test_solvers_refuse_by_name_what_they_cannot_do(equation, what):
    problem = Problem(equation, LINE, ZERO, f=0)
    with pytest.raises(ArgumentError, match=f"{what}.*, which ChebyshevSolver does not solve"):
        ChebyshevSolver().solve(problem, (20,))


def test_the_residual_of_a_solution_holds_all_terms(tmp_path):
    problem = Problem.from_exact("(1 + x)*u_xx + u*u_x = f", LINE, "x**3 - x")
    nodes = (1 - np.cos(np.pi * np.arange(9) / 8)) / 2
    report = ChebyshevReport(0.1, "dense", 9)
    posterior = ChebyshevInterpolant(problem.exact(nodes[:, None]), LINE.bounds, report)
    solution = Solution(problem, posterior, (9,))
    x = np.linspace(0, 1, 7)[:, None]
    assert np.abs(solution.residual(x)).max() < 1e-11
    assert solution.check()
    again = Solution.load(solution.save(tmp_path / "u.gp"))
    assert np.abs(again.residual(x)).max() < 1e-11
    wrong = ChebyshevInterpolant(problem.exact(nodes[:, None]) * 1.1, LINE.bounds, report)
    assert np.abs(Solution(problem, wrong, (9,)).residual(x)).max() > 0.1
    assert not Solution(problem, wrong, (9,)).check()
