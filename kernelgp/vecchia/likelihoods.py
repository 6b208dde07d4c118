"""Likelihoods of one number given one latent number, with the derivatives Newton's method needs.

Each states its log density; its slope and a curvature that is never negative follow. Expectations
over a Gaussian latent are by Gauss-Hermite quadrature.
"""

import math
from abc import ABC, abstractmethod
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from scipy import stats
from scipy.special import digamma, expit, gammaln, log_expit, log_ndtr, ndtr, polygamma

from kernelgp.errors import ArgumentError

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
]

Array = NDArray[np.float64]

_NODES, _WEIGHTS = np.polynomial.hermite_e.hermegauss(64)
_WEIGHTS = _WEIGHTS / _WEIGHTS.sum()
_FEW_NODES, _FEW_WEIGHTS = np.polynomial.hermite_e.hermegauss(24)
_FEW_WEIGHTS = _FEW_WEIGHTS / _FEW_WEIGHTS.sum()
_MOST_BISECTIONS = 60
_LOG_2PI = math.log(2 * math.pi)
# Normal deviate that half of all lie within.
_QUARTILE = 0.6744897501960817
# Logarithms of parameters are learned within this of where they begin.
_SPAN = 12.0


class Likelihood(ABC):
    """``p(y | f)`` for one latent f.

    Attributes
    ----------
    free : (k,) ndarray
        Logarithms of the parameters that are learned.
    expected : bool
        Whether its curvature is the expected one, over y, since the observed one may be negative.
    """

    name: ClassVar[str] = ""
    names: ClassVar[tuple[str, ...]] = ()
    link: ClassVar[str] = "identity"
    discrete: ClassVar[bool] = False
    expected: ClassVar[bool] = False

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

    @abstractmethod
    def distribution(self, f: Array) -> Any:
        """Of y given f, as scipy has it: with `cdf` and `rvs`."""

    def begin(self, y: Array, offset: Array) -> "Likelihood":  # noqa: ARG002 - no units of y
        """The same likelihood with parameters from which these targets may be learned."""
        return self

    def spread(self, y: Array, offset: Array) -> float:  # noqa: ARG002 - see above
        """How far latent values may lie apart: the unit of their mean."""
        return 1.0

    @property
    def widest(self) -> float:
        """The largest latent variance that a fit may try.

        Behind a link Laplace's evidence is blind to more: far on the flat side of a link every
        label is certain at the mode, however wide the posterior, and labels that can be told
        apart, or of which one is rare, would ask for ever more.
        """
        return {"identity": math.inf, "log": 16.0}.get(self.link, 30.0)

    def limits(self) -> tuple[Array, Array]:
        """Lowest and highest free numbers, of a fit that begins here."""
        return self.free - _SPAN, self.free + _SPAN

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

    def sample(self, f: Array, rng: np.random.Generator) -> Array:
        """A draw of y for each latent value (offset included), of its shape."""
        return np.asarray(self.distribution(f).rvs(size=f.shape, random_state=rng), np.float64)

    def quantiles(self, mean: Array, variance: Array, offset: Array, levels: Array) -> Array:
        """Of y where ``f ~ N(mean, variance)``: shape (k, q) for k levels.

        By bisection on the distribution function, which is averaged by quadrature; of counts
        and labels the least value that reaches the level.
        """
        f = mean[:, None] + np.sqrt(variance)[:, None] * _FEW_NODES + offset[:, None]
        return np.stack([self._quantile(f, float(level)) for level in np.asarray(levels)])

    def _quantile(self, f: Array, level: float) -> Array:
        known = self.distribution(f)
        each = known.ppf(level)
        low, high = each.min(axis=1), each.max(axis=1)
        if self.discrete:
            low = low - 1.0
        for _ in range(_MOST_BISECTIONS):
            middle = (low + high) / 2
            if self.discrete:
                middle = np.floor(middle)
                if (high - low <= 1).all():
                    break
            enough = known.cdf(middle[:, None]) @ _FEW_WEIGHTS >= level
            low, high = np.where(enough, low, middle), np.where(enough, middle, high)
        return high if self.discrete else (low + high) / 2

    def __repr__(self) -> str:
        inside = ", ".join(f"{n}={v:.4g}" for n, v in self.parameters.items())
        return f"{type(self).__name__}({inside})"


class Gaussian(Likelihood):
    """``y = f + e``, the noise of one variance."""

    name = "gaussian"
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

    def distribution(self, f: Array) -> Any:
        return stats.norm(f, math.exp(self.free[0] / 2))

    def begin(self, y: Array, offset: Array) -> "Gaussian":
        return Gaussian(np.array([math.log(0.1 * self.spread(y, offset) ** 2)]))

    def spread(self, y: Array, offset: Array) -> float:
        return float(np.std(y - offset)) or 1.0


class StudentT(Likelihood):
    """``y = f + scale t``, t of `df` degrees of freedom; expected curvature."""

    name = "student_t"
    expected = True
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

    def distribution(self, f: Array) -> Any:
        scale, df = self._unpack()
        return stats.t(df, f, scale)

    def begin(self, y: Array, offset: Array) -> "StudentT":
        return StudentT(np.log([0.3 * self.spread(y, offset), 3.0]))

    def spread(self, y: Array, offset: Array) -> float:
        r = y - offset
        half = float(np.median(np.abs(r - np.median(r))))
        return half / _QUARTILE or float(np.std(r)) or 1.0

    def limits(self) -> tuple[Array, Array]:
        # Between nearly Cauchy's and nearly Gaussian.
        low, high = super().limits()
        return np.array([low[0], math.log(0.05)]), np.array([high[0], math.log(300.0)])


class Bernoulli(Likelihood):
    """0 or 1, by a logistic link."""

    name = "bernoulli"
    discrete = True
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

    def distribution(self, f: Array) -> Any:
        return stats.bernoulli(self.moments(f)[0])


class Probit(Bernoulli):
    """0 or 1, by the normal distribution function."""

    name = "probit"
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

    name = "poisson"
    discrete = True
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

    def distribution(self, f: Array) -> Any:
        return stats.poisson(_exp(f))


class NegativeBinomial(Likelihood):
    """Counts of mean ``μ = exp(f)`` and variance ``μ + μ² / size``; expected curvature."""

    name = "negative_binomial"
    expected = True
    discrete = True
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

    def distribution(self, f: Array) -> Any:
        size = math.exp(self.free[0])
        return stats.nbinom(size, size / (size + _exp(f)))


class Gamma(Likelihood):
    """Positive numbers of mean ``exp(f)`` and shape `shape`; observed curvature."""

    name = "gamma"
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

    def distribution(self, f: Array) -> Any:
        shape = math.exp(self.free[0])
        return stats.gamma(shape, scale=_exp(f) / shape)


class Beta(Likelihood):
    """Numbers between 0 and 1 of mean ``expit(f)`` and precision `precision`; expected."""

    name = "beta"
    expected = True
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

    def distribution(self, f: Array) -> Any:
        a, b, _ = self._shapes(f)
        return stats.beta(a, b)


def _exp(f: Array) -> Array:
    return np.exp(np.clip(f, -700.0, 700.0))


def _check_counts(y: Array) -> None:
    if not ((y >= 0) & (y == np.floor(y))).all():
        bad = y[(y < 0) | (y != np.floor(y))][0]
        raise ArgumentError("y", f"values such as {bad:g}", "give whole numbers from 0")
