"""A search for hyperparameters that the user stops keeps what it has, at every stage of it."""

import numpy as np
import pytest

from kernelgp import GPRegressor
from kernelgp.errors import ConvergenceWarning
from kernelgp.gp import fitting, vecchia_start
from kernelgp.kernels import Matern

RNG = np.random.default_rng(0)
X = RNG.uniform(size=(1000, 3))
Y = np.sin(5 * X[:, 0]) + X[:, 1] + 0.1 * RNG.normal(size=1000)


def stopped(*_args, **_settings):
    raise KeyboardInterrupt


def stopping(function, last):
    """A fit by Vecchia's approximation that is stopped once it has seen `last` steps."""

    def fit(*args, on_step, **settings):
        seen = []

        def step(now):
            on_step(now)
            seen.append(now)
            if len(seen) == last:
                raise KeyboardInterrupt

        return function(*args, on_step=step, **settings)

    return fit


def stop_after_steps(patch):
    patch.setattr(vecchia_start, "fit_vecchia", stopping(vecchia_start.fit_vecchia, 2))


def stop_at_the_curvature(patch):
    patch.setattr(vecchia_start, "curvature", stopped)


def stop_at_all_rows(patch):
    patch.setattr(fitting, "learn", stopped)


@pytest.mark.parametrize("stop", [stop_after_steps, stop_at_the_curvature, stop_at_all_rows])
def test_what_the_start_found_is_kept_and_gone_on_from(stop, monkeypatch):
    model = GPRegressor(random_state=0, warm_start=True)
    begun = GPRegressor(2.0 * Matern(2.5), noise=0.2, optimizer=None).fit(X, Y)
    with monkeypatch.context() as patch:
        stop(patch)
        with pytest.warns(ConvergenceWarning, match="interrupted.* warm_start goes on from it"):
            model.fit(X, Y)
    assert model.report_.optimizer.interrupted
    assert "interrupted before it had seen all rows" in str(model.report_)
    reached = model.log_marginal_likelihood_value_
    assert reached > begun.log_marginal_likelihood_value_
    model.fit(X, Y)
    assert model.report_.optimizer.converged
    assert model.log_marginal_likelihood_value_ >= reached


def test_nothing_found_is_nothing_kept(monkeypatch):
    monkeypatch.setattr(vecchia_start, "fit_vecchia", stopped)
    model = GPRegressor(random_state=0)
    with pytest.raises(KeyboardInterrupt):
        model.fit(X, Y)
    assert not hasattr(model, "kernel_")


def test_an_interrupted_subsample_is_kept(monkeypatch):
    monkeypatch.setattr(fitting, "curvature", stopped)
    model = GPRegressor(random_state=0, likelihood="student_t")
    with pytest.warns(ConvergenceWarning, match="interrupted"):
        model.fit(X, Y)
    assert np.abs(model.predict(X) - Y).mean() < 0.12
