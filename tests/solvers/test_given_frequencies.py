"""Frequencies given by the user, right and wrong."""

import math
import warnings

import numpy as np
import pytest

from kernelgp.errors import ConvergenceWarning, NumericalWarning
from solvers import Box, Dirichlet, GPSolver, Problem

LENGTH = 2 * math.pi
BOX = Box(x=(0, LENGTH))


def off_by(radians):
    """The frequency of sin(100 x), wrong by so many radians in the whole interval."""
    return {"x": [(100 + radians / LENGTH) / (2 * math.pi)]}


@pytest.mark.parametrize("radians", [6, -6, 13, -13])
def test_frequencies_that_are_a_little_wrong_cost_nothing(radians):
    problem = Problem.from_exact("u_xx = f", BOX, "sin(100*x)")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        solution = GPSolver(frequencies=off_by(radians)).solve(problem, grid=(400,))
    assert solution.error() <= 1e-9
    assert solution.report.prior <= 3


@pytest.mark.parametrize("radians", [13, -13])
def test_nor_do_they_where_the_source_is_an_array(radians):
    x = np.linspace(0, LENGTH, 400)
    problem = Problem("u_xx = f", BOX, [Dirichlet(0)], f=-1e4 * np.sin(100 * x))
    solution = GPSolver(frequencies=off_by(radians)).solve(problem, grid=(400,))
    points = np.random.default_rng(0).uniform(0, LENGTH, size=300)
    error = solution.mean(points) - np.sin(100 * points)
    assert np.linalg.norm(error) <= 1e-9 * np.linalg.norm(np.sin(100 * points))


@pytest.mark.parametrize("radians", [25, -50])
def test_frequencies_that_are_far_off_are_said(radians):
    problem = Problem.from_exact("u_xx = f", BOX, "sin(100*x)")
    told = rf"main wave along x has 15\.9.* {abs(radians)} rad in the whole interval"
    with pytest.warns(NumericalWarning, match=told):
        solution = GPSolver(frequencies=off_by(radians)).solve(problem, grid=(400,))
    assert solution.error() <= 1e-9


def test_far_off_and_with_an_array_both_are_said():
    x = np.linspace(0, LENGTH, 300)
    problem = Problem("u_xx = f", BOX, [Dirichlet(0)], f=-1e4 * np.sin(100 * x))
    solver = GPSolver(frequencies={"x": [2.0]})
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        solver.solve(problem, grid=(300,))
    kinds = [w.category for w in caught]
    assert NumericalWarning in kinds
    assert all(issubclass(k, NumericalWarning | ConvergenceWarning) for k in kinds)
    assert all(w.filename == __file__ for w in caught if w.category is NumericalWarning)
