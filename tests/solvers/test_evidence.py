"""The evidence against the log density written out, in as many digits as that takes."""

import mpmath
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernelgp.errors import ArgumentError
from solvers.evidence import Observed, learn_weights


def problem(n, p, seed):
    """Rows of very different size, and data that the prior can explain."""
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=(n, p)) * 10.0 ** rng.uniform(-2, 4, size=(n, 1))
    component = rng.permutation(np.arange(p) % 3)
    return rows, rows @ rng.normal(size=p), component


def covariance(rows, component, weights, nugget):
    """`A W Aᵀ` plus noise relative to the rows at unit weights, for data as given."""
    size = np.linalg.norm(rows, axis=1)
    scaled = rows / size[:, None]
    weights = np.asarray(weights, dtype=float)
    weights = weights / np.mean(np.sum(scaled**2 * weights[component], axis=1))
    return (rows * weights[component]) @ rows.T + np.diag((nugget * size) ** 2)


def profiled_density(matrix, values):
    n, amplitude = len(values), values @ np.linalg.solve(matrix, values) / len(values)
    logdet = np.linalg.slogdet(2 * np.pi * amplitude * matrix).logabsdet
    return -0.5 * (n + logdet), amplitude


@given(n=st.integers(1, 20), p=st.integers(3, 20), seed=st.integers(0, 2**16))
def test_equals_the_dense_log_density(n, p, seed):
    rows, values, component = problem(n, p, seed)
    weights = np.array([1.0, 1e-3, 20.0])
    found = Observed(rows, values, component, nugget=0.3).evidence(weights)
    density, amplitude = profiled_density(covariance(rows, component, weights, 0.3), values)
    # Rows differ by 1e6 and G is squared: the dense density keeps 1e-16 * 1e12 / 0.3.
    assert found.log_marginal_likelihood == pytest.approx(density, rel=1e-6, abs=1e-4)
    assert found.amplitude == pytest.approx(amplitude, rel=1e-5)


@pytest.mark.parametrize(("n", "p"), [(9, 6), (5, 9)])
def test_nugget_of_1e_13_keeps_its_digits(n, p):
    """The dense matrix has condition number 1e26, so the oracle has 60 digits."""
    rows, values, component = problem(n, p, seed=3)
    weights = np.array([1.0, 1e-5, 30.0])
    found = Observed(rows, values, component, nugget=1e-13).evidence(weights)
    with mpmath.workdps(60):
        exact, z = np.vectorize(mpmath.mpf), mpmath.matrix(values.tolist())
        a = exact(rows)
        size = np.array([mpmath.sqrt(v) for v in np.sum(a**2, axis=1)])
        scaled = a / size[:, None]
        w = exact(weights)[component]
        w = w / np.mean(np.sum(scaled**2 * w, axis=1))
        dense = mpmath.matrix(
            ((a * w) @ a.T + np.diag((size * mpmath.mpf(10) ** -13) ** 2)).tolist()
        )
        amplitude = (z.T * mpmath.lu_solve(dense, z))[0] / n
        logdet = mpmath.log(mpmath.det(2 * mpmath.pi * amplitude * dense))
        density = -(n + logdet) / 2
    # Data in the span to rounding, 1e-16 of a row, and a nugget of 1e-13: three digits are left
    # in the noise directions' squares, hundreds of which would be needed to move the sum by 1e-3.
    assert found.log_marginal_likelihood == pytest.approx(float(density), abs=1e-2)
    assert found.amplitude == pytest.approx(float(amplitude), rel=1e-2)


@given(n=st.integers(2, 20), p=st.integers(3, 20), seed=st.integers(0, 2**16))
def test_gradient_equals_finite_differences(n, p, seed):
    rows, values, component = problem(n, p, seed)
    observed = Observed(rows, values, component, nugget=0.1)
    log_weights = np.array([0.3, -1.0, 2.0])
    step = 1e-5

    def density(direction):
        return observed.evidence(np.exp(log_weights + direction)).log_marginal_likelihood

    expected = [(density(step * e) - density(-step * e)) / (2 * step) for e in np.eye(3)]
    found = observed.evidence(np.exp(log_weights)).gradient
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


@given(factor=st.floats(1e-6, 1e6), seed=st.integers(0, 2**16))
def test_units_of_the_data_move_the_amplitude_alone(factor, seed):
    rows, values, component = problem(12, 6, seed)
    one = Observed(rows, values, component, nugget=1e-3).evidence(np.ones(3))
    other = Observed(rows, factor * values, component, nugget=1e-3).evidence(np.ones(3))
    expected = one.log_marginal_likelihood - 12 * np.log(factor)
    assert other.log_marginal_likelihood == pytest.approx(expected, rel=1e-9, abs=1e-8)
    assert other.amplitude == pytest.approx(one.amplitude * factor**2, rel=1e-9)
    np.testing.assert_allclose(other.gradient, one.gradient, rtol=1e-8, atol=1e-8)


def test_only_ratios_of_weights_count():
    observed = Observed(*problem(12, 6, seed=1), nugget=1e-3)
    weights = np.array([1.0, 2.0, 3.0])
    one, other = observed.evidence(weights), observed.evidence(1e9 * weights)
    assert other.log_marginal_likelihood == pytest.approx(one.log_marginal_likelihood)
    assert one.gradient.sum() == pytest.approx(0, abs=1e-9)


def tones(frequencies, values, n=60):
    """Rows of `u'' = f` with both ends given, a slow trend and one component a tone."""
    x = np.linspace(0, 1, n)
    powers = np.arange(6)
    trend = x[:, None] ** powers
    second = powers * (powers - 1) * x[:, None] ** np.maximum(powers - 2, 0)
    features, laplacian, component = [trend], [second], [np.zeros(6, dtype=int)]
    for i, omega in enumerate(frequencies, start=1):
        wave = np.column_stack([np.cos(omega * x), np.sin(omega * x)])
        features.append(wave)
        laplacian.append(-(omega**2) * wave)
        component.append(np.full(2, i))
    phi, f = np.hstack(features), np.hstack(laplacian)
    rows = np.vstack([phi[[0, -1]], f])
    coefficients = np.concatenate([np.zeros(6), *([v, v] for v in values)])
    return rows, rows @ coefficients, np.concatenate(component)


def test_useless_components_are_pruned_and_the_rest_kept():
    observed = Observed(*tones([20.0, 50.0, 90.0], [1.0, 0.0, 0.1]))
    learned = learn_weights(observed)
    np.testing.assert_array_equal(learned.kept, [False, True, False, True])
    assert learned.weights[1] > 10 * learned.weights[3]
    assert learned.best.log_marginal_likelihood > learned.start.log_marginal_likelihood + 50


def test_tempered_weights_prune_nothing():
    learned = learn_weights(Observed(*tones([20.0, 50.0], [1.0, 0.0])))
    tempered = learned.tempered
    assert tempered.min() == pytest.approx(1e-4 * tempered.max())
    np.testing.assert_array_equal(tempered[tempered > tempered.min()], learned.weights[[1]])


@pytest.mark.parametrize("bound", [1, 2, 7, 50])
def test_evaluations_never_exceed_their_bound(bound):
    learned = learn_weights(Observed(*tones([20.0, 50.0], [1.0, 0.3])), max_evaluations=bound)
    assert learned.n_evaluations <= bound
    assert learned.best.log_marginal_likelihood >= learned.start.log_marginal_likelihood


def test_learned_weights_are_those_of_the_best_evidence():
    observed = Observed(*tones([20.0, 50.0], [1.0, 0.3]), nugget=1e-6)
    learned = learn_weights(observed, prune=0.0)
    again = observed.evidence(learned.weights).log_marginal_likelihood
    assert again == pytest.approx(learned.best.log_marginal_likelihood, abs=1e-6)


def test_learned_weights_are_a_stationary_point():
    rows, values, component = tones([20.0, 50.0], [1.0, 0.3])
    noisy = values * (1 + 1e-3 * np.random.default_rng(0).normal(size=len(values)))
    learned = learn_weights(Observed(rows, noisy, component, nugget=1e-3))
    assert learned.converged
    assert np.abs(learned.best.gradient).max() < 0.05


def test_data_that_are_all_zero_have_no_amplitude():
    rows, values, component = tones([20.0], [1.0])
    learned = learn_weights(Observed(rows, 0 * values, component))
    assert learned.best.amplitude == 0
    assert learned.best.log_marginal_likelihood == np.inf
    assert learned.kept.all()


def test_is_deterministic():
    one, other = (learn_weights(Observed(*tones([20.0, 50.0], [1.0, 0.3]))) for _ in range(2))
    np.testing.assert_array_equal(one.weights, other.weights)


ROWS, VALUES, COMPONENT = np.ones((3, 2)), np.ones(3), np.zeros(2, dtype=int)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((np.ones(3), VALUES, COMPONENT), r"rows: got shape \(3,\); give \(n, p\)"),
        ((np.ones((3, 0)), VALUES, COMPONENT), r"rows: got shape \(3, 0\)"),
        ((ROWS, np.ones(2), COMPONENT), r"values: got shape \(2,\); give \(3,\)"),
        ((ROWS, VALUES, np.zeros(3, dtype=int)), r"component: got shape \(3,\); give \(2,\)"),
        ((ROWS * np.nan, VALUES, COMPONENT), r"rows: got 6 entries that are not finite"),
        ((ROWS, VALUES * np.inf, COMPONENT), r"values: got 3 entries that are not finite"),
        ((ROWS * [[1], [0], [1]], VALUES, COMPONENT), r"rows: got row 1 all zero; leave it out"),
    ],
)
def test_bad_input_is_named(arguments, message):
    with pytest.raises(ArgumentError, match=message):
        Observed(*arguments)


@pytest.mark.parametrize("nugget", [0.0, -1.0, np.nan])
def test_bad_nugget_is_named(nugget):
    with pytest.raises(ArgumentError, match=rf"nugget: got {nugget}; give a positive number"):
        Observed(ROWS, VALUES, COMPONENT, nugget=nugget)
