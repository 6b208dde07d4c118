"""The structured evidence against the density of the same rows, written out densely."""

from functools import reduce

import numpy as np
import pytest

from solvers.axis_basis import AxisBasis, Component
from solvers.discretisation import AxisDiscretisation, Condition
from solvers.separation import separate
from solvers.structured import StructuredEquation
from solvers.structured_evidence import structured_evidence

BOTH, START = [Condition(0), Condition(1)], [Condition(0)]
CASES = {
    "line": ([((2,), 1.0), ((0,), 40.0)], [BOTH]),
    "Poisson": ([((2, 0), 1.0), ((0, 2), 1.0)], [BOTH, BOTH]),
    "heat": ([((2, 0), -0.1), ((0, 1), 1.0)], [BOTH, START]),
    "three second derivatives": ([((2, 0), 1.0), ((1, 1), 0.7), ((0, 2), 1.0)], [BOTH, BOTH]),
}


@pytest.fixture(params=CASES)
def system(request):
    """An equation, data that the prior can explain, and the coefficients of its solution."""
    terms, conditions = CASES[request.param]
    separation = separate(terms, len(conditions))
    basis = AxisBasis(0.0, 1.0, [Component(0.0, 1.0), Component(2.0, 2.0)])
    x = np.linspace(0, 1, 40)
    axes = [AxisDiscretisation(basis, x, ends, separation, i) for i, ends in enumerate(conditions)]
    equation = StructuredEquation(axes, separation)
    rng = np.random.default_rng(0)
    factors = [axis.basis.prior_factor for axis in axes]
    drawn = reduce(np.multiply.outer, [f @ rng.normal(size=f.shape[1]) for f in factors])
    data = equation.data_of(drawn)
    return equation, data, equation.solve(data)


def dense_rows(equation, data):
    """Every row of data on the whitened features, divided by the deviation of its kind."""
    axes = equation.axes
    factors = [axis.basis.prior_factor for axis in axes]
    blocks = [(sum(reduce(np.kron, product) for product in equation.products), data.source)]
    for i, axis in enumerate(axes):
        for j in range(axis.n_conditions):
            matrices = [a.value for a in axes]
            matrices[i] = axis.boundary[[j]]
            blocks.append((reduce(np.kron, matrices), np.take(data.faces[i], j, axis=i)))
    rows, values, scales = [], [], []
    for matrix, value in blocks:
        white = matrix @ reduce(np.kron, factors)
        scale = np.sqrt(np.mean(np.sum(white**2, axis=1)))
        rows.append(white / scale)
        values.append(value.ravel() / scale)
        scales.append(np.full(value.size, scale))
    return np.vstack(rows), np.concatenate(values), np.concatenate(scales)


@pytest.mark.parametrize("nugget", [1e-2, 1e-4])
def test_equals_the_dense_log_density(system, nugget):
    equation, data, coefficients = system
    rows, z, scales = dense_rows(equation, data)
    covariance = rows @ rows.T + nugget**2 * np.eye(len(z))
    amplitude = z @ np.linalg.solve(covariance, z) / len(z)
    logdet = np.linalg.slogdet(2 * np.pi * amplitude * covariance).logabsdet
    expected = -0.5 * (len(z) + logdet) - np.log(scales).sum()
    found = structured_evidence(equation, data, coefficients, nugget=nugget)
    # The directions left out hold up to 1e-3 of it; G has condition 1e8 at worst.
    assert found.log_marginal_likelihood == pytest.approx(expected, abs=1e-2)
    assert found.amplitude == pytest.approx(np.sqrt(amplitude), rel=1e-4)


def test_equals_the_whitened_log_density_at_the_nugget_in_use(system):
    equation, data, coefficients = system
    nugget = 1e-13
    rows, z, scales = dense_rows(equation, data)
    u, s, _ = np.linalg.svd(rows, full_matrices=False)
    n, variance, b = len(z), s**2 + nugget**2, u.T @ z
    quadratic = np.sum(b**2 / variance) + np.sum((z - u @ b) ** 2) / nugget**2
    logdet = np.log(variance).sum() + 2 * (n - len(s)) * np.log(nugget)
    expected = -0.5 * (n * (np.log(2 * np.pi * quadratic / n) + 1) + logdet) - np.log(scales).sum()
    found = structured_evidence(equation, data, coefficients, nugget=nugget)
    # Singular values near the nugget carry an error of 1e-16 sqrt(n) / 1e-13 each.
    assert found.log_marginal_likelihood == pytest.approx(expected, abs=1e-3 * n)
    assert found.amplitude == pytest.approx(np.sqrt(quadratic / n), rel=0.05)


def test_coefficients_are_only_a_start(system):
    """The quadratic form is at the posterior mean, wherever the solve ended near it."""
    equation, data, coefficients = system
    exact = structured_evidence(equation, data, coefficients, nugget=1e-3)
    rng = np.random.default_rng(1)
    disturbed = coefficients * (1 + 1e-6 * rng.normal(size=coefficients.shape))
    found = structured_evidence(equation, data, disturbed, nugget=1e-3)
    assert found.log_marginal_likelihood == pytest.approx(exact.log_marginal_likelihood, abs=1e-3)


def test_units_of_the_data_move_the_amplitude_alone(system):
    equation, data, coefficients = system
    one = structured_evidence(equation, data, coefficients)
    scaled = equation.data_of(1e3 * coefficients)
    other = structured_evidence(equation, scaled, 1e3 * coefficients)
    assert other.amplitude == pytest.approx(1e3 * one.amplitude, rel=0.05)


def test_zero_data_have_no_amplitude(system):
    equation, _, coefficients = system
    found = structured_evidence(equation, equation.data_of(0 * coefficients), 0 * coefficients)
    assert (found.amplitude, found.log_marginal_likelihood) == (0.0, np.inf)


def test_too_many_directions_give_a_reason_and_no_number(system, monkeypatch):
    monkeypatch.setattr("solvers.structured_evidence._LARGEST", 3)
    found = structured_evidence(*system)
    assert np.isnan(found.log_marginal_likelihood)
    assert "directions stand out of the noise; up to 3 are factored" in found.reason
