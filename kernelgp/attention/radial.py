"""Kernels of the distance alone, as densities: their logarithms, integrals and mean-shift weights.

References
----------
X. Luo, C. Musco and C. Widdershoven, *Dimensionality reduction for general KDE mode finding*,
ICML 2023 (arXiv 2305.18755): the kernels for which modes can be found in few dimensions.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from scipy.special import gammaln, zeta
from torch import Tensor
from torch.nn.functional import softplus

__all__ = ["RADIAL_KERNELS", "RadialKernel"]


@dataclass(frozen=True, slots=True)
class RadialKernel:
    """``k(r)`` of a distance r in bandwidths, not increasing, log-integrable in any dimension.

    Attributes
    ----------
    log_value
        ``log k`` of squared distances.
    log_weight
        ``log(-dk/d(r²))`` of squared distances, up to a constant: a mean shift's weights.
    log_integral
        ``log ∫ k(|u|) du`` in d dimensions.
    """

    log_value: Callable[[Tensor], Tensor]
    log_weight: Callable[[Tensor], Tensor]
    log_integral: Callable[[int], float]


def _gaussian(sqdist: Tensor) -> Tensor:
    return sqdist * -0.5


def _laplacian(sqdist: Tensor) -> Tensor:
    return -sqdist.sqrt()


def _laplacian_weight(sqdist: Tensor) -> Tensor:
    r = _distance(sqdist)
    return -r - r.log()


def _logistic(sqdist: Tensor) -> Tensor:
    r = sqdist.sqrt()  # k = 1 / (e^r + 2 + e^-r)
    return -r - 2 * softplus(-r)


def _logistic_weight(sqdist: Tensor) -> Tensor:
    r = _distance(sqdist)  # the slope in r is -k tanh(r/2)
    return _logistic(sqdist) + (r / 2).tanh().log() - r.log()


def _sigmoid(sqdist: Tensor) -> Tensor:
    r = sqdist.sqrt()  # k = 1 / (e^r + e^-r)
    return -r - softplus(-2 * r)


def _sigmoid_weight(sqdist: Tensor) -> Tensor:
    r = _distance(sqdist)
    return _sigmoid(sqdist) + r.tanh().log() - r.log()


def _distance(sqdist: Tensor) -> Tensor:
    # Of weights that are infinite, or 0/0, at a point itself.
    return sqdist.clamp_min(torch.finfo(sqdist.dtype).eps).sqrt()


def _sphere(d: int) -> float:
    """Logarithm of the unit sphere's area in d dimensions."""
    return math.log(2) + d / 2 * math.log(math.pi) - float(gammaln(d / 2))


def _eta(s: int) -> float:
    """``Σ (-1)^(m-1) / m^s``, m from 1."""
    if s == 0:
        return 0.5
    return math.log(2) if s == 1 else (1 - 2.0 ** (1 - s)) * float(zeta(s))


def _beta(s: int) -> float:
    """``Σ (-1)^m / (2 m + 1)^s``, m from 0."""
    return math.pi / 4 if s == 1 else 4.0**-s * float(zeta(s, 0.25) - zeta(s, 0.75))


RADIAL_KERNELS: dict[str, RadialKernel] = {
    "gaussian": RadialKernel(_gaussian, _gaussian, lambda d: d / 2 * math.log(2 * math.pi)),
    "laplacian": RadialKernel(
        _laplacian, _laplacian_weight, lambda d: _sphere(d) + float(gammaln(d))
    ),
    "logistic": RadialKernel(
        _logistic,
        _logistic_weight,
        lambda d: _sphere(d) + float(gammaln(d)) + math.log(_eta(d - 1)),
    ),
    "sigmoid": RadialKernel(
        _sigmoid, _sigmoid_weight, lambda d: _sphere(d) + float(gammaln(d)) + math.log(_beta(d))
    ),
}
