"""Kernel density estimates, and sums of kernels with weights of any sign.

A Gaussian density is the normaliser of attention; where points are many its far field is taken
by leaves, and what that errs by is measured on probe rows that are summed exactly.

References
----------
Indyk, Kapralov, Sheth and Wagner, *Improved algorithms for kernel matrix-vector multiplication
under sparsity assumptions*, 2025 (arXiv 2507.23539): few heavy pairs exactly, the rest in bulk,
and weights of any sign as a difference of two sums.
"""

import math
import warnings
from typing import Any, Literal

import torch
from torch import Tensor

from kernelgp.arrays import give_back
from kernelgp.attention.near_far_density import NearFarDensity, leaf_of
from kernelgp.attention.radial import RadialKernel
from kernelgp.attention.scaled_points import ScaledPoints, Targets, as_rows
from kernelgp.errors import ArgumentError, ArgumentTypeError, NumericalWarning
from kernelgp.random import RandomState, as_generator
from kernelgp.validation import check_choice

__all__ = ["kde", "kernel_sum"]

Method = Literal["auto", "exact", "tree"]
# Below either the exact sum is as fast: measured, 100 000 points in 3 dimensions take a fifth by
# leaves, 20 000 in 8 as long.
_FEW_PAIRS, _FEW_POINTS = 4096**2, 2**15
# Pairs at a time: what fits the cache.
_PAIRS = 2**17
_PROBES = 64
# Root mean square error of the logarithms at the probes that "auto" accepts.
_TOLERANCE = 0.01
_LEAST_LEAF = 4


def kde(
    x: Any,
    y: Any = None,
    *,
    kernel: str = "gaussian",
    bandwidth: Any,
    weights: Any = None,
    method: Method = "auto",
    return_error: bool = False,
    random_state: RandomState = 0,
) -> Any:
    """Log-densities ``log Σ_i w_i k((y - x_i) / h) / (Σ_i w_i C)``, C the kernel's integral.

    Computed in float64 and without a graph.

    Parameters
    ----------
    x : Tensor or array, shape (n, d)
        float32 or float64.
    y : Tensor or array, shape (m, d), optional
        Where the density is wanted; x itself if None.
    kernel : {"gaussian", "laplacian", "logistic", "sigmoid"}
    bandwidth : float or one for each column
        h, in units of x.
    weights : Tensor or array, shape (n,), optional
        Of a positive sum; 1 if None. Those below zero are summed apart.
    method : {"auto", "exact", "tree"}
        "tree" sums what is far by leaves of a tree (Gaussian kernels), near-linear in n. "auto"
        does where pairs are many, refines it until the probes err by no more than 0.01, and else
        is exact.
    return_error
        Whether standard errors are returned too.
    random_state : int, numpy or torch generator, or None
        Of the tree and the probes.

    Returns
    -------
    log_density : shape (m,)
        A tensor for a tensor, else an array, in the dtype of x. -inf where weights below zero
        prevail.
    standard_error : shape (m,), if asked for
        Of the logarithms, as computed: 0 where the sum is exact. It does not say how far the
        estimate is from the density that x was drawn from.

    Raises
    ------
    ArgumentError, ArgumentTypeError
        If an argument cannot be used.

    Warns
    -----
    NumericalWarning
        If there are points where weights below zero prevail.

    Examples
    --------
    >>> x = torch.tensor([[0.0], [1.0]])
    >>> kde(x, bandwidth=1.0).exp()  # (N(0) + N(1)) / 2
    tensor([0.3205, 0.3205])
    """
    found = _Sums.of(x, y, kernel, bandwidth, weights, method, random_state)
    total = found.weights.sum().item()
    if total <= 0:
        raise ArgumentError("weights", f"a sum of {total:.3g}", "give weights of a positive sum")
    log_sum, error = _difference_of_logs(*found.positive, *found.negative)
    lost = int((found.negative[0] > found.positive[0]).sum())
    if lost:
        warnings.warn(
            f"kde: at {lost} of {len(log_sum)} points weights below zero prevail and the "
            "log-density is -inf; kernel_sum gives the sums themselves.",
            NumericalWarning,
            stacklevel=2,
        )
    log_density = log_sum - math.log(total) - found.points.log_constant()
    return _result(x, log_density, error, return_error=return_error)


def kernel_sum(
    x: Any,
    y: Any = None,
    *,
    kernel: str = "gaussian",
    bandwidth: Any,
    weights: Any,
    method: Method = "auto",
    return_error: bool = False,
    random_state: RandomState = 0,
) -> Any:
    """``Σ_i w_i k(|y - x_i| / h)`` for weights of any sign: a product with the kernel's matrix.

    Parameters
    ----------
    x, y, kernel, bandwidth, weights, method, return_error, random_state
        As for `kde`. Kernels are as they stand there, not divided by their integral:
        ``exp(-r²/2)``, ``exp(-r)``, ``1/(e^r + 2 + e^-r)``, ``1/(e^r + e^-r)``.

    Returns
    -------
    sums : shape (m,)
    standard_error : shape (m,), if asked for
        Additive, and in proportion to the sum of absolute values.

    Raises
    ------
    ArgumentError, ArgumentTypeError
        If an argument cannot be used.

    Examples
    --------
    >>> x = torch.tensor([[0.0], [2.0]])
    >>> kernel_sum(x, bandwidth=1.0, weights=torch.tensor([1.0, -1.0]))
    tensor([ 0.8647, -0.8647])
    """
    if weights is None:
        raise ArgumentTypeError("weights", "None", "give a weight for each row of x")
    found = _Sums.of(x, y, kernel, bandwidth, weights, method, random_state)
    (positive, first), (negative, second) = found.positive, found.negative
    positive, negative = positive.exp(), negative.exp()
    error = torch.hypot(positive * first, negative * second)
    return _result(x, positive - negative, error, return_error=return_error)


class _Sums:
    """Logarithms of the sums over weights above and below zero, with their standard errors."""

    def __init__(
        self,
        points: ScaledPoints,
        weights: Tensor,
        positive: tuple[Tensor, Tensor],
        negative: tuple[Tensor, Tensor],
    ) -> None:
        self.points, self.weights = points, weights
        self.positive, self.negative = positive, negative

    @classmethod
    def of(
        cls,
        x: Any,
        y: Any,
        kernel: Any,
        bandwidth: Any,
        weights: Any,
        method: Any,
        random_state: RandomState,
    ) -> "_Sums":
        points = ScaledPoints.of(x, kernel, bandwidth)
        check_choice("method", method, ("auto", "exact", "tree"))
        if method == "tree" and kernel != "gaussian":
            given = f"'tree' with kernel={kernel!r}"
            raise ArgumentError("method", given, "use 'exact' or 'auto'; leaves are Gaussian")
        generator = as_generator(random_state)
        at = points.x if y is None else points.scaled("y", y)
        w = _weights(weights, points.x)
        few = len(at) * len(w) <= _FEW_PAIRS or len(w) < _FEW_POINTS
        if method == "auto" and (kernel != "gaussian" or few):
            method = "exact"
        parts = []
        for part in (w.clamp_min(0), (-w).clamp_min(0)):
            if not part.any():
                nothing = torch.full_like(at[:, 0], -torch.inf)
                parts.append((nothing, torch.zeros_like(nothing)))
            else:
                parts.append(_log_sums(points.x, at, part, points.kernel, method, generator))
        return cls(points, w, parts[0], parts[1])


def _log_sums(
    x: Tensor,
    y: Tensor,
    w: Tensor,
    kernel: RadialKernel,
    method: str,
    generator: torch.Generator,
) -> tuple[Tensor, Tensor]:
    if method == "exact":
        found = _exact(x, y, w, kernel)
        return found, torch.zeros_like(found)
    probes = y[torch.randperm(len(y), generator=generator)[:_PROBES].to(y.device)]
    true = _exact(x, probes, w, kernel)
    leaf = leaf_of(len(x))
    while True:
        density = NearFarDensity.of(x, w, leaf, generator)
        found, share = density.at(probes)
        off = (found - true).square().mean().sqrt()
        if method == "tree" or off <= _TOLERANCE:
            break
        # Half the leaf errs by about half: what is far off will not come near.
        if leaf <= _LEAST_LEAF or off > 4 * _TOLERANCE:
            return _log_sums(x, y, w, kernel, "exact", generator)
        leaf //= 2
    mean_share = share.mean().clamp_min(torch.finfo(x.dtype).tiny)
    found, share = density.at(y)
    # Only what leaves contribute can be off.
    return found, off * (share / mean_share).sqrt()


def _exact(x: Tensor, y: Tensor, w: Tensor, kernel: RadialKernel) -> Tensor:
    targets, log_weight = Targets(x), w.log()
    found = [
        (kernel.log_value(targets.sqdist(part)) + log_weight).logsumexp(dim=-1)
        for part in y.split(max(1, _PAIRS // len(x)))
    ]
    return torch.cat(found)


def _difference_of_logs(
    first: Tensor, first_error: Tensor, second: Tensor, second_error: Tensor
) -> tuple[Tensor, Tensor]:
    """``log(e^first - e^second)``, -inf where that is no number, and its standard error."""
    ratio = (second - first).exp().nan_to_num(nan=0.0).clamp_max(1)
    error = torch.hypot(first_error, ratio * second_error) / (1 - ratio)
    return first + torch.log1p(-ratio), error.nan_to_num(nan=torch.inf)


def _weights(weights: Any, x: Tensor) -> Tensor:
    if weights is None:
        return x.new_ones(len(x))
    shape = getattr(weights, "shape", None)
    if shape is not None and tuple(shape) != (len(x),):
        remedy = f"give ({len(x)},), one for each row of x"
        raise ArgumentError("weights", f"shape {tuple(shape)}", remedy)
    w = as_rows("weights", weights[:, None] if shape is not None else weights).squeeze(-1)
    if w.device != x.device:
        remedy = f"move it to {x.device} to match x"
        raise ArgumentError("weights", f"device {w.device}", remedy)
    return w


def _result(x: Any, value: Tensor, error: Tensor, *, return_error: bool) -> Any:
    dtype = x.dtype if isinstance(x, Tensor) else torch.from_numpy(x[:0]).dtype
    value, error = (give_back(part.to(dtype), x) for part in (value, error))
    return (value, error) if return_error else value
