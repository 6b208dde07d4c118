"""Vecchia's evidence against the dense one, and the start it gives."""

import math

import numpy as np
import pytest
import torch

from kernelgp import GPRegressor
from kernelgp.errors import ArgumentError
from kernelgp.estimators import regression_fit
from kernelgp.gp import dense
from kernelgp.gp.dense import DenseCovariance, dense_evidence
from kernelgp.gp.regression import Mean, Regression
from kernelgp.gp.vecchia import VecchiaCovariance
from kernelgp.kernels import RBF, Matern, Periodic, RationalQuadratic


def make(n=40, d=2, k=1, seed=0):
    generator = torch.Generator().manual_seed(seed)
    x = torch.rand(n, d, generator=generator, dtype=torch.float64)
    x[1], x[2] = x[0], x[0]
    return x, torch.randn(n, k, generator=generator, dtype=torch.float64)


KERNELS = {
    "one lengthscale": lambda: 1.5 * Matern(2.5, lengthscale=0.4),
    "one for each input": lambda: 2.0 * (0.7 * Matern(1.5, lengthscale=[0.4, 1.2])),
    "alpha": lambda: 0.8 * RationalQuadratic(alpha=1.3, lengthscale=[0.4, 0.3]),
    "no scale, some columns": lambda: RBF(lengthscale=0.3, active_dims=(1,)),
}


@pytest.mark.parametrize("name", KERNELS)
@pytest.mark.parametrize("case", ["plain", "linear mean", "two outputs", "a variance a row"])
def test_given_all_rows_before_it_evidence_and_gradient_are_the_dense_ones(name, case):
    x, y = make(k=2 if case == "two outputs" else 1)
    kernel = KERNELS[name]()
    mean = Mean("linear" if case == "linear mean" else "constant", x.mean(dim=0), x.std(dim=0))
    noise = torch.tensor(0.3, dtype=torch.float64, requires_grad=True)
    spread = torch.ones((), dtype=torch.float64)
    if case == "a variance a row":
        spread = torch.linspace(0.5, 2.0, len(x), dtype=torch.float64)
    inputs = [noise, *kernel.parameters()]
    values, grads = [], []
    for covariance in (DenseCovariance(x, 1.7), VecchiaCovariance(x, 1.7, 3, len(x))):
        scale = torch.full((y.shape[-1],), math.sqrt(1.7), dtype=torch.float64)
        value = Regression(x, y, mean, covariance, scale, 1.7).log_evidence(kernel, noise * spread)
        values.append(value)
        grads.append(torch.autograd.grad(value, inputs))
    torch.testing.assert_close(values[1], values[0], rtol=1e-9, atol=1e-8)
    torch.testing.assert_close(grads[1], grads[0], rtol=1e-6, atol=1e-6)


def test_a_kernel_that_is_not_compiled_is_refused_by_name():
    x, y = make()
    with pytest.raises(ArgumentError, match="Periodic"):
        VecchiaCovariance(x).evidence(Periodic(), torch.tensor(0.1).double(), y, y[:, :0])


def test_slopes_by_probes_are_those_of_the_inverse_within_their_error():
    x, y = make(n=300)
    kernel, noise = 1.2 * Matern(2.5, lengthscale=[0.4, 0.8]), torch.tensor(0.1).double()
    noise.requires_grad = True
    basis = torch.ones(len(x), 1, dtype=torch.float64)
    inputs = [noise, *kernel.parameters()]
    grads, values = [], []
    for seed in (None, *range(20)):
        found = dense_evidence(DenseCovariance(x)._matrix(kernel), noise, y, basis, seed)
        value = -0.5 * (found.quad.sum() + found.logdet)
        values.append(value.item())
        grads.append(torch.cat([g.flatten() for g in torch.autograd.grad(value, inputs)]))
    assert values[0] == values[1]
    estimates = torch.stack(grads[1:])
    error = estimates.std(dim=0) / math.sqrt(len(estimates))
    assert (estimates.std(dim=0) > 0).all()
    assert ((estimates.mean(dim=0) - grads[0]).abs() < 5 * error).all()


def data(n, d=3, noise=0.1, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.uniform(size=(n, d))
    return X, np.sin(6 * X[:, 0]) + X[:, 1] ** 2 + noise * rng.normal(size=n)


def test_the_start_leads_to_the_optimum_that_subsamples_lead_to(monkeypatch):
    X, y = data(1100)
    started = GPRegressor(random_state=0).fit(X, y)
    monkeypatch.setattr(regression_fit, "_SMALLEST_STARTED", 10**6)
    plain = GPRegressor(random_state=0).fit(X, y)
    gap = started.log_marginal_likelihood_value_ - plain.log_marginal_likelihood_value_
    assert gap > -2e-2
    assert started.report_.optimizer.converged
    assert started.report_.optimizer.evaluations <= 12
    np.testing.assert_allclose(started.noise_, plain.noise_, rtol=0.02)


@pytest.mark.parametrize("offset", [0.0, 1e8])
def test_the_start_keeps_what_is_not_learned(offset):
    X, y = data(1050, seed=1)
    kernel = Matern(nu=2.5, lengthscale=[0.5, 0.5, 2.0])
    gp = GPRegressor(kernel, noise=0.01, random_state=0).fit(X, y + offset)
    assert gp.theta_names_ == ("lengthscale[0]", "lengthscale[1]", "lengthscale[2]")
    assert gp.noise_ == 0.01
    assert gp.score(X, y + offset) > 0.9


def test_too_little_memory_is_told_in_rows(monkeypatch):
    def exhausted(*_):
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 TB")

    X, y = data(60)
    gp = GPRegressor(1.0 * RBF(0.3), noise=0.1, optimizer=None, method="cholesky")
    monkeypatch.setattr(dense, "factorise", exhausted)
    with pytest.raises(MemoryError, match=r"of 60 rows on cpu .* rows fit"):
        gp.fit(X, y)
    monkeypatch.undo()
    gp.fit(X, y)
    monkeypatch.setattr(dense, "lower_inverse", exhausted)
    with pytest.raises(MemoryError, match="60 rows"):
        gp.log_marginal_likelihood(gp.theta_, eval_gradient=True)


def fitted_at(X, y, method, **arguments):
    kernel = 1.3 * Matern(nu=2.5, lengthscale=[0.5, 0.6, 0.8])
    given = {"noise": 0.02, "optimizer": None} | arguments
    return GPRegressor(kernel, method=method, random_state=0, **given).fit(X, y)


@pytest.mark.parametrize("outputs", [1, 2])
def test_where_all_rows_are_near_every_answer_is_the_exact_one(outputs):
    X, y = data(90, seed=2)
    X[5] = X[4]
    y = y if outputs == 1 else np.stack([y, -2 * y + X[:, 2]], axis=-1)
    new = np.random.default_rng(5).uniform(size=(15, 3))
    near, exact = (fitted_at(X, y, method) for method in ("vecchia", "cholesky"))
    assert near.report_.method == "vecchia"
    for latent in (False, True):
        for a, b in zip(
            near.predict(new, return_std=True, latent=latent),
            exact.predict(new, return_std=True, latent=latent),
            strict=True,
        ):
            np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(
        near.predict(new, return_cov=True)[1], exact.predict(new, return_cov=True)[1], atol=1e-6
    )
    drawn = near.sample_y(new, 3, random_state=1)
    assert drawn.shape == exact.sample_y(new, 3).shape
    np.testing.assert_allclose(near.sample_y(new[4:], 3, random_state=1), drawn[4:], atol=1e-8)
    if outputs == 1:
        one, other = near.leave_one_out(), exact.leave_one_out()
        np.testing.assert_allclose(one.mean, other.mean, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(one.std, other.std, rtol=1e-5, atol=1e-6)


def test_draws_given_the_rows_near_by_have_the_posterior_s_moments():
    X, y = data(200, seed=3)
    near = fitted_at(X, y, "vecchia", noise=0.2)
    new = np.random.default_rng(6).uniform(size=(6, 3))
    mean, std = near.predict(new, return_std=True, latent=True)
    drawn = near.sample_y(new, 2000, random_state=0, n_features=2048)
    np.testing.assert_allclose(drawn.mean(axis=1), mean, atol=5 * std.max() / 2000**0.5)
    np.testing.assert_allclose(drawn.std(axis=1), std, rtol=0.2)


def test_a_fit_by_neighbors_is_as_good_as_an_exact_one_and_is_kept(tmp_path):
    X, y = data(1300, seed=4)
    new, truth = data(300, seed=5)
    near = GPRegressor(method="vecchia", random_state=0).fit(X, y)
    exact = GPRegressor(random_state=0).fit(X, y)
    assert near.report_.optimizer.converged
    assert "Vecchia" in str(near.report_)
    assert "Vecchia" not in str(exact.report_)
    assert near.score(new, truth) > exact.score(new, truth) - 2e-3
    np.testing.assert_allclose(near.noise_, exact.noise_, rtol=0.1)
    value, gradient = near.log_marginal_likelihood(near.theta_, eval_gradient=True)
    assert value == pytest.approx(near.log_marginal_likelihood_value_, rel=1e-9)
    assert np.isfinite(gradient).all()
    near.save(tmp_path / "near.gp")
    again = GPRegressor.load(tmp_path / "near.gp")
    np.testing.assert_array_equal(again.predict(new), near.predict(new))
    near.partial_fit(new, truth)
    assert near.report_.n_rows == 1600
    with pytest.raises(ArgumentError, match=r'method: got "vecchia"; fit with'):
        near.gpytorch_model()


def test_weights_and_variances_a_row_reach_the_neighbors():
    X, y = data(120, seed=6)
    weights = np.random.default_rng(7).integers(1, 4, size=len(y)).astype(float)
    variances = np.random.default_rng(8).uniform(0.01, 0.1, size=len(y))
    new = np.random.default_rng(9).uniform(size=(8, 3))
    kernel = 1.3 * Matern(nu=2.5, lengthscale=0.6)
    answers = []
    for method in ("vecchia", "cholesky"):
        gp = GPRegressor(kernel, noise=variances, optimizer=None, method=method)
        gp.fit(X, y, sample_weight=weights)
        answers.append((gp.predict(new), gp.log_marginal_likelihood_value_))
    np.testing.assert_allclose(answers[0][0], answers[1][0], rtol=1e-3, atol=1e-3)


def test_what_neighbors_cannot_do_is_refused_by_name():
    X, y = data(40)
    with pytest.raises(ArgumentError, match=r"kernel: got .*Periodic.* with method=.vecchia"):
        GPRegressor(Periodic(), method="vecchia").fit(X, y)
    with pytest.raises(ArgumentError, match="student_t"):
        GPRegressor(method="vecchia", likelihood="student_t").fit(X, y)
