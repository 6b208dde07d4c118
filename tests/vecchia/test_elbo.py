import numpy as np
import pytest
import torch

from kernelgp.kernels import Matern, Periodic
from kernelgp.vecchia.elbo import DoubleKL, ancestor_sets
from kernelgp.vecchia.factor import inverse_cholesky
from kernelgp.vecchia.likelihoods import NegativeBinomial, StudentT
from kernelgp.vecchia.neighbors import nearest_previous
from kernelgp.vecchia.observations import Observations
from kernelgp.vecchia.ordering import maximin_order

N, M = 40, 5
KERNELS = [1.5 * Matern(nu=1.5, lengthscale=[0.4, 0.7]), Matern(nu=2.5) * Periodic(period=2.0)]


def bound(kernel=KERNELS[0], rho=None, *, likelihood=None, diagonal=False):
    rng = np.random.default_rng(0)
    x = rng.uniform(size=(N, 2))
    order, distances = maximin_order(x)
    x = x[order]
    every = np.concatenate([np.arange(N), np.arange(6)])
    y = rng.poisson(3.0, len(every)).astype(float)
    weights, offset = rng.uniform(0.5, 2, len(every)), rng.normal(size=len(every))
    seen = Observations.of(x[every], y, weights=weights, offset=offset, mean="linear")
    place = np.array([np.flatnonzero((seen.points == p).all(axis=1))[0] for p in x])
    seen = seen.ordered(place)
    near = nearest_previous(x, M)
    factor = rng.normal(size=(N, M + 1)) * 0.3
    factor[:, -1] = rng.uniform(1, 2, N)
    return DoubleKL(
        kernel,
        likelihood or NegativeBinomial(np.log([2.0])),
        x,
        near,
        seen.observed,
        seen.mean(x),
        ancestor_sets(x, distances, near, rho),
        rng.normal(size=N),
        factor,
        np.array([0.3, 0.1, -0.2]),
        diagonal=diagonal,
    )


def dense(near, values):
    out = np.diag(values[:, -1])
    for j, a in zip(*np.nonzero(near >= 0), strict=True):
        out[near[j, a], j] = values[j, a]
    return out


def dense_bound(b):
    """E log p - KL(q | p), with dense matrices."""
    with torch.no_grad():
        U = inverse_cholesky(b.kernel, b.points, b.neighbors).to_dense().numpy()
    V, nu = dense(b.neighbors, b.factor), b.mean.detach().numpy()
    covariance = np.linalg.inv(V @ V.T)
    r = nu - b.H.numpy() @ b.coefficients.detach().numpy()
    P = U @ U.T
    gap = np.linalg.slogdet(P @ covariance)[1]
    kl = 0.5 * (np.trace(P @ covariance) + r @ P @ r - N - gap)
    o, nodes = b.observed, np.polynomial.hermite_e.hermegauss(20)
    expected = 0.0
    for y, offset, weight, site in zip(o.y, o.offset, o.weights, o.site, strict=True):
        f = nu[site] + offset + np.sqrt(covariance[site, site]) * nodes[0]
        logs = b.likelihood.at(b.free.detach().numpy()).log_density(np.full(20, y), f)
        expected += weight * logs @ nodes[1] / nodes[1].sum()
    return expected - kl


@pytest.mark.parametrize("kernel", KERNELS, ids=repr)
def test_with_all_ancestors_it_is_the_dense_bound(kernel):
    b = bound(kernel)
    found = float(b.terms(np.arange(N)).detach())
    np.testing.assert_allclose(found, dense_bound(b), rtol=1e-8)


@pytest.mark.parametrize("rho", [None, 1.5])
def test_gradients_of_batches_add_up_to_that_of_all(rho):
    b = bound(rho=rho)
    whole = torch.autograd.grad(b.terms(np.arange(N)), list(b.parameters()))
    order = np.random.default_rng(1).permutation(N)
    parts = [
        torch.autograd.grad(b.terms(part), list(b.parameters()))
        for part in np.array_split(order, 7)
    ]
    for expected, *found in zip(whole, *parts, strict=True):
        assert expected.abs().max() > 0
        torch.testing.assert_close(torch.stack(found).sum(dim=0), expected)


@pytest.mark.parametrize(
    "likelihood", [NegativeBinomial(np.log([2.0])), StudentT(np.log([0.5, 3]))]
)
def test_the_gradient_is_that_of_differences(likelihood):
    b = bound(rho=1.5, likelihood=likelihood)
    rows = np.arange(3, 25)
    found = torch.autograd.grad(b.terms(rows), list(b.parameters()))
    rng = np.random.default_rng(2)
    with torch.no_grad():
        for parameter, slope in zip(b.parameters(), found, strict=True):
            way = torch.from_numpy(np.array(rng.normal(size=parameter.shape)))
            values = []
            for sign in (1, -1):
                parameter += sign * 1e-5 * way
                values.append(float(b.terms(rows)))
                parameter -= sign * 1e-5 * way
            expected = (values[0] - values[1]) / 2e-5
            np.testing.assert_allclose(float((slope * way).sum()), expected, rtol=1e-5, atol=1e-5)


def test_a_diagonal_posterior_has_its_bound_too():
    b = bound(diagonal=True)
    assert not b.factor[:, :-1].any()
    np.testing.assert_allclose(float(b.terms(np.arange(N)).detach()), dense_bound(b), rtol=1e-8)


def test_reduced_sets_hold_the_neighbors_and_come_near():
    few, every = bound(rho=1.5), bound()
    assert few.ancestors.shape[1] < every.ancestors.shape[1]
    for j in range(N):
        assert set(few.neighbors[j]) - {-1} <= set(few.ancestors[j])
