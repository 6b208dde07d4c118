"""Ridge regression on features of two large tables, and a step of the marginal likelihood."""

from collections.abc import Callable
from functools import partial
from typing import Any

import gpytorch
import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.kernel_approximation import RBFSampler
from sklearn.linear_model import Ridge
from torch import Tensor

from experiments.features.kernels import OURS
from experiments.harness import Method, Options, Task
from experiments.regression.data import Rows, read_table
from kernelgp import FeatureRidge
from kernelgp.features.fourier_map import FourierMap
from kernelgp.gp.feature_regression import feature_loss
from kernelgp.gp.sgpr import SparseRows
from kernelgp.kernels import RBF, ScaledKernel

__all__ = ["regression_tasks"]

_RIDGE = 0.1


def regression_tasks(options: Options) -> list[Task]:
    """The tables where the data are, and the step."""
    found = [_step_task(2_000, 128) if options.quick else _step_task(20_000, 1024)]
    if options.data is None or not (options.data / "uci" / "protein").is_dir():
        return found
    n, columns = (2_000, 512) if options.quick else (36_000, 8192)
    for name in ("protein", "kin40k"):
        read = partial(_read, options, name, n)
        methods = (
            Method(OURS, partial(_ours, columns=columns)),
            Method("RBFSampler + Ridge", partial(_peer, columns=columns)),
        )
        params = {"train": n, "columns": columns}
        found.append(Task(f"ridge, {name}", read, _score, methods, params, repeats=1))
    return found


def _read(options: Options, name: str, n: int, seed: int) -> Rows:
    """Standardised by the training rows, float32."""
    assert options.data is not None
    rows = read_table(options.data, name, n, 4_000, seed)
    mean, std = rows.x.mean(axis=0), rows.x.std(axis=0)
    scale, shift = rows.y.std(), rows.y.mean()
    arrays = (
        (rows.x - mean) / std,
        (rows.y - shift) / scale,
        (rows.x_test - mean) / std,
        (rows.y_test - shift) / scale,
    )
    return Rows(*(array.astype(np.float32) for array in arrays))


def _lengthscale(rows: Rows) -> float:
    return 0.4 * rows.x.shape[1] ** 0.5


def _ours(rows: Rows, *, columns: int) -> Callable[[], NDArray[Any]]:
    def run() -> NDArray[Any]:
        kernel = RBF(_lengthscale(rows))
        model = FeatureRidge(kernel, columns, noise=_RIDGE, random_state=0)
        return model.fit(rows.x, rows.y).predict(rows.x_test)

    return run


def _peer(rows: Rows, *, columns: int) -> Callable[[], NDArray[Any]]:
    def run() -> NDArray[Any]:
        gamma = 1 / (2 * _lengthscale(rows) ** 2)
        sampler = RBFSampler(gamma=gamma, n_components=columns, random_state=0)
        model = Ridge(alpha=_RIDGE, solver="cholesky")
        model.fit(sampler.fit_transform(rows.x), rows.y)
        return model.predict(sampler.transform(rows.x_test))

    return run


def _score(rows: Rows, predicted: NDArray[Any]) -> dict[str, float]:
    return {"RMSE": float(np.sqrt(np.mean((predicted - rows.y_test) ** 2)))}


def _step_task(n: int, columns: int) -> Task:
    return Task(
        "evidence and its gradient",
        partial(_step_data, n),
        lambda data, output: {"minus evidence a row": output / len(data[0])},
        (
            Method(OURS, partial(_our_step, columns=columns)),
            Method("gpytorch RFFKernel", partial(_peer_step, columns=columns)),
        ),
        {"n": n, "d": 16, "columns": columns},
        repeats=3,
    )


def _step_data(n: int, seed: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n, 16, generator=generator)
    noise = torch.randn(n, generator=generator)
    return x, torch.sin(x[:, 0] + x[:, 1]) + 0.1 * noise


def _our_step(data: tuple[Tensor, Tensor], *, columns: int) -> Callable[[], float]:
    x, y = data
    kernel = ScaledKernel(1.0, RBF([4.0] * 16))
    generator = torch.Generator().manual_seed(0)
    mapping = FourierMap(kernel, 16, columns, "orthogonal", "haar", "sincos", generator)
    rows = SparseRows(x, y.unsqueeze(-1), torch.ones(len(x)))
    noise = torch.tensor(0.01, dtype=torch.float64, requires_grad=True)
    return lambda: feature_loss(mapping, rows, noise).item()


def _peer_step(data: tuple[Tensor, Tensor], *, columns: int) -> Callable[[], float]:
    x, y = data
    torch.manual_seed(0)
    likelihood = gpytorch.likelihoods.GaussianLikelihood()
    likelihood.noise = torch.tensor(0.01)

    class Model(gpytorch.models.ExactGP):
        def __init__(self) -> None:
            super().__init__(x, y, likelihood)
            self.mean_module = gpytorch.means.ZeroMean()
            base = gpytorch.kernels.RFFKernel(num_samples=columns // 2, ard_num_dims=16)
            base.lengthscale = torch.tensor(4.0)
            self.covar_module = gpytorch.kernels.ScaleKernel(base)
            self.covar_module.outputscale = 1.0

        def forward(self, x: Tensor) -> Any:
            covariance: Any = self.covar_module(x)
            mean: Any = self.mean_module(x)
            return gpytorch.distributions.MultivariateNormal(mean, covariance)

    model = Model()
    evidence: Any = gpytorch.mlls.ExactMarginalLogLikelihood(likelihood, model)
    model.train()

    def run() -> float:
        model.zero_grad()
        loss = -evidence(model(x), y)
        loss.backward()
        return loss.item() * len(x)

    return run
