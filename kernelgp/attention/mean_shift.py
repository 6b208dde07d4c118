"""Modes of a kernel density: projected to few dimensions, climbed, lifted back and polished.

A mean-shift step moves a point to the mean of all points, weighted by the kernel's slope: for a
Gaussian one step of attention whose values are its keys. Its cost is that of distances, which
few random directions keep: climbed there, and lifted as the mean with the last weights, a
point's density is nearly what the whole climb would give, and a few whole steps do the rest.

References
----------
X. Luo, C. Musco and C. Widdershoven, *Dimensionality reduction for general KDE mode finding*,
ICML 2023 (arXiv 2305.18755).
"""

import math
import warnings
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from kernelgp.arrays import give_back
from kernelgp.attention.radial import RadialKernel
from kernelgp.attention.scaled_points import ScaledPoints, Targets
from kernelgp.errors import ArgumentError, ConvergenceWarning, NumericalWarning
from kernelgp.random import RandomState, as_generator
from kernelgp.validation import check_count

__all__ = ["Modes", "find_modes"]

# Pairs at a time: 64 MB of float64.
_PAIRS = 2**23
# Steps end where they are shorter than this, in bandwidths.
_CLIMBED, _POLISHED = 1e-3, 1e-7
# Climbs that end so near to each other found one mode.
_ONE_MODE = 0.1
_STEPS = 500
# Squared norm, in bandwidths, up to which distances are taken in float32.
_SINGLE = 1e4


class Modes(NamedTuple):
    """What `find_modes` found, the highest mode first.

    Attributes
    ----------
    modes : shape (n_modes, d)
    log_densities : shape (n_modes,)
    basins : shape (n,), int64
        The mode that the climb from each row of x led to; -1 for rows that none began at.
    """

    modes: Any
    log_densities: Any
    basins: Any


def find_modes(
    x: Any,
    *,
    kernel: str = "gaussian",
    bandwidth: Any,
    n_starts: int = 64,
    n_components: int | Literal["auto"] = "auto",
    random_state: RandomState = None,
) -> Modes:
    """The modes of ``p(y) = mean_i k(|y - x_i| / bandwidth)`` to which climbs from some x lead.

    Parameters
    ----------
    x : Tensor or array, shape (n, d)
        float32 or float64.
    kernel : {"gaussian", "laplacian", "logistic", "sigmoid"}
    bandwidth : float or one for each column
        In units of x.
    n_starts
        Rows of x, at random, from which climbs begin; all of them if there are fewer.
    n_components
        Random directions in which they climb first; "auto" is ``2 log n``, at least 20. With as
        many as there are columns nothing is projected.
    random_state : int, numpy or torch generator, or None
        Of starts and directions.

    Returns
    -------
    Modes
        Tensors for a tensor, else arrays, in the dtype of x but for basins.

    Raises
    ------
    ArgumentError, ArgumentTypeError
        If an argument cannot be used.

    Warns
    -----
    NumericalWarning
        If `n_components` is not less than the number of columns.
    ConvergenceWarning
        If climbs did not end within 500 steps.

    Examples
    --------
    >>> x = torch.cat([torch.zeros(30, 2), torch.ones(20, 2)]).double()
    >>> modes, log_densities, basins = find_modes(x, bandwidth=0.2, random_state=0)
    >>> modes.round(decimals=2).abs()
    tensor([[0., 0.],
            [1., 1.]], dtype=torch.float64)
    >>> basins.bincount()
    tensor([30, 20])
    """
    points = ScaledPoints.of(x, kernel, bandwidth)
    n, d = points.x.shape
    check_count("n_starts", n_starts)
    w = _components(n_components, n, d)
    generator = as_generator(random_state)
    starts = torch.randperm(n, generator=generator)[:n_starts].to(points.x.device)
    targets = Targets(points.x)
    if w < d:
        directions = torch.randn(d, w, generator=generator, dtype=torch.float64) * w**-0.5
        low = _projected(points.x, directions.to(points.x.device))
        tops, label = _tops(low, low.x[starts], points.kernel, _CLIMBED)
        # The last weights make a mean of the whole points: the lift.
        lifted = _shift(low, tops, points.kernel, points.x.to(low.x.dtype)).double()
    else:
        lifted, label = _tops(targets, points.x[starts], points.kernel, _CLIMBED)
    modes, missing = _climb(targets, lifted, points.kernel, _POLISHED)
    if missing:
        warnings.warn(
            f"find_modes: {missing} of {len(modes)} climbs still moved by more than "
            f"{_POLISHED:.0e} bandwidths after {_STEPS} steps; give a larger bandwidth.",
            ConvergenceWarning,
            stacklevel=2,
        )
    final, merged = _merged(modes, _ONE_MODE)
    log_density = _log_mean(targets, modes, points.kernel) - points.log_constant()
    order = log_density[final].argsort(descending=True, stable=True)
    basins = torch.full((n,), -1, device=points.x.device)
    basins[starts] = order.argsort()[merged[label]]
    top = final[order]
    dtype = torch.from_numpy(x[:0]).dtype if not isinstance(x, Tensor) else x.dtype
    return Modes(
        *(
            give_back(result, x)
            for result in (
                points.unscaled(modes[top]).to(dtype),
                log_density[top].to(dtype),
                basins,
            )
        )
    )


def _components(n_components: Any, n: int, d: int) -> int:
    if n_components == "auto":
        return min(d, max(20, math.ceil(2 * math.log(n))))
    if isinstance(n_components, str):
        raise ArgumentError("n_components", repr(n_components), 'give a number or "auto"')
    check_count("n_components", n_components)
    if n_components >= d:
        warnings.warn(
            f"n_components: got {n_components} for {d} columns; nothing is projected.",
            NumericalWarning,
            stacklevel=3,
        )
    return min(n_components, d)


def _projected(x: Tensor, directions: Tensor) -> Targets:
    low = x @ directions
    # Squares of float32 are good to 1e-3 there, and what is left is polished.
    return Targets(low.float() if low.square().sum(dim=-1).max() < _SINGLE else low)


def _tops(x: Targets, y: Tensor, kernel: RadialKernel, tolerance: float) -> tuple[Tensor, Tensor]:
    """Where climbs from y end, one place for all that met, and each one's place."""
    ends, _ = _climb(x, y, kernel, tolerance)
    representative, label = _merged(ends, _ONE_MODE)
    return ends[representative], label


def _climb(x: Targets, y: Tensor, kernel: RadialKernel, tolerance: float) -> tuple[Tensor, int]:
    """Mean shift until steps are short, and how many of the climbs did not end."""
    y = y.clone()
    moving = torch.arange(len(y), device=y.device)
    for _ in range(_STEPS):
        new = _shift(x, y[moving], kernel, x.x)
        step = (new - y[moving]).norm(dim=-1)
        y[moving] = new
        moving = moving[step > tolerance]
        if not len(moving):
            break
    return y, len(moving)


def _shift(x: Targets, y: Tensor, kernel: RadialKernel, values: Tensor) -> Tensor:
    """Means of `values` with the weights that x has from every y."""
    found = [
        torch.softmax(kernel.log_weight(x.sqdist(part)), dim=-1) @ values
        for part in y.split(max(1, _PAIRS // len(x)))
    ]
    return torch.cat(found)


def _log_mean(x: Targets, y: Tensor, kernel: RadialKernel) -> Tensor:
    found = [
        kernel.log_value(x.sqdist(part)).logsumexp(dim=-1)
        for part in y.split(max(1, _PAIRS // len(x)))
    ]
    return torch.cat(found) - math.log(len(x))


def _merged(y: Tensor, radius: float) -> tuple[Tensor, Tensor]:
    """One of those that lie within a radius of it, until all are taken, and each one's.

    Returns
    -------
    representative : Tensor, shape (groups,)
    label : Tensor, shape (len(y),)
    """
    label = torch.empty(len(y), dtype=torch.int64, device=y.device)
    rest, representative = torch.arange(len(y), device=y.device), []
    while len(rest):
        near = (y[rest] - y[rest[0]]).square().sum(dim=-1) <= radius**2
        label[rest[near]] = len(representative)
        representative.append(rest[0])
        rest = rest[~near]
    return torch.stack(representative), label
