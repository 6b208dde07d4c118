"""Features of networks: the rate they converge at, and a classifier's layers replaced."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import Tensor, nn

from experiments.harness import Method, Options, Task
from kernelgp import NNGPFeatures, UniversalFeatures
from kernelgp.features import KAFLinear, SNNKLinear, bundle

__all__ = ["layer_tasks"]


def layer_tasks(options: Options) -> list[Task]:
    """Networks of growing width, sines, and digits."""
    return [_width_task(options), _sine_task(), _digits_task(options)]


def _sphere(n: int, d: int, seed: int) -> NDArray[np.float64]:
    x = np.random.default_rng(seed).normal(size=(n, d))
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def _width_task(options: Options) -> Task:
    """Relative Frobenius error of three relu layers on the sphere of 20 dimensions."""
    widths = (256, 1024) if options.quick else (256, 512, 1024, 2048, 4096)

    def prepare(X: Any, coupling: Literal["iid", "orthogonal"]) -> Callable[[], Any]:
        def run() -> Any:
            errors = {}
            for width in widths:
                found = []
                for seed in range(2):
                    made = NNGPFeatures(3, width, coupling=coupling, random_state=seed).fit(X)
                    Z, K = made.transform(X.astype(np.float32)), made.exact(X)
                    found.append(np.linalg.norm(Z @ Z.T - K) / np.linalg.norm(K))
                errors[f"error at {width}"] = float(np.sqrt(np.mean(np.square(found))))
            slope = np.polyfit(np.log(widths), np.log(list(errors.values())), 1)[0]
            return {**errors, "slope": float(slope)}

        return run

    return Task(
        "width of a network",
        partial(_sphere, 400, 20),
        lambda _, output: output,
        (
            Method("iid", partial(prepare, coupling="iid")),
            Method("orthogonal", partial(prepare, coupling="orthogonal")),
        ),
        {"depth": 3},
        repeats=1,
    )


def _sine_task() -> Task:
    """Mean squared error of sin(w·x), unit vectors of 16 dimensions."""

    def prepare(data: Any) -> Callable[[], Any]:
        X, W = data

        def run() -> Any:
            errors = {}
            for m in (64, 256, 1024, 4096):
                made = UniversalFeatures("sin", 2 * m, random_state=0).fit(X)
                found = made.transform(X) @ made.weights(W).T
                errors[f"error at {m}"] = float(np.mean((found - np.sin(X @ W.T)) ** 2))
            return errors

        return run

    return Task(
        "sines apart",
        lambda seed: (_sphere(300, 16, seed), _sphere(300, 16, seed + 1)),
        lambda _, output: output,
        (Method("universal features", prepare),),
        repeats=1,
    )


@dataclass(frozen=True, slots=True)
class Digits:
    """Images and labels, and a network trained on them."""

    x: Tensor
    y: Tensor
    x_test: Tensor
    y_test: Tensor
    model: nn.Sequential


def _digits_task(options: Options) -> Task:
    """A classifier of digits, its feed-forward layers replaced; numbers trained and accuracy."""
    epochs = 40 if options.quick else 120

    def make(seed: int) -> Digits:
        X, y = load_digits(return_X_y=True)
        parts = train_test_split(X / 16, y, test_size=0.25, random_state=seed, stratify=y)
        x, x_test = (torch.from_numpy(a).float() for a in parts[:2])
        y, y_test = (torch.from_numpy(a) for a in parts[2:])
        torch.manual_seed(seed)
        model = nn.Sequential(
            nn.Linear(64, 256), nn.ReLU(), nn.Linear(256, 256), nn.ReLU(), nn.Linear(256, 10)
        )
        return Digits(x, y, x_test, y_test, _trained(model, x, y, epochs))

    def trained(digits: Digits, build: Callable[[], nn.Module]) -> Callable[[], nn.Module]:
        return lambda: _trained(build(), digits.x, digits.y, epochs)

    def score(digits: Digits, model: nn.Module) -> Mapping[str, float]:
        with torch.no_grad():
            right = model(digits.x_test).argmax(dim=1) == digits.y_test
        numbers = sum(p.numel() for p in model.parameters() if p.requires_grad)
        return {"accuracy": float(right.double().mean()), "trained numbers": float(numbers)}

    def layers() -> nn.Module:
        first = SNNKLinear(64, 64, 96, random_state=0)
        return nn.Sequential(first, SNNKLinear(64, 10, 256, random_state=1))

    def waves() -> nn.Module:
        return nn.Sequential(KAFLinear(64, 32, random_state=0), KAFLinear(32, 10, random_state=1))

    methods = (
        Method("feed-forward", lambda digits: lambda: digits.model),
        Method("SNNK layers", partial(trained, build=layers)),
        Method("Kolmogorov-Arnold-Fourier", partial(trained, build=waves)),
        Method(
            "bundled, on labels",
            lambda d: lambda: bundle(d.model, d.x, d.y, n_components=1000, random_state=0),
        ),
        Method(
            "bundled, on the network's outputs",
            lambda d: lambda: bundle(d.model, d.x, n_components=1000, random_state=0),
        ),
    )
    return Task("digits by fewer numbers", make, score, methods, {"epochs": epochs}, repeats=1)


def _trained(model: Any, x: Tensor, y: Tensor, epochs: int) -> Any:
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    generator = torch.Generator().manual_seed(0)
    for _ in range(epochs):
        for rows in torch.randperm(len(x), generator=generator).split(128):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(x[rows]), y[rows]).backward()
            optimizer.step()
    return model
