"""The source paper's fit: minibatches of the double-KL bound, Adam on ν, V and all parameters.

It begins at the mode and the incomplete factor that `fit_latent` ends with, and learns what that
only approximates; in return it is slower by orders of magnitude. Two variants stand beside it for
comparison: a diagonal V is the mean field, and columns that are all given the same first points
are an inducing-point method.

References
----------
J. Cao et al., *Variational sparse inverse Cholesky approximation for latent Gaussian processes via
double Kullback-Leibler minimization*, ICML 2023, sections 3 and 4; D. P. Kingma and J. Ba, *Adam*,
ICLR 2015.
"""

import copy
import math
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from kernelgp.errors import ArgumentError, ConvergenceWarning
from kernelgp.vecchia.ancestors import nearest_in_balls
from kernelgp.vecchia.covariances import as_covariance
from kernelgp.vecchia.elbo import DoubleKL, ancestor_sets
from kernelgp.vecchia.evidence import Model, Pattern, evaluate_evidence
from kernelgp.vecchia.latent import Latent, Prior
from kernelgp.vecchia.latent_fit import LatentFit, LatentReport, LatentStep, begin_model
from kernelgp.vecchia.neighbors import nearest_previous
from kernelgp.vecchia.observations import Observations
from kernelgp.vecchia.ordering import maximin_order

__all__ = ["fit_svi"]

Array = NDArray[np.float64]
Index = NDArray[np.int64]

_VARIANTS = ("full", "diagonal", "global")
# Epochs before order, neighbors and the start are found again with what was learned.
_FIRST_EPOCHS = 5
# The learning rate falls to a tenth after this share of the epochs, as in the source.
_MILESTONE = 5 / 7


@dataclass(frozen=True, slots=True)
class _Settings:
    n_neighbors: int
    pattern: str
    rho: float
    variant: str
    ancestors: float | None
    batch_size: int
    learning_rate: float
    learn: bool
    learn_likelihood: bool
    device: torch.device | str | None


def fit_svi(
    observations: Observations,
    likelihood: Any,
    kernel: Any,
    *,
    n_neighbors: int = 30,
    pattern: str = "knn",
    rho: float = 2.0,
    variant: str = "full",
    ancestors: float | None = 2.0,
    epochs: int = 35,
    batch_size: int = 128,
    learning_rate: float = 0.001,
    optimizer: str | None = "adam",
    learn_likelihood: bool = True,
    device: torch.device | str | None = None,
    random_state: int | np.random.Generator | None = 0,
    on_step: Callable[[LatentStep], None] | None = None,
) -> LatentFit:
    """Kernel, likelihood, mean and a Gaussian posterior of most evidence lower bound.

    Parameters
    ----------
    observations, likelihood, kernel
        As for `fit_latent`.
    n_neighbors, pattern, rho
        Of prior and posterior factor, as for `fit_latent`.
    variant : "full", "diagonal" or "global"
        The posterior's factor on the pattern; diagonal; or on the first `n_neighbors` points, as
        is then the prior's.
    ancestors : float or None
        How far ancestors are looked at, in their own maximin distances (`reduced_ancestors`); None
        for all of them, with which the bound is exact, and dear.
    epochs, batch_size, learning_rate
        Of Adam; the rate falls to a tenth after five sevenths of the epochs. The source's rate is
        0.01, with a jitter of 1e-4; at that rate the bound of a smooth process falls.
    optimizer : "adam" or None
        None keeps kernel and likelihood as they are.
    learn_likelihood
        Whether the likelihood's parameters are learned too.
    device
        Where the bound is evaluated. Ordering, neighbors, the start and the likelihood run on the
        CPU.
    random_state
        Of the batches.
    on_step
        Called after every epoch.

    Returns
    -------
    LatentFit
        Its log evidence is the bound.

    Raises
    ------
    ArgumentError, ArgumentTypeError
        If an argument cannot be used, or the likelihood gives a target no density.

    Warns
    -----
    ConvergenceWarning
        If the bound was not finite after an epoch: the state before it is kept.
    """
    began = time.perf_counter()
    settings = _Settings(
        n_neighbors,
        pattern,
        rho,
        variant,
        ancestors,
        batch_size,
        learning_rate,
        optimizer is not None,
        optimizer is not None and learn_likelihood,
        device,
    )
    _check(settings, optimizer, epochs)
    model = begin_model(observations, likelihood, kernel)
    rng = np.random.default_rng(random_state)
    history: list[LatentStep] = []

    def told(step: LatentStep) -> None:
        history.append(step)
        if on_step is not None:
            on_step(step)

    first = min(_FIRST_EPOCHS, epochs // 2) if settings.learn else 0
    finite, ordered = True, observations
    stage = _Stage(observations, model, settings)
    if first:
        finite = stage.run(first, learning_rate, rng, told)
        model = stage.model()
        stage = _Stage(stage.observations, model, settings)
    late = int(_MILESTONE * (epochs - first))
    for count, rate in ((late, learning_rate), (epochs - first - late, learning_rate / 10)):
        finite = finite and stage.run(count, rate, rng, told)
    ordered = stage.observations
    latent, model = stage.latent(), stage.model()
    if not finite:
        warnings.warn(
            f"fit_svi: the bound was not finite after epoch {len(history) + 1}; the last state "
            f"where it was is kept. Give a smaller learning_rate than {learning_rate:g}.",
            ConvergenceWarning,
            stacklevel=2,
        )
    norm = float(np.linalg.norm(history[-1].gradient)) if history else math.nan
    report = LatentReport(
        latent.log_evidence,
        len(history),
        0,
        time.perf_counter() - began,
        finite,
        (),
        norm,
        0,
        tuple(history),
    )
    return LatentFit(model, ordered.points, observations.mean, latent, report)


def _check(settings: _Settings, optimizer: str | None, epochs: int) -> None:
    for name, value, choices in (
        ("variant", settings.variant, _VARIANTS),
        ("pattern", settings.pattern, ("knn", "rho")),
        ("optimizer", optimizer, ("adam", None)),
    ):
        if value not in choices:
            remedy = f"give one of {', '.join(map(repr, choices))}"
            raise ArgumentError(name, repr(value), remedy)
    for name, count, least in (
        ("n_neighbors", settings.n_neighbors, 1),
        ("batch_size", settings.batch_size, 1),
        ("epochs", epochs, 0),
    ):
        if isinstance(count, bool) or not isinstance(count, int) or count < least:
            raise ArgumentError(name, repr(count), f"give a whole number from {least}")
    rate = settings.learning_rate
    if not (isinstance(rate, int | float) and math.isfinite(rate) and rate > 0):
        raise ArgumentError("learning_rate", repr(rate), "give a positive number")


class _Stage:
    """One order and pattern, and the bound on it."""

    def __init__(self, observations: Observations, model: Model, settings: _Settings) -> None:
        scaled = model.covariance.scale(observations.points)
        order, distances = maximin_order(scaled)
        self.observations, scaled = observations.ordered(order), scaled[order]
        points = self.observations.points
        near = _neighbors(scaled, distances, settings)
        H = self.observations.mean(points)
        seen = self.observations.observed
        pattern = Pattern.of(points, near, seen, H)
        start = evaluate_evidence(pattern, model, slopes=False).latent
        self._settings, self._begun = settings, model
        reach = None if settings.variant == "global" else settings.ancestors
        self._bound = DoubleKL(
            model.covariance.kernel,
            model.likelihood,
            points,
            near,
            seen,
            H,
            ancestor_sets(scaled, distances, near, reach),
            start.mode,
            start.factor,
            model.coefficients,
            diagonal=settings.variant == "diagonal",
            device=settings.device,
        )
        self._prior = start.prior
        bound = self._bound
        for given, own in zip(
            model.covariance.kernel.parameters(), bound.kernel.parameters(), strict=True
        ):
            own.requires_grad_(settings.learn and given.requires_grad)
        bound.free.requires_grad_(settings.learn_likelihood)

    def run(
        self,
        epochs: int,
        rate: float,
        rng: np.random.Generator,
        on_epoch: Callable[[LatentStep], None],
    ) -> bool:
        """Adam for so many epochs; whether the bound stayed finite."""
        bound, n = self._bound, len(self.observations.points)
        adam = torch.optim.Adam([p for p in bound.parameters() if p.requires_grad], lr=rate)
        size = min(self._settings.batch_size, n)
        # Where an epoch began that went well: its end has not been looked at.
        good = copy.deepcopy(bound.state_dict())
        for _ in range(epochs):
            begun = copy.deepcopy(bound.state_dict())
            total: Tensor | float = 0.0
            for rows in np.array_split(rng.permutation(n), math.ceil(n / size)):
                adam.zero_grad()
                value = bound.terms(np.sort(rows))
                (-value * (n / len(rows))).backward()
                adam.step()
                total = total + value.detach()
            value = float(total)
            sound = all(bool(p.isfinite().all()) for p in bound.parameters())
            if not (math.isfinite(value) and sound):
                bound.load_state_dict(good)
                return False
            good = begun
            on_epoch(self._step(value))
        return True

    def _step(self, value: float) -> LatentStep:
        model, bound = self.model(), self._bound
        slopes: list[float] = []
        for parameter in (*bound.kernel.parameters(), bound.free, bound.coefficients):
            grad = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
            slopes += (-grad).reshape(-1).tolist()
        return LatentStep(
            value, tuple(slopes), dict(zip(model.names, model.free.tolist(), strict=True))
        )

    def model(self) -> Model:
        """With what was learned so far."""
        bound, begun = self._bound, self._begun
        free = bound.free.detach().cpu().numpy()
        d = self.observations.points.shape[1]
        groups = getattr(begun.covariance, "groups", None)
        kernel = copy.deepcopy(bound.kernel).cpu()
        return Model(
            as_covariance(kernel, d, groups),
            begun.likelihood.at(free) if len(free) else begun.likelihood,
            bound.coefficients.detach().cpu().numpy().copy(),
            begun.unit,
        )

    def latent(self) -> Latent:
        """The posterior, with the whole bound."""
        bound, model, n = self._bound, self.model(), len(self.observations.points)
        total = 0.0
        with torch.no_grad():
            for rows in np.array_split(np.arange(n), math.ceil(n / self._settings.batch_size)):
                total += float(bound.terms(rows))
        points, near = self.observations.points, bound.neighbors
        values, _ = model.covariance.columns(points, points, near)
        mean = self.observations.mean(points) @ model.coefficients
        prior = Prior(near, values, mean, self._prior.starts, self._prior.places)
        nu = bound.mean.detach().cpu().numpy().copy()
        seen = self.observations.observed
        curvature = model.likelihood.derivatives(seen.y, seen.latent(nu))[1]
        precision = seen.gather(curvature, n)
        return Latent(prior, nu, bound.factor, precision, total, 0, learned=True)


def _neighbors(scaled: Array, distances: Array, settings: _Settings) -> Index:
    n, m = len(scaled), settings.n_neighbors
    if settings.variant == "global":
        m = min(m, max(n - 1, 1))
        first = np.broadcast_to(np.arange(m), (n, m))
        return np.where(first < np.arange(n)[:, None], first, -1)
    if settings.pattern == "rho":
        return nearest_in_balls(scaled, distances, settings.rho)
    return nearest_previous(scaled, min(m, max(n - 1, 1)))
