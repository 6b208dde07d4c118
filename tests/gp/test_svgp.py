"""The variational posterior: its bound, where it converges, and how it is learned."""

import pytest
import torch

from kernelgp.errors import ConvergenceWarning
from kernelgp.gp import svgp_learning
from kernelgp.gp.classification import LatentPrior
from kernelgp.gp.inducing import InducingFeatures
from kernelgp.gp.labels import LabeledRows, label_likelihood
from kernelgp.gp.laplace import find_mode
from kernelgp.gp.offset import Offset
from kernelgp.gp.svgp import Moments, SparseLatent, SparsePosterior, fit_posterior
from kernelgp.gp.svgp_learning import SparseOptions, fit_sparse
from kernelgp.kernels import RBF


def make(n=150, n_classes=2, seed=0):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n, 2, generator=generator, dtype=torch.float64)
    score = x[:, 0] + x[:, 1] ** 2 + 0.5 * torch.randn(n, generator=generator).double()
    labels = (score.argsort().argsort() * n_classes) // n
    weights = 0.5 + torch.rand(n, generator=generator, dtype=torch.float64)
    return LabeledRows(x, labels, weights, label_likelihood(n_classes))


def prior_of(data, scale=3.0):
    values = torch.zeros(data.likelihood.n_latents).double()
    return LatentPrior(scale * RBF(lengthscale=1.0), Offset(values, learned=True))


def converge(data, points, prior, **options):
    with torch.no_grad():
        features = InducingFeatures(prior.kernel, points, torch.float64)
        start = SparsePosterior.prior(len(points), data.likelihood.n_latents, points.device)
        settings = {"max_iterations": 200, "tolerance": 1e-13, **options}
        return features, *fit_posterior(
            features, data, prior.offset.constant.detach(), start, **settings
        )


def dense_bound(data, features, precision, shift, offset):
    """The expected log-likelihood less the divergence, with everything by autograd."""
    block = features.block(data.x)
    total = 0.0
    means, variances = [], []
    for one, column in zip(precision, shift.mT, strict=True):
        covariance = torch.linalg.inv(one)
        mean = covariance @ column
        normal = torch.distributions.MultivariateNormal
        total = total - torch.distributions.kl_divergence(
            normal(mean, covariance), normal(torch.zeros_like(mean), torch.eye(len(mean)).double())
        )
        a = block.features
        means.append(a.mT @ mean)
        variances.append(block.variances - (a * a).sum(0) + (a * (covariance @ a)).sum(0))
    mean, variance = torch.stack(means, -1) + offset, torch.stack(variances, -1)
    expected = data.likelihood.expectations(mean, variance, data.labels)
    return total + (data.weights * expected.value).sum()


@pytest.mark.parametrize("n_classes", [2, 3])
def test_posterior_is_where_the_bound_is_flat(n_classes):
    data = make(n_classes=n_classes)
    prior = prior_of(data)
    features, posterior, bound, _ = converge(data, data.x[:15], prior)
    precision = posterior.precision.clone().requires_grad_()
    shift = posterior.shift.clone().requires_grad_()
    value = dense_bound(data, features, precision, shift, prior.offset.constant.detach())
    assert value.item() == pytest.approx(bound, rel=1e-9)
    slopes = torch.autograd.grad(value, (precision, shift))
    # The quasi-random rule of several classes is not quite normal, so its slopes are neither.
    tolerance = 1e-4 if n_classes == 2 else 0.1
    assert max(slope.abs().max().item() for slope in slopes) < tolerance


@pytest.mark.parametrize("n_classes", [2, 4])
def test_bound_rises_with_every_full_step(n_classes):
    data = make(n_classes=n_classes)
    prior = prior_of(data, scale=100.0)
    bounds = [
        converge(data, data.x[:30], prior, max_iterations=steps, tolerance=0.0)[2]
        for steps in range(1, 9)
    ]
    assert bounds == sorted(bounds)


def test_bound_with_all_points_is_below_the_evidence_and_near_it():
    data = make(60)
    prior = prior_of(data)
    bound = converge(data, data.x, prior)[2]
    covariance = prior.covariance(data.x).detach()
    laplace = find_mode(covariance, data, torch.zeros(1).double()).evidence.item()
    assert bound == pytest.approx(laplace, abs=1.0)


def test_latent_moments_are_those_of_the_posterior():
    data = make()
    prior = prior_of(data)
    features, posterior, _, _ = converge(data, data.x[:15], prior)
    latent = SparseLatent(prior.kernel, data.x[:15], posterior, prior.offset.constant.detach())
    mean, covariance = latent.moments(data.x)
    expected = Moments.of(features.block(data.x), posterior)
    assert torch.allclose(mean, expected.mean)
    assert torch.allclose(covariance[:, 0, 0], expected.variance[:, 0])
    assert torch.allclose(latent.mean(data.x), mean)


def options(**changes):
    given = {
        "n_inducing": 20,
        "inducing": "rpcholesky",
        "learn_hyperparameters": True,
        "learn_points": True,
        "from_laplace": True,
        "epochs": 6,
        "starts": 0,
        "max_iterations": 50,
    }
    return SparseOptions(**{**given, **changes})


def fit(data, prior, opts, seed=0):
    return fit_sparse(
        prior,
        data,
        opts,
        x_scale=torch.ones(2).double(),
        generator=torch.Generator().manual_seed(seed),
        visible=False,
    )


def test_gradient_of_a_step_is_that_of_the_bound(monkeypatch):
    data = make()
    prior = prior_of(data)
    _, posterior, _, _ = converge(data, data.x[:12], prior)
    learner = svgp_learning._Learner(
        prior,
        data.x[:12],
        data,
        posterior,
        torch.ones(2).double(),
        torch.Generator().manual_seed(0),
    )
    learner.begin(options())
    monkeypatch.setattr(learner, "_move", lambda: None)
    before = learner.posterior
    learner._step(0)
    found = [p.grad.clone() for p in (*prior.kernel.parameters(), learner.points)]
    again = learner.points.detach().clone().requires_grad_()
    kernel = prior.kernel

    gram = kernel(again).to_dense()
    gram = gram + 1e-8 * 3.0 * torch.eye(12).double()
    root = torch.linalg.cholesky(gram)
    a = torch.linalg.solve_triangular(root, kernel(again, data.x).to_dense(), upper=False)
    mean = a.mT @ before.mean
    s = before.covariance[0]
    variance = 3.0 * torch.exp(kernel.raw_outputscale) - (a * a).sum(0) + (a * (s @ a)).sum(0)
    expected = data.likelihood.expectations(mean, variance.unsqueeze(-1), data.labels)
    loss = -(data.weights * expected.value).sum()
    wanted = torch.autograd.grad(loss, (*kernel.parameters(), again))
    for ours, theirs in zip(found, wanted, strict=True):
        assert torch.allclose(ours, theirs, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("n_classes", [2, 3])
def test_learning_raises_the_bound(n_classes):
    data = make(400, n_classes=n_classes)
    start = prior_of(data, scale=0.3)
    fixed = fit(data, start, options(learn_hyperparameters=False))
    learned = fit(data, prior_of(data, scale=0.3), options(from_laplace=False, epochs=20))
    assert learned.report.bound > fixed.report.bound + 5
    assert learned.report.epochs == 20


def test_points_stay_where_they_were_put():
    data = make(100)
    found = fit(data, prior_of(data), options(inducing=data.x[:10], learn_points=False, epochs=2))
    assert torch.equal(found.points, data.x[:10])


def test_same_seed_same_fit():
    data = make(200)
    one, other = (fit(data, prior_of(data), options(epochs=2), seed=3) for _ in range(2))
    assert one.report.bound == other.report.bound


def test_interrupted_fit_keeps_what_it_found(monkeypatch):
    calls = []

    def interrupted(self):
        calls.append(self)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return -1.0

    monkeypatch.setattr(svgp_learning._Learner, "epoch", interrupted)
    data = make(100)
    with pytest.warns(ConvergenceWarning, match="interrupted in epoch 2 of 6"):
        found = fit(data, prior_of(data), options())
    assert found.report.interrupted
    assert found.report.epochs == 1


def test_far_columns_are_not_rounded_to_float32():
    data = make(50)
    near = svgp_learning._rough(data, torch.ones(2).double())
    far = svgp_learning._rough(
        LabeledRows(data.x + 1e8, data.labels, data.weights, data.likelihood),
        torch.ones(2).double(),
    )
    assert near.x.dtype == torch.float32
    assert far.x.dtype == torch.float64
