"""The structured solve against the same equations written out densely."""

from functools import reduce

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernelgp.errors import ArgumentError
from solvers.axis_basis import AxisBasis, Component
from solvers.discretisation import AxisDiscretisation, Condition
from solvers.interior import InteriorSystem
from solvers.separation import separate
from solvers.structured import Data, StructuredEquation

BOTH = [Condition(0), Condition(1)]
START = [Condition(0)]
MIXED_ENDS = [Condition(0, 0.0, 1.0), Condition(1, 2.0, 0.5)]

CASES = {
    "line": ([((2,), 1.0), ((0,), 400.0)], [BOTH]),
    "line, Neumann and Robin": ([((2,), 1.0)], [MIXED_ENDS]),
    "Poisson": ([((2, 0), 1.0), ((0, 2), 1.0)], [BOTH, BOTH]),
    "heat": ([((2, 0), -0.1), ((0, 1), 1.0)], [BOTH, START]),
    "advection": ([((1, 0), 3.0), ((0, 1), 1.0)], [START, START]),
    "one product": ([((1, 1), 1.0)], [START, START]),
    "three second derivatives": ([((2, 0), 1.0), ((1, 1), 0.7), ((0, 2), 1.0)], [BOTH, BOTH]),
    "three dimensions": (
        [((2, 0, 0), 1.0), ((0, 2, 0), 1.0), ((0, 0, 1), 1.0)],
        [BOTH, BOTH, START],
    ),
}


def equation_of(terms, conditions, frequency=3.5, points=24):
    d = len(conditions)
    separation = separate(terms, d)
    components = (
        [Component(0.0, 1.0), Component(frequency, 3.0)] if d < 3 else [Component(0.0, 2.0)]
    )
    x = np.linspace(0, 1, points * 2 if d < 3 else points)
    axes = [
        AxisDiscretisation(AxisBasis(0.0, 1.0, components), x, ends, separation, i)
        for i, ends in enumerate(conditions)
    ]
    return StructuredEquation(axes, separation)


@pytest.fixture(params=CASES)
def equation(request):
    return equation_of(*CASES[request.param])


def random_data(equation, rng, *batch):
    sizes = [a.rows.shape[1] for a in equation.axes]
    faces = []
    for i, a in enumerate(equation.axes):
        shape = [a.n_conditions if k == i else n for k, n in enumerate(sizes)]
        faces.append(rng.normal(size=(*shape, *batch)))
    return Data(rng.normal(size=(*sizes, *batch)), tuple(faces))


def inner(one, other):
    pairs = zip((one.source, *one.faces), (other.source, *other.faces), strict=True)
    return sum(float(np.sum(a * b)) for a, b in pairs)


def test_coefficients_come_back_from_their_data(equation):
    rng = np.random.default_rng(0)
    # Functions that the prior can draw: in others the derivatives are all rounding.
    coefficients = reduce(np.multiply.outer, [a.basis.prior_factor @ rng.normal(size=a.basis.rank)
                                              for a in equation.axes])  # fmt: skip
    solved = equation.solve(equation.data_of(coefficients))
    np.testing.assert_allclose(
        solved, coefficients, rtol=0, atol=1e-10 * np.abs(coefficients).max()
    )


def test_adjoint_passes_the_dot_product_test(equation):
    rng = np.random.default_rng(1)
    data, functional = random_data(equation, rng), rng.normal(size=(*equation.shape, 1))
    solved, weights = equation.solve(data), equation.adjoint(functional)
    left = float(np.sum(solved * functional[..., 0]))
    right = inner(data, Data(weights.source[..., 0], tuple(f[..., 0] for f in weights.faces)))
    size = np.linalg.norm(solved) * np.linalg.norm(functional)
    assert abs(left - right) <= 1e-10 * size


def test_a_batch_is_its_parts(equation):
    rng = np.random.default_rng(2)
    data = random_data(equation, rng, 3)
    together = equation.solve(data)
    for k in range(3):
        alone = equation.solve(Data(data.source[..., k], tuple(f[..., k] for f in data.faces)))
        scale = np.abs(alone).max()
        np.testing.assert_allclose(together[..., k], alone, rtol=0, atol=1e-9 * scale)


@pytest.mark.parametrize("name", ["line", "Poisson", "heat", "three second derivatives"])
def test_determinant_is_that_of_the_square_system(name):
    equation = equation_of(*CASES[name])
    size = int(np.prod(equation.shape))
    # What the solve inverts: interior equations in the test space, then conditions.
    identity = np.eye(size).reshape(*equation.shape, size)
    image = equation.data_of(identity)
    rows = image.source
    for i, axis in enumerate(equation.axes):
        rows = np.moveaxis(np.tensordot(axis.test.T, rows, (1, i)), 0, i)
    stacked = [rows.reshape(-1, size)]
    free = [a.basis.rank for a in equation.axes]
    for i in reversed(range(len(equation.axes))):
        block = identity
        for k, axis in enumerate(equation.axes):
            matrix = axis.boundary if k == i else axis.rotation[:, axis.basis.rank - free[k] :].T
            block = np.moveaxis(np.tensordot(matrix, block, (1, k)), 0, k)
        free[i] -= equation.axes[i].n_conditions
        stacked.append(block.reshape(-1, size))
    expected = np.linalg.slogdet(np.vstack(stacked))[1]
    assert equation.logabsdet() == pytest.approx(expected, rel=1e-6)


@given(seed=st.integers(0, 2**16), mixed=st.booleans(), iterate=st.booleans())
def test_interior_system_equals_a_dense_solve(seed, mixed, iterate):
    rng = np.random.default_rng(seed)
    sizes = (4, 5)
    pencils = [
        (np.diag(rng.uniform(1, 5, n)) + 0.1 * rng.normal(size=(n, n)), np.eye(n)) for n in sizes
    ]
    products = [[0.2 * rng.normal(size=(n, n)) for n in sizes]] if mixed else []
    system = InteriorSystem(pencils, products, dense=0 if iterate else 2500)
    (a, b), (c, d) = pencils
    dense = np.kron(a, d) + np.kron(b, c) + sum(np.kron(*p) for p in products)
    rhs = rng.normal(size=(*sizes, 2))
    for solve, matrix in ((system.solve, dense), (system.solve_transposed, dense.T)):
        expected = np.linalg.solve(matrix, rhs.reshape(20, 2)).reshape(rhs.shape)
        np.testing.assert_allclose(solve(rhs), expected, rtol=0, atol=1e-9)


def test_a_singular_equation_is_refused():
    neumann = [Condition(0, 0.0, 1.0), Condition(1, 0.0, 1.0)]
    equation = equation_of([((2,), 1.0)], [neumann])
    with pytest.raises(ArgumentError, match="singular"):
        equation.solve(random_data(equation, np.random.default_rng(0)))
