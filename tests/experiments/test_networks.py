import numpy as np
import pytest
import sympy
import torch

from experiments.pde.networks import Network, Objective, load, train
from solvers import gallery

ORDERS = [(0, 0), (1, 0), (0, 1), (2, 0), (0, 2)]


class ExactNetwork:
    """The exact solution of a problem of one axis, as a network gives it."""

    def __init__(self, problem):
        self.domain = problem.domain
        (self.formula,) = problem.exact_formulas.values()

    def __call__(self, unit, orders):
        ((low, high),) = self.domain.bounds
        half = (high - low) / 2
        x = (unit[:, 0] + 1) * half + low
        (symbol,) = self.formula.free_symbols
        found = {}
        for (order,) in orders:
            function = sympy.lambdify(symbol, self.formula.diff(symbol, order), "numpy")
            found[(order,)] = torch.from_numpy(half**order * function(x.numpy()))
        return found


@pytest.mark.parametrize("scales", [(), (1.0, 4.0)])
def test_derivatives_are_those_of_autograd(scales):
    network = Network(2, scales, torch.Generator().manual_seed(3)).double()
    x = torch.rand(6, 2, dtype=torch.float64, requires_grad=True)
    found = network(x, ORDERS)
    first = torch.autograd.grad(found[(0, 0)].sum(), x, create_graph=True)[0]
    for k in range(2):
        order = tuple(int(j == k) for j in range(2))
        second = torch.autograd.grad(first[:, k].sum(), x, retain_graph=True)[0][:, k]
        torch.testing.assert_close(found[order], first[:, k])
        torch.testing.assert_close(found[tuple(2 * o for o in order)], second)


@pytest.mark.parametrize("name", ["poisson-1d-sin500", "allen-cahn-1d-sin6cos100"])
def test_the_exact_solution_has_no_loss_and_another_one_has(name):
    problem = gallery[name].problem
    objective = Objective(problem, np.random.default_rng(0))
    points = objective.points(200, torch.float64)
    assert objective(ExactNetwork(problem), points) < 1e-20
    other = ExactNetwork(problem)
    other.formula = other.formula * 1.01
    assert objective(other, points) > 1e-6


def test_training_counts_its_steps_and_stops_in_time():
    trained = train("poisson-1d-sin100", "PINN", minutes=0.02)
    assert trained.adam_steps > 0
    assert 0.5 < trained.seconds < 20
    assert 0 < trained.error < 10


def test_what_is_kept_belongs_to_problems_of_the_gallery():
    kept = load()
    assert kept
    for (name, method), trained in kept.items():
        assert gallery[name].published is not None
        assert trained.method == method
        assert trained.error > 0
