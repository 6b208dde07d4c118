"""L-BFGS with Hessians measured on the way, where it alone ends too early."""

import pytest
import torch

from kernelgp.gp.lbfgs import minimize
from kernelgp.gp.rounds import minimize_in_rounds

# As of a period beside amplitudes, in directions that are no axes.
STIFF = torch.logspace(0, 6, 8, dtype=torch.float64)
ROTATION = torch.linalg.qr(
    torch.randn(8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
)[0]
START = torch.full((8,), -1.0, dtype=torch.float64)
UNBOUNDED = {"lower": torch.full_like(START, -torch.inf), "upper": -START * torch.inf}


def stiff(v):
    v = v.detach().requires_grad_(True)
    value = (STIFF * (torch.cosh(ROTATION @ (v - 0.3)) - 1)).sum()
    value.backward()
    return value.item(), v.grad


def counted():
    calls = []

    def objective(v):
        calls.append(v)
        return stiff(v)

    return objective, calls


def test_a_stiff_minimum_is_reached_where_lbfgs_alone_says_so_too_early():
    options = {"max_iterations": 400, "tolerance": 1e-5, **UNBOUNDED}
    objective, calls = counted()
    found = minimize_in_rounds(objective, START, **options)
    alone = minimize(stiff, START, **options)
    assert found.converged
    assert alone.converged
    assert found.objective < 1e-5 < 1e-2 < alone.objective
    assert found.evaluations == len(calls)
    assert [step.iteration for step in found.history] == [*range(1, found.iterations + 1)]


def test_a_search_that_ends_in_one_round_is_that_of_lbfgs():
    def easy(v):
        return (v - 1).square().sum().item(), 2 * (v - 1)

    options = {"max_iterations": 400, "tolerance": 1e-8, **UNBOUNDED}
    found, alone = minimize_in_rounds(easy, START, **options), minimize(easy, START, **options)
    assert found.evaluations == alone.evaluations
    assert torch.equal(found.vector, alone.vector)


def test_iterations_are_counted_over_all_rounds():
    found = minimize_in_rounds(stiff, START, max_iterations=28, tolerance=1e-10, **UNBOUNDED)
    assert not found.converged
    assert found.iterations == 28


@pytest.mark.parametrize("last", [10, 30])
def test_an_interruption_keeps_what_was_reached(last):
    objective, calls = counted()

    def interrupted(v):
        if len(calls) == last:
            raise KeyboardInterrupt
        return objective(v)

    found = minimize_in_rounds(interrupted, START, max_iterations=400, tolerance=1e-9, **UNBOUNDED)
    assert found.interrupted
    assert not found.converged
    assert found.objective == stiff(found.vector)[0] < 0.01 * stiff(START)[0]
