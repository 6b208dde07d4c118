"""CO2 at Mauna Loa: a trend, a season whose shape changes, wiggles, and ten years to forecast.

The kernel is that of Rasmussen and Williams, *Gaussian Processes for Machine Learning*, 2006,
section 5.4.3. scikit-learn and the first of ours have the same model (the mean of the targets
taken off, the period fixed) and start from the same numbers; the second learns mean and period.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process import kernels as peer

from experiments.harness import Method, Options, Task
from experiments.regression.data import Rows, read_co2, score_gaussian
from experiments.regression.tables import OURS
from kernelgp import GPRegressor
from kernelgp.kernels import RBF, Periodic, RationalQuadratic, White

__all__ = ["FORECAST", "fitted", "forecast_tasks", "read"]

FORECAST = "Mauna Loa CO2, forecast"


def forecast_tasks(options: Options) -> list[Task]:
    """One task; none without the data."""
    if options.data is None or not (options.data / "series").is_dir():
        return []
    methods = [
        Method(OURS, partial(_ours, same_model=True)),
        Method("scikit-learn", _theirs),
        Method(f"{OURS}, mean and period learned", partial(_ours, same_model=False)),
    ]
    params = {"from year": 1992 if not options.quick else 1968}
    return [
        Task(
            FORECAST,
            partial(_make, options),
            _score,
            methods,
            params,
            repeats=1,
        )
    ]


def read(options: Options) -> Rows:
    """Training and test months; in a quick run only the first twelve years."""
    assert options.data is not None
    if not options.quick:
        return read_co2(options.data, 1992.0)
    rows = read_co2(options.data, 1968.0)
    return Rows(rows.x, rows.y, rows.x_test[:36], rows.y_test[:36])


def _make(options: Options, seed: int) -> Rows:
    del seed
    return read(options)


def fitted(rows: Rows, *, same_model: bool = False) -> GPRegressor:
    """Ours, in years and parts per million less the mean of the targets."""
    season = Periodic(period=1.0, lengthscale=1.3)
    season.raw_period.requires_grad_(not same_model)
    kernel = (
        60.0**2 * RBF(60.0)
        + 2.5**2 * RBF(90.0) * season
        + 0.7**2 * RationalQuadratic(alpha=0.8, lengthscale=1.2)
        + 0.2**2 * RBF(0.2)
        + White(0.2**2)
    )
    model = GPRegressor(kernel, mean="zero" if same_model else "constant", random_state=0)
    return model.fit(rows.x, rows.y - rows.y.mean())


def _ours(rows: Rows, *, same_model: bool) -> Callable[[], Any]:
    def run() -> tuple[np.ndarray, np.ndarray, float]:
        model = fitted(rows, same_model=same_model)
        mean, std = model.predict(rows.x_test, return_std=True)
        return mean + rows.y.mean(), std, model.log_marginal_likelihood_value_

    return run


def _theirs(rows: Rows) -> Callable[[], Any]:
    kernel = (
        60.0**2 * peer.RBF(60.0)
        + 2.5**2 * peer.RBF(90.0) * peer.ExpSineSquared(1.3, 1.0, periodicity_bounds="fixed")
        + 0.7**2 * peer.RationalQuadratic(1.2, 0.8)
        + 0.2**2 * peer.RBF(0.2)
        + peer.WhiteKernel(0.2**2)
    )

    def run() -> tuple[np.ndarray, np.ndarray, float]:
        # Its `normalize_y` would read the variances as shares of that of the targets.
        shift = rows.y.mean()
        model: Any = GaussianProcessRegressor(kernel).fit(rows.x, rows.y - shift)
        mean, std = model.predict(rows.x_test, return_std=True)
        return mean + shift, std, model.log_marginal_likelihood_value_

    return run


def _score(rows: Rows, output: Any) -> dict[str, float]:
    mean, std, evidence = output
    return {**score_gaussian(rows, mean, std), "log evidence": evidence}
