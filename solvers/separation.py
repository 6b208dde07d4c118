"""A constant-coefficient operator as a sum of products of one-axis operators.

``A_1 ⊗ B_2 ⊗ ... + B_1 ⊗ A_2 ⊗ ... + ...`` is solved directly, axis by axis. Without mixed
derivatives every B is the identity. In two dimensions a matrix of coefficients of rank two
is of this form as well (``u_xy + u``, ``u_xx + u_xy``); what is left over is kept aside, for
an iteration that the separable part preconditions.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

__all__ = ["AxisOperator", "Separation", "separate"]

#: ``Σ coefficient dᵏ/dxᵏ`` along one axis, as ``{order k: coefficient}``.
AxisOperator = Mapping[int, float]


@dataclass(frozen=True, slots=True)
class Separation:
    """``Σi A_i ⊗ Π B_k``, plus `mixed` terms ``{orders: coefficient}``.

    Attributes
    ----------
    left, right : tuples of AxisOperator
        A and B of every axis.
    """

    left: tuple[AxisOperator, ...]
    right: tuple[AxisOperator, ...]
    mixed: Mapping[tuple[int, ...], float]


def separate(terms: Iterable[tuple[tuple[int, ...], float]], dimension: int) -> Separation:
    """Split ``Σ coefficient ∂^orders`` into one-axis operators.

    Examples
    --------
    >>> laplace = separate([((2, 0), 1.0), ((0, 2), 1.0)], 2)
    >>> laplace.left, laplace.right
    (({2: 1.0}, {2: 1.0}), ({0: 1.0}, {0: 1.0}))
    >>> separate([((1, 1), 1.0), ((0, 0), 3.0)], 2).right
    ({0: 3.0}, {1: 1.0})
    """
    coefficients: dict[tuple[int, ...], float] = {}
    for orders, coefficient in terms:
        coefficients[orders] = coefficients.get(orders, 0.0) + coefficient
    mixed = {orders: c for orders, c in coefficients.items() if sum(o > 0 for o in orders) > 1}
    if mixed and dimension == 2:
        pair = _two_products(coefficients)
        if pair is not None:
            return pair
    left: tuple[dict[int, float], ...] = tuple({} for _ in range(dimension))
    for orders, coefficient in coefficients.items():
        if orders not in mixed:
            axis = next((k for k, order in enumerate(orders) if order), 0)
            left[axis][orders[axis]] = coefficient
    return Separation(left, tuple({0: 1.0} for _ in range(dimension)), mixed)


def _two_products(coefficients: Mapping[tuple[int, ...], float]) -> Separation | None:
    """The coefficients as two outer products, by elimination; None where it takes three."""
    remaining = dict(coefficients)
    products: list[tuple[AxisOperator, AxisOperator]] = []
    while remaining and len(products) < 2:
        # The highest orders first: their product stays what it is, and lower ones follow.
        pivot = max(remaining, key=lambda orders: (sum(orders), orders))
        column = {i: c for (i, j), c in remaining.items() if j == pivot[1]}
        row = {j: c / remaining[pivot] for (i, j), c in remaining.items() if i == pivot[0]}
        products.append((column, row))
        for i, a in column.items():
            for j, b in row.items():
                value = remaining.get((i, j), 0.0) - a * b
                if abs(value) > 1e-14 * abs(a * b):
                    remaining[i, j] = value
                else:
                    remaining.pop((i, j), None)
    if remaining:
        return None
    (first_x, first_y), (second_x, second_y) = [*products, ({}, {})][:2]
    return Separation((first_x, second_y), (second_x, first_y), {})
