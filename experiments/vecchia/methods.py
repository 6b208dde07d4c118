"""Ours and the peers, each a fit with learned hyperparameters and predictions."""

import time
from collections.abc import Callable
from functools import partial
from importlib import import_module
from typing import Any

import gpytorch
import numpy as np
import torch
from torch import Tensor

from experiments.harness import Method
from experiments.vecchia.data import Rows
from kernelgp import DKLGPRegressor
from kernelgp.kernels import Matern

__all__ = ["OURS", "fit_gpboost", "fit_ours", "methods"]

OURS = "kernelgp"
Output = tuple[np.ndarray, np.ndarray]

_GPBOOST = {"bernoulli": "bernoulli_logit", "student_t": "t"}


def methods(seconds: float, *, isotropic: bool = False, inducing: int = 512) -> tuple[Method, ...]:
    """Ours with its own number of prediction neighbors and with gpboost's, and the peers.

    `seconds` is what gpytorch's methods are given; gpboost takes what it takes.
    """
    fair = f"{OURS}, 60 to predict"
    return (
        Method(OURS, partial(fit_ours, isotropic=isotropic)),
        Method(fair, partial(fit_ours, isotropic=isotropic, n_predict=60)),
        Method("gpboost", partial(fit_gpboost, isotropic=isotropic), ("gpboost",)),
        Method(
            f"gpytorch SVGP({inducing})",
            partial(_fit_gpytorch, seconds=seconds, make=partial(_sparse, inducing=inducing)),
        ),
        Method("gpytorch VNNGP(32)", partial(_fit_gpytorch, seconds=seconds, make=_nearest)),
    )


def fit_ours(
    rows: Rows, *, isotropic: bool = False, n_predict: int = 120, m: int = 30, **options: Any
) -> Callable[[], Output]:
    """With the true hyperparameters where the rows have them."""
    kernel = 1.0 * Matern(nu=1.5) if isotropic else None
    if rows.lengthscale is not None:
        kernel = 1.0 * Matern(nu=1.5, lengthscale=rows.lengthscale.tolist())
        options = {"optimizer": None, **options}
        if rows.likelihood == "gaussian":
            options = {"noise": 0.01, **options}

    def run() -> Output:
        model = DKLGPRegressor(
            kernel,
            likelihood=rows.likelihood,
            n_neighbors=m,
            n_neighbors_predict=n_predict,
            random_state=0,
            **options,
        ).fit(rows.x, rows.y)
        latent = rows.likelihood != "gaussian"
        return model.predict(rows.x_test, return_std=True, latent=latent)

    return run


def fit_gpboost(rows: Rows, *, isotropic: bool = False, m: int = 30) -> Callable[[], Output]:
    """Matérn-3/2 by Vecchia's approximation with as many neighbors; twice as many to predict."""
    gpboost: Any = import_module("gpboost")
    ones, ones_test = np.ones((len(rows.y), 1)), np.ones((len(rows.truth), 1))

    def run() -> Output:
        model = gpboost.GPModel(
            gp_coords=rows.x,
            cov_function="matern" if isotropic else "matern_ard",
            cov_fct_shape=1.5,
            gp_approx="vecchia",
            num_neighbors=m,
            likelihood=_GPBOOST.get(rows.likelihood, rows.likelihood),
        )
        model.fit(y=rows.y, X=ones)
        found = model.predict(
            gp_coords_pred=rows.x_test,
            X_pred=ones_test,
            predict_var=True,
            predict_response=rows.likelihood == "gaussian",
        )
        return found["mu"], np.sqrt(found["var"])

    return run


def _likelihood(name: str) -> Any:
    match name:
        case "gaussian":
            return gpytorch.likelihoods.GaussianLikelihood()
        case "student_t":
            return gpytorch.likelihoods.StudentTLikelihood()
        case "bernoulli":
            return _Logit()
        case _:
            return _Counts()


class _Logit(gpytorch.likelihoods.likelihood._OneDimensionalLikelihood):
    def forward(self, function_samples: Tensor, *_: Any, **__: Any) -> Any:
        return torch.distributions.Bernoulli(logits=function_samples)


class _Counts(gpytorch.likelihoods.likelihood._OneDimensionalLikelihood):
    def forward(self, function_samples: Tensor, *_: Any, **__: Any) -> Any:
        return torch.distributions.Poisson(function_samples.clamp(max=20).exp())


class _Model(gpytorch.models.ApproximateGP):
    def __init__(self, x: Tensor, make: Any) -> None:
        super().__init__(make(self, x))
        self.mean_module = gpytorch.means.ConstantMean()
        kernel = gpytorch.kernels.MaternKernel(1.5, ard_num_dims=x.shape[-1])
        self.covar_module = gpytorch.kernels.ScaleKernel(kernel)

    def forward(self, x: Tensor) -> Any:
        mean: Any = self.mean_module(x)
        return gpytorch.distributions.MultivariateNormal(mean, self.covar_module(x))

    def __call__(self, x: Tensor | None, **options: Any) -> Any:
        if x is not None:
            return super().__call__(x, **options)
        return self.variational_strategy(x=None, **options)


def _sparse(model: Any, x: Tensor, inducing: int) -> Any:
    generator = torch.Generator().manual_seed(0)
    points = x[torch.randperm(len(x), generator=generator)[:inducing]].clone()
    normal = gpytorch.variational.CholeskyVariationalDistribution(len(points))
    return gpytorch.variational.VariationalStrategy(model, points, normal)


def _nearest(model: Any, x: Tensor) -> Any:
    normal = gpytorch.variational.MeanFieldVariationalDistribution(len(x))
    return gpytorch.variational.NNVariationalStrategy(
        model, x, normal, k=32, training_batch_size=256
    )


def _fit_gpytorch(rows: Rows, seconds: float, make: Any) -> Callable[[], Output]:
    """Adam at a rate of 0.01, up to 100 passes or the time given."""
    shift, scale = rows.x.mean(axis=0), rows.x.std(axis=0)
    x, x_test = (torch.tensor((a - shift) / scale).float() for a in (rows.x, rows.x_test))
    y = torch.tensor(rows.y).float()

    def run() -> Output:
        torch.manual_seed(0)
        model: Any = _Model(x, make)
        likelihood = _likelihood(rows.likelihood)
        loss: Any = gpytorch.mlls.VariationalELBO(likelihood, model, len(x))
        parameters = [*model.parameters(), *likelihood.parameters()]
        optimizer = torch.optim.Adam(parameters, lr=0.01)
        model.train()
        likelihood.train()
        until = time.monotonic() + seconds
        strategy = model.variational_strategy
        for _ in range(100 * -(-len(x) // 256)):
            optimizer.zero_grad()
            if make is _nearest:
                output = model(None)
                batch = strategy.current_training_indices
            else:
                batch = torch.randint(len(x), (256,))
                output = model(x[batch])
            value = -loss(output, y[batch])
            value.backward()
            optimizer.step()
            if time.monotonic() > until:
                break
        model.eval()
        likelihood.eval()
        means, variances = [], []
        with torch.no_grad():
            for part in x_test.split(512):
                found: Any = model(part)
                if rows.likelihood == "gaussian":
                    found = likelihood(found)
                means.append(found.mean)
                variances.append(found.variance)
        variance = torch.cat(variances).double().clamp(min=1e-10)
        return torch.cat(means).double().numpy(), variance.sqrt().numpy()

    return run
