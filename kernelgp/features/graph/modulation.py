"""Kernels on graphs as power series of ``W = D^-1/2 A D^-1/2``, and the roots of such series.

``K = Σ_k α_k W^k``, and with walks that estimate ``W^l`` the features ``Φ = Σ_l f_l W^l`` have
``Φ Φᵀ = K`` where the convolution of f with itself is α: f is the modulation.

References
----------
A. Smola and R. Kondor, *Kernels and regularization on graphs*, COLT 2003, (17) to (20).
I. Reid, K. Choromanski, E. Berger and A. Weller, *General graph random features*, 2023,
equation (9): the recursion.
"""

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

__all__ = ["KERNELS", "modulation", "series", "spectral_function"]

KERNELS = ("regularized_laplacian", "diffusion", "inverse_cosine")


def series(kernel: str, length: int, power: float, sigma2: float) -> NDArray[np.float64]:
    """The coefficients α_0 to α_length of the kernel in powers of W."""
    k = np.arange(length + 1)
    if kernel == "regularized_laplacian":
        return _binomial(power, sigma2, length)
    if kernel == "diffusion":
        return _poisson(sigma2 / 2, length)
    logs = k * math.log(math.pi / 4) - np.array([math.lgamma(j + 1) for j in k])
    # cos(π/4 (1 - w)) = (cos(π w / 4) + sin(π w / 4)) / √2
    return np.exp(logs) / math.sqrt(2) * np.where(k % 4 < 2, 1.0, -1.0)


def modulation(kernel: str, length: int, power: float, sigma2: float) -> NDArray[np.float64]:
    """f_0 to f_length, whose convolution with itself is `series`.

    Parameters
    ----------
    kernel
        One of `KERNELS`.
    length
        The longest walk.
    power
        Of the regularised Laplacian; half of it is the power of the root.
    sigma2
        σ² of the regularised Laplacian and of diffusion.
    """
    if kernel == "regularized_laplacian":
        return _binomial(power / 2, sigma2, length)
    if kernel == "diffusion":
        return _poisson(sigma2 / 4, length)
    alpha = series(kernel, length, power, sigma2)
    f = np.empty(length + 1)
    f[0] = math.sqrt(alpha[0])
    for k in range(1, length + 1):
        f[k] = (alpha[k] - f[1:k] @ f[1:k][::-1]) / (2 * f[0])
    return f


def spectral_function(
    kernel: str, power: float, sigma2: float
) -> Callable[[NDArray[np.float64]], NDArray[np.float64]]:
    """The kernel as a function of eigenvalues of W, in [-1, 1]."""
    if kernel == "regularized_laplacian":
        return lambda w: (1 + sigma2 * (1 - w)) ** -power
    if kernel == "diffusion":
        return lambda w: np.exp(-sigma2 / 2 * (1 - w))
    return lambda w: np.cos(math.pi / 4 * (1 - w))


def _binomial(power: float, sigma2: float, length: int) -> NDArray[np.float64]:
    """``(1 + σ² (1 - w))^-power = (1 + σ²)^-power (1 - c w)^-power``, c = σ² / (1 + σ²)."""
    k = np.arange(1, length + 1)
    steps = sigma2 / (1 + sigma2) * (power + k - 1) / k
    return (1 + sigma2) ** -power * np.cumprod(np.concatenate([[1.0], steps]))


def _poisson(rate: float, length: int) -> NDArray[np.float64]:
    """``exp(rate (w - 1))``."""
    k = np.arange(length + 1)
    if rate == 0:
        return np.where(k == 0, 1.0, 0.0)
    return np.exp(k * math.log(rate) - rate - np.array([math.lgamma(j + 1) for j in k]))
