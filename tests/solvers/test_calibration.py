"""How sure a posterior is, against errors that are known."""

import numpy as np
import pytest

from solvers import Box, Problem
from solvers.calibration import _coefficient_evidence, calibrate
from solvers.resolution import Resolution
from solvers.samples import sample_problem
from solvers.search import find_frequencies, search_prior
from solvers.structured_evidence import structured_evidence

SQUARE = Box(x=(0, 1), y=(0, 1))
EXACT = Resolution(0.0, 1.0, 0.0, 1.0)


def solved(equation, box, exact, grid):
    problem = Problem.from_exact(equation, box, exact)
    samples = sample_problem(problem, grid)
    return problem, samples, search_prior(problem, samples, find_frequencies(problem, samples, {}))


def calibrated(case, resolution=EXACT, scale=1.0):
    problem, samples, best = case
    return calibrate(
        problem, samples, best.equation, best.data, scale * best.coefficients, resolution
    )


@pytest.fixture(scope="module")
def square():
    return solved("u_xx + u_yy = f", SQUARE, "sin(30*x)*cos(20*y) + x", (40, 40))


def test_evidence_of_coefficients_agrees_with_the_exact_one_on_the_amplitude(square):
    _, _, best = square
    amplitude, _ = _coefficient_evidence(best.equation, best.coefficients)
    exact = structured_evidence(best.equation, best.data, best.coefficients)
    assert amplitude == pytest.approx(exact.amplitude, rel=1.0)


def test_evidence_prefers_the_frequencies_of_the_solution():
    case = solved("u_xx = f", Box(x=(0, 1)), "sin(60*x)", (100,))
    problem, samples, _ = case
    wrong = search_prior(problem, samples, ([20.0],))
    right_evidence = calibrated(case).log_marginal_likelihood
    assert calibrated((problem, samples, wrong)).log_marginal_likelihood < right_evidence


def test_weights_are_learned_in_one_dimension():
    case = solved("u_xx = f", Box(x=(0, 1)), "sin(60*x)", (100,))
    calibrated(case)
    slow, tone = (c.weight for c in case[2].equation.axes[0].basis.components)
    assert slow < 0.01 * tone


def test_a_misfit_on_the_faces_is_a_floor_and_so_is_rounding(square):
    rough = Resolution(left_over=1e-8, scale=1.0, misfit=3e-5, size=1.0)
    assert calibrated(square, rough).floor == 3e-5
    exact = Resolution(left_over=0.0, scale=1.0, misfit=0.0, size=3.0)
    assert calibrated(square, exact).floor == 8 * np.finfo(float).eps * 3.0


def test_a_residual_out_of_proportion_raises_the_amplitude(square):
    rough = Resolution(left_over=1e-2, scale=1.0, misfit=0.0, size=1.0)
    # Coefficients that miss the source by a per cent.
    assert calibrated(square, rough, 1.01).amplitude > 1e6 * calibrated(square).amplitude
    assert calibrated(square, rough).amplitude < 3 * calibrated(square).amplitude


def test_zero_has_an_amplitude_of_zero(square):
    found = calibrated(square, scale=0.0)
    assert (found.amplitude, found.floor) == (0.0, 0.0)
    assert np.isposinf(found.log_marginal_likelihood)
