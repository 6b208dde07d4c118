"""Refinement keeps what a correction improved and nothing else."""

import torch
from linear_operator import to_linear_operator

from kernelgp.linalg.refinement import refine


def test_rough_corrections_add_up_to_an_accurate_solution(spd, generator):
    matrix = spd(10, condition=100.0, generator=generator)
    b = torch.randn(10, 2, generator=generator, dtype=torch.float64)
    inverse = 0.9 * torch.linalg.inv(matrix)
    refined = refine(
        to_linear_operator(matrix), b, lambda e, *_: (inverse @ e, 1), rtol=1e-12, budget=50
    )
    assert refined.iterations <= 14  # each leaves a tenth
    torch.testing.assert_close(matrix @ refined.solution, b)


def test_a_correction_that_makes_it_worse_is_not_taken(spd, generator):
    matrix = spd(10, condition=100.0, generator=generator)
    b = torch.randn(10, 1, generator=generator, dtype=torch.float64)
    start = torch.linalg.solve(matrix, b) + 1e-4
    calls = []

    def worse(error, *_):
        calls.append(1)
        return error * 1e3, 1

    refined = refine(to_linear_operator(matrix), b, worse, rtol=1e-9, budget=50, start=start)
    torch.testing.assert_close(refined.solution, start)
    truth = (b - matrix @ start).norm() / b.norm()
    torch.testing.assert_close(refined.residual.squeeze(), truth)
    assert len(calls) == 1  # and it is not tried again


def test_goals_are_shared_among_the_fewest_corrections_the_floor_allows(spd, generator):
    matrix = spd(10, condition=100.0, generator=generator)
    b = torch.randn(10, 1, generator=generator, dtype=torch.float64)
    goals = []

    def correct(error, goal, _budget):
        goals.append(goal)
        return (1 - goal) * torch.linalg.solve(matrix, error), 1

    op = to_linear_operator(matrix)
    assert refine(op, b, correct, rtol=1e-6, budget=50, floor=1e-3).worst <= 1e-6
    assert len(goals) == 3
    assert min(goals) >= 1e-3
