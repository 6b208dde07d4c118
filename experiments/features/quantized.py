"""Quantised features: the figures published for them, and what a Gram matrix of bits costs."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.datasets import load_digits
from sklearn.metrics.pairwise import rbf_kernel
from sklearn.model_selection import train_test_split
from sklearn.svm import SVC

from experiments.harness import Method, Options, Task
from kernelgp import FourierFeatures, QuantizedFourierFeatures
from kernelgp.kernels import RBF

__all__ = ["quantized_tasks"]

EXACT, WAVES = "exact kernel", "not quantised"
OURS = "packed bits"

# Waves of a column, and the settings, of the paper's comparisons.
_ONE_BIT: dict[str, tuple[int, dict[str, Any]]] = {
    "stochastic": (1, {"scheme": "stochastic"}),
    "sigma_delta 1": (15, {"order": 1, "block": 15}),
    "sigma_delta 2": (15, {"order": 2, "block": 15}),
    "beta": (12, {"scheme": "beta", "block": 12, "beta": 1.9}),
}
# With two bits a wave: the blocks that divide the paper's numbers of waves.
_TWO_BITS: dict[str, tuple[int, dict[str, Any]]] = {
    "stochastic": (1, {"scheme": "stochastic", "bits": 2}),
    "sigma_delta 1": (2, {"order": 1, "block": 2, "bits": 2}),
    "sigma_delta 2": (3, {"order": 2, "block": 3, "bits": 2}),
    "beta": (2, {"scheme": "beta", "block": 2, "beta": 1.1, "bits": 2}),
}
_SMALL: dict[str, tuple[int, dict[str, Any]]] = {
    "one side rounded": (1, {"scheme": "semi"}),
    "stochastic, 1 bit": (1, {"scheme": "stochastic"}),
    "stochastic, 2 bits": (1, {"scheme": "stochastic", "bits": 2}),
    "sigma_delta 1, block 2, 1 bit": (2, {"block": 2}),
    "sigma_delta 1, block 2, 2 bits": (2, {"block": 2, "bits": 2}),
    "sigma_delta 1, block 2, 3 bits": (2, {"block": 2, "bits": 3}),
    "sigma_delta 1, block 15, 1 bit": (15, {"block": 15}),
    "sigma_delta 2, block 3, 2 bits": (3, {"order": 2, "block": 3, "bits": 2}),
    "beta, block 10, 1 bit": (10, {"scheme": "beta", "block": 10}),
    "beta 1.1, block 2, 2 bits": (2, {"scheme": "beta", "block": 2, "beta": 1.1, "bits": 2}),
}


def quantized_tasks(options: Options) -> list[Task]:
    """Kernel, ridge regression, digits, two samples, and the Gram matrix."""
    waves = [480] if options.quick else [480, 1920]
    sizes = [240] if options.quick else [240, 1008, 4080]
    return [
        _kernel_task(options),
        *(_ridge_task(m, options) for m in waves),
        *(_digits_task(m) for m in sizes),
        _two_sample_task(options),
        _gram_task(options),
    ]


def _kernel_task(options: Options) -> Task:
    """RMSE of single values of exp(-0.2 r²), d = 50, m = 3000 waves, distances up to 5."""
    n, m = (200, 3000) if options.quick else (1000, 3000)
    kernel = RBF(2.5**0.5)

    def make(seed: int) -> NDArray[np.float64]:
        direction = np.random.default_rng(seed).normal(size=50)
        line = 5 * np.linspace(0, 1, n)[:, None]
        return line * direction / np.linalg.norm(direction)

    def quantized(X: Any, block: int, settings: dict[str, Any]) -> Callable[[], Any]:
        def run() -> Any:
            made = QuantizedFourierFeatures(
                kernel, m // block, coupling="iid", output="packed", random_state=0, **settings
            )
            Z = made.fit_transform(X)
            one_sided = settings.get("scheme") == "semi"
            gram = Z.to_dense() @ made.transform_queries(X).T if one_sided else Z.gram()
            return gram, Z.bits_per_row

        return run

    def waves(X: Any) -> Callable[[], Any]:
        made = FourierFeatures(kernel, m, map="cos", coupling="iid", random_state=0)

        def run() -> Any:
            Z = made.fit_transform(X)
            return Z @ Z.T, 32 * m

        return run

    def score(X: Any, output: Any) -> Mapping[str, float]:
        gram, bits = output
        apart = ~np.eye(len(X), dtype=bool)
        error = (gram - rbf_kernel(X, gamma=0.2))[apart]
        return {"RMSE": float(np.sqrt(np.mean(error**2))), "bits a row": float(bits)}

    methods = [Method(WAVES, waves)]
    methods += [
        Method(name, partial(quantized, block=block, settings=settings))
        for name, (block, settings) in _SMALL.items()
    ]
    return Task("quantised kernel", make, score, methods, {"rows": n, "waves": m}, repeats=1)


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows to learn from and to predict."""

    x: NDArray[np.float64]
    y: NDArray[Any]
    x_test: NDArray[np.float64]
    y_test: NDArray[Any]


def _features(
    rows: Rows, kernel: RBF, m: int, scheme: tuple[int, dict[str, Any]] | None
) -> tuple[Any, Any]:
    """Features of both parts, of m waves."""
    if scheme is None:
        made: Any = FourierFeatures(kernel, m, map="cos", random_state=0)
    else:
        block, settings = scheme
        made = QuantizedFourierFeatures(kernel, m // block, random_state=0, **settings)
    return made.fit_transform(rows.x), made.transform(rows.x_test)


def _ridge_task(m: int, options: Options) -> Task:
    """Relative squared error of ridge regression, ridge 1, one bit a wave; d = 3."""
    n = 1000 if options.quick else 3000
    gamma = 1 / 3
    kernel = RBF((0.5 / gamma) ** 0.5)

    def make(seed: int) -> Rows:
        rng = np.random.default_rng(seed)
        x = rng.uniform(-0.5, 0.5, size=(2 * n, 3))
        truth = (x + np.cos(x**2) + np.cos(np.abs(x))).sum(axis=1)
        y = truth + 0.5 * rng.normal(size=2 * n)
        return Rows(x[:n], y[:n], x[n:], y[n:])

    def linear(rows: Rows, name: str) -> Callable[[], NDArray[Any]]:
        def run() -> NDArray[Any]:
            Z, new = _features(rows, kernel, m, _ONE_BIT.get(name))
            return new @ np.linalg.solve(Z.T @ Z + np.eye(Z.shape[1]), Z.T @ rows.y)

        return run

    def exact(rows: Rows) -> Callable[[], NDArray[Any]]:
        def run() -> NDArray[Any]:
            K = rbf_kernel(rows.x, gamma=gamma) + np.eye(n)
            return rbf_kernel(rows.x_test, rows.x, gamma=gamma) @ np.linalg.solve(K, rows.y)

        return run

    def score(rows: Rows, found: Any) -> Mapping[str, float]:
        return {"error": float(np.sum((found - rows.y_test) ** 2) / np.sum(rows.y_test**2))}

    methods = [Method(EXACT, exact)]
    methods += [Method(name, partial(linear, name=name)) for name in (WAVES, *_ONE_BIT)]
    return Task("quantised ridge regression", make, score, methods, {"waves": m}, repeats=1)


def _digits_task(m: int) -> Task:
    """Accuracy of a support vector machine on scikit-learn's digits, two bits a wave."""

    def make(seed: int) -> Rows:
        del seed  # the paper's split
        X, y = load_digits(return_X_y=True)
        parts: list[Any] = train_test_split(X / 16, y, test_size=0.2, random_state=12)
        return Rows(parts[0], parts[2], parts[1], parts[3])

    def gamma(rows: Rows) -> Any:
        return 1 / (64 * np.concatenate([rows.x, rows.x_test]).var())

    def linear(rows: Rows, name: str) -> Callable[[], Any]:
        def run() -> Any:
            kernel = RBF((0.5 / gamma(rows)) ** 0.5)
            Z, new = _features(rows, kernel, m, _TWO_BITS.get(name))
            return SVC(kernel="precomputed", C=1.0).fit(Z @ Z.T, rows.y).predict(new @ Z.T)

        return run

    def exact(rows: Rows) -> Callable[[], Any]:
        return lambda: SVC(gamma=gamma(rows), C=1.0).fit(rows.x, rows.y).predict(rows.x_test)

    methods = [Method(EXACT, exact)]
    methods += [Method(name, partial(linear, name=name)) for name in (WAVES, *_ONE_BIT)]
    return Task(
        "quantised digits",
        make,
        lambda rows, found: {"accuracy": float(np.mean(found == rows.y_test))},
        methods,
        {"waves": m},
        repeats=1,
    )


def _two_sample_task(options: Options) -> Task:
    """Maximum mean discrepancy of two samples, equal and shifted, from one-bit features.

    A hundred pairs of samples of 60; "power" is how often shifted ones exceed the 95th percentile
    of equal ones.
    """
    n, m, repeats = 60, 1920, 40 if options.quick else 100
    kernel = RBF(1.0)

    def make(seed: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        rng = np.random.default_rng(seed)
        pairs = rng.normal(size=(2, repeats, 2 * n, 2))
        pairs[1, :, n:, 0] += 0.5
        return pairs[0], pairs[1]

    def squared(gram: NDArray[Any]) -> float:
        signs = np.repeat([1.0, -1.0], n) / n
        return float(signs @ gram @ signs)

    def quantized(data: Any, name: str) -> Callable[[], Any]:
        def run() -> Any:
            block, settings = _ONE_BIT[name]
            made = QuantizedFourierFeatures(kernel, m // block, random_state=0, **settings)
            made.fit(data[0][0])
            signs = np.repeat([1.0, -1.0], n) / n
            return [[np.sum((signs @ made.transform(x)) ** 2) for x in part] for part in data]

        return run

    def exact(data: Any) -> Callable[[], Any]:
        return lambda: [[squared(rbf_kernel(x, gamma=0.5)) for x in part] for part in data]

    def score(_: Any, output: Any) -> Mapping[str, float]:
        equal, shifted = np.sqrt(np.maximum(output, 0))
        return {
            "equal": float(equal.mean()),
            "shifted": float(shifted.mean()),
            "power": float(np.mean(shifted > np.quantile(equal, 0.95))),
        }

    methods = [Method(EXACT, exact)]
    methods += [Method(name, partial(quantized, name=name)) for name in _ONE_BIT]
    return Task("two samples", make, score, methods, {"waves": m, "rows": n}, repeats=1)


def _gram_task(options: Options) -> Task:
    """All inner products of 4000 rows of 4096 one-bit features."""
    n, m = (1000, 4096) if options.quick else (4000, 4096)

    def make(seed: int) -> Any:
        X = np.random.default_rng(seed).normal(size=(n, 16)).astype(np.float32)
        return QuantizedFourierFeatures(
            RBF(4.0), m, scheme="stochastic", output="packed", random_state=seed
        ).fit_transform(X)

    def multiply(packed: Any, dtype: torch.dtype) -> Callable[[], Any]:
        Z = torch.from_numpy(packed.to_dense()).to(dtype)
        return lambda: (Z @ Z.mT, Z.numel() * Z.element_size())

    def score(packed: Any, output: Any) -> Mapping[str, float]:
        gram, size = output
        integers = packed.integers().astype(np.float32)
        exact = integers @ integers.T
        apart = np.abs(np.asarray(torch.as_tensor(gram).float()) / packed.unit**2 - exact)
        return {"error in counts": float(apart.max()), "MB": size / 1e6}

    methods = (
        Method(OURS, lambda packed: lambda: (packed.gram(), packed.nbytes)),
        Method("float32 product", partial(multiply, dtype=torch.float32)),
        Method("bfloat16 product", partial(multiply, dtype=torch.bfloat16)),
    )
    return Task("Gram of bits", make, score, methods, {"rows": n, "columns": m})
