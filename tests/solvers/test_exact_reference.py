"""The reference's model solved exactly, against the same system written out densely."""

import numpy as np
import pytest
import torch

from kernelgp.errors import ArgumentError
from solvers import Box, Dirichlet, Problem
from solvers.exact_reference import solve_reference

SQUARE = Box(x=(0, 1.57), y=(0, 1.57))


def test_reaches_the_accuracy_of_the_published_training_without_any():
    """P6 on a sixteenth of its domain: 0.6 to 0.9e-3 at the same points per wave."""
    problem = Problem.from_exact("u_xx + u_yy = f", SQUARE, "sin(100*x)*sin(100*y)")
    solution = solve_reference(problem, (100, 100), frequency_scale=20)
    points = np.random.default_rng(0).uniform(0, 1.57, size=(2000, 2))
    exact = problem.exact(points)
    error = np.linalg.norm(solution.mean(points) - exact) / np.linalg.norm(exact)
    assert error < 2e-3


def test_grid_values_solve_the_collocated_equation():
    """``(Dx ⊗ I + 2 I ⊗ Dy + 5) u = f`` inside, given values outside, by one dense solve."""
    problem = Problem.from_exact("u_xx + 2*u_yy + 5*u = f", SQUARE, "x*sin(3*y)")
    n, jitter = 9, 1e-4
    solution = solve_reference(problem, (n, n), frequency_scale=2, n_components=4, jitter=jitter)
    x, y = solution.axes
    column = torch.tensor(x)[:, None]
    k = solution.kernel.derivative(column, column).detach().numpy() + jitter * np.eye(n)
    d = solution.kernel.derivative(column, column, (2,), (0,)).detach().numpy() @ np.linalg.inv(k)
    eye = np.eye(n)
    left = np.kron(d, eye) + 2 * np.kron(eye, d) + 5 * np.eye(n * n)
    points = np.stack(np.meshgrid(x, y, indexing="ij"), axis=-1).reshape(-1, 2)
    right, exact = problem.source(*points.T).copy(), problem.exact(points)
    inside = ((points > 0) & (points < 1.57 - 1e-9)).all(axis=1)
    left[~inside], right[~inside] = np.eye(n * n)[~inside], exact[~inside]
    expected = np.linalg.solve(left, right).reshape(n, n)
    found = k @ solution.weights @ k
    np.testing.assert_allclose(found, expected, rtol=1e-8, atol=1e-8)


def test_one_dimension():
    problem = Problem.from_exact("u_xx - 3*u_x = f", Box(x=(0, 1)), "sin(20*x)")
    solution = solve_reference(problem, (60,), frequency_scale=10)
    points = np.linspace(0, 1, 50)[:, None]
    error = np.abs(solution.mean(points) - problem.exact(points)).max()
    assert error < 3e-2


def test_mixed_derivatives_are_refused():
    problem = Problem.from_exact("u_xx + u_xy + u_yy = f", SQUARE, "x*y")
    with pytest.raises(ArgumentError, match=r"a term of orders \(1, 1\).*without mixed"):
        solve_reference(problem, (9, 9), frequency_scale=2)


def test_missing_faces_are_refused():
    conditions = [Dirichlet(0, on=["x-", "y-"])]
    problem = Problem("u_x + u_y = f", SQUARE, conditions=conditions, f="1")
    with pytest.raises(ArgumentError, match=r"values on 2 faces; give values on every face"):
        solve_reference(problem, (9, 9), frequency_scale=2)
