"""Tables: ours on all rows, the peers on as many as they manage in the time they are given."""

import time
from collections.abc import Callable
from functools import partial
from typing import Any, cast

import gpytorch
import numpy as np
import torch
from sklearn.gaussian_process import GaussianProcessRegressor, kernels
from torch import Tensor

from experiments.harness import Method, Options, Task
from experiments.regression.data import Rows, read_table, score_gaussian
from kernelgp import GPRegressor

__all__ = ["NAMES", "OURS", "fit_exact", "fit_ours", "fit_sklearn", "table_tasks"]

NAMES = ("kin40k", "protein", "elevators", "bike", "pol")
OURS = "kernelgp"
Output = tuple[np.ndarray, np.ndarray]


def table_tasks(options: Options) -> list[Task]:
    """One for each table; none without the data."""
    if options.data is None or not (options.data / "uci").is_dir():
        return []
    sizes = (600, 400) if options.quick else (10_000, 4_000)
    few, seconds = (300, 5) if options.quick else (1_500, 300)
    names = ("elevators",) if options.quick else NAMES
    inducing = 64 if options.quick else 512
    methods = (
        Method(OURS, fit_ours),
        Method(f"scikit-learn, {few} rows", partial(fit_sklearn, n=few)),
        Method(f"gpytorch SVGP({inducing})", partial(_svgp, inducing=inducing, seconds=seconds)),
        Method("gpytorch exact", partial(fit_exact, seconds=seconds)),
    )
    return [
        Task(
            name,
            partial(_read, options, name, *sizes),
            lambda rows, output: score_gaussian(rows, *output),
            methods,
            {"train": sizes[0], "test": sizes[1], "peers' seconds": seconds},
            repeats=1,
        )
        for name in names
    ]


def _read(options: Options, name: str, n_train: int, n_test: int, seed: int) -> Rows:
    assert options.data is not None
    return read_table(options.data, name, n_train, n_test, seed)


def fit_ours(rows: Rows) -> Callable[[], Output]:
    def run() -> Output:
        model = GPRegressor(random_state=0).fit(rows.x, rows.y)
        return model.predict(rows.x_test, return_std=True)

    return run


def fit_sklearn(rows: Rows, n: int) -> Callable[[], Output]:
    """Matérn-5/2 with a lengthscale for each input and learned noise, standardised."""
    x, x_test, _ = _standardised(rows)
    ard = cast(Any, kernels.Matern)(np.ones(x.shape[1]), (1e-2, 1e3), nu=2.5)
    kernel = kernels.ConstantKernel(1.0, (1e-3, 1e3)) * ard + kernels.WhiteKernel(0.1, (1e-6, 10))

    def run() -> Output:
        model: Any = GaussianProcessRegressor(kernel, normalize_y=True)
        return model.fit(x[:n], rows.y[:n]).predict(x_test, return_std=True)

    return run


def _standardised(rows: Rows) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    shift, scale = rows.x.mean(axis=0), rows.x.std(axis=0)
    y = (rows.y - rows.y.mean()) / rows.y.std()
    return (rows.x - shift) / scale, (rows.x_test - shift) / scale, y


class _Exact(gpytorch.models.ExactGP):
    def __init__(self, x: Tensor, y: Tensor, likelihood: Any) -> None:
        super().__init__(x, y, likelihood)
        self.mean_module, self.covar_module = gpytorch.means.ConstantMean(), _kernel(x.shape[-1])

    def forward(self, x: Tensor) -> Any:
        mean: Any = self.mean_module(x)
        return gpytorch.distributions.MultivariateNormal(mean, self.covar_module(x))


class _Sparse(gpytorch.models.ApproximateGP):
    def __init__(self, points: Tensor) -> None:
        distribution = gpytorch.variational.CholeskyVariationalDistribution(len(points))
        strategy = gpytorch.variational.VariationalStrategy(
            self, points, distribution, learn_inducing_locations=True
        )
        super().__init__(strategy)
        self.mean_module = gpytorch.means.ConstantMean()
        self.covar_module = _kernel(points.shape[-1])

    def forward(self, x: Tensor) -> Any:
        mean: Any = self.mean_module(x)
        return gpytorch.distributions.MultivariateNormal(mean, self.covar_module(x))


def _kernel(d: int) -> Any:
    return gpytorch.kernels.ScaleKernel(gpytorch.kernels.MaternKernel(2.5, ard_num_dims=d))


def _tensors(rows: Rows) -> tuple[Tensor, ...]:
    return tuple(torch.tensor(array, dtype=torch.float32) for array in _standardised(rows))


def fit_exact(rows: Rows, seconds: float) -> Callable[[], Output]:
    """Adam at a rate of 0.1 on the default settings, up to 100 steps or the time given."""
    x, x_test, y = _tensors(rows)

    def run() -> Output:
        torch.manual_seed(0)
        likelihood = gpytorch.likelihoods.GaussianLikelihood()
        model: Any = _Exact(x, y, likelihood)
        loss: Any = gpytorch.mlls.ExactMarginalLogLikelihood(likelihood, model)
        optimizer = torch.optim.Adam(model.parameters(), lr=0.1)
        model.train()
        _descend(optimizer, lambda: -loss(model(x), y), 100, seconds)
        return _predict(rows, model, likelihood, x_test, len(x_test))

    return run


def _svgp(rows: Rows, inducing: int, seconds: float) -> Callable[[], Output]:
    """Adam at a rate of 0.01 on batches of 1 024, up to 100 passes or the time given."""
    x, x_test, y = _tensors(rows)

    def run() -> Output:
        generator = torch.Generator().manual_seed(0)
        chosen = torch.randperm(len(x), generator=generator)[:inducing]
        model: Any = _Sparse(x[chosen].clone())
        likelihood = gpytorch.likelihoods.GaussianLikelihood()
        loss: Any = gpytorch.mlls.VariationalELBO(likelihood, model, len(x))
        parameters = [*model.parameters(), *likelihood.parameters()]
        optimizer = torch.optim.Adam(parameters, lr=0.01)
        model.train()
        likelihood.train()

        def of_batch() -> Any:
            batch = torch.randint(len(x), (1024,), generator=generator)
            return -loss(model(x[batch]), y[batch])

        _descend(optimizer, of_batch, 100 * len(x) // 1024, seconds)
        return _predict(rows, model, likelihood, x_test, 1024)

    return run


def _descend(optimizer: Any, loss: Callable[[], Any], steps: int, seconds: float) -> None:
    started = time.monotonic()
    for _ in range(steps):
        optimizer.zero_grad()
        value = loss()
        value.backward()
        optimizer.step()
        if time.monotonic() - started > seconds:
            break


def _predict(rows: Rows, model: Any, likelihood: Any, x_test: Tensor, batch: int) -> Output:
    """In the units of the targets."""
    model.eval()
    likelihood.eval()
    means, variances = [], []
    with torch.no_grad():
        for part in x_test.split(batch):
            found = likelihood(model(part))
            means.append(found.mean)
            variances.append(found.variance)
    scale = rows.y.std()
    mean = rows.y.mean() + scale * torch.cat(means).double().numpy()
    return mean, scale * torch.cat(variances).double().clamp(min=1e-10).sqrt().numpy()
