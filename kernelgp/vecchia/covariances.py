"""Covariances as a latent fit needs them: free numbers, columns of the factor, and their slopes.

The kernels that are compiled have the gradient and the expected information from compiled passes;
any other kernel has columns and gradient from torch, on its own device.
"""

import copy
import math
from abc import ABC, abstractmethod
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from typing_extensions import override

from kernelgp.errors import ArgumentError, ArgumentTypeError
from kernelgp.kernels.stationary import StationaryKernel
from kernelgp.vecchia.adjoints import column_slopes
from kernelgp.vecchia.blocks import GAUSSIAN, RATIONAL_QUADRATIC
from kernelgp.vecchia.columns import batched_columns, compiled_columns, ranges
from kernelgp.vecchia.likelihood import Parameters, Responses, evaluate
from kernelgp.vecchia.small_sets import covariances
from kernelgp.vecchia.stationary import Stationary, read_stationary

__all__ = ["Covariance", "StationaryCovariance", "TorchCovariance", "as_covariance"]

Array = NDArray[np.float64]
Index = NDArray[np.int64]

# What is added to every variance, relative to it; and where the kernel is, or may be, smooth:
# there the incomplete factor comes near to breaking down, which looks like evidence.
_JITTER, _SMOOTH_JITTER = 1e-8, 1e-6
# Of observations, relative to the variance: what is more precise says no more of a kernel, and
# makes a smooth one's covariance singular.
_LEAST_NOISE = 1e-6
# Of forward differences, in a raw parameter; and points at a time.
_STEP, _ROWS = 1e-5, 4096
_LEAST, _MOST = math.log(1e-4), math.log(1e4)
_SCALES = (math.log(1e-6), math.log(1e6))


class Covariance(ABC):
    """A kernel and the free numbers that are learned of it.

    Attributes
    ----------
    names : tuple of str, of the free numbers
    free : (P,)
    """

    @property
    @abstractmethod
    def names(self) -> tuple[str, ...]: ...

    @property
    @abstractmethod
    def free(self) -> Array: ...

    @abstractmethod
    def at(self, free: Array) -> "Covariance":
        """The same covariance with other numbers."""

    @abstractmethod
    def bounds(self, points: Array) -> tuple[Array, Array]:
        """Lowest and highest free numbers; equal where one is not learned."""

    @abstractmethod
    def scale(self, points: Array) -> Array:
        """Points in units in which distance says how much they are correlated."""

    @abstractmethod
    def columns(self, points: Array, queries: Array, near: Index) -> tuple[Array, Array]:
        """For each query the column of the factor given its neighbors, and the jitter it took."""

    @abstractmethod
    def slopes(
        self, points: Array, near: Index, columns: tuple[Array, Array], by_values: Array
    ) -> Array:
        """Slopes by the free numbers, of a function whose slopes by these columns are given."""

    @abstractmethod
    def information(
        self, points: Array, near: Index, precision: Array, H: Array
    ) -> tuple[Array, Array]:
        """What observations of these precisions are expected to say: (P, P), and of H (q, q)."""

    @property
    @abstractmethod
    def kernel(self) -> Any:
        """The kernel, with these numbers."""


@dataclass(frozen=True, slots=True, eq=False)
class StationaryCovariance(Covariance):
    """A compiled kernel.

    Parameters
    ----------
    module : kernel of `kernelgp.kernels`
        What `kernel` returns a copy of, with the numbers found.
    values : Stationary
        Its numbers now, a lengthscale for each column.
    groups : (d,) int
        Which lengthscale each column has: columns of one group share it.
    learned : (P,) bool
    """

    module: Any
    values: Stationary
    groups: Index
    learned: NDArray[np.bool_]

    @property
    @override
    def names(self) -> tuple[str, ...]:
        count = int(self.groups.max()) + 1
        scales = (
            ("lengthscale",) if count == 1 else tuple(f"lengthscale[{g}]" for g in range(count))
        )
        tail = ("alpha",) if self.values.kind == RATIONAL_QUADRATIC else ()
        return (*scales, "outputscale", *tail)

    @property
    @override
    def free(self) -> Array:
        tail = [self.values.alpha] if self.values.kind == RATIONAL_QUADRATIC else []
        first = np.unique(self.groups, return_index=True)[1]
        return np.log([*self.values.lengthscale[first], self.values.outputscale, *tail])

    @override
    def at(self, free: Array) -> "StationaryCovariance":
        values, count = np.exp(free), int(self.groups.max()) + 1
        alpha = float(values[-1]) if self.values.kind == RATIONAL_QUADRATIC else self.values.alpha
        lengthscale, scale = values[:count][self.groups], float(values[count])
        now = replace(self.values, lengthscale=lengthscale, outputscale=scale, alpha=alpha)
        return replace(self, values=now)

    @override
    def bounds(self, points: Array) -> tuple[Array, Array]:
        seen = points if self.values.columns is None else points[:, list(self.values.columns)]
        spread = np.ptp(seen, axis=0)
        spread = np.where(spread > 0, spread, 1.0)
        wide = [math.log(spread[self.groups == g].max()) for g in range(self.groups.max() + 1)]
        tail = [(-4.0, 7.0)] if self.values.kind == RATIONAL_QUADRATIC else []
        now = self.free
        around = now[len(wide)]
        pairs = [(w + _LEAST, w + _MOST) for w in wide]
        pairs = [*pairs, (around + _SCALES[0], around + _SCALES[1]), *tail]
        low, high = np.array(pairs).T
        return np.where(self.learned, low, now), np.where(self.learned, high, now)

    @override
    def scale(self, points: Array) -> Array:
        return self.values.scale(points)

    @override
    def columns(self, points: Array, queries: Array, near: Index) -> tuple[Array, Array]:
        smooth = self.values.kind in (GAUSSIAN, RATIONAL_QUADRATIC)
        jitter = _SMOOTH_JITTER if smooth else _JITTER
        return compiled_columns(self.values, points, queries, near, jitter)

    @override
    def slopes(
        self, points: Array, near: Index, columns: tuple[Array, Array], by_values: Array
    ) -> Array:
        scaled, root = self.values.scale(points), math.sqrt(self.values.outputscale)
        values, jitter = columns
        slopes = np.ascontiguousarray(by_values / root)
        total = np.zeros(scaled.shape[1] + 1)
        # A column that took more jitter is one of few.
        for used in np.unique(jitter):
            rows = np.flatnonzero(jitter == used)
            every = len(rows) == len(near)
            at, lists, part = (a if every else a[rows] for a in (scaled, near, slopes))
            shares = np.ones(len(scaled)), np.ones(len(at))
            arguments = scaled, at, *shares, lists, self.values.kind, self.values.alpha, used
            with ThreadPoolExecutor(torch.get_num_threads()) as pool:
                jobs = [pool.submit(column_slopes, *arguments, *r, part) for r in ranges(len(at))]
                total += np.sum([job.result() for job in jobs], axis=0)
        by_scale = np.bincount(self.groups, total[:-1])
        tail = total[-1:] if self.values.kind == RATIONAL_QUADRATIC else []
        return np.array([*by_scale, -0.5 * np.sum(by_values * values), *tail])

    @override
    def information(
        self, points: Array, near: Index, precision: Array, H: Array
    ) -> tuple[Array, Array]:
        values = self.values
        seen = points if values.columns is None else points[:, list(values.columns)]
        shares = _noise(precision, values.outputscale)
        shared = self.groups.max() == 0
        lengthscale = values.lengthscale[:1] if shared else values.lengthscale
        at = Parameters(values.kind, lengthscale, 1 / values.outputscale, values.alpha, 1.0)
        # Centered: the targets themselves are not looked at.
        rows = Responses(seen, np.zeros(len(seen)), H, shares)
        found = evaluate(rows, near, at, np.zeros(H.shape[1]))
        group = np.zeros(1, np.int64) if shared else self.groups
        P = len(self.free)
        chain = np.zeros((P, len(found.information)))
        chain[group, np.arange(len(group))] = 1
        for k in range(len(group), chain.shape[1]):
            chain[k - chain.shape[1], k] = 1
        return chain @ found.information @ chain.T, found.mean_information

    @property
    @override
    def kernel(self) -> Any:
        out = copy.deepcopy(self.module)
        leaf = next(m for m in out.modules() if isinstance(m, StationaryKernel))
        given = read_stationary(out)
        assert given is not None
        lengthscale = self.values.lengthscale
        shape = leaf.lengthscale.shape
        numbers = lengthscale if shape[-1] == len(lengthscale) else lengthscale[:1]
        leaf.lengthscale = torch.tensor(numbers).reshape(shape)
        if self.values.kind == RATIONAL_QUADRATIC:
            leaf.alpha = self.values.alpha  # pyright: ignore[reportAttributeAccessIssue, reportArgumentType]
        outer = next((m for m in out.modules() if hasattr(m, "raw_outputscale")), None)
        if outer is not None:
            ratio = self.values.outputscale / given.outputscale
            outer.outputscale = float(outer.outputscale.detach()) * ratio  # pyright: ignore[reportAttributeAccessIssue, reportArgumentType]
        return out


class TorchCovariance(Covariance):
    """Any kernel with autograd.

    Parameters
    ----------
    module : kernel of `kernelgp.kernels` or gpytorch
        Not changed. Its parameters that require a gradient are learned.
    """

    _SPAN: ClassVar[float] = 10.0

    def __init__(self, module: Any, start: Array | None = None) -> None:
        self._module = copy.deepcopy(module).double()
        self._start = self.free if start is None else start

    def _learned(self) -> list[tuple[str, Tensor]]:
        return [(n, p) for n, p in self._module.named_parameters() if p.requires_grad]

    @property
    @override
    def names(self) -> tuple[str, ...]:
        out: list[str] = []
        for name, parameter in self._learned():
            short = ".".join(part.removeprefix("raw_") for part in name.split("."))
            count = parameter.numel()
            out += [short] if count == 1 else [f"{short}[{i}]" for i in range(count)]
        return tuple(out)

    @property
    @override
    def free(self) -> Array:
        each = [p.detach().cpu().numpy().reshape(-1) for _, p in self._learned()]
        return np.concatenate([np.empty(0), *each])

    @override
    def at(self, free: Array) -> "TorchCovariance":
        out = TorchCovariance(self._module, self._start)
        place = 0
        with torch.no_grad():
            for _, parameter in out._learned():
                count = parameter.numel()
                part = torch.from_numpy(np.array(free[place : place + count]))
                parameter.copy_(part.reshape(parameter.shape))
                place += count
        return out

    @override
    def bounds(self, points: Array) -> tuple[Array, Array]:
        return self._start - self._SPAN, self._start + self._SPAN

    @override
    def scale(self, points: Array) -> Array:
        for module in self._module.modules():
            lengthscale = getattr(module, "lengthscale", None)
            if isinstance(lengthscale, Tensor) and module.active_dims is None:
                numbers = lengthscale.detach().cpu().numpy().reshape(-1)
                if len(numbers) == points.shape[1]:
                    return np.ascontiguousarray(points / numbers)
        return points

    @override
    def columns(self, points: Array, queries: Array, near: Index) -> tuple[Array, Array]:
        with torch.no_grad():
            values, used = self._columns(points, queries, near)
        return values.cpu().numpy(), used

    def _columns(self, points: Array, queries: Array, near: Index) -> tuple[Tensor, Array]:
        every = points if queries is points else np.concatenate([points, queries])
        own = np.arange(len(queries)) + len(every) - len(queries)
        members = np.hstack([near, own[:, None]])
        return batched_columns(
            self._module, torch.from_numpy(every).to(self._device), members, _SMOOTH_JITTER
        )

    @override
    def slopes(
        self, points: Array, near: Index, columns: tuple[Array, Array], by_values: Array
    ) -> Array:
        values, _ = self._columns(points, points, near)
        parameters = [p for _, p in self._learned()]
        if not parameters:
            return np.empty(0)
        slopes = torch.from_numpy(np.ascontiguousarray(by_values)).to(values.device)
        found = torch.autograd.grad(values, parameters, slopes, allow_unused=True)
        each = [
            np.zeros(p.numel()) if g is None else g.cpu().numpy().reshape(-1)
            for p, g in zip(parameters, found, strict=True)
        ]
        return np.concatenate(each)

    @override
    def information(
        self, points: Array, near: Index, precision: Array, H: Array
    ) -> tuple[Array, Array]:
        variance = float(np.median(self.columns(points, points[:1], near[:1])[0][:, -1] ** -2.0))
        noise = _noise(precision, variance)
        P, q = len(self.free), H.shape[1]
        total, of_mean = np.zeros((P, P)), np.zeros((q, q))
        for start in range(0, len(points), _ROWS):
            rows = np.arange(start, min(start + _ROWS, len(points)))
            v, R = self._noisy(points, near, rows, noise)
            slopes = np.empty((P, *v.shape))
            for k in range(P):
                moved = self.at(self.free + _STEP * np.eye(P)[k])
                slopes[k] = (moved._noisy(points, near, rows, noise)[0] - v) / _STEP
            # z = vᵀ y is standard normal, and so is what a parameter does to it but for scale.
            by_last = slopes[:, :, -1] / v[:, -1]
            spread = np.einsum("jna,nab->jnb", slopes, R)
            total += by_last @ by_last.T + np.einsum("jnb,knb->jk", spread, slopes)
            there = np.hstack([near[rows] >= 0, np.ones((len(rows), 1), np.bool_)])
            members = np.hstack([near[rows], rows[:, None]])
            white = np.einsum("na,naq->nq", np.where(there, v, 0.0), H[members])
            of_mean += white.T @ white
        return total, of_mean

    def _noisy(self, points: Array, near: Index, rows: Index, noise: Array) -> tuple[Array, Array]:
        """Columns of these points and the covariances they come from, with noise."""
        x = torch.from_numpy(points).to(self._device)
        members = np.hstack([near[rows], rows[:, None]])
        with torch.no_grad():
            variances = torch.from_numpy(noise).to(x)
            v, _ = batched_columns(self._module, x, members, _SMOOTH_JITTER, variances)
            sets = torch.from_numpy(members).to(x.device)
            R = covariances(self._module, x[sets.clamp(min=0)])
            R = R + torch.diag_embed(variances[sets.clamp(min=0)])
            there = sets >= 0
            R = torch.where(
                there.unsqueeze(-1) & there.unsqueeze(-2), R, torch.eye(R.shape[-1]).to(R)
            )
        return v.cpu().numpy(), R.cpu().numpy()

    @property
    def _device(self) -> torch.device:
        return next(iter(self._module.parameters()), torch.empty(0)).device

    @property
    @override
    def kernel(self) -> Any:
        return copy.deepcopy(self._module)


def _noise(precision: Array, variance: float) -> Array:
    """The variances of Gaussian observations of these precisions, within reason."""
    least, most = _LEAST_NOISE * variance, 1 / _LEAST_NOISE * variance
    return np.clip(1 / np.maximum(precision, 1e-300), least, most)


def as_covariance(kernel: Any, d: int, groups: Index | None = None) -> Covariance:
    """A kernel as a covariance of d columns; a copy.

    Parameters
    ----------
    kernel : kernel of `kernelgp.kernels` or gpytorch, or a Covariance
    d : int
    groups : (d,) int, optional
        Which lengthscale each column of a compiled kernel has, numbered from 0: columns of one
        group share theirs. By default one for all where the kernel has one, else one for each.

    Raises
    ------
    ArgumentError, ArgumentTypeError
        If it is no kernel, batched, or does not fit d columns.
    """
    if isinstance(kernel, Covariance):
        return kernel
    if not (hasattr(kernel, "parameters") and hasattr(kernel, "batch_shape")):
        remedy = "give a kernel, such as Matern(nu=1.5)"
        raise ArgumentTypeError("kernel", type(kernel).__name__, remedy)
    if kernel.batch_shape:
        given = f"batch shape {tuple(kernel.batch_shape)}"
        raise ArgumentError("kernel", given, "give a kernel without batch dimensions")
    values = read_stationary(kernel)
    if values is None:
        return TorchCovariance(kernel)
    width = d if values.columns is None else len(values.columns)
    shared = len(values.lengthscale) == 1
    if not shared and len(values.lengthscale) != width:
        given = f"{len(values.lengthscale)} lengthscales"
        raise ArgumentError("kernel", given, f"give one, or one for each of {width} columns")
    if groups is None:
        groups = np.zeros(width, np.int64) if shared else np.arange(width)
    elif np.asarray(groups).shape != (width,):
        given = f"shape {np.asarray(groups).shape}"
        raise ArgumentError("groups", given, f"give ({width},), a number for each column")
    lengthscale = np.broadcast_to(values.lengthscale, (width,)).astype(np.float64)
    first = np.unique(groups, return_index=True)[1]
    values = replace(values, lengthscale=lengthscale[first][groups])
    leaf = next(m for m in kernel.modules() if isinstance(m, StationaryKernel))
    outer = [p for n, p in kernel.named_parameters() if n.endswith("raw_outputscale")]
    learned = [leaf.raw_lengthscale.requires_grad] * len(first)  # pyright: ignore[reportAttributeAccessIssue]
    learned.append(bool(outer) and outer[0].requires_grad)
    if values.kind == RATIONAL_QUADRATIC:
        learned.append(leaf.raw_alpha.requires_grad)  # pyright: ignore[reportAttributeAccessIssue]
    return StationaryCovariance(
        copy.deepcopy(kernel), values, np.asarray(groups), np.array(learned)
    )
