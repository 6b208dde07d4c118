"""A field on a square at growing numbers of rows: the whole of a fit and its predictions."""

from collections.abc import Sequence
from functools import partial
from typing import Any

from experiments.harness import Options, Task
from experiments.vecchia.data import Rows, score, simulate_plane
from experiments.vecchia.methods import OURS, methods

__all__ = ["sweep"]


def sweep(options: Options) -> Sequence[Task]:
    """One lengthscale, everything learned; the peers as far as they take a minute."""
    quick = options.quick
    sizes = (500, 1000, 2000) if quick else (2_000, 8_000, 32_000, 128_000)
    compared = methods(3.0 if quick else 60.0, isotropic=True, inducing=64 if quick else 512)
    ours = tuple(method for method in compared if method.name == OURS)
    make: Any = partial(simulate_plane, "gaussian", lengthscale=0.05)
    return [
        Task(
            "fit and predict at growing n",
            lambda seed, n=n: make(n, seed),
            _score,
            compared if n <= 8_000 else ours,
            {"n": n},
            1,
        )
        for n in sizes
    ]


def _score(rows: Rows, output: tuple) -> dict[str, float]:
    figures = score(rows, *output)
    return {"error": figures["RMSE"], **figures}
