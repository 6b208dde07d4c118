"""Likelihoods by name, and those of gpytorch as they are, by automatic differentiation."""

import copy
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from kernelgp.errors import ArgumentError, ArgumentTypeError
from kernelgp.vecchia.likelihoods import (
    Bernoulli,
    Beta,
    Gamma,
    Gaussian,
    Likelihood,
    NegativeBinomial,
    Poisson,
    Probit,
    StudentT,
)

__all__ = ["Wrapped", "read_likelihood"]

Array = NDArray[np.float64]

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


class Wrapped(Likelihood):
    """A one-dimensional likelihood of gpytorch; its parameters that require a gradient are learned.

    Parameters
    ----------
    likelihood : gpytorch likelihood
        Copied, to float64.
    """

    _DRAWS: ClassVar[int] = 200

    def __init__(self, likelihood: Any) -> None:
        self.likelihood = copy.deepcopy(likelihood).double()
        each = [p.detach().cpu().numpy().reshape(-1) for _, p in self._learned()]
        super().__init__(np.concatenate([np.empty(0), *each]))

    def _learned(self) -> list[tuple[str, Tensor]]:
        return [(n, p) for n, p in self.likelihood.named_parameters() if p.requires_grad]

    def at(self, free: Array) -> "Wrapped":
        out, place = Wrapped(self.likelihood), 0
        with torch.no_grad():
            for _, parameter in out._learned():
                part = np.array(free[place : place + parameter.numel()])
                parameter.copy_(torch.from_numpy(part).reshape(parameter.shape))
                place += parameter.numel()
        out.free = np.array(free)
        return out

    @property
    def parameters(self) -> dict[str, float]:
        """As its constraints say; raw where there is none."""
        out = {}
        for name, raw, constraint in self.likelihood.named_parameters_and_constraints():
            value = (raw if constraint is None else constraint.transform(raw)).detach()
            short = name.rsplit(".", 1)[-1].removeprefix("raw_")
            out |= {short: float(value)} if value.numel() == 1 else {}
        return out

    def log_density(self, y: Array, f: Array) -> Array:
        with torch.no_grad():
            return self.likelihood(_tensor(f)).log_prob(_tensor(y)).numpy()

    def derivatives(self, y: Array, f: Array) -> tuple[Array, Array]:
        at = _tensor(f).requires_grad_()
        value = self.likelihood(at).log_prob(_tensor(y))
        (slope,) = torch.autograd.grad(value.sum(), at, create_graph=True)
        curvature = torch.zeros_like(slope)
        if slope.requires_grad:
            (curvature,) = torch.autograd.grad(-slope.sum(), at)
        found = curvature.numpy()
        # Where the density is not log-concave the expected curvature is what descends.
        if not (found > 0).all():
            found = self._expected(f)
        return slope.detach().numpy(), found

    def _expected(self, f: Array) -> Array:
        """The variance of the slope, from draws of y that are the same at every call."""
        at = _tensor(f)[:, None].expand(-1, self._DRAWS).clone().requires_grad_()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            known = self.likelihood(at)
            y = known.sample()
        (slope,) = torch.autograd.grad(known.log_prob(y).sum(), at)
        return np.maximum(slope.square().mean(dim=1).numpy(), 1e-10)

    def moments(self, f: Array) -> tuple[Array, Array]:
        with torch.no_grad():
            found = self.likelihood(_tensor(f))
            return found.mean.numpy(), found.variance.numpy()

    def center(self, y: Array, offset: Array) -> float:
        """The constant latent value of most density."""
        grid = np.concatenate([np.linspace(-5, 5, 21), np.quantile(y, np.linspace(0.1, 0.9, 9))])
        with np.errstate(all="ignore"):
            values = [self.log_density(y, np.full_like(y, c) + offset).sum() for c in grid]
        return float(grid[int(np.nanargmax(values))])

    def distribution(self, f: Array) -> Any:
        with torch.no_grad():
            known = self.likelihood(_tensor(f))

        def cdf(y: Array) -> Array:
            return known.cdf(torch.from_numpy(np.array(y))).numpy()

        def ppf(level: float) -> Array:
            return known.icdf(torch.tensor(level, dtype=torch.float64)).numpy()

        def rvs(size: tuple[int, ...], random_state: np.random.Generator) -> Array:
            del size
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(int(random_state.integers(2**62)))
                return known.sample().numpy()

        return SimpleNamespace(cdf=cdf, ppf=ppf, rvs=rvs)

    def _quantile(self, f: Array, level: float) -> Array:
        try:
            return super()._quantile(f, level)
        except NotImplementedError as error:
            given = f"{type(self.likelihood).__name__}, whose distribution has no quantiles"
            raise ArgumentError("likelihood", given, "draw samples and take theirs") from error


def _tensor(values: Array) -> Tensor:
    return torch.from_numpy(np.array(values, np.float64))
