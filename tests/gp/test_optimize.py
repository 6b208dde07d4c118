"""L-BFGS within bounds against scipy's, and how it behaves when something goes wrong."""

from itertools import pairwise

import numpy as np
import pytest
import scipy.optimize
import torch

from kernelgp.errors import ArgumentError, ConvergenceWarning, NotPositiveDefiniteError
from kernelgp.gp.hyperparameters import Hyperparameters, relative_bounds
from kernelgp.gp.optimize import curvature, learn, minimize
from kernelgp.kernels import RBF


def rosenbrock(v):
    v = v.detach().requires_grad_(True)
    value = (100 * (v[1:] - v[:-1] ** 2) ** 2 + (1 - v[:-1]) ** 2).sum()
    value.backward()
    return value.item(), v.grad


START = torch.full((4,), -1.0, dtype=torch.float64)


@pytest.mark.parametrize("last", [0.5, -0.3, 9.0])
def test_minimum_within_bounds_is_that_of_scipy(last):
    upper = torch.tensor([9.0, 9.0, 9.0, last], dtype=torch.float64)
    found = minimize(rosenbrock, START, upper=upper, tolerance=1e-12)
    peer = scipy.optimize.minimize(
        lambda v: rosenbrock(torch.tensor(v))[0],
        START.numpy(),
        jac=lambda v: rosenbrock(torch.tensor(v))[1].numpy(),
        method="L-BFGS-B",
        bounds=[(None, b) for b in upper.tolist()],
        options={"ftol": 1e-15, "gtol": 1e-10},
    )
    assert found.converged
    assert found.objective <= peer.fun + 1e-9
    np.testing.assert_allclose(found.vector.numpy(), peer.x, atol=1e-4)


def test_a_known_hessian_saves_most_evaluations():
    target = torch.linspace(-1, 1, 6, dtype=torch.float64)
    stiff = torch.logspace(0, 2.9, 6, dtype=torch.float64)

    def quadratic(v):
        return (0.5 * stiff * (v - target) ** 2).sum().item(), stiff * (v - target)

    start = torch.zeros(6, dtype=torch.float64)
    plain = minimize(quadratic, start, tolerance=1e-10)
    known = torch.linalg.inv(curvature(quadratic, start))
    informed = minimize(quadratic, start, tolerance=1e-10, inverse_hessian=known)
    assert informed.evaluations <= 4 < plain.evaluations
    torch.testing.assert_close(informed.vector, target, atol=1e-4, rtol=0)


def test_a_wall_of_infinity_only_shortens_steps():
    def walled(v):
        return (float("inf"), torch.zeros_like(v)) if v[0] > 1.5 else rosenbrock(v)

    found = minimize(walled, START, tolerance=1e-12)
    torch.testing.assert_close(found.vector, torch.ones(4).double(), atol=1e-4, rtol=0)


def test_an_impossible_start_is_refused():
    with pytest.raises(ArgumentError, match="objective: got a start at which it is not finite"):
        minimize(lambda v: (float("nan"), v), START)


def test_an_interruption_keeps_the_best_so_far():
    calls = []

    def interrupted(v):
        calls.append(rosenbrock(v)[0])
        if len(calls) == 10:
            raise KeyboardInterrupt
        return rosenbrock(v)

    found = minimize(interrupted, START)
    assert found.interrupted
    assert not found.converged
    assert found.objective == min(calls[:9])
    assert rosenbrock(found.vector)[0] == found.objective


def test_a_run_that_is_resumed_ends_where_a_whole_one_does():
    whole = minimize(rosenbrock, START, tolerance=1e-12)
    first = minimize(rosenbrock, START, tolerance=1e-12, max_iterations=5)
    second = minimize(rosenbrock, first.vector, tolerance=1e-12)
    assert not first.converged
    torch.testing.assert_close(second.vector, whole.vector, atol=1e-4, rtol=0)


def test_history_has_iteration_objective_gradient_and_seconds():
    found = minimize(rosenbrock, START)
    assert [step.iteration for step in found.history] == list(range(1, found.iterations + 1))
    assert found.history[-1].objective == pytest.approx(found.objective)
    assert all(b.seconds >= a.seconds for a, b in pairwise(found.history))


def test_learn_leaves_the_best_of_several_starts_in_the_module():
    kernel = RBF(lengthscale=0.1)
    learned = Hyperparameters({"": kernel})

    def two_valleys():
        z = kernel.lengthscale.log().squeeze()
        return (z**2 - 1) ** 2 + 0.3 * z

    found = learn(learned, two_valleys, starts=[torch.tensor([5.0]).double()])
    assert kernel.lengthscale.log().item() == pytest.approx(-1.036, abs=1e-2)
    assert found.evaluations > found.iterations


def test_a_loss_that_is_no_longer_positive_definite_is_stepped_around():
    kernel = RBF(lengthscale=1.0)

    def loss():
        if kernel.lengthscale.item() > 4:
            raise NotPositiveDefiniteError("op", "this", "go elsewhere")
        return (kernel.lengthscale - 3.9).square().sum()

    learn(Hyperparameters({"": kernel}), loss)
    assert kernel.lengthscale.item() == pytest.approx(3.9, abs=1e-2)


def test_a_parameter_at_its_bound_is_named_in_a_warning():
    kernel = RBF(lengthscale=1.0)
    learned = Hyperparameters({"": kernel}, relative_bounds(torch.ones(1), 1.0))
    with pytest.warns(ConvergenceWarning, match="lengthscale at its lower bound of 0.0001"):
        learn(learned, lambda: kernel.lengthscale.log().sum())


def test_too_few_iterations_warn_with_the_figures():
    kernel = RBF(lengthscale=1.0)
    with pytest.warns(ConvergenceWarning, match="after 1 iterations, .* raise max_iterations"):
        learn(
            Hyperparameters({"": kernel}),
            lambda: (kernel.lengthscale - 50).square().sum(),
            max_iterations=1,
        )
