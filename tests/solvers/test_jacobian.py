"""The linearised equation: solves, their transposes, and deviations, against dense algebra."""

from functools import reduce

import numpy as np
import pytest
import torch

from solvers.axis_basis import AxisBasis, Component
from solvers.discretisation import AxisDiscretisation, Condition
from solvers.jacobian import Jacobian
from solvers.jacobian_deviation import JacobianDeviation, deviation_of
from solvers.row_sizes import row_sizes
from solvers.separation import separate
from solvers.structured import StructuredEquation
from solvers.tensors import along_all

GRID, BOTH, START = 40, [Condition(0), Condition(1)], [Condition(0)]
X = np.linspace(0, 1, GRID)
# Orders and coefficients of the neighbour, conditions, and the terms that vary.
CASES = {
    "line": ([((2,), 1.0)], [BOTH], [((2,), 1 + X / 2), ((0,), np.cos(3 * X))]),
    "plane": (
        [((2, 0), 1.5), ((0, 2), 1.0)],
        [BOTH, BOTH],
        [((2, 0), 1 + X[:, None] * X), ((0, 2), 1.0), ((1, 0), 3 * X[:, None] + 0 * X)],
    ),
    "heat": (
        [((2, 0), -0.1), ((0, 1), 1.0)],
        [BOTH, START],
        [((2, 0), -0.1 - 0.05 * X[:, None] * X), ((0, 1), 1.0), ((0, 0), np.outer(X, X))],
    ),
}


@pytest.fixture(params=CASES)
def jacobian(request):
    constant, conditions, terms = CASES[request.param]
    separation = separate(constant, len(conditions))
    axes = [
        AxisDiscretisation(AxisBasis(0.0, 1.0, [Component(0.0, 0.6)]), X, ends, separation, i)
        for i, ends in enumerate(conditions)
    ]
    return Jacobian(StructuredEquation(axes, separation), terms)


def iterated(jacobian):
    """The same, solved by Krylov's method although it is small."""
    other = Jacobian(jacobian.equation, jacobian.terms)
    other.is_dense = False
    return other


def normal(rng, shape):
    return rng.normal(size=shape)


def row_shape(equation):
    return tuple(a.rows.shape[1] for a in equation.axes)


def test_dense_and_iterated_solves_agree(jacobian):
    residual = normal(np.random.default_rng(0), (*row_shape(jacobian.equation), 3))
    dense, krylov = jacobian.solve(residual, 1e-10), iterated(jacobian).solve(residual, 1e-10)
    assert jacobian.is_dense
    np.testing.assert_allclose(krylov, dense, atol=1e-7 * np.abs(dense).max())


@pytest.mark.parametrize("dense", [True, False])
def test_the_transposed_solve_is_the_adjoint(jacobian, dense):
    rng, equation = np.random.default_rng(1), jacobian.equation
    solver = jacobian if dense else iterated(jacobian)
    residual = normal(rng, (*row_shape(equation), 1))
    functional = normal(rng, (*equation.shape, 1))
    forward = np.vdot(functional, solver.solve(residual, 1e-12))
    backward = np.vdot(solver.solve_transposed(functional, 1e-12), residual)
    assert forward == pytest.approx(backward, rel=1e-6)


def test_the_operator_and_its_transpose_are_adjoint(jacobian):
    rng, n = np.random.default_rng(2), tuple(len(a.grid) for a in jacobian.equation.axes)
    C, values = normal(rng, jacobian.equation.shape), normal(rng, n)
    forward = np.vdot(values, jacobian.apply(C))
    assert forward == pytest.approx(np.vdot(jacobian.apply_transposed(values), C), rel=1e-10)


def test_a_system_that_krylov_cannot_solve_is_formed(jacobian):
    residual = normal(np.random.default_rng(3), (*row_shape(jacobian.equation), 2))
    solver = iterated(jacobian)
    solver._krylov = lambda *_: setattr(solver, "is_dense", True)
    np.testing.assert_allclose(solver.solve(residual, 1e-3), jacobian.solve(residual, 1e-3))


def dense_std(jacobian, rows, nugget):
    """Noise of every datum, one after another, through the solve: no adjoint, no draw."""
    deviation, variance = JacobianDeviation(jacobian, nugget), 0.0
    zero = deviation.draw_noise(1, torch.Generator())
    blocks = [zero.source, *zero.faces]
    scales = [np.broadcast_to(s, b.shape) for s, b in zip(deviation.scales, blocks, strict=True)]
    for k, block in enumerate(blocks):
        for index in np.ndindex(block.shape):
            unit = [np.zeros_like(b) for b in blocks]
            unit[k][index] = nugget * scales[k][index]
            C = deviation.solve(type(zero)(unit[0], tuple(unit[1:])))[..., 0]
            at = [np.vdot(reduce(np.multiply.outer, [r[j] for r in rows]), C) for j in range(3)]
            variance = variance + np.square(at)
    return np.sqrt(variance)


def test_deviation_is_the_noise_of_every_datum_carried_through(jacobian):
    points = np.random.default_rng(4).uniform(size=(3, len(jacobian.equation.axes)))
    axes = jacobian.equation.axes
    rows = [a.basis.evaluate(points[:, i])[0] for i, a in enumerate(axes)]
    found = JacobianDeviation(jacobian, 1e-6).std([rows])
    np.testing.assert_allclose(found, dense_std(jacobian, rows, 1e-6), rtol=1e-6)
    np.testing.assert_allclose(JacobianDeviation(iterated(jacobian), 1e-6).std([rows]), found, 1e-2)


def test_draws_scatter_by_the_deviation(jacobian):
    points = np.random.default_rng(5).uniform(size=(5, len(jacobian.equation.axes)))
    axes, deviation = jacobian.equation.axes, JacobianDeviation(jacobian, 1e-6)
    rows = [a.basis.evaluate(points[:, i])[0] for i, a in enumerate(axes)]
    errors = deviation.sample_errors(2000, torch.Generator().manual_seed(0))
    at = [
        np.tensordot(reduce(np.multiply.outer, [r[j] for r in rows]), errors, len(axes))
        for j in range(5)
    ]
    # Five standard errors of a root mean square of 2000 draws.
    spread = np.sqrt(np.mean(np.square(at), axis=1))
    np.testing.assert_allclose(spread, deviation.std([rows]), rtol=5 / np.sqrt(4000))


def test_scales_are_those_of_the_neighbour_where_nothing_varies(jacobian):
    equation = jacobian.equation
    constant = [
        (orders, c)
        for left, i in zip(equation.separation.left, range(9), strict=False)
        for k, c in left.items()
        for orders in [tuple(k if j == i else 0 for j in range(len(equation.axes)))]
    ]
    found = JacobianDeviation(Jacobian(equation, constant)).scales
    expected = deviation_of(equation, None).scales
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-9)


def test_row_sizes_are_those_of_the_data_and_no_more_than_the_prior_says(jacobian):
    equation = jacobian.equation
    C = 1e-3 * normal(np.random.default_rng(6), equation.shape)
    scales = [np.full_like(s, 1e30) for s in JacobianDeviation(jacobian).scales]
    data = equation.data_of(C)
    sizes = row_sizes(equation, data, C, 10.0, jacobian.terms, scales, 0.0)
    terms = [Jacobian(equation, [term]).apply(C) for term in jacobian.terms]
    largest = max(np.linalg.norm(t) for t in [*terms, data.source])
    expected = largest / np.sqrt(data.source.size) / 10
    assert sizes[0].item() == pytest.approx(expected, rel=1e-2)
    small = [1e-9 * s for s in JacobianDeviation(jacobian).scales]
    for size, scale in zip(
        row_sizes(equation, data, C, 10.0, jacobian.terms, small, 0.0), small, strict=True
    ):
        assert (size <= 1.01 * scale).all()


def test_the_solution_of_its_own_data_comes_back(jacobian):
    equation, deviation = jacobian.equation, JacobianDeviation(jacobian)
    C = normal(np.random.default_rng(7), equation.shape)
    data = equation.data_of(C)
    given = type(data)(jacobian.compress(jacobian.apply(C))[..., None], ())
    faces = tuple(f[..., None] for f in data.faces)
    found = deviation.solve(type(data)(given.source, faces))[..., 0]
    values = along_all([a.value for a in equation.axes], found - C)
    assert np.abs(values).max() < 1e-6 * np.abs(C).max()
