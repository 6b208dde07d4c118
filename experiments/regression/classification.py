"""Houses above the median price: ours against gpytorch's SVGP with as many inducing points."""

import csv
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, cast

import gpytorch
import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.metrics import log_loss
from torch import Tensor

from experiments.harness import Method, Options, Task
from kernelgp import GPClassifier

__all__ = ["classification_tasks"]

OURS = "kernelgp"
_FILE = "california_housing.csv"


@dataclass(frozen=True, slots=True)
class Houses:
    """Standardised columns, and whether a price is above the median."""

    x: NDArray[np.float64]
    y: NDArray[np.int64]
    x_test: NDArray[np.float64]
    y_test: NDArray[np.int64]


def classification_tasks(options: Options) -> list[Task]:
    """One, where the data are."""
    if options.data is None or not (options.data / "uci" / _FILE).is_file():
        return []
    n, inducing, epochs = (1_000, 50, 30) if options.quick else (20_000, 512, 30)
    return [
        Task(
            "california_housing above the median",
            partial(_read, options.data / "uci" / _FILE, n),
            lambda houses, output: {"log loss": float(log_loss(houses.y_test, output))},
            (
                Method(OURS, partial(_ours, inducing=inducing)),
                Method(
                    f"gpytorch SVGP, {epochs} epochs",
                    partial(_svgp, inducing=inducing, epochs=epochs),
                ),
            ),
            {"train": n, "inducing": inducing, "epochs of gpytorch": epochs},
            repeats=1,
        )
    ]


def _read(path: Path, n: int, seed: int) -> Houses:
    """Missing cells become the median of their column, the last column one of each place."""
    with path.open(encoding="utf-8") as file:
        _, *rows = csv.reader(file)
    numbers = np.array([[float(cell) if cell else np.nan for cell in row[:9]] for row in rows])
    places = np.array([row[9] for row in rows])
    x, price = numbers[:, :8], numbers[:, 8]
    x = np.where(np.isnan(x), np.nanmedian(x, axis=0), x)
    x = np.c_[x, places[:, None] == np.unique(places)]
    y = (price > np.median(price)).astype(np.int64)
    order = np.random.default_rng(seed).permutation(len(x))
    train, test = order[:n], order[max(n, len(x) - 4_000) :]
    mean, std = x[train].mean(axis=0), x[train].std(axis=0)
    x = (x - mean) / np.where(std > 0, std, 1.0)
    return Houses(x[train], y[train], x[test], y[test])


def _ours(houses: Houses, *, inducing: int) -> Callable[[], NDArray[Any]]:
    def run() -> NDArray[Any]:
        model = GPClassifier(method="variational", n_inducing=inducing, random_state=0)
        return model.fit(houses.x, houses.y).predict_proba(houses.x_test)[:, 1]

    return run


class _Sparse(gpytorch.models.ApproximateGP):
    def __init__(self, points: Tensor) -> None:
        posterior = gpytorch.variational.CholeskyVariationalDistribution(len(points))
        strategy = gpytorch.variational.VariationalStrategy(
            self, points, posterior, learn_inducing_locations=True
        )
        super().__init__(strategy)
        self.mean_module = gpytorch.means.ConstantMean()
        self.covar_module = gpytorch.kernels.ScaleKernel(
            gpytorch.kernels.MaternKernel(nu=2.5, ard_num_dims=points.shape[-1])
        )

    def forward(self, x: Tensor) -> Any:
        mean, covariance = cast(Any, self.mean_module(x)), self.covar_module(x)
        return gpytorch.distributions.MultivariateNormal(mean, cast(Any, covariance))


def _svgp(houses: Houses, *, inducing: int, epochs: int) -> Callable[[], NDArray[Any]]:
    x, y, new = (
        torch.tensor(array, dtype=torch.float32) for array in (houses.x, houses.y, houses.x_test)
    )

    def run() -> NDArray[Any]:
        torch.manual_seed(0)
        model = _Sparse(x[torch.randperm(len(x))[:inducing]].clone())
        likelihood = gpytorch.likelihoods.BernoulliLikelihood()
        objective = cast(Any, gpytorch.mlls.VariationalELBO(likelihood, model, len(x)))
        adam = torch.optim.Adam(model.parameters(), lr=0.01)
        for _ in range(epochs):
            for rows in torch.randperm(len(x)).split(1024):
                adam.zero_grad()
                (-objective(model(x[rows]), y[rows])).backward()
                adam.step()
        model.eval()
        with torch.no_grad():
            return cast(Any, likelihood(model(new))).mean.double().numpy()

    return run
