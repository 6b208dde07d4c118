"""The hyperparameters of some modules as one float64 vector, with bounds, names and priors.

A positive number of ours is learned as ``log(value / reference)``, and gpytorch's own parameters
behind the transform of their constraint: an optimiser sees one vector of unbounded scale. Bounds
are on values, in the user's units; a parameter whose gradient is switched off stays as it is.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import gpytorch
import torch
from torch import Tensor
from torch.nn import Module, Parameter

from kernelgp.kernels.positive import ExactPositive

__all__ = ["Bounds", "Hyperparameters", "relative_bounds"]

Bounds = Callable[[str, Tensor], tuple[Tensor, Tensor]]
"""From the name and the value of a positive hyperparameter to its lowest and highest value."""

# A value is at a bound of gpytorch's own constraints if it is as near as this, relatively: behind
# a sigmoid or softplus it never gets there.
_NEAR = 1e-3
# An input does not matter if its lengthscale is within this factor of its bound: of
# `relative_bounds`, a hundred times the spread of the input and more.
_LONG = 100.0


def relative_bounds(x_scale: Tensor, y_scale: float) -> Bounds:
    """Bounds wide enough for any sensible data, relative to the spread of inputs and targets.

    Parameters
    ----------
    x_scale : Tensor, shape (d,)
        Standard deviation of every input.
    y_scale
        That of the targets.
    """
    typical = x_scale.double().log().mean().exp()

    def bounds(name: str, value: Tensor) -> tuple[Tensor, Tensor]:
        low, high = torch.full_like(value, 1e-6), torch.full_like(value, 1e6)
        short = name.rsplit(".", 1)[-1]
        if short in ("lengthscale", "period"):
            own = x_scale.to(value) if value.shape[-1:] == x_scale.shape else typical
            return 1e-4 * own * torch.ones_like(value), 1e4 * own * torch.ones_like(value)
        if short == "outputscale":
            return 1e-2 * low * y_scale**2, 1e2 * high * y_scale**2
        if short == "excess_degrees_of_freedom":
            return 5e4 * low, 1e-3 * high
        if short in ("noise", "gradient_noise"):
            return low * y_scale**2, 1e-3 * high * y_scale**2
        return low, high

    return bounds


@dataclass(frozen=True, slots=True, eq=False)
class _Entry:
    """One parameter: where it lives, and which of its numbers are learned."""

    name: str
    module: Module
    raw: Parameter
    constraint: Any
    free: Tensor
    shift: float

    @property
    def is_log(self) -> bool:
        return isinstance(self.constraint, ExactPositive)

    def value(self) -> Tensor:
        raw = self.raw.detach()
        return raw if self.constraint is None else self.constraint.transform(raw)

    def coordinate(self, raw: Tensor) -> Tensor:
        """What an optimiser sees of raw parameters: ``log((value + shift) / reference)``."""
        if not self.shift:
            return raw
        return (raw.exp() + self.shift / self.constraint.reference).log()

    def uncoordinate(self, seen: Tensor) -> Tensor:
        if not self.shift:
            return seen
        share = self.shift / self.constraint.reference
        # From one below the least: the value itself may be as small as rounding.
        return (seen.exp() - share).clamp(min=torch.finfo(torch.float64).tiny).log()

    def rate(self) -> Tensor:
        """Derivative of a raw parameter by its coordinate."""
        return 1 + self.shift / self.value() if self.shift else torch.ones_like(self.raw)


class Hyperparameters:
    """Everything that is learned in some modules, as one vector.

    Parameters
    ----------
    modules : mapping of str to torch Module
        Kernels, likelihoods, means, networks. The keys begin the names of the parameters; an
        empty key adds nothing.
    bounds : callable, optional
        From the name and the value of a positive hyperparameter of ours to its lowest and its
        highest value; such as `relative_bounds`. Without it, a factor of 1e6 either way.
    noise_shift
        Below this the vector is nearly linear in the noise, no longer logarithmic: the search
        for a noise that is not there would be endless.

    Examples
    --------
    >>> from kernelgp.kernels import RBF
    >>> learned = Hyperparameters({"": 2.0 * RBF(lengthscale=[0.5, 1.0])})
    >>> learned.names
    ('outputscale', 'lengthscale[0]', 'lengthscale[1]')
    >>> learned.theta().exp()
    tensor([2.0000, 0.5000, 1.0000], dtype=torch.float64)
    """

    def __init__(
        self,
        modules: Mapping[str, Module],
        bounds: Bounds | None = None,
        *,
        noise_shift: float = 0.0,
    ) -> None:
        self.modules = dict(modules)
        self._bounds = bounds or _factor_of_a_million
        self._entries = list(_entries(self.modules, noise_shift))

    def __len__(self) -> int:
        return sum(int(entry.free.sum()) for entry in self._entries)

    @property
    def names(self) -> tuple[str, ...]:
        """One for each number of the vector, such as "lengthscale[1]"."""
        return tuple(name for entry in self._entries for name in _numbered(entry))

    def vector(self) -> Tensor:
        """The parameters as they are now, shape (p,), float64: raw but for a noise."""
        return self._join(
            entry.coordinate(entry.raw.detach())[entry.free] for entry in self._entries
        )

    def assign(self, vector: Tensor) -> None:
        """Set the parameters in place; what other code holds of them sees it."""
        start = 0
        with torch.no_grad():
            for entry in self._entries:
                count = int(entry.free.sum())
                seen = entry.coordinate(entry.raw.detach())
                seen[entry.free] = vector[start : start + count].to(entry.raw)
                entry.raw[entry.free] = entry.uncoordinate(seen)[entry.free]
                start += count

    def gradient(self) -> Tensor:
        """The gradient by `vector`, from every ``.grad``; shape (p,), float64."""
        return self._join((_gradient(entry) * entry.rate())[entry.free] for entry in self._entries)

    def theta_gradient(self) -> Tensor:
        """The gradient by `theta`, from every ``.grad``; shape (p,), float64."""
        return self._join(_gradient(entry)[entry.free] for entry in self._entries)

    def clear_gradient(self) -> None:
        """Forget every ``.grad``."""
        for entry in self._entries:
            entry.raw.grad = None

    def theta(self) -> Tensor:
        """The logarithms of positive hyperparameters, and the others as they are; shape (p,)."""
        return self._join(
            entry.value()[entry.free].log() if entry.is_log else entry.raw.detach()[entry.free]
            for entry in self._entries
        )

    def assign_theta(self, theta: Tensor) -> None:
        """Set the hyperparameters to those of `theta`."""
        start = 0
        with torch.no_grad():
            for entry in self._entries:
                count = int(entry.free.sum())
                values = theta[start : start + count].to(entry.raw)
                if entry.is_log:
                    values = values - entry.constraint.reference[entry.free].log()
                entry.raw[entry.free] = values
                start += count

    def limits(self) -> tuple[Tensor, Tensor]:
        """The lowest and highest raw parameters, (p,) each; infinite where nothing bounds them."""
        low, high = [], []
        for entry in self._entries:
            raw = entry.raw.detach()[entry.free]
            if not entry.is_log:
                low.append(torch.full_like(raw, -torch.inf))
                high.append(torch.full_like(raw, torch.inf))
                continue
            value = entry.value()
            least, most = (t.expand_as(value)[entry.free] for t in self._bounds(entry.name, value))
            reference = entry.constraint.reference[entry.free]
            # A start outside is the user's own choice: the bounds give way to it.
            ends = (
                torch.minimum((least / reference).log(), raw),
                torch.maximum((most / reference).log(), raw),
            )
            for ends_there, end in zip((low, high), ends, strict=True):
                whole = entry.raw.detach().clone()
                whole[entry.free] = end
                ends_there.append(entry.coordinate(whole)[entry.free])
        return self._join(low), self._join(high)

    def at_bounds(self) -> tuple[str, ...]:
        """A sentence for every number that lies at a bound, such as "noise at its lower ..."."""
        low, high = self.limits()
        vector, theta = self.vector(), self.theta()
        found = [
            f"{name} at its {side} bound of {theta[i].exp().item():.3g}"
            for i, name in enumerate(self.names)
            for side, bound in (("lower", low), ("upper", high))
            if bound[i].isfinite()
            and abs(vector[i] - bound[i]) < 1e-6
            # One of many inputs that does not matter has no lengthscale: that is no trouble.
            and not (side == "upper" and "lengthscale[" in name)
        ]
        return (*found, *(text for entry in self._entries for text in _at_constraint(entry)))

    def irrelevant(self) -> tuple[str, ...]:
        """Lengthscales of single inputs near their upper bound: inputs that hardly matter."""
        _, high = self.limits()
        long = self.vector() > high - math.log(_LONG)
        return tuple(
            name for name, is_long in zip(self.names, long, strict=True)
            if is_long and "lengthscale[" in name
        )  # fmt: skip

    def log_prior(self) -> Tensor:
        """The sum of gpytorch's log priors of every module, with a graph; 0 without priors."""
        total = torch.zeros((), dtype=torch.float64)
        seen = set()
        for module in self.modules.values():
            if not isinstance(module, gpytorch.Module):
                continue
            for _, owner, prior, closure, _ in module.named_priors():
                if (id(owner), id(prior)) not in seen:
                    seen.add((id(owner), id(prior)))
                    total = total + prior.log_prob(closure(owner)).sum().double().cpu()
        return total

    def has_priors(self) -> bool:
        """Whether a module has a prior."""
        return any(
            True
            for module in self.modules.values()
            if isinstance(module, gpytorch.Module)
            for _ in module.named_priors()
        )

    def _join(self, parts: Any) -> Tensor:
        columns = [part.double().flatten().cpu() for part in parts]
        return torch.cat(columns) if columns else torch.zeros(0, dtype=torch.float64)


def _factor_of_a_million(name: str, value: Tensor) -> tuple[Tensor, Tensor]:
    del name
    return 1e-6 * value, 1e6 * value


def _gradient(entry: _Entry) -> Tensor:
    return torch.zeros_like(entry.raw) if entry.raw.grad is None else entry.raw.grad


def _entries(modules: Mapping[str, Module], noise_shift: float) -> Iterator[_Entry]:
    seen: set[int] = set()
    for key, root in modules.items():
        for path, module in root.named_modules():
            # In the order of the alphabet, as scikit-learn has the hyperparameters of a kernel.
            for name, raw in sorted(module.named_parameters(recurse=False)):
                if id(raw) in seen or not raw.requires_grad:
                    continue
                seen.add(id(raw))
                constraint = None
                if isinstance(module, gpytorch.Module):
                    constraint = module.constraint_for_parameter_name(name)
                short = name.removeprefix("raw_")
                # Where a kernel is within a scale, or a product, is of no interest to a reader.
                steps = [
                    step
                    for step in (*key.split("."), *path.split("."))
                    if step and step not in _QUIET
                ]
                free = torch.ones_like(raw, dtype=torch.bool)
                shift = 0.0
                if isinstance(constraint, ExactPositive):
                    free = (constraint.reference > 0).expand_as(raw)
                    shift = noise_shift if short in ("noise", "gradient_noise") else 0.0
                yield _Entry(".".join((*steps, short)), module, raw, constraint, free, shift)


_QUIET = ("base_kernel", "kernel", "likelihood", "noise_covar")


def _numbered(entry: _Entry) -> Iterator[str]:
    where = entry.free.flatten().nonzero().flatten().tolist()
    for i in where:
        yield entry.name if entry.raw.numel() == 1 else f"{entry.name}[{i}]"


def _at_constraint(entry: _Entry) -> Iterator[str]:
    """Where one of gpytorch's own constraints holds a value."""
    if entry.constraint is None or entry.is_log:
        return
    value = entry.value()
    for side in ("lower", "upper"):
        bound = getattr(entry.constraint, f"{side}_bound", None)
        if bound is None or not bool(bound.isfinite().all()):
            continue
        near = (value - bound).abs() <= _NEAR * bound.abs()
        for name, at in zip(_numbered(entry), near[entry.free].flatten().tolist(), strict=True):
            if at:
                yield f"{name} at the {side} bound of its constraint, {bound.max().item():.3g}"
