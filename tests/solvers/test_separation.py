"""Operators split into one-axis operators, and multiplied out again."""

import itertools
from collections import defaultdict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from solvers.separation import separate

ORDERS = [o for o in itertools.product(range(3), repeat=2) if sum(o) <= 2]
COEFFICIENTS = st.sampled_from([-3.0, -1.0, 0.5, 1.0, 100.0])


def multiplied_out(separation):
    """All coefficients of ``Σi A_i ⊗ Π B_k`` and the mixed terms."""
    total = defaultdict(float)
    for i in range(len(separation.left)):
        factors = [
            left if k == i else right
            for k, (left, right) in enumerate(zip(separation.left, separation.right, strict=True))
        ]
        for terms in itertools.product(*(f.items() for f in factors)):
            value = 1.0
            for _, c in terms:
                value *= c
            total[tuple(order for order, _ in terms)] += value
    for orders, c in separation.mixed.items():
        total[orders] += c
    return {orders: c for orders, c in total.items() if abs(c) > 1e-12}


@given(terms=st.dictionaries(st.sampled_from(ORDERS), COEFFICIENTS, min_size=1))
def test_the_parts_multiply_out_to_the_operator(terms):
    assert multiplied_out(separate(terms.items(), 2)) == pytest.approx(terms)


def test_only_three_second_derivatives_together_stay_mixed():
    assert not separate([((2, 0), 1.0), ((1, 1), 2.0), ((0, 0), 1.0)], 2).mixed
    assert not separate([((1, 1), 2.0)], 2).mixed
    three = separate([((2, 0), 1.0), ((1, 1), 0.5), ((0, 2), 1.0)], 2)
    assert three.mixed == {(1, 1): 0.5}


def test_one_and_three_dimensions():
    line = separate([((2,), 1.0), ((0,), -4.0)], 1)
    assert line.left == ({2: 1.0, 0: -4.0},)
    box = separate([((2, 0, 0), 1.0), ((0, 1, 1), 3.0), ((0, 0, 1), 2.0)], 3)
    assert box.left == ({2: 1.0}, {}, {1: 2.0})
    assert box.mixed == {(0, 1, 1): 3.0}


def test_repeated_terms_add_up():
    assert separate([((2,), 1.0), ((2,), 2.0)], 1).left == ({2: 3.0},)
