"""Conditions as level sets: positive where Python says true, with the gradient of their edge."""

import numpy as np
import pytest
import sympy
from hypothesis import given
from hypothesis import strategies as st

from kernelgp.errors import ArgumentError, ArgumentTypeError
from solvers.level_set import read_level_set

AXES = ("x", "y")
RNG = np.random.default_rng(0)
X, Y = RNG.uniform(-2, 2, size=(2, 200))


def conditions():
    compared = st.tuples(
        st.sampled_from(["x", "y", "x**2 + y**2", "x - 2*y"]),
        st.sampled_from(["<", ">", "<=", ">="]),
        st.sampled_from(["0.3", "0.2*y + 0.1", "x*y"]),
    ).map(" ".join)

    def larger(inner):
        joined = st.tuples(inner, st.sampled_from(["and", "or"]), inner)
        return st.one_of(
            joined.map(lambda t: f"({t[0]}) {t[1]} ({t[2]})"), inner.map(lambda c: f"not ({c})")
        )

    return st.recursive(compared, larger, max_leaves=6)


@given(text=conditions())
def test_it_is_positive_where_python_says_true(text):
    expected = [eval(text, {}, {"x": x, "y": y}) for x, y in zip(X, Y, strict=True)]  # the oracle
    level, _ = read_level_set("inside", text, AXES)
    assert np.array_equal(level(X, Y) > 0, expected)


@given(text=conditions())
def test_its_gradient_is_that_of_differences(text):
    level, _ = read_level_set("inside", text, AXES)
    step = 1e-6
    slopes = [
        (level(X + step * i, Y + step * j) - level(X - step * i, Y - step * j)) / (2 * step)
        for i, j in ((1, 0), (0, 1))
    ]
    off = np.abs(level.gradient(X, Y) - slopes) > 1e-6
    # Only where another piece takes over within the step.
    assert off.any(axis=0).sum() <= 2


def test_symbols_and_brackets_mean_the_same_as_words():
    words, _ = read_level_set("inside", "x < 0 or not (y > 1 and x > y)", AXES)
    signs, _ = read_level_set("inside", "(x < 0) | ~((y > 1) & (x > y))", AXES)
    assert np.array_equal(words(X, Y), signs(X, Y))


def test_a_relation_of_sympy_is_read_back_from_its_text():
    x, y = sympy.symbols("x y")
    relation = sympy.Or(x < 0, sympy.And(y <= 1, ~(x * y > sympy.Rational(1, 3))))
    level, text = read_level_set("inside", relation, AXES)
    again, _ = read_level_set("inside", text, AXES)
    expected = (X < 0) | ((Y <= 1) & ~(X * Y > 1 / 3))
    assert np.array_equal(level(X, Y) > 0, expected)
    assert np.array_equal(level(X, Y), again(X, Y))


def test_what_is_undefined_is_outside():
    level, _ = read_level_set("inside", "sqrt(x) < 0.5", AXES)
    assert (level(np.array([-1.0, 0.1, 0.3]), np.zeros(3)) > 0).tolist() == [False, True, False]


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("", r"inside: got ''; give a comparison .*empty"),
        ("x <", r"inside: got 'x <'; give a comparison"),
        ("x == 1", r"compare with < or >"),
        ("x < 0 | y < 0", r"put brackets around each comparison"),
        ("z < 1", r"the unknown name 'z'; known here are 'x', 'y'"),
        ("__import__('os') < 1", r"use numbers, names"),
        ("x.real < 1", r"use numbers, names"),
        ("x < 1j", r"complex"),
        ("not " * 3000 + "x", r"nested too deeply"),
        (sympy.Eq(sympy.Symbol("x"), 1), r"compare with < or >"),
    ],
)
def test_bad_conditions_are_named(value, message):
    with pytest.raises(ArgumentError, match=message):
        read_level_set("inside", value, AXES)


def test_another_type_is_named():
    with pytest.raises(ArgumentTypeError, match="give a comparison"):
        read_level_set("inside", sympy.Matrix([1]), AXES)
