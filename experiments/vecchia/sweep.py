"""A field on a square at growing numbers of rows: the whole of a fit and its predictions."""

from collections.abc import Sequence
from functools import partial
from typing import Any

from experiments.harness import Method, Options, Task
from experiments.vecchia.data import Rows, score, simulate_plane
from experiments.vecchia.methods import OURS, fit_gpboost, fit_ours

__all__ = ["sweep"]


def sweep(options: Options) -> Sequence[Task]:
    """One lengthscale, everything learned; gpboost as far as it takes a minute."""
    sizes = (500, 1000) if options.quick else (2_000, 8_000, 32_000, 128_000)
    ours = Method(OURS, partial(fit_ours, isotropic=True))
    peer = Method("gpboost", partial(fit_gpboost, isotropic=True), ("gpboost",))
    make: Any = partial(simulate_plane, "gaussian", lengthscale=0.05)
    return [
        Task(
            "fit and predict at growing n",
            lambda seed, n=n: make(n, seed),
            _score,
            (ours, peer) if n <= 8_000 else (ours,),
            {"n": n},
            1,
        )
        for n in sizes
    ]


def _score(rows: Rows, output: tuple) -> dict[str, float]:
    figures = score(rows, *output)
    return {"error": figures["RMSE"], **figures}
