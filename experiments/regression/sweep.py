"""Rows of one smooth function at growing numbers: the whole of a fit and its predictions."""

from collections.abc import Sequence
from functools import partial

import numpy as np

from experiments.harness import Method, Options, Task
from experiments.regression.data import Rows, score_gaussian
from experiments.regression.tables import OURS, fit_exact, fit_ours, fit_sklearn

__all__ = ["sweep"]


def sweep(options: Options) -> Sequence[Task]:
    """Matérn-5/2 with a lengthscale for each input, everything learned."""
    sizes = (125, 250, 500) if options.quick else (250, 500, 1_000, 2_000)
    methods = (
        Method(OURS, fit_ours),
        Method("scikit-learn", partial(fit_sklearn, n=max(sizes))),
        Method("gpytorch exact", partial(fit_exact, seconds=60)),
    )
    return [
        Task("fit and predict at growing n", partial(_rows, n=n), _score, methods, {"n": n}, 1)
        for n in sizes
    ]


def _rows(seed: int, n: int) -> Rows:
    """Three inputs that matter and one that does not; noise of a tenth of the deviation."""
    rng = np.random.default_rng(seed)
    x = rng.uniform(size=(n + 500, 4))
    clean = np.sin(6 * x[:, 0]) + np.cos(5 * x[:, 1]) * x[:, 2]
    y = clean + 0.1 * clean.std() * rng.normal(size=len(x))
    return Rows(x[:n], y[:n], x[n:], clean[n:])


def _score(rows: Rows, output: tuple[np.ndarray, np.ndarray]) -> dict[str, float]:
    figures = score_gaussian(rows, *output)
    return {"error": figures["RMSE"], **figures}
