"""Likelihoods of one number given one latent number, with the derivatives Newton's method needs.

Each states its log density; its slope and a curvature that is never negative follow, in closed
form or, for a likelihood of gpytorch, by automatic differentiation. Expectations over a Gaussian
latent are by Gauss-Hermite quadrature.
"""

import math
from abc import ABC, abstractmethod
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import digamma, expit, gammaln, log_expit, log_ndtr, ndtr, polygamma

from kernelgp.errors import ArgumentError, ArgumentTypeError

__all__ = [
    "Bernoulli",
    "Beta",
    "Gamma",
    "Gaussian",
    "Likelihood",
    "NegativeBinomial",
    "Poisson",
    "Probit",
    "StudentT",
    "Wrapped",
    "read_likelihood",
]

Array = NDArray[np.float64]

_NODES, _WEIGHTS = np.polynomial.hermite_e.hermegauss(64)
_WEIGHTS = _WEIGHTS / _WEIGHTS.sum()
_LOG_2PI = math.log(2 * math.pi)


class Likelihood(ABC):
    """``p(y | f)`` for one latent f.

    Attributes
    ----------
    free : (k,) ndarray
        Logarithms of the parameters that are learned.
    """

    names: ClassVar[tuple[str, ...]] = ()
    link: ClassVar[str] = "identity"

    def __init__(self, free: Array | None = None) -> None:
        self.free = np.zeros(len(self.names)) if free is None else np.asarray(free, np.float64)

    def at(self, free: Array) -> "Likelihood":
        """The same likelihood with other parameters."""
        return type(self)(free)

    @property
    def parameters(self) -> dict[str, float]:
        return {n: float(math.exp(v)) for n, v in zip(self.names, self.free, strict=True)}

    @abstractmethod
    def log_density(self, y: Array, f: Array) -> Array: ...

    @abstractmethod
    def derivatives(self, y: Array, f: Array) -> tuple[Array, Array]:
        """``∂ log p / ∂f`` and a curvature ``-∂² log p / ∂f²`` or its expectation, from 0."""

    @abstractmethod
    def moments(self, f: Array) -> tuple[Array, Array]:
        """Mean and variance of y given f."""

    def check(self, y: Array) -> None:
        """Refuse targets that it gives no density."""
        if not np.isfinite(y).all():
            raise ArgumentError("y", "NaN or infinity", "leave those rows out")

    def start(self, y: Array, offset: Array) -> Array:
        """A latent value for each target to begin from."""
        return np.full_like(y, self.center(y, offset))

    def center(self, y: Array, offset: Array) -> float:
        """A constant for the latent mean: where the mean of y would be."""
        mean = max(float(np.average(y)), 1e-8)
        if self.link == "log":
            return math.log(mean / float(np.exp(offset).mean()))
        return mean

    def expect(self, mean: Array, variance: Array, offset: Array) -> tuple[Array, Array]:
        """Mean and variance of y where ``f ~ N(mean, variance)``, by quadrature."""
        f = mean[:, None] + np.sqrt(variance)[:, None] * _NODES + offset[:, None]
        first, second = self.moments(f)
        total = first @ _WEIGHTS
        spread = (second + (first - total[:, None]) ** 2) @ _WEIGHTS
        return total, spread

    def log_predictive(self, y: Array, mean: Array, variance: Array, offset: Array) -> Array:
        """``log ∫ p(y|f) N(f; mean, variance) df``, by quadrature."""
        f = mean[:, None] + np.sqrt(variance)[:, None] * _NODES + offset[:, None]
        logs = self.log_density(np.broadcast_to(y[:, None], f.shape), f)
        top = logs.max(axis=1)
        return top + np.log(np.exp(logs - top[:, None]) @ _WEIGHTS)

    def __repr__(self) -> str:
        inside = ", ".join(f"{n}={v:.4g}" for n, v in self.parameters.items())
        return f"{type(self).__name__}({inside})"


class Gaussian(Likelihood):
    """``y = f + e``, the noise of one variance."""

    names = ("noise",)

    def log_density(self, y: Array, f: Array) -> Array:
        noise = math.exp(self.free[0])
        return -0.5 * ((y - f) ** 2 / noise + self.free[0] + _LOG_2PI)

    def derivatives(self, y: Array, f: Array) -> tuple[Array, Array]:
        precision = math.exp(-self.free[0])
        return precision * (y - f), np.full_like(f, precision)

    def moments(self, f: Array) -> tuple[Array, Array]:
        return f, np.full_like(f, math.exp(self.free[0]))

    def log_predictive(self, y: Array, mean: Array, variance: Array, offset: Array) -> Array:
        total = variance + math.exp(self.free[0])
        return -0.5 * ((y - mean - offset) ** 2 / total + np.log(total) + _LOG_2PI)

    def center(self, y: Array, offset: Array) -> float:
        return float(np.mean(y - offset))


class StudentT(Likelihood):
    """``y = f + scale t``, t of `df` degrees of freedom; expected curvature."""

    names = ("scale", "df")

    def _unpack(self) -> tuple[float, float]:
        # Below 2 there is no variance, and the tails take everything.
        return math.exp(self.free[0]), 1.0 + math.exp(self.free[1])

    @property
    def parameters(self) -> dict[str, float]:
        return dict(zip(self.names, self._unpack(), strict=True))

    def log_density(self, y: Array, f: Array) -> Array:
        scale, df = self._unpack()
        norm = gammaln((df + 1) / 2) - gammaln(df / 2) - 0.5 * math.log(df * math.pi)
        z = (y - f) / scale
        return norm - math.log(scale) - (df + 1) / 2 * np.log1p(z**2 / df)

    def derivatives(self, y: Array, f: Array) -> tuple[Array, Array]:
        scale, df = self._unpack()
        r = y - f
        slope = (df + 1) * r / (df * scale**2 + r**2)
        return slope, np.full_like(f, (df + 1) / ((df + 3) * scale**2))

    def moments(self, f: Array) -> tuple[Array, Array]:
        scale, df = self._unpack()
        variance = scale**2 * df / (df - 2) if df > 2 else math.inf
        return f, np.full_like(f, variance)

    def center(self, y: Array, offset: Array) -> float:
        return float(np.median(y - offset))


class Bernoulli(Likelihood):
    """0 or 1, by a logistic link."""

    link = "logit"

    def check(self, y: Array) -> None:
        if not np.isin(y, (0.0, 1.0)).all():
            raise ArgumentError("y", f"values such as {y[~np.isin(y, (0, 1))][0]:g}", "give 0 or 1")

    def log_density(self, y: Array, f: Array) -> Array:
        return log_expit(np.where(y > 0, f, -f))

    def derivatives(self, y: Array, f: Array) -> tuple[Array, Array]:
        p = expit(f)
        return y - p, p * (1 - p)

    def moments(self, f: Array) -> tuple[Array, Array]:
        p = expit(f)
        return p, p * (1 - p)

    def center(self, y: Array, offset: Array) -> float:  # noqa: ARG002 - small beside it
        p = float(np.clip(np.mean(y), 1e-3, 1 - 1e-3))
        return math.log(p / (1 - p))


class Probit(Bernoulli):
    """0 or 1, by the normal distribution function."""

    link = "probit"

    def log_density(self, y: Array, f: Array) -> Array:
        return log_ndtr(np.where(y > 0, f, -f))

    def derivatives(self, y: Array, f: Array) -> tuple[Array, Array]:
        sign = np.where(y > 0, 1.0, -1.0)
        z = sign * f
        ratio = np.exp(-0.5 * (z**2 + _LOG_2PI) - log_ndtr(z))
        return sign * ratio, ratio * (z + ratio)

    def moments(self, f: Array) -> tuple[Array, Array]:
        p = ndtr(f)
        return p, p * (1 - p)


class Poisson(Likelihood):
    """Counts of mean ``exp(f)``."""

    link = "log"

    def check(self, y: Array) -> None:
        _check_counts(y)

    def log_density(self, y: Array, f: Array) -> Array:
        return y * f - _exp(f) - gammaln(y + 1)

    def derivatives(self, y: Array, f: Array) -> tuple[Array, Array]:
        rate = _exp(f)
        return y - rate, rate

    def moments(self, f: Array) -> tuple[Array, Array]:
        return _exp(f), _exp(f)

    def expect(self, mean: Array, variance: Array, offset: Array) -> tuple[Array, Array]:
        first = _exp(mean + offset + variance / 2)
        return first, first + first**2 * np.expm1(variance)


class NegativeBinomial(Likelihood):
    """Counts of mean ``μ = exp(f)`` and variance ``μ + μ² / size``; expected curvature."""

    names = ("size",)
    link = "log"

    def check(self, y: Array) -> None:
        _check_counts(y)

    def log_density(self, y: Array, f: Array) -> Array:
        size, rate = math.exp(self.free[0]), _exp(f)
        norm = gammaln(y + size) - gammaln(size) - gammaln(y + 1)
        total = np.log(size + rate)
        return norm + size * (self.free[0] - total) + y * (f - total)

    def derivatives(self, y: Array, f: Array) -> tuple[Array, Array]:
        size, rate = math.exp(self.free[0]), _exp(f)
        share = size / (size + rate)
        return share * (y - rate), share * rate

    def moments(self, f: Array) -> tuple[Array, Array]:
        rate = _exp(f)
        return rate, rate + rate**2 * math.exp(-self.free[0])


class Gamma(Likelihood):
    """Positive numbers of mean ``exp(f)`` and shape `shape`; observed curvature."""

    names = ("shape",)
    link = "log"

    def check(self, y: Array) -> None:
        if not (y > 0).all():
            raise ArgumentError("y", f"a smallest value of {y.min():g}", "give positive numbers")

    def log_density(self, y: Array, f: Array) -> Array:
        shape = math.exp(self.free[0])
        norm = shape * self.free[0] - gammaln(shape)
        return norm + (shape - 1) * np.log(y) - shape * f - shape * y * _exp(-f)

    def derivatives(self, y: Array, f: Array) -> tuple[Array, Array]:
        shape = math.exp(self.free[0])
        ratio = y * _exp(-f)
        return shape * (ratio - 1), shape * ratio

    def moments(self, f: Array) -> tuple[Array, Array]:
        return _exp(f), _exp(2 * f) * math.exp(-self.free[0])


class Beta(Likelihood):
    """Numbers between 0 and 1 of mean ``expit(f)`` and precision `precision`; expected."""

    names = ("precision",)
    link = "logit"

    def __init__(self, free: Array | None = None) -> None:
        super().__init__(np.array([math.log(10.0)]) if free is None else free)

    def check(self, y: Array) -> None:
        if not ((y > 0) & (y < 1)).all():
            given = f"values from {y.min():g} to {y.max():g}"
            raise ArgumentError("y", given, "give numbers between 0 and 1, without both")

    def _shapes(self, f: Array) -> tuple[Array, Array, float]:
        precision = math.exp(self.free[0])
        mean = np.clip(expit(f), 1e-9, 1 - 1e-9)
        return mean * precision, (1 - mean) * precision, precision

    def log_density(self, y: Array, f: Array) -> Array:
        a, b, precision = self._shapes(f)
        norm = gammaln(precision) - gammaln(a) - gammaln(b)
        return norm + (a - 1) * np.log(y) + (b - 1) * np.log1p(-y)

    def derivatives(self, y: Array, f: Array) -> tuple[Array, Array]:
        a, b, precision = self._shapes(f)
        rate = a * b / precision  # precision times d mean / d f
        slope = rate * (np.log(y) - np.log1p(-y) - digamma(a) + digamma(b))
        return slope, rate**2 * (polygamma(1, a) + polygamma(1, b))

    def moments(self, f: Array) -> tuple[Array, Array]:
        mean = expit(f)
        return mean, mean * (1 - mean) / (1 + math.exp(self.free[0]))

    def center(self, y: Array, offset: Array) -> float:  # noqa: ARG002 - small beside it
        mean = float(np.mean(y))
        return math.log(mean / (1 - mean))


class Wrapped(Likelihood):
    """A one-dimensional likelihood of gpytorch, as it is: nothing of it is learned here."""

    def __init__(self, likelihood: Any) -> None:
        super().__init__()
        self.likelihood = likelihood.double()

    def at(self, free: Array) -> "Wrapped":  # noqa: ARG002 - it has none
        return self

    def log_density(self, y: Array, f: Array) -> Array:
        with torch.no_grad():
            return self._log_density(torch.from_numpy(np.array(y)), torch.from_numpy(np.array(f)))

    def _log_density(self, y: Any, f: Any) -> Any:
        found = self.likelihood(f).log_prob(y)
        return found if f.requires_grad else found.numpy()

    def derivatives(self, y: Array, f: Array) -> tuple[Array, Array]:
        at = torch.from_numpy(np.array(f)).requires_grad_()
        value = self._log_density(torch.from_numpy(np.array(y)), at)
        (slope,) = torch.autograd.grad(value.sum(), at, create_graph=True)
        if not slope.requires_grad:
            return slope.numpy(), np.zeros_like(f)
        (curvature,) = torch.autograd.grad(slope.sum(), at)
        # Where the density is not log-concave a positive curvature keeps Newton a descent.
        return slope.detach().numpy(), np.maximum(-curvature.numpy(), 1e-6)

    def moments(self, f: Array) -> tuple[Array, Array]:
        with torch.no_grad():
            found = self.likelihood(torch.from_numpy(np.array(f)))
            return found.mean.numpy(), found.variance.numpy()

    def center(self, y: Array, offset: Array) -> float:  # noqa: ARG002 - its link is unknown
        return 0.0


def _exp(f: Array) -> Array:
    return np.exp(np.clip(f, -700.0, 700.0))


def _check_counts(y: Array) -> None:
    if not ((y >= 0) & (y == np.floor(y))).all():
        bad = y[(y < 0) | (y != np.floor(y))][0]
        raise ArgumentError("y", f"values such as {bad:g}", "give whole numbers from 0")


_NAMED: dict[str, type[Likelihood]] = {
    "gaussian": Gaussian,
    "student_t": StudentT,
    "bernoulli": Bernoulli,
    "probit": Probit,
    "poisson": Poisson,
    "negative_binomial": NegativeBinomial,
    "gamma": Gamma,
    "beta": Beta,
}


def read_likelihood(likelihood: Any) -> Likelihood:
    """A likelihood by name, or one of gpytorch's that is one-dimensional.

    Raises
    ------
    ArgumentError, ArgumentTypeError
        If the name is unknown, or it is neither.

    Examples
    --------
    >>> read_likelihood("poisson")
    Poisson()
    """
    if isinstance(likelihood, str):
        if likelihood not in _NAMED:
            names = ", ".join(map(repr, _NAMED))
            raise ArgumentError("likelihood", repr(likelihood), f"give one of {names}")
        return _NAMED[likelihood]()
    if isinstance(likelihood, Likelihood):
        return likelihood
    if hasattr(likelihood, "expected_log_prob") and hasattr(likelihood, "double"):
        return Wrapped(likelihood)
    remedy = "give a name, such as 'poisson', or a likelihood of gpytorch"
    raise ArgumentTypeError("likelihood", type(likelihood).__name__, remedy)
