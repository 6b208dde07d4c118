import numpy as np
import pytest

from kernelgp.errors import ArgumentError, ConvergenceWarning
from kernelgp.kernels import Matern
from kernelgp.vecchia.blocks import MATERN32
from kernelgp.vecchia.latent_fit import LatentFit, fit_latent
from kernelgp.vecchia.observations import Observations
from kernelgp.vecchia.svi import fit_svi
from tests.vecchia.dense import covariance


@pytest.fixture(scope="module")
def table():
    rng = np.random.default_rng(0)
    x = rng.uniform(size=(100, 2))
    K = covariance(MATERN32, 1.0, x / 0.4) + 1e-8 * np.eye(100)
    f = 0.5 + np.linalg.cholesky(K) @ rng.normal(size=100)
    return x, f, rng.poisson(np.exp(f)).astype(float)


def kernel():
    return 1.0 * Matern(nu=1.5, lengthscale=0.4)


def test_the_bound_rises_above_the_start_and_stays_below_the_evidence(table):
    x, _, y = table
    seen = Observations.of(x, y)
    arguments = seen, "poisson", kernel()
    start = fit_svi(*arguments, n_neighbors=10, ancestors=None, epochs=0, optimizer=None)
    end = fit_svi(
        *arguments,
        n_neighbors=10,
        ancestors=None,
        epochs=12,
        learning_rate=1e-3,
        batch_size=100,
        optimizer=None,
    )
    assert end.log_evidence > start.log_evidence
    laplace = fit_latent(*arguments, n_neighbors=10, optimizer=None)
    # Of a log-concave likelihood Laplace's is near the evidence, which is no less than the bound.
    assert end.log_evidence < laplace.log_evidence + 2
    assert abs(end.log_evidence - laplace.log_evidence) < 5
    np.testing.assert_allclose(end.predict(x)[0], laplace.predict(x)[0], atol=0.25)


def test_parameters_are_learned_and_the_kernel_given_is_not_changed(table):
    x, f, y = table
    given, steps = kernel(), []
    fit = fit_svi(
        Observations.of(x, y),
        "negative_binomial",
        given,
        n_neighbors=8,
        epochs=6,
        on_step=steps.append,
    )
    assert len(steps) == 6
    assert steps[-1].free != steps[0].free
    np.testing.assert_allclose(given.base_kernel.lengthscale.detach(), 0.4)
    found = fit.kernel.base_kernel.lengthscale.detach().numpy()
    np.testing.assert_allclose(np.log(found.item()), steps[-1].free["lengthscale"])
    assert fit.likelihood.parameters["size"] != 1.0
    mean, variance = fit.predict(x)
    assert np.sqrt(np.mean((mean - f) ** 2)) < 0.5
    assert (variance > 0).all()
    assert fit.training_variance().shape == (100,)
    again = LatentFit.from_arrays(fit.arrays(), fit.kernel, fit.likelihood)
    np.testing.assert_allclose(again.predict(x)[1], variance)


def test_variants_have_the_posterior_they_say(table):
    x, _, y = table
    seen = Observations.of(x, y)
    options = {"n_neighbors": 8, "epochs": 2, "optimizer": None}
    mean_field = fit_svi(seen, "poisson", kernel(), variant="diagonal", **options)
    assert not mean_field.latent.factor[:, :-1].any()
    inducing = fit_svi(seen, "poisson", kernel(), variant="global", **options)
    assert inducing.latent.prior.neighbors.max() == 7
    full = fit_svi(seen, "poisson", kernel(), **options)
    assert full.log_evidence > mean_field.log_evidence


def test_a_bound_that_is_not_finite_ends_it_at_the_last_good_state(table):
    x, _, y = table
    seen = Observations.of(x, y)
    with pytest.warns(ConvergenceWarning, match=r"not finite after epoch \d"):
        fit = fit_svi(
            seen, "poisson", kernel(), n_neighbors=8, learning_rate=1e9, optimizer=None, epochs=3
        )
    assert np.isfinite(fit.log_evidence)


def test_what_cannot_be_used_is_refused(table):
    seen = Observations.of(table[0], table[2])
    for name, value in (
        ("variant", "mean_field"),
        ("pattern", "all"),
        ("optimizer", "lbfgs"),
        ("epochs", -1),
        ("batch_size", 0),
        ("learning_rate", 0.0),
    ):
        with pytest.raises(ArgumentError, match=f"{name}: got"):
            fit_svi(seen, "poisson", kernel(), **{name: value})
