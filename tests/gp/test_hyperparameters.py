"""`Hyperparameters`: one vector for all that is learned, and its bounds, names and priors."""

import gpytorch
import pytest
import torch

from kernelgp.gp.hyperparameters import Hyperparameters, relative_bounds
from kernelgp.kernels import RBF, Matern, Periodic, Polynomial, RationalQuadratic, White


def test_names_are_those_a_user_wrote_and_in_the_order_of_scikit_learn():
    kernel = 2.0 * RationalQuadratic(alpha=0.7, lengthscale=0.4) + Periodic(period=3.0)
    learned = Hyperparameters({"": kernel, "likelihood": White(0.1)})
    assert learned.names == (
        "kernels.0.outputscale",
        "kernels.0.alpha",
        "kernels.0.lengthscale",
        "kernels.1.lengthscale",
        "kernels.1.period",
        "noise",
    )
    expected = torch.tensor([2.0, 0.7, 0.4, 1.0, 3.0, 0.1], dtype=torch.float64).log()
    torch.testing.assert_close(learned.theta(), expected)


def test_theta_sets_the_values_it_was_read_from():
    kernel = 2.0 * RBF(lengthscale=[0.5, 3.0])
    learned = Hyperparameters({"": kernel})
    learned.assign_theta(torch.tensor([0.0, 1.0, -1.0], dtype=torch.float64))
    assert kernel.outputscale.item() == pytest.approx(1.0)
    torch.testing.assert_close(
        kernel.base_kernel.lengthscale.detach(), torch.tensor([[1.0, -1.0]]).double().exp()
    )


def test_what_is_fixed_or_zero_is_not_learned():
    kernel = 2.0 * RBF() + Polynomial(2, offset=0.0)
    kernel.kernels[0].raw_outputscale.requires_grad = False
    assert Hyperparameters({"": kernel}).names == ("kernels.0.lengthscale",)


def test_bounds_follow_the_units_of_the_data():
    kernel = 2.0 * Matern(lengthscale=[1.0, 1000.0])
    scale = torch.tensor([1.0, 1000.0], dtype=torch.float64)
    low, high = Hyperparameters({"": kernel}, relative_bounds(scale, 10.0)).limits()
    assert low[1] == pytest.approx(low[2].item())
    assert high[0] == pytest.approx(torch.tensor(1e8 * 100 / 2.0).log().item(), rel=1e-6)


def test_a_start_outside_the_bounds_widens_them():
    kernel = RBF(lengthscale=1e9)
    _, high = Hyperparameters({"": kernel}, relative_bounds(torch.ones(1), 1.0)).limits()
    assert high[0] == 0.0


def test_values_at_bounds_are_named():
    kernel = RBF(lengthscale=[1.0, 1.0])
    learned = Hyperparameters({"": kernel}, relative_bounds(torch.ones(2), 1.0))
    low, _ = learned.limits()
    learned.assign(torch.stack([low[0], torch.tensor(0.5).double()]))
    assert learned.at_bounds() == ("lengthscale[0] at its lower bound of 0.0001",)


def test_a_value_held_by_a_constraint_of_gpytorch_is_named():
    noise = gpytorch.likelihoods.GaussianLikelihood()
    noise.noise = 1.0000001e-4
    assert "lower bound of its constraint" in Hyperparameters({"": noise}).at_bounds()[0]


def test_log_prior_is_that_of_gpytorch_in_the_users_units():
    kernel = 2.0 * RBF(lengthscale=0.5)
    prior = gpytorch.priors.GammaPrior(3.0, 6.0)
    kernel.base_kernel.register_prior("lengthscale_prior", prior, "lengthscale")
    learned = Hyperparameters({"": kernel})
    expected = torch.distributions.Gamma(3.0, 6.0).log_prob(torch.tensor(0.5)).double()
    assert learned.has_priors()
    torch.testing.assert_close(learned.log_prior().detach(), expected)
