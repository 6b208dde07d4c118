"""Deviations and samples against a dense posterior, computed as slowly as it is obvious."""

from functools import reduce

import numpy as np
import pytest
import torch

from solvers.axis_basis import AxisBasis, Component
from solvers.deviation import Deviation
from solvers.discretisation import AxisDiscretisation, Condition
from solvers.separation import separate
from solvers.structured import StructuredEquation

BOTH, START = [Condition(0), Condition(1)], [Condition(0)]
CASES = {
    "line": ([((2,), 1.0)], [BOTH]),
    "Poisson": ([((2, 0), 1.0), ((0, 2), 1.0)], [BOTH, BOTH]),
    "advection": ([((1, 0), 3.0), ((0, 1), 1.0)], [START, START]),
    "heat": ([((2, 0), -0.1), ((0, 1), 1.0)], [BOTH, START]),
}


def equation_of(terms, conditions, width=0.5):
    separation = separate(terms, len(conditions))
    axes = [
        AxisDiscretisation(
            AxisBasis(0.0, 1.0, [Component(0.0, width)]), np.linspace(0, 1, 40), ends, separation, i
        )
        for i, ends in enumerate(conditions)
    ]
    return StructuredEquation(axes, separation)


def dense_posterior_std(equation, rows, nugget):
    """``φᵀ (I + Aᵀ N⁻¹ A)⁻¹ φ`` from one QR of all data rows on all features."""
    factors = [axis.basis.prior_factor for axis in equation.axes]
    deviation = Deviation(equation, nugget)
    source = sum(
        reduce(np.kron, [m @ f for m, f in zip(product, factors, strict=True)])
        for product in equation.products
    )
    blocks = [source / float(deviation.scales[0].squeeze())]
    for i, axis in enumerate(equation.axes):
        matrices = [a.value @ f for a, f in zip(equation.axes, factors, strict=True)]
        for row, scale in zip(
            axis.boundary @ factors[i], deviation.scales[i + 1].ravel(), strict=True
        ):
            matrices[i] = row[None] / scale
            blocks.append(reduce(np.kron, matrices))
    data = np.vstack(blocks)
    stacked = np.vstack([data / nugget, np.eye(data.shape[1])])
    triangle = np.linalg.qr(stacked, mode="r")
    features = np.stack(
        [
            reduce(np.kron, [r[j] @ f for r, f in zip(rows, factors, strict=True)])
            for j in range(len(rows[0]))
        ]
    )
    return np.linalg.norm(np.linalg.solve(triangle.T, features.T), axis=0)


@pytest.fixture(params=CASES)
def equation(request):
    return equation_of(*CASES[request.param])


def rows_at(equation, points, order=0):
    return [a.basis.evaluate(points[:, i], order)[order] for i, a in enumerate(equation.axes)]


@pytest.mark.parametrize("nugget", [1e-6, 1e-4])
def test_never_below_the_posterior_and_close_to_it(equation, nugget):
    points = np.random.default_rng(0).uniform(size=(30, len(equation.axes)))
    rows = rows_at(equation, points)
    ratio = Deviation(equation, nugget).std([rows]) / dense_posterior_std(equation, rows, nugget)
    assert ratio.min() > 0.99  # the dense one is itself rounded
    assert np.median(ratio) < 3


def test_samples_scatter_by_the_deviation(equation):
    points = np.random.default_rng(1).uniform(size=(20, len(equation.axes)))
    rows, deviation = rows_at(equation, points), Deviation(equation, 1e-8)
    errors = deviation.sample_errors(2000, torch.Generator().manual_seed(0))
    flat = np.stack([reduce(np.kron, [r[j] for r in rows]) for j in range(20)])
    spread = np.sqrt(np.mean(np.square(flat @ errors.reshape(-1, 2000)), axis=1))
    # Five standard errors of a root mean square of 2000 draws.
    np.testing.assert_allclose(spread, deviation.std([rows]), rtol=5 / np.sqrt(4000))


def test_samples_are_those_of_the_generator(equation):
    deviation = Deviation(equation)
    first, second = (deviation.sample_errors(3, torch.Generator().manual_seed(5)) for _ in "ab")
    np.testing.assert_array_equal(first, second)


def test_derivatives_have_their_own_deviation():
    equation = equation_of(*CASES["line"])
    points = np.linspace(0.1, 0.9, 9)[:, None]
    rows = rows_at(equation, points, 1)
    expected = dense_posterior_std(equation, rows, 1e-5)
    found = Deviation(equation, 1e-5).std([rows])
    assert (found > 0.99 * expected).all()
    assert np.median(found / expected) < 3


def test_a_sum_of_functionals_is_one_functional(equation):
    points = np.random.default_rng(2).uniform(size=(5, len(equation.axes)))
    rows, deviation = rows_at(equation, points), Deviation(equation, 1e-8)
    np.testing.assert_allclose(deviation.std([rows, rows]), 2 * deviation.std([rows]), rtol=1e-12)


def test_conditions_leave_only_their_noise_on_a_face():
    equation = equation_of(*CASES["Poisson"])
    inside, face = np.array([[0.3, 0.4]]), np.array([[0.0, 0.4]])
    deviation = Deviation(equation, 1e-8)
    scale = float(deviation.scales[1].max())
    assert deviation.std([rows_at(equation, face)])[0] < 10 * 1e-8 * scale
    assert deviation.std([rows_at(equation, inside)])[0] > 0
