"""Mean squared errors of positive features in closed form.

For points x, y with ``v = |x + y|`` and blocks of d frequencies,
``MSE = P / m ((e^(2v²) - e^(v²)) + (b - 1)(ρ - e^(v²)))``, P a factor of x and y alone, b the
rows of a block: all that a coupling does is in ρ, the mean of ``e^..`` over pairs of its rows.

References
----------
I. Reid, K. Choromanski, V. Likhosherstov and A. Weller, *Simplex random features*, ICML 2023,
equations (5) to (9).
"""

from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import betaln, gammaln, roots_jacobi, xlogy

from kernelgp.errors import ArgumentError
from kernelgp.validation import check_choice, check_count

__all__ = ["fourier_error", "relative_error"]

_NODES = 200


def relative_error(
    coupling: Literal["iid", "orthogonal", "simplex"],
    d: int,
    v: ArrayLike,
    block: int | None = None,
) -> NDArray[np.float64]:
    """Mean squared error of positive features, relative to that of independent ones.

    Parameters
    ----------
    coupling
        "simplex+" has no closed form; it is below "simplex" near v = 0.
    d
        Number of inputs.
    v : array-like
        ``|x + y|`` in lengthscales, not negative; 0 gives the limit.
    block
        Frequencies in a block, d by default; fewer where features do not fill one.

    Returns
    -------
    ndarray, shape of `v`

    Examples
    --------
    >>> relative_error("simplex", 64, [0.5, 1.0]).round(4)
    array([0.0278, 0.1705])
    """
    check_choice("coupling", coupling, ["iid", "orthogonal", "simplex"])
    d = check_count("d", d)
    rows = d if block is None else check_count("block", block)
    if rows > d:
        raise ArgumentError("block", str(rows), f"give at most {d}, the number of inputs")
    square = np.asarray(v, dtype=np.float64) ** 2
    if not np.isfinite(square).all() or (np.asarray(v) < 0).any():
        raise ArgumentError("v", str(v), "give distances: finite, and not negative")
    if coupling == "iid" or rows == 1:
        return np.ones_like(square)
    # Terms of (ρ - e^(v²)) / v² and of e^(v²) (e^(v²) - 1) / v², so that v = 0 has its limit.
    last = int(square.max(initial=0.0) * 8 + 60)
    k = np.arange(1, last + 1)
    excess = np.expm1(_log_moments(coupling, d, k))
    powers = np.exp(xlogy(k - 1, square[..., None]) - gammaln(k + 1) - square[..., None])
    spread = np.where(square > 0, np.expm1(square) / np.where(square > 0, square, 1.0), 1.0)
    return 1 + (rows - 1) * (powers * excess).sum(axis=-1) / spread


def _log_moments(coupling: str, d: int, k: NDArray) -> NDArray[np.float64]:
    """Of ``|w + w'|^(2k)`` for a pair of a block, relative to those of an independent pair."""
    common = gammaln(k + d) - gammaln(d) - k * np.log(2) + gammaln(d / 2) - gammaln(k + d / 2)
    if coupling == "orthogonal":
        return common
    # |w + w'|² is chi² of 2d degrees times 1 - 2 sqrt(B (1 - B)) / (d - 1), B ~ Beta(d/2, d/2).
    # An expansion in powers alternates, and loses all digits at large k; a rule does not.
    nodes, weights = roots_jacobi(_NODES, d / 2 - 1, d / 2 - 1)
    share = np.log1p(-np.sqrt(1 - nodes**2) / (d - 1))
    log_weights = np.log(weights) - (d - 1) * np.log(2) - betaln(d / 2, d / 2)
    terms = log_weights + k[:, None] * share
    top = terms.max(axis=1, keepdims=True)
    return common + top[:, 0] + np.log(np.exp(terms - top).sum(axis=1))


def fourier_error(kernel_values: ArrayLike, double_values: ArrayLike, n: int) -> NDArray:
    """Standard deviation of ``K̂`` by n independent frequencies of cosine and sine, at lags.

    Parameters
    ----------
    kernel_values, double_values : array-like
        The kernel, of variance 1, at a lag and at twice the lag.
    n
        Number of frequencies: half the number of columns.

    Examples
    --------
    >>> fourier_error([1.0, 0.0], [1.0, 0.0], 50)
    array([0. , 0.1])
    """
    k, twice = np.asarray(kernel_values), np.asarray(double_values)
    return np.sqrt(np.clip((1 + twice) / 2 - k**2, 0, None) / check_count("n", n))
