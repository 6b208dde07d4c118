"""Formulas: what is read equals what Python computes, and nothing is run as Python."""

import math

import numpy as np
import pytest
import sympy
from hypothesis import given
from hypothesis import strategies as st

from kernelgp.errors import ArgumentError, ArgumentTypeError
from solvers.expression import (
    check_names,
    compile_expression,
    format_expression,
    parse_expression,
    read_expression,
)

NAMES = {name: getattr(np, name) for name in ("sin", "cos", "tanh", "exp")} | {"pi": math.pi}


def formulas():
    leaves = st.sampled_from(["x", "y", "pi", "3", "0.1", "2.5e-3", "7"])

    def larger(inner):
        binary = st.tuples(inner, st.sampled_from("+-*/"), inner)
        called = st.tuples(st.sampled_from(["sin", "cos", "tanh"]), inner)
        return st.one_of(
            binary.map(lambda t: f"({t[0]}{t[1]}{t[2]})"),
            called.map(lambda t: f"{t[0]}({t[1]})"),
            inner.map(lambda e: f"(-{e})**2"),
        )

    return st.recursive(leaves, larger, max_leaves=8)


@given(text=formulas())
def test_values_equal_those_of_python(text):
    x, y = np.array([0.3, 1.7]), np.array([2.1, -0.4])
    with np.errstate(all="ignore"):
        try:
            expected = np.broadcast_to(eval(text, {}, NAMES | {"x": x, "y": y}), 2)  # the oracle
        except ZeroDivisionError:
            return
    if not np.isfinite(expected).all() or (np.abs(expected) > 1e6).any():
        return
    try:
        values = compile_expression(parse_expression("f", text), ["x", "y"])(x, y)
    except ArgumentError:  # x - x in a denominator is zero for every x
        return
    # Simplification reorders the operations of a few levels.
    np.testing.assert_allclose(values, expected, rtol=1e-7, atol=1e-9)


@given(text=formulas())
def test_text_written_is_read_back_as_the_same_formula(text):
    try:
        expression = parse_expression("f", text)
    except ArgumentError:
        return
    assert parse_expression("f", format_expression(expression)) == expression


@given(value=st.floats(allow_nan=False, allow_infinity=False))
def test_floats_keep_every_bit(value):
    expression = parse_expression("f", f"x*{value!r}")
    again = parse_expression("f", format_expression(expression))
    assert compile_expression(again, ["x"])(np.ones(1))[0] == value


def test_a_constant_takes_the_broadcast_shape():
    function = compile_expression(parse_expression("f", "pi"), ["x", "y"])
    assert function(np.zeros((3, 1)), np.zeros((1, 2))).shape == (3, 2)


def test_huge_integers_compute_as_floats():
    function = compile_expression(parse_expression("f", "10**30*x + 10**20"), ["x"])
    assert function(np.array([2.0]))[0] == pytest.approx(2e30)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("__import__('os').system('ls')", r"f: got .*use numbers, names.* not '__import__"),
        ("x.__class__", r"not 'x\.__class__'"),
        ("(lambda: 1)()", r"not '\(lambda: 1\)"),
        ("[1][0]", r"not '\[1\]\[0\]'"),
        ("[i for i in x]", r"use numbers, names"),
        ("x if y else 2", r"use numbers, names"),
        ("x < 2", r"use numbers, names"),
        ("'a'", r"use numbers, names"),
        ("True", r"not 'True'"),
        ("f'{x}'", r"use numbers, names"),
        ("(x := 3)", r"use numbers, names"),
        ("open(x)", r"not 'open\(x\)'"),
        ("eval", None),
        ("sin(x, y)", r"give sin 1 argument"),
        ("atan2(x)", r"give atan2 2 arguments"),
        ("sin(x=1)", r"use numbers, names"),
        ("sin(*x)", r"use numbers, names"),
        ("sin", r"'sin' is a function: write sin\(\.\.\.\)"),
        ("x^2", r"write powers with \*\*, not \^"),
        ("2j", r"give real numbers: complex ones are not supported"),
        ("I*x", r"give real numbers"),
        ("sqrt(-1)", r"give real numbers"),
        ("1/0", r"give a formula with finite values"),
        ("1e999", r"give a formula with finite values"),
        ("9**9**9", r"within the range of float64"),
        ("2**(-9**9)", r"within the range of float64"),
        ("1" + "0" * 400, r"within the range of float64"),
        ("", r"it is empty"),
        ("2*", r"f: got '2\*'; give a formula such as 'sin\(2\*x\)' \("),
        ("(" * 500 + "1" + ")" * 500, r"give a formula such as"),
        ("+".join(["x"] * 5000), r"give a formula such as"),
        ("x" * 30_000, r"got 30000 characters; give at most"),
    ],
)
def test_what_is_no_formula_is_refused(text, message):
    if message is None:  # a bare name is only a name
        assert parse_expression("f", text) == sympy.Symbol(text, real=True)
        return
    with pytest.raises(ArgumentError, match=message):
        parse_expression("f", text)


def test_nothing_is_run(tmp_path):
    target = tmp_path / "made"
    with pytest.raises(ArgumentError):
        parse_expression("f", f"open({str(target)!r}, 'w')")
    assert not target.exists()


def test_unknown_names_are_listed_with_what_was_meant():
    expression = parse_expression("f", "k*x + freq")
    message = r"f: got the unknown names 'freq', 'k'; .*known here are 'x', 'y'; define it"
    with pytest.raises(ArgumentError, match=message):
        check_names("f", expression, ["x", "y"], "define it")
    with pytest.raises(ArgumentError, match=r"did you mean 'freq2'\?"):
        check_names("f", parse_expression("f", "freq"), ["x", "freq2"], "define it")


def test_sympy_is_read_over_the_same_symbols():
    assert read_expression("f", sympy.sin(sympy.Symbol("x"))) == parse_expression("f", "sin(x)")


def test_what_is_neither_text_nor_sympy_is_refused():
    with pytest.raises(ArgumentTypeError, match=r"f: got 3; give a formula"):
        read_expression("f", 3)
