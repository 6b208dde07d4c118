"""A regression comes back from its file bit for bit, whatever it was fitted with."""

import gpytorch
import numpy as np
import pytest
from sklearn.gaussian_process import kernels as sklearn_kernels

from kernelgp import GPClassifier, GPRegressor
from kernelgp.errors import CheckpointError
from kernelgp.kernels import RBF, Linear, Matern, Periodic, SpectralMixture, White

RNG = np.random.default_rng(0)
X, X_NEW = RNG.uniform(size=(60, 2)), RNG.uniform(size=(9, 2))
Y = np.sin(6 * X[:, 0]) + X[:, 1] + 0.1 * RNG.normal(size=60)
LINE = np.linspace(0, 1, 80)[:, None]
GRID = np.stack(np.meshgrid(np.linspace(0, 1, 7), np.linspace(0, 1, 8)), -1).reshape(-1, 2)[3:]
PRIOR = gpytorch.kernels.ScaleKernel(
    gpytorch.kernels.RBFKernel(lengthscale_prior=gpytorch.priors.GammaPrior(3.0, 6.0))
)

CASES = {
    "default": ({}, X, Y),
    "composite": ({"kernel": 2.0 * Matern(2.5) + Linear() * RBF(0.3) + White(0.1)}, X, Y),
    "mixture": ({"kernel": SpectralMixture("student", [[1.0, 0.2]], nu=2.5)}, X, Y),
    "scikit-learn": ({"kernel": 1.0 * sklearn_kernels.RBF([0.3, 0.5])}, X, Y),
    "gpytorch with a prior": ({"kernel": PRIOR}, X, Y),
    "fixed": ({"optimizer": None, "noise": 0.01, "kernel": RBF(0.3)}, X, Y),
    "noise by row": ({"noise": np.linspace(0.01, 0.1, 60)}, X, Y),
    "likelihood": ({"likelihood": gpytorch.likelihoods.GaussianLikelihood()}, X, Y),
    "outputs": ({"mean": "linear"}, X, np.stack([Y, 3 * Y**2], 1)),
    "missing": ({}, X, np.where(np.arange(60) % 7 == 0, np.nan, Y)),
    "float32": ({"method": "iterative", "max_iterations": 3}, X.astype(np.float32), Y),
    "toeplitz": ({"method": "toeplitz", "kernel": 1.0 * Periodic(0.5)}, LINE, LINE[:, 0] ** 2),
    "kronecker": ({"method": "kronecker", "kernel": 1.0 * RBF([0.3, 0.4])}, GRID, GRID.sum(1) ** 2),
}  # fmt: skip


def fitted(name):
    settings, x, y = CASES[name]
    return GPRegressor(**{"random_state": 0, "max_iterations": 10} | settings).fit(x, y)


def described(kernel):
    """Classes, parameters and buffers by name, those of priors and constraints among them.

    The order of modules is left out: a kernel of gpytorch's own may list them in another one.
    """
    classes = {name: type(module) for name, module in kernel.named_modules()}
    learned = {name: raw.requires_grad for name, raw in kernel.named_parameters()}
    numbers = {name: value.tolist() for name, value in kernel.state_dict().items()}
    priors = {name: str(prior) for name, _, prior, *_ in kernel.named_priors()}
    return classes, learned, numbers, priors


@pytest.mark.filterwarnings("ignore::kernelgp.errors.NumericalWarning")
@pytest.mark.parametrize("name", CASES)
def test_a_regression_comes_back_bit_for_bit(name, tmp_path):
    made = fitted(name)
    again = GPRegressor.load(made.save(tmp_path / "a.gp"))
    x = X_NEW[:, :1] if name == "toeplitz" else X_NEW
    for one, other in zip(
        made.predict(x, return_std=True), again.predict(x, return_std=True), strict=True
    ):
        np.testing.assert_array_equal(one, other)
        assert one.dtype == other.dtype
    np.testing.assert_array_equal(made.sample_y(x, 2), again.sample_y(x, 2))
    assert described(again.kernel_) == described(made.kernel_)
    np.testing.assert_array_equal(again.noise_, made.noise_)
    np.testing.assert_array_equal(again.mean_, made.mean_)
    assert again.log_marginal_likelihood_value_ == made.log_marginal_likelihood_value_
    assert str(again.report_) == str(made.report_)
    assert again.theta_names_ == made.theta_names_


@pytest.mark.filterwarnings("ignore::kernelgp.errors.NumericalWarning")
def test_what_came_back_goes_on(tmp_path):
    made = fitted("default")
    again = GPRegressor.load(made.save(tmp_path / "a.gp"))
    for one in (made, again):
        one.partial_fit(X_NEW, np.zeros(9))
    np.testing.assert_array_equal(made.predict(X), again.predict(X))
    value, gradient = again.log_marginal_likelihood(again.theta_, eval_gradient=True)
    expected = made.log_marginal_likelihood(made.theta_, eval_gradient=True)
    assert value == expected[0]
    np.testing.assert_array_equal(gradient, expected[1])


def test_a_classifier_does_not_load_a_regression(tmp_path):
    path = GPRegressor(noise=0.01, optimizer=None).fit(X, Y).save(tmp_path / "a.gp")
    with pytest.raises(CheckpointError, match=r"got a GPRegressor; load it with GPRegressor\."):
        GPClassifier.load(path)
