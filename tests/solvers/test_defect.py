"""What a grid misses between its points, against errors that are known."""

import numpy as np

from solvers import Box, Dirichlet, GPSolver, Problem, Solution

LINE = Box(x=(0, 1))


def test_it_is_the_error_of_a_wave_on_a_grid_just_too_coarse():
    problem = Problem.from_exact("u_xx = f", LINE, "sin(500*x) - 2*(x - 1/2)**2")
    solution = GPSolver().solve(problem, grid=(167,))
    x = np.linspace(0, 1, 301)
    error = problem.exact(x[:, None]) - solution.mean(x)
    posterior = solution.posterior
    missed = posterior._rows([x], None)[0] @ posterior.defect
    assert np.abs(error).max() > 1e-10
    np.testing.assert_allclose(missed, error, atol=0.1 * np.abs(error).max())
    assert np.mean(np.abs(error) <= 2 * solution.std(x)) >= 0.9


def test_it_is_zero_where_the_source_is_an_array():
    x = np.linspace(0, 1, 60)
    problem = Problem("u_xx = f", LINE, [Dirichlet(0)], f=np.sin(20 * x))
    assert not GPSolver().solve(problem, grid=(60,)).posterior.defect.any()


def test_it_is_kept_in_a_file(tmp_path):
    problem = Problem.from_exact("u_xx + u**3 = f", LINE, "sin(40*x)")
    solution = GPSolver().solve(problem, grid=(100,))
    again = Solution.load(solution.save(tmp_path / "u.gp"))
    assert again.posterior.defect.any()
    x = np.linspace(0, 1, 33)
    np.testing.assert_array_equal(again.std(x), solution.std(x))
