"""Hyperparameters and inducing points of a sparse classifier, a batch of rows at a time.

Where they begin decides most of it: the hyperparameters at Laplace's evidence on a subsample,
the posterior at a few full natural-gradient steps from there. Then every batch of rows keeps
what it last asked of the posterior, and replaces only that: the posterior fits all rows at the
cost of one batch, without the noise of sampling, while Adam moves hyperparameters and points on
the derivative of the bound, which is in closed form.

References
----------
Hensman, Matthews and Ghahramani, *Scalable variational Gaussian process classification*, 2015;
Neal and Hinton, *A view of the EM algorithm that justifies incremental, sparse, and other
variants*, 1998 (replacing the statistics of one part at a time); Kingma and Ba, *Adam*, 2015.
"""

import math
import time
import warnings
from dataclasses import dataclass

import torch
from torch import Tensor

from kernelgp.errors import ConvergenceWarning
from kernelgp.gp.classification import LatentPrior, learn_by_laplace, mode_of
from kernelgp.gp.inducing import FeatureBlock, InducingFeatures, choose_inducing_points
from kernelgp.gp.labels import Expectations, LabeledRows
from kernelgp.gp.svgp import (
    Moments,
    Pair,
    SparsePosterior,
    fit_posterior,
    natural_gradient,
)
from kernelgp.progress import progress_bar

__all__ = ["SparseFit", "SparseOptions", "SparseReport", "fit_sparse"]

# Rows of the subsample for Laplace. On california_housing (16 000 rows, 512 points) its fit and
# four full steps alone had a log loss of 0.295; 0.318 where it had 600 rows.
_SUBSAMPLE = 1000
_FIRST = 0.3  # of them, for a first rough look
_BATCH = 2048
_RATE = 0.7  # of a full natural-gradient step while hyperparameters move
_LEARNING_RATE = 0.05  # of logarithms of hyperparameters; points move by 0.4 of it
# What the batches ask is kept in at most so many numbers: 1 GB.
_STATISTICS = 2**27
# A lengthscale this many times the spread of its input is as good as infinite, and learning
# could not bring it back.
_LONG = 20.0
# Steps of the posterior over all rows at the end, and the share of the bound that ends them.
_FULL_STEPS, _RISE = 100, 1e-6


@dataclass(frozen=True, slots=True)
class SparseOptions:
    """What is asked of a sparse fit.

    Attributes
    ----------
    n_inducing
    inducing : str or Tensor (m, d)
        A method of `choose_inducing_points`, or the points.
    learn_hyperparameters, learn_points
    from_laplace
        Whether hyperparameters are first learned on a subsample.
    epochs
        Passes over the rows while hyperparameters are learned.
    starts, max_iterations
        Of the optimizer on the subsample.
    """

    n_inducing: int
    inducing: str | Tensor
    learn_hyperparameters: bool
    learn_points: bool
    from_laplace: bool
    epochs: int
    starts: int
    max_iterations: int


@dataclass(frozen=True, slots=True)
class SparseReport:
    """What a sparse fit did.

    Attributes
    ----------
    bound
        On the log marginal likelihood, at the end.
    epochs
        That were finished.
    iterations
        Full natural-gradient steps at the end.
    seconds
    interrupted
        Whether the user stopped it.
    history : tuple of float
        The mean of the bound over the batches of each epoch.
    """

    bound: float
    epochs: int
    iterations: int
    seconds: float
    interrupted: bool
    history: tuple[float, ...]

    def __str__(self) -> str:
        end = ", interrupted" if self.interrupted else ""
        return (
            f"variational: bound {self.bound:.6g} after {self.epochs} epochs and "
            f"{self.iterations} full steps, {self.seconds:.2f} s{end}"
        )


@dataclass(frozen=True, slots=True, eq=False)
class SparseFit:
    """The posterior, at which points, and how it was found."""

    points: Tensor
    posterior: SparsePosterior
    report: SparseReport


def fit_sparse(
    prior: LatentPrior,
    data: LabeledRows,
    options: SparseOptions,
    *,
    x_scale: Tensor,
    generator: torch.Generator,
    visible: bool | None,
) -> SparseFit:
    """Learn the prior's hyperparameters, the points and the posterior.

    Warns
    -----
    ConvergenceWarning
        If the user interrupts it, what was found so far is kept; or if the posterior's last steps
        still gained.
    """
    begun = time.perf_counter()
    few = data.sample(_affordable(data.likelihood.n_latents), generator)
    if options.learn_hyperparameters and options.from_laplace:
        _begin(prior, few, options, x_scale, generator, visible=visible)
    if isinstance(options.inducing, Tensor):
        points = options.inducing.to(data.x.device, torch.float64)
    else:
        points = choose_inducing_points(
            prior.kernel, data.x, options.n_inducing, options.inducing, generator
        )
    posterior = _project(prior, points, few)
    history: list[float] = []
    interrupted = False
    if options.learn_hyperparameters and options.epochs > 0:
        learner = _Learner(prior, points, _rough(data, x_scale), posterior, x_scale, generator)
        try:
            with progress_bar("fit", total=options.epochs, visible=visible) as bar:
                learner.begin(options)
                for _ in range(options.epochs):
                    history.append(learner.epoch())
                    bar.advance(objective=-history[-1])
        except KeyboardInterrupt:
            interrupted = True
            warnings.warn(
                f"interrupted in epoch {len(history) + 1} of {options.epochs}: what was found so "
                "far is kept, and a fit with warm_start goes on from it.",
                ConvergenceWarning,
                stacklevel=2,
            )
        points, posterior = learner.points.detach(), learner.posterior
    with torch.no_grad():
        features = InducingFeatures(prior.kernel, points, data.x.dtype)
        offset = prior.offset.constant.detach()
        posterior, bound, iterations = fit_posterior(
            features, data, offset, posterior, max_iterations=_FULL_STEPS, tolerance=_RISE
        )
    if iterations == _FULL_STEPS and not interrupted:
        text = (
            f"variational: the bound, {bound:.6g}, still rose by more than {_RISE:.0e} of itself "
            f"after {_FULL_STEPS} full steps: classes that hardly overlap; probabilities near 0 "
            'and 1 may be less sure than they should be (method="laplace" has no such limit).'
        )
        warnings.warn(text, ConvergenceWarning, stacklevel=3)
    seconds = time.perf_counter() - begun
    report = SparseReport(bound, len(history), iterations, seconds, interrupted, tuple(history))
    return SparseFit(points, posterior, report)


def _affordable(n_latents: int) -> int:
    """Rows of the subsample: fewer where a Newton step has several and larger matrices."""
    return _SUBSAMPLE if n_latents == 1 else round(_SUBSAMPLE / (2 * n_latents) ** (1 / 3))


def _begin(
    prior: LatentPrior,
    few: LabeledRows,
    options: SparseOptions,
    x_scale: Tensor,
    generator: torch.Generator,
    *,
    visible: bool | None,
) -> None:
    """Laplace's evidence on a few hundred rows, then on more from there."""
    first = int(_FIRST * len(few))
    for rows, starts in ((first, options.starts), (len(few), 0)):
        learn_by_laplace(
            prior,
            few.take(slice(0, rows)),
            x_scale=x_scale,
            starts=starts,
            max_iterations=min(15, options.max_iterations),
            generator=generator,
            visible=visible,
            warn=False,
        )
        _shorten(prior, x_scale)


@torch.no_grad()
def _shorten(prior: LatentPrior, x_scale: Tensor) -> None:
    """Bring lengthscales back from where their gradient has vanished."""
    for module in prior.kernel.modules():
        raw = getattr(module, "raw_lengthscale", None)
        if raw is None or not raw.requires_grad or hasattr(module, "raw_period"):
            continue
        value = module.lengthscale.detach()
        columns = getattr(module, "columns", None)
        own = x_scale if columns is None else x_scale[list(columns)]
        longest = _LONG * (own if value.shape[-1:] == own.shape else own.max())
        module.lengthscale = torch.minimum(value, longest.to(value))


def _project(prior: LatentPrior, points: Tensor, few: LabeledRows) -> SparsePosterior:
    """What Laplace's approximation on a few rows says of the inducing values."""
    fit = mode_of(prior, few)
    exact = few.double()
    with torch.no_grad():
        features = InducingFeatures(prior.kernel, points, torch.float64)
        block = features.block(exact.x)
        mean = block.features.mT @ (block.features @ fit.dual)
        still = Moments(block.features, mean, torch.zeros_like(mean))
        expected = still.expectations(exact, prior.offset.constant)
        precision, shift = natural_gradient(block, still, expected)
        eye = torch.eye(len(points), dtype=torch.float64, device=points.device)
        return SparsePosterior(precision + eye, shift)


def _rough(data: LabeledRows, x_scale: Tensor) -> LabeledRows:
    """The rows in float32 if it can tell them apart: steps on the way need no more."""
    far = data.x.abs().amax(dim=0) > 1e3 * x_scale.to(data.x)
    return data if bool(far.any()) else data.to(torch.float32)


class _Learner:
    """Posterior, points and hyperparameters on their way, and what each batch last asked for."""

    def __init__(
        self,
        prior: LatentPrior,
        points: Tensor,
        data: LabeledRows,
        posterior: SparsePosterior,
        x_scale: Tensor,
        generator: torch.Generator,
    ) -> None:
        self._prior, self._data, self._generator = prior, data, generator
        self.points, self.posterior = points, posterior
        self._scale = x_scale.to(points)
        self._hyper = prior.hyperparameters(x_scale)
        self._asked: list[Pair] = []
        n, size = len(data), posterior.precision.numel()
        batch = max(_BATCH, math.ceil(n * size / _STATISTICS))
        order = torch.randperm(n, generator=generator).to(data.x.device)
        self._batches = order.split(batch)

    def begin(self, options: SparseOptions) -> None:
        """A few full steps, and the optimizer."""
        offset = self._prior.offset.constant.detach()
        with torch.no_grad():
            features = self._features()
            self.posterior = fit_posterior(
                features, self._data, offset, self.posterior, max_iterations=4, tolerance=1e-3
            )[0]
            for rows in self._batches:
                part = self._data.take(rows)
                block = features.block(part.x)
                moments = Moments.of(block, self.posterior)
                expected = moments.expectations(part, offset)
                self._asked.append(natural_gradient(block, moments, expected))
        eye = torch.eye(len(self.points), dtype=torch.float64, device=self.points.device)
        precisions, shifts = zip(*self._asked, strict=True)
        self._total = (sum(precisions, start=eye), sum(shifts, start=torch.zeros_like(shifts[0])))
        self._vector = self._hyper.vector()
        self.points = self.points.clone().requires_grad_(options.learn_points)
        rates = [_LEARNING_RATE, 0.4 * _LEARNING_RATE]
        leaves = (self._vector, self.points.detach() / self._scale)
        self._adam = torch.optim.Adam(
            [{"params": [t], "lr": rate} for t, rate in zip(leaves, rates, strict=True)],
            betas=(0.9, 0.99),
        )
        self._scaled = leaves[1]
        self._schedule = torch.optim.lr_scheduler.OneCycleLR(
            self._adam,
            max_lr=rates,
            total_steps=max(options.epochs * len(self._batches), 2),
            pct_start=0.15,
            cycle_momentum=False,
        )

    def epoch(self) -> float:
        """One pass over the batches; the mean of their bounds."""
        order = torch.randperm(len(self._batches), generator=self._generator)
        return sum(self._step(i) for i in order.tolist()) / len(order)

    def _step(self, i: int) -> float:
        part = self._data.take(self._batches[i])
        share = len(part) / len(self._data)
        self._hyper.clear_gradient()
        self.points.grad = None
        offset = self._prior.offset.constant
        with torch.enable_grad():
            features = self._features()
            block = features.block(part.x)
        with torch.no_grad():
            moments = Moments.of(block, self.posterior)
            expected = moments.expectations(part, offset)
            bound = expected.value.double().sum() / share - self.posterior.divergence()
            by_features = _by_features(block, moments, expected, self.posterior)
            by_variances = -0.5 * expected.curvature.sum(dim=-1)
            self._follow(i, natural_gradient(block, moments, expected))
        features.backward(block, by_features / -share, by_variances / -share)
        features.finish()
        if offset.requires_grad:
            offset.grad = -expected.gradient.double().sum(dim=0) / share
        self._move()
        return bound.item()

    def _features(self) -> InducingFeatures:
        return InducingFeatures(self._prior.kernel, self.points, self._data.x.dtype)

    def _follow(self, i: int, asked: Pair) -> None:
        """A step of the posterior towards what all batches ask for, one of them anew."""
        for total, new, old in zip(self._total, asked, self._asked[i], strict=True):
            total += new - old
        self._asked[i] = asked
        self.posterior = self.posterior.towards(
            self._total, _RATE * self._data.likelihood.full_step
        )

    def _move(self) -> None:
        """A step of Adam: hyperparameters within their bounds, points in units of the spread."""
        lower, upper = self._hyper.limits()
        self._vector.grad = self._hyper.gradient()
        if self.points.grad is not None:
            self._scaled.grad = self.points.grad * self._scale
        self._adam.step()
        self._schedule.step()
        self._vector.clamp_(lower, upper)
        self._hyper.assign(self._vector)
        with torch.no_grad():
            self.points.copy_(self._scaled * self._scale)


def _by_features(
    block: FeatureBlock, moments: Moments, expected: Expectations, posterior: SparsePosterior
) -> Tensor:
    """The derivative of the expected log-likelihood by A, shape (m, b).

    The mean is ``Aᵀ m`` and the variance ``k - |A|² + Aᵀ S A`` for every latent function.
    """
    features = block.features
    found = posterior.mean.to(features) @ expected.gradient.mT
    for curvature, projected in zip(expected.curvature.mT, moments.projected, strict=True):
        found += curvature * (features - projected)
    return found
